//! Clients of Diego's door: known by their certificates, through the facade's Service.

use std::{io, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _},
    },
};

use super::{
    PATIENCE, Space, installation,
    protobuf::{Fields, message, text},
};

/// Numbers of a task's fields (`models/task.proto` of the BBS).
pub const DEFINITION: u64 = 1;
pub const GUID: u64 = 2;
pub const STATE: u64 = 7;
pub const CELL: u64 = 8;
pub const RESULT: u64 = 9;
pub const FAILED: u64 = 10;
pub const REASON: u64 = 11;

pub const RUNNING: u64 = 2;
pub const COMPLETED: u64 = 3;

/// Types of errors.
pub const UNKNOWN: u64 = 0;
pub const EXISTS: u64 = 12;
pub const NOT_FOUND: u64 = 13;

/// Limit on a call, as clients of the BBS have one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Nothing, or type and text of an error.
pub type Outcome = Result<(), (u64, String)>;

/// The name of the door's authority.
pub const AUTHORITY: &str = "errand-e2e";

/// The authority of the door's clients, or another.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// That of the door.
    trusted: CertificateDer<'static>,
}

impl Authority {
    /// The one that `certificates.sh` has made.
    pub async fn of_the_door(client: &Client) -> Self {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), installation::NAMESPACE);
        let secret = secrets.get("errand-e2e-authority").await.unwrap();
        let data = secret.data.unwrap();
        let key = KeyPair::from_pem(std::str::from_utf8(&data["ca.key"].0).unwrap()).unwrap();
        Self {
            issuer: Issuer::new(named(AUTHORITY), key),
            trusted: CertificateDer::from_pem_slice(&data["ca.crt"].0).unwrap(),
        }
    }

    /// One with a key of its own.
    pub fn other(&self, name: &str) -> Self {
        Self {
            issuer: Issuer::new(named(name), KeyPair::generate().unwrap()),
            trusted: self.trusted.clone(),
        }
    }

    /// A client with a certificate of this name.
    pub fn client(&self, name: &str) -> Diego {
        let key = KeyPair::generate().unwrap();
        let certificate = named(name).signed_by(&key, &self.issuer).unwrap();
        self.with(Some((
            certificate.der().clone(),
            PrivatePkcs8KeyDer::from(key.serialize_der()),
        )))
    }

    /// A client that shows no certificate.
    pub fn nobody(&self) -> Diego {
        self.with(None)
    }

    fn with(&self, identity: Option<(CertificateDer<'static>, PrivatePkcs8KeyDer<'static>)>) -> Diego {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            Some((certificate, key)) => config
                .with_client_auth_cert(vec![certificate], key.into())
                .unwrap(),
            None => config.with_no_client_auth(),
        };
        Diego {
            address: installation::diego_address(),
            tls: TlsConnector::from(Arc::new(config)),
        }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A client.
pub struct Diego {
    address: std::net::SocketAddr,
    tls: TlsConnector,
}

impl Space {
    /// A client of the namespace's name, which makes it the caller's own, who may do this with Tasks here.
    pub async fn diego(&self, verbs: &[&str]) -> Diego {
        self.allow_user(&self.name, verbs).await;
        Authority::of_the_door(&self.client).await.client(&self.name)
    }
}

impl Diego {
    /// Sends a request on a connection of its own.
    async fn ask(&self, path: &str, body: &[u8]) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let host = format!("errand-facade.{}.svc", installation::NAMESPACE);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/x-protobuf\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = self
            .tls
            .connect(ServerName::try_from(host).unwrap(), stream)
            .await?;
        stream.write_all(&[head.as_bytes(), body].concat()).await?;
        Ok(stream)
    }

    /// Status and body of the answer.
    ///
    /// # Errors
    /// There is no whole answer in time.
    pub async fn respond(&self, path: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let exchange = async {
            let mut answer = Vec::new();
            self.ask(path, body).await?.read_to_end(&mut answer).await?;
            let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
            let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
            let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
            Ok((status, answer.split_off(end + 4)))
        };
        let answer = timeout(REQUEST_TIMEOUT, exchange).await;
        answer.unwrap_or_else(|late| Err(io::Error::new(io::ErrorKind::TimedOut, late)))
    }

    /// The message that a call is answered with.
    ///
    /// # Errors
    /// There is none, for reasons that the Go client tries again for.
    pub async fn call(&self, path: &str, body: &[u8]) -> io::Result<Fields> {
        match self.respond(path, body).await? {
            (200, body) => Ok(Fields::parse(&body)),
            (status, body) => Err(io::Error::other(format!(
                "{status}: {}",
                String::from_utf8_lossy(&body)
            ))),
        }
    }

    pub async fn desire(&self, guid: &str, domain: &str, definition: &[u8]) -> io::Result<Outcome> {
        let body = [message(1, definition), text(2, guid), text(3, domain)].concat();
        Ok(error(&self.call("/v1/tasks/desire.r2", &body).await?))
    }

    /// `cancel`, `resolving` or `delete`.
    pub async fn named(&self, call: &str, guid: &str) -> Outcome {
        let path = format!("/v1/tasks/{call}");
        error(&self.call(&path, &text(1, guid)).await.unwrap())
    }

    pub async fn task(&self, guid: &str) -> Result<Fields, (u64, String)> {
        let answer = self
            .call("/v1/tasks/get_by_task_guid.r3", &text(1, guid))
            .await
            .unwrap();
        error(&answer).map(|()| answer.message(2).unwrap())
    }

    /// Guids of the tasks of a domain and a cell, or of all where these are empty.
    pub async fn listed(&self, domain: &str, cell: &str) -> Vec<String> {
        let filter = [text(1, domain), text(2, cell)].concat();
        let answer = self.call("/v1/tasks/list.r3", &filter).await.unwrap();
        assert_eq!(error(&answer), Ok(()));
        answer
            .all(2)
            .iter()
            .map(|task| Fields::parse(task).text(GUID))
            .collect()
    }

    /// The task once it is in this state.
    pub async fn until(&self, space: &Space, guid: &str, state: u64) -> Fields {
        let what = format!("{guid} is in state {state}");
        space
            .poll(&what, || async {
                self.task(guid)
                    .await
                    .ok()
                    .filter(|task| task.number(STATE) == state)
            })
            .await
    }

    /// What becomes of tasks from now on.
    pub async fn events(&self) -> Events {
        let mut events = Events {
            stream: self.ask("/v1/events/tasks.r1", b"").await.unwrap(),
            text: String::new(),
        };
        while !events.text.contains("\r\n\r\n") {
            events.read().await;
        }
        let head = events.text.to_lowercase();
        assert!(
            head.starts_with("http/1.1 200") && head.contains("text/event-stream"),
            "{head}"
        );
        events
    }
}

/// A stream of events.
pub struct Events {
    stream: TlsStream<TcpStream>,
    text: String,
}

impl Events {
    async fn read(&mut self) {
        let mut buffer = [0; 4096];
        let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await;
        let count = read
            .unwrap_or_else(|_| panic!("nothing more after {}", self.text))
            .unwrap();
        assert!(count > 0, "the stream ended: {}", self.text);
        self.text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }

    /// Names and messages of all events up to the first of this name.
    pub async fn up_to(mut self, last: &str) -> Vec<(String, Fields)> {
        let last = format!("event: {last}\n");
        while !self
            .text
            .split_once(&last)
            .is_some_and(|(_, rest)| rest.contains("\n\n"))
        {
            self.read().await;
        }
        let lines = |name: &str| -> Vec<String> {
            let lines = self.text.lines().filter_map(|line| line.strip_prefix(name));
            lines.map(str::to_owned).collect()
        };
        let messages = lines("data: ")
            .into_iter()
            .map(|data| Fields::parse(&STANDARD.decode(data).unwrap()));
        lines("event: ").into_iter().zip(messages).collect()
    }
}

/// The error of an answer, which is field 1 of all.
pub fn error(answer: &Fields) -> Outcome {
    match answer.message(1) {
        None => Ok(()),
        Some(error) => Err((error.number(1), error.text(2))),
    }
}

/// A definition that runs a shell script in the image of tools, with more fields: root_fs 1, action 3, log_source 8,
/// log_guid 9.
pub fn script(script: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let run = [text(1, "sh"), text(2, "-c"), text(2, script), text(6, "0")].concat();
    let own = [
        text(1, "preloaded:tools"),
        message(3, &message(3, &run)),
        text(8, "TSK"),
        text(9, "log-guid"),
    ];
    [own.concat(), more.concat()].concat()
}

/// The field `result_file` of a definition.
pub fn result_file(path: &str) -> Vec<u8> {
    text(11, path)
}

/// The field `completion_callback_url` of a definition.
pub fn callback(url: &str) -> Vec<u8> {
    text(12, url)
}
