//! The kubeconfig that `errand dev` writes: one cluster, one user, one context.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

/// Name of cluster, user and context.
const NAME: &str = "errand-dev";

/// Why the kubeconfig could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The document could not be made.
    #[error("could not make the kubeconfig")]
    Yaml(#[from] serde_yaml::Error),
    /// The file could not be written.
    #[error("could not write the kubeconfig {path}; name another place with --kubeconfig", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The text of a kubeconfig: authority (PEM) and token inside.
pub fn text(server: &str, authority_pem: &str, user: &str, token: &str) -> Result<String, Error> {
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(authority_pem),
        }}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": user, "namespace": "default"}}],
        "current-context": NAME,
    });
    Ok(serde_yaml::to_string(&document)?)
}

/// Writes `text` for the user alone (0600), in one step: whoever reads sees the old file or the new one.
pub fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    // A left-over of a process with the same id would keep its own mode.
    let _ = fs::remove_file(&fresh);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&fresh, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&fresh);
        failed(source)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_kubeconfig_is_for_its_owner_alone_and_kube_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/config");
        let text = text(
            "https://127.0.0.1:6443",
            "-----BEGIN CERTIFICATE-----\n",
            "admin",
            "secret",
        )
        .unwrap();
        write(&path, &text).unwrap();
        write(&path, &text).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let read = kube::config::Kubeconfig::read_from(&path).unwrap();
        assert_eq!(read.current_context.as_deref(), Some("errand-dev"));
        let cluster = read.clusters[0].cluster.clone().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:6443"));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = write(Path::new("/proc/errand/config"), "").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("/proc/errand/config; name another place"),
            "{error}"
        );
    }
}
