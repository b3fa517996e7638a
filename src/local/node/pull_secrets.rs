//! Names and passwords of registries, out of `imagePullSecrets`. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

/// Key of Secrets of type `kubernetes.io/dockerconfigjson`.
const KEY: &str = ".dockerconfigjson";
/// Docker Hub, as images name it and as such Secrets do.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// What a registry is told.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// The registry, as the Secret names it.
    pub server: String,
}

// A container's configuration is logged.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.username, self.server)
    }
}

/// The credentials for an image: of those for its registry the ones with the longest path that it lies under, and of
/// several the first (Kubernetes, `pkg/credentialprovider/keyring.go`). What is no such Secret is passed over.
pub fn credentials<'a>(image: &str, secrets: impl Iterator<Item = &'a Secret>) -> Option<Credentials> {
    let (registry, path) = split(image);
    let mut best: Option<(usize, Credentials)> = None;
    for secret in secrets {
        let content = secret.data.as_ref().and_then(|data| data.get(KEY));
        let content: Value = content
            .and_then(|content| serde_json::from_slice(&content.0).ok())
            .unwrap_or_default();
        for (server, entry) in content["auths"].as_object().into_iter().flatten() {
            let Some(length) = covers(server, registry, path) else {
                continue;
            };
            let longer = best.as_ref().is_none_or(|(known, _)| length > *known);
            if longer && let Some(found) = read(server, entry) {
                best = Some((length, found));
            }
        }
    }
    best.map(|(_, found)| found)
}

/// Registry and path of an image; the registry of one that names none is Docker Hub.
fn split(image: &str) -> (&str, &str) {
    match image.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (HUB[0], image),
    }
}

/// How much of the image's path an entry speaks of; `None` where it is about something else.
fn covers(server: &str, registry: &str, path: &str) -> Option<usize> {
    let server = server
        .strip_prefix("https://")
        .or_else(|| server.strip_prefix("http://"))
        .unwrap_or(server);
    let (host, under) = server.split_once('/').unwrap_or((server, ""));
    let under = under
        .strip_prefix("v1/")
        .or_else(|| under.strip_prefix("v2/"))
        .unwrap_or(under)
        .trim_end_matches('/');
    let same = host == registry || (HUB.contains(&host) && HUB.contains(&registry));
    let within = path
        .strip_prefix(under)
        .is_some_and(|rest| under.is_empty() || rest.is_empty() || rest.starts_with(['/', ':', '@']));
    (same && within).then_some(under.len())
}

fn read(server: &str, entry: &Value) -> Option<Credentials> {
    let text = |name: &str| entry[name].as_str().map(str::to_owned);
    let packed = || {
        let bytes = STANDARD.decode(entry["auth"].as_str()?).ok()?;
        let both = String::from_utf8(bytes).ok()?;
        both.split_once(':')
            .map(|(username, password)| (username.to_owned(), password.to_owned()))
    };
    let (username, password) = text("username").zip(text("password")).or_else(packed)?;
    Some(Credentials {
        username,
        password,
        server: server.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn secret(auths: &Value) -> Secret {
        let content = json!({"auths": auths}).to_string();
        Secret {
            data: Some([(KEY.to_owned(), ByteString(content.into_bytes()))].into()),
            ..Secret::default()
        }
    }

    fn password(image: &str, secrets: &[Secret]) -> Option<String> {
        credentials(image, secrets.iter()).map(|found| format!("{}:{}", found.username, found.password))
    }

    #[test]
    fn an_image_is_pulled_with_the_words_for_its_registry_and_path() {
        let both = |password: &str| json!({"username": "ann", "password": password});
        let secrets = [
            secret(&json!({
                "registry.example.com:5000": both("all"),
                "https://registry.example.com:5000/team/": both("team"),
                "https://index.docker.io/v1/": {"auth": STANDARD.encode("bob:hub:1")},
            })),
            secret(&json!({"registry.example.com:5000": both("later"), "quay.io": {"auth": "no"}})),
        ];
        for (image, wanted) in [
            ("registry.example.com:5000/a:1", Some("ann:all")),
            ("registry.example.com:5000/team/a:1", Some("ann:team")),
            ("registry.example.com:5000/team:1", Some("ann:team")),
            ("registry.example.com:5000/teams/a", Some("ann:all")),
            ("registry.example.com/a", None),
            ("quay.io/a", None),
            ("busybox", Some("bob:hub:1")),
            ("library/busybox:1", Some("bob:hub:1")),
            ("docker.io/a/b", Some("bob:hub:1")),
        ] {
            assert_eq!(password(image, &secrets).as_deref(), wanted, "{image}");
        }
    }

    #[test]
    fn what_is_no_such_secret_is_passed_over() {
        let broken = Secret {
            data: Some([(KEY.to_owned(), ByteString(b"{".to_vec()))].into()),
            ..Secret::default()
        };
        assert_eq!(
            password("a", &[Secret::default(), broken, secret(&json!([]))]),
            None
        );
    }

    #[test]
    fn a_password_is_not_logged() {
        let shown = credentials(
            "a",
            [secret(
                &json!({"docker.io": {"username": "u", "password": "hush"}}),
            )]
            .iter(),
        );
        assert_eq!(format!("{:?}", shown.unwrap()), "u at docker.io");
    }
}
