//! The API server of the embedded plane: a small, exact part of Kubernetes' API over objects in memory.
//!
//! ```ignore
//! let server = ApiServer::start(ApiOptions::default()).await?;       // inside a tokio runtime
//! let client: kube::Client = server.client();                        // in process, may do anything
//! let anns = server.client_for(User::new("ann", ["dev"]));           // in process, as RBAC lets her
//! let authority = server.authority_pem();                            // certificate for kubeconfigs
//! server.serve(listener, shutdown).await?;                           // HTTPS with bearer tokens
//! ```
//!
//! - [`store`]: objects, versions, history; optionally on disk.
//! - [`verbs`]: what can be done with objects. [`patch`]: the ways to patch.
//! - [`schema`]: what the types look like. [`catalogue`]: what is served now.
//! - `begin`: what is there from the start. `gc`: what goes on behind requests: owner references, namespaces, definitions, old events.
//! - [`auth`]: tokens and RBAC. [`http`]: paths, negotiation, refusals.
//!
//! Where it knowingly differs from kube-apiserver:
//! - managedFields exist only on objects that somebody applies server-side; who creates or updates without applying
//!   becomes a manager only of fields taken from one who does. Conflicts with a creator are therefore not noticed.
//! - Protobuf is read for the few kinds that kubectl sends from typed clients, and never written. No CBOR.
//! - A version of the future in a watch is answered with 410, so that clients of a server that lost its memory list anew.
//! - Admission is: namespaces must exist and live, a pod's service account must exist, nobody grants more than they have.
//!   There are no quotas, limit ranges, priority classes, webhooks, services or workloads beyond pods.
//! - SelfSubjectRulesReview lists nothing and says that it is incomplete.
pub mod auth;
mod begin;
pub mod catalogue;
mod core;
mod defaults;
mod events;
mod gc;
mod http;
mod meta;
mod patch;
pub mod schema;
mod selectors;
mod store;
mod verbs;

use std::{path::PathBuf, sync::Arc};

use axum::{Router, body::Body};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt as _;

pub use self::auth::{User, tokens::StaticToken};
use self::{
    auth::tokens::Tokens,
    catalogue::Catalogue,
    core::Core,
    http::identity::{Authority, IdentityError},
    store::{Store, persist::PersistError},
};
use super::logs::LogRouter;
use crate::serve::Serving;

/// How a server is set up.
#[derive(Clone, Default)]
pub struct ApiOptions {
    /// Bearer tokens that the served side accepts.
    pub tokens: Vec<StaticToken>,
    /// Folder that keeps objects, authority and certificate over restarts; without it all is in memory.
    pub data_dir: Option<PathBuf>,
    /// Where container logs come from.
    pub logs: LogRouter,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What it begins with could not be stored.
    #[error("store the first objects: {0}")]
    Begin(String),
    /// The data folder cannot be used.
    #[error(transparent)]
    Data(#[from] PersistError),
    /// There is no certificate to serve with.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The listener is no good.
    #[error("listen for clients of the API server")]
    Listener(#[source] std::io::Error),
}

pub(crate) struct Inner {
    core: Arc<Core>,
    authority: Authority,
    /// Ends the workers with the last handle.
    _workers: DropGuard,
}

/// A running API server. Clones are handles to the same one; it ends with the last of them and their clients.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

/// Folder of the server inside the data folder.
const DATA: &str = "api";
/// Connections at a time; more wait in the backlog of the listener.
const MAX_CONNECTIONS: usize = 1024;

impl ApiServer {
    /// Starts a server; its workers run on the current tokio runtime.
    ///
    /// # Errors
    /// A data folder that cannot be used.
    pub async fn start(options: ApiOptions) -> Result<Self, Error> {
        let store = Arc::new(open(&options)?);
        let workers = CancellationToken::new();
        let tokens = Tokens::new(&options.tokens);
        let core = Arc::new(Core::new(store, tokens, options.logs, workers.child_token()));
        begin::begin(&core).map_err(|error| Error::Begin(error.to_string()))?;
        if options.data_dir.is_some() {
            tokio::spawn(core.store.clone().keep(workers.clone()));
        }
        tokio::spawn(gc::run(core.clone(), workers.clone()));
        tokio::spawn(gc::furnish_namespaces(core.clone(), workers.clone()));
        let authority = match &options.data_dir {
            Some(folder) => Authority::keep(&folder.join(DATA))?,
            None => Authority::make()?,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                core,
                authority,
                _workers: workers.drop_guard(),
            }),
        })
    }

    /// A client in this process that may do anything.
    pub fn client(&self) -> kube::Client {
        self.client_for(User::superuser())
    }

    /// A client in this process that acts as a user.
    pub fn client_for(&self, user: User) -> kube::Client {
        let service = self
            .router()
            .map_request(move |request: ::http::Request<kube::client::Body>| {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(user.clone());
                request
            });
        kube::Client::new(service, "default")
    }

    /// A service account token with any end, where requests for one cannot be that short.
    #[cfg(test)]
    pub(crate) fn issue_token(&self, binding: &auth::tokens::Binding<'_>) -> String {
        auth::tokens::issue(&self.inner.core, binding).unwrap()
    }

    /// Certificate of the authority, PEM: what clients of [`ApiServer::serve`] trust.
    pub fn authority_pem(&self) -> &str {
        &self.inner.authority.certificate
    }

    /// Serves HTTPS with bearer tokens until shutdown; watches and followed logs end then, in-process ones too.
    ///
    /// # Errors
    /// A listener or certificate that cannot be used.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
        let address = listener.local_addr().map_err(Error::Listener)?;
        let config = self.inner.authority.server_config(&[address.ip()])?;
        let watches = self.inner.core.shutdown.clone();
        let tell = async {
            shutdown.cancelled().await;
            watches.cancel();
        };
        let serving = Serving {
            tls: Some(config),
            ..Serving::plain(MAX_CONNECTIONS)
        };
        let (served, ()) = tokio::join!(serving.serve(listener, self.router(), shutdown.clone()), tell);
        served.map_err(Error::Listener)
    }

    /// The service behind both sides.
    fn router(&self) -> Router {
        http::router::router(self.inner.clone())
    }
}

fn open(options: &ApiOptions) -> Result<Store, Error> {
    let Some(folder) = &options.data_dir else {
        return Ok(Store::new());
    };
    let opened = store::persist::open(&folder.join(DATA))?;
    let definitions = opened
        .objects
        .iter()
        .filter(|(address, _)| &*address.resource == catalogue::CRDS);
    let definitions: Vec<serde_json::Value> = definitions
        .filter_map(|(_, (_, json))| serde_json::from_slice(json).ok())
        .collect();
    let catalogue = Catalogue::new(&definitions);
    Ok(Store::load(opened, |key| {
        catalogue
            .by_key(key)
            .map(|kind| kind.fields.clone())
            .unwrap_or_default()
    }))
}

#[cfg(test)]
mod tests;
