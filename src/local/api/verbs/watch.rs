//! Watch: a stream of changes, as selected objects come, change and go.
use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::body::Bytes;
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::{sync::watch::Receiver, time::Instant};
use tokio_util::sync::CancellationToken;

use super::list::{Selection, parse_version};
use crate::local::api::{
    catalogue::{Catalogue, Kind},
    core::Core,
    http::{
        path::Query,
        respond::Render,
        status::{ApiError, Result},
    },
    meta,
    store::{Change, ChangeKind, Expired, Object, Subscription},
};

/// How often a watch that wants bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A watch without `timeoutSeconds` ends after this; the real server takes 30 to 60 minutes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45 * 60);

/// How a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// With what there is, as ADDED.
    Present {
        /// Then a bookmark that says so.
        marked: bool,
    },
    /// After a version.
    After(u64),
}

/// Options of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    begin: Begin,
    bookmarks: bool,
    timeout: Duration,
}

impl WatchOptions {
    /// From query parameters.
    ///
    /// # Errors
    /// Combinations that `validation.ValidateListOptions` of apiserver refuses.
    pub fn parse(query: &Query, current: u64) -> Result<Self> {
        let version = query.get("resourceVersion").map(parse_version).transpose()?;
        let matching = query.get("resourceVersionMatch");
        let bookmarks = query.flag("allowWatchBookmarks");
        let initial = query.tristate("sendInitialEvents");
        let forbid = |text: &str| Err(ApiError::bad_request(text));
        match (initial, matching) {
            (None, Some(_)) => {
                return forbid(
                    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                );
            }
            (Some(_), Some("NotOlderThan")) | (None, None) => {}
            (Some(_), _) => {
                return forbid(
                    "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                );
            }
        }
        let begin = match (initial, version) {
            (Some(true), Some(version)) if version > current => {
                return Err(ApiError::version_from_future(version, current));
            }
            (Some(true), _) => Begin::Present { marked: bookmarks },
            (Some(false), None | Some(0)) => Begin::After(current),
            (None, None | Some(0)) => Begin::Present { marked: false },
            (_, Some(version)) => Begin::After(version),
        };
        let timeout = query
            .number("timeoutSeconds")?
            .map_or(DEFAULT_TIMEOUT, Duration::from_secs);
        Ok(Self {
            begin,
            bookmarks,
            timeout: timeout.min(DEFAULT_TIMEOUT * 100),
        })
    }
}

struct Watch {
    kind: Arc<Kind>,
    selection: Selection,
    render: Render,
    subscription: Subscription,
    pending: VecDeque<Bytes>,
    version: u64,
    bookmarks: bool,
    bookmark_at: Instant,
    deadline: Instant,
    shutdown: CancellationToken,
    served: Receiver<Arc<Catalogue>>,
    ended: bool,
}

/// Follows objects of a kind: lines of JSON, each a `WatchEvent`. The stream ends at its timeout, at shutdown, or after
/// an ERROR event.
///
/// # Errors
/// 410 when the history does not reach back to where the watch begins.
pub fn watch(
    core: &Core,
    kind: &Arc<Kind>,
    selection: Selection,
    render: Render,
    options: WatchOptions,
) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + 'static> {
    let (store, now) = (&core.store, Instant::now());
    let mut pending = VecDeque::new();
    let version = match options.begin {
        Begin::After(version) => version,
        Begin::Present { marked } => {
            let (objects, version) = store.list(&kind.key, selection.namespace.as_deref());
            let selected = objects.iter().filter(|object| selection.matches(&object.facts));
            pending.extend(selected.map(|object| event("ADDED", kind, &render, object)));
            if marked {
                pending.push_back(bookmark(kind, version, true));
            }
            version
        }
    };
    let mut watch = Watch {
        kind: kind.clone(),
        selection,
        render,
        subscription: store.subscribe(&kind.key, Some(version)),
        pending,
        version,
        bookmarks: options.bookmarks,
        bookmark_at: now + BOOKMARK_EVERY,
        deadline: now + options.timeout,
        shutdown: core.shutdown.clone(),
        served: core.catalogue_changes(),
        ended: false,
    };
    // Too old a version is told at once, with a status of its own.
    watch
        .collect()
        .map_err(|expired| ApiError::expired(expired.to_string()))?;
    Ok(stream::unfold(watch, |mut watch| async move {
        let chunk = watch.next().await?;
        Some((Ok(chunk), watch))
    }))
}

impl Watch {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.chunk() {
                return Some(chunk);
            }
            if self.ended {
                return None;
            }
            tokio::select! {
                () = self.subscription.changed() => {
                    if let Err(expired) = self.collect() {
                        self.ended = true;
                        let status = ApiError::expired(expired.to_string()).status();
                        self.pending.push_back(line(&json!({"type": "ERROR", "object": status})));
                    }
                }
                () = tokio::time::sleep_until(self.bookmark_at), if self.bookmarks => self.mark(),
                () = tokio::time::sleep_until(self.deadline) => {
                    self.ended = true;
                    if self.bookmarks {
                        self.mark();
                    }
                }
                changed = self.served.changed() => {
                    // A definition went: its watches end, and those who begin anew learn that it is gone.
                    self.ended = changed.is_err() || !self.is_served();
                }
                () = self.shutdown.cancelled() => self.ended = true,
            }
        }
    }

    fn is_served(&self) -> bool {
        let resource = &self.kind.resource;
        self.served
            .borrow()
            .find(&resource.group, &resource.version, &resource.plural)
            .is_some()
    }

    /// What waits, up to a size that a client takes at once.
    fn chunk(&mut self) -> Option<Bytes> {
        const ENOUGH: usize = 64 * 1024;
        let first = self.pending.pop_front()?;
        if self.pending.is_empty() || first.len() >= ENOUGH {
            return Some(first);
        }
        let mut chunk = first.to_vec();
        while chunk.len() < ENOUGH
            && let Some(next) = self.pending.pop_front()
        {
            chunk.extend_from_slice(&next);
        }
        Some(chunk.into())
    }

    fn mark(&mut self) {
        self.pending.push_back(bookmark(&self.kind, self.version, false));
        self.bookmark_at = Instant::now() + BOOKMARK_EVERY;
    }

    fn collect(&mut self) -> Result<(), Expired> {
        let batch = self.subscription.poll()?;
        self.version = batch.version;
        for change in batch.changes {
            if let Some(event) = self.translate(&change) {
                self.pending.push_back(event);
            }
        }
        Ok(())
    }

    /// A change as a watcher of the selection sees it.
    fn translate(&self, change: &Change) -> Option<Bytes> {
        let before = change
            .previous
            .as_ref()
            .is_some_and(|object| self.selection.matches(&object.facts));
        if change.kind == ChangeKind::Deleted {
            return before.then(|| event("DELETED", &self.kind, &self.render, &change.object));
        }
        let after = self.selection.matches(&change.object.facts);
        match (before, after, &change.previous) {
            (true, true, _) => Some(event("MODIFIED", &self.kind, &self.render, &change.object)),
            (false, true, _) => Some(event("ADDED", &self.kind, &self.render, &change.object)),
            (true, false, Some(previous)) => {
                // It leaves the selection as it was, under the version of the change.
                let mut last = previous.value();
                meta::set_meta(&mut last, "resourceVersion", change.version.to_string());
                let last = self.render.value(&self.kind, self.kind.from_stored(last));
                Some(line(&json!({"type": "DELETED", "object": last})))
            }
            _ => None,
        }
    }
}

fn event(name: &str, kind: &Kind, render: &Render, object: &Object) -> Bytes {
    if render.is_whole() && kind.serves_as_stored(object) {
        let mut out = Vec::with_capacity(object.json.len() + 40);
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        out.extend_from_slice(&object.json);
        out.extend_from_slice(b"}\n");
        return out.into();
    }
    let value = render.value(kind, kind.from_stored(object.value()));
    line(&json!({"type": name, "object": value}))
}

fn bookmark(kind: &Kind, version: u64, initial: bool) -> Bytes {
    let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
    if initial {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let object = json!({"kind": kind.resource.kind, "apiVersion": kind.api_version, "metadata": metadata});
    line(&json!({"type": "BOOKMARK", "object": object}))
}

fn line(event: &Value) -> Bytes {
    let mut out = event.to_string().into_bytes();
    out.push(b'\n');
    out.into()
}
