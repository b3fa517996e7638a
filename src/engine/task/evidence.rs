//! What a run leaves to its Task: result, log and times out of record, log and answer. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::jiff::Timestamp;

use super::{outcome::Reason, view::Ended};
use crate::{
    chain::chain,
    crd::{LogTail, ResultSource, TaskResult},
    engine::resolve::Facts,
    handover::record::{EvidenceError, Record, RecordError},
};

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
/// Lines of late stderr that may stand between and after the marked lines at the end of a log.
const SLACK_LINES: i64 = 1000;
const SLACK_BYTES: usize = 1024 * 1024;

/// What the log API must be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// Lines from the end; all where absent.
    pub tail_lines: Option<i64>,
    /// Bytes from the end that are worth keeping.
    pub keep: usize,
}

/// What the log API gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchedLog {
    /// The last bytes.
    pub bytes: Vec<u8>,
    /// Bytes that came in all.
    pub size: u64,
}

/// What the termination message holds.
#[derive(Debug)]
pub enum Testimony {
    /// The supervisor's record.
    Record(Box<Record>),
    /// The container ran under the supervisor, and there is no usable record.
    Broken(RecordError),
    /// The container ran without supervisor.
    Unsupervised,
}

impl Testimony {
    /// Reads the termination message of a container that has ended.
    pub fn of(facts: &Facts, ended: Option<&Ended>) -> Self {
        if !facts.supervised {
            return Self::Unsupervised;
        }
        let message = ended.and_then(|end| end.message.as_deref()).unwrap_or_default();
        match Record::decode(message) {
            Ok(record) => Self::Record(Box::new(record)),
            Err(error) => Self::Broken(error),
        }
    }

    /// The record, where there is one.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Record(record) => Some(record),
            Self::Broken(_) | Self::Unsupervised => None,
        }
    }

    /// The log call that is needed, where one is.
    pub fn log_request(&self, facts: &Facts) -> Option<LogRequest> {
        let keep = usize::try_from(facts.log_limit.max(facts.result_limit)).unwrap_or(0);
        match self {
            Self::Record(record) => {
                let continuation = record.continuation.as_ref()?;
                let parts = continuation.log.iter().chain(&continuation.result);
                let (lines, bytes) = parts.fold((0_i64, 0_usize), |(lines, bytes), part| {
                    let size = usize::try_from(part.bytes).unwrap_or(usize::MAX);
                    (lines + i64::from(part.lines), bytes.saturating_add(size))
                });
                Some(LogRequest {
                    tail_lines: Some(lines + SLACK_LINES),
                    // base64 takes 4/3, marks and checksums some more.
                    keep: bytes.saturating_mul(2).saturating_add(SLACK_BYTES),
                })
            }
            Self::Broken(_) | Self::Unsupervised if keep > 0 => Some(LogRequest {
                tail_lines: None,
                keep,
            }),
            Self::Broken(_) | Self::Unsupervised => None,
        }
    }
}

/// Result, log and times of one attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    /// What came out, without its HTTP-like status.
    pub result: Option<TaskResult>,
    /// The end of the log.
    pub logs: Option<LogTail>,
    /// Why the evidence is missing or broken; `None` where it is whole.
    pub problem: Option<String>,
    /// When the container started, to the millisecond where the supervisor tells.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Puts the evidence together. `log` is what the log API gave, an error in words, or `None` where it was not asked.
pub fn gather(
    facts: &Facts,
    testimony: &Testimony,
    ended: Option<&Ended>,
    log: Option<Result<FetchedLog, String>>,
) -> Gathered {
    let times = Gathered {
        started_at: ended.and_then(|end| end.started_at),
        finished_at: ended.and_then(|end| end.finished_at),
        ..Gathered::default()
    };
    match testimony {
        Testimony::Record(record) => from_record(facts, record, log, times),
        Testimony::Broken(error) => {
            let problem = match &log {
                Some(Err(words)) => format!("{error}; the log cannot be read: {words}"),
                _ => error.to_string(),
            };
            Gathered {
                logs: log
                    .and_then(Result::ok)
                    .map(|log| tail(facts, &log.bytes, Some(log.size))),
                problem: Some(problem),
                ..times
            }
        }
        Testimony::Unsupervised => unsupervised(facts, ended, log, times),
    }
}

fn from_record(
    facts: &Facts,
    record: &Record,
    log: Option<Result<FetchedLog, String>>,
    times: Gathered,
) -> Gathered {
    let fetched = log
        .as_ref()
        .and_then(|log| log.as_ref().ok())
        .map(|log| log.bytes.as_slice());
    let evidence = record.evidence(fetched);
    let mut problems: Vec<String> = Vec::new();
    if let Some(Err(words)) = &log {
        problems.push(format!("the log cannot be read: {words}"));
    }
    let mut kept = |what: &str, found: Result<Vec<u8>, EvidenceError>| match found {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.push(format!("{what}: {}", chain(&error)));
            Vec::new()
        }
    };
    let tail_bytes = kept("log", evidence.tail);
    let result = if facts.result_from == ResultSource::Log {
        Some(result_of(facts, &tail_bytes, record.log.size_bytes, None))
    } else {
        evidence
            .result
            .zip(record.result.as_ref())
            .map(|(found, content)| {
                let bytes = kept("result", found);
                result_of(facts, &bytes, content.size_bytes, content.sha256.clone())
            })
    };
    problems.extend(record.result.as_ref().and_then(|content| content.problem.clone()));
    problems.extend(record.log.problem.clone());
    Gathered {
        result,
        logs: Some(tail(facts, &tail_bytes, Some(record.log.size_bytes))),
        problem: (!problems.is_empty()).then(|| problems.join("; ")),
        started_at: record.started_at.or(times.started_at),
        finished_at: Some(record.finished_at),
    }
}

fn unsupervised(
    facts: &Facts,
    ended: Option<&Ended>,
    log: Option<Result<FetchedLog, String>>,
    times: Gathered,
) -> Gathered {
    let (log, problem) = match log {
        Some(Ok(log)) => (Some(log), None),
        Some(Err(words)) => (None, Some(format!("the log cannot be read: {words}"))),
        None => (None, None),
    };
    let result = match facts.result_from {
        _ if facts.http.is_some() => None,
        ResultSource::TerminationMessage => ended.map(|end| {
            let text = end.message.clone().unwrap_or_default();
            result_of(facts, text.as_bytes(), text.len() as u64, None)
        }),
        _ => log.as_ref().map(|log| {
            let limit = usize::try_from(facts.result_limit).unwrap_or(0);
            let kept = &log.bytes[log.bytes.len().saturating_sub(limit)..];
            result_of(facts, kept, log.size, None)
        }),
    };
    Gathered {
        result,
        logs: log.map(|log| tail(facts, &log.bytes, Some(log.size))),
        problem,
        ..times
    }
}

/// A result body as the Task holds it. `size` and `sha256` are those of the whole.
fn result_of(facts: &Facts, kept: &[u8], size: u64, sha256: Option<String>) -> TaskResult {
    let truncated = (kept.len() as u64) < size;
    let (body, body_base64) = body(kept, truncated);
    let fallback = if body_base64.is_some() { BYTES } else { TEXT };
    TaskResult {
        status: 0,
        content_type: Some(facts.content_type.clone().unwrap_or_else(|| fallback.to_owned())),
        body,
        body_base64,
        size_bytes: i64::try_from(size).ok(),
        sha256,
        truncated,
        ..TaskResult::default()
    }
}

/// Bytes as `body` where they are text, else as `bodyBase64`. Text that JSON would blow up beyond base64 (control
/// characters take six bytes each) goes as base64 too, so that the Task's size stays within a known bound.
pub fn body(bytes: &[u8], truncated: bool) -> (Option<String>, Option<String>) {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        // Cut in the middle of a character.
        Err(error) if truncated && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match text {
        Some(text) if json_len(text) <= text.len() / 3 * 4 + 64 => (Some(text.to_owned()), None),
        _ => (None, Some(STANDARD.encode(bytes))),
    }
}

fn json_len(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
        0..=31 => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

/// The end of the log as text: at most `log_limit` bytes, whole characters.
fn tail(facts: &Facts, bytes: &[u8], size: Option<u64>) -> LogTail {
    let limit = usize::try_from(facts.log_limit).unwrap_or(0);
    let kept = &bytes[bytes.len().saturating_sub(limit)..];
    // A cut may have left the rest of a character (at most three bytes) at the start.
    let torn = kept
        .iter()
        .take(3)
        .take_while(|byte| **byte & 0b1100_0000 == 0b1000_0000)
        .count();
    let cut = size.is_some_and(|size| (kept.len() as u64) < size);
    let text = String::from_utf8_lossy(&kept[if cut { torn } else { 0 }..]);
    // Colour codes stay, as `kubectl logs` shows them; other control characters would blow up the JSON.
    let clean: String = text
        .chars()
        .map(|c| {
            if c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{1b}') {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    let mut start = clean.len().saturating_sub(limit);
    while !clean.is_char_boundary(start) {
        start += 1;
    }
    LogTail {
        tail: clean[start..].to_owned(),
        size_bytes: size.and_then(|size| i64::try_from(size).ok()),
        truncated: cut || start > 0,
    }
}

/// The result of a Task that ended with `reason`: the HTTP-like status on what was gathered.
pub fn with_status(result: Option<TaskResult>, reason: Reason) -> TaskResult {
    let mut result = result.unwrap_or_else(|| TaskResult {
        size_bytes: Some(0),
        ..TaskResult::default()
    });
    if result.status == 0 {
        result.status = reason.http_status();
    }
    result
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
