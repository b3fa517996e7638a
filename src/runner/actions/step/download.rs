//! `download`: an archive is fetched, checked and unpacked.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, Empty};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use tokio::time::timeout;

use super::http::{HttpError, send};
use super::unpack::{LIMITS, unpack};
use super::users::{User, UserError};
use super::{Report, complain, tell};
use crate::crd::{ChecksumAlgorithm, DownloadAction};
use crate::handover::hex;

/// Attempts, as Diego's downloader makes them.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// How long nothing may come.
const IDLE: Duration = Duration::from_secs(60);
/// Bytes of an archive.
const MAX_ARCHIVE: u64 = 4 * 1024 * 1024 * 1024;

/// Why an archive was not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the server answered with status {0}")]
    Status(u16),
    #[error("the answer broke off: {0}")]
    Body(#[source] hyper::Error),
    #[error("nothing came for {IDLE:?}")]
    Idle,
    #[error("it has more than {MAX_ARCHIVE} bytes")]
    TooLarge,
    #[error("it cannot be kept: {0}")]
    Keep(#[from] io::Error),
    #[error("its checksum is {found}, not {wanted}")]
    Checksum { found: String, wanted: String },
}

impl FetchError {
    /// Another attempt cannot help.
    fn is_final(&self) -> bool {
        match self {
            Self::Http(HttpError::Url(_)) | Self::TooLarge | Self::Keep(_) | Self::Checksum { .. } => true,
            Self::Status(status) => (400..500).contains(status),
            _ => false,
        }
    }
}

/// Why a download cannot be prepared.
#[derive(Debug, thiserror::Error)]
enum PrepareError {
    #[error(transparent)]
    User(#[from] UserError),
    #[error("the folder {path:?} cannot be made: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("there is no folder for temporary files that could be written to: {0}")]
    Temporary(#[source] io::Error),
}

/// Carries the action out.
pub(super) fn download(action: &DownloadAction) -> Report {
    let artifact = action.artifact.as_deref().filter(|artifact| !artifact.is_empty());
    if let Some(artifact) = artifact {
        tell(&format!("Downloading {artifact}..."));
    }
    let copying = |why: String| {
        let text = match artifact {
            Some(artifact) => format!("Copying {artifact} into the container failed: {why}"),
            None => format!("Copying into the container failed: {why}"),
        };
        complain(&text);
        Report::emitted(text)
    };
    let to = Path::new(&action.to);
    let mut file = match prepare(action, to) {
        Ok(file) => file,
        Err(error) => return copying(error.to_string()),
    };
    let size = match fetch(action, &mut file) {
        Ok(size) => size,
        Err(error) => {
            let text = match artifact {
                Some(artifact) => format!("Downloading {artifact} failed"),
                None => "Downloading failed".to_owned(),
            };
            complain(&format!("{text}: {error}"));
            return Report::emitted(text);
        }
    };
    if let Err(error) = unpack(file, to, LIMITS) {
        return copying(error.to_string());
    }
    if let Some(artifact) = artifact {
        tell(&format!(
            "Downloaded {artifact} ({})",
            super::upload::byte_size(size)
        ));
    }
    Report::Done
}

/// Makes the folder and a temporary file, as whoever the container runs as, and then becomes the action's user.
fn prepare(action: &DownloadAction, to: &Path) -> Result<File, PrepareError> {
    let user = action
        .user
        .as_deref()
        .map(|text| User::find(text).map(|user| (user, text)));
    let user = user.transpose()?;
    User::make_folder(user.as_ref().map(|(user, _)| user), to).map_err(|source| PrepareError::Folder {
        path: to.to_owned(),
        source,
    })?;
    let file = temporary(to).map_err(PrepareError::Temporary)?;
    if let Some((user, text)) = user {
        user.become_it(text)?;
    }
    Ok(file)
}

/// A file without a name, in the first folder that takes one: nothing is left behind, however we end.
fn temporary(to: &Path) -> io::Result<File> {
    let own = std::env::var_os("TMPDIR").map(PathBuf::from);
    let places = own
        .into_iter()
        .chain(["/tmp".into(), "/var/tmp".into(), to.to_owned()]);
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for place in places {
        let path = place.join(format!(".errand-{}", uuid::Uuid::new_v4().simple()));
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        match opened.and_then(|file| std::fs::remove_file(&path).map(|()| file)) {
            Ok(file) => return Ok(file),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn fetch(action: &DownloadAction, file: &mut File) -> Result<u64, FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut attempt = 1;
        loop {
            match once(action, file).await {
                Err(error) if attempt < ATTEMPTS && !error.is_final() => {
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    })
}

async fn once(action: &DownloadAction, file: &mut File) -> Result<u64, FetchError> {
    file.seek(SeekFrom::Start(0))?;
    file.set_len(0)?;
    let nothing = || Empty::<Bytes>::new().map_err(|never| match never {});
    let response = send(Method::GET, &action.from, &HeaderMap::new(), nothing).await?;
    if !response.status().is_success() {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let mut digest = action
        .checksum
        .as_ref()
        .map(|checksum| Checker::new(checksum.algorithm));
    let mut size = 0_u64;
    let mut body = response.into_body();
    while let Some(frame) = timeout(IDLE, body.frame()).await.map_err(|_| FetchError::Idle)? {
        let Ok(data) = frame.map_err(FetchError::Body)?.into_data() else {
            continue;
        };
        size += data.len() as u64;
        if size > MAX_ARCHIVE {
            return Err(FetchError::TooLarge);
        }
        if let Some(digest) = &mut digest {
            digest.update(&data);
        }
        // Blocks, as nothing else is to be done meanwhile.
        file.write_all(&data)?;
    }
    match (digest.map(Checker::finish), &action.checksum) {
        (Some(found), Some(checksum)) if !found.eq_ignore_ascii_case(&checksum.value) => {
            Err(FetchError::Checksum {
                found,
                wanted: checksum.value.clone(),
            })
        }
        _ => Ok(size),
    }
}

enum Checker {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Checker {
    fn new(algorithm: ChecksumAlgorithm) -> Self {
        match algorithm {
            ChecksumAlgorithm::Md5 => Self::Md5(Md5::new()),
            ChecksumAlgorithm::Sha1 => Self::Sha1(Sha1::new()),
            ChecksumAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
            ChecksumAlgorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Md5(hash) => hash.update(data),
            Self::Sha1(hash) => hash.update(data),
            Self::Sha256(hash) => hash.update(data),
            Self::Sha512(hash) => hash.update(data),
        }
    }

    fn finish(self) -> String {
        match self {
            Self::Md5(hash) => hex(&hash.finalize()),
            Self::Sha1(hash) => hex(&hash.finalize()),
            Self::Sha256(hash) => hex(&hash.finalize()),
            Self::Sha512(hash) => hex(&hash.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_their_algorithms() {
        let digest = |algorithm| {
            let mut checker = Checker::new(algorithm);
            checker.update(b"abc");
            checker.finish()
        };
        // RFC 1321, RFC 3174 and FIPS 180-4.
        assert_eq!(digest(ChecksumAlgorithm::Md5), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(
            digest(ChecksumAlgorithm::Sha1),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(ChecksumAlgorithm::Sha256), sha256);
        let sha512 = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                      2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        assert_eq!(digest(ChecksumAlgorithm::Sha512), sha512);
    }
}
