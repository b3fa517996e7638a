//! Clients that are known by their certificates.

use std::{fs, net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{PrivatePkcs8KeyDer, ServerName},
    },
};

use super::error;
use crate::support::{
    Dev,
    protobuf::{Fields, message, text},
};

/// An authority, for the door and its clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn make() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// A call of a client with a certificate of this name: status and body.
    fn call(&self, address: SocketAddr, name: &str, path: &str, body: &[u8]) -> (String, Vec<u8>) {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let (certificate, key) = self.issue(name);
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        let exchange = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let host = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(Arc::new(config))
                .connect(host, stream)
                .await
                .unwrap();
            stream.write_all(&request).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let answer = runtime.block_on(exchange);
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&answer[9..12]).into_owned();
        (status, answer[end + 4..].to_vec())
    }
}

const ROLES: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: tasks, namespace: default}
rules: [{apiGroups: [errand.dev], resources: [tasks], verbs: [create, get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tasks, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: tasks}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: cloud_controller}]
";

#[test]
fn the_name_in_a_certificate_is_the_user_whose_rights_count() {
    let authority = Authority::make();
    let (folder, (certificate, key)) = (tempfile::tempdir().unwrap(), authority.issue("bbs"));
    let write = |name: &str, content: String| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca, certificate, key) = (
        write("ca.crt", authority.0.pem()),
        write("tls.crt", certificate.pem()),
        write("tls.key", key.serialize_pem()),
    );
    let dev = Dev::start(&[
        "--diego-addr=127.0.0.1:0",
        &format!("--diego-ca={ca}"),
        &format!("--diego-cert={certificate}"),
        &format!("--diego-key={key}"),
    ]);
    dev.apply(ROLES);
    let address = dev
        .says("diego")
        .strip_prefix("https://")
        .unwrap()
        .parse()
        .unwrap();
    let call = |name: &str, path: &str, body: &[u8]| authority.call(address, name, path, body);
    let pong = ("200".to_owned(), vec![8, 1]);
    assert_eq!(call("cloud_controller", "/v1/ping", b""), pong);

    let run = [text(1, "true"), text(6, "root")].concat();
    let definition = [text(1, "docker:///busybox"), message(3, &message(3, &run))].concat();
    let desired = [message(1, &definition), text(2, "g"), text(3, "d")].concat();
    let desire = |name: &str| {
        let (status, body) = call(name, "/v1/tasks/desire.r2", &desired);
        assert_eq!(status, "200");
        error(&Fields::parse(&body))
    };
    let (kind, words) = desire("stranger").unwrap_err();
    assert_eq!(
        (kind, &*words),
        (0, r#"user "stranger" cannot create tasks in namespace "default""#)
    );
    assert_eq!(desire("cloud_controller"), Ok(()));
    // What the name of a certificate must not say.
    let (status, _) = call("system:admin", "/v1/ping", b"");
    assert_eq!(status, "401");
}
