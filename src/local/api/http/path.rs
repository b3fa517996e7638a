//! What a URL addresses. Pure; follows `k8s.io/apiserver/pkg/endpoints/request.RequestInfoFactory`.
use super::status::{ApiError, Result};

/// A path below `/api/v1` or `/apis/GROUP/VERSION`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// API group, empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace, if the path has one.
    pub namespace: Option<String>,
    /// Plural name of the resource.
    pub plural: String,
    /// Name of one object.
    pub name: Option<String>,
    /// `status`, `log`, ...
    pub subresource: Option<String>,
    /// What follows the subresource, decoded.
    pub tail: Vec<String>,
}

/// Reads a path; `None` when it addresses no resource (discovery, health and so on).
///
/// # Errors
/// A segment that is no UTF-8.
pub fn parse(path: &str) -> Result<Option<Target>> {
    let mut segments = Vec::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        segments.push(decode(segment).ok_or_else(|| ApiError::bad_request("the path is not valid UTF-8"))?);
    }
    let mut segments = segments.into_iter();
    let (group, version) = match segments.next().as_deref() {
        Some("api") => (Some(String::new()), segments.next()),
        Some("apis") => (segments.next(), segments.next()),
        _ => return Ok(None),
    };
    let rest: Vec<String> = segments.collect();
    let (Some(group), Some(version), false) = (group, version, rest.is_empty()) else {
        return Ok(None);
    };
    let target = Target {
        group,
        version,
        ..Target::default()
    };
    Ok(Some(resource(target, rest)))
}

fn resource(mut target: Target, rest: Vec<String>) -> Target {
    let is_namespace_itself = match rest.as_slice() {
        [first, ..] if first != "namespaces" => true,
        [_] | [_, _] => true,
        [_, _, third] => target.group.is_empty() && (third == "status" || third == "finalize"),
        _ => false,
    };
    let mut rest = rest.into_iter();
    if !is_namespace_itself {
        rest.next();
        target.namespace = rest.next();
    }
    target.plural = rest.next().unwrap_or_default();
    target.name = rest.next();
    target.subresource = rest.next();
    target.tail = rest.collect();
    target
}

fn decode(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Query parameters; the last of a name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c`.
    pub fn parse(query: Option<&str>) -> Result<Self> {
        let mut pairs = Vec::new();
        for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| decode(&text.replace('+', " "));
            let (Some(name), Some(value)) = (decode(name), decode(value)) else {
                return Err(ApiError::bad_request(format!(
                    "invalid URL escape in query parameter {name:?}"
                )));
            };
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// A parameter that is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Whether a parameter is given as true (bare counts, as in Go's conversion).
    pub fn flag(&self, name: &str) -> bool {
        self.tristate(name) == Some(true)
    }

    /// A truth value, if given.
    pub fn tristate(&self, name: &str) -> Option<bool> {
        let found = self.0.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| !matches!(value.to_lowercase().as_str(), "false" | "0"))
    }

    /// A number, if given.
    ///
    /// # Errors
    /// Something that is no number.
    pub fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                ApiError::bad_request(format!(
                    "strconv.ParseInt: parsing {text:?}: invalid syntax ({name})"
                ))
            })
        };
        self.get(name).map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(
        path: &str,
    ) -> (
        String,
        String,
        Option<String>,
        String,
        Option<String>,
        Option<String>,
    ) {
        let t = parse(path).unwrap().unwrap();
        (t.group, t.version, t.namespace, t.plural, t.name, t.subresource)
    }

    fn s(text: &str) -> Option<String> {
        Some(text.into())
    }

    #[test]
    fn paths_address_what_kubernetes_says() {
        let core = |namespace, plural: &str, name, sub| {
            (String::new(), "v1".into(), namespace, plural.into(), name, sub)
        };
        assert_eq!(target("/api/v1/namespaces"), core(None, "namespaces", None, None));
        assert_eq!(
            target("/api/v1/namespaces/a"),
            core(None, "namespaces", s("a"), None)
        );
        assert_eq!(
            target("/api/v1/namespaces/a/status"),
            core(None, "namespaces", s("a"), s("status"))
        );
        assert_eq!(
            target("/api/v1/namespaces/a/pods"),
            core(s("a"), "pods", None, None)
        );
        assert_eq!(
            target("/api/v1/namespaces/a/pods/b/log"),
            core(s("a"), "pods", s("b"), s("log"))
        );
        assert_eq!(target("/api/v1/pods/"), core(None, "pods", None, None));
        assert_eq!(
            target("/api/v1/namespaces/a%2fb"),
            core(None, "namespaces", s("a/b"), None)
        );
        assert_eq!(
            target("/apis/errand.dev/v1alpha1/namespaces/a/tasks/t"),
            (
                "errand.dev".into(),
                "v1alpha1".into(),
                s("a"),
                "tasks".into(),
                s("t"),
                None
            )
        );
        for none in [
            "/",
            "/api",
            "/api/v1",
            "/apis/g",
            "/apis/g/v1",
            "/healthz",
            "/version/x",
        ] {
            assert_eq!(parse(none).unwrap(), None, "{none}");
        }
        assert!(parse("/api/v1/%ff").is_err());
    }

    #[test]
    fn queries_decode_and_the_last_counts() {
        let query = Query::parse(Some("labelSelector=a%3Db%2Cc+in+%28d%29&watch&limit=5&limit=7")).unwrap();
        assert_eq!(query.get("labelSelector"), Some("a=b,c in (d)"));
        assert!(query.flag("watch"));
        assert_eq!(query.number::<u64>("limit").unwrap(), Some(7));
        assert!(
            Query::parse(Some("limit=x"))
                .unwrap()
                .number::<u64>("limit")
                .is_err()
        );
        assert!(Query::parse(Some("a=%zz")).is_err());
    }

    proptest! {
        #[test]
        fn hostile_paths_never_panic(path in "(/|api|apis|v1|namespaces|%[0-9a-g]{0,2}|\\PC){0,12}") {
            let _ = parse(&path);
            let _ = Query::parse(Some(&path));
        }
    }
}
