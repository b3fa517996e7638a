//! Pods that this controller has let go, until its cache shows that they are gone: the looks in between, which the
//! end of a Task brings by itself, must not ask the API server for the same once more.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube_runtime::reflector::{ObjectRef, Store};

/// Pods that need nothing more, by uid.
#[derive(Debug, Default)]
pub struct Released {
    pods: Mutex<HashMap<String, ObjectRef<Pod>>>,
}

impl Released {
    /// Notes a pod whose finalizer is off and whose deletion the API server has taken on.
    pub fn put(&self, uid: &str, pod: ObjectRef<Pod>) {
        self.lock().insert(uid.to_owned(), pod);
    }

    /// True where nothing is left to do about a pod.
    pub fn has(&self, uid: &str) -> bool {
        self.lock().contains_key(uid)
    }

    /// Drops those that the cache shows no more. Called now and then: what is dropped late costs some memory only.
    pub fn forget_gone(&self, cache: &Store<Pod>) {
        let cached = |uid: &str, pod: &ObjectRef<Pod>| {
            let pod = cache.get(pod);
            pod.is_some_and(|pod| pod.meta().uid.as_deref() == Some(uid))
        };
        self.lock().retain(|uid, pod| cached(uid, pod));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, ObjectRef<Pod>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use kube_runtime::{reflector, watcher::Event};

    use super::*;

    fn pod(name: &str, uid: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.to_owned());
        pod.metadata.namespace = Some("default".to_owned());
        pod.metadata.uid = Some(uid.to_owned());
        pod
    }

    #[test]
    fn a_pod_is_remembered_while_the_cache_shows_it_and_no_longer() {
        let (cache, mut writer) = reflector::store();
        let released = Released::default();
        let (old, new) = (pod("a", "1"), pod("a", "2"));
        writer.apply_watcher_event(&Event::Apply(old.clone()));
        released.put("1", ObjectRef::from_obj(&old));
        released.forget_gone(&cache);
        assert_eq!((released.has("1"), released.has("2")), (true, false));

        writer.apply_watcher_event(&Event::Apply(new));
        released.forget_gone(&cache);
        assert!(!released.has("1"), "another pod of that name is in the cache");

        released.put("2", ObjectRef::from_obj(&pod("a", "2")));
        writer.apply_watcher_event(&Event::Delete(pod("a", "2")));
        released.forget_gone(&cache);
        assert!(!released.has("2"));
    }
}
