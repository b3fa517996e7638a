//! The live log of a Task, as lines that a person is shown: what is meant for the engine is left out.

mod lines;

use std::{pin::Pin, time::Duration};

use futures::{AsyncBufRead, AsyncBufReadExt as _, Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};

pub use self::lines::Lines;
use crate::crd::{Phase, TaskStatus};

/// Name of the container that a Task's pod runs.
const CONTAINER: &str = "task";
/// How long the end of the log may take after the Task has ended.
const DRAIN: Duration = Duration::from_secs(3);

type LineStream = Pin<Box<dyn Stream<Item = Result<Vec<u8>, ()>> + Send>>;

/// The live log of the Task's present pod.
pub struct LiveLog {
    pods: Api<Pod>,
    pod: Option<String>,
    stream: Option<LineStream>,
    /// The stream of the present pod came to its proper end, or is still under way.
    whole: bool,
    /// Lines of the present pod that were shown.
    shown: u64,
}

impl LiveLog {
    /// Of whatever pod the Task will have.
    pub fn new(pods: Api<Pod>) -> Self {
        Self {
            pods,
            pod: None,
            stream: None,
            whole: false,
            shown: 0,
        }
    }

    /// Opens the log once the container of a new attempt runs.
    pub fn observe(&mut self, status: &TaskStatus) {
        let Some(pod) = status
            .pod
            .as_ref()
            .filter(|_| status.phase == Some(Phase::Running))
        else {
            return;
        };
        if self.pod.as_ref() != Some(&pod.name) {
            self.pod = Some(pod.name.clone());
            self.stream = Some(open(self.pods.clone(), pod.name.clone()));
            self.whole = true;
            self.shown = 0;
        }
    }

    /// The next line; nothing where the stream is over or was never opened.
    async fn step(&mut self) -> Option<Vec<u8>> {
        match self.stream.as_mut()?.next().await {
            Some(Ok(line)) => {
                self.shown += 1;
                return Some(line);
            }
            Some(Err(())) => self.whole = false,
            None => {}
        }
        self.stream = None;
        None
    }

    /// The next line; never resolves while there is none.
    pub async fn next(&mut self) -> Vec<u8> {
        match self.step().await {
            Some(line) => line,
            None => std::future::pending().await,
        }
    }

    /// After the end: hands on the rest of the live log, and says how much of it came in all.
    pub async fn drain(&mut self, status: &TaskStatus, mut show: impl FnMut(Vec<u8>)) -> Came {
        let rest = async {
            while let Some(line) = self.step().await {
                show(line);
            }
        };
        if tokio::time::timeout(DRAIN, rest).await.is_err() {
            self.whole = false;
        }
        let same_pod = self.pod.is_some() && self.pod == status.pod.as_ref().map(|pod| pod.name.clone());
        match self.shown > 0 && same_pod {
            true if self.whole => Came::Whole,
            true => Came::InPart,
            false => Came::Not,
        }
    }
}

/// How much of the live log of the last attempt was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// All of it.
    Whole,
    /// A beginning.
    InPart,
    /// Nothing.
    Not,
}

/// Lines of the log tail in the status, without those meant for the engine.
pub fn kept(status: &TaskStatus) -> Vec<Vec<u8>> {
    let tail = status
        .logs
        .as_ref()
        .map(|logs| logs.tail.as_str())
        .unwrap_or_default();
    let mut lines = Lines::default();
    let mut found = lines.push(tail.as_bytes());
    found.extend(lines.finish());
    found
}

/// Lines of a pod's log; `Err` where the log cannot be had or breaks off.
fn open(pods: Api<Pod>, pod: String) -> LineStream {
    let params = LogParams {
        container: Some(CONTAINER.to_owned()),
        follow: true,
        ..LogParams::default()
    };
    let reader = async move { pods.log_stream(&pod, &params).await };
    let lines = stream::once(reader).flat_map(|reader| match reader {
        Ok(reader) => read_lines(Box::pin(reader)),
        Err(_) => stream::once(async { Err(()) }).boxed(),
    });
    Box::pin(lines)
}

fn read_lines(reader: Pin<Box<dyn AsyncBufRead + Send>>) -> LineStream {
    let state = (Some(reader), Lines::default());
    let chunks = stream::unfold(state, |(reader, mut lines)| async move {
        let mut reader = reader?;
        match reader.fill_buf().await {
            Ok([]) => {
                let last = lines.finish().into_iter().map(Ok).collect::<Vec<_>>();
                Some((last, (None, lines)))
            }
            Ok(chunk) => {
                let (length, found) = (chunk.len(), lines.push(chunk));
                reader.consume_unpin(length);
                Some((found.into_iter().map(Ok).collect(), (Some(reader), lines)))
            }
            Err(_) => Some((vec![Err(())], (None, lines))),
        }
    });
    Box::pin(chunks.flat_map(stream::iter))
}
