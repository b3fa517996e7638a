//! A caller of the facade that never stops asking.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::support::cluster_dir;
use crate::support::{PATIENCE, Space, installation};

/// Pause between two requests.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Book {
    asked: usize,
    unanswered: Vec<String>,
}

impl Book {
    fn note(&mut self, failure: Option<String>) {
        self.asked += 1;
        let number = self.asked;
        self.unanswered
            .extend(failure.map(|failure| format!("request {number}: {failure}")));
    }
}

/// Lists a namespace's Tasks through the facade's Service, each time on a connection of its own.
pub struct Prober {
    book: Arc<Mutex<Book>>,
    stop: CancellationToken,
    asking: JoinHandle<()>,
}

impl Prober {
    pub fn start(space: &Space) -> Self {
        let address = installation::facade_address();
        let target = format!(
            "http://{address}/errand/v1/namespaces/{}/tasks?limit=1",
            space.name
        );
        let (book, stop): (Arc<Mutex<Book>>, CancellationToken) = Default::default();
        let asking = tokio::spawn(ask(target, administrator_token(), book.clone(), stop.clone()));
        Self { book, stop, asking }
    }

    /// Requests made so far.
    pub fn count(&self) -> usize {
        self.book.lock().unwrap().asked
    }

    /// Ends; gives the number of requests, and what happened to those that were not answered with 200.
    pub async fn stop(self) -> (usize, Vec<String>) {
        self.stop.cancel();
        self.asking.await.unwrap();
        let book = std::mem::take(&mut *self.book.lock().unwrap());
        (book.asked, book.unanswered)
    }
}

/// The API server's token of the administrator, which the facade has it review like anyone's.
fn administrator_token() -> String {
    let tokens = std::fs::read_to_string(cluster_dir().join("tokens")).unwrap();
    let admin = tokens.lines().find(|line| line.contains(",admin,")).unwrap();
    admin.split(',').next().unwrap().to_owned()
}

async fn ask(target: String, token: String, book: Arc<Mutex<Book>>, stop: CancellationToken) {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http();
    while !stop.is_cancelled() {
        let request = http::Request::get(&target)
            .header("Authorization", format!("Bearer {token}"))
            .body(Empty::new())
            .unwrap();
        let failure = match tokio::time::timeout(PATIENCE, client.request(request)).await {
            Ok(Ok(answer)) if answer.status() == 200 => None,
            Ok(Ok(answer)) => Some(answer.status().to_string()),
            Ok(Err(error)) => Some(errand::chain::chain(&error)),
            Err(_) => Some(format!("nothing came within {PATIENCE:?}")),
        };
        book.lock().unwrap().note(failure);
        tokio::time::sleep(PAUSE).await;
    }
}
