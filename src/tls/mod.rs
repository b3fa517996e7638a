//! Certificates from files that may change: Secrets are rotated, and an open port must follow.
//!
//! Here is what a listener shows, and the authority of its clients; [`Outgoing`] is for calls to others.

mod outgoing;
mod peers;

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
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};

use self::peers::CurrentAuthority;
pub use self::{
    outgoing::{Outgoing, OutgoingFiles},
    peers::Peer,
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
    /// The authority of clients is not one.
    #[error("could not use {path} as the authority of clients", path = path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: VerifierBuilderError,
    },
    /// An authority to trust is not one.
    #[error("could not trust what is in {path}", path = path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The versions of TLS do not go with the provider of its cryptography.
    #[error("could not speak TLS")]
    Versions(#[source] rustls::Error),
}

/// Where a listener's identity is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Authorities of clients, PEM: only who shows a certificate of one of them is let in. `None` = nobody is asked for
    /// one.
    pub authority: Option<PathBuf>,
}

/// What a listener shows and asks for, from files. Clones are one.
#[derive(Clone)]
pub struct FileIdentity(Arc<Inner>);

struct Inner {
    files: IdentityFiles,
    server: Arc<ServerConfig>,
    current: Arc<Current>,
    clients: Option<Arc<CurrentAuthority>>,
    /// What the last look met.
    met: Mutex<Met>,
}

/// What was met in the files, so that each change is told once.
#[derive(Clone, PartialEq, Eq)]
enum Met {
    /// Digest of all files, good or not.
    Content([u8; 32]),
    Unreadable,
}

impl Met {
    /// Takes the place of what was met the last time; whether it is something else.
    fn takes_place_of(self, last: &Mutex<Self>) -> bool {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_other = *last != self;
        *last = self;
        is_other
    }
}

/// Looks again and again, and at once: the files may have been read long ago.
async fn follow(
    path: &Path,
    look: impl Fn() -> Result<bool, TlsError> + Clone + Send + 'static,
) -> Infallible {
    loop {
        match tokio::task::spawn_blocking(look.clone()).await {
            Ok(Ok(false)) | Err(_) => {}
            Ok(Ok(true)) => tracing::info!(path = %path.display(), "read the new certificate"),
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "going on with the certificate as it was");
            }
        }
        tokio::time::sleep(LOOK).await;
    }
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
        f.debug_tuple("FileIdentity").field(&self.0.files).finish()
    }
}

impl FileIdentity {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They cannot be read, or not be used.
    pub fn open(files: IdentityFiles) -> Result<Self, TlsError> {
        // One provider is compiled in; naming it keeps libraries that install another out of the choice.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let content = Content::read(&files)?;
        let identity = content.identity(&files, &provider)?;
        let current = Arc::new(Current(RwLock::new(identity)));
        let clients = content.clients(&files, &provider)?;
        let clients = clients.map(|clients| Arc::new(CurrentAuthority::new(clients)));
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| files.refused(source))?;
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(clients.clone()),
            None => builder.with_no_client_auth(),
        };
        let mut server = builder.with_cert_resolver(current.clone());
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if clients.is_some() {
            // A resumed session is not checked again, though the authority may have changed.
            server.session_storage = Arc::new(NoServerSessionStorage {});
        }
        Ok(Self(Arc::new(Inner {
            server: Arc::new(server),
            current,
            clients,
            met: Mutex::new(content.met()),
            files,
        })))
    }

    /// For a listener; h2 and HTTP/1.1. New connections get whatever certificate is current then.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.0.server.clone()
    }

    /// Looks at the files again and again. What cannot be used is logged, and the old state stays.
    pub async fn follow(&self) -> Infallible {
        let this = self.clone();
        follow(&self.0.files.certificate, move || this.look()).await
    }

    /// True where there is something else, which counts from now on. An error is told once, until the files change
    /// again.
    fn look(&self) -> Result<bool, TlsError> {
        let Inner { files, .. } = &*self.0;
        let content = Content::read(files);
        let met = content.as_ref().map_or(Met::Unreadable, Content::met);
        if !met.takes_place_of(&self.0.met) {
            return Ok(false);
        }
        let (content, provider) = (content?, self.0.server.crypto_provider());
        // Both or neither.
        let identity = content.identity(files, provider)?;
        let clients = content.clients(files, provider)?;
        *self.0.current.0.write().unwrap_or_else(PoisonError::into_inner) = identity;
        if let (Some(current), Some(clients)) = (&self.0.clients, clients) {
            current.set(clients);
        }
        Ok(true)
    }
}

impl IdentityFiles {
    fn refused(&self, source: rustls::Error) -> TlsError {
        TlsError::Use {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        }
    }
}

/// The content of the files.
struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authority: Option<Vec<u8>>,
}

impl Content {
    fn read(files: &IdentityFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            authority: files.authority.as_deref().map(read).transpose()?,
        })
    }

    fn met(&self) -> Met {
        let authority = self.authority.as_deref().unwrap_or_default();
        Met::Content(digest(&[self.certificate.as_slice(), &self.key, authority]))
    }

    fn identity(
        &self,
        files: &IdentityFiles,
        provider: &CryptoProvider,
    ) -> Result<Arc<CertifiedKey>, TlsError> {
        let certificates = certificates(&self.certificate, &files.certificate)?;
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|source| TlsError::Pem {
            path: files.key.clone(),
            what: "key",
            source,
        })?;
        let key = CertifiedKey::from_der(certificates, private, provider);
        key.map(Arc::new).map_err(|source| files.refused(source))
    }

    /// The check of clients, where they are asked for certificates.
    fn clients(
        &self,
        files: &IdentityFiles,
        provider: &CryptoProvider,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let (Some(content), Some(path)) = (&self.authority, &files.authority) else {
            return Ok(None);
        };
        let verifier = peers::verifier(certificates(content, path)?, provider);
        verifier.map(Some).map_err(|source| TlsError::Authority {
            path: path.clone(),
            source,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Of several contents, in this order.
fn digest(all: &[&[u8]]) -> [u8; 32] {
    let digest = all.iter().fold(Sha256::new(), |digest, content| {
        digest.chain_update(Sha256::digest(content))
    });
    digest.finalize().into()
}

/// One certificate or more.
fn certificates(content: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>();
    all.and_then(|all| (!all.is_empty()).then_some(all).ok_or(pem::Error::NoItemsFound))
        .map_err(|source| TlsError::Pem {
            path: path.to_owned(),
            what: "certificate",
            source,
        })
}

#[cfg(test)]
mod client_tests;
#[cfg(test)]
#[allow(dead_code)]
pub(crate) mod issue;
#[cfg(test)]
mod tests;
