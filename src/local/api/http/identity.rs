//! The server's certificate and the authority that clients trust.
use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::rustls::{
    self, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Making it failed.
    #[error("make the certificate of the API server")]
    Make(#[from] rcgen::Error),
    /// It does not fit its key.
    #[error("use the certificate of the API server")]
    Use(#[from] rustls::Error),
    /// The kept authority cannot be read or written.
    #[error("keep the certificate authority in {path}", path = path.display())]
    Keep {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An authority, as PEM.
#[derive(Clone)]
pub struct Authority {
    /// Certificate: what clients trust.
    pub certificate: String,
    key: String,
}

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";

impl Authority {
    /// A fresh one.
    ///
    /// # Errors
    /// No random numbers.
    pub fn make() -> Result<Self, IdentityError> {
        let key = KeyPair::generate()?;
        let certificate = Self::params()?.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// The same for each authority: what it signs names it by these and its key.
    fn params() -> Result<CertificateParams, IdentityError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "errand-dev authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params)
    }

    /// The one kept in a folder, or a fresh one that is kept there from now on: kubeconfigs stay valid.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub fn keep(folder: &Path) -> Result<Self, IdentityError> {
        let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
        let read = |path: &Path| match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(IdentityError::Keep {
                path: path.to_owned(),
                source,
            }),
        };
        if let (Some(certificate), Some(key)) = (read(&certificate)?, read(&key)?)
            && belongs(&certificate, &key)
        {
            return Ok(Self { certificate, key });
        }
        let made = Self::make()?;
        // The key first: a certificate without its key is made anew, a key alone as well.
        for (path, text, mode) in [(&key, &made.key, 0o600), (&certificate, &made.certificate, 0o644)] {
            write(path, text, mode).map_err(|source| IdentityError::Keep {
                path: path.clone(),
                source,
            })?;
        }
        Ok(made)
    }

    /// What a server presents that is reached as localhost, on loopback, or at `addresses`.
    ///
    /// # Errors
    /// A certificate that cannot be made or used.
    pub fn server_config(&self, addresses: &[IpAddr]) -> Result<Arc<ServerConfig>, IdentityError> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".into(), "::1".into()];
        let more = addresses
            .iter()
            .filter(|address| !address.is_unspecified())
            .map(ToString::to_string);
        names.extend(more);
        names.sort();
        names.dedup();
        names.push("kubernetes".into());
        names.push("kubernetes.default.svc".into());
        let issuer = Issuer::new(Self::params()?, KeyPair::from_pem(&self.key)?);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "errand-dev");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer)?;
        // One provider is compiled in; naming it keeps libraries that install another out of the choice.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Whether a certificate (PEM) is one for a key (PEM): it holds the public half.
fn belongs(certificate: &str, key: &str) -> bool {
    let Ok(key) = KeyPair::from_pem(key) else {
        return false;
    };
    let Ok(der) = CertificateDer::from_pem_slice(certificate.as_bytes()) else {
        return false;
    };
    let public = key.public_key_raw();
    der.windows(public.len()).any(|part| part == public)
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    use std::io::Write as _;
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_authority_is_the_same_next_time_and_a_broken_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::keep(folder.path()).unwrap();
        assert_eq!(
            Authority::keep(folder.path()).unwrap().certificate,
            first.certificate
        );
        fs::write(folder.path().join(KEY), "rubbish").unwrap();
        let second = Authority::keep(folder.path()).unwrap();
        assert_ne!(second.certificate, first.certificate);
        second.server_config(&["192.0.2.1".parse().unwrap()]).unwrap();
    }
}
