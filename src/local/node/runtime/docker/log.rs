//! Container logs from the engine.

use axum::body::Bytes;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::{StreamExt, stream};
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
        let tail = options.tail_lines.map_or_else(
            || "all".to_owned(),
            |lines| lines.min(i32::MAX as u64).to_string(),
        );
        let wanted = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .follow(options.follow)
            .timestamps(options.timestamps)
            .since(i32::try_from(since).unwrap_or(i32::MAX))
            .tail(&tail)
            .build();
        let docker = self.docker.clone();
        let id = self.id.clone();
        let frames = stream::once(async move { docker.logs(&id, Some(wanted)).boxed() }).flatten();
        let mut left = options.limit_bytes;
        let container = container.to_owned();
        let bytes = frames.map(move |frame| match frame {
            Ok(
                LogOutput::StdErr { message }
                | LogOutput::StdOut { message }
                | LogOutput::Console { message },
            ) => Ok(message),
            Ok(LogOutput::StdIn { .. }) => Ok(Bytes::new()),
            Err(error) => Err(std::io::Error::other(format!(
                "read the log of container {container:?}: {error}"
            ))),
        });
        let cut = bytes.map(move |item| {
            let Some(limit) = left.as_mut() else {
                return (item, true);
            };
            let item = item
                .map(|bytes| bytes.slice(..bytes.len().min(usize::try_from(*limit).unwrap_or(usize::MAX))));
            *limit -= item.as_ref().map_or(0, |bytes| bytes.len() as u64);
            (item, *limit > 0)
        });
        Ok(until_last(cut).boxed())
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

/// Ends behind the first item that says it is the last: a follower must not wait for more than it may send.
fn until_last<T>(items: impl stream::Stream<Item = (T, bool)> + Send) -> impl stream::Stream<Item = T> + Send
where
    T: Send,
{
    stream::unfold(Some(Box::pin(items)), |items| async move {
        let mut items = items?;
        let (item, more) = items.next().await?;
        Some((item, more.then_some(items)))
    })
}
