//! A container's log as lines that a person is shown. Pure.

use crate::handover::{continuation, progress::Progress};

/// Longest line that is held back for its end; longer ones are handed on in pieces, so that a log without newlines
/// costs no more memory than this.
const MAX_LINE: usize = 64 * 1024;

/// Cuts chunks into lines and leaves out what is meant for the engine: progress lines (shown as progress) and the
/// supervisor's evidence at the end of the log.
///
/// Who prints a line that looks like evidence hides it from this view only; the log kept in the Task has it.
#[derive(Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes a chunk; returns the lines that it completed, each without its newline.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if self.rest.last() == Some(&b'\n') {
                self.rest.pop();
                lines.extend(shown(std::mem::take(&mut self.rest)));
            } else if self.rest.len() >= MAX_LINE {
                lines.extend(shown(std::mem::take(&mut self.rest)));
            }
        }
        lines
    }

    /// The last line, where the log did not end in a newline.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() { None } else { shown(rest) }
    }
}

fn shown(mut line: Vec<u8>) -> Option<Vec<u8>> {
    if Progress::parse(&line).is_some() {
        return None;
    }
    match evidence(&line) {
        Some(0) => None,
        // The joint: evidence that follows on the command's last line, which had no newline.
        Some(at) => {
            line.truncate(at);
            Some(line)
        }
        None => Some(line),
    }
}

/// Where the evidence of the supervisor begins in a line.
fn evidence(line: &[u8]) -> Option<usize> {
    let mark = continuation::MARK.as_bytes();
    let at = line.windows(mark.len()).position(|window| window == mark)?;
    let mut words = line.get(at + mark.len()..)?.split(|byte| *byte == b' ');
    let nonce = words.next()?;
    let number = words.next()?;
    let marked = !nonce.is_empty()
        && nonce.iter().all(u8::is_ascii_hexdigit)
        && matches!(number.first(), Some(b'l' | b'r' | b'j'));
    marked.then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut found: Vec<_> = chunks.iter().flat_map(|chunk| lines.push(chunk)).collect();
        found.extend(lines.finish());
        found
            .into_iter()
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .collect()
    }

    #[test]
    fn chunks_become_lines_wherever_they_are_cut() {
        assert_eq!(all(&[b"a\nb", b"c\n", b"\nd"]), ["a", "bc", "", "d"]);
        assert_eq!(all(&[b"", b"\n"]), [""]);
    }

    #[test]
    fn progress_and_evidence_are_left_out() {
        let evidence = continuation::Continuation::new("0badcafe", true, Some(b"tail"), None);
        let marked: String = evidence.lines(b"tail", b"").collect();
        let log = format!("one\n::progress 40 copying\n::progress no\nlast{marked}");
        assert_eq!(all(&[log.as_bytes()]), ["one", "::progress no", "last"]);
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let mut lines = Lines::default();
        let chunk = vec![b'x'; MAX_LINE / 2];
        assert!(lines.push(&chunk).is_empty());
        assert_eq!(lines.push(&chunk), [vec![b'x'; MAX_LINE]]);
        assert_eq!(lines.finish(), None);
    }

    proptest! {
        #[test]
        fn ordinary_lines_come_through_unharmed(text in "[a-z\n]{0,200}", cut in 0usize..200) {
            let cut = cut.min(text.len());
            let got = all(&[&text.as_bytes()[..cut], &text.as_bytes()[cut..]]);
            let want: Vec<_> = text.lines().map(str::to_owned).collect();
            prop_assert_eq!(got, want);
        }
    }
}
