//! `errand crds`: the CustomResourceDefinitions, as YAML or into a cluster.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{
    connect::{self, ClusterArgs},
    definitions, outcome, yaml,
};
use crate::crd;

/// Arguments of `errand crds`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to write one file per definition to; without it they go to standard output
    #[arg(long, value_name = "DIR", conflicts_with = "apply")]
    out: Option<PathBuf>,
    /// Put them into the cluster, or bring them up to date there, and wait until they are served
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Why the definitions could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A definition could not be turned into YAML.
    #[error("could not turn a definition into YAML")]
    Yaml(#[from] serde_yaml::Error),
    /// A file could not be written.
    #[error("could not write {path}", path = path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No cluster.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// The cluster did not take them.
    #[error(transparent)]
    Install(#[from] definitions::Error),
}

/// Writes the definitions where `args` says.
///
/// # Errors
/// They cannot be written there.
pub async fn run(args: Args) -> Result<u8, Error> {
    match &args.out {
        _ if args.apply => install(&args.cluster).await?,
        Some(folder) => write(folder)?,
        None => print()?,
    }
    Ok(outcome::OK)
}

async fn install(cluster: &ClusterArgs) -> Result<(), Error> {
    let (client, _) = cluster.client().await?;
    for (name, change) in definitions::install(&client).await? {
        say(&format!("customresourcedefinition/{name} {change}\n"))?;
    }
    Ok(())
}

fn print() -> Result<(), Error> {
    for (_, definition) in crd::definitions() {
        say(&format!("---\n{}", yaml::to_string(&definition)?))?;
    }
    Ok(())
}

fn say(text: &str) -> Result<(), Error> {
    let said = io::stdout().lock().write_all(text.as_bytes());
    said.map_err(|source| Error::Write {
        path: "standard output".into(),
        source,
    })
}

fn write(folder: &Path) -> Result<(), Error> {
    for (file, definition) in crd::definitions() {
        let yaml = yaml::to_string(&definition)?;
        let path = folder.join(file);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, format!("# Written by `errand crds`; do not edit.\n{yaml}")))
            .map_err(|source| Error::Write { path, source })?;
    }
    Ok(())
}
