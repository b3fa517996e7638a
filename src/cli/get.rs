//! `errand get`: the Tasks of a namespace as a table, or one Task with all its facts.

use std::io::{self, Write as _};

use clap::ValueEnum;
use jiff::Timestamp;
use kube::api::ListParams;

use super::{
    connect::{self, ConnectArgs, Refusal, Session, Unread},
    facts, outcome,
    run::write_result,
    table, yaml,
};
use crate::crd::Task;

/// Tasks asked for at once.
const PAGE: u32 = 500;

/// Arguments of `errand get`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Task to show; without it all of the namespace
    #[arg(value_name = "TASK")]
    task: Option<String>,
    /// How to print: the objects themselves, or a table with more columns
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The objects as YAML
    Yaml,
    /// The objects as JSON
    Json,
    /// A table with reason, attempts and result status too
    Wide,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cluster.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// One Task could not be read.
    #[error(transparent)]
    Get(#[from] Unread),
    /// The Tasks could not be listed.
    #[error("could not list the Tasks of the namespace {namespace}")]
    List {
        /// The namespace.
        namespace: String,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// An object cannot be written as YAML.
    #[error("could not write the Task as YAML")]
    Yaml(#[from] serde_yaml::Error),
    /// An object cannot be written as JSON.
    #[error("could not write the Task as JSON")]
    Json(#[from] serde_json::Error),
    /// Standard output is closed.
    #[error("could not write to standard output")]
    Write(#[source] io::Error),
}

/// Prints what was asked for.
pub async fn run(args: Args) -> Result<u8, Error> {
    let session = args.connect.session().await?;
    let now = Timestamp::now();
    let text = match (args.task, args.output) {
        (Some(name), output) => {
            let task = session.task(&name).await?;
            match output {
                None => facts::of(&task, now),
                Some(Format::Wide) => table::render(&[table::row(&task, now)], true),
                Some(Format::Yaml) => yaml::to_string(&task)?,
                Some(Format::Json) => serde_json::to_string_pretty(&task)? + "\n",
            }
        }
        (None, Some(format @ (Format::Yaml | Format::Json))) => {
            let items = list(&session, Clone::clone).await?;
            let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
            match format {
                Format::Json => serde_json::to_string_pretty(&list)? + "\n",
                _ => yaml::to_string(&list)?,
            }
        }
        (None, output) => {
            let rows = list(&session, |task| table::row(task, now)).await?;
            if rows.is_empty() {
                eprintln!("no Tasks in the namespace {}", session.namespace);
                return Ok(outcome::OK);
            }
            table::render(&rows, output.is_some())
        }
    };
    write_result(text.as_bytes()).map_err(Error::Write)?;
    io::stdout().flush().map_err(Error::Write)?;
    Ok(outcome::OK)
}

/// All Tasks, page by page, each turned into what is kept of it: bodies and logs need not stay in memory.
async fn list<T>(session: &Session, keep: impl Fn(&Task) -> T) -> Result<Vec<T>, Error> {
    let mut params = ListParams::default().limit(PAGE);
    let mut kept = Vec::new();
    loop {
        let page = session
            .tasks()
            .list(&params)
            .await
            .map_err(|source| Error::List {
                namespace: session.namespace.clone(),
                source: source.into(),
            })?;
        kept.extend(page.items.iter().map(&keep));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(kept),
        }
    }
}
