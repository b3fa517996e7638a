//! `upload`: one file is sent with POST.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body::{Body, Frame, SizeHint};
use md5::Md5;
use nix::fcntl::OFlag;
use sha2::{Digest as _, Sha256};

use super::http::{HttpError, Target, send};
use super::users::{User, UserError};
use super::{Report, complain, tell};
use crate::crd::UploadAction;

/// Attempts, as Diego's uploader makes them.
const ATTEMPTS: u32 = 3;
const CHUNK: usize = 64 * 1024;

/// Why the file cannot be had.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    User(#[from] UserError),
    #[error("{0}")]
    Open(#[from] io::Error),
    #[error("it is not a regular file")]
    Kind,
}

/// Why it was not sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    /// As Diego has it, to the letter.
    #[error("Upload failed: Status code {0}")]
    Status(u16),
    #[error("Upload failed: {0}")]
    Http(#[from] HttpError),
    #[error("Upload failed: {0}")]
    File(#[from] io::Error),
}

/// Carries the action out.
pub(super) fn upload(action: &UploadAction) -> Report {
    let artifact = action.artifact.as_deref().filter(|artifact| !artifact.is_empty());
    if let Some(artifact) = artifact {
        tell(&format!("Uploading {artifact}..."));
    }
    let named = |text: &str| match artifact {
        Some(artifact) => format!("{text} for {artifact}"),
        None => text.to_owned(),
    };
    if let Err(error) = Target::parse(&action.to) {
        complain(&format!("{}: {error}", named("Failed to parse URL")));
        return Report::plain(format!("Upload failed: {error}"));
    }
    let (mut file, size) = match open(action) {
        Ok(file) => file,
        Err(error) => {
            let text = named("Failed to establish stream from container");
            complain(&format!("{text}: {error}"));
            return Report::emitted(text);
        }
    };
    match deliver(action, &mut file, size) {
        Ok(()) => {
            if let Some(artifact) = artifact {
                tell(&format!("Uploaded {artifact} ({})", byte_size(size)));
            }
            Report::Done
        }
        Err(error) => {
            complain(&format!("{}: {error}", named("Failed to upload payload")));
            Report::plain(error.to_string())
        }
    }
}

/// Opens the file with the user's rights.
fn open(action: &UploadAction) -> Result<(File, u64), FileError> {
    if let Some(text) = &action.user {
        User::find(text)?.become_it(text)?;
    }
    // Opened so that a pipe in the file's place does not hold us up.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(&action.from)?;
    let meta = file.metadata()?;
    match meta.is_file() {
        true => Ok((file, meta.len())),
        false => Err(FileError::Kind),
    }
}

fn deliver(action: &UploadAction, file: &mut File, size: u64) -> Result<(), SendError> {
    let headers = headers(file, size)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut attempt = 1;
        loop {
            match once(action, file, size, &headers).await {
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                other => return other,
            }
        }
    })
}

async fn once(action: &UploadAction, file: &File, size: u64, headers: &HeaderMap) -> Result<(), SendError> {
    let body = || FileBody::new(file, size);
    let response = send(Method::POST, &action.to, headers, body).await?;
    match response.status().as_u16() {
        status if status >= 300 => Err(SendError::Status(status)),
        _ => Ok(()),
    }
}

fn headers(file: &mut File, size: u64) -> io::Result<HeaderMap> {
    let (mut md5, mut sha256) = (Md5::new(), Sha256::new());
    let mut buffer = vec![0; CHUNK];
    let mut reader = (&mut *file).take(size);
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        md5.update(&buffer[..count]);
        sha256.update(&buffer[..count]);
    }
    let text = |text: String| HeaderValue::try_from(text).map_err(io::Error::other);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(
        HeaderName::from_static("content-md5"),
        text(BASE64.encode(md5.finalize()))?,
    );
    // RFC 9530.
    let digest = format!("sha-256=:{}:", BASE64.encode(sha256.finalize()));
    headers.insert(HeaderName::from_static("content-digest"), text(digest)?);
    Ok(headers)
}

/// A file as a body of exactly `left` bytes. Reading blocks, as nothing else is to be done meanwhile.
struct FileBody {
    file: io::Result<File>,
    left: u64,
}

impl FileBody {
    fn new(file: &File, size: u64) -> Self {
        let rewound = file
            .try_clone()
            .and_then(|mut file| file.seek(SeekFrom::Start(0)).map(|_| file));
        Self {
            file: rewound,
            left: size,
        }
    }

    fn chunk(&mut self) -> io::Result<Bytes> {
        let file = self
            .file
            .as_mut()
            .map_err(|error| io::Error::from(error.kind()))?;
        let want = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        let mut buffer = vec![0; want];
        file.read_exact(&mut buffer)?;
        self.left -= want as u64;
        Ok(buffer.into())
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready((self.left > 0).then(|| self.chunk().map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A size as Cloud Foundry's `bytefmt` writes it: `512B`, `1.5K`, `10M`.
pub(super) fn byte_size(bytes: u64) -> String {
    let units = [("E", 60), ("P", 50), ("T", 40), ("G", 30), ("M", 20), ("K", 10)];
    let Some((unit, shift)) = units.into_iter().find(|(_, shift)| bytes >> shift > 0) else {
        return format!("{bytes}B");
    };
    // In tenths, rounded half up.
    let one = 1_u128 << shift;
    let tenths = (u128::from(bytes) * 10 + one / 2) / one;
    match tenths % 10 {
        0 => format!("{}{unit}", tenths / 10),
        tenth => format!("{}.{tenth}{unit}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_cloud_foundry_writes_them() {
        let written = [0, 512, 1024, 1536, 10_485_760, 1_100_000].map(byte_size);
        assert_eq!(written, ["0B", "512B", "1K", "1.5K", "10M", "1M"]);
    }
}
