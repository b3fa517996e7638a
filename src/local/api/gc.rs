//! What goes on behind requests: owner-reference collection, foreground and orphan deletion, the end of namespaces
//! and of CustomResourceDefinitions.
//!
//! Level-triggered: a hint only says where to look; what is done follows from what is stored. A worker that misses
//! hints looks at everything that has owners or is being deleted.
use std::{collections::VecDeque, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::{
    auth::{User, tokens},
    catalogue::{CRDS, Kind, NAMESPACES},
    core::Core,
    defaults::CRD_CLEANUP,
    http::status::{ApiError, Result},
    meta,
    store::{Address, Hint, Object},
    verbs::{
        Call,
        delete::{self, DeleteOptions, FOREGROUND, ORPHAN, Propagation},
        update::{self, Part},
    },
};

/// How often everything is looked at, whatever the hints say: what waited for something else goes on then.
const SWEEP: Duration = Duration::from_secs(30);
/// How often old events are looked for, and how old they get: the real server's `--event-ttl`.
const EVENT_SWEEP: Duration = Duration::from_secs(5 * 60);
const EVENT_AGE: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
/// Steps between giving other tasks a turn.
const TURN: usize = 64;

/// Runs until the server ends.
pub async fn run(core: Arc<Core>, end: CancellationToken) {
    let user = User::new(
        "system:serviceaccount:kube-system:generic-garbage-collector",
        [super::auth::MASTERS],
    );
    let mut hints = core.store.hints();
    let mut sweep = tokio::time::interval(SWEEP);
    let mut event_sweep = tokio::time::interval(EVENT_SWEEP);
    loop {
        let mut work: VecDeque<Address> = VecDeque::new();
        tokio::select! {
            () = end.cancelled() => return,
            _ = sweep.tick() => {
                if let Err(error) = tokens::sweep(&core) {
                    tracing::warn!(%error, "could not forget tokens that have ended");
                }
                work.extend(core.store.worklist());
            }
            _ = event_sweep.tick() => {
                if let Err(error) = forget_events(&core, &user) {
                    tracing::warn!(%error, "could not remove old events");
                }
            }
            hint = hints.recv() => match hint {
                Ok(Hint::Look(address)) => work.push_back(address),
                Ok(Hint::Gone(object)) => work.extend(touched_by(&core, &object)),
                Err(RecvError::Lagged(_)) => work.extend(core.store.worklist()),
                Err(RecvError::Closed) => return,
            },
        }
        for (step, address) in work.into_iter().enumerate() {
            if let Err(error) = look(&core, &user, &address) {
                tracing::debug!(?address, %error, "could not collect an object yet");
            }
            if step % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
    }
}

fn forget_events(core: &Core, user: &User) -> Result<()> {
    let Ok(oldest) = jiff::Timestamp::now().checked_sub(EVENT_AGE) else {
        return Ok(());
    };
    let key: Arc<str> = "/events".into();
    for object in core.store.list(&key, None).0 {
        if last_seen(&object.value()).is_some_and(|seen| seen < oldest) {
            remove(core, user, &object.address(&key), &object.facts.uid, None)?;
        }
    }
    Ok(())
}

/// When an event was last written about.
fn last_seen(event: &Value) -> Option<jiff::Timestamp> {
    let times: [&[&str]; 4] = [
        &["series", "lastObservedTime"],
        &["lastTimestamp"],
        &["eventTime"],
        &["metadata", "creationTimestamp"],
    ];
    times
        .iter()
        .filter_map(|path| meta::text(event, path).parse().ok())
        .max()
}

/// What may go on now that an object is gone: its dependents, its owners that wait for it, its namespace, its definition.
fn touched_by(core: &Core, gone: &super::store::Gone) -> Vec<Address> {
    let mut touched = core.store.dependents(&gone.uid);
    touched.extend(gone.owners.iter().filter_map(|uid| core.store.find_uid(uid)));
    if !gone.address.namespace.is_empty() {
        touched.push(Address::new(&NAMESPACES.into(), "", &gone.address.namespace));
    }
    if let Some((group, plural)) = gone.address.resource.split_once('/')
        && group.contains('.')
    {
        touched.push(Address::new(&CRDS.into(), "", &format!("{plural}.{group}")));
    }
    touched
}

/// Does what an object calls for.
fn look(core: &Core, user: &User, address: &Address) -> Result<()> {
    let (Some(object), Some(kind)) = (core.store.get(address), core.kind(&address.resource)) else {
        return Ok(());
    };
    if object.facts.deleting {
        let value = object.value();
        let finalizers = meta::finalizers(&value);
        if finalizers.contains(&ORPHAN) {
            orphan_dependents(core, user, &object)?;
            return drop_finalizer(core, user, &kind, address, ORPHAN);
        }
        if finalizers.contains(&FOREGROUND) {
            return collect_foreground(core, user, &kind, address, &object);
        }
        if kind.is(NAMESPACES) {
            return end_namespace(core, user, &kind, &value);
        }
        if kind.is(CRDS) && finalizers.contains(&CRD_CLEANUP) {
            return end_definition(core, user, &kind, address, &value);
        }
    }
    if !object.facts.owners.is_empty() {
        return collect_dependent(core, user, &kind, address, &object);
    }
    Ok(())
}

fn gone_is_fine<T>(result: Result<T>) -> Result<()> {
    match result {
        Err(error) if error.reason != "NotFound" => Err(error),
        _ => Ok(()),
    }
}

fn remove(core: &Core, user: &User, address: &Address, uid: &str, policy: Option<Propagation>) -> Result<()> {
    let Some(kind) = core.kind(&address.resource) else {
        return Ok(());
    };
    let mut call = Call::internal(core, &kind, user, &address.namespace);
    let options = DeleteOptions {
        propagation: policy,
        uid: Some(uid.to_owned()),
        ..DeleteOptions::default()
    };
    match delete::delete(&mut call, &address.name, &options) {
        // Another object took the name.
        Err(error) if error.reason == "Conflict" => Ok(()),
        other => gone_is_fine(other),
    }
}

fn change(
    core: &Core,
    user: &User,
    kind: &Arc<Kind>,
    address: &Address,
    part: Part,
    change: impl Fn(&Value) -> Value,
) -> Result<()> {
    let mut call = Call::internal(core, kind, user, &address.namespace);
    gone_is_fine(update::modify(&mut call, &address.name, part, |_, old| {
        Ok(change(old))
    }))
}

fn drop_finalizer(
    core: &Core,
    user: &User,
    kind: &Arc<Kind>,
    address: &Address,
    finalizer: &str,
) -> Result<()> {
    change(core, user, kind, address, Part::Main, |old| {
        let kept: Vec<&str> = meta::finalizers(old)
            .into_iter()
            .filter(|known| *known != finalizer)
            .collect();
        let kept = json!(kept);
        let mut new = old.clone();
        meta::set_meta(&mut new, "finalizers", kept);
        new
    })
}

fn orphan_dependents(core: &Core, user: &User, owner: &Object) -> Result<()> {
    for address in core.store.dependents(&owner.facts.uid) {
        drop_owners(core, user, &address, &|uid| uid == &*owner.facts.uid)?;
    }
    Ok(())
}

fn drop_owners(core: &Core, user: &User, address: &Address, gone: &dyn Fn(&str) -> bool) -> Result<()> {
    let Some(kind) = core.kind(&address.resource) else {
        return Ok(());
    };
    change(core, user, &kind, address, Part::Main, |old| {
        let owners = meta::at(old, &["metadata", "ownerReferences"]).and_then(Value::as_array);
        let kept = owners
            .into_iter()
            .flatten()
            .filter(|owner| !gone(meta::text(owner, &["uid"])));
        let kept: Vec<Value> = kept.cloned().collect();
        let mut new = old.clone();
        meta::set_meta(&mut new, "ownerReferences", kept);
        new
    })
}

/// Foreground deletion of an owner: its dependents first, and then itself.
fn collect_foreground(
    core: &Core,
    user: &User,
    kind: &Arc<Kind>,
    address: &Address,
    owner: &Object,
) -> Result<()> {
    let mut waits = false;
    for dependent in core.store.dependents(&owner.facts.uid) {
        let Some(object) = core.store.get(&dependent) else {
            continue;
        };
        let blocks = object
            .facts
            .owners
            .iter()
            .any(|reference| reference.uid == owner.facts.uid && reference.blocks);
        if !object.facts.deleting {
            remove(
                core,
                user,
                &dependent,
                &object.facts.uid,
                Some(Propagation::Foreground),
            )?;
        }
        waits |= blocks && core.store.get(&dependent).is_some();
    }
    if waits {
        Ok(())
    } else {
        drop_finalizer(core, user, kind, address, FOREGROUND)
    }
}

/// An object with owners goes when none of them is left.
fn collect_dependent(
    core: &Core,
    user: &User,
    kind: &Arc<Kind>,
    address: &Address,
    object: &Object,
) -> Result<()> {
    let is_there = |uid: &str| {
        core.store
            .find_uid(uid)
            .is_some_and(|owner| may_own(&owner, address))
    };
    // The common case, without parsing.
    if object.facts.owners.iter().all(|owner| is_there(&owner.uid)) {
        return Ok(());
    }
    let value = object.value();
    let references = meta::at(&value, &["metadata", "ownerReferences"]).and_then(Value::as_array);
    let catalogue = core.catalogue();
    let mut absent = Vec::new();
    let (mut present, mut unknown) = (0, 0);
    for reference in references.into_iter().flatten() {
        let uid = meta::text(reference, &["uid"]);
        if !catalogue.knows(
            meta::text(reference, &["apiVersion"]),
            meta::text(reference, &["kind"]),
        ) {
            // Kinds that nobody serves cannot be looked up; the object stays, as with a real collector.
            unknown += 1;
        } else if is_there(uid) {
            present += 1;
        } else {
            absent.push(uid.to_owned());
        }
    }
    if absent.is_empty() {
        return Ok(());
    }
    if present + unknown > 0 {
        return drop_owners(core, user, address, &|uid| absent.iter().any(|gone| gone == uid));
    }
    if object.facts.deleting {
        return Ok(());
    }
    tracing::debug!(
        kind = kind.resource.kind,
        ?address,
        "collecting an object without owners"
    );
    remove(
        core,
        user,
        address,
        &object.facts.uid,
        Some(Propagation::Background),
    )
    .map(drop)
}

/// Owners are in the same namespace or in none.
fn may_own(owner: &Address, dependent: &Address) -> bool {
    owner.namespace.is_empty() || owner.namespace == dependent.namespace
}

fn end_namespace(core: &Core, user: &User, kind: &Arc<Kind>, namespace: &Value) -> Result<()> {
    let name = meta::meta_text(namespace, "name");
    let address = Address::new(&kind.key, "", name);
    let mut waiting = Vec::new();
    for address in core.store.in_namespace(name) {
        let Some(object) = core.store.get(&address) else {
            continue;
        };
        if !object.facts.deleting {
            remove(
                core,
                user,
                &address,
                &object.facts.uid,
                Some(Propagation::Background),
            )?;
        }
        if core.store.get(&address).is_some() {
            waiting.push(address);
        }
    }
    if waiting.is_empty() {
        return change(core, user, kind, &address, Part::Finalize, |old| {
            let kept: Vec<&str> = meta::texts(old, &["spec", "finalizers"])
                .into_iter()
                .filter(|f| *f != "kubernetes")
                .collect();
            let kept = json!(kept);
            let mut new = old.clone();
            meta::set(&mut new, &["spec", "finalizers"], kept);
            new
        });
    }
    let message = format!(
        "Some resources are remaining: {} objects, such as {} {}",
        waiting.len(),
        waiting[0].resource,
        waiting[0].name
    );
    tracing::debug!(namespace = name, message, "a namespace waits for its content");
    Ok(())
}

fn end_definition(
    core: &Core,
    user: &User,
    kind: &Arc<Kind>,
    address: &Address,
    definition: &Value,
) -> Result<()> {
    let group = meta::text(definition, &["spec", "group"]);
    let plural = meta::text(definition, &["spec", "names", "plural"]);
    let key: Arc<str> = format!("{group}/{plural}").into();
    let (objects, _) = core.store.list(&key, None);
    for object in objects {
        let address = object.address(&key);
        if !object.facts.deleting {
            remove(
                core,
                user,
                &address,
                &object.facts.uid,
                Some(Propagation::Background),
            )?;
        }
    }
    if core.store.list(&key, None).0.is_empty() {
        return drop_finalizer(core, user, kind, address, CRD_CLEANUP);
    }
    Ok(())
}

/// A namespace gets what its pods and people expect to find: the default service account.
pub async fn furnish_namespaces(core: Arc<Core>, end: CancellationToken) {
    let user = User::new(
        "system:serviceaccount:kube-system:service-account-controller",
        [super::auth::MASTERS],
    );
    let mut subscription = core.store.subscribe(&NAMESPACES.into(), None);
    for namespace in core.store.list(NAMESPACES, None).0 {
        furnish(&core, &user, &namespace);
    }
    loop {
        let batch = tokio::select! {
            () = end.cancelled() => return,
            batch = subscription.next() => batch,
        };
        match batch {
            Ok(batch) => batch
                .changes
                .iter()
                .for_each(|change| furnish(&core, &user, &change.object)),
            Err(_) => {
                subscription = core.store.subscribe(&NAMESPACES.into(), None);
                core.store
                    .list(NAMESPACES, None)
                    .0
                    .iter()
                    .for_each(|namespace| furnish(&core, &user, namespace));
            }
        }
    }
}

fn furnish(core: &Core, user: &User, namespace: &Object) {
    if namespace.facts.deleting {
        return;
    }
    let name = &*namespace.facts.name;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}});
    let Some(kind) = core.kind(super::catalogue::SERVICE_ACCOUNTS) else {
        return;
    };
    if core
        .store
        .get(&Address::new(&kind.key, name, "default"))
        .is_some()
    {
        return;
    }
    let mut call = Call::internal(core, &kind, user, name);
    match super::verbs::create::create(&mut call, account) {
        Ok(_) => {}
        Err(ApiError {
            reason: "AlreadyExists" | "NotFound" | "Forbidden",
            ..
        }) => {}
        Err(error) => tracing::warn!(namespace = name, %error, "could not make the default service account"),
    }
}
