//! Readiness probes of the kinds `tcpSocket` and `httpGet`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What to probe and how often.
#[derive(Clone, Debug)]
pub struct Target {
    address: SocketAddr,
    /// Path and host header; none for a plain TCP probe.
    http: Option<(String, String)>,
    delay: Duration,
    period: Duration,
    timeout: Duration,
    successes: i32,
    failures: i32,
}

impl Target {
    /// None for probes of other kinds (exec, gRPC, HTTPS) or without an address: those count as passed.
    pub fn of(probe: &Probe, container: &Container, pod_ip: Option<IpAddr>) -> Option<Self> {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(
                value
                    .and_then(|value| u64::try_from(value).ok())
                    .unwrap_or(default),
            )
        };
        let (port, http) = if let Some(get) = &probe.http_get {
            if get.scheme.as_deref() == Some("HTTPS") {
                return None;
            }
            let host = get.host.clone().unwrap_or_default();
            (
                &get.port,
                Some((get.path.clone().unwrap_or_else(|| "/".to_owned()), host)),
            )
        } else {
            (&probe.tcp_socket.as_ref()?.port, None)
        };
        let port = port_of(port, container)?;
        let address = SocketAddr::new(pod_ip?, port);
        Some(Self {
            address,
            http: http.map(|(path, host)| {
                (
                    path,
                    if host.is_empty() {
                        address.to_string()
                    } else {
                        host
                    },
                )
            }),
            delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
            timeout: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
            successes: probe.success_threshold.unwrap_or(1),
            failures: probe.failure_threshold.unwrap_or(3),
        })
    }

    /// Probes until the answer has differed from `ready` often enough; returns the new one. While the container
    /// is not ready it is probed more often than the period says, as the kubelet does at the start.
    pub async fn until_changed(&self, ready: bool) -> bool {
        tokio::time::sleep(if ready { self.period } else { self.delay }).await;
        let needed = if ready { self.failures } else { self.successes };
        let mut differing = 0;
        let mut pause = Duration::from_millis(100);
        loop {
            let answer = tokio::time::timeout(self.timeout, self.ask())
                .await
                .unwrap_or(false);
            differing = if answer == ready { 0 } else { differing + 1 };
            if differing >= needed {
                return answer;
            }
            tokio::time::sleep(if ready {
                self.period
            } else {
                pause.min(self.period)
            })
            .await;
            pause *= 2;
        }
    }

    async fn ask(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address).await else {
            return false;
        };
        let Some((path, host)) = &self.http else {
            return true;
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kube-probe/1.33\r\nConnection: close\r\n\r\n"
        );
        if stream.write_all(request.as_bytes()).await.is_err() {
            return false;
        }
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.is_ok() && passes(&head)
    }
}

/// `HTTP/1.1 204`: 200 to 399 pass.
fn passes(head: &[u8; 12]) -> bool {
    let code = head
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| std::str::from_utf8(rest.get(2..)?).ok()?.parse().ok());
    code.is_some_and(|code: u16| (200..400).contains(&code))
}

fn port_of(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let found = container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_deref() == Some(name))?;
            u16::try_from(found.container_port).ok()
        }
    }
}
