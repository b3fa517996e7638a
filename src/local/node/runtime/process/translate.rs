//! Paths inside a container, as paths of this machine. Pure.
//!
//! A child process has no mount namespace of its own, so wherever its command, arguments or environment
//! speak of a path under a mount, the folder which stands for that mount is put in.

use crate::local::node::volumes::Mount;

/// Replaces every path under a mount in `text`. A mount path counts where no path goes on before it and none
/// but its own goes on behind it: `/data` is found in `--out=/data/x`, `"/data"` and `/data:/tmp`, and not in
/// `/var/data`, `/database` or `http://host/data`.
pub fn translate(text: &str, mounts: &[Mount]) -> String {
    let mut sorted: Vec<(&str, String)> = mounts
        .iter()
        .map(|mount| {
            (
                mount.container.trim_end_matches('/'),
                mount.host.to_string_lossy().into_owned(),
            )
        })
        .filter(|(path, _)| path.starts_with('/'))
        .collect();
    sorted.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let found = (next == '/' && !before.is_some_and(goes_on))
            .then(|| sorted.iter().find(|(path, _)| begins(rest, path)))
            .flatten();
        let (taken, put) = match found {
            Some((path, host)) => (&rest[..path.len()], host.as_str()),
            None => (&rest[..next.len_utf8()], &rest[..next.len_utf8()]),
        };
        out.push_str(put);
        before = taken.chars().next_back();
        rest = &rest[taken.len()..];
    }
    out
}

/// A character after which a slash is not the beginning of a path. A colon is no such character
/// (`PATH=/a:/b`), but two slashes in a row are (`http://`).
fn goes_on(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '~' | '}' | ')' | '*' | '?' | ']')
}

fn begins(text: &str, path: &str) -> bool {
    let Some(behind) = text.strip_prefix(path) else {
        return false;
    };
    match behind.chars().next() {
        None | Some('/') => true,
        // `/data.` ends a sentence or begins another name: the latter is likelier in commands.
        Some(c) => !c.is_alphanumeric() && !matches!(c, '.' | '_' | '-' | '~' | '@' | '+' | '%'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts() -> Vec<Mount> {
        let mount = |container: &str, host: &str| Mount {
            host: host.into(),
            container: container.to_owned(),
            read_only: false,
        };
        vec![
            mount("/errand/input", "/v/input"),
            mount("/errand/bin/", "/v/bin"),
            mount("/errand", "/v/errand"),
            mount("/data", "/v/data"),
            mount("/dev/termination-log", "/v/end"),
            mount("relative", "/v/no"),
        ]
    }

    #[test]
    fn paths_under_mounts_are_replaced_and_nothing_else() {
        for (text, expected) in [
            ("/errand/bin/errand", "/v/bin/errand"),
            ("/errand/input", "/v/input"),
            ("/errand/inputs", "/v/errand/inputs"),
            ("/errand", "/v/errand"),
            ("--out=/data/x", "--out=/v/data/x"),
            (
                "cat '/data/a' \"/data\" >/dev/termination-log;",
                "cat '/v/data/a' \"/v/data\" >/v/end;",
            ),
            ("/data:/usr/bin:/data/bin", "/v/data:/usr/bin:/v/data/bin"),
            ("/database /data-x /data.txt", "/database /data-x /data.txt"),
            (
                "/var/data ./data x/data ~/data $HOME/data ${X}/data",
                "/var/data ./data x/data ~/data $HOME/data ${X}/data",
            ),
            ("http://host/data file:///data", "http://host/data file:///data"),
            ("/data//x", "/v/data//x"),
            ("", ""),
            ("é/data €", "é/data €"),
            ("(/data)", "(/v/data)"),
        ] {
            assert_eq!(translate(text, &mounts()), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn texts_without_mounts_stay_as_they_are(text in "\\PC*") {
            proptest::prop_assert_eq!(translate(&text, &[]), text);
        }
    }
}
