//! Container logs from the engine.

use std::io;

use axum::body::Bytes;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use crate::local::logs::{LogError, LogOptions, LogStream};

/// The log of one container.
#[derive(Clone, Debug)]
pub struct DockerLog {
    docker: Docker,
    id: String,
}

impl DockerLog {
    /// Of the container with this id.
    pub fn new(docker: Docker, id: String) -> Self {
        Self { docker, id }
    }

    /// The log as `options` want it. Times are compared to the second: the engine takes no finer ones.
    pub async fn read(&self, container: &str, options: LogOptions) -> Result<LogStream, LogError> {
        let since = options
            .since(Timestamp::now())
            .map_or(0, |time| time.as_second().max(1));
        let tail = options
            .tail_lines
            .map(|lines| lines.min(i32::MAX as u64).to_string());
        let wanted = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .follow(options.follow)
            .timestamps(options.timestamps)
            .since(i32::try_from(since).unwrap_or(i32::MAX))
            .tail(tail.as_deref().unwrap_or("all"))
            .build();
        let again = options.follow && options.tail_lines.is_none();
        let reader = Reader {
            frames: self.frames(wanted.clone()),
            log: self.clone(),
            again: again.then_some(LogsOptions {
                follow: false,
                ..wanted
            }),
            received: 0,
            skip: 0,
            left: options.limit_bytes,
            container: container.to_owned(),
        };
        Ok(stream::try_unfold(reader, Reader::next).boxed())
    }

    fn frames(&self, options: LogsOptions) -> BoxStream<'static, Result<Bytes, bollard::errors::Error>> {
        let log = self.clone();
        let opened = stream::once(async move { log.docker.logs(&log.id, Some(options)).boxed() }).flatten();
        opened.map_ok(LogOutput::into_bytes).boxed()
    }

    /// The last lines, at most `limit` bytes of them.
    pub async fn tail(&self, lines: u64, limit: usize) -> Vec<u8> {
        let options = LogOptions {
            tail_lines: Some(lines),
            ..LogOptions::default()
        };
        let mut kept = Vec::new();
        if let Ok(mut stream) = self.read("", options).await {
            while let Some(Ok(bytes)) = stream.next().await {
                kept.extend_from_slice(&bytes);
                let surplus = kept.len().saturating_sub(limit);
                kept.drain(..surplus);
            }
        }
        kept
    }
}

struct Reader {
    log: DockerLog,
    frames: BoxStream<'static, Result<Bytes, bollard::errors::Error>>,
    /// Docker can end a followed log before it has sent the last bytes (20.10 does, for a last line without a
    /// newline); so what is missing is read once more with these options. Not with a tail, whose beginning would
    /// be another by then.
    again: Option<LogsOptions>,
    received: u64,
    /// Bytes of the second reading that the first had.
    skip: u64,
    left: Option<u64>,
    container: String,
}

impl Reader {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        while self.left != Some(0) {
            let mut bytes = match self.frames.next().await {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => {
                    let what = format!("read the log of container {:?}: {error}", self.container);
                    return Err(io::Error::other(what));
                }
                None => match self.again.take() {
                    Some(options) => {
                        self.skip = self.received;
                        self.frames = self.log.frames(options);
                        continue;
                    }
                    None => break,
                },
            };
            self.received += bytes.len() as u64;
            let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= skipped as u64;
            bytes = bytes.slice(skipped..);
            if let Some(left) = &mut self.left {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
            }
            if !bytes.is_empty() {
                return Ok(Some((bytes, self)));
            }
        }
        Ok(None)
    }
}
