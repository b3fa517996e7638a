//! Picks progress lines out of a stream that arrives in pieces.

use memchr::{memchr, memmem};

use crate::handover::progress::{MAX_LINE, PREFIX, Progress};

/// A piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Bytes that are no progress line.
    Ordinary(&'a [u8]),
    /// A whole progress line with its newline, if it had one.
    Progress(&'a [u8], Progress),
}

/// Holds back no more than one line of [`MAX_LINE`] bytes.
#[derive(Debug, Default)]
pub(super) struct Lines {
    at: At,
    held: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    LineStart,
    MidLine,
    /// In a line that may turn out to be a progress line; its beginning is held.
    Candidate,
}

impl Lines {
    /// Takes the next bytes and gives away what is decided, in order. Concatenated, the pieces are the stream.
    pub(super) fn feed(&mut self, chunk: &[u8], mut give: impl FnMut(Piece<'_>)) {
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = match self.at {
                At::Candidate => self.candidate(rest, &mut give),
                At::LineStart | At::MidLine => self.search(rest, &mut give),
            };
        }
    }

    /// The stream is over: a line without a newline is a line too.
    pub(super) fn finish(&mut self, mut give: impl FnMut(Piece<'_>)) {
        if !self.held.is_empty() {
            give(piece(&self.held));
            self.held.clear();
        }
        self.at = At::LineStart;
    }

    fn search<'a>(&mut self, rest: &'a [u8], give: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        let start = match self.at == At::LineStart && plausible(rest) {
            true => Some(0),
            false => memmem::find_iter(rest, b"\n:")
                .map(|at| at + 1)
                .find(|at| plausible(&rest[*at..])),
        };
        let (ordinary, rest) = rest.split_at(start.unwrap_or(rest.len()));
        self.at = match (start, ordinary.last()) {
            (Some(_), _) => At::Candidate,
            (None, Some(b'\n')) => At::LineStart,
            (None, _) => At::MidLine,
        };
        if !ordinary.is_empty() {
            give(Piece::Ordinary(ordinary));
        }
        rest
    }

    fn candidate<'a>(&mut self, rest: &'a [u8], give: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        // The newline and a carriage return before it do not count towards the line.
        let room = (MAX_LINE + 2).saturating_sub(self.held.len()).min(rest.len());
        let newline = memchr(b'\n', &rest[..room]);
        let (line, rest) = rest.split_at(newline.map_or(room, |at| at + 1));
        self.held.extend_from_slice(line);
        if newline.is_some() {
            give(piece(&self.held));
            self.at = At::LineStart;
        } else if plausible(&self.held) && self.held.len() < MAX_LINE + 2 {
            return rest;
        } else {
            give(Piece::Ordinary(&self.held));
            self.at = At::MidLine;
        }
        self.held.clear();
        rest
    }
}

fn piece(line: &[u8]) -> Piece<'_> {
    match Progress::parse(line.strip_suffix(b"\n").unwrap_or(line)) {
        Some(progress) => Piece::Progress(line, progress),
        None => Piece::Ordinary(line),
    }
}

/// Whether a line that begins like this can be a progress line.
fn plausible(beginning: &[u8]) -> bool {
    let prefix = PREFIX.as_bytes();
    let len = beginning.len().min(prefix.len());
    beginning[..len] == prefix[..len]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The ordinary bytes, and the progress lines with their newlines.
    fn split(chunks: &[&[u8]]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let (mut ordinary, mut progress) = (Vec::new(), Vec::new());
        let mut take = |piece: Piece<'_>| match piece {
            Piece::Ordinary(bytes) => ordinary.extend_from_slice(bytes),
            Piece::Progress(line, _) => progress.push(line.to_vec()),
        };
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.feed(chunk, &mut take);
            assert!(lines.held.len() <= MAX_LINE + 2);
        }
        lines.finish(&mut take);
        (ordinary, progress)
    }

    /// The same, line by line and all at once.
    fn expected(stream: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let (mut ordinary, mut progress) = (Vec::new(), Vec::new());
        for line in stream.split_inclusive(|byte| *byte == b'\n') {
            match Progress::parse(line.strip_suffix(b"\n").unwrap_or(line)) {
                Some(_) => progress.push(line.to_vec()),
                None => ordinary.extend_from_slice(line),
            }
        }
        (ordinary, progress)
    }

    #[test]
    fn progress_lines_are_told_from_the_result() {
        let stream = b"::progress 1\nresult\n::progress 2 two\r\n ::progress 3\n::progress x\nx::progress 4\n::progress 5";
        let (ordinary, progress) = split(&[stream]);
        assert_eq!(ordinary, b"result\n ::progress 3\n::progress x\nx::progress 4\n");
        assert_eq!(
            progress,
            [&b"::progress 1\n"[..], b"::progress 2 two\r\n", b"::progress 5"]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_on_and_forgotten() {
        let long = [
            b"::progress 1 ".to_vec(),
            vec![b'x'; 3 * MAX_LINE],
            b"\n::progress 2\n".to_vec(),
        ]
        .concat();
        assert_eq!(split(&[&long]), expected(&long));
        let just = [
            b"::progress 1 ".to_vec(),
            vec![b'x'; MAX_LINE - 14],
            b"\r\n".to_vec(),
        ]
        .concat();
        assert_eq!(split(&[&just]).1, [just]);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_stream_is_cut(
            pieces in proptest::collection::vec(prop_oneof![
                Just("\n".to_owned()), Just("::progress ".to_owned()), Just("::progress 5 x\n".to_owned()),
                Just(":".to_owned()), Just("\r\n".to_owned()), Just("7".to_owned()), "[ -~]{0,8}", "(ab){1000,1040}",
            ], 0..40),
            sizes in proptest::collection::vec(1usize..20, 1..8),
        ) {
            let stream = pieces.concat().into_bytes();
            let mut chunks = Vec::new();
            let mut rest = &stream[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at((*size).min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            prop_assert_eq!(split(&chunks), expected(&stream));
            prop_assert_eq!(split(&[&stream]), expected(&stream));
        }

        #[test]
        fn arbitrary_bytes_are_all_accounted_for(stream in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(split(&[&stream]), expected(&stream));
        }
    }
}
