//! WebSockets (RFC 6455) within bounds: on their number, the size of what comes in, and the time that a peer may take to
//! read. Each is served by one task that holds one message at a time, so a peer that stops reading costs a message
//! and is then dropped.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        FromRequestParts,
        ws::{
            CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    http::request::Parts,
    response::Response,
};

use super::{layers::Place, refusal::Refusal, state::Facade};
use crate::crd::MAX_BODY_BYTES;

/// Most bytes of a message: a body of the largest size as text, and something around it.
const MAX_MESSAGE: usize = 2 * MAX_BODY_BYTES;
/// Bytes that are read from a connection at once; one such buffer is held for each.
const READ_BUFFER: usize = 4 * 1024;

/// What a request says of a WebSocket.
pub enum Handshake {
    /// It asks for one.
    Asked(Upgrade),
    /// It is a plain request.
    Plain,
}

/// A request for a WebSocket, with the place that it takes.
pub struct Upgrade {
    upgrade: WebSocketUpgrade,
    place: Option<Arc<Place>>,
}

impl FromRequestParts<Facade> for Handshake {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, facade: &Facade) -> Result<Self, Refusal> {
        match WebSocketUpgrade::from_request_parts(parts, facade).await {
            Ok(upgrade) => Ok(Self::Asked(Upgrade {
                upgrade,
                place: parts.extensions.get::<Arc<Place>>().cloned(),
            })),
            Err(
                WebSocketUpgradeRejection::MethodNotGet(_)
                | WebSocketUpgradeRejection::InvalidConnectionHeader(_)
                | WebSocketUpgradeRejection::InvalidUpgradeHeader(_),
            ) => Ok(Self::Plain),
            Err(error) => Err(Refusal::Invalid(error.body_text())),
        }
    }
}

impl Upgrade {
    /// Answers with 101 and speaks on the socket until `session` ends.
    pub fn serve<S, F>(self, facade: &Facade, session: S) -> Response
    where
        S: FnOnce(Socket) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (patience, sockets) = (facade.config.stalled, facade.sockets.clone());
        let place = self.place;
        self.upgrade
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(MAX_MESSAGE)
            .max_frame_size(MAX_MESSAGE)
            .on_upgrade(move |socket| {
                let socket = Socket {
                    socket,
                    patience,
                    _place: place,
                };
                sockets.track_future(session(socket))
            })
    }
}

/// An open WebSocket. Dropped, it breaks the connection off.
pub struct Socket {
    socket: WebSocket,
    patience: Duration,
    _place: Option<Arc<Place>>,
}

/// The other side is gone, or takes nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

impl Socket {
    /// The next message of text; others are passed over. May be dropped while it waits.
    ///
    /// # Errors
    /// The other side left, or broke the protocol or a bound.
    pub async fn hear(&mut self) -> Result<String, Gone> {
        loop {
            match self.socket.recv().await {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Gone),
                // Pings are answered below.
                Some(Ok(_)) => {}
            }
        }
    }

    /// Says a text.
    ///
    /// # Errors
    /// The other side is gone or does not read.
    pub async fn say(&mut self, text: String) -> Result<(), Gone> {
        match tokio::time::timeout(self.patience, self.socket.send(Message::Text(text.into()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        let goodbye = CloseFrame {
            code: close_code::NORMAL,
            reason: "".into(),
        };
        let goodbye = self.socket.send(Message::Close(Some(goodbye)));
        // It leaves either way.
        let _ = tokio::time::timeout(self.patience, goodbye).await;
    }
}
