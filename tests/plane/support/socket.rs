//! A client of WebSockets, message by message.

use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, protocol::CloseFrame},
};

use super::{PATIENCE, http::Http};

/// One end of a WebSocket.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
}

impl Socket {
    /// Opens one at a path of a server.
    pub async fn open(http: &Http, path: &str) -> Self {
        let stream = TcpStream::connect(http.addr()).await.unwrap();
        Self::over(stream, http, path).await
    }

    /// Opens one over a connection that takes few bytes ahead of what is read.
    pub async fn open_narrow(http: &Http, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(http.addr().parse().unwrap()).await.unwrap();
        Self::over(stream, http, path).await
    }

    async fn over(stream: TcpStream, http: &Http, path: &str) -> Self {
        let (stream, answer) = client_async(format!("ws://{}{path}", http.addr()), stream)
            .await
            .unwrap();
        assert_eq!(answer.status(), 101);
        Self { stream }
    }

    pub async fn say(&mut self, text: impl Into<String>) {
        self.send(Message::text(text.into())).await;
    }

    pub async fn send(&mut self, message: Message) {
        self.try_send(message).await.unwrap();
    }

    pub async fn try_send(&mut self, message: Message) -> Result<(), tungstenite::Error> {
        self.stream.send(message).await
    }

    /// The next message, whatever it is.
    pub async fn message(&mut self) -> Message {
        self.next().await.unwrap().unwrap()
    }

    /// The next message of text.
    pub async fn text(&mut self) -> String {
        match self.next().await {
            Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
            other => panic!("no text came but {other:?}"),
        }
    }

    /// The next message as JSON.
    pub async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// Reads on until the other side ends it; how it did, if it did so properly, and what it said before.
    pub async fn end(&mut self) -> (Option<CloseFrame>, Vec<String>) {
        let mut said = Vec::new();
        loop {
            match self.next().await {
                Some(Ok(Message::Text(text))) => said.push(text.as_str().to_owned()),
                Some(Ok(Message::Close(frame))) => return (frame, said),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return (None, said),
            }
        }
    }

    async fn next(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        let next = timeout(PATIENCE, self.stream.next()).await;
        next.unwrap_or_else(|_| panic!("nothing came within {PATIENCE:?}"))
    }
}
