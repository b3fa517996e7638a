//! `errand crds`: the CustomResourceDefinitions as YAML.

use std::{io, io::Write, path::PathBuf};

use super::yaml;
use crate::crd;

/// Arguments of `errand crds`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to write one file per definition to; without it they go to standard output.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
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
}

/// Writes the definitions where `args` says.
pub fn run(args: &Args) -> Result<(), Error> {
    for (file, definition) in crd::definitions() {
        let yaml = yaml::to_string(&definition)?;
        match &args.out {
            None => write!(io::stdout().lock(), "---\n{yaml}").map_err(|source| Error::Write {
                path: "standard output".into(),
                source,
            })?,
            Some(dir) => {
                let path = dir.join(file);
                std::fs::create_dir_all(dir)
                    .and_then(|()| {
                        std::fs::write(&path, format!("# Written by `errand crds`; do not edit.\n{yaml}"))
                    })
                    .map_err(|source| Error::Write { path, source })?;
            }
        }
    }
    Ok(())
}
