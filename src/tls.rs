//! The certificate of a listener, from two files that may change: Secrets are rotated, and an open port must follow.

use std::{
    convert::Infallible,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::chain::chain;

/// How often the files are looked at. The kubelet itself takes up to a minute to bring a changed Secret
/// (Kubernetes, "Secrets", "Mounted Secrets are updated automatically").
const LOOK: Duration = Duration::from_secs(1);

/// Why certificate and key cannot be used. Nothing of the key is in the texts.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or not readable.
    #[error("could not read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("found no {what} in PEM in {path}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The two do not fit each other, or not TLS.
    #[error("could not use the certificate in {certificate} with the key in {key}", certificate = certificate.display(), key = key.display())]
    Use {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// Certificate and key from two files. Clones are one.
#[derive(Clone)]
pub struct FileIdentity(Arc<Inner>);

struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    server: Arc<ServerConfig>,
    current: Arc<Current>,
    /// What the last look met.
    met: Mutex<Met>,
}

/// What was met in the files, so that each change is told once.
#[derive(Clone, PartialEq, Eq)]
enum Met {
    /// Digest of certificate and key, good or not.
    Content([u8; 32]),
    Unreadable,
}

/// What is shown to whoever connects now.
struct Current(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl fmt::Debug for FileIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { certificate, key, .. } = &*self.0;
        f.debug_struct("FileIdentity")
            .field("certificate", certificate)
            .field("key", key)
            .finish_non_exhaustive()
    }
}

impl FileIdentity {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They cannot be read, or not be used.
    pub fn open(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let refused = |source| TlsError::Use {
            certificate: certificate.clone(),
            key: key.clone(),
            source,
        };
        // One provider is compiled in; naming it keeps libraries that install another out of the choice.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let files = Files::read(&certificate, &key)?;
        let identity = files.identity(&certificate, &key, &provider)?;
        let current = Arc::new(Current(RwLock::new(identity)));
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(refused)?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(Inner {
            server: Arc::new(server),
            current,
            met: Mutex::new(files.met()),
            certificate,
            key,
        })))
    }

    /// For a listener; h2 and HTTP/1.1. New connections get whatever certificate is current then.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.0.server.clone()
    }

    /// Looks at the files again and again. A pair that cannot be used is logged, and the old one stays.
    pub async fn follow(&self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            let this = self.clone();
            match tokio::task::spawn_blocking(move || this.look()).await {
                Ok(Ok(false)) | Err(_) => {}
                Ok(Ok(true)) => {
                    tracing::info!(path = %self.0.certificate.display(), "read the new certificate")
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = chain(&error), "going on with the certificate as it was");
                }
            }
        }
    }

    /// True where there is another pair, which counts from now on. An error is told once, until the files change again.
    fn look(&self) -> Result<bool, TlsError> {
        let Inner { certificate, key, .. } = &*self.0;
        let files = Files::read(certificate, key);
        let met = files.as_ref().map_or(Met::Unreadable, Files::met);
        {
            let mut last = self.0.met.lock().unwrap_or_else(PoisonError::into_inner);
            if *last == met {
                return Ok(false);
            }
            *last = met;
        }
        let identity = files?.identity(certificate, key, self.0.server.crypto_provider())?;
        *self.0.current.0.write().unwrap_or_else(PoisonError::into_inner) = identity;
        Ok(true)
    }
}

/// The content of both files.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| TlsError::Read {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            certificate: read(certificate)?,
            key: read(key)?,
        })
    }

    fn met(&self) -> Met {
        let digest = Sha256::new().chain_update(Sha256::digest(&self.certificate));
        Met::Content(digest.chain_update(Sha256::digest(&self.key)).finalize().into())
    }

    fn identity(
        &self,
        certificate: &Path,
        key: &Path,
        provider: &CryptoProvider,
    ) -> Result<Arc<CertifiedKey>, TlsError> {
        let pem = |path: &Path, what, source| TlsError::Pem {
            path: path.to_owned(),
            what,
            source,
        };
        let certificates = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let certificates = certificates
            .and_then(|all| (!all.is_empty()).then_some(all).ok_or(pem::Error::NoItemsFound))
            .map_err(|source| pem(certificate, "certificate", source))?;
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|source| pem(key, "key", source))?;
        CertifiedKey::from_der(certificates, private, provider)
            .map(Arc::new)
            .map_err(|source| TlsError::Use {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                source,
            })
    }
}

#[cfg(test)]
mod tests;
