//! The whole of Errand in one process: API server, scheduler, node and engine, wired together. `errand dev` is this
//! with flags and signals around it; tests start it for themselves.

use std::{
    convert::Infallible,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum;
use kube::Client;
use tokio::{net::TcpListener, sync::oneshot};
use uuid::Uuid;

use super::{
    apply, definitions, kubeconfig,
    rooms::{Failure, Rooms},
    supervisor_image,
    token::{ADMIN, Token},
};
use crate::{
    engine::{self, leader::Leadership, metrics::Metrics},
    facade::{
        self, Listeners,
        access::Caller,
        peers::{PeerListener, Proof},
    },
    local::{
        api::{self, ApiOptions, ApiServer, StaticToken, User},
        logs::LogRouter,
        node::{Node, NodeError, NodeOptions, RuntimeChoice},
        node_lifecycle::{self, NodeLifecycleOptions},
        scheduler::{self, SchedulerOptions},
    },
    tls::FileIdentity,
};

/// Name of the one Node.
const NODE: &str = "errand-dev";
/// Limit on each step of the start that waits for another part.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Limit on the end of all parts.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What runs containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// Docker where a socket answers, else processes
    #[default]
    Auto,
    /// Child processes of this machine: no isolation, images are not used
    Process,
    /// Containers of a Docker or Podman engine
    Docker,
}

/// How a plane is put together.
#[derive(Clone, Debug)]
pub struct PlaneOptions {
    /// Where the API listens (HTTPS); port 0 picks a free one.
    pub api_addr: SocketAddr,
    /// Where the facade listens (HTTP); port 0 picks a free one.
    pub facade_addr: SocketAddr,
    /// File to write, with authority and token inside.
    pub kubeconfig: PathBuf,
    /// Tokens that the API accepts; none = one random token of user admin.
    pub tokens: Vec<Token>,
    /// What runs containers.
    pub runtime: Runtime,
    /// Folder that keeps objects and pods over restarts; `None` = memory and a temporary folder.
    pub data_dir: Option<PathBuf>,
    /// Files and folders to apply at the start.
    pub apply: Vec<PathBuf>,
    /// What single doors of the facade are told.
    pub dialects: facade::dialects::Settings,
    /// Where Diego's door is served; `None` = nowhere.
    pub diego: Option<DiegoOptions>,
    /// The engine's configuration; `None` starts none, for tests that run their own on [`Plane::client`].
    pub engine: Option<engine::Config>,
    /// The executable that runs as the supervisor inside containers.
    pub supervisor: Option<PathBuf>,
}

impl PlaneOptions {
    /// A plane in memory on a free loopback port, on the process runtime, with an engine.
    pub fn new(kubeconfig: PathBuf) -> Self {
        Self {
            api_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            facade_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            kubeconfig,
            tokens: Vec::new(),
            runtime: Runtime::Process,
            data_dir: None,
            apply: Vec::new(),
            dialects: facade::dialects::Settings::default(),
            diego: None,
            engine: Some(engine::Config::default()),
            supervisor: None,
        }
    }
}

/// Where Diego's door is served, and to whom.
#[derive(Clone, Debug)]
pub struct DiegoOptions {
    /// Address; port 0 picks a free one. Of loopback where there is no identity.
    pub addr: SocketAddr,
    /// What it shows and asks for; `None` = plain HTTP, and every caller is admin.
    pub identity: Option<FileIdentity>,
}

/// Why a plane did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder could not be made.
    #[error("could not make the folder {path}", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process listens there.
    #[error("{addr} is already in use; choose another with {flag}, or port 0 for a free one")]
    InUse {
        /// As given.
        addr: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
    },
    /// The address cannot be listened on.
    #[error("could not listen on {addr}; choose another with {flag}")]
    Listen {
        /// As given.
        addr: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Everyone who reaches it could run what they like.
    #[error(
        "--diego-addr {0} is not of loopback: without --diego-ca, --diego-cert and --diego-key whoever reaches it is admin"
    )]
    Open(SocketAddr),
    /// The running executable is not known.
    #[error("could not find the running executable")]
    Executable(#[source] io::Error),
    /// The supervisor cannot be offered to containers.
    #[error(transparent)]
    Supervisor(#[from] supervisor_image::Error),
    /// The API server could not start.
    #[error("could not start the API server")]
    Api(#[source] api::Error),
    /// The types could not be registered.
    #[error(transparent)]
    Types(#[from] definitions::Error),
    /// The node cannot run containers.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A part did not come up.
    #[error("the {part} did not start within {START_LIMIT:?}")]
    Slow {
        /// Which part.
        part: &'static str,
    },
    /// A part failed.
    #[error(transparent)]
    Part(#[from] Failure),
    /// A file could not be applied.
    #[error(transparent)]
    Apply(#[from] apply::Error),
    /// The kubeconfig could not be written.
    #[error(transparent)]
    Kubeconfig(#[from] kubeconfig::Error),
    /// Parts that did not end in time.
    #[error("did not end in time and was dropped: {}", .0.join(", "))]
    Late(Vec<&'static str>),
}

/// A running plane. Dropped without [`Plane::stop`], its parts are told to end and nothing waits for them.
pub struct Plane {
    /// Speaks to the API within this process, as a member of system:masters.
    pub client: Client,
    /// `https://HOST:PORT`
    pub api_url: String,
    /// `http://HOST:PORT`
    pub facade_url: String,
    /// Where Diego's door is served: `https://HOST:PORT`, or http without certificates.
    pub diego_url: Option<String>,
    /// The file that was written.
    pub kubeconfig: PathBuf,
    /// The token in the kubeconfig: that of admin where there is one, else the first.
    pub token: Token,
    /// The engine's metrics.
    pub metrics: Arc<Metrics>,
    rooms: Rooms,
    folder: RunFolder,
}

impl Plane {
    /// Starts all parts; returns once all of them serve and the files are applied.
    ///
    /// # Errors
    /// [`Error`], after everything that was started has ended again.
    pub async fn start(options: PlaneOptions) -> Result<Self, Error> {
        let mut rooms = Rooms::default();
        let folder = RunFolder::make(options.data_dir.as_deref())?;
        let started = Self::start_in(options, &mut rooms, &folder).await;
        match started {
            Ok(Started {
                client,
                api_url,
                facade_url,
                diego_url,
                kubeconfig,
                token,
                metrics,
            }) => Ok(Self {
                client,
                api_url,
                facade_url,
                diego_url,
                kubeconfig,
                token,
                metrics,
                rooms,
                folder,
            }),
            Err(error) => {
                // The error that brought this about is what counts.
                if let Err(late) = rooms.stop(STOP_LIMIT).await {
                    tracing::warn!(parts = late.join(", "), "did not end in time");
                }
                folder.remove();
                Err(error)
            }
        }
    }

    async fn start_in(
        options: PlaneOptions,
        rooms: &mut Rooms,
        folder: &RunFolder,
    ) -> Result<Started, Error> {
        let tokens = if options.tokens.is_empty() {
            vec![Token::random_admin()]
        } else {
            options.tokens.clone()
        };
        let token = tokens
            .iter()
            .find(|token| token.user == ADMIN)
            .or(tokens.first())
            .cloned();
        let token = token.unwrap_or_else(Token::random_admin);
        let executable = match &options.supervisor {
            Some(path) => path.clone(),
            None => std::env::current_exe().map_err(Error::Executable)?,
        };
        supervisor_image::place(&executable, &folder.image())?;
        let (listener, addr) = listen(options.api_addr, "--api-addr").await?;
        let (doors, facade_addr) = listen(options.facade_addr, "--facade-addr").await?;
        let (peers, diego_url) = listen_for_peers(options.diego.as_ref()).await?.unzip();

        let logs = LogRouter::default();
        let server = api_server(&options, &tokens, logs.clone()).await?;
        let client = server.client();
        let authority = server.authority_pem().to_owned();
        rooms.start(
            "API server",
            |stop| async move { server.serve(listener, stop).await },
        );
        let api_url = format!("https://{addr}");
        definitions::install(&client).await?;

        start_controllers(rooms, &client);
        start_node(rooms, &options, folder, &client, logs).await?;
        let metrics = Arc::new(Metrics::new());
        start_engine(rooms, &options, &client, &metrics).await?;
        start_facade(rooms, &options, &client, Listeners { doors, peers }).await?;

        let text = kubeconfig::text(&api_url, &authority, &token.user, &token.secret)?;
        kubeconfig::write(&options.kubeconfig, &text)?;
        for path in &options.apply {
            let count = apply::apply(&client, path).await?;
            tracing::info!(path = %path.display(), count, "applied");
        }
        Ok(Started {
            client,
            api_url,
            facade_url: format!("http://{facade_addr}"),
            diego_url,
            kubeconfig: options.kubeconfig,
            token,
            metrics,
        })
    }

    /// Resolves when a part fails; pends while all is well.
    pub async fn failed(&mut self) -> Error {
        self.rooms.failed().await.into()
    }

    /// Ends all parts: the engine first, then node and scheduler with every container, the API last.
    ///
    /// # Errors
    /// Parts that had not ended after five seconds.
    pub async fn stop(self) -> Result<(), Error> {
        self.stop_within(STOP_LIMIT).await
    }

    /// As [`Plane::stop`], within a time of the caller's.
    ///
    /// # Errors
    /// Parts that had not ended by then.
    pub async fn stop_within(mut self, within: Duration) -> Result<(), Error> {
        let ended = self.rooms.stop(within).await;
        self.folder.remove();
        ended.map_err(Error::Late)
    }
}

struct Started {
    client: Client,
    api_url: String,
    facade_url: String,
    diego_url: Option<String>,
    kubeconfig: PathBuf,
    token: Token,
    metrics: Arc<Metrics>,
}

/// Where pods and the runner image live while the plane runs.
struct RunFolder {
    path: PathBuf,
    temporary: bool,
}

impl RunFolder {
    /// A folder for its owner alone: below the data folder, where it is kept, or in the folder for temporary files.
    fn make(data_dir: Option<&Path>) -> Result<Self, Error> {
        let (path, temporary) = match data_dir {
            Some(folder) => (folder.join("node"), false),
            None => (
                std::env::temp_dir().join(format!("errand-dev-{}", Uuid::new_v4().simple())),
                true,
            ),
        };
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| Error::Folder {
            path: path.clone(),
            source,
        })?;
        // Containers get paths below it, and their working directory is not ours.
        let path = fs::canonicalize(&path).map_err(|source| Error::Folder {
            path: path.clone(),
            source,
        })?;
        Ok(Self { path, temporary })
    }

    fn image(&self) -> PathBuf {
        self.path.join("image")
    }

    fn remove(&self) {
        if self.temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "could not remove the folder of the pods");
        }
    }
}

/// A listener, with the address that it has got.
async fn listen(addr: SocketAddr, flag: &'static str) -> Result<(TcpListener, SocketAddr), Error> {
    let refused = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => Error::InUse { addr, flag },
        _ => Error::Listen { addr, flag, source },
    };
    let listener = TcpListener::bind(addr).await.map_err(refused)?;
    let got = listener.local_addr().map_err(refused)?;
    Ok((listener, got))
}

/// The listener of Diego's door, with its URL.
async fn listen_for_peers(options: Option<&DiegoOptions>) -> Result<Option<(PeerListener, String)>, Error> {
    let Some(DiegoOptions { addr, identity }) = options else {
        return Ok(None);
    };
    let (scheme, proof) = match identity {
        Some(identity) => ("https", Proof::Certificate(identity.clone())),
        None if addr.ip().is_loopback() => ("http", Proof::Given(Arc::new(admin()))),
        None => return Err(Error::Open(*addr)),
    };
    let (listener, got) = listen(*addr, "--diego-addr").await?;
    Ok(Some((
        PeerListener { listener, proof },
        format!("{scheme}://{got}"),
    )))
}

/// Who may do anything, as the API server of the plane has it.
fn admin() -> Caller {
    Caller {
        user: ADMIN.to_owned(),
        groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
        ..Caller::default()
    }
}

async fn api_server(options: &PlaneOptions, tokens: &[Token], logs: LogRouter) -> Result<ApiServer, Error> {
    let token = |token: &Token| StaticToken {
        user: User::new(token.user.clone(), token.groups.clone()),
        secret: token.secret.clone(),
    };
    let options = ApiOptions {
        tokens: tokens.iter().map(token).collect(),
        data_dir: options.data_dir.clone(),
        logs,
    };
    ApiServer::start(options).await.map_err(Error::Api)
}

/// The parts of Kubernetes' control plane that pods need: scheduler and node lifecycle.
fn start_controllers(rooms: &mut Rooms, client: &Client) {
    let own = client.clone();
    rooms.start("scheduler", |stop| async move {
        scheduler::run(own, SchedulerOptions::default(), stop.cancelled_owned()).await;
        Ok::<_, Infallible>(())
    });
    let own = client.clone();
    rooms.start("node lifecycle controller", |stop| async move {
        node_lifecycle::run(own, NodeLifecycleOptions::default(), stop.cancelled_owned()).await;
        Ok::<_, Infallible>(())
    });
}

async fn start_node(
    rooms: &mut Rooms,
    options: &PlaneOptions,
    folder: &RunFolder,
    client: &Client,
    logs: LogRouter,
) -> Result<(), NodeError> {
    let mut node = NodeOptions::new(NODE, &folder.path);
    node.runtime = match options.runtime {
        Runtime::Auto => RuntimeChoice::Auto,
        Runtime::Process => RuntimeChoice::Process,
        Runtime::Docker => RuntimeChoice::Docker,
    };
    let image = options.engine.clone().unwrap_or_default().runner.image;
    node.images.insert(image, folder.image());
    node.logs = logs;
    let node = Node::set_up(client.clone(), node).await?;
    rooms.start("node", |stop| async move {
        node.run(stop.cancelled_owned()).await;
        Ok::<_, Infallible>(())
    });
    Ok(())
}

async fn start_engine(
    rooms: &mut Rooms,
    options: &PlaneOptions,
    client: &Client,
    metrics: &Arc<Metrics>,
) -> Result<(), Error> {
    let Some(mut config) = options.engine.clone() else {
        return Ok(());
    };
    // The node serves image volumes, whatever version the API server gives itself.
    config.runner.delivery = config.runner.delivery.or(Some(engine::Delivery::ImageVolume));
    // Receivers run on this machine too, and so does everything else.
    config.callbacks.networks.loopback = true;
    let (ready, started) = oneshot::channel();
    let (client, metrics) = (client.clone(), metrics.clone());
    rooms.start("controller", |stop| async move {
        engine::run(
            client,
            config,
            metrics,
            move || ready.send(()).unwrap_or_default(),
            Leadership::alone(stop),
        )
        .await
    });
    up("controller", started, rooms).await
}

async fn start_facade(
    rooms: &mut Rooms,
    options: &PlaneOptions,
    client: &Client,
    listeners: Listeners,
) -> Result<(), Error> {
    let config = facade::Config {
        dialects: options.dialects.clone(),
        ..facade::Config::default()
    };
    let (ready, started) = oneshot::channel();
    let client = client.clone();
    rooms.start("facade", |stop| async move {
        let metrics = Arc::new(facade::metrics::Metrics::new());
        let ready = move || ready.send(()).unwrap_or_default();
        facade::run(client, config, listeners, metrics, ready, stop).await
    });
    up("facade", started, rooms).await
}

/// Waits until a part says that it serves.
async fn up(part: &'static str, started: oneshot::Receiver<()>, rooms: &mut Rooms) -> Result<(), Error> {
    tokio::select! {
        started = tokio::time::timeout(START_LIMIT, started) => match started {
            Ok(Ok(())) => Ok(()),
            // The sender went with the part, whose failure comes next.
            Ok(Err(_)) => Err(rooms.failed().await.into()),
            Err(_) => Err(Error::Slow { part }),
        },
        failure = rooms.failed() => Err(failure.into()),
    }
}
