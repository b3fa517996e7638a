//! From a child's pipes into its log.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::local::node::cri_log::{Encoder, Stream, time_text};
use crate::local::node::log_file::LogFile;

/// What a pipe holds at most, so one read empties it.
const CHUNK: usize = 64 * 1024;

/// Copies one stream to its end. Output that cannot be stored is dropped, so that the child never hangs on it.
pub async fn pump(mut pipe: impl AsyncRead + Unpin, stream: Stream, log: Arc<LogFile>) {
    let mut encoder = Encoder::new(stream);
    let mut chunk = Vec::new();
    let mut entries = Vec::new();
    let mut complained = false;
    let mut store = |entries: &mut Vec<u8>| {
        if let Err(error) = log.append(entries)
            && !complained
        {
            tracing::warn!(%error, "container output is lost: its log cannot be written");
            complained = true;
        }
        entries.clear();
        entries.shrink_to(4 * CHUNK);
    };
    loop {
        if chunk.is_empty() {
            // Small first: most containers say little, and fifty of them run at once.
            chunk.resize(4096, 0);
        }
        match pipe.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                encoder.feed(&chunk[..count], &time_text(Timestamp::now()), &mut entries);
                store(&mut entries);
                if count == chunk.len() && count < CHUNK {
                    chunk.resize(CHUNK, 0);
                }
            }
        }
    }
    encoder.finish(&time_text(Timestamp::now()), &mut entries);
    store(&mut entries);
}
