//! `errand dev`: the whole of Errand on one machine, with no cluster.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};

use super::{
    callback_args::CallbackTls,
    doors::{DiegoListen, DoorArgs, KeysError},
    outcome,
    plane::{self, DiegoOptions, Plane, PlaneOptions, Runtime},
    token::Token,
};
use crate::{facade::dialects::diego::Keys, telemetry, tls::TlsError};

/// `errand dev` is gone within this time after SIGTERM or Ctrl-C.
const STOP_WITHIN: Duration = Duration::from_millis(4500);

/// Arguments of `errand dev`.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(after_help = "\
Once all of it serves, one line on standard output says how to reach it:
  ready facade=http://HOST:PORT api=https://HOST:PORT kubeconfig=PATH token=TOKEN
With --diego-addr it goes on with diego=https://HOST:PORT, or diego=http://HOST:PORT where --diego-ca, --diego-cert and
--diego-key are not given: on loopback only, since everyone who reaches it is admin then.

With the process runtime, containers are plain child processes of this machine: no isolation, and images are
not used. It is a way to start and to test, never a production mode: Kubernetes is where Errand scales.")]
pub struct Args {
    /// Where the REST facade listens (HTTP); port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    facade_addr: SocketAddr,
    /// Where the Kubernetes-style API listens (HTTPS); port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6443")]
    api_addr: SocketAddr,
    /// Kubeconfig file to write, with authority and token inside [default: errand/kubeconfig in the user's cache folder]
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// Token that the API accepts; may be given again. Without it one random token of user admin. admin may do
    /// anything, anyone else what Roles in the store grant
    #[arg(long = "token", value_name = "USER=TOKEN[:GROUP,...]")]
    tokens: Vec<Token>,
    /// What runs containers; auto takes docker where a socket answers
    #[arg(long, value_enum, default_value_t = Runtime::Auto)]
    runtime: Runtime,
    /// Folder that keeps the objects over restarts; without it they are in memory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// File, or folder of files, to apply at start; may be given again
    #[arg(long, value_name = "PATH")]
    apply: Vec<PathBuf>,
    #[command(flatten)]
    diego: DiegoListen,
    #[command(flatten)]
    doors: DoorArgs,
    #[command(flatten)]
    callbacks: CallbackTls,
    #[command(flatten)]
    telemetry: telemetry::Args,
}

/// Why the plane does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Logging could not be set up.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// It did not start, or a part of it failed.
    #[error(transparent)]
    Plane(#[from] plane::Error),
    /// Certificate, key or authority of Diego's door or of callbacks cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The keys of Diego's door cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Nowhere to write the kubeconfig.
    #[error("there is no home folder to write the kubeconfig to; name a file with --kubeconfig")]
    NoHome,
    /// Signals cannot be received.
    #[error("could not listen for signals")]
    Signals(#[source] io::Error),
    /// Standard output is closed.
    #[error("could not write the ready line to standard output")]
    Write(#[source] io::Error),
}

/// Runs until SIGTERM, Ctrl-C or the failure of a part.
pub async fn run(args: Args) -> Result<u8, Error> {
    args.telemetry.init()?;
    // Before anything is started, so that no signal finds the default handler and leaves processes behind.
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let options = options(args)?;
    let mut start = std::pin::pin!(Plane::start(options));
    let mut plane = tokio::select! {
        plane = &mut start => plane?,
        _ = terminate.recv() => return abandon(start).await,
        _ = interrupt.recv() => return abandon(start).await,
    };
    ready(&plane)?;
    let failure = tokio::select! {
        failure = plane.failed() => Some(failure),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    plane.stop_within(STOP_WITHIN).await?;
    failure.map_or(Ok(outcome::OK), |failure| Err(failure.into()))
}

/// A signal came during the start. What has begun is ended properly, since a node that is merely dropped leaves its
/// containers behind.
async fn abandon(start: impl Future<Output = Result<Plane, plane::Error>>) -> Result<u8, Error> {
    if let Ok(plane) = tokio::time::timeout(STOP_WITHIN / 2, start).await {
        plane?.stop_within(STOP_WITHIN / 2).await?;
    }
    Ok(outcome::OK)
}

fn options(args: Args) -> Result<PlaneOptions, Error> {
    let kubeconfig = args.kubeconfig.or_else(default_kubeconfig).ok_or(Error::NoHome)?;
    let mut options = PlaneOptions::new(kubeconfig);
    options.facade_addr = args.facade_addr;
    options.api_addr = args.api_addr;
    options.tokens = args.tokens;
    options.runtime = args.runtime;
    options.data_dir = args.data_dir;
    options.apply = args.apply;
    options.dialects = args.doors.settings()?;
    let keys = &mut options.dialects.diego.keys;
    // What is in memory goes with the plane, and its key may go as well.
    if keys.is_none() && options.data_dir.is_none() {
        *keys = Some(Keys::random().map_err(|_| KeysError::Make)?);
    }
    if let Some(engine) = &mut options.engine {
        engine.callbacks.tls = args.callbacks.open()?;
    }
    if let Some(addr) = args.diego.diego_addr {
        let identity = args.diego.identity()?;
        options.diego = Some(DiegoOptions { addr, identity });
    }
    Ok(options)
}

fn default_kubeconfig() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")))?;
    Some(cache.join("errand/kubeconfig"))
}

fn ready(plane: &Plane) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    let (facade, api, kubeconfig) = (&plane.facade_url, &plane.api_url, plane.kubeconfig.display());
    let token = &plane.token.secret;
    let diego = plane.diego_url.as_ref();
    let diego = diego.map(|url| format!(" diego={url}")).unwrap_or_default();
    writeln!(
        stdout,
        "ready facade={facade} api={api} kubeconfig={kubeconfig} token={token}{diego}"
    )
    .and_then(|()| stdout.flush())
    .map_err(Error::Write)
}
