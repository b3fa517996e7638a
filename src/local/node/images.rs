//! Image names and pull policies. Pure.

/// `imagePullPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// What is written, or Kubernetes' default: Always for `:latest` or no tag, else IfNotPresent.
    pub fn of(text: Option<&str>, image: &str) -> Self {
        match text {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            Some("IfNotPresent") => Self::IfNotPresent,
            _ if image.contains('@') => Self::IfNotPresent,
            _ => match tag(image) {
                None | Some("latest") => Self::Always,
                Some(_) => Self::IfNotPresent,
            },
        }
    }

    /// Waiting reason and sentence for an image that is not here and cannot be had.
    pub fn absent(self, image: &str) -> (&'static str, String) {
        match self {
            Self::Never => (
                "ErrImageNeverPull",
                format!("Container image {image:?} is not present with pull policy of Never"),
            ),
            _ => (
                "ErrImagePull",
                format!("image {image:?} is not known to this node and cannot be pulled for a volume"),
            ),
        }
    }
}

/// The tag of an image name, which a port in the registry's name is not.
pub fn tag(image: &str) -> Option<&str> {
    let last = image.rsplit('/').next()?;
    last.split_once('@')
        .map_or(last, |(name, _)| name)
        .split_once(':')
        .map(|(_, tag)| tag)
}

/// Whether a text can be an image reference at all (`InvalidImageName` otherwise).
/// The grammar is that of distribution/reference: lower-case path parts, optional host, tag and digest.
pub fn is_valid(image: &str) -> bool {
    let (name, digest) = image
        .split_once('@')
        .map_or((image, None), |(name, digest)| (name, Some(digest)));
    let digest_ok = digest.is_none_or(|digest| {
        digest.split_once(':').is_some_and(|(algorithm, hex)| {
            !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    });
    let tag_ok = tag(name).is_none_or(|tag| {
        let mut bytes = tag.bytes();
        bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
            && tag.len() <= 128
    });
    let bare = match tag(name) {
        Some(tag) => &name[..name.len() - tag.len() - 1],
        None => name,
    };
    let mut parts: Vec<&str> = bare.split('/').collect();
    let has_host = parts.len() > 1
        && parts
            .first()
            .is_some_and(|first| first.contains(['.', ':']) || *first == "localhost");
    let host_ok = !has_host || {
        let host = parts.remove(0);
        !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte))
    };
    let part_ok = |part: &&str| {
        let edge =
            |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
    };
    digest_ok && tag_ok && host_ok && bare.len() <= 255 && !parts.is_empty() && parts.iter().all(part_ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_pull_policy_follows_the_tag() {
        let digest = format!("busybox@sha256:{}", "a".repeat(64));
        for (text, image, expected) in [
            (None, "busybox", PullPolicy::Always),
            (None, "busybox:latest", PullPolicy::Always),
            (None, "localhost:5000/busybox", PullPolicy::Always),
            (None, "localhost:5000/busybox:1", PullPolicy::IfNotPresent),
            (None, digest.as_str(), PullPolicy::IfNotPresent),
            (Some("Never"), "busybox", PullPolicy::Never),
            (Some("IfNotPresent"), "busybox", PullPolicy::IfNotPresent),
        ] {
            assert_eq!(PullPolicy::of(text, image), expected, "{image}");
        }
    }

    #[test]
    fn image_names_are_checked() {
        let digest = format!("busybox@sha256:{}", "a".repeat(64));
        let good = [
            "busybox",
            "a/b/c:1.0",
            "localhost:5000/x",
            "ghcr.io/o/r:v1_2-3",
            "a__b",
            &digest,
        ];
        for image in good {
            assert!(is_valid(image), "{image}");
        }
        for image in [
            "",
            "Busy",
            "a b",
            "/x",
            "x/",
            "x:",
            "x:-",
            "x@sha256:1",
            "a//b",
            "x:y z",
            "-a",
            "é",
        ] {
            assert!(!is_valid(image), "{image}");
        }
    }
}
