//! Pod addresses and ports on one machine.
//!
//! Each pod has a loopback address of its own. A process whose variable `PORT` equals a declared port is given
//! another, free port there; the node listens at the declared one on the pod's address and passes connections
//! on, beginning when the process listens itself. So any number of pods can have port 8080.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The first and the longest pause between two looks whether the process listens.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(50);
/// Connections still open when the process has ended may deliver what is under way for so long.
const LINGER: Duration = Duration::from_secs(1);
const BACKLOG: u32 = 1024;

/// A loopback address that no pod of this node has: 127.1.0.1 to 127.254.255.254, at random, so that several
/// planes on one machine seldom meet.
pub fn free_address(taken: &HashSet<Ipv4Addr>) -> Ipv4Addr {
    loop {
        let random = uuid::Uuid::new_v4().into_bytes();
        let address = Ipv4Addr::new(127, 1 + random[0] % 254, random[1], 1 + random[2] % 254);
        if !taken.contains(&address) {
            return address;
        }
    }
}

/// A declared port of a pod, held for its process.
#[derive(Debug)]
pub struct Held {
    /// The port for the process's own `PORT`.
    pub inner: u16,
    socket: TcpSocket,
}

/// Holds `address:port` without listening yet, and finds a free port for the process.
pub fn hold(address: Ipv4Addr, port: u16) -> io::Result<Held> {
    let socket = TcpSocket::new_v4()?;
    // A process that ignores PORT and listens on 0.0.0.0:port itself must not fail because of us.
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((address, port)))?;
    let inner = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    Ok(Held { inner, socket })
}

/// Waits until the process listens, then passes connections on, until `ended` resolves or is dropped.
pub async fn serve(held: Held, mut ended: oneshot::Receiver<()>) {
    let Held { inner, socket } = held;
    let listener = tokio::select! {
        () = until_listening(inner) => socket.listen(BACKLOG),
        _ = &mut ended => return,
    };
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, "the pod's port cannot be opened");
            return;
        }
    };
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&listener, inner, &mut connections) => {}
        _ = ended => {}
    }
    drop(listener);
    let _ = tokio::time::timeout(LINGER, async { while connections.join_next().await.is_some() {} }).await;
}

async fn accept(listener: &TcpListener, inner: u16, connections: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(pass_on(stream, inner));
                }
                // Out of descriptors, most likely: pause instead of spinning.
                Err(_) => tokio::time::sleep(LONGEST_LOOK).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn pass_on(mut outside: TcpStream, inner: u16) {
    let inside = match TcpStream::connect((Ipv4Addr::LOCALHOST, inner)).await {
        Ok(inside) => Ok(inside),
        Err(_) => TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, inner)).await,
    };
    if let Ok(mut inside) = inside {
        let _ = (outside.set_nodelay(true), inside.set_nodelay(true));
        let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
    }
}

/// Looks into the kernel's table rather than connecting: a probe connection could upset a server that takes
/// exactly one.
async fn until_listening(port: u16) {
    let mut pause = FIRST_LOOK;
    while !listens(port).await {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_LOOK);
    }
}

async fn listens(port: u16) -> bool {
    let mut readable = false;
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        if let Ok(text) = tokio::fs::read_to_string(table).await {
            readable = true;
            if text.lines().any(|line| is_listener(line, port)) {
                return true;
            }
        }
    }
    !readable && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
}

/// `  0: 0100007F:1F90 00000000:0000 0A ...`: local address, remote address, state (0A = LISTEN).
fn is_listener(line: &str, port: u16) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    let local = fields
        .next()
        .and_then(|local| local.rsplit_once(':'))
        .map(|(_, port)| port);
    let state = fields.nth(1);
    local.and_then(|hex| u16::from_str_radix(hex, 16).ok()) == Some(port) && state == Some("0A")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn listeners_are_found_in_the_kernels_table() {
        let line =
            |state: &str| format!("   0: 0100007F:1F90 00000000:0000 {state} 00000000:00000000 00:00000000");
        assert!(is_listener(&line("0A"), 8080));
        assert!(!is_listener(&line("01"), 8080));
        assert!(!is_listener(&line("0A"), 8081));
        assert!(!is_listener(
            "  sl  local_address rem_address   st tx_queue",
            8080
        ));
    }

    #[tokio::test]
    async fn the_pods_port_opens_when_the_process_listens_and_closes_when_it_ends() {
        let address = free_address(&HashSet::new());
        let held = hold(address, 8080).unwrap();
        let inner = held.inner;
        let (end, ended) = oneshot::channel();
        let proxy = tokio::spawn(serve(held, ended));
        assert!(TcpStream::connect((address, 8080)).await.is_err());
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, inner)).await.unwrap();
        let echo = tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            stream.write_all(text.to_uppercase().as_bytes()).await.unwrap();
        });
        let mut client = loop {
            match TcpStream::connect((address, 8080)).await {
                Ok(client) => break client,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "HELLO");
        echo.await.unwrap();
        end.send(()).unwrap();
        proxy.await.unwrap();
        assert!(TcpStream::connect((address, 8080)).await.is_err());
    }
}
