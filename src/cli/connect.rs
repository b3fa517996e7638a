//! How the client commands reach a cluster, and what its refusals say to a person.

use std::{
    error::Error as _,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Api, Client, Config,
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::shallow;
use crate::crd::{Function, Task};

/// Longest wait for a connection; the answer itself may take longer (watches, logs).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which cluster and namespace a client command speaks to.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectArgs {
    /// Namespace; without it the one of the kubeconfig's context, else `default`
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Which cluster a command speaks to.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ClusterArgs {
    /// Kubeconfig file; without it $KUBECONFIG, else ~/.kube/config, else the pod's own service account
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; without it the current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// Why no cluster could be reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kubeconfig named by the user does not work.
    #[error("could not use the kubeconfig {path}", path = path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KubeconfigError,
    },
    /// The kubeconfig has no such context, or the context is broken.
    #[error("could not use the context {context:?} of the kubeconfig")]
    Context {
        /// The context as given.
        context: String,
        /// Why.
        #[source]
        source: KubeconfigError,
    },
    /// There is neither a usable kubeconfig nor a service account.
    #[error(
        "found no cluster to speak to: set KUBECONFIG or --kubeconfig to the file that `errand dev` or your cluster wrote ({reason})"
    )]
    Infer {
        /// What was tried.
        reason: String,
    },
    /// The configuration cannot be turned into a client.
    #[error("could not make a client from the kubeconfig")]
    Client(#[source] Refusal),
}

/// A client with the namespace that the user chose.
#[derive(Clone)]
pub struct Session {
    /// Client as the kubeconfig says.
    pub client: Client,
    /// Namespace of all objects that the command touches.
    pub namespace: String,
}

impl ConnectArgs {
    /// Reads the kubeconfig and makes a client; nothing is sent yet.
    pub async fn session(&self) -> Result<Session, Error> {
        let (client, namespace) = self.cluster.client().await?;
        let namespace = self.namespace.clone().unwrap_or(namespace);
        Ok(Session { client, namespace })
    }
}

impl ClusterArgs {
    /// A client, and the namespace that the kubeconfig or the pod's service account names.
    pub async fn client(&self) -> Result<(Client, String), Error> {
        self.make(shallow::client).await
    }

    /// The same for controller and facade, which act on what is not there.
    pub async fn steady_client(&self) -> Result<(Client, String), Error> {
        self.make(shallow::steady_client).await
    }

    async fn make(&self, make: fn(Config) -> kube::Result<Client>) -> Result<(Client, String), Error> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // A person waits: kube's own retries would keep them waiting for minutes without a word. The controller has
        // its own backoff per object.
        config.default_retry = false;
        let namespace = config.default_namespace.clone();
        let client = make(config).map_err(|source| Error::Client(source.into()))?;
        Ok((client, namespace))
    }

    async fn config(&self) -> Result<Config, Error> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        match (&self.kubeconfig, &self.context) {
            (Some(path), _) => from_file(path, &options).await,
            (None, Some(context)) => {
                Config::from_kubeconfig(&options)
                    .await
                    .map_err(|source| Error::Context {
                        context: context.clone(),
                        source,
                    })
            }
            (None, None) => Config::infer().await.map_err(|source| Error::Infer {
                reason: infer_reason(&source),
            }),
        }
    }
}

async fn from_file(path: &Path, options: &KubeConfigOptions) -> Result<Config, Error> {
    let failed = |source| Error::Kubeconfig {
        path: path.to_owned(),
        source,
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    Config::from_custom_kubeconfig(kubeconfig, options)
        .await
        .map_err(failed)
}

// The type has no accessors and its own text repeats each part twice; its source is the kubeconfig's error.
fn infer_reason(error: &InferConfigError) -> String {
    error.source().map_or_else(|| error.to_string(), root_cause)
}

impl Session {
    /// Tasks of the namespace.
    pub fn tasks(&self) -> Api<Task> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One Task of the namespace.
    pub async fn task(&self, name: &str) -> Result<Task, Unread> {
        self.tasks().get(name).await.map_err(|source| Unread {
            name: name.to_owned(),
            source: source.into(),
        })
    }

    /// Functions of the namespace.
    pub fn functions(&self) -> Api<Function> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// A Task that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read task/{name}")]
pub struct Unread {
    name: String,
    source: Refusal,
}

/// A failed request as a sentence for the person at the terminal. It has no source: kube's errors repeat their
/// sources in their own text.
#[derive(Debug)]
pub struct Refusal(pub Box<kube::Error>);

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        Self(Box::new(error))
    }
}

impl Refusal {
    /// HTTP status code of the answer, where there was an answer.
    pub fn code(&self) -> Option<u16> {
        match &*self.0 {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            kube::Error::Api(status) => f.write_str(&refused(status.code, &status.message)),
            kube::Error::HyperError(source) => write!(f, "{}", unreachable(source)),
            kube::Error::Service(source) => write!(f, "{}", unreachable(source.as_ref())),
            kube::Error::SerdeError(source) => {
                write!(
                    f,
                    "the API server answered something that is not understood ({source}); are its CRDs of another version? `errand crds` prints those of this one"
                )
            }
            other => f.write_str(&root_cause(other)),
        }
    }
}

impl std::error::Error for Refusal {}

fn refused(code: u16, message: &str) -> String {
    let message = message.trim_end_matches(['.', '\n']);
    match code {
        401 => "the API server did not accept the credentials in the kubeconfig; is it that of a running plane or cluster?".to_owned(),
        // What a server says of a path that it does not serve, in contrast to an object that it does not have.
        404 if !message.contains('"') => {
            "the API server does not know Task, Function and Schedule: install them with `errand crds --apply`".to_owned()
        }
        0 => message.to_owned(),
        _ => format!("{message} (HTTP {code})"),
    }
}

fn unreachable(error: &dyn std::error::Error) -> String {
    format!(
        "no answer from the API server ({}); check that it runs and that the kubeconfig names it",
        root_cause(error)
    )
}

/// The text of the innermost source: what actually went wrong.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn api(code: u16, message: &str) -> String {
        let status: Status =
            serde_json::from_value(serde_json::json!({"code": code, "message": message})).unwrap();
        Refusal::from(kube::Error::Api(Box::new(status))).to_string()
    }

    #[test]
    fn refusals_say_what_to_do_next() {
        assert_eq!(
            api(404, "404 page not found\n"),
            "the API server does not know Task, Function and Schedule: install them with `errand crds --apply`"
        );
        assert_eq!(
            api(404, "functions.errand.dev \"hello\" not found"),
            "functions.errand.dev \"hello\" not found (HTTP 404)"
        );
        assert!(api(401, "Unauthorized").contains("credentials in the kubeconfig"));
        assert_eq!(api(403, "tasks is forbidden"), "tasks is forbidden (HTTP 403)");
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let args = ClusterArgs {
            kubeconfig: Some("/nowhere/config".into()),
            ..ClusterArgs::default()
        };
        let error = args.client().await.err().unwrap();
        assert_eq!(error.to_string(), "could not use the kubeconfig /nowhere/config");
        assert!(
            crate::chain::chain(&error).contains("No such file"),
            "{}",
            crate::chain::chain(&error)
        );
    }
}
