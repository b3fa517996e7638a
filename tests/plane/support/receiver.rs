//! Somebody who is called back.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::PATIENCE;

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    pub at: Instant,
    /// `POST /path`
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// What the header `webhook-signature` has to say where this key signs (Standard Webhooks).
    pub fn signature(&self, key: &[u8]) -> String {
        let of = |name: &str| self.header(name).unwrap();
        let head = format!("{}.{}.", of("webhook-id"), of("webhook-timestamp"));
        let signed = [head.as_bytes(), &self.body].concat();
        format!("v1,{}", STANDARD.encode(hmac_sha256(key, &signed)))
    }
}

/// HMAC by its definition (RFC 2104), so that tests do not lean on what they test.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(message);
    let outer = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner.finalize());
    outer.finalize().to_vec()
}

/// What a call is answered with.
pub enum Reply {
    Status(u16),
    /// Status and one header.
    With(u16, &'static str, String),
    /// 200 and these bytes.
    Body(Vec<u8>),
    /// No answer at all, for as long as the caller stays.
    Hang,
}

/// A server on a free port that notes calls and answers the n-th, from 0, as it is told.
#[derive(Clone)]
pub struct Receiver {
    pub addr: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Receiver {
    pub fn start(reply: impl Fn(usize, &Call) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), reply)
    }

    pub fn on(listener: TcpListener, reply: impl Fn(usize, &Call) -> Reply + Send + Sync + 'static) -> Self {
        let receiver = Self {
            addr: listener.local_addr().unwrap(),
            calls: Arc::default(),
        };
        let (calls, reply) = (receiver.calls.clone(), Arc::new(reply));
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (calls, reply) = (calls.clone(), reply.clone());
                std::thread::spawn(move || drop(answer(stream, &calls, reply.as_ref())));
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Waits for so many calls.
    pub async fn heard(&self, count: usize) -> Vec<Call> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let calls = self.calls();
            if calls.len() >= count {
                return calls;
            }
            assert!(Instant::now() < deadline, "{count} calls did not come: {calls:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn answer(
    stream: TcpStream,
    calls: &Mutex<Vec<Call>>,
    reply: &dyn Fn(usize, &Call) -> Reply,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    // Closed, or killed, before anything was said.
    if lines.is_empty() {
        return Ok(());
    }
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    reader.read_exact(&mut body)?;
    let call = Call {
        at: Instant::now(),
        target: lines[0].trim_end_matches(" HTTP/1.1").to_owned(),
        headers,
        body,
    };
    let number = {
        let mut calls = calls.lock().unwrap();
        calls.push(call.clone());
        calls.len() - 1
    };
    let (status, header) = match reply(number, &call) {
        Reply::Status(status) => (status, String::new()),
        Reply::With(status, name, value) => (status, format!("{name}: {value}\r\n")),
        Reply::Body(body) => {
            let mut stream = stream;
            write!(
                stream,
                "HTTP/1.1 200 X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            )?;
            return stream.write_all(&body);
        }
        Reply::Hang => {
            // Until the caller closes the connection.
            reader.read_to_end(&mut Vec::new())?;
            return Ok(());
        }
    };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status} X\r\n{header}content-length: 0\r\n\r\n")
}
