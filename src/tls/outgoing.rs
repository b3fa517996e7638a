//! Whom this process trusts and what it shows where it calls others over TLS, from files that may change.

use std::{
    convert::Infallible,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore, crypto::CryptoProvider, sign::SingleCertAndKey,
};

use super::{Content, IdentityFiles, Met, TlsError, certificates, digest, follow, read};

/// Where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutgoingFiles {
    /// Authorities, PEM, that are trusted beside those of Mozilla.
    pub authorities: Option<PathBuf>,
    /// Certificate chain and its key, PEM, shown to whoever asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What calls go by. Clones are one.
#[derive(Clone)]
pub struct Outgoing(Arc<Inner>);

struct Inner {
    files: OutgoingFiles,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<ClientConfig>>,
    /// What the last look met.
    met: Mutex<Met>,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outgoing").field(&self.0.files).finish()
    }
}

impl Outgoing {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They cannot be read, or not be used.
    pub fn open(files: OutgoingFiles) -> Result<Self, TlsError> {
        // One provider is compiled in; naming it keeps libraries that install another out of the choice.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let found = Found::read(&files)?;
        Ok(Self(Arc::new(Inner {
            current: RwLock::new(found.config(&files, &provider)?),
            met: Mutex::new(found.met()),
            provider,
            files,
        })))
    }

    /// For the next call; HTTP/1.1.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.0
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks at the files again and again. What cannot be used is logged, and the old state stays.
    pub async fn follow(&self) -> Infallible {
        let files = &self.0.files;
        let certificate = files.identity.as_ref().map(|(certificate, _)| certificate);
        let Some(path) = certificate.or(files.authorities.as_ref()) else {
            return std::future::pending().await;
        };
        let this = self.clone();
        follow(path, move || this.look()).await
    }

    /// True where there is something else, which counts from now on. An error is told once, until the files change again.
    fn look(&self) -> Result<bool, TlsError> {
        let inner = &*self.0;
        let found = Found::read(&inner.files);
        let met = found.as_ref().map_or(Met::Unreadable, Found::met);
        if !met.takes_place_of(&inner.met) {
            return Ok(false);
        }
        // A new one also forgets the sessions that were begun with the old.
        let config = found?.config(&inner.files, &inner.provider)?;
        *inner.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(true)
    }
}

/// The content of the files.
struct Found {
    authorities: Option<Vec<u8>>,
    identity: Option<(IdentityFiles, Content)>,
}

impl Found {
    fn read(files: &OutgoingFiles) -> Result<Self, TlsError> {
        let identity = files.identity.as_ref().map(|(certificate, key)| {
            let files = IdentityFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                authority: None,
            };
            Content::read(&files).map(|content| (files, content))
        });
        Ok(Self {
            authorities: files.authorities.as_deref().map(read).transpose()?,
            identity: identity.transpose()?,
        })
    }

    fn met(&self) -> Met {
        let (certificate, key) = match &self.identity {
            Some((_, content)) => (&*content.certificate, &*content.key),
            None => (&b""[..], &b""[..]),
        };
        let authorities = self.authorities.as_deref().unwrap_or_default();
        Met::Content(digest(&[authorities, certificate, key]))
    }

    fn config(
        &self,
        files: &OutgoingFiles,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let (Some(content), Some(path)) = (&self.authorities, &files.authorities) {
            for authority in certificates(content, path)? {
                roots.add(authority).map_err(|source| TlsError::Trust {
                    path: path.clone(),
                    source,
                })?;
            }
        }
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Versions)?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((files, content)) => {
                let shown = SingleCertAndKey::from(content.identity(files, provider)?);
                builder.with_client_cert_resolver(Arc::new(shown))
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
#[path = "outgoing_tests.rs"]
mod tests;
