//! What headers and tokens say by themselves. Nothing of it is proof of anything.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use jiff::Timestamp;
use serde_json::Value;

use super::error::AccessError;

/// Longest token that is looked at. Those of service accounts have about 1 KiB, those of large directories 8.
pub const MAX_TOKEN: usize = 16 * 1024;

/// Audience of the tokens that pods report with.
pub const ERRAND: &str = "errand";

static X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// The token in the headers, if any: `Authorization` with or without `Bearer`, else `X-Auth-Token`.
///
/// Other schemes are no tokens, nor is a header that comes twice: two readers could take different ones for it.
pub fn token_of(headers: &HeaderMap) -> Option<&str> {
    let authorization = only(headers, &AUTHORIZATION).and_then(bearer);
    authorization.or_else(|| only(headers, &X_AUTH_TOKEN).filter(|token| is_plausible(token)))
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::trim),
        _ => None,
    }
}

/// The token of a value of `Authorization` (RFC 6750, section 2.1), or the value itself where no scheme is named.
fn bearer(value: &str) -> Option<&str> {
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start_matches(' '),
        Some(_) => return None,
        None if value.eq_ignore_ascii_case("bearer") => return None,
        None => value,
    };
    is_plausible(token).then_some(token)
}

/// Whether a text can be a token: short enough, visible ASCII, no white space.
pub fn is_plausible(token: &str) -> bool {
    !token.is_empty() && token.len() <= MAX_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Refuses what need not be asked about.
pub(super) fn check(token: &str) -> Result<(), AccessError> {
    match token {
        "" => Err(AccessError::NoToken),
        token if is_plausible(token) => Ok(()),
        _ => Err(AccessError::InvalidToken),
    }
}

/// Whom a token has to be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The API server: the token of an ordinary caller.
    ApiServer,
    /// Errand itself.
    Errand,
}

impl Audience {
    /// What a review has to ask for. The API server's own name is known to it alone, and meant where none is given.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::ApiServer => None,
            Self::Errand => Some(ERRAND),
        }
    }
}

/// What a JWT (RFC 7519) says of itself, unproven: good for choosing the question, never for the answer.
#[derive(Debug, Default, PartialEq)]
pub struct Claims {
    for_errand: bool,
    expires: Option<f64>,
}

/// The claims of a token; none where it is no JWT.
pub fn claims(token: &str) -> Claims {
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Claims::default();
    };
    let Ok(payload) = URL_SAFE_NO_PAD.decode(payload) else {
        return Claims::default();
    };
    let Ok(payload) = serde_json::from_slice::<Value>(&payload) else {
        return Claims::default();
    };
    let for_errand = match payload.get("aud") {
        Some(Value::String(audience)) => audience == ERRAND,
        Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience == ERRAND),
        _ => false,
    };
    Claims {
        for_errand,
        expires: payload.get("exp").and_then(Value::as_f64),
    }
}

impl Claims {
    /// Whom the token says it is for.
    pub fn audience(&self) -> Audience {
        if self.for_errand {
            Audience::Errand
        } else {
            Audience::ApiServer
        }
    }

    /// How long an answer about the token may be kept: not past its own end.
    pub fn ttl(&self, now: Timestamp, longest: Duration) -> Duration {
        let Some(expires) = self.expires else {
            return longest;
        };
        let left = expires - now.as_duration().as_secs_f64();
        Duration::try_from_secs_f64(left.max(0.0)).map_or(longest, |left| left.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(headers: &[(&str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        token_of(&map).map(str::to_owned)
    }

    #[test]
    fn a_token_comes_with_or_without_bearer_or_in_a_header_of_its_own() {
        for headers in [
            &[("authorization", "Bearer abc")][..],
            &[("authorization", "bEARER   abc ")],
            &[("authorization", "abc")],
            &[("x-auth-token", "abc")],
            &[("x-auth-token", " abc ")],
            &[("authorization", "Bearer abc"), ("x-auth-token", "xyz")],
            &[("authorization", "Basic eDp5"), ("x-auth-token", "abc")],
            &[("authorization", ""), ("x-auth-token", "abc")],
        ] {
            assert_eq!(of(headers).as_deref(), Some("abc"), "{headers:?}");
        }
    }

    #[test]
    fn what_is_no_token_is_none() {
        let long = "a".repeat(MAX_TOKEN + 1);
        let long_bearer = format!("Bearer {long}");
        for headers in [
            &[][..],
            &[("authorization", "")],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer ")],
            &[("authorization", "Basic eDp5")],
            &[("authorization", "Digest username=\"x\"")],
            &[("authorization", "Bearer a b")],
            &[("authorization", "Bearer a\tb")],
            &[("authorization", "Bearer\tabc")],
            &[("authorization", "Bearer \u{e9}")],
            &[("authorization", &long)],
            &[("authorization", &long_bearer)],
            &[("authorization", "Bearer abc"), ("authorization", "Bearer xyz")],
            &[("x-auth-token", "a b")],
            &[("x-auth-token", "abc"), ("x-auth-token", "abc")],
            &[("cookie", "abc")],
        ] {
            assert_eq!(of(headers), None, "{headers:?}");
        }
        assert_eq!(
            of(&[("x-auth-token", &"a".repeat(MAX_TOKEN))]).map(|token| token.len()),
            Some(MAX_TOKEN)
        );
    }

    fn jwt(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn the_audience_decides_what_is_asked() {
        for (payload, audience) in [
            (r#"{"aud":"errand"}"#, Audience::Errand),
            (
                r#"{"aud":["https://kubernetes.default.svc","errand"]}"#,
                Audience::Errand,
            ),
            (
                r#"{"aud":["https://kubernetes.default.svc"]}"#,
                Audience::ApiServer,
            ),
            (r#"{"aud":"errand.dev"}"#, Audience::ApiServer),
            (r#"{"aud":{"errand":1}}"#, Audience::ApiServer),
            (r#"{"aud":[["errand"]]}"#, Audience::ApiServer),
            (r#"{}"#, Audience::ApiServer),
            (r#"["aud","errand"]"#, Audience::ApiServer),
            (r#"{"aud":"errand""#, Audience::ApiServer),
        ] {
            assert_eq!(claims(&jwt(payload)).audience(), audience, "{payload}");
        }
        let payload = URL_SAFE_NO_PAD.encode(r#"{"aud":"errand"}"#);
        for token in [
            payload.clone(),
            format!("a.{payload}"),
            format!("a.{payload}.b.c"),
            "..".into(),
            "a.%.b".into(),
        ] {
            assert_eq!(claims(&token), Claims::default(), "{token}");
        }
        let deep = "[".repeat(8_000);
        assert_eq!(claims(&jwt(&deep)), Claims::default());
    }

    #[test]
    fn an_answer_is_not_kept_past_the_end_of_the_token() {
        let now = Timestamp::from_second(1_000).unwrap();
        let longest = Duration::from_secs(10);
        for (expires, ttl) in [
            ("null", 10.0),
            ("\"1002\"", 10.0),
            ("2000", 10.0),
            ("1002", 2.0),
            ("1002.5", 2.5),
            ("1000", 0.0),
            ("-5", 0.0),
            ("1e300", 10.0),
            ("-1e300", 0.0),
        ] {
            let claims = claims(&jwt(&format!(r#"{{"exp":{expires}}}"#)));
            assert_eq!(claims.ttl(now, longest).as_secs_f64(), ttl, "{expires}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_sent_gets_an_answer(header in "[\\x20-\\x7e\\x80-\\xff]{0,64}", token in ".{0,64}", claim in ".{0,32}") {
            let found = of(&[("authorization", &header)]);
            prop_assert!(found.is_none_or(|token| check(&token).is_ok()));
            claims(&token).ttl(Timestamp::UNIX_EPOCH, Duration::from_secs(1));
            claims(&jwt(&format!(r#"{{"aud":"errand","exp":{claim}}}"#))).ttl(Timestamp::UNIX_EPOCH, Duration::from_secs(1));
        }
    }
}
