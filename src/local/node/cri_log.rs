//! The line format in which container output lies on disk: that of the Container Runtime Interface.
//!
//! `2016-10-06T00:17:09.669794202Z stdout F text` and a newline; `P` instead of `F` says that the line goes
//! on in the next entry of the stream (or ended without a newline). So bytes come back exactly as written.
//! Source: kubernetes `pkg/kubelet/kuberuntime/logs`, containerd `internal/cri/io/logger.go`. Pure.

use std::io::BufRead;

/// Longer lines are cut into parts of this size, as containerd does.
pub const PART: usize = 16 * 1024;
/// `2016-10-06T00:17:09.669794202Z`: nanoseconds always written out, so texts sort as times do.
pub const TIME_LENGTH: usize = 30;

/// Which of the two streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Stdout => b"stdout",
            Self::Stderr => b"stderr",
        }
    }
}

/// The time as it stands in an entry.
pub fn time_text(time: jiff::Timestamp) -> String {
    format!("{time:.9}")
}

/// Cuts one stream into entries.
#[derive(Debug)]
pub struct Encoder {
    stream: Stream,
    /// The start of a line whose newline has not come; shorter than [`PART`].
    pending: Vec<u8>,
}

impl Encoder {
    /// For one stream of one container.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            pending: Vec::new(),
        }
    }

    /// Appends to `out` the entries which `chunk` completes; `time` is from [`time_text`].
    pub fn feed(&mut self, mut chunk: &[u8], time: &str, out: &mut Vec<u8>) {
        while let Some(end) = line_end(chunk) {
            let (line, rest) = chunk.split_at(end);
            self.take(&line[..end - 1], time, out);
            let pending = std::mem::take(&mut self.pending);
            self.entry(&pending, b"F", time, out);
            self.pending = pending;
            self.pending.clear();
            chunk = rest;
        }
        self.take(chunk, time, out);
    }

    /// The stream ended: what has no newline becomes a part.
    pub fn finish(&mut self, time: &str, out: &mut Vec<u8>) {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            self.entry(&pending, b"P", time, out);
        }
    }

    fn take(&mut self, mut bytes: &[u8], time: &str, out: &mut Vec<u8>) {
        while self.pending.len() + bytes.len() > PART {
            let (part, rest) = bytes.split_at(PART - self.pending.len());
            let mut whole = std::mem::take(&mut self.pending);
            whole.extend_from_slice(part);
            self.entry(&whole, b"P", time, out);
            whole.clear();
            self.pending = whole;
            bytes = rest;
        }
        self.pending.extend_from_slice(bytes);
    }

    fn entry(&self, text: &[u8], tag: &[u8], time: &str, out: &mut Vec<u8>) {
        for part in [
            time.as_bytes(),
            b" ",
            self.stream.name(),
            b" ",
            tag,
            b" ",
            text,
            b"\n",
        ] {
            out.extend_from_slice(part);
        }
    }
}

/// One entry read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub time: &'a str,
    /// Ends with a newline that is not in `text`.
    pub full: bool,
    pub text: &'a [u8],
}

/// Reads an entry, given without its newline. None for what is not one (a damaged file).
pub fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let (time, rest) = line.split_at_checked(TIME_LENGTH)?;
    let rest = rest
        .strip_prefix(b" stdout ")
        .or_else(|| rest.strip_prefix(b" stderr "))?;
    let (full, text) = match rest {
        [b'F', b' ', text @ ..] => (true, text),
        [b'P', b' ', text @ ..] => (false, text),
        _ => return None,
    };
    Some(Entry {
        time: std::str::from_utf8(time).ok()?,
        full,
        text,
    })
}

/// Where the first line ends (behind its newline). Goes through std's compiled search, which is fast
/// in builds without optimisation too.
pub fn line_end(bytes: &[u8]) -> Option<usize> {
    let mut reader = bytes;
    let count = reader.skip_until(b'\n').ok()?;
    (count > 0 && bytes.get(count - 1) == Some(&b'\n')).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-02T03:04:05.000000006Z";

    fn encode(chunks: &[&[u8]]) -> Vec<u8> {
        let mut encoder = Encoder::new(Stream::Stdout);
        let mut out = Vec::new();
        chunks
            .iter()
            .for_each(|chunk| encoder.feed(chunk, TIME, &mut out));
        encoder.finish(TIME, &mut out);
        out
    }

    fn decode(mut file: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(end) = line_end(file) {
            let entry = parse(&file[..end - 1]).unwrap();
            out.extend_from_slice(entry.text);
            if entry.full {
                out.push(b'\n');
            }
            file = &file[end..];
        }
        out
    }

    #[test]
    fn lines_become_entries_and_an_unfinished_one_a_part() {
        let text = String::from_utf8(encode(&[b"one\ntw", b"o\n\nlast"])).unwrap();
        let expected = [("F", "one"), ("F", "two"), ("F", ""), ("P", "last")]
            .map(|(tag, text)| format!("{TIME} stdout {tag} {text}\n"))
            .concat();
        assert_eq!(text, expected);
    }

    #[test]
    fn times_have_nine_digits_always() {
        for (nanosecond, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (1_500_000_000, "1970-01-01T00:00:01.500000000Z"),
        ] {
            let time = jiff::Timestamp::from_nanosecond(nanosecond).unwrap();
            assert_eq!(time_text(time), text);
            assert_eq!(time_text(time).len(), TIME_LENGTH);
        }
    }

    #[test]
    fn damaged_entries_are_none() {
        for line in [
            "",
            "x",
            TIME,
            &format!("{TIME} stdlog F x"),
            &format!("{TIME} stdout X x"),
            &format!("{TIME} stdout F"),
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_in_any_chunks_come_back(
            runs in proptest::collection::vec((proptest::num::u8::ANY, 1..40_000usize), 0..4),
            noise in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            cut in 0..1000usize,
        ) {
            let mut bytes: Vec<u8> = runs.into_iter().flat_map(|(byte, times)| vec![byte; times]).collect();
            bytes.extend(noise.iter().map(|byte| if byte % 7 == 0 { b'\n' } else { *byte }));
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let file = encode(&[first, second]);
            proptest::prop_assert!(decode(&file) == bytes);
            let longest = file.split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap_or(0);
            proptest::prop_assert!(longest <= PART + 40);
        }
    }
}
