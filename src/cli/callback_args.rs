//! Flags about TLS of callbacks.

use std::path::PathBuf;

use crate::tls::{Outgoing, OutgoingFiles, TlsError};

/// Whom https callbacks trust, and what they show.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Callbacks")]
pub struct CallbackTls {
    /// Authorities (PEM) that https callbacks trust beside those of Mozilla; read again when it changes
    #[arg(long, value_name = "FILE", env = "ERRAND_CALLBACK_CA")]
    callback_ca: Option<PathBuf>,
    /// Certificate chain (PEM) that https callbacks show to receivers that ask for one; read again when it changes
    #[arg(
        long,
        value_name = "FILE",
        env = "ERRAND_CALLBACK_CERT",
        requires = "callback_key"
    )]
    callback_cert: Option<PathBuf>,
    /// Key of the certificate (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "ERRAND_CALLBACK_KEY",
        requires = "callback_cert"
    )]
    callback_key: Option<PathBuf>,
}

impl CallbackTls {
    /// Reads the files; `None` where none was named.
    ///
    /// # Errors
    /// They cannot be read, or not be used.
    pub fn open(&self) -> Result<Option<Outgoing>, TlsError> {
        let files = OutgoingFiles {
            authorities: self.callback_ca.clone(),
            identity: self.callback_cert.clone().zip(self.callback_key.clone()),
        };
        match files == OutgoingFiles::default() {
            true => Ok(None),
            false => Outgoing::open(files).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        tls: CallbackTls,
    }

    fn parse(line: &[&str]) -> Result<CallbackTls, clap::Error> {
        Cli::try_parse_from(std::iter::once("controller").chain(line.iter().copied())).map(|cli| cli.tls)
    }

    #[test]
    fn certificate_and_key_come_together_or_not_at_all() {
        let (ca, cert, key) = ("--callback-ca=a", "--callback-cert=b", "--callback-key=c");
        for good in [&[][..], &[ca], &[cert, key], &[ca, cert, key]] {
            assert!(parse(good).is_ok(), "{good:?}");
        }
        for bad in [&[cert][..], &[key], &[ca, cert], &[ca, key]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn files_are_read_at_the_start_and_one_that_is_not_there_is_named() {
        assert!(parse(&[]).unwrap().open().unwrap().is_none());
        let missing = |line: &[&str]| parse(line).unwrap().open().unwrap_err().to_string();
        assert_eq!(missing(&["--callback-ca=/no/a"]), "could not read /no/a");
        assert_eq!(
            missing(&["--callback-cert=/no/b", "--callback-key=/no/c"]),
            "could not read /no/b"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        std::fs::write(&path, "nothing of this kind").unwrap();
        let flag = format!("--callback-ca={}", path.display());
        assert_eq!(
            missing(&[&flag]),
            format!("found no certificate in PEM in {}", path.display())
        );
        let issued = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        std::fs::write(&path, issued.cert.pem().repeat(2)).unwrap();
        assert!(parse(&[&flag]).unwrap().open().unwrap().is_some());
    }
}
