//! The last bytes of an endless stream.

/// Keeps the last `limit` bytes in at most twice that memory.
#[derive(Debug)]
pub(super) struct Tail {
    /// One byte more than the limit: the byte before the tail tells whether it begins a line.
    keep: usize,
    bytes: Vec<u8>,
    total: u64,
}

impl Tail {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            keep: limit.saturating_add(1),
            bytes: Vec::new(),
            total: 0,
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.total += chunk.len() as u64;
        let chunk = &chunk[chunk.len().saturating_sub(self.keep)..];
        // Moving the kept bytes once per `keep` bytes of input costs a constant per byte.
        if self.bytes.len() + chunk.len() > self.keep.saturating_mul(2) {
            let surplus = self
                .bytes
                .len()
                .saturating_sub(self.keep.saturating_sub(chunk.len()));
            self.bytes.drain(..surplus);
        }
        self.bytes.extend_from_slice(chunk);
    }

    /// The tail and the number of bytes that went by. A cut tail begins a line where that costs no more than half
    /// of it, and never begins within a UTF-8 character.
    pub(super) fn finish(mut self) -> (Vec<u8>, u64) {
        let limit = self.keep.saturating_sub(1);
        if self.total > limit as u64 {
            let tail = self.bytes.split_off(self.bytes.len() - limit);
            let begins_line = self.bytes.last() == Some(&b'\n');
            let start = if begins_line { 0 } else { boundary(&tail) };
            self.bytes = tail;
            self.bytes.drain(..start);
        }
        (self.bytes, self.total)
    }
}

fn boundary(tail: &[u8]) -> usize {
    let near = &tail[..tail.len() / 2];
    if let Some(newline) = memchr::memchr(b'\n', near) {
        return newline + 1;
    }
    // A UTF-8 character has up to three bytes after its first.
    let continuation = |byte: &&u8| **byte & 0xc0 == 0x80;
    match tail.iter().take(4).take_while(continuation).count() {
        4 => 0,
        count => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tail_of(limit: usize, chunks: &[&[u8]]) -> (Vec<u8>, u64) {
        let mut tail = Tail::new(limit);
        for chunk in chunks {
            tail.push(chunk);
            assert!(tail.bytes.len() <= 2 * (limit + 1));
        }
        tail.finish()
    }

    #[test]
    fn what_fits_is_kept_whole() {
        assert_eq!(tail_of(6, &[b"abc", b"", b"def"]), (b"abcdef".to_vec(), 6));
        assert_eq!(tail_of(0, &[]), (vec![], 0));
    }

    #[test]
    fn a_cut_tail_begins_at_a_line_where_that_is_near() {
        assert_eq!(
            tail_of(12, &[b"one\ntwo\nthree\nfour\n"]),
            (b"three\nfour\n".to_vec(), 19)
        );
        assert_eq!(
            tail_of(11, &[b"one\ntwo\nthree\nfour\n"]),
            (b"three\nfour\n".to_vec(), 19)
        );
        assert_eq!(tail_of(8, &[b"0123456789\nab"]), (b"56789\nab".to_vec(), 13));
        assert_eq!(tail_of(0, &[b"abc\n"]), (vec![], 4));
    }

    #[test]
    fn a_cut_tail_does_not_begin_within_a_character() {
        assert_eq!(tail_of(4, &["xäöü".as_bytes()]), ("öü".as_bytes().to_vec(), 7));
        assert_eq!(tail_of(3, &["xäöü".as_bytes()]), ("ü".as_bytes().to_vec(), 7));
        assert_eq!(tail_of(5, &[&[0x80; 9]]), (vec![0x80; 5], 9));
    }

    proptest! {
        #[test]
        fn the_tail_is_the_end_of_the_stream(
            limit in 0usize..40, chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..12),
        ) {
            let slices: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let stream = chunks.concat();
            let (tail, total) = tail_of(limit, &slices);
            prop_assert_eq!(total, stream.len() as u64);
            prop_assert!(stream.ends_with(&tail));
            let whole = stream.len() <= limit;
            let fits = if whole { tail == stream } else { tail.len() <= limit && tail.len() * 2 + 8 >= limit };
            prop_assert!(fits, "{} bytes kept of {total}", tail.len());
        }
    }
}
