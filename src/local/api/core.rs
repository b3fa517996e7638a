//! What all requests share.
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    auth::{
        rbac::{self, Policy},
        tokens::Tokens,
    },
    catalogue::{CRDS, Catalogue, Kind},
    store::Store,
};
use crate::local::logs::LogRouter;

/// The server without its network side.
pub struct Core {
    /// The objects.
    pub store: Arc<Store>,
    catalogue: watch::Sender<Arc<Catalogue>>,
    /// Held while the catalogue is made anew, so that of two writers the later one's stays.
    reloading: Mutex<()>,
    /// Who may do what, with the version at which it was read.
    policy: RwLock<(u64, Arc<Policy>)>,
    /// Who may come in.
    pub tokens: Tokens,
    /// Where container logs come from.
    pub logs: LogRouter,
    /// Cancelled when the server stops: watches and followed logs end.
    pub shutdown: CancellationToken,
}

impl Core {
    /// Over a store that may hold objects already.
    pub fn new(store: Arc<Store>, tokens: Tokens, logs: LogRouter, shutdown: CancellationToken) -> Self {
        let core = Self {
            store,
            catalogue: watch::Sender::default(),
            reloading: Mutex::default(),
            policy: RwLock::default(),
            tokens,
            logs,
            shutdown,
        };
        core.reload_catalogue();
        core
    }

    /// What is served now.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.borrow().clone()
    }

    /// Tells when what is served changes.
    pub fn catalogue_changes(&self) -> watch::Receiver<Arc<Catalogue>> {
        self.catalogue.subscribe()
    }

    /// The kind under which objects of a resource are written.
    pub fn kind(&self, key: &str) -> Option<Arc<Kind>> {
        self.catalogue().by_key(key)
    }

    /// Who may do what, as of now.
    pub fn policy(&self) -> Arc<Policy> {
        // Read before the objects: what changes in between is read again next time.
        let version = self.store.last_change(&rbac::STORED);
        let known = self.policy.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.0 == version {
            return known.1;
        }
        let policy = Arc::new(Policy::load(&self.store));
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = (version, policy.clone());
        policy
    }

    /// Serves what the stored definitions say. Called after each write of one.
    pub fn reload_catalogue(&self) {
        let _turn = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let catalogue = self.catalogue();
        let (definitions, _) = self.store.list(CRDS, None);
        let definitions: Vec<Value> = definitions.iter().map(|object| object.value()).collect();
        let new = Catalogue::new(&definitions);
        for kind in new.stored().filter(|kind| kind.resource.custom) {
            let former = catalogue
                .by_key(&kind.key)
                .map(|known| known.fields.clone())
                .unwrap_or_default();
            if former != kind.fields {
                self.store.reindex(&kind.key, &kind.fields);
            }
        }
        self.catalogue.send_replace(Arc::new(new));
    }
}
