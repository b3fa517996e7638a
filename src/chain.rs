//! An error and its sources in one line.

/// Each error says what was attempted, its source says why it failed: `could not write x: permission denied`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        // Some libraries repeat their source in their own text.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_chain_names_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("could not read the key")]
        struct Outer(#[source] io::Error);
        let outer = Outer(io::Error::other("the disk is gone"));
        assert_eq!(chain(&outer), "could not read the key: the disk is gone");
        #[derive(Debug, thiserror::Error)]
        #[error("repeats: {0}")]
        struct Repeats(#[source] io::Error);
        assert_eq!(chain(&Repeats(io::Error::other("x"))), "repeats: x");
    }
}
