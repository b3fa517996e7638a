//! What is kept of the command's streams. No I/O.

use sha2::{Digest as _, Sha256};

use super::lines::{Lines, Piece};
use super::tail::Tail;
use crate::handover::hex;
use crate::handover::progress::Progress;
use crate::handover::record::{Kept, Stream};

/// Which of the command's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Stdout,
    Stderr,
}

/// Takes both streams in the order of arrival.
pub(super) struct Capture {
    stdout: Tally,
    stderr: Tally,
    result: Option<Head>,
    lines: Lines,
    tail: Tail,
    progress: Option<Progress>,
}

/// What a finished [`Capture`] has.
pub(super) struct Captured {
    pub(super) stdout: Stream,
    pub(super) stderr: Stream,
    /// If stdout is the result.
    pub(super) result: Option<Kept>,
    pub(super) log: Kept,
    pub(super) progress: Option<Progress>,
}

impl Capture {
    /// `result_limit`: bytes of stdout to keep as the result, if stdout is the result.
    pub(super) fn new(result_limit: Option<usize>, log_limit: usize) -> Self {
        Self {
            stdout: Tally::default(),
            stderr: Tally::default(),
            result: result_limit.map(Head::new),
            lines: Lines::default(),
            tail: Tail::new(log_limit),
            progress: None,
        }
    }

    pub(super) fn take(&mut self, which: Which, chunk: &[u8]) {
        self.tail.push(chunk);
        match which {
            Which::Stderr => self.stderr.add(chunk),
            Which::Stdout => {
                let Self {
                    stdout,
                    result,
                    lines,
                    progress,
                    ..
                } = self;
                lines.feed(chunk, |piece| sort(piece, stdout, result, progress));
            }
        }
    }

    pub(super) fn finish(mut self) -> Captured {
        let Self {
            stdout,
            result,
            lines,
            progress,
            ..
        } = &mut self;
        lines.finish(|piece| sort(piece, stdout, result, progress));
        let (log, log_size) = self.tail.finish();
        Captured {
            result: self.result.map(|head| head.finish(&self.stdout.hash)),
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
            log: Kept {
                bytes: log,
                size_bytes: log_size,
                ..Kept::default()
            },
            progress: self.progress,
        }
    }
}

fn sort(piece: Piece<'_>, stdout: &mut Tally, result: &mut Option<Head>, progress: &mut Option<Progress>) {
    match piece {
        Piece::Ordinary(bytes) => {
            stdout.add(bytes);
            if let Some(head) = result {
                head.add(bytes);
            }
        }
        Piece::Progress(line, latest) => {
            if let Some(head) = result {
                head.part_from(&stdout.hash);
            }
            stdout.add(line);
            *progress = Some(latest);
        }
    }
}

#[derive(Default)]
struct Tally {
    bytes: u64,
    hash: Sha256,
}

impl Tally {
    fn add(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        self.hash.update(chunk);
    }

    fn finish(self) -> Stream {
        Stream {
            bytes: self.bytes,
            sha256: hex(&self.hash.finalize()),
            ..Stream::default()
        }
    }
}

/// The beginning of the result, and the size and digest of all of it.
struct Head {
    limit: usize,
    bytes: Vec<u8>,
    size: u64,
    /// Until the first progress line the result is all of stdout, and so is its digest: hashing costs more than
    /// anything else here, and is done twice only where the two differ.
    hash: Option<Sha256>,
}

impl Head {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: Vec::new(),
            size: 0,
            hash: None,
        }
    }

    fn add(&mut self, chunk: &[u8]) {
        self.size += chunk.len() as u64;
        let room = self.limit.saturating_sub(self.bytes.len()).min(chunk.len());
        self.bytes.extend_from_slice(&chunk[..room]);
        if let Some(hash) = &mut self.hash {
            hash.update(chunk);
        }
    }

    fn part_from(&mut self, stdout: &Sha256) {
        self.hash.get_or_insert_with(|| stdout.clone());
    }

    fn finish(self, stdout: &Sha256) -> Kept {
        let hash = self.hash.unwrap_or_else(|| stdout.clone());
        kept_head(self.bytes, self.size, Some(hex(&hash.finalize())))
    }
}

/// The beginning of a content of `size` bytes; text is not cut within a character.
pub(super) fn kept_head(mut bytes: Vec<u8>, size: u64, sha256: Option<String>) -> Kept {
    if size > bytes.len() as u64
        && let Err(error) = std::str::from_utf8(&bytes)
        // `None`: the bytes end too early, and are text up to there.
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    Kept {
        bytes,
        size_bytes: size,
        sha256,
        problem: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::sha256_hex;
    use proptest::prelude::*;

    fn stream(bytes: &[u8]) -> Stream {
        Stream {
            bytes: bytes.len() as u64,
            sha256: sha256_hex(bytes),
            ..Stream::default()
        }
    }

    #[test]
    fn progress_lines_are_kept_out_of_the_result_only() {
        let mut capture = Capture::new(Some(100), 100);
        capture.take(Which::Stdout, b"one\n::prog");
        capture.take(Which::Stderr, b"warning\n");
        capture.take(Which::Stdout, b"ress 50 half\ntwo\n");
        let captured = capture.finish();
        assert_eq!(captured.stdout, stream(b"one\n::progress 50 half\ntwo\n"));
        assert_eq!(captured.stderr, stream(b"warning\n"));
        let result = b"one\ntwo\n";
        let expected = Kept {
            bytes: result.to_vec(),
            size_bytes: 8,
            sha256: Some(sha256_hex(result)),
            problem: None,
        };
        assert_eq!(captured.result, Some(expected));
        assert_eq!(captured.log.bytes, b"one\n::progwarning\nress 50 half\ntwo\n");
        assert_eq!(captured.progress.and_then(|progress| progress.percent), Some(50));
    }

    #[test]
    fn a_cut_result_has_its_real_size_and_digest_and_whole_characters() {
        let mut capture = Capture::new(Some(4), 0);
        capture.take(Which::Stdout, "äöü".as_bytes());
        let whole = capture.finish().result.unwrap();
        let expected = Kept {
            bytes: "äö".as_bytes().to_vec(),
            size_bytes: 6,
            sha256: Some(sha256_hex("äöü".as_bytes())),
            problem: None,
        };
        assert_eq!(whole, expected);
        assert_eq!(
            kept_head("äö".as_bytes()[..3].to_vec(), 4, None).bytes,
            "ä".as_bytes()
        );
        assert_eq!(kept_head(b"a\xff\xc3".to_vec(), 4, None).bytes, b"a\xff\xc3");
    }

    proptest! {
        #[test]
        fn digests_are_those_of_the_streams(
            pieces in proptest::collection::vec((any::<bool>(), prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..50),
                Just(b"\n::progress 3/4\n".to_vec()),
                Just(b"::progress".to_vec()),
            ]), 0..20),
        ) {
            let mut capture = Capture::new(Some(10_000), 10_000);
            let (mut out, mut err, mut all) = (Vec::new(), Vec::new(), Vec::new());
            for (stdout, bytes) in &pieces {
                capture.take(if *stdout { Which::Stdout } else { Which::Stderr }, bytes);
                if *stdout { &mut out } else { &mut err }.extend_from_slice(bytes);
                all.extend_from_slice(bytes);
            }
            let captured = capture.finish();
            prop_assert_eq!(captured.stdout, stream(&out));
            prop_assert_eq!(captured.stderr, stream(&err));
            prop_assert_eq!(captured.log.bytes, all);
            let lines = out.split_inclusive(|byte| *byte == b'\n');
            let result: Vec<u8> = lines
                .filter(|line| Progress::parse(line.strip_suffix(b"\n").unwrap_or(line)).is_none())
                .collect::<Vec<_>>()
                .concat();
            let kept = captured.result.unwrap();
            prop_assert_eq!(kept.sha256, Some(sha256_hex(&result)));
            prop_assert_eq!(kept.bytes, result);
        }
    }
}
