//! Calls over TLS, to servers of this machine that may want to know who calls.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::{
    call::Caller,
    decide::Answer,
    tests::{LIMITS, caller, here, post},
};
use crate::tls::{
    Outgoing, OutgoingFiles,
    issue::{Authority, Issued},
};

/// A server of https that answers 201, and to `/down` with a redirect to http.
async fn serve(tls: Arc<ServerConfig>) -> u16 {
    let acceptor = TlsAcceptor::from(tls);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut some = [0; 1024];
            let read = stream.read(&mut some).await.unwrap_or_default();
            let head = String::from_utf8_lossy(&some[..read]).into_owned();
            let answer = if head.starts_with("POST /down ") {
                "HTTP/1.1 302 Found\r\nlocation: http://localhost/\r\ncontent-length: 0\r\n\r\n"
            } else {
                "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n"
            };
            drop(stream.write_all(answer.as_bytes()).await);
            drop(stream.shutdown().await);
        }
    });
    port
}

/// A caller that trusts this authority and shows this.
fn showing(authority: &Authority, shown: Option<&Issued>) -> Caller {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    authority.write(&path("ca.crt"));
    let identity = shown.map(|shown| {
        shown.write(&path("tls.crt"), &path("tls.key"));
        (path("tls.crt"), path("tls.key"))
    });
    let files = OutgoingFiles {
        authorities: Some(path("ca.crt")),
        identity,
    };
    // They are read by now, and nobody looks again.
    Caller::new(here(), Outgoing::open(files).unwrap())
}

async fn broken(caller: &Caller, url: &str) -> String {
    match post(caller, url, LIMITS).await {
        Answer::Broken(words) => words,
        other => panic!("{url}: {other:?}"),
    }
}

#[tokio::test]
async fn tls_is_spoken_with_whom_an_authority_vouches_for_and_never_left() {
    let (authority, stranger) = (Authority::make(), Authority::make());
    let port = serve(authority.issue("receiver").server(None)).await;
    let url = |path: &str| format!("https://localhost:{port}{path}");
    let trusting = showing(&authority, None);
    assert_eq!(
        post(&trusting, &url("/"), LIMITS).await,
        Answer::Status(201, None)
    );
    let by_address = format!("https://127.0.0.1:{port}/");
    assert_eq!(
        post(&trusting, &by_address, LIMITS).await,
        Answer::Status(201, None)
    );
    assert_eq!(
        post(&trusting, &url("/down"), LIMITS).await,
        Answer::Refused("the redirect leads from https to http, which is not followed".into())
    );
    for caller in [caller(here()), showing(&stranger, None)] {
        assert_eq!(
            broken(&caller, &url("/")).await,
            format!("could not agree on TLS with localhost:{port}: invalid peer certificate: UnknownIssuer")
        );
    }
}

#[tokio::test]
async fn a_receiver_that_asks_who_calls_is_shown_the_certificate() {
    let (receivers, callers) = (Authority::make(), Authority::make());
    let port = serve(receivers.issue("receiver").server(Some(&callers))).await;
    let url = format!("https://localhost:{port}/");
    let known = showing(&receivers, Some(&callers.issue("errand")));
    assert_eq!(post(&known, &url, LIMITS).await, Answer::Status(201, None));
    // The same caller goes where nobody asks.
    let open = serve(receivers.issue("receiver").server(None)).await;
    let open = format!("https://localhost:{open}/");
    assert_eq!(post(&known, &open, LIMITS).await, Answer::Status(201, None));
}

#[tokio::test]
async fn a_receiver_that_does_not_know_who_calls_is_not_told_anything_and_says_why() {
    let (receivers, callers) = (Authority::make(), Authority::make());
    let port = serve(receivers.issue("receiver").server(Some(&callers))).await;
    let url = format!("https://localhost:{port}/");
    for (shown, alert) in [
        (None, "CertificateRequired"),
        (Some(receivers.issue("errand")), "UnknownCA"),
    ] {
        let words = broken(&showing(&receivers, shown.as_ref()), &url).await;
        assert!(
            words.ends_with(&format!("received fatal alert: {alert}")),
            "{words}"
        );
    }
    // A certificate of the right authority does not make up for a receiver of the wrong one.
    let words = broken(&showing(&callers, Some(&callers.issue("errand"))), &url).await;
    assert!(
        words.ends_with("invalid peer certificate: UnknownIssuer"),
        "{words}"
    );
}
