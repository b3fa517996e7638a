//! Endpoints of a Function. They live on it as annotations, one each: who may change the Function may change them, and
//! they go with it. Pure.

use std::collections::BTreeMap;

use http::{HeaderMap, Uri, header};
use k8s_openapi::jiff::{Timestamp, tz::TimeZone};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::crd::Function;

/// What the annotation of an endpoint begins with; its id follows.
const PREFIX: &str = "greencloud.errand.dev/endpoint-";
/// Most entries in a list of settings.
const MAX_ENTRIES: usize = 32;
/// Longest tag or origin.
const MAX_ENTRY: usize = 256;

/// The annotation of an endpoint.
pub fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Text for people.
    #[serde(default)]
    pub description: String,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Calls that it takes in a day (UTC); negative = any number.
    pub daily_limit: i64,
    /// Sites whose scripts may call it; none = any caller.
    #[serde(default)]
    pub origin: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The user who made it, to whom its tasks belong.
    pub created_by: String,
    /// Calls that count against the limit.
    #[serde(default)]
    pub used: Used,
}

/// Calls of one day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Used {
    /// The day, as 2026-01-31.
    pub day: String,
    /// How many.
    pub count: i64,
}

/// What is to be set; what is left out stays.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GreenCloudEndpointSettings)]
pub struct Change {
    /// Printable ASCII, 256 characters at most.
    description: Option<String>,
    /// Words to find it by.
    #[serde(alias = "tags")]
    tag: Option<Vec<String>>,
    /// Calls that it takes in a day (UTC); -1 for any number.
    #[schema(minimum = -1)]
    daily_limit: Option<i64>,
    /// Sites whose scripts may call it, such as <https://example.org>; none for any caller.
    origin: Option<Vec<String>>,
    /// Must be empty: the addresses of callers are not known behind proxies.
    ip: Option<Vec<String>>,
    /// Must be empty: times of day are not looked at.
    #[schema(value_type = Option<Object>)]
    time_limit: Option<Value>,
}

impl Endpoint {
    /// A new one, open to any number of calls.
    pub fn new(created_by: &str, now: Timestamp) -> Self {
        Self {
            description: String::new(),
            tags: Vec::new(),
            daily_limit: -1,
            origin: Vec::new(),
            // Whole seconds are enough, and shorter.
            created_at: Timestamp::from_second(now.as_second()).unwrap_or(now),
            created_by: created_by.to_owned(),
            used: Used::default(),
        }
    }

    /// Takes a change over, or says in a sentence what is wrong with it.
    pub fn change(&mut self, change: Change) -> Result<(), String> {
        if change.ip.is_some_and(|ip| !ip.is_empty()) {
            return Err("ip must be empty: behind proxies the address of a caller is not known, so the list would protect nothing".into());
        }
        if change.time_limit.is_some_and(|limit| !is_blank(&limit)) {
            return Err("timeLimit must be empty: this server does not look at the time of day".into());
        }
        if let Some(description) = change.description {
            check_text("description", &description, 256)?;
            self.description = description;
        }
        if let Some(tags) = change.tag {
            check_tags(&tags)?;
            self.tags = tags;
        }
        if let Some(limit) = change.daily_limit {
            if limit < -1 {
                return Err("dailyLimit must be -1 (any number of calls) or more".into());
            }
            self.daily_limit = limit;
        }
        if let Some(origin) = change.origin {
            check_count("origin", origin.len())?;
            self.origin = origin
                .iter()
                .map(|site| origin_of(site))
                .collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// May a request with these headers use it?
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let origin = headers
            .get(header::ORIGIN)
            .and_then(|origin| origin.to_str().ok());
        let listed = |origin: &str| self.origin.iter().any(|site| site.eq_ignore_ascii_case(origin));
        self.origin.is_empty() || origin.is_some_and(listed)
    }

    /// True where calls have to be counted.
    pub fn is_limited(&self) -> bool {
        self.daily_limit >= 0
    }

    /// Counts one more call of the day; false where the limit is reached.
    pub fn spend(&mut self, now: Timestamp) -> bool {
        let day = day(now);
        if self.used.day != day {
            self.used = Used { day, count: 0 };
        }
        if self.is_limited() && self.used.count >= self.daily_limit {
            return false;
        }
        self.used.count += 1;
        true
    }
}

/// The day in UTC.
fn day(now: Timestamp) -> String {
    now.to_zoned(TimeZone::UTC).date().to_string()
}

/// Tags that can be kept, or a sentence that says why not.
pub fn check_tags(tags: &[String]) -> Result<(), String> {
    check_count("tag", tags.len())?;
    tags.iter().try_for_each(|tag| {
        if tag.is_empty() {
            return Err("a tag must not be empty".into());
        }
        check_text("a tag", tag, MAX_ENTRY)
    })
}

/// Text of printable ASCII, or a sentence that says why it is not.
pub fn check_text(what: &str, text: &str, most: usize) -> Result<(), String> {
    if text.len() > most {
        return Err(format!("{what} may have at most {most} characters"));
    }
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        Ok(())
    } else {
        Err(format!("{what} may hold printable ASCII characters only"))
    }
}

fn check_count(what: &str, count: usize) -> Result<(), String> {
    if count > MAX_ENTRIES {
        return Err(format!("{what} may have at most {MAX_ENTRIES} entries"));
    }
    Ok(())
}

/// The origin that an https URL names (RFC 6454, section 6.2).
fn origin_of(site: &str) -> Result<String, String> {
    let wrong = || format!("origin: {site:?} is not the https URL of a site, such as https://example.org");
    let uri: Uri = site.parse().map_err(|_| wrong())?;
    let authority = uri
        .authority()
        .filter(|_| uri.scheme_str() == Some("https") && site.len() <= MAX_ENTRY);
    let authority = authority.ok_or_else(wrong)?;
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !site.contains(['#', '@']);
    if !bare || authority.host().is_empty() {
        return Err(wrong());
    }
    let host = authority.host().to_ascii_lowercase();
    Ok(match authority.port_u16() {
        // Browsers leave the port of the scheme out.
        None | Some(443) => format!("https://{host}"),
        Some(port) => format!("https://{host}:{port}"),
    })
}

/// True for what limits nothing: null, or an object whose fields are all empty.
fn is_blank(limit: &Value) -> bool {
    match limit {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.values().all(is_blank),
        _ => false,
    }
}

/// The endpoint with this id; `None` where it is not on this Function, or cannot be read.
pub fn read(function: &Function, id: &str) -> Option<Endpoint> {
    parse(function.annotations().get(&key(id))?)
}

/// All endpoints of a Function, by their ids.
pub fn all(function: &Function) -> BTreeMap<String, Endpoint> {
    let annotations = function.annotations().iter();
    let found =
        annotations.filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?.to_owned(), parse(text)?)));
    found.collect()
}

fn parse(text: &str) -> Option<Endpoint> {
    serde_json::from_str(text)
        .map_err(|error| tracing::warn!(%error, "an endpoint cannot be read and is left out"))
        .ok()
}

/// Puts an endpoint on a Function.
pub fn write(function: &mut Function, id: &str, endpoint: &Endpoint) -> Result<(), serde_json::Error> {
    let text = serde_json::to_string(endpoint)?;
    function.annotations_mut().insert(key(id), text);
    Ok(())
}

/// Takes an endpoint off a Function; false where there was none.
pub fn remove(function: &mut Function, id: &str) -> bool {
    function.annotations_mut().remove(&key(id)).is_some()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn endpoint(change: Value) -> Result<Endpoint, String> {
        let mut endpoint = Endpoint::new("ann", at("2026-01-31T12:00:00.5Z"));
        endpoint.change(serde_json::from_value(change).unwrap())?;
        Ok(endpoint)
    }

    #[test]
    fn settings_that_are_left_out_stay_as_they_are() {
        let all = endpoint(json!({"description": "d", "tag": ["t"], "dailyLimit": 3, "ip": [], "timeLimit": {"from": "", "to": ""},
            "origin": ["https://Example.org/", "https://example.org:8443", "https://example.org:443"]}))
        .unwrap();
        let expected = Endpoint {
            description: "d".into(),
            tags: vec!["t".into()],
            daily_limit: 3,
            origin: [
                "https://example.org",
                "https://example.org:8443",
                "https://example.org",
            ]
            .map(String::from)
            .into(),
            created_at: at("2026-01-31T12:00:00Z"),
            created_by: "ann".into(),
            used: Used::default(),
        };
        assert_eq!(all, expected);
        let mut same = all.clone();
        assert_eq!(same.change(Change::default()), Ok(()));
        assert_eq!(same, all);
        assert_eq!(
            endpoint(json!({})).unwrap(),
            Endpoint::new("ann", at("2026-01-31T12:00:00Z"))
        );
    }

    #[test]
    fn settings_that_cannot_be_kept_are_refused_with_a_sentence() {
        for (change, part) in [
            (json!({"description": "x".repeat(257)}), "at most 256"),
            (json!({"description": "ü"}), "printable ASCII"),
            (json!({"description": "a\nb"}), "printable ASCII"),
            (json!({"tag": [""]}), "must not be empty"),
            (json!({"tag": vec!["t"; 33]}), "at most 32 entries"),
            (json!({"dailyLimit": -2}), "-1"),
            (json!({"origin": ["http://example.org"]}), "https URL"),
            (json!({"origin": ["example.org"]}), "https URL"),
            (json!({"origin": ["https://example.org/a"]}), "https URL"),
            (json!({"origin": ["https://example.org?q"]}), "https URL"),
            (json!({"origin": ["https://ann@example.org"]}), "https URL"),
            (json!({"origin": ["https://"]}), "https URL"),
            (json!({"origin": ["*"]}), "https URL"),
            (json!({"ip": ["10.0.0.1"]}), "ip must be empty"),
            (
                json!({"timeLimit": {"from": "08:00", "to": "", "timezone": ""}}),
                "timeLimit must be empty",
            ),
            (json!({"timeLimit": 1}), "timeLimit must be empty"),
        ] {
            let error = endpoint(change.clone()).unwrap_err();
            assert!(error.contains(part), "{change}: {error}");
        }
    }

    #[test]
    fn only_scripts_of_listed_sites_may_call() {
        let open = endpoint(json!({})).unwrap();
        let closed = endpoint(json!({"origin": ["https://example.org"]})).unwrap();
        for (origin, admitted) in [
            (None, false),
            (Some("https://example.org"), true),
            (Some("https://EXAMPLE.org"), true),
            (Some("https://example.org.evil.example"), false),
            (Some("http://example.org"), false),
            (Some("null"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            assert_eq!(
                (closed.admits(&headers), open.admits(&headers)),
                (admitted, true),
                "{origin:?}"
            );
        }
    }

    #[test]
    fn calls_count_up_to_the_limit_and_anew_each_day() {
        let mut endpoint = endpoint(json!({"dailyLimit": 2})).unwrap();
        let (today, tomorrow) = (at("2026-01-31T23:59:59Z"), at("2026-02-01T00:00:00Z"));
        let spent: Vec<bool> = (0..3).map(|_| endpoint.spend(today)).collect();
        assert_eq!(spent, [true, true, false]);
        assert!(endpoint.spend(tomorrow));
        assert_eq!(
            endpoint.used,
            Used {
                day: "2026-02-01".into(),
                count: 1
            }
        );
    }

    #[test]
    fn endpoints_live_on_their_function() {
        let mut function = Function::new("f", crate::crd::FunctionSpec::default());
        let endpoint = endpoint(json!({"dailyLimit": 2})).unwrap();
        write(&mut function, "a1", &endpoint).unwrap();
        function.annotations_mut().insert(key("broken"), "{".into());
        function.annotations_mut().insert("other".into(), "{}".into());
        assert_eq!(read(&function, "a1"), Some(endpoint.clone()));
        assert_eq!(read(&function, "broken"), None);
        assert_eq!(all(&function), BTreeMap::from([("a1".to_owned(), endpoint)]));
        assert!(remove(&mut function, "a1") && !remove(&mut function, "a1"));
    }
}
