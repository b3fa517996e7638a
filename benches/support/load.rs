//! Tasks to ask about, and many who ask at once.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use errand::crd::{Function, Task};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{Api, api::PostParams};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::{client, millis};

/// Tasks present; they have no pod.
pub const PRESENT: usize = 10_000;

/// Tasks whose work is done elsewhere, named as GreenCloud names them, and a Function that nothing runs of for long.
pub async fn fill(kubeconfig: &Path) -> Api<Task> {
    let client = client(kubeconfig).await;
    let functions: Api<Function> = Api::default_namespaced(client.clone());
    let queue = json!({
        "apiVersion": "errand.dev/v1alpha1", "kind": "Function", "metadata": {"name": "queue"},
        "spec": {"container": {"image": "i", "command": ["sleep", "600"]}, "maxConcurrency": 1},
    });
    let queue = serde_json::from_value(queue).unwrap();
    functions.create(&PostParams::default(), &queue).await.unwrap();
    let tasks: Api<Task> = Api::default_namespaced(client);
    let make = |number: usize| {
        let tasks = tasks.clone();
        async move {
            let task = json!({
                "apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": format!("{number:024x}")},
                "spec": {"external": {"processor": "bench"}},
            });
            tasks
                .create(&PostParams::default(), &serde_json::from_value(task).unwrap())
                .await
        }
    };
    let made = stream::iter(0..PRESENT).map(make).buffer_unordered(32);
    made.try_for_each(|_| std::future::ready(Ok(()))).await.unwrap();
    tasks
}

/// How a load went.
pub struct Load {
    pub rate: f64,
    pub times: Vec<Duration>,
}

impl Load {
    pub fn print(&self, what: &str, beside: &str) {
        let at = |percent: usize| millis(self.times[(self.times.len() - 1) * percent / 100]);
        println!(
            "| {what} | {:.0}/s, median {:.2} ms, p99 {:.2} ms | {beside} |",
            self.rate,
            at(50),
            at(99)
        );
    }
}

/// So many connections, each asking so often; every answer must be a good one. A request is its method and target, and
/// its body.
pub async fn load(
    url: &str,
    connections: usize,
    each: usize,
    request: impl Fn(usize) -> (String, String) + Copy,
) -> Load {
    let began = Instant::now();
    let clients = (0..connections).map(|client| async move {
        let mut stream = connect(url).await;
        let mut times = Vec::with_capacity(each);
        for turn in 0..each {
            let (line, body) = request(client * each + turn);
            let head = format!(
                "{line} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer bench\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let began = Instant::now();
            stream.get_mut().write_all(head.as_bytes()).await.unwrap();
            answer(&mut stream).await;
            times.push(began.elapsed());
        }
        times
    });
    let mut times: Vec<_> = futures::future::join_all(clients).await.concat();
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    times.sort();
    Load { rate, times }
}

pub async fn connect(url: &str) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(url.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    stream.set_nodelay(true).unwrap();
    BufReader::new(stream)
}

async fn answer(stream: &mut BufReader<TcpStream>) {
    let (mut line, mut length, mut first) = (String::new(), 0, true);
    loop {
        line.clear();
        stream.read_line(&mut line).await.unwrap();
        if first {
            assert!(line.starts_with("HTTP/1.1 2"), "{line}");
            first = false;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
}
