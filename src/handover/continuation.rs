//! Marked lines at the end of stdout: evidence that did not fit into the record.
//!
//! ```text
//! ::errand-evidence NONCE l0 BASE64 CHECK     log tail, first line
//! ::errand-evidence NONCE r0 BASE64 CHECK     result, first line
//! ```
//! The nonce is drawn after the command has ended and its pipes are drained, so nothing that the command wrote
//! can carry it: lines that imitate ours, or repeat those of another run, are ordinary output. The record in the
//! termination message names the nonce and says how many lines there are.
//!
//! A line is no longer than [`MAX_LINE`] bytes: a write of that size to a pipe is never mixed with others
//! (`PIPE_BUF` in pipe(7)), and container runtimes split lines only at 16 KiB. If the command's stdout does not
//! end in a newline, a joint (`j0`, without payload) goes before the other lines: it stands on the command's
//! last line, ends it, and is cut out together with the newline, so the log is again what the command wrote.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use memchr::{memchr, memmem};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::sha256_hex;

/// How a marked line begins.
pub const MARK: &str = "::errand-evidence ";

/// The longest marked line, its newline included. `PIPE_BUF` on Linux.
pub const MAX_LINE: usize = 4096;

/// Payload bytes of a line: 4000 characters of base64, which leaves room for mark, nonce, number and check.
const CHUNK: usize = 3000;

/// Hexadecimal characters kept of a line's SHA-256.
const CHECK_LEN: usize = 16;

/// Hexadecimal characters kept of a part's SHA-256.
const DIGEST_LEN: usize = 32;

/// What a marked line carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The end of stdout and stderr.
    Log,
    /// The result.
    Result,
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Self::Log => 'l',
            Self::Result => 'r',
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "log tail",
            Self::Result => "result",
        })
    }
}

/// One kind of evidence in the marked lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Marked lines.
    pub lines: u32,
    /// Bytes before base64.
    pub bytes: u64,
    /// The first 128 bits of the SHA-256, hexadecimal.
    pub sha256: String,
}

impl Part {
    fn of(content: &[u8]) -> Self {
        let mut sha256 = sha256_hex(content);
        sha256.truncate(DIGEST_LEN);
        let lines = u32::try_from(content.len().div_ceil(CHUNK)).unwrap_or(u32::MAX);
        Self {
            lines,
            bytes: content.len() as u64,
            sha256,
        }
    }
}

/// What the record says of the marked lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// Drawn for this run, after the command ended. Hexadecimal.
    pub nonce: String,
    /// The command's stdout did not end in a newline; a joint comes first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joint: bool,
    /// The log tail, if it is carried here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Part>,
    /// The result, if it is carried here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Part>,
}

impl Continuation {
    /// Describes the lines for `log` and `result`. `joint`: stdout does not end in a newline.
    pub fn new(nonce: &str, joint: bool, log: Option<&[u8]>, result: Option<&[u8]>) -> Self {
        Self {
            nonce: nonce.to_owned(),
            joint,
            log: log.map(Part::of),
            result: result.map(Part::of),
        }
    }

    /// Marked lines in the log, joint included: what to ask the log API for at least. Lines of stderr that were
    /// still under way may stand between them.
    pub fn line_count(&self) -> u64 {
        let parts = [&self.log, &self.result]
            .into_iter()
            .flatten()
            .map(|part| u64::from(part.lines));
        u64::from(self.joint) + parts.sum::<u64>()
    }

    /// The lines to write, one after another, with their newlines. The contents are those given to [`Self::new`].
    pub fn lines<'a>(&'a self, log: &'a [u8], result: &'a [u8]) -> impl Iterator<Item = String> + 'a {
        let joint = self.joint.then(|| line(&self.nonce, 'j', 0, &[]));
        let log = self.log.iter().flat_map(|_| chunks(&self.nonce, Kind::Log, log));
        let result = self
            .result
            .iter()
            .flat_map(|_| chunks(&self.nonce, Kind::Result, result));
        joint.into_iter().chain(log).chain(result)
    }

    /// Takes the marked lines out of a log and puts their payload together.
    ///
    /// `log` is what Kubernetes returns: stdout and stderr line by line, possibly without its beginning.
    pub fn cut(&self, log: &[u8]) -> Cut {
        let mut rest = Vec::with_capacity(log.len());
        let mut found = Found::default();
        let needle = format!("{MARK}{} ", self.nonce);
        let finder = memmem::Finder::new(&needle);
        let mut position = 0;
        while let Some(start) = finder.find(&log[position..]).map(|offset| position + offset) {
            rest.extend_from_slice(&log[position..start]);
            let body = start + needle.len();
            let newline = memchr(b'\n', &log[body..]).map_or(log.len(), |offset| body + offset + 1);
            // A line that lost its end runs into the next one.
            let next = finder
                .find(&log[body..newline])
                .map_or(newline, |offset| body + offset);
            found.take(&self.nonce, &log[body..next]);
            position = next;
        }
        rest.extend_from_slice(&log[position..]);
        Cut {
            log: rest,
            tail: self.log.as_ref().map(|part| found.assemble(Kind::Log, part)),
            result: self
                .result
                .as_ref()
                .map(|part| found.assemble(Kind::Result, part)),
        }
    }
}

/// A log without its marked lines, and what they carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// What the command wrote, as far as the log had it.
    pub log: Vec<u8>,
    /// The log tail, if the record says that it is carried here.
    pub tail: Option<Result<Vec<u8>, Broken>>,
    /// The result, if the record says that it is carried here.
    pub result: Option<Result<Vec<u8>, Broken>>,
}

/// Evidence that cannot be put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Marked lines are not in the log, or not as they were written.
    #[error("the {kind} is incomplete: of {of} lines in the log, {}", absent(.missing, .damaged))]
    Lines {
        /// What is incomplete.
        kind: Kind,
        /// Line numbers, counted from 0, that are not there.
        missing: Ranges,
        /// Line numbers that are there and fail their check.
        damaged: Ranges,
        /// Lines that were written.
        of: u32,
    },
    /// Every line is there, but together they are not what the record describes.
    #[error(
        "the {kind} does not match the record: {bytes} bytes with digest {sha256}, recorded were {expected_bytes} with {expected_sha256}"
    )]
    Mismatch {
        /// What does not match.
        kind: Kind,
        /// Bytes found.
        bytes: u64,
        /// Digest of what was found.
        sha256: String,
        /// Bytes recorded.
        expected_bytes: u64,
        /// Digest recorded.
        expected_sha256: String,
    },
}

fn absent(missing: &Ranges, damaged: &Ranges) -> String {
    match (missing.0.is_empty(), damaged.0.is_empty()) {
        (_, true) => format!("{missing} are missing"),
        (true, false) => format!("{damaged} are damaged"),
        (false, false) => format!("{missing} are missing and {damaged} are damaged"),
    }
}

/// Line numbers as inclusive ranges in rising order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(pub Vec<(u32, u32)>);

impl Ranges {
    fn push(&mut self, first: u32, last: u32) {
        match self.0.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
            _ => self.0.push((first, last)),
        }
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Ranges that a sentence names; the others are counted.
        const NAMED: usize = 5;
        for (position, (first, last)) in self.0.iter().take(NAMED).enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more ranges"),
        }
    }
}

/// What the marked lines of one log say.
#[derive(Default)]
struct Found {
    good: BTreeMap<(Kind, u32), Vec<u8>>,
    bad: BTreeSet<(Kind, u32)>,
}

impl Found {
    /// `body` is a marked line after mark and nonce, with its newline if it has one.
    fn take(&mut self, nonce: &str, body: &[u8]) {
        let body = body.strip_suffix(b"\n").unwrap_or(body);
        let body = body.strip_suffix(b"\r").unwrap_or(body);
        let mut words = body.split(|byte| *byte == b' ');
        let Some(key) = words.next().and_then(number) else {
            return;
        };
        let payload = words.next().unwrap_or_default();
        let whole = words
            .next()
            .is_some_and(|sum| sum == check(nonce, key, payload).as_bytes());
        match BASE64.decode(payload) {
            Ok(bytes) if whole && words.next().is_none() => {
                self.good.entry(key).or_insert(bytes);
            }
            _ => {
                self.bad.insert(key);
            }
        }
    }

    fn assemble(&mut self, kind: Kind, part: &Part) -> Result<Vec<u8>, Broken> {
        let (mut missing, mut damaged) = (Ranges::default(), Ranges::default());
        let mut content = Vec::new();
        let mut expected = 0;
        // The number of lines comes from a record that anyone in the container could have written, so work and
        // memory go with what was found, not with what was announced.
        let mut known: BTreeMap<u32, Option<&Vec<u8>>> = BTreeMap::new();
        known.extend(
            self.bad
                .iter()
                .filter(|key| key.0 == kind)
                .map(|key| (key.1, None)),
        );
        known.extend(
            self.good
                .iter()
                .filter(|(key, _)| key.0 == kind)
                .map(|(key, bytes)| (key.1, Some(bytes))),
        );
        for (index, bytes) in known.range(..part.lines) {
            if *index > expected {
                missing.push(expected, index - 1);
            }
            match bytes {
                Some(bytes) => content.extend_from_slice(bytes),
                None => damaged.push(*index, *index),
            }
            expected = index + 1;
        }
        if expected < part.lines {
            missing.push(expected, part.lines - 1);
        }
        if !missing.0.is_empty() || !damaged.0.is_empty() {
            return Err(Broken::Lines {
                kind,
                missing,
                damaged,
                of: part.lines,
            });
        }
        match Part::of(&content) {
            actual if actual == *part => Ok(content),
            actual => Err(Broken::Mismatch {
                kind,
                bytes: actual.bytes,
                sha256: actual.sha256,
                expected_bytes: part.bytes,
                expected_sha256: part.sha256.clone(),
            }),
        }
    }
}

fn chunks<'a>(nonce: &'a str, kind: Kind, content: &'a [u8]) -> impl Iterator<Item = String> + 'a {
    let numbered = (0u32..).zip(content.chunks(CHUNK));
    numbered.map(move |(index, chunk)| line(nonce, kind.letter(), index, chunk))
}

fn line(nonce: &str, letter: char, index: u32, payload: &[u8]) -> String {
    let payload = BASE64.encode(payload);
    let sum = checksum(nonce, letter, index, payload.as_bytes());
    format!("{MARK}{nonce} {letter}{index} {payload} {sum}\n")
}

fn check(nonce: &str, key: (Kind, u32), payload: &[u8]) -> String {
    checksum(nonce, key.0.letter(), key.1, payload)
}

fn checksum(nonce: &str, letter: char, index: u32, payload: &[u8]) -> String {
    let head = format!("{nonce} {letter}{index} ");
    let mut sum = sha256_hex(&[head.as_bytes(), payload].concat());
    sum.truncate(CHECK_LEN);
    sum
}

/// `r12` or `l3`. The joint has no number that anyone needs.
fn number(word: &[u8]) -> Option<(Kind, u32)> {
    let (letter, digits) = word.split_first()?;
    let kind = match letter {
        b'l' => Kind::Log,
        b'r' => Kind::Result,
        _ => return None,
    };
    let digits = std::str::from_utf8(digits).ok()?;
    let index: u32 = digits.parse().ok()?;
    // One way to write a number, or a check could be met under two names.
    (index.to_string() == digits).then_some((kind, index))
}

#[cfg(test)]
#[path = "continuation_tests.rs"]
mod tests;
