//! `errand run`: submits a Task, shows it while it runs, and hands its result on.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use kube::api::PostParams;

use super::{
    connect::{self, ConnectArgs, Refusal, Session},
    follow::{self, End, Viewer as _},
    manifest::{self, Overlay, Source},
    outcome,
    view::View,
};
use crate::crd::{Duration, Phase, Task};

/// Arguments of `errand run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The result goes to standard output byte for byte; everything else goes to standard error.
Ctrl-C cancels the Task and waits for its end; a second Ctrl-C leaves it to itself.

Exit codes:
  0    the Task succeeded (or was submitted, with --detach)
  N    the command's own exit code, where the Task failed with one
  1    the Task failed in another way, or was deleted
  2    the command line is wrong, or the API server refused or did not answer
  124  the Task ran out of time
  130  the Task was cancelled, or left by a second Ctrl-C")]
pub struct Args {
    /// Function to run
    #[arg(
        value_name = "FUNCTION",
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    function: Option<String>,
    /// YAML or JSON file with a Task, or with a Function to run once without installing it; `-` reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Input body: the text itself, @FILE, or @- for standard input
    #[arg(long, value_name = "TEXT|@FILE")]
    input: Option<Source>,
    /// Argument appended to the container's; may be given again
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    args: Vec<String>,
    /// Limit on the run time, such as 90s or 10m
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// Print the name of the Task and do not wait for it
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Why a Task could not be run. Each ends the command with exit code 2, but for a Task that vanished (1).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files or texts given make no Task.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// No cluster.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// The Function does not exist.
    #[error(
        "there is no Function {name:?} in the namespace {namespace}; `kubectl get functions -n {namespace}` lists those there are"
    )]
    NoFunction {
        /// As given.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// The server refused the Task.
    #[error("could not create the Task")]
    Create(#[source] Refusal),
    /// The Task was lost from sight.
    #[error(transparent)]
    Follow(#[from] follow::Error),
    /// The result in the status is broken.
    #[error(transparent)]
    Result(#[from] outcome::Error),
    /// Standard output is closed.
    #[error("could not write the result")]
    Write(#[source] io::Error),
}

impl Error {
    /// Exit code of the command.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Follow(follow::Error::Deleted { .. }) => outcome::FAILED,
            _ => outcome::USAGE,
        }
    }
}

/// Runs the command; returns its exit code.
pub async fn run(args: Args) -> Result<u8, Error> {
    let file = args.file.as_deref();
    let task = match (&args.function, file) {
        (_, Some(path)) => manifest::of_file(path)?,
        (function, None) => manifest::of_function(function.as_deref().unwrap_or_default()),
    };
    let body = args.input.as_ref().map(manifest::read_body).transpose()?;
    let task = manifest::overlay(
        task,
        Overlay {
            body,
            args: args.args,
            timeout: args.timeout,
        },
    );
    let mut session = args.connect.session().await?;
    let path = file.unwrap_or(Path::new("-"));
    let given = args.connect.namespace.as_deref();
    session.namespace = manifest::namespace(path, &task, given, &session.namespace)?;

    let name = submit(&session, args.function.as_deref(), &task).await?;
    if args.detach {
        writeln!(io::stdout(), "task/{name} created").map_err(Error::Write)?;
        return Ok(outcome::OK);
    }
    let mut view = View::new(&name);
    view.note(&format!("task/{name} created"));
    let end = follow::to_the_end(&session, &name, &mut view, true, true).await;
    view.close();
    match end? {
        End::Finished(task) => finish(&name, &task),
        End::Left => {
            eprintln!(
                "task/{name} goes on by itself; `errand get {name} -n {}` shows it",
                session.namespace
            );
            Ok(outcome::CANCELLED)
        }
    }
}

// A Function named on the command line is looked up first: a typo then costs a sentence and no failed Task.
async fn submit(session: &Session, function: Option<&str>, task: &Task) -> Result<String, Error> {
    if let Some(name) = function {
        match session.functions().get_metadata_opt(name).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                return Err(Error::NoFunction {
                    name: name.to_owned(),
                    namespace: session.namespace.clone(),
                });
            }
            // Whoever may create Tasks need not be allowed to read Functions.
            Err(kube::Error::Api(status)) if status.is_forbidden() => {}
            Err(source) => return Err(Error::Create(source.into())),
        }
    }
    let created = session.tasks().create(&PostParams::default(), task).await;
    let created = created.map_err(|source| Error::Create(source.into()))?;
    Ok(created.metadata.name.unwrap_or_default())
}

fn finish(name: &str, task: &Task) -> Result<u8, Error> {
    let status = task.status.clone().unwrap_or_default();
    if let Some(result) = &status.result {
        let bytes = outcome::bytes(result)?;
        write_result(&bytes).map_err(Error::Write)?;
        if let Some(note) = outcome::cut(result, bytes.len()) {
            eprintln!("task/{name}: {note}");
        }
    }
    // Success needs no explanation, unless someone looks for it in a log.
    let sentence = match status.phase {
        Some(Phase::Succeeded) => format!("task/{name} Succeeded"),
        _ => format!("task/{name} {}", outcome::sentence(task)),
    };
    eprintln!("{sentence}");
    Ok(outcome::exit_code(task))
}

/// Writes a result to standard output; a reader that has had enough is no error.
pub fn write_result(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}
