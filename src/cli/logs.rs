//! `errand logs`: the log of a Task, live where it runs and from its status where it has ended.

use std::io::{self, Write as _};

use futures::AsyncReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};

use super::{
    connect::{self, ConnectArgs, Refusal, Session, Unread},
    follow::{self, End, Viewer},
    outcome,
};
use crate::{
    crd::{Phase, Task, TaskStatus},
    livelog::{Lines, kept},
};

/// Arguments of `errand logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Task whose log is wanted
    #[arg(value_name = "TASK")]
    task: String,
    /// Go on until the Task ends
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Why there is no log to print.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cluster.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// The Task could not be read.
    #[error(transparent)]
    Get(#[from] Unread),
    /// The pod's log could not be read.
    #[error("could not read the log of pod/{pod}")]
    Pod {
        /// The pod.
        pod: String,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// The log broke off.
    #[error("the log of pod/{pod} broke off")]
    Broken {
        /// The pod.
        pod: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing has run yet.
    #[error("task/{name} has no log yet: it is {phase}; `errand logs {name} -f` waits for it")]
    NotStarted {
        /// The Task.
        name: String,
        /// Its phase.
        phase: String,
    },
    /// The Task could not be waited for.
    #[error(transparent)]
    Follow(#[from] follow::Error),
    /// Standard output is closed.
    #[error("could not write the log")]
    Write(#[source] io::Error),
}

/// Prints the log on standard output.
pub async fn run(args: Args) -> Result<u8, Error> {
    let session = args.connect.session().await?;
    let name = args.task;
    if args.follow {
        return follow_log(&session, &name).await;
    }
    let task = session.task(&name).await?;
    let status = task.status.clone().unwrap_or_default();
    match (status.phase, &status.pod) {
        (Some(phase), _) if phase.is_terminal() => print_kept(&name, &status)?,
        (Some(Phase::Running), Some(pod)) => print_pod(&session, &pod.name).await?,
        (phase, _) => {
            let phase = phase.map_or_else(|| "not yet accepted".to_owned(), |phase| phase.to_string());
            return Err(Error::NotStarted { name, phase });
        }
    }
    Ok(outcome::OK)
}

/// What the Task keeps of its log, with a word where that is not all.
fn print_kept(name: &str, status: &TaskStatus) -> Result<(), Error> {
    for line in kept(status) {
        print_line(&line)?;
    }
    if let Some(logs) = status.logs.as_ref().filter(|logs| logs.truncated) {
        let whole = logs
            .size_bytes
            .map_or_else(|| "more".to_owned(), |size| format!("{size} bytes"));
        eprintln!(
            "task/{name}: the log is cut: its last {} bytes were kept of {whole}",
            logs.tail.len()
        );
    }
    Ok(())
}

async fn print_pod(session: &Session, pod: &str) -> Result<(), Error> {
    let pods: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
    let params = LogParams {
        container: Some("task".to_owned()),
        ..LogParams::default()
    };
    let reader = pods.log_stream(pod, &params).await;
    let mut reader = Box::pin(reader.map_err(|source| Error::Pod {
        pod: pod.to_owned(),
        source: source.into(),
    })?);
    let mut lines = Lines::default();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let read = reader.read(&mut chunk).await;
        let length = read.map_err(|source| Error::Broken {
            pod: pod.to_owned(),
            source,
        })?;
        if length == 0 {
            break;
        }
        for line in lines.push(chunk.get(..length).unwrap_or_default()) {
            print_line(&line)?;
        }
    }
    lines.finish().map_or(Ok(()), |line| print_line(&line))
}

async fn follow_log(session: &Session, name: &str) -> Result<u8, Error> {
    let mut sink = Stdout::default();
    let end = follow::to_the_end(session, name, &mut sink, true, false).await?;
    if let Some(source) = sink.failed {
        return Err(Error::Write(source));
    }
    if let End::Finished(task) = end {
        let task: Task = *task;
        eprintln!("task/{name} {}", outcome::sentence(&task));
    }
    Ok(outcome::OK)
}

/// Prints log lines and nothing else; the first failure to write is kept and ends the output.
#[derive(Default)]
struct Stdout {
    failed: Option<io::Error>,
}

impl Viewer for Stdout {
    fn status(&mut self, _: &TaskStatus) {}

    fn log(&mut self, line: &[u8]) {
        if self.failed.is_none() {
            self.failed = write_line(line).err();
        }
    }

    fn note(&mut self, text: &str) {
        eprintln!("{text}");
    }
}

fn print_line(line: &[u8]) -> Result<(), Error> {
    write_line(line).map_err(Error::Write)
}

fn write_line(line: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(line).and_then(|()| stdout.write_all(b"\n"))
}
