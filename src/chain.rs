//! An error and its sources in one line.

use kube::core::Status;

/// Each error says what was attempted, its source says why it failed: `could not write x: permission denied`.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = words(error);
    let mut source = error.source().filter(|_| refusal(error).is_none());
    while let Some(inner) = source {
        let own = inner.to_string();
        // Some libraries repeat their source in their own text.
        let before = text.strip_suffix(&own).map(str::len);
        match before {
            Some(before) => text.truncate(before),
            None => text.push_str(": "),
        }
        text.push_str(&words(inner));
        source = inner.source().filter(|_| refusal(inner).is_none());
    }
    text
}

/// kube's own text for an answer of the API server shows every field of it, two times.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    match refusal(error) {
        Some(status) => format!("{} (HTTP {} {})", status.message, status.code, status.reason),
        None => error.to_string(),
    }
}

fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Status> {
    match error.downcast_ref::<kube::Error>()? {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
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
    #[test]
    fn a_refusal_of_the_api_server_is_said_once_and_in_its_words() {
        #[derive(Debug, thiserror::Error)]
        #[error("could not write a status")]
        struct Plain(#[source] kube::Error);
        #[derive(Debug, thiserror::Error)]
        #[error("could not list: {0}")]
        struct Repeats(#[source] kube::Error);
        let refused = || {
            kube::Error::Api(Box::new(
                Status::failure("it has changed", "Conflict").with_code(409),
            ))
        };
        assert_eq!(
            chain(&Plain(refused())),
            "could not write a status: it has changed (HTTP 409 Conflict)"
        );
        assert_eq!(
            chain(&Repeats(refused())),
            "could not list: it has changed (HTTP 409 Conflict)"
        );
    }
}
