//! What is wrong with actions. They come decoded, and so at most some fifty deep.

use super::{
    super::messages::{Action, DownloadAction, TimeoutAction},
    Problems,
};

/// What the real server knows checksums by.
const ALGORITHMS: [&str; 3] = ["md5", "sha1", "sha256"];

/// One action, or that there is none in it. In a list of actions the real server breaks off at an empty one; here it is
/// told as at the top.
pub fn action(problems: &mut Problems, action: &Action) {
    // The first of these that is there is the action.
    if let Some(download) = &action.download {
        self::download(problems, download);
    } else if let Some(upload) = &action.upload {
        problems.field_if(upload.to.is_empty(), "to");
        problems.field_if(upload.from.is_empty(), "from");
        problems.field_if(upload.user.is_empty(), "user");
    } else if let Some(run) = &action.run {
        problems.field_if(run.path.is_empty(), "path");
        problems.field_if(run.user.is_empty(), "user");
    } else if let Some(timeout) = &action.timeout {
        self::timeout(problems, timeout);
    } else if let Some(progress) = &action.emit_progress {
        child(problems, progress.action.as_deref());
    } else if let Some(attempt) = &action.try_ {
        child(problems, attempt.action.as_deref());
    } else if let Some(parallel) = &action.parallel {
        children(problems, &parallel.actions);
    } else if let Some(serial) = &action.serial {
        children(problems, &serial.actions);
    } else if let Some(codependent) = &action.codependent {
        children(problems, &codependent.actions);
    } else {
        problems.field("inner-action");
    }
}

fn download(problems: &mut Problems, download: &DownloadAction) {
    problems.field_if(download.from.is_empty(), "from");
    problems.field_if(download.to.is_empty(), "to");
    problems.field_if(download.user.is_empty(), "user");
    checksum(problems, &download.checksum_algorithm, &download.checksum_value);
}

/// Both or none, and one that is known.
pub fn checksum(problems: &mut Problems, algorithm: &str, value: &str) {
    let (named, given) = (!algorithm.is_empty(), !value.is_empty());
    problems.field_if(given && !named, "checksum algorithm");
    problems.field_if(named && !given, "checksum value");
    let known = ALGORITHMS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(algorithm));
    problems.field_if(named && given && !known, "invalid algorithm");
}

fn timeout(problems: &mut Problems, timeout: &TimeoutAction) {
    child(problems, timeout.action.as_deref());
    problems.field_if(timeout.timeout_ms <= 0, "timeout_ms");
}

fn child(problems: &mut Problems, child: Option<&Action>) {
    match child {
        Some(child) => action(problems, child),
        None => problems.field("action"),
    }
}

fn children(problems: &mut Problems, children: &[Action]) {
    problems.field_if(children.is_empty(), "actions");
    for child in children {
        action(problems, child);
    }
}
