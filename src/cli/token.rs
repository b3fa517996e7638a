//! Bearer tokens of the embedded plane, as `--token USER=TOKEN[:GROUP,...]` gives them.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// The user who may do anything.
pub const ADMIN: &str = "admin";
/// The group whose members may do anything (`user.SystemPrivilegedGroup` of apiserver).
pub const MASTERS: &str = "system:masters";

/// A token with the user whom it stands for.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Name of the user.
    pub user: String,
    /// The secret.
    pub secret: String,
    /// Groups of the user.
    pub groups: Vec<String>,
}

/// Why a text is no token. The secret is not repeated.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// No equals sign, or nothing beside it.
    #[error("a token is given as USER=TOKEN or USER=TOKEN:GROUP,GROUP")]
    Form,
    /// Characters that a header cannot carry.
    #[error("the token of user {user:?} may hold only letters, digits and -._~+/=")]
    Characters {
        /// The user.
        user: String,
    },
    /// An empty group name.
    #[error("the groups of user {user:?} are written as GROUP,GROUP without gaps")]
    Groups {
        /// The user.
        user: String,
    },
}

impl Token {
    /// A random token of user `admin`: 64 hexadecimal digits from the operating system.
    pub fn random_admin() -> Self {
        let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        Self {
            user: ADMIN.to_owned(),
            secret,
            groups: vec![MASTERS.to_owned()],
        }
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (user, rest) = text.split_once('=').ok_or(Error::Form)?;
        let (secret, groups) = match rest.split_once(':') {
            Some((secret, groups)) => (secret, Some(groups)),
            None => (rest, None),
        };
        if user.is_empty() || user.chars().any(char::is_control) || secret.is_empty() {
            return Err(Error::Form);
        }
        let user = user.to_owned();
        // RFC 6750, section 2.1: b64token.
        if !secret
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
        {
            return Err(Error::Characters { user });
        }
        let mut groups: Vec<String> = groups
            .map(|groups| groups.split(',').map(str::to_owned).collect())
            .unwrap_or_default();
        if groups
            .iter()
            .any(|group| group.is_empty() || group.chars().any(char::is_control))
        {
            return Err(Error::Groups { user });
        }
        if user == ADMIN && !groups.iter().any(|group| group == MASTERS) {
            groups.push(MASTERS.to_owned());
        }
        Ok(Self {
            user,
            secret: secret.to_owned(),
            groups,
        })
    }
}

// Secrets stay out of logs and panics.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("user", &self.user)
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_user_secret_and_groups() {
        let token: Token = "ann=s3cret=:dev,ops".parse().unwrap();
        assert_eq!((token.user.as_str(), token.secret.as_str()), ("ann", "s3cret="));
        assert_eq!(token.groups, ["dev", "ops"]);
        assert_eq!("bob=x".parse::<Token>().unwrap().groups, Vec::<String>::new());
    }

    #[test]
    fn admin_may_do_anything_however_the_token_is_given() {
        assert_eq!("admin=x".parse::<Token>().unwrap().groups, [MASTERS]);
        assert_eq!(
            "admin=x:system:masters".parse::<Token>().unwrap().groups,
            [MASTERS]
        );
        let (one, two) = (Token::random_admin(), Token::random_admin());
        assert_eq!(one.secret.len(), 64);
        assert_ne!(one.secret, two.secret);
    }

    #[test]
    fn what_is_no_token_is_refused_without_telling_the_secret() {
        for text in ["", "x", "=x", "ann=", "ann=:g"] {
            assert_eq!(text.parse::<Token>(), Err(Error::Form), "{text}");
        }
        assert_eq!(
            "ann=a b".parse::<Token>(),
            Err(Error::Characters { user: "ann".into() })
        );
        assert_eq!(
            "ann=x:".parse::<Token>(),
            Err(Error::Groups { user: "ann".into() })
        );
        assert!(!format!("{:?}", "ann=hush".parse::<Token>().unwrap()).contains("hush"));
    }
}
