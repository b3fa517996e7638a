//! Which namespace stands for a caller: a door's account, project or owner. The rules are here and nowhere else.
//!
//! A namespace that a rule finds grants nothing: each action in it is authorised like any other.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

use super::{error::AccessError, review::Found};

/// Longest name of a namespace (RFC 1123 label), and longest value of a label.
const MAX_NAME: usize = 63;
/// Longest prefix of [`NamespaceRule::PerUser`], so that a good part of the user's name stays readable.
const MAX_PREFIX: usize = 31;
/// Hexadecimal digits that tell changed names apart: 80 bits, so that nobody finds a name that gets another's namespace.
const SUFFIX: usize = 20;

/// How a caller's namespace is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceRule {
    /// One for everybody.
    Fixed(String),
    /// One for each user, named after them.
    PerUser {
        /// What the names begin with.
        prefix: String,
    },
    /// One for each group: the caller's first group that begins with the prefix and goes on with a namespace's name.
    PerGroup {
        /// What groups begin with.
        prefix: String,
    },
    /// The one whose label `errand.dev/account` is the user or, where none is, one of the groups.
    Label,
}

impl Default for NamespaceRule {
    fn default() -> Self {
        Self::Fixed("default".to_owned())
    }
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Some other word.
    #[error("{0:?} is no rule for namespaces; choose fixed:NAME, user[:PREFIX], group[:PREFIX] or label")]
    Unknown(String),
    /// Not the name of a namespace.
    #[error(
        "{0:?} cannot be a namespace: 1 to 63 lower-case letters, digits and dashes, a letter or digit at both ends"
    )]
    Name(String),
    /// Namespaces cannot begin like this.
    #[error(
        "namespaces cannot begin with {0:?}: at most 31 lower-case letters, digits and dashes, a letter or digit first"
    )]
    Prefix(String),
}

impl FromStr for NamespaceRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (word, rest) = match text.split_once(':') {
            Some((word, rest)) => (word, Some(rest)),
            None => (text, None),
        };
        let prefix = rest.unwrap_or_default().to_owned();
        match (word, rest) {
            ("fixed", Some(name)) if is_namespace(name) => Ok(Self::Fixed(name.to_owned())),
            ("fixed", Some(name)) => Err(RuleError::Name(name.to_owned())),
            ("user", _) if is_prefix(&prefix) => Ok(Self::PerUser { prefix }),
            ("user", _) => Err(RuleError::Prefix(prefix)),
            ("group", _) => Ok(Self::PerGroup { prefix }),
            ("label", None) => Ok(Self::Label),
            _ => Err(RuleError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for NamespaceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(name) => write!(f, "fixed:{name}"),
            Self::PerUser { prefix } => write!(f, "user:{prefix}"),
            Self::PerGroup { prefix } => write!(f, "group:{prefix}"),
            Self::Label => write!(f, "label"),
        }
    }
}

/// What a rule says of a caller.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// This namespace.
    Is(String),
    /// The namespace that has the first of these values in its label [`crate::crd::LABEL_ACCOUNT`].
    Labelled(Vec<String>),
}

impl NamespaceRule {
    pub(super) fn home(&self, user: &str, groups: &[String]) -> Result<Home, AccessError> {
        match self {
            Self::Fixed(name) => Ok(Home::Is(name.clone())),
            Self::PerUser { prefix } => Ok(Home::Is(user_namespace(prefix, user))),
            Self::PerGroup { prefix } => {
                let named = groups
                    .iter()
                    .filter_map(|group| group.strip_prefix(prefix.as_str()));
                let first = named.into_iter().find(|name| is_namespace(name));
                let none = || {
                    let what = format!(
                        "user {user:?} is in no group {prefix:?} + NAMESPACE, so no namespace is theirs"
                    );
                    AccessError::NoNamespace(what)
                };
                first.map(|name| Home::Is(name.to_owned())).ok_or_else(none)
            }
            Self::Label => {
                let groups = groups.iter().map(String::as_str);
                Ok(Home::Labelled(label_values(std::iter::once(user).chain(groups))))
            }
        }
    }
}

/// A namespace for any user, another for each. A name that cannot stay as it is, or that looks like one that was
/// changed, gets a suffix made of its digest.
fn user_namespace(prefix: &str, user: &str) -> String {
    let plain = format!("{prefix}{user}");
    if is_namespace(user) && is_namespace(&plain) && !has_suffix(user) {
        return plain;
    }
    let digest = Sha256::digest(user);
    let suffix: String = digest
        .iter()
        .take(SUFFIX / 2)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let letters = user.chars().map(|c| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
        _ => '-',
    });
    let room = MAX_NAME - SUFFIX - 1 - prefix.len().min(MAX_PREFIX);
    let readable: String = letters.skip_while(|c| *c == '-').take(room).collect();
    match readable.trim_end_matches('-') {
        "" => format!("{prefix}{suffix}"),
        readable => format!("{prefix}{readable}-{suffix}"),
    }
}

fn has_suffix(name: &str) -> bool {
    let digits = name
        .bytes()
        .rev()
        .take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    digits.take(SUFFIX).count() == SUFFIX
}

/// An RFC 1123 label.
fn is_namespace(name: &str) -> bool {
    is_name_text(name)
        && name.len() <= MAX_NAME
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.is_empty()
}

fn is_prefix(prefix: &str) -> bool {
    is_name_text(prefix) && prefix.len() <= MAX_PREFIX && !prefix.starts_with('-')
}

fn is_name_text(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Those of the texts that a label can have as its value; empty ones stand for nobody.
pub(super) fn label_values<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let legal = texts.into_iter().filter(|text| is_label_value(text));
    legal.map(str::to_owned).collect()
}

fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    text.len() <= MAX_NAME
        && ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// The one namespace with the first of the values that any has; `None` where none has any.
pub(super) fn choose(label: &str, values: &[String], found: &[Found]) -> Result<Option<String>, AccessError> {
    for value in values {
        let mut having = found.iter().filter(|found| found.value == *value);
        match (having.next(), having.next()) {
            (Some(one), None) => return Ok(Some(one.namespace.clone())),
            (Some(one), Some(other)) => {
                let (one, other) = (&one.namespace, &other.namespace);
                let what = format!(
                    "namespaces {one:?} and {other:?} both have the label {label}={value}; keep it on one"
                );
                return Err(AccessError::NoNamespace(what));
            }
            (None, _) => {}
        }
    }
    Ok(None)
}

/// No namespace has any of the values.
pub(super) fn none(label: &str, values: &[String]) -> AccessError {
    AccessError::NoNamespace(match values {
        [] => format!("nothing that a label {label} could hold was given, so no namespace is found by it"),
        [value] => format!("no namespace has the label {label}={value}"),
        [value, rest @ ..] => {
            format!(
                "no namespace has the label {label}={value}, nor that of one of {} groups",
                rest.len()
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::crd::LABEL_ACCOUNT;

    fn home(rule: &str, user: &str, groups: &[&str]) -> Result<Home, String> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let rule: NamespaceRule = rule.parse().unwrap();
        rule.home(user, &groups).map_err(|error| error.to_string())
    }

    fn is(namespace: &str) -> Result<Home, String> {
        Ok(Home::Is(namespace.into()))
    }

    #[test]
    fn rules_are_read_and_written() {
        let prefix = String::from("errand-");
        for (text, rule) in [
            ("fixed:jobs", NamespaceRule::Fixed("jobs".into())),
            ("fixed:default", NamespaceRule::default()),
            (
                "user:",
                NamespaceRule::PerUser {
                    prefix: String::new(),
                },
            ),
            (
                "user:errand-",
                NamespaceRule::PerUser {
                    prefix: prefix.clone(),
                },
            ),
            ("group:errand-", NamespaceRule::PerGroup { prefix }),
            (
                "group:oidc:ns:",
                NamespaceRule::PerGroup {
                    prefix: "oidc:ns:".into(),
                },
            ),
            ("label", NamespaceRule::Label),
        ] {
            assert_eq!(text.parse(), Ok(rule.clone()));
            assert_eq!(rule.to_string(), text);
        }
        assert_eq!(
            "user".parse(),
            Ok(NamespaceRule::PerUser {
                prefix: String::new()
            })
        );
        for (text, error) in [
            ("", RuleError::Unknown(String::new())),
            ("fixed", RuleError::Unknown("fixed".into())),
            ("label:x", RuleError::Unknown("label:x".into())),
            ("Fixed:x", RuleError::Unknown("Fixed:x".into())),
            ("fixed:", RuleError::Name(String::new())),
            ("fixed:a_b", RuleError::Name("a_b".into())),
            ("fixed:-a", RuleError::Name("-a".into())),
            ("user:-a", RuleError::Prefix("-a".into())),
            ("user:A", RuleError::Prefix("A".into())),
            (
                "user:a234567890123456789012345678901-",
                RuleError::Prefix("a234567890123456789012345678901-".into()),
            ),
        ] {
            assert_eq!(text.parse::<NamespaceRule>(), Err(error), "{text}");
        }
    }

    #[test]
    fn each_rule_finds_its_namespace() {
        assert_eq!(home("fixed:jobs", "ann", &[]), is("jobs"));
        assert_eq!(home("user", "ann", &[]), is("ann"));
        assert_eq!(home("user:u-", "ann", &[]), is("u-ann"));
        assert_eq!(
            home("group:ns:", "ann", &["dev", "ns:Bad", "ns:", "ns:a", "ns:b"]),
            is("a")
        );
        assert_eq!(home("group", "ann", &["system:authenticated", "a"]), is("a"));
        assert_eq!(
            home("group:ns:", "ann", &["dev"]),
            Err("user \"ann\" is in no group \"ns:\" + NAMESPACE, so no namespace is theirs".into())
        );
        assert_eq!(
            home(
                "label",
                "system:serviceaccount:a:b",
                &["dev", "", "-x", "x.", "a_b"]
            ),
            Ok(Home::Labelled(vec!["dev".into(), "a_b".into()]))
        );
    }

    #[test]
    fn users_whose_names_are_no_namespaces_get_one_that_is_theirs_alone() {
        let users = [
            "ann",
            "Ann",
            "ANN",
            "ann@example.com",
            "ann.example.com",
            "ann-example-com",
            "system:serviceaccount:a:b-c",
            "system:serviceaccount:a-b:c",
            "системa",
            "***",
            "",
            "-",
            "-ann",
            "ann-",
            &"a".repeat(63),
            &"a".repeat(64),
            &"a".repeat(4_000),
        ];
        for prefix in ["", "u-", "a234567890123456789012345678901"] {
            let names: BTreeSet<String> = users.iter().map(|user| user_namespace(prefix, user)).collect();
            assert_eq!(names.len(), users.len(), "{names:?}");
            assert!(
                names
                    .iter()
                    .all(|name| is_namespace(name) && name.starts_with(prefix)),
                "{names:?}"
            );
        }
        assert_eq!(
            user_namespace("u-", "Ann@example.com"),
            "u-ann-example-com-e3535a54578d4c128096"
        );
    }

    #[test]
    fn nobody_can_take_the_name_that_another_was_given() {
        let given = user_namespace("", "Ann");
        assert!(is_namespace(&given));
        assert_ne!(user_namespace("", &given), given);
    }

    #[test]
    fn one_namespace_has_a_label_or_the_refusal_says_why_not() {
        let found = |pairs: &[(&str, &str)]| -> Vec<Found> {
            let found = pairs.iter().map(|(value, namespace)| Found {
                value: (*value).into(),
                namespace: (*namespace).into(),
            });
            found.collect()
        };
        let chosen = |values: &[&str], pairs: &[(&str, &str)]| {
            let values = label_values(values.iter().copied());
            let chosen = choose(LABEL_ACCOUNT, &values, &found(pairs));
            let chosen = chosen.and_then(|chosen| chosen.ok_or_else(|| none(LABEL_ACCOUNT, &values)));
            chosen.map_err(|error| error.to_string())
        };
        assert_eq!(
            chosen(&["ann", "dev"], &[("dev", "a"), ("ann", "b")]),
            Ok("b".into())
        );
        assert_eq!(
            chosen(&["ann", "ops", "dev"], &[("dev", "a"), ("ops", "b")]),
            Ok("b".into())
        );
        assert_eq!(
            chosen(&["ann"], &[("ann", "a"), ("ann", "b")]),
            Err(
                "namespaces \"a\" and \"b\" both have the label errand.dev/account=ann; keep it on one"
                    .into()
            )
        );
        assert_eq!(
            chosen(&["ann"], &[]),
            Err("no namespace has the label errand.dev/account=ann".into())
        );
        assert_eq!(
            chosen(&["ann", "dev"], &[("x", "a")]),
            Err("no namespace has the label errand.dev/account=ann, nor that of one of 1 groups".into())
        );
        assert!(
            chosen(&["a b"], &[])
                .unwrap_err()
                .starts_with("nothing that a label")
        );
    }

    proptest! {
        #[test]
        fn any_user_gets_a_legal_namespace(user in ".{0,80}", other in "[a-zA-Z0-9@.-]{0,40}", prefix in "([a-z0-9][a-z0-9-]{0,30})?") {
            let (one, two) = (user_namespace(&prefix, &user), user_namespace(&prefix, &other));
            prop_assert!(is_namespace(&one) && is_namespace(&two), "{one} {two}");
            prop_assert_eq!(one == two, user == other);
        }

        #[test]
        fn any_text_is_a_rule_or_refused(text in ".{0,40}") {
            if let Ok(rule) = text.parse::<NamespaceRule>() {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            }
        }
    }
}
