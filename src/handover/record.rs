//! The record: compact JSON that the supervisor leaves in the termination message.
//!
//! It never exceeds its limit (4096 bytes, all that the kubelet reads). The result and the log tail ride inside
//! when they fit, so that the common small Task needs no log call; otherwise they follow as marked lines at the end
//! of stdout ([`super::continuation`]).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::continuation::{Broken, Continuation};
use super::progress::Progress;

/// The version of the record that this code writes and reads.
pub const VERSION: u32 = 1;

/// JSON bytes of the sentence of [`Outcome::NotStarted`].
const MAX_MESSAGE: usize = 700;
/// JSON bytes of [`Record::failure`]. Diego cuts such texts at 1024 bytes.
const MAX_FAILURE: usize = 1100;
/// JSON bytes of [`Content::problem`].
const MAX_PROBLEM: usize = 400;
/// JSON bytes of [`Body::Lost`].
const MAX_LOST: usize = 120;

/// What the supervisor saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// How the run ended.
    pub outcome: Outcome,
    /// When the command was started, to the millisecond. Absent when it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the command ended, to the millisecond.
    pub finished_at: Timestamp,
    /// What the command wrote to stdout, progress lines included.
    pub stdout: Stream,
    /// What the command wrote to stderr.
    pub stderr: Stream,
    /// The result, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Content>,
    /// The end of stdout and stderr in the order of arrival.
    pub log: Content,
    /// The last progress line, if it fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Why the actions failed, where actions were run and failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The marked lines, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continuation: Option<Continuation>,
}

/// How the run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The command ended by itself.
    Ended(Ended),
    /// The run limit was reached and the command was told to stop.
    TimedOut(Ended),
    /// The supervisor was told to stop by this signal, and the command with it.
    Stopped {
        /// The signal's number, such as 15.
        signal: i32,
        /// How the command ended then.
        ended: Ended,
    },
    /// The command could not be started.
    #[serde(rename_all = "camelCase")]
    NotStarted {
        /// 127 not found, 126 found but not runnable, 125 the supervisor's own preparations failed.
        exit_code: u8,
        /// Names the command and the cause.
        message: String,
    },
}

/// How the command's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ended {
    /// It exited with this code.
    Code(i32),
    /// It was ended by this signal.
    Signal(i32),
}

/// One of the command's streams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// Bytes the command wrote.
    pub bytes: u64,
    /// SHA-256 of all of them, hexadecimal.
    pub sha256: String,
    /// A process that outlived the command kept the stream open; what it wrote later is not counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held_open: bool,
    /// Bytes that could not be passed on, because nobody took them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The result or the log tail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// The real size, whatever was kept.
    pub size_bytes: u64,
    /// Less was kept than there was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// SHA-256 of the whole content, hexadecimal, where all of it was read. Not given for the log tail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Why there is nothing, or not all: a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What was kept.
    pub body: Body,
}

/// Where the kept bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Body {
    /// Here, as text.
    Text(String),
    /// Here, in base64.
    Base64(String),
    /// Only in the log tail: byte for byte the same as the result.
    SameAsResult,
    /// In marked lines: this many bytes.
    Continued(u64),
    /// They were to follow in marked lines, which could not be written: a sentence.
    Lost(String),
}

/// What a supervisor brings back, before it is decided what rides where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// How the run ended.
    pub outcome: Outcome,
    /// When the command was started.
    pub started_at: Option<Timestamp>,
    /// When the command ended.
    pub finished_at: Timestamp,
    /// The command's stdout.
    pub stdout: Stream,
    /// The command's stderr.
    pub stderr: Stream,
    /// The result, if one was asked for.
    pub result: Option<Kept>,
    /// The log tail.
    pub log: Kept,
    /// The last progress line.
    pub progress: Option<Progress>,
    /// Why the actions failed, where actions were run and failed.
    pub failure: Option<String>,
}

/// Bytes that were kept of a result or a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The real size.
    pub size_bytes: u64,
    /// SHA-256 of the whole, where it was read.
    pub sha256: Option<String>,
    /// Why there is nothing, or not all.
    pub problem: Option<String>,
}

impl Kept {
    fn truncated(&self) -> bool {
        self.size_bytes > self.bytes.len() as u64
    }

    fn content(&self, body: Body) -> Content {
        Content {
            size_bytes: self.size_bytes,
            truncated: self.truncated(),
            sha256: self.sha256.clone(),
            problem: self
                .problem
                .as_deref()
                .map(|problem| bounded(problem, MAX_PROBLEM)),
            body,
        }
    }
}

impl Findings {
    /// Decides what rides inside the record, within `limit` bytes, and what follows as marked lines.
    ///
    /// `nonce` must be unknown to the command. `joint`: what went to stdout does not end in a newline.
    pub fn record(&self, limit: usize, nonce: &str, joint: bool) -> Record {
        // The result matters more than the tail; the last progress line gives way before either.
        for (result_inside, log_inside) in [(true, true), (true, false), (false, true)] {
            let Some(record) = self.compose(limit, result_inside, log_inside, nonce, joint) else {
                continue;
            };
            for progress in [self.progress.clone(), None] {
                let record = Record {
                    progress,
                    ..record.clone()
                };
                if record.encode().len() <= limit {
                    return record;
                }
            }
        }
        self.outside(limit, nonce, joint)
    }

    /// Nothing inside but what is empty. The bounds of the sentences keep this below
    /// [`super::args::MIN_TERMINATION_MESSAGE_LIMIT`]; the sentences go if a limit is lower still.
    fn outside(&self, limit: usize, nonce: &str, joint: bool) -> Record {
        let result = self.result.as_ref().map(|kept| (kept, body_outside(&kept.bytes)));
        let mut record = self.assemble(result, body_outside(&self.log.bytes), nonce, joint);
        if record.encode().len() > limit {
            if let Outcome::NotStarted { message, .. } = &mut record.outcome {
                message.clear();
            }
            if let Some(result) = &mut record.result {
                result.problem = None;
            }
            record.failure = record.failure.map(|failure| bounded(&failure, MAX_PROBLEM));
        }
        record
    }

    fn compose(
        &self,
        limit: usize,
        result_in: bool,
        log_in: bool,
        nonce: &str,
        joint: bool,
    ) -> Option<Record> {
        let place = |kept: &Kept, inside| match inside {
            true => body_inside(&kept.bytes, limit),
            false => Some(body_outside(&kept.bytes)),
        };
        let result = match &self.result {
            Some(kept) => Some((kept, place(kept, result_in)?)),
            None => None,
        };
        let same = self
            .result
            .as_ref()
            .is_some_and(|kept| kept.bytes == self.log.bytes);
        let log = match log_in && same && !self.log.bytes.is_empty() {
            true => Body::SameAsResult,
            false => place(&self.log, log_in)?,
        };
        Some(self.assemble(result, log, nonce, joint))
    }

    fn assemble(&self, result: Option<(&Kept, Body)>, log: Body, nonce: &str, joint: bool) -> Record {
        let outside_log = matches!(log, Body::Continued(_)).then_some(self.log.bytes.as_slice());
        let outside_result = match &result {
            Some((kept, Body::Continued(_))) => Some(kept.bytes.as_slice()),
            _ => None,
        };
        let follows = outside_log.is_some() || outside_result.is_some();
        let outcome = match &self.outcome {
            Outcome::NotStarted { exit_code, message } => Outcome::NotStarted {
                exit_code: *exit_code,
                message: bounded(message, MAX_MESSAGE),
            },
            other => other.clone(),
        };
        Record {
            version: VERSION,
            outcome,
            started_at: self.started_at.map(to_millis),
            finished_at: to_millis(self.finished_at),
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
            result: result.map(|(kept, body)| kept.content(body)),
            log: self.log.content(log),
            progress: None,
            failure: self
                .failure
                .as_deref()
                .map(|failure| bounded(failure, MAX_FAILURE)),
            continuation: follows.then(|| Continuation::new(nonce, joint, outside_log, outside_result)),
        }
    }
}

impl Record {
    /// Compact JSON.
    pub fn encode(&self) -> String {
        // Strings, numbers and maps with string keys: serialization cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a termination message, written by whoever it was.
    pub fn decode(message: &str) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let message = message.trim();
        if message.is_empty() {
            return Err(RecordError::Missing);
        }
        let Versioned { version } = serde_json::from_str(message).map_err(RecordError::Parse)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        serde_json::from_str(message).map_err(RecordError::Parse)
    }

    /// The marked lines could not be written; `why` is a short sentence. The record gets no longer by it.
    pub fn continuation_lost(&mut self, why: &str) {
        self.continuation = None;
        for content in self.result.iter_mut().chain([&mut self.log]) {
            if matches!(content.body, Body::Continued(_)) {
                content.body = Body::Lost(bounded(why, MAX_LOST));
            }
        }
    }

    /// Whether [`Self::evidence`] needs the log.
    pub fn needs_log(&self) -> bool {
        self.continuation.is_some()
    }

    /// Result and log tail. `log` is what the log API returned, or `None` if it was not asked or did not answer.
    pub fn evidence(&self, log: Option<&[u8]>) -> Evidence {
        let cut = match (&self.continuation, log) {
            (Some(continuation), Some(log)) => Some(continuation.cut(log)),
            _ => None,
        };
        let (cut_log, cut_tail, cut_result) = match cut {
            Some(cut) => (Some(cut.log), cut.tail, cut.result),
            None => (log.map(<[u8]>::to_vec), None, None),
        };
        let result = self.result.as_ref().map(|content| content.bytes(cut_result));
        let tail = match (&self.log.body, &result) {
            (Body::SameAsResult, Some(result)) => result.clone(),
            _ => self.log.bytes(cut_tail),
        };
        Evidence {
            result,
            tail,
            log: cut_log,
        }
    }
}

impl Content {
    fn bytes(&self, carried: Option<Result<Vec<u8>, Broken>>) -> Result<Vec<u8>, EvidenceError> {
        match (&self.body, carried) {
            (Body::Text(text), _) => Ok(text.clone().into_bytes()),
            (Body::Base64(text), _) => BASE64.decode(text).map_err(|_| EvidenceError::Contradiction),
            (Body::Lost(why), _) => Err(EvidenceError::Lost(why.clone())),
            (Body::Continued(_), Some(found)) => found.map_err(EvidenceError::Broken),
            (Body::Continued(bytes), None) => Err(EvidenceError::NoLog { bytes: *bytes }),
            (Body::SameAsResult, _) => Err(EvidenceError::Contradiction),
        }
    }
}

/// What a run leaves to its Task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The kept bytes of the result, if one was asked for.
    pub result: Option<Result<Vec<u8>, EvidenceError>>,
    /// The kept bytes of the log.
    pub tail: Result<Vec<u8>, EvidenceError>,
    /// The log that was given, without marked lines.
    pub log: Option<Vec<u8>>,
}

/// No record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The termination message is empty: the supervisor was killed, or never ran.
    #[error("the supervisor left no record: it was killed, or it never ran")]
    Missing,
    /// The termination message is something else.
    #[error("the termination message is not the supervisor's record: something replaced it")]
    Parse(#[source] serde_json::Error),
    /// A supervisor of another version.
    #[error("the supervisor's record has version {0}, and this controller reads version {VERSION}")]
    Version(u32),
}

/// Evidence that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// The supervisor could not write it.
    #[error("the supervisor could not hand it over: {0}")]
    Lost(String),
    /// The log that carries it is not there.
    #[error("{bytes} bytes of it are in the container's log, which could not be read")]
    NoLog {
        /// Bytes that the log carries.
        bytes: u64,
    },
    /// The log carries it no more, or not whole.
    #[error("the container's log does not carry it whole")]
    Broken(#[source] Broken),
    /// The record contradicts itself.
    #[error("the record contradicts itself")]
    Contradiction,
}

fn to_millis(time: Timestamp) -> Timestamp {
    // Fails for the year 9999 only.
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

fn body_inside(bytes: &[u8], limit: usize) -> Option<Body> {
    if bytes.len() > limit {
        return None;
    }
    let encoded = bytes.len().div_ceil(3) * 4;
    match std::str::from_utf8(bytes) {
        Ok(text) if json_len(text) <= encoded.max(16) || bytes.is_empty() => {
            Some(Body::Text(text.to_owned()))
        }
        _ => Some(Body::Base64(BASE64.encode(bytes))),
    }
}

fn body_outside(bytes: &[u8]) -> Body {
    match bytes.len() {
        0 => Body::Text(String::new()),
        len => Body::Continued(len as u64),
    }
}

/// Bytes of `c` in a JSON string, as serde_json escapes it.
fn char_json_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if u32::from(c) < 0x20 => 6,
        c => c.len_utf8(),
    }
}

fn json_len(text: &str) -> usize {
    text.chars().map(char_json_len).sum()
}

/// Cuts a sentence so that it takes no more than `limit` bytes of JSON.
fn bounded(text: &str, limit: usize) -> String {
    if json_len(text) <= limit {
        return text.to_owned();
    }
    let mut room = limit.saturating_sub('…'.len_utf8());
    let fits = |c: &char| {
        let left = room.checked_sub(char_json_len(*c));
        room = left.unwrap_or(0);
        left.is_some()
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
