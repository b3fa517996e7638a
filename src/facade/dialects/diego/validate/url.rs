//! Which texts Go's `net/url` reads as a URL with a scheme, as far as it matters to a root file system.

/// True where `url.Parse` takes the text and finds a scheme in it.
pub fn has_scheme(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let named = scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(letters);
    // Control characters are refused anywhere.
    if !named || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return false;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    let Some(hierarchy) = rest.strip_prefix('/') else {
        // Opaque: anything.
        return are_escapes(fragment);
    };
    let path = match hierarchy.strip_prefix('/') {
        None => rest,
        Some(authority) => {
            let (authority, path) = authority.split_once('/').unwrap_or((authority, ""));
            if !is_host(authority) {
                return false;
            }
            path
        }
    };
    are_escapes(path) && are_escapes(fragment)
}

/// Every `%` is followed by two hexadecimal digits.
fn are_escapes(text: &str) -> bool {
    let mut parts = text.as_bytes().split(|byte| *byte == b'%').skip(1);
    parts.all(|part| matches!(part, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()))
}

fn is_host(authority: &str) -> bool {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = match host.rsplit_once(']') {
        Some((_, after)) => after,
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let legal = |c: char| {
        !matches!(
            c,
            ' ' | '<' | '>' | '"' | '\\' | '^' | '`' | '{' | '|' | '}' | '%'
        )
    };
    let digits = port.strip_prefix(':').map_or(port.is_empty(), |digits| {
        digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    digits && host.chars().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_reads_as_a_url_with_a_scheme_passes() {
        for (text, legal) in [
            ("preloaded:cflinuxfs4", true),
            ("docker:///library/busybox#latest", true),
            ("docker://registry.example.com:5000/a/b#1", true),
            ("docker:///a%20b", true),
            ("some:rootfs", true),
            ("a:", true),
            ("", false),
            ("plain", false),
            (":x", false),
            ("/a:b", false),
            ("1a:b", false),
            ("a b:c", false),
            ("docker:///a\nb", false),
            ("docker:///a%2", false),
            ("docker://a b/c", false),
            ("docker://host:port/c", false),
            ("docker://[::1]:80/c", true),
        ] {
            assert_eq!(has_scheme(text), legal, "{text:?}");
        }
    }
}
