//! Clients that show a certificate: whom it is from is checked against an authority that may change, and who it names
//! is read.

use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::{
    self, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Checks clients against the authority as it stands now.
pub(super) struct CurrentAuthority(RwLock<Arc<dyn ClientCertVerifier>>);

impl CurrentAuthority {
    pub(super) fn new(verifier: Arc<dyn ClientCertVerifier>) -> Self {
        Self(RwLock::new(verifier))
    }

    pub(super) fn set(&self, verifier: Arc<dyn ClientCertVerifier>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = verifier;
    }

    fn get(&self) -> Arc<dyn ClientCertVerifier> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for CurrentAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CurrentAuthority")
    }
}

impl ClientCertVerifier for CurrentAuthority {
    // Hints would be those of the first authority for ever; clients with one certificate do without.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.get().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.get().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.get().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.get().supported_verify_schemes()
    }
}

/// Lets in whoever shows a certificate of one of these authorities, and nobody else.
pub(super) fn verifier(
    authorities: Vec<CertificateDer<'static>>,
    provider: &CryptoProvider,
) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    let mut roots = RootCertStore::empty();
    // What is no certificate is left out, and none at all is an error of the builder.
    roots.add_parsable_certificates(authorities);
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider.clone()));
    builder.build()
}

/// Who is at the other end of a connection: the common name of the certificate that was shown and checked; `None` where
/// none was asked for, or it has no name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer(pub Option<Arc<str>>);

impl Peer {
    /// The common name in a certificate (RFC 5280, section 4.1.2.6), where there is exactly one and it is text.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(common_name(certificate).map(Into::into))
    }
}

fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    // Which of several would be meant is not ours to guess.
    let (Some(name), None) = (names.next(), names.next()) else {
        return None;
    };
    let name = name.as_str().ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn named(names: &[(DnType, &str)]) -> Peer {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Peer::of(certificate.der())
    }

    #[test]
    fn a_peer_is_the_common_name_of_its_certificate() {
        let cn = |name| (DnType::CommonName, name);
        assert_eq!(
            named(&[cn("cloud_controller")]),
            Peer(Some("cloud_controller".into()))
        );
        let more = [(DnType::OrganizationName, "system:masters"), cn("ann")];
        assert_eq!(named(&more), Peer(Some("ann".into())));
        assert_eq!(named(&[(DnType::OrganizationName, "ann")]), Peer(None));
        assert_eq!(named(&[cn("")]), Peer(None));
        assert_eq!(
            Peer::of(&CertificateDer::from(b"no certificate".to_vec())),
            Peer(None)
        );
    }
}
