//! Where a callback goes, read from its address. Pure.

use std::net::IpAddr;

use http::Uri;
use url::{Host, Position, Url};

/// An address that a POST can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: Url,
    host: Host<String>,
    path: Uri,
    port: u16,
}

/// Why an address cannot be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum TargetError {
    #[error("the address of the callback cannot be read")]
    Url(#[source] url::ParseError),
    #[error("the address of the callback is neither http nor https")]
    Scheme,
    #[error("the address of the callback names a user or a password, which would be there for all to read")]
    Credentials,
    #[error("the address of the callback has no host")]
    Host,
    #[error("the address of the callback is no target of a request")]
    Path,
    #[error("the redirect leads from https to http, which is not followed")]
    Downgrade,
}

impl Target {
    /// Reads an address. The same reading decides where the connection goes and what the receiver is told, so the two
    /// cannot differ (WHATWG URL).
    ///
    /// # Errors
    /// [`TargetError`] for what cannot be called.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        Self::new(Url::parse(text).map_err(TargetError::Url)?)
    }

    fn new(url: Url) -> Result<Self, TargetError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        let host = url.host().ok_or(TargetError::Host)?.to_owned();
        let path = url[Position::BeforePath..Position::AfterQuery]
            .parse()
            .map_err(|_| TargetError::Path)?;
        Ok(Self {
            port: url.port_or_known_default().ok_or(TargetError::Scheme)?,
            host,
            path,
            url,
        })
    }

    /// Where a redirect from here leads.
    ///
    /// # Errors
    /// [`TargetError`] for what cannot be called, and for a way from https to http.
    pub fn redirected(&self, location: &str) -> Result<Self, TargetError> {
        let next = Self::new(self.url.join(location).map_err(TargetError::Url)?)?;
        if self.is_https() && !next.is_https() {
            return Err(TargetError::Downgrade);
        }
        Ok(next)
    }

    /// Whether TLS is spoken.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name to look up, or the address itself.
    pub fn host(&self) -> Result<IpAddr, &str> {
        match &self.host {
            Host::Domain(name) => Err(name),
            Host::Ipv4(address) => Ok((*address).into()),
            Host::Ipv6(address) => Ok((*address).into()),
        }
    }

    /// Host, and port where it is not that of the scheme, as the `Host` header has it.
    pub fn authority(&self) -> &str {
        &self.url[Position::BeforeHost..Position::AfterPort]
    }

    /// Path and query.
    pub fn path(&self) -> &Uri {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (String, u16, String, String) {
        let target = Target::parse(text).unwrap();
        let host = target
            .host()
            .map_or_else(str::to_owned, |address| address.to_string());
        (
            host,
            target.port(),
            target.authority().to_owned(),
            target.path().to_string(),
        )
    }

    fn parts(host: &str, port: u16, authority: &str, path: &str) -> (String, u16, String, String) {
        (host.to_owned(), port, authority.to_owned(), path.to_owned())
    }

    #[test]
    fn an_address_is_taken_apart_once() {
        for (text, expected) in [
            ("http://a.example", parts("a.example", 80, "a.example", "/")),
            (
                "https://A.Example:8443/x?y=1#z",
                parts("a.example", 8443, "a.example:8443", "/x?y=1"),
            ),
            (
                "https://a.example:443/",
                parts("a.example", 443, "a.example", "/"),
            ),
            (
                "http://[::FFFF:169.254.169.254]/",
                parts("::ffff:169.254.169.254", 80, "[::ffff:a9fe:a9fe]", "/"),
            ),
            // Other ways to write an IPv4 address are that address, for the check and for the call.
            ("http://2130706433/", parts("127.0.0.1", 80, "127.0.0.1", "/")),
            ("http://0x7f.1/", parts("127.0.0.1", 80, "127.0.0.1", "/")),
            (
                "http://0251.0376.0251.0376/",
                parts("169.254.169.254", 80, "169.254.169.254", "/"),
            ),
            ("http://127.0.0.1./", parts("127.0.0.1", 80, "127.0.0.1", "/")),
            (
                r"http://a.example\@b.example/",
                parts("a.example", 80, "a.example", "/@b.example/"),
            ),
            (
                "http://a.example/../../x",
                parts("a.example", 80, "a.example", "/x"),
            ),
            ("http:a.example", parts("a.example", 80, "a.example", "/")),
            ("http://a%2eexample/", parts("a.example", 80, "a.example", "/")),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_a_reason() {
        for (text, expected) in [
            ("ftp://a.example/", TargetError::Scheme),
            ("file:///etc/passwd", TargetError::Scheme),
            ("http://a@b.example/", TargetError::Credentials),
            ("http://:secret@b.example/", TargetError::Credentials),
            ("http://", TargetError::Url(url::ParseError::EmptyHost)),
            ("http://a b/", TargetError::Url(url::ParseError::IdnaError)),
            (
                "http://[fe80::1%25eth0]/",
                TargetError::Url(url::ParseError::InvalidIpv6Address),
            ),
            ("http://a:99999/", TargetError::Url(url::ParseError::InvalidPort)),
            (
                "/only/a/path",
                TargetError::Url(url::ParseError::RelativeUrlWithoutBase),
            ),
        ] {
            assert_eq!(Target::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_redirect_is_read_from_where_it_was_met() {
        let secure = Target::parse("https://a.example/x/y").unwrap();
        let authority = |location: &str| {
            secure
                .redirected(location)
                .map(|next| next.authority().to_owned())
        };
        assert_eq!(authority("/z"), Ok("a.example".to_owned()));
        assert_eq!(authority("//b.example/z"), Ok("b.example".to_owned()));
        assert_eq!(authority("https://b.example:1/"), Ok("b.example:1".to_owned()));
        assert_eq!(authority("http://a.example/"), Err(TargetError::Downgrade));
        assert_eq!(authority("file:///etc/passwd"), Err(TargetError::Scheme));
        assert_eq!(authority("https://u:p@b.example/"), Err(TargetError::Credentials));
        let plain = Target::parse("http://a.example/").unwrap();
        assert!(
            plain
                .redirected("https://a.example/")
                .is_ok_and(|next| next.is_https())
        );
    }

    proptest! {
        #[test]
        fn whatever_is_taken_names_a_host_that_no_other_reading_moves(text in "https?://[!-~]{1,60}") {
            if let Ok(target) = Target::parse(&text) {
                prop_assert!(!target.authority().is_empty() && !target.authority().contains('@'));
                prop_assert!(target.path().host().is_none() && target.path().path().starts_with('/'));
                // What the receiver is told parses to the same host again.
                let again = Target::parse(&format!("{}://{}/", target.url.scheme(), target.authority())).unwrap();
                prop_assert_eq!((again.host(), again.port()), (target.host(), target.port()));
            }
        }

        #[test]
        fn no_location_makes_it_stumble(location in any::<String>()) {
            let target = Target::parse("https://a.example/x").unwrap();
            if let Ok(next) = target.redirected(&location) {
                prop_assert!(next.is_https());
            }
        }
    }
}
