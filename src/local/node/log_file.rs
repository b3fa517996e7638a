//! A container's log on disk: bounded, rotated, readable while it is written.
//!
//! Entries (see [`super::cri_log`]) go to `NAME.0.log`, then `NAME.1.log`, and so on; the newest two files
//! are kept. So at least the last `file_limit` bytes of entries are there, and at most twice that.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use futures::StreamExt;
use futures::stream;
use tokio::sync::watch;

use super::cri_log::{TIME_LENGTH, line_end, parse, time_text};
use crate::local::logs::{LogOptions, LogStream};

/// Bytes of entries per file before the next one is begun: 16 MiB, so up to 32 MiB lie on disk per container.
pub const DEFAULT_FILE_LIMIT: u64 = 16 * 1024 * 1024;
/// Bytes read at once.
const READ: usize = 256 * 1024;

/// How far the writer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    generation: u64,
    size: u64,
    closed: bool,
}

/// The log of one container run. Shared by its writer and its readers.
#[derive(Debug)]
pub struct LogFile {
    folder: PathBuf,
    name: String,
    file_limit: u64,
    progress: watch::Sender<Progress>,
    current: Mutex<Option<File>>,
}

impl LogFile {
    /// Begins an empty log. `name` is the container's name and its run, such as `task.0`.
    pub fn create(folder: &Path, name: &str, file_limit: u64) -> io::Result<Arc<Self>> {
        let log = Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            file_limit: file_limit.max(1),
            progress: watch::Sender::new(Progress::default()),
            current: Mutex::new(None),
        };
        let file = File::create(log.path(0))?;
        *log.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(Arc::new(log))
    }

    /// Opens what an earlier process wrote; None if nothing is there. It is complete: nobody writes to it.
    pub fn reopen(folder: &Path, name: &str) -> Option<Arc<Self>> {
        let generations = std::fs::read_dir(folder).ok()?.filter_map(|entry| {
            let file = entry.ok()?.file_name().into_string().ok()?;
            file.strip_prefix(name)?
                .strip_prefix('.')?
                .strip_suffix(".log")?
                .parse::<u64>()
                .ok()
        });
        let generation = generations.max()?;
        let log = Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            file_limit: DEFAULT_FILE_LIMIT,
            progress: watch::Sender::default(),
            current: Mutex::new(None),
        };
        let size = std::fs::metadata(log.path(generation)).ok()?.len();
        log.progress.send_replace(Progress {
            generation,
            size,
            closed: true,
        });
        Some(Arc::new(log))
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.folder.join(format!("{}.{generation}.log", self.name))
    }

    /// Appends whole entries. Blocks for as long as the page cache takes them: microseconds.
    pub fn append(&self, entries: &[u8]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut progress = *self.progress.borrow();
        if progress.size > 0 && progress.size + entries.len() as u64 > self.file_limit {
            let next = progress.generation + 1;
            *current = Some(File::create(self.path(next))?);
            if let Some(old) = progress.generation.checked_sub(1) {
                let _ = std::fs::remove_file(self.path(old));
            }
            progress = Progress {
                generation: next,
                size: 0,
                closed: false,
            };
        }
        let Some(file) = current.as_mut() else {
            return Ok(());
        };
        file.write_all(entries)?;
        progress.size += entries.len() as u64;
        self.progress.send_replace(progress);
        Ok(())
    }

    /// Nothing more comes: followers end.
    pub fn close(&self) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.progress.send_modify(|progress| progress.closed = true);
    }

    /// The last `limit` bytes of output at most, and of those the last `lines` lines.
    pub async fn tail(self: &Arc<Self>, lines: u64, limit: usize) -> Vec<u8> {
        let options = LogOptions {
            tail_lines: Some(lines),
            ..LogOptions::default()
        };
        let mut stream = self.read(&options, jiff::Timestamp::UNIX_EPOCH);
        let mut kept = Vec::new();
        while let Some(Ok(bytes)) = stream.next().await {
            kept.extend_from_slice(&bytes);
            let surplus = kept.len().saturating_sub(limit);
            kept.drain(..surplus);
        }
        kept
    }

    /// The log as `options` want it, as of now; with `follow` also what is to come.
    pub fn read(self: &Arc<Self>, options: &LogOptions, now: jiff::Timestamp) -> LogStream {
        let reader = Reader::new(self.clone(), options, now);
        stream::unfold(reader, |mut reader| async {
            match reader.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), reader)),
                Ok(None) => None,
                Err(error) => {
                    reader.ended = true;
                    Some((Err(error), reader))
                }
            }
        })
        .boxed()
    }

    /// Reads up to [`READ`] bytes; none if the file has gone or has no more.
    fn read_at(&self, generation: u64, offset: u64) -> io::Result<Vec<u8>> {
        let file = match File::open(self.path(generation)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; READ];
        let count = file.read_at(&mut bytes, offset)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Where the last `lines` lines up to `end` begin.
    fn find_tail(&self, lines: u64, end: Progress) -> io::Result<Position> {
        let oldest = end.generation.saturating_sub(1);
        let mut starts: VecDeque<Position> = VecDeque::new();
        let mut fresh = true;
        for generation in oldest..=end.generation {
            let limit = if generation == end.generation {
                end.size
            } else {
                u64::MAX
            };
            let mut at = 0;
            let mut bytes = Vec::new();
            while at < limit {
                let more = self.read_at(generation, at + bytes.len() as u64)?;
                if more.is_empty() {
                    break;
                }
                bytes.extend(more);
                let mut done = 0;
                while let Some(length) = line_end(&bytes[done..]) {
                    let start = at + done as u64;
                    if start >= limit {
                        break;
                    }
                    if fresh {
                        starts.push_back(Position {
                            generation,
                            offset: start,
                        });
                        if starts.len() as u64 > lines {
                            starts.pop_front();
                        }
                    }
                    let line = &bytes[done..done + length - 1];
                    fresh = parse(line).is_none_or(|entry| entry.full);
                    done += length;
                }
                if done == 0 && bytes.len() > READ {
                    break;
                }
                at += done as u64;
                bytes.drain(..done);
            }
        }
        Ok(starts.pop_front().unwrap_or(Position {
            generation: end.generation,
            offset: end.size,
        }))
    }
}

#[derive(Clone, Copy, Debug)]
struct Position {
    generation: u64,
    offset: u64,
}

struct Reader {
    log: Arc<LogFile>,
    progress: watch::Receiver<Progress>,
    /// Where a reader that does not follow stops.
    end: Option<Progress>,
    tail: Option<u64>,
    at: Option<Position>,
    carry: Vec<u8>,
    timestamps: bool,
    since: Option<String>,
    /// Bytes that may still be sent.
    left: Option<u64>,
    line_begins: bool,
    ended: bool,
}

impl Reader {
    fn new(log: Arc<LogFile>, options: &LogOptions, now: jiff::Timestamp) -> Self {
        let progress = log.progress.subscribe();
        let snapshot = *progress.borrow();
        Self {
            log,
            progress,
            end: (!options.follow).then_some(snapshot),
            tail: options.tail_lines,
            at: None,
            carry: Vec::new(),
            timestamps: options.timestamps,
            since: options.since(now).map(time_text),
            left: options.limit_bytes,
            line_begins: true,
            ended: false,
        }
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while !self.ended && self.left != Some(0) {
            let state = *self.progress.borrow_and_update();
            let at = match self.at {
                Some(at) => at,
                None => self.begin(self.end.unwrap_or(state)).await?,
            };
            self.at = Some(at);
            let log = self.log.clone();
            let bytes = blocking(move || log.read_at(at.generation, at.offset)).await?;
            if !bytes.is_empty() {
                let bytes = self.within_end(at, bytes);
                self.at = Some(Position {
                    offset: at.offset + bytes.len() as u64,
                    ..at
                });
                let out = self.decode(&bytes);
                self.ended = self.at_end();
                if !out.is_empty() {
                    return Ok(Some(out.into()));
                }
            } else if at.generation < state.generation {
                // Complete: the writer had moved on before we read to its end.
                let oldest = state.generation.saturating_sub(1);
                self.at = Some(Position {
                    generation: (at.generation + 1).max(oldest),
                    offset: 0,
                });
                self.carry.clear();
            } else if self.end.is_some() || state.closed || self.progress.changed().await.is_err() {
                self.ended = true;
            }
        }
        Ok(None)
    }

    async fn begin(&self, end: Progress) -> io::Result<Position> {
        match self.tail {
            Some(lines) => {
                let log = self.log.clone();
                blocking(move || log.find_tail(lines, end)).await
            }
            None => Ok(Position {
                generation: end.generation.saturating_sub(1),
                offset: 0,
            }),
        }
    }

    fn within_end(&self, at: Position, mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some(end) = self.end.filter(|end| end.generation == at.generation) {
            bytes.truncate(usize::try_from(end.size.saturating_sub(at.offset)).unwrap_or(usize::MAX));
        }
        bytes
    }

    fn at_end(&self) -> bool {
        match (self.end, self.at) {
            (Some(end), Some(at)) => {
                at.generation > end.generation || (at.generation == end.generation && at.offset >= end.size)
            }
            _ => false,
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(carry.len());
        let mut rest = carry.as_slice();
        while let Some(end) = line_end(rest) {
            let entry = parse(&rest[..end - 1]);
            rest = &rest[end..];
            let Some(entry) = entry else { continue };
            if self.since.as_deref().is_some_and(|since| entry.time < since) {
                continue;
            }
            if self.timestamps && self.line_begins {
                out.extend_from_slice(&entry.time.as_bytes()[..TIME_LENGTH]);
                out.push(b' ');
            }
            out.extend_from_slice(entry.text);
            if entry.full {
                out.push(b'\n');
            }
            self.line_begins = entry.full;
        }
        self.carry = rest.to_vec();
        if let Some(left) = &mut self.left {
            out.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= out.len() as u64;
        }
        out
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::super::cri_log::{Encoder, Stream};
    use super::*;

    fn stamp(second: i64) -> String {
        time_text(jiff::Timestamp::from_second(second).unwrap())
    }

    /// One write per text, a second apart.
    fn write(log: &LogFile, texts: &[&str]) {
        let mut encoder = Encoder::new(Stream::Stdout);
        for (second, text) in texts.iter().enumerate() {
            let mut out = Vec::new();
            encoder.feed(text.as_bytes(), &stamp(second as i64), &mut out);
            log.append(&out).unwrap();
        }
        let mut out = Vec::new();
        encoder.finish(&stamp(texts.len() as i64), &mut out);
        log.append(&out).unwrap();
    }

    async fn read(log: &Arc<LogFile>, options: LogOptions) -> String {
        let now = jiff::Timestamp::from_second(10).unwrap();
        let chunks: Vec<_> = log
            .read(&options, now)
            .map(|chunk| chunk.unwrap().to_vec())
            .collect()
            .await;
        String::from_utf8(chunks.concat()).unwrap()
    }

    #[tokio::test]
    async fn a_log_is_cut_by_tail_time_and_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::create(folder.path(), "task.0", 1000).unwrap();
        write(&log, &["zero\n", "one\n", "two\n", "three"]);
        let with = |change: fn(&mut LogOptions)| {
            let mut options = LogOptions::default();
            change(&mut options);
            options
        };
        let dated = "1970-01-01T00:00:02.000000000Z two\n1970-01-01T00:00:04.000000000Z three";
        for (options, expected) in [
            (with(|_| {}), "zero\none\ntwo\nthree"),
            (with(|o| o.tail_lines = Some(0)), ""),
            (with(|o| o.tail_lines = Some(2)), "two\nthree"),
            (with(|o| o.tail_lines = Some(u64::MAX)), "zero\none\ntwo\nthree"),
            (with(|o| o.limit_bytes = Some(7)), "zero\non"),
            (with(|o| o.limit_bytes = Some(0)), ""),
            (with(|o| o.since_seconds = Some(8)), "two\nthree"),
            (
                with(|o| o.since_time = jiff::Timestamp::from_second(4).ok()),
                "three",
            ),
            (with(|o| (o.tail_lines, o.timestamps) = (Some(2), true)), dated),
        ] {
            assert_eq!(read(&log, options.clone()).await, expected, "{options:?}");
        }
    }

    #[tokio::test]
    async fn only_the_newest_two_files_are_kept_and_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::create(folder.path(), "task.0", 100).unwrap();
        let lines: Vec<String> = (0..10).map(|n| format!("line {n}\n")).collect();
        write(&log, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(
            read(&log, LogOptions::default()).await,
            "line 6\nline 7\nline 8\nline 9\n"
        );
        let tail = LogOptions {
            tail_lines: Some(3),
            ..LogOptions::default()
        };
        assert_eq!(read(&log, tail.clone()).await, "line 7\nline 8\nline 9\n");
        assert_eq!(log.tail(3, 10).await, b" 8\nline 9\n".to_vec().as_slice());
        let again = LogFile::reopen(folder.path(), "task.0").unwrap();
        assert_eq!(read(&again, tail).await, "line 7\nline 8\nline 9\n");
        assert!(LogFile::reopen(folder.path(), "task.1").is_none());
    }

    #[tokio::test]
    async fn a_follower_sees_everything_until_the_log_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::create(folder.path(), "task.0", 10_000_000).unwrap();
        let options = LogOptions {
            follow: true,
            ..LogOptions::default()
        };
        write(&log, &["before\n"]);
        let reader = tokio::spawn({
            let log = log.clone();
            async move { read(&log, options).await }
        });
        let mut expected = "before\n".to_owned();
        for n in 0..1000 {
            let line = format!("line {n}\n");
            write(&log, &[&line]);
            expected.push_str(&line);
            if n % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        log.close();
        assert_eq!(reader.await.unwrap(), expected);
    }
}
