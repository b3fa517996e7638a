//! Root file systems as images.

use std::collections::BTreeMap;

use super::Unsupported;

/// Docker Hub, where a root file system names no registry.
const HUB: &str = "docker.io";
/// Longest name of an image in a Task.
const MAX_IMAGE: usize = 1024;
/// A stack, and a stack with a layer over it.
const STACK: &str = "preloaded:";
const STACK_AND_LAYER: &str = "preloaded+layer:";

/// What a root file system is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootFs {
    /// The image.
    pub image: String,
    /// What is unpacked over it.
    pub layer: Option<Layer>,
}

/// An archive that is part of the root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Where it is.
    pub from: String,
    /// Where its files belong.
    pub to: String,
    /// Its SHA256; empty where it is not known.
    pub digest: String,
}

/// True where the image is the operator's.
pub fn is_preloaded(rootfs: &str) -> bool {
    [STACK, STACK_AND_LAYER]
        .iter()
        .any(|scheme| rootfs.starts_with(scheme))
}

/// The root file system `docker://[HOST]/PATH[#TAG]`, or that of the image which the operator has named for a stack:
/// `preloaded:STACK`, or with a layer over it `preloaded+layer:STACK?layer=URL&layer_path=PATH&layer_digest=SHA256`.
pub fn read(rootfs: &str, stacks: &BTreeMap<String, String>) -> Result<RootFs, Unsupported> {
    if let Some(stack) = rootfs.strip_prefix(STACK) {
        let image = of_stack(rootfs, stack, stacks)?;
        return Ok(RootFs { image, layer: None });
    }
    if let Some(rest) = rootfs.strip_prefix(STACK_AND_LAYER) {
        let (stack, query) = rest.split_once('?').unwrap_or((rest, ""));
        let image = of_stack(rootfs, stack, stacks)?;
        let layer = layer(query).ok_or_else(|| Unsupported::Layer(rootfs.to_owned()))?;
        return Ok(RootFs {
            image,
            layer: Some(layer),
        });
    }
    let image = of_docker(rootfs).ok_or_else(|| Unsupported::RootFs(rootfs.to_owned()))?;
    Ok(RootFs { image, layer: None })
}

fn of_stack(rootfs: &str, stack: &str, stacks: &BTreeMap<String, String>) -> Result<String, Unsupported> {
    stacks.get(stack).cloned().ok_or_else(|| Unsupported::Stack {
        rootfs: rootfs.to_owned(),
        stack: stack.to_owned(),
    })
}

/// The layer that a query speaks of (guardian, `oci_image_spec_creator.go`). Its path is where cells put the archive's files,
/// as the base folder of the layer; a client that names none means the root (Cloud Controller's first layers had none).
fn layer(query: &str) -> Option<Layer> {
    // Of several values the first counts, as in Go.
    let value = |wanted: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find_map(|(name, value)| (name == wanted).then(|| value.into_owned()))
    };
    let from = value("layer").filter(|from| from.starts_with("http://") || from.starts_with("https://"))?;
    let path = value("layer_path").unwrap_or_default();
    if path.contains('\0') || path.split('/').any(|part| part == "..") {
        return None;
    }
    let digest = value("layer_digest").unwrap_or_default();
    let digest = digest.strip_prefix("sha256:").unwrap_or(&digest);
    let legal =
        digest.is_empty() || (digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    legal.then(|| Layer {
        from,
        to: format!("/{}", path.trim_start_matches('/')),
        digest: digest.to_owned(),
    })
}

fn of_docker(rootfs: &str) -> Option<String> {
    let rest = rootfs.strip_prefix("docker://")?;
    let (name, tag) = rest.split_once('#').unwrap_or((rest, ""));
    let (host, path) = name.split_once('/')?;
    let host = if host.is_empty() { HUB } else { host };
    let image = match (tag.is_empty(), path.contains('@')) {
        // A path may end in a digest, which says all.
        (true, _) | (_, true) => format!("{host}/{path}"),
        (false, false) => format!("{host}/{path}:{tag}"),
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:@[]".contains(&byte);
    (!path.is_empty() && image.len() <= MAX_IMAGE && image.bytes().all(legal)).then_some(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rootfs: &str) -> Result<RootFs, Unsupported> {
        let stacks = BTreeMap::from([("cflinuxfs4".to_owned(), "cloudfoundry/cflinuxfs4:1".to_owned())]);
        read(rootfs, &stacks)
    }

    #[test]
    fn images_of_docker_and_stacks_of_the_operator_are_found() {
        for (rootfs, wanted) in [
            ("docker:///busybox#1.36", "docker.io/busybox:1.36"),
            ("docker:///library/busybox", "docker.io/library/busybox"),
            (
                "docker://registry.example.com:5000/a/b#x",
                "registry.example.com:5000/a/b:x",
            ),
            ("docker:///a/b@sha256:ab", "docker.io/a/b@sha256:ab"),
            ("preloaded:cflinuxfs4", "cloudfoundry/cflinuxfs4:1"),
        ] {
            let image = wanted.to_owned();
            assert_eq!(of(rootfs), Ok(RootFs { image, layer: None }), "{rootfs}");
        }
        for rootfs in ["preloaded:windows", "preloaded+layer:windows?layer=http://x"] {
            let unknown = of(rootfs).unwrap_err().to_string();
            assert_eq!(
                unknown,
                format!(
                    "rootfs {rootfs:?}: no image is known for stack \"windows\"; the operator names one with \
                     --diego-stack windows=IMAGE"
                )
            );
        }
        for rootfs in [
            "oci:///x",
            "docker:busybox",
            "docker://",
            "docker:///",
            "docker:///a b",
            "docker:///a?b=c",
        ] {
            assert_eq!(of(rootfs), Err(Unsupported::RootFs(rootfs.into())), "{rootfs}");
        }
        assert!(of(&format!("docker:///{}", "a".repeat(1024))).is_err());
    }

    #[test]
    fn a_layer_is_unpacked_over_its_stack_where_its_path_says() {
        let digest = "ab".repeat(32);
        for (query, from, to, known) in [
            (
                format!(
                    "layer=https%3A%2F%2Fblobs%2Fx.tgz%3Fa%3Db&layer_path=%2Fhome%2Fvcap&layer_digest={digest}"
                ),
                "https://blobs/x.tgz?a=b",
                "/home/vcap",
                digest.as_str(),
            ),
            (
                "layer=http://blobs/x.tgz&layer_path=/&layer_digest=".to_owned(),
                "http://blobs/x.tgz",
                "/",
                "",
            ),
            (
                "layer=http://blobs/x.tgz".to_owned(),
                "http://blobs/x.tgz",
                "/",
                "",
            ),
            (
                format!("layer=http://a&layer=http://b&layer_path=app&layer_digest=sha256:{digest}"),
                "http://a",
                "/app",
                digest.as_str(),
            ),
        ] {
            let layer = Layer {
                from: from.into(),
                to: to.into(),
                digest: known.into(),
            };
            let wanted = RootFs {
                image: "cloudfoundry/cflinuxfs4:1".into(),
                layer: Some(layer),
            };
            assert_eq!(
                of(&format!("preloaded+layer:cflinuxfs4?{query}")),
                Ok(wanted),
                "{query}"
            );
        }
    }

    #[test]
    fn a_layer_that_cannot_be_had_is_refused() {
        for query in [
            "",
            "?",
            "?layer=",
            "?layer=file:///etc/passwd",
            "?layer_path=/",
            "?layer=http://a&layer_path=/a/../../b",
            "?layer=http://a&layer_digest=short",
        ] {
            let rootfs = format!("preloaded+layer:cflinuxfs4{query}");
            assert_eq!(of(&rootfs), Err(Unsupported::Layer(rootfs.clone())), "{query}");
        }
    }
}
