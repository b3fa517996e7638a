//! Tasks to ask about, and many who ask at once.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
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
    let (status, _) = read(stream).await;
    assert!(status.starts_with('2'), "{status}");
}

/// The status of an answer, with its reason, and the length of its body.
async fn read(stream: &mut BufReader<TcpStream>) -> (String, usize) {
    let (mut line, mut length, mut status) = (String::new(), 0, None);
    loop {
        line.clear();
        stream.read_line(&mut line).await.unwrap();
        status = status.or_else(|| Some(line.strip_prefix("HTTP/1.1 ")?.trim().to_owned()));
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        assert!(!line.is_empty(), "the connection ended");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (status.unwrap(), length)
}

/// How requests at a given pace went.
pub struct Paced {
    /// Those that were answered 200 without a body.
    pub accepted: usize,
    /// All others, by what they were answered.
    pub refused: BTreeMap<String, usize>,
    /// From the first request to the last answer.
    pub took: Duration,
    /// Of each request from when it was due, sorted: it may have had to wait for a connection.
    pub times: Vec<Duration>,
}

/// So many requests, one each `every`, over so many connections.
pub async fn pace(
    url: &str,
    connections: usize,
    count: usize,
    every: Duration,
    request: impl Fn(usize) -> (String, String) + Copy,
) -> Paced {
    let (next, began) = (&AtomicUsize::new(0), Instant::now());
    let clients = (0..connections).map(|_| async move {
        let mut stream = connect(url).await;
        let mut answers = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return answers;
            }
            let due = began + every * u32::try_from(number).unwrap();
            tokio::time::sleep_until(due.into()).await;
            let (line, body) = request(number);
            let head = format!(
                "{line} HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.get_mut().write_all(head.as_bytes()).await.unwrap();
            answers.push((read(&mut stream).await, due.elapsed()));
        }
    });
    let answers = futures::future::join_all(clients).await.concat();
    let mut paced = Paced {
        accepted: 0,
        refused: BTreeMap::new(),
        took: began.elapsed(),
        times: Vec::with_capacity(count),
    };
    for ((status, length), time) in answers {
        match status.starts_with("200") && length == 0 {
            true => paced.accepted += 1,
            false => {
                *paced
                    .refused
                    .entry(format!("{status}, {length} bytes"))
                    .or_default() += 1
            }
        }
        paced.times.push(time);
    }
    paced.times.sort();
    paced
}
