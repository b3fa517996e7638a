//! Flags about the listener of Diego's door, whose callers show a certificate in place of a token.

use std::{net::SocketAddr, path::PathBuf};

use crate::tls::{FileIdentity, IdentityFiles, TlsError};

/// Where Diego's door is served.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "The door of Diego")]
pub struct DiegoListen {
    /// Where Diego's task API is served; without it nowhere
    #[arg(long, value_name = "HOST:PORT", env = "ERRAND_DIEGO_ADDR")]
    pub diego_addr: Option<SocketAddr>,
    /// Authorities (PEM) of its clients: the common name of a client's certificate is the user; read again when it changes
    #[arg(long, value_name = "FILE", env = "ERRAND_DIEGO_CA", requires_all = ["diego_cert", "diego_key", "diego_addr"])]
    diego_ca: Option<PathBuf>,
    /// Certificate chain (PEM) that it shows; read again when it changes
    #[arg(long, value_name = "FILE", env = "ERRAND_DIEGO_CERT", requires_all = ["diego_ca", "diego_key", "diego_addr"])]
    diego_cert: Option<PathBuf>,
    /// Key of the certificate (PEM)
    #[arg(long, value_name = "FILE", env = "ERRAND_DIEGO_KEY", requires_all = ["diego_ca", "diego_cert", "diego_addr"])]
    diego_key: Option<PathBuf>,
}

impl DiegoListen {
    /// Reads certificate, key and authority; `None` where they were not given.
    ///
    /// # Errors
    /// They cannot be read, or not be used.
    pub fn identity(&self) -> Result<Option<FileIdentity>, TlsError> {
        let (Some(authority), Some(certificate), Some(key)) =
            (&self.diego_ca, &self.diego_cert, &self.diego_key)
        else {
            return Ok(None);
        };
        let files = IdentityFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            authority: Some(authority.clone()),
        };
        FileIdentity::open(files).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        listen: DiegoListen,
    }

    fn parse(line: &[&str]) -> Result<DiegoListen, clap::Error> {
        Cli::try_parse_from(std::iter::once("facade").chain(line.iter().copied())).map(|cli| cli.listen)
    }

    #[test]
    fn authority_certificate_and_key_come_together_or_not_at_all() {
        let (addr, all) = (
            "--diego-addr=127.0.0.1:8889",
            ["--diego-ca=a", "--diego-cert=b", "--diego-key=c"],
        );
        assert!(parse(&[addr]).is_ok());
        assert!(parse(&[addr, all[0], all[1], all[2]]).is_ok());
        assert!(parse(&all).is_err());
        for one in all {
            assert!(parse(&[addr, one]).is_err(), "{one}");
        }
    }

    #[test]
    fn files_that_are_not_there_are_named() {
        let line = [
            "--diego-addr=127.0.0.1:1",
            "--diego-ca=/no/a",
            "--diego-cert=/no/b",
            "--diego-key=/no/c",
        ];
        let refused = parse(&line).unwrap().identity().unwrap_err();
        assert_eq!(refused.to_string(), "could not read /no/b");
    }
}
