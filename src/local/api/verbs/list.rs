//! List: selection, paging, consistent reads of the recent past.
use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::local::api::{
    catalogue::Kind,
    http::{
        path::Query,
        status::{ApiError, Result},
    },
    selectors::{FieldSelector, LabelSelector},
    store::{Expired, Facts, Object, Store},
};

/// Which objects of a kind are meant.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// One namespace, or all.
    pub namespace: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// From the path's namespace and the selectors of the query.
    ///
    /// # Errors
    /// 400 for selectors that cannot be read.
    pub fn parse(kind: &Kind, namespace: Option<&str>, query: &Query) -> Result<Self> {
        let bad =
            |error: crate::local::api::selectors::SelectorError| ApiError::bad_request(error.to_string());
        let labels = LabelSelector::parse(query.get("labelSelector").unwrap_or("")).map_err(bad)?;
        let fields = FieldSelector::parse(query.get("fieldSelector").unwrap_or("")).map_err(bad)?;
        fields.check(|field| kind.selects_by(field)).map_err(bad)?;
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            labels,
            fields,
        })
    }

    /// One object by name.
    pub fn name(&self) -> Option<&str> {
        self.fields.required("metadata.name")
    }

    /// Whether an object is meant.
    pub fn matches(&self, facts: &Facts) -> bool {
        self.namespace
            .as_deref()
            .is_none_or(|namespace| *facts.namespace == *namespace)
            && self.labels.matches(&facts.labels)
            && self.fields.matches(|field| facts.field(field))
    }

    fn is_whole(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}

/// A page of objects.
pub struct Page {
    /// Objects, ordered by namespace and name.
    pub objects: Vec<Arc<Object>>,
    /// The version at which this is what there was.
    pub version: u64,
    /// Where the next page begins.
    pub next: Option<String>,
    /// Objects after this page, where that is known.
    pub remaining: Option<usize>,
}

/// What a `continue` token says. Clients must not look into it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    namespace: String,
    name: String,
}

const TOKEN_VERSION: &str = "errand/v1";
const TOKEN_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

impl Token {
    fn encode(&self) -> String {
        // Texts and a number always have a JSON form.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn decode(text: &str) -> Result<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let token: Option<Self> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        token.filter(|token| token.v == TOKEN_VERSION).ok_or_else(|| {
            ApiError::bad_request("continue key is not valid: it was not given out by this server")
        })
    }
}

enum At {
    Now,
    Version(u64),
}

/// Lists objects of a kind as the query asks.
///
/// # Errors
/// 400 for options that make no sense, 410 for versions that are forgotten, 504 for those yet to come.
pub fn list(store: &Store, kind: &Kind, selection: &Selection, query: &Query) -> Result<Page> {
    let limit: usize = query.number("limit")?.unwrap_or(0);
    let token = query.get("continue").map(Token::decode).transpose()?;
    let at = at(query, token.as_ref(), store.version())?;
    let namespace = selection.namespace.as_deref();
    let (mut objects, version) = match at {
        At::Now => match selection.name() {
            Some(name) if namespace.is_some() || !kind.resource.namespaced => {
                one(store, kind, namespace.unwrap_or(""), name)
            }
            _ => store.list(&kind.key, namespace),
        },
        At::Version(version) => match store.list_at(&kind.key, namespace, version) {
            Ok(objects) => (objects, version),
            Err(expired) => return Err(gone(expired, token.as_ref())),
        },
    };
    if let Some(token) = &token {
        let start = (token.namespace.as_str(), token.name.as_str());
        let first =
            objects.partition_point(|object| (&*object.facts.namespace, &*object.facts.name) <= start);
        objects.drain(..first);
    }
    if !selection.is_whole() {
        objects.retain(|object| selection.matches(&object.facts));
    }
    Ok(page(objects, limit, version, selection.is_whole()))
}

fn one(store: &Store, kind: &Kind, namespace: &str, name: &str) -> (Vec<Arc<Object>>, u64) {
    let version = store.version();
    let found = store.get(&crate::local::api::store::Address::new(
        &kind.key, namespace, name,
    ));
    // Newer than `version` is fine for a list of now; an older version is not claimed.
    let version = found
        .as_ref()
        .map_or(version, |object| version.max(object.version));
    (found.into_iter().collect(), version)
}

fn page(mut objects: Vec<Arc<Object>>, limit: usize, version: u64, whole: bool) -> Page {
    if limit == 0 || objects.len() <= limit {
        return Page {
            objects,
            version,
            next: None,
            remaining: None,
        };
    }
    let remaining = objects.len() - limit;
    objects.truncate(limit);
    let next = objects.last().map(|object| token_after(object, version));
    Page {
        objects,
        version,
        next,
        remaining: whole.then_some(remaining),
    }
}

fn token_after(object: &Object, version: u64) -> String {
    let token = Token {
        v: TOKEN_VERSION.into(),
        rv: i64::try_from(version).unwrap_or(i64::MAX),
        namespace: object.facts.namespace.to_string(),
        name: object.facts.name.to_string(),
    };
    token.encode()
}

/// Which version a list is to show.
fn at(query: &Query, token: Option<&Token>, current: u64) -> Result<At> {
    let version = query.get("resourceVersion");
    let matching = query.get("resourceVersionMatch");
    if let Some(token) = token {
        if version.is_some_and(|version| version != "0") {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        if matching.is_some() {
            return Err(ApiError::bad_request(
                "resourceVersionMatch is forbidden when continue is specified",
            ));
        }
        // A token that lost its version goes on with what there is now.
        return Ok(u64::try_from(token.rv).map_or(At::Now, At::Version));
    }
    let version = version.map(parse_version).transpose()?;
    match (version, matching) {
        (None, Some(_)) => Err(ApiError::bad_request(
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        )),
        (None | Some(0), None | Some("NotOlderThan")) => Ok(At::Now),
        (Some(0), Some("Exact")) => Err(ApiError::bad_request(
            "resourceVersionMatch: Forbidden: resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
        )),
        (Some(version), _) if version > current => Err(ApiError::version_from_future(version, current)),
        (Some(version), Some("Exact")) => Ok(At::Version(version)),
        (Some(_), None | Some("NotOlderThan")) => Ok(At::Now),
        (_, Some(other)) => Err(ApiError::bad_request(format!(
            "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\""
        ))),
    }
}

/// A resourceVersion of a query.
///
/// # Errors
/// 400 for what is no number.
pub fn parse_version(text: &str) -> Result<u64> {
    text.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: invalid syntax"
        ))
    })
}

fn gone(expired: Expired, token: Option<&Token>) -> ApiError {
    let Some(token) = token else {
        return ApiError::expired(expired.to_string());
    };
    let mut error = ApiError::expired(TOKEN_EXPIRED);
    let Token {
        v, namespace, name, ..
    } = token;
    let token = Token {
        v: v.clone(),
        rv: -1,
        namespace: namespace.clone(),
        name: name.clone(),
    };
    error.continue_token = Some(token.encode());
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_round_trip_and_strangers_are_refused() {
        let token = Token {
            v: TOKEN_VERSION.into(),
            rv: 7,
            namespace: "a".into(),
            name: "b".into(),
        };
        assert_eq!(Token::decode(&token.encode()).unwrap(), token);
        for bad in ["", "x", "e30", "%%%"] {
            assert!(Token::decode(bad).is_err(), "{bad}");
        }
    }
}
