use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::*;
use crate::local::scheduler::resources::Resources;

fn content(volume: Value) -> Result<Content, String> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "p", "annotations": { "body": "hello" } },
        "spec": { "containers": [{ "name": "task", "resources": { "limits": { "cpu": "2" } } }] },
    }))
    .unwrap();
    let map = json!({ "data": { "a": "1", "b": "2" }, "binaryData": { "c": "/w==" } });
    let secret = json!({ "data": { "s": "c2VjcmV0" } });
    let sources = Sources {
        config_maps: [("cm".to_owned(), serde_json::from_value(map).unwrap())].into(),
        secrets: [("sec".to_owned(), serde_json::from_value(secret).unwrap())].into(),
    };
    let wanted = TokenWanted {
        audience: Some("api".to_owned()),
        seconds: 600,
    };
    let facts = NodeFacts {
        node_name: "n".to_owned(),
        host_ip: Ipv4Addr::LOCALHOST.into(),
        pod_ip: None,
        allocatable: Resources::default(),
    };
    let inputs = Inputs {
        pod: &pod,
        sources: &sources,
        tokens: &[(wanted, "t0k".to_owned())].into(),
        facts: &facts,
        images: &[("tools:1".to_owned(), PathBuf::from("/opt/tools"))].into(),
    };
    let volume: Volume = serde_json::from_value(volume).unwrap();
    contents(&volume, &inputs).map_err(|error| error.to_string())
}

fn files(list: &[(&str, &[u8], u32)]) -> Result<Content, String> {
    let file = |(path, bytes, mode): &(&str, &[u8], u32)| VolumeFile {
        path: (*path).to_owned(),
        bytes: bytes.to_vec(),
        mode: *mode,
    };
    Ok(Content::Files(list.iter().map(file).collect()))
}

#[test]
fn each_kind_of_volume_holds_what_its_source_says() {
    for (volume, expected) in [
        (json!({ "name": "v", "emptyDir": {} }), Ok(Content::Empty)),
        (
            json!({ "name": "v", "hostPath": { "path": "/tmp", "type": "Directory" } }),
            Ok(Content::Host {
                path: "/tmp".into(),
                kind: "Directory".to_owned(),
            }),
        ),
        (
            json!({ "name": "v", "image": { "reference": "tools:1" } }),
            Ok(Content::Image("/opt/tools".into())),
        ),
        (
            json!({ "name": "v", "configMap": { "name": "cm" } }),
            files(&[("a", b"1", 0o644), ("b", b"2", 0o644), ("c", b"\xff", 0o644)]),
        ),
        (
            json!({ "name": "v", "configMap": { "name": "cm", "defaultMode": 0o400, "items": [{ "key": "b", "path": "x/y", "mode": 0o755 }, { "key": "a", "path": "z" }] } }),
            files(&[("x/y", b"2", 0o755), ("z", b"1", 0o400)]),
        ),
        (
            json!({ "name": "v", "configMap": { "name": "none", "optional": true } }),
            files(&[]),
        ),
        (
            json!({ "name": "v", "secret": { "secretName": "sec" } }),
            files(&[("s", b"secret", 0o644)]),
        ),
        (
            json!({ "name": "v", "downwardAPI": { "items": [
                { "path": "body", "fieldRef": { "fieldPath": "metadata.annotations['body']" } },
                { "path": "cpu", "resourceFieldRef": { "containerName": "task", "resource": "limits.cpu" } } ] } }),
            files(&[("body", b"hello", 0o644), ("cpu", b"2", 0o644)]),
        ),
        (
            json!({ "name": "v", "projected": { "sources": [
                { "serviceAccountToken": { "path": "token", "audience": "api", "expirationSeconds": 600 } },
                { "secret": { "name": "sec" } } ] } }),
            files(&[("token", b"t0k", 0o644), ("s", b"secret", 0o644)]),
        ),
    ] {
        assert_eq!(content(volume.clone()), expected, "{volume}");
    }
}

#[test]
fn what_cannot_be_mounted_is_said() {
    for (volume, expected) in [
        (
            json!({ "name": "v", "configMap": { "name": "none" } }),
            "configmap \"none\" not found",
        ),
        (
            json!({ "name": "v", "secret": { "secretName": "none" } }),
            "secret \"none\" not found",
        ),
        (
            json!({ "name": "v", "configMap": { "name": "cm", "items": [{ "key": "q", "path": "q" }] } }),
            "volume \"v\" references non-existent key: q",
        ),
        (
            json!({ "name": "v", "configMap": { "name": "cm", "items": [{ "key": "a", "path": "../../etc/passwd" }] } }),
            "volume \"v\" has the path \"../../etc/passwd\": it must be relative and must not contain '..'",
        ),
        (
            json!({ "name": "v", "downwardAPI": { "items": [{ "path": "x", "fieldRef": { "fieldPath": "spec" } }] } }),
            "volume \"v\": unsupported fieldPath: spec",
        ),
        (
            json!({ "name": "v", "projected": { "sources": [{ "serviceAccountToken": { "path": "token" } }] } }),
            "no token for volume \"v\"",
        ),
        (
            json!({ "name": "v", "image": { "reference": "other:1", "pullPolicy": "Never" } }),
            "failed to pull image \"other:1\" for volume \"v\": Container image \"other:1\" is not present with pull policy of Never",
        ),
    ] {
        assert_eq!(content(volume.clone()), Err(expected.to_owned()), "{volume}");
    }
    assert!(content(json!({ "name": "v", "nfs": { "path": "/", "server": "x" } })).is_err());
}

#[test]
fn mounts_point_into_volumes_and_never_out_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let empty = materialize(root, "data", &Content::Empty).unwrap();
    let one = VolumeFile {
        path: "deep/x".to_owned(),
        bytes: b"1".to_vec(),
        mode: 0o400,
    };
    let files = Content::Files(vec![one]);
    let input = materialize(root, "input", &files).unwrap();
    assert_eq!(std::fs::read(input.join("deep/x")).unwrap(), b"1");
    let folders: HashMap<String, (PathBuf, Content)> = [
        ("data".to_owned(), (empty.clone(), Content::Empty)),
        ("input".to_owned(), (input.clone(), files)),
        (
            "bin".to_owned(),
            ("/opt/tools".into(), Content::Image("/opt/tools".into())),
        ),
    ]
    .into();
    let with = |mount: Value| {
        let container = serde_json::from_value(json!({ "name": "task", "volumeMounts": [mount] })).unwrap();
        mounts(&container, &folders, &[("POD".to_owned(), "p".to_owned())]).map_err(|error| error.to_string())
    };
    let mount = |host: PathBuf, read_only: bool| {
        Ok(vec![Mount {
            host,
            container: "/m".to_owned(),
            read_only,
        }])
    };
    assert_eq!(
        with(json!({ "name": "data", "mountPath": "/m" })),
        mount(empty.clone(), false)
    );
    assert_eq!(
        with(json!({ "name": "bin", "mountPath": "/m" })),
        mount("/opt/tools".into(), true)
    );
    let sub = with(json!({ "name": "data", "mountPath": "/m", "subPathExpr": "$(POD)/x", "readOnly": true }));
    assert_eq!(sub, mount(empty.join("p/x"), true));
    assert!(empty.join("p/x").is_dir());
    let sub = with(json!({ "name": "input", "mountPath": "/m", "subPath": "deep/x" }));
    assert_eq!(sub, mount(input.join("deep/x"), false));
    assert!(with(json!({ "name": "data", "mountPath": "/m", "subPath": "../input" })).is_err());
    assert!(with(json!({ "name": "data", "mountPath": "/m", "subPath": "/etc" })).is_err());
    assert!(with(json!({ "name": "none", "mountPath": "/m" })).is_err());
}
