//! Flags about the door of Diego.

use std::{io, path::PathBuf};

use crate::facade::{
    access::NamespaceRule,
    dialects::diego::{Driver, Keys, NoKeys, Settings, Stack},
};

/// How tasks of Diego's clients are run.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The door of Diego")]
pub struct DiegoArgs {
    /// The image that stands for the root file system preloaded:STACK; may be given again
    #[arg(
        long = "diego-stack",
        value_name = "STACK=IMAGE",
        env = "ERRAND_DIEGO_STACKS",
        value_delimiter = ','
    )]
    diego_stacks: Vec<Stack>,
    /// Volumes of this driver are PersistentVolumeClaims of the task's namespace, which their volume_id names; may be given
    /// again
    #[arg(
        long = "diego-volume",
        value_name = "DRIVER=claim",
        env = "ERRAND_DIEGO_VOLUMES",
        value_delimiter = ','
    )]
    diego_volumes: Vec<Driver>,
    /// Cells come from outside: they start the tasks that are desired at this door and tell how they end, and no pods are made
    #[arg(long, env = "ERRAND_DIEGO_CELLS")]
    diego_cells: bool,
    /// Let a task connect to what its egress rules name and to nothing else, with a NetworkPolicy for each. What its actions
    /// download and upload must be among it
    #[arg(long, env = "ERRAND_DIEGO_EGRESS")]
    diego_egress: bool,
    /// File of keys, one a line, that seal passwords of registries in tasks: the first seals, all open. Without it definitions
    /// with image_username are refused
    #[arg(long, value_name = "FILE", env = "ERRAND_DIEGO_ENCRYPTION_KEYS")]
    diego_encryption_keys: Option<PathBuf>,
    /// How often cells may reject a task before the next rejection fails it
    #[arg(long, value_name = "COUNT", env = "ERRAND_DIEGO_RETRIES", default_value_t = 0)]
    diego_retries: u16,
    /// Namespace that stands for a caller of this door: fixed:NAME, user[:PREFIX] or label (errand.dev/account); without it
    /// as --namespaces says. A certificate names no groups
    #[arg(long, value_name = "RULE", env = "ERRAND_DIEGO_NAMESPACES")]
    diego_namespaces: Option<NamespaceRule>,
}

/// Why the file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It is not there, or not readable.
    #[error("could not read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("could not use {path} as keys for Diego's door", path = path.display())]
    Use {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: NoKeys,
    },
    /// None is given, and none can be made.
    #[error("could not make a key for Diego's door: this machine gives no random numbers")]
    Make,
}

impl DiegoArgs {
    /// As the door takes it. Of two images for one stack the later counts.
    ///
    /// # Errors
    /// The file of keys cannot be used.
    pub fn settings(&self) -> Result<Settings, KeysError> {
        let stacks = self.diego_stacks.iter().cloned();
        let volumes = self.diego_volumes.iter().cloned();
        Ok(Settings {
            stacks: stacks.map(|stack| (stack.name, stack.image)).collect(),
            volumes: volumes.map(|driver| (driver.name, driver.kind)).collect(),
            cells: self.diego_cells,
            egress: self.diego_egress,
            keys: self.keys()?,
            retries: self.diego_retries,
            namespaces: self.diego_namespaces.clone(),
        })
    }

    fn keys(&self) -> Result<Option<Keys>, KeysError> {
        let Some(path) = self.diego_encryption_keys.clone() else {
            return Ok(None);
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(KeysError::Read { path, source }),
        };
        let keys = Keys::parse(&text);
        keys.map(Some).map_err(|source| KeysError::Use { path, source })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{chain::chain, facade::dialects::diego::VolumeKind};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: DiegoArgs,
    }

    fn parse(line: &[&str]) -> Result<Settings, String> {
        let cli = Cli::try_parse_from(std::iter::once("facade").chain(line.iter().copied()));
        let args = cli.map_err(|error| error.to_string())?.args;
        args.settings().map_err(|error| chain(&error))
    }

    #[test]
    fn flags_become_the_settings() {
        let wanted = Settings {
            stacks: [
                ("a".to_owned(), "x:1".to_owned()),
                ("b".to_owned(), "y".to_owned()),
            ]
            .into(),
            volumes: [("nfsv3driver".to_owned(), VolumeKind::Claim)].into(),
            cells: true,
            egress: true,
            keys: None,
            retries: 3,
            namespaces: Some(NamespaceRule::Fixed("cf".into())),
        };
        let line = [
            "--diego-stack=a=x:1",
            "--diego-stack=b=y",
            "--diego-volume=nfsv3driver=claim",
            "--diego-cells",
            "--diego-egress",
            "--diego-retries=3",
            "--diego-namespaces=fixed:cf",
        ];
        assert_eq!(parse(&line), Ok(wanted));
        assert_eq!(parse(&[]), Ok(Settings::default()));
        let refused = parse(&["--diego-stack=a"]).unwrap_err();
        assert!(refused.contains("is not STACK=IMAGE"), "{refused}");
        let refused = parse(&["--diego-volume=a=csi"]).unwrap_err();
        assert!(refused.contains("is not DRIVER=claim"), "{refused}");
    }

    #[test]
    fn keys_are_read_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let flag = format!("--diego-encryption-keys={}", file.path().display());
        let key = "k".repeat(32);
        std::fs::write(file.path(), &key).unwrap();
        assert_eq!(parse(&[&flag]).unwrap().keys, Keys::parse(&key).ok());
        std::fs::write(file.path(), "short").unwrap();
        let short = parse(&[&flag]).unwrap_err();
        let path = file.path().display();
        let wanted = format!(
            "could not use {path} as keys for Diego's door: the key on line 1 has 5 characters; at least 32 are needed"
        );
        assert_eq!(short, wanted);
        let missing = parse(&["--diego-encryption-keys=/no/keys"]).unwrap_err();
        assert!(missing.starts_with("could not read /no/keys: "), "{missing}");
    }
}
