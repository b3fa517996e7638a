use std::fs;

use tempfile::TempDir;

use super::*;

fn key(token: &str) -> Key {
    Sha256::digest(token).into()
}

fn refused(content: impl AsRef<[u8]>) -> Option<(usize, LineError)> {
    parse(content.as_ref()).err()
}

#[test]
fn a_line_says_whose_token_it_is() {
    let table = parse(b"abc,ann,u1,\"dev,ops\"\r\n\nxyz,bob,,one\nqqq,\"Eve, the first\",u3\n").unwrap();
    let caller = |token: &str| find(&table, &key(token)).map(|caller| (*caller).clone());
    let wanted = |user: &str, uid: Option<&str>, groups: &[&str]| {
        Some(Caller {
            user: user.into(),
            uid: uid.map(str::to_owned),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Caller::default()
        })
    };
    assert_eq!(
        caller("abc"),
        wanted("ann", Some("u1"), &["dev", "ops", "system:authenticated"])
    );
    assert_eq!(
        caller("xyz"),
        wanted("bob", None, &["one", "system:authenticated"])
    );
    assert_eq!(
        caller("qqq"),
        wanted("Eve, the first", Some("u3"), &["system:authenticated"])
    );
    for unknown in ["", "ab", "abcd", "ABC"] {
        assert_eq!(caller(unknown), None, "{unknown}");
    }
    assert_eq!(parse(b"").map(|table| table.len()), Ok(0));
}

#[test]
fn a_mistake_is_told_by_its_line() {
    let long = format!("{},ann,u", "a".repeat(token::MAX_TOKEN + 1));
    for (content, line, error) in [
        ("abc,ann", 1, LineError::Columns),
        ("abc,ann,u1,dev,ops", 1, LineError::Columns),
        ("ok,bob,u\nabc", 2, LineError::Columns),
        (",ann,u1", 1, LineError::Token),
        ("a b,ann,u1", 1, LineError::Token),
        ("\u{e9},ann,u1", 1, LineError::Token),
        (&long, 1, LineError::Token),
        ("abc,ann,u1\n\nabc,bob,u2", 3, LineError::Twice),
        ("abc,,u1", 1, LineError::Name),
        ("abc, ann,u1", 1, LineError::Name),
        ("abc,ann,u1,\"dev,\"", 1, LineError::Name),
        ("abc,ann,u1,\"dev, ops\"", 1, LineError::Name),
        ("abc,a\u{7}nn,u1", 1, LineError::Name),
        ("abc,system:admin,u1", 1, LineError::System),
        ("abc,ann,u1,system:masters", 1, LineError::System),
        ("abc,ann,u1,\"dev,system:masters\"", 1, LineError::System),
        ("abc,\"ann,u1", 1, LineError::Quotes),
    ] {
        let shown: String = content.chars().take(40).collect();
        assert_eq!(refused(content), Some((line, error)), "{shown}");
    }
    assert_eq!(refused(b"abc,\xff,u1"), Some((1, LineError::Name)));
}

#[test]
fn a_check_names_the_file_and_never_a_token() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tokens");
    let said = |path: &Path| check(path).map_err(|error| chain(&error));
    let why = said(&path).unwrap_err();
    assert!(
        why.starts_with(&format!(
            "could not read the static tokens in {}: ",
            path.display()
        )),
        "{why}"
    );
    fs::write(&path, "s3cret,ann\n").unwrap();
    let why = said(&path).unwrap_err();
    assert!(why.contains("line 1: there must be token, user, uid"), "{why}");
    assert!(!why.contains("s3cret"), "{why}");
    fs::write(&path, vec![b'\n'; 1024 * 1024 + 1]).unwrap();
    assert!(said(&path).unwrap_err().ends_with("it is larger than 1 MiB"));
    fs::write(&path, "s3cret,ann,u1\n").unwrap();
    assert_eq!(said(&path), Ok(()));
}

/// Moves the clock on and asks: time only moves here, and files are read at once.
async fn users(tokens: &StaticTokens, names: [&str; 2]) -> [Option<String>; 2] {
    tokio::time::advance(LOOK).await;
    let mut found = [None, None];
    for (found, name) in found.iter_mut().zip(names) {
        *found = tokens
            .caller_of(&key(name))
            .await
            .map(|caller| caller.user.clone());
    }
    found
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_counts_and_a_broken_one_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tokens");
    fs::write(&path, "abc,ann,u1\n").unwrap();
    let tokens = StaticTokens::open(path.clone());
    let (ann, bob) = (Some("ann".to_owned()), Some("bob".to_owned()));
    assert_eq!(
        tokens
            .caller_of(&key("abc"))
            .await
            .map(|caller| caller.user.clone()),
        ann
    );
    fs::write(&path, "xyz,bob,u2\n").unwrap();
    assert_eq!(
        tokens.caller_of(&key("xyz")).await,
        None,
        "looked at once a second at most"
    );
    assert_eq!(users(&tokens, ["abc", "xyz"]).await, [None, bob.clone()]);
    fs::write(&path, "abc,ann,u1\nbroken\n").unwrap();
    assert_eq!(users(&tokens, ["abc", "xyz"]).await, [None, bob.clone()]);
    fs::remove_file(&path).unwrap();
    assert_eq!(users(&tokens, ["abc", "xyz"]).await, [None, bob]);
    fs::write(&path, "abc,ann,u1\n").unwrap();
    assert_eq!(users(&tokens, ["abc", "xyz"]).await, [ann, None]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_comes_later_is_found() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tokens");
    let tokens = StaticTokens::open(path.clone());
    assert_eq!(users(&tokens, ["abc", "abc"]).await, [None, None]);
    fs::write(&path, "abc,ann,u1\n").unwrap();
    assert_eq!(users(&tokens, ["abc", "xyz"]).await, [Some("ann".into()), None]);
}
