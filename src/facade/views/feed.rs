//! Fills the views from watches.

use std::{fmt::Debug, pin::pin};

use futures::{Stream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource, core::DeserializeGuard};
use kube_runtime::{
    WatchStreamExt as _,
    watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::{Faceted, Key, View, Views};
use crate::{
    chain::chain,
    crd::{Function, Schedule, drop_bulk, drop_bulk_of_deleted},
};

impl Views {
    /// Keeps all views up to date until shutdown; of one namespace, or of all.
    pub async fn feed(&self, client: Client, namespace: Option<&str>, shutdown: CancellationToken) {
        let tasks = self
            .tasks
            .feed(&client, namespace, drop_bulk, drop_bulk_of_deleted);
        let slim = |function: &mut Function| function.metadata.managed_fields = None;
        let functions = self.functions.feed(&client, namespace, slim, slim);
        let slim = |schedule: &mut Schedule| schedule.metadata.managed_fields = None;
        let schedules = self.schedules.feed(&client, namespace, slim, slim);
        tokio::select! {
            _ = async { tokio::join!(tasks, functions, schedules) } => {}
            () = shutdown.cancelled() => {}
        }
    }
}

impl<K> View<K>
where
    K: Faceted
        + Resource<Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    /// `slim` takes off what is not kept; `slim_deleted` of an object that is gone, which listeners hear of once.
    async fn feed(
        &self,
        client: &Client,
        namespace: Option<&str>,
        slim: impl Fn(&mut K),
        slim_deleted: impl Fn(&mut K),
    ) {
        // Guarded: one object that cannot be read must not keep all others from view.
        let api: Api<DeserializeGuard<K>> = match namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let events = watcher(api, watcher::Config::default()).default_backoff();
        self.take(events, slim, slim_deleted).await;
    }

    async fn take(
        &self,
        events: impl Stream<Item = watcher::Result<Event<DeserializeGuard<K>>>>,
        slim: impl Fn(&mut K),
        slim_deleted: impl Fn(&mut K),
    ) {
        let mut events = pin!(events);
        let mut staged = Vec::new();
        let slimmed = |guard: DeserializeGuard<K>| {
            let mut object = guard.0.ok()?;
            slim(&mut object);
            Some(object)
        };
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => staged.clear(),
                Ok(Event::InitApply(guard)) => staged.extend(slimmed(guard)),
                Ok(Event::InitDone) => self.replace(std::mem::take(&mut staged)),
                Ok(Event::Apply(guard)) => match slimmed(guard) {
                    Some(object) => self.put(object),
                    None => tracing::debug!(kind = %K::kind(&()), "an object cannot be read and is left out"),
                },
                Ok(Event::Delete(guard)) => match guard.0 {
                    Ok(mut object) => {
                        slim_deleted(&mut object);
                        self.remove(&Key::of(&object), Some(object));
                    }
                    Err(invalid) => {
                        let meta = invalid.metadata;
                        let key = Key::new(meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default());
                        self.remove(&key, None);
                    }
                },
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), error = %chain(&error), "watch failed; trying again");
                }
            }
        }
    }
}
