//! What the engine and the supervisor say to each other: arguments in, evidence out.
//!
//! Pure: values in, values out. The engine and the supervisor may be of different versions (a pod outlives an
//! upgrade), so whatever is read here is treated as written by a stranger.
//!
//! - [`args`]: the command line of `errand runner`.
//! - [`progress`]: lines by which a command reports how far it is.
//! - [`record`]: the JSON that the supervisor leaves in the termination message, and the evidence in it.
//! - [`continuation`]: marked lines at the end of stdout for what did not fit into the record.
//! - [`plan`]: actions that are run in place of a command.

pub mod args;
pub mod continuation;
pub mod plan;
pub mod progress;
pub mod record;

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Lower-case hexadecimal text of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// SHA-256 of `bytes` in lower-case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
