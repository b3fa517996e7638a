//! Root file systems as images.

use std::collections::BTreeMap;

use super::Unsupported;

/// Docker Hub, where a root file system names no registry.
const HUB: &str = "docker.io";
/// Longest name of an image in a Task.
const MAX_IMAGE: usize = 1024;

/// True where the image is the operator's.
pub fn is_preloaded(rootfs: &str) -> bool {
    rootfs.starts_with("preloaded:")
}

/// The image that a root file system is: `docker://[HOST]/PATH[#TAG]`, or the one that the operator has named for a stack
/// `preloaded:STACK`.
pub fn image(rootfs: &str, stacks: &BTreeMap<String, String>) -> Result<String, Unsupported> {
    let other = || Unsupported::RootFs(rootfs.to_owned());
    if let Some(stack) = rootfs.strip_prefix("preloaded:") {
        return stacks.get(stack).cloned().ok_or_else(|| Unsupported::Stack {
            rootfs: rootfs.to_owned(),
            stack: stack.to_owned(),
        });
    }
    let rest = rootfs.strip_prefix("docker://").ok_or_else(other)?;
    let (name, tag) = rest.split_once('#').unwrap_or((rest, ""));
    let (host, path) = name.split_once('/').ok_or_else(other)?;
    let host = if host.is_empty() { HUB } else { host };
    let image = match (tag.is_empty(), path.contains('@')) {
        // A path may end in a digest, which says all.
        (true, _) | (_, true) => format!("{host}/{path}"),
        (false, false) => format!("{host}/{path}:{tag}"),
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:@[]".contains(&byte);
    match !path.is_empty() && image.len() <= MAX_IMAGE && image.bytes().all(legal) {
        true => Ok(image),
        false => Err(other()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_docker_and_stacks_of_the_operator_are_found() {
        let stacks = BTreeMap::from([("cflinuxfs4".to_owned(), "cloudfoundry/cflinuxfs4:1".to_owned())]);
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
            assert_eq!(image(rootfs, &stacks).as_deref(), Ok(wanted), "{rootfs}");
        }
        let unknown = image("preloaded:windows", &stacks).unwrap_err().to_string();
        assert_eq!(
            unknown,
            "rootfs \"preloaded:windows\": no image is known for stack \"windows\"; the operator names one with \
             --diego-stack windows=IMAGE"
        );
        for rootfs in [
            "preloaded+layer:cflinuxfs4?layer=x",
            "oci:///x",
            "docker:busybox",
            "docker://",
            "docker:///",
            "docker:///a b",
            "docker:///a?b=c",
        ] {
            let none = Err(Unsupported::RootFs(rootfs.into()));
            assert_eq!(image(rootfs, &stacks), none, "{rootfs}");
        }
        assert!(image(&format!("docker:///{}", "a".repeat(1024)), &stacks).is_err());
    }
}
