use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::facade::dialects::diego::messages::{
    self, CachedDependency, ImageLayer, LogRateLimit, SerialAction, SharedDevice, VolumeMount,
};
use crate::facade::dialects::diego::settings::VolumeKind;

fn run(path: &str) -> messages::Action {
    messages::Action {
        run: Some(Box::new(messages::RunAction {
            path: path.into(),
            args: vec!["-c".into(), "true".into()],
            user: "vcap".into(),
            resource_limits: Some(messages::ResourceLimits {
                nofile: Some(1024),
                nproc: Some(7),
            }),
            ..messages::RunAction::default()
        })),
        ..messages::Action::default()
    }
}

fn good() -> TaskDefinition {
    TaskDefinition {
        root_fs: "docker:///busybox#1".into(),
        action: Some(run("sh")),
        ..TaskDefinition::default()
    }
}

fn made(definition: &TaskDefinition, settings: &Settings) -> Result<Task, Unsupported> {
    let wanted = Wanted {
        guid: "Some_guid",
        domain: "cf-tasks",
        bytes: b"bytes",
        definition,
        hidden: None,
    };
    task(&wanted, settings)
}

/// The Task of a definition whose password was cut out.
fn made_hidden(definition: &TaskDefinition, settings: &Settings) -> Task {
    let wanted = Wanted {
        guid: "Some_guid",
        domain: "cf-tasks",
        bytes: b"all bytes",
        definition,
        hidden: Some(Hidden {
            rest: b"the rest".to_vec(),
            sealed: "sealed".into(),
            secret: "its-secret".into(),
        }),
    };
    task(&wanted, settings).unwrap()
}

#[test]
fn a_task_with_a_password_waits_for_its_secret_and_shows_none() {
    let definition = TaskDefinition {
        image_username: "u".into(),
        image_password: "hush".into(),
        ..good()
    };
    let task = made_hidden(&definition, &Settings::default());
    assert_eq!(task.spec.suspend, Some(true));
    let pod = json!(task.spec.actions.as_ref().unwrap().pod);
    assert_eq!(pod, json!({"imagePullSecrets": [{"name": "its-secret"}]}));
    assert_eq!(
        (names::definition(&task), names::sealed(&task)),
        (Some(b"the rest".to_vec()), Some("sealed"))
    );
    assert!(!serde_json::to_string(&task).unwrap().contains("hush"));
}

#[test]
fn a_password_goes_to_no_registry_that_its_caller_does_not_name() {
    let settings = Settings {
        stacks: [("s".to_owned(), "registry.example.com/stack".to_owned())].into(),
        ..Settings::default()
    };
    let definition = TaskDefinition {
        root_fs: "preloaded:s".into(),
        image_username: "u".into(),
        ..good()
    };
    let task = made_hidden(&definition, &settings);
    assert_eq!(
        (task.spec.suspend, &task.spec.actions.unwrap().pod),
        (None, &None)
    );
    let cells = Settings {
        cells: true,
        ..Settings::default()
    };
    let task = made_hidden(&definition, &cells);
    assert_eq!((task.spec.suspend, names::sealed(&task)), (None, Some("sealed")));
    let shown = made(&definition, &cells).unwrap_err();
    assert_eq!(shown, Unsupported::Credentials, "else it would stand in the Task");
}

fn spec(definition: &TaskDefinition) -> Value {
    let task = made(definition, &Settings::default()).unwrap();
    serde_json::to_value(task.spec).unwrap()
}

#[test]
fn rules_about_the_network_count_where_the_operator_wants_them_to() {
    let rule = messages::SecurityGroupRule {
        protocol: "all".into(),
        destinations: vec!["10.0.0.0/8".into()],
        log: true,
        ..messages::SecurityGroupRule::default()
    };
    let definition = TaskDefinition {
        egress_rules: vec![rule],
        ..good()
    };
    let of = |definition: &TaskDefinition, egress: bool| {
        let settings = Settings {
            egress,
            ..Settings::default()
        };
        let task = made(definition, &settings).unwrap();
        let pod = task.spec.actions.unwrap().pod;
        let not_kept = task.metadata.annotations.unwrap().remove(names::NOT_KEPT);
        (json!(pod), not_kept)
    };
    let rules = json!([{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]);
    assert_eq!(
        of(&definition, false),
        (Value::Null, Some("egress_rules".to_owned()))
    );
    assert_eq!(
        of(&definition, true),
        (json!({"egress": rules}), Some("egress_rules.log".to_owned()))
    );
    assert_eq!(of(&good(), true), (json!({"egress": []}), None));
}

#[test]
fn a_definition_becomes_a_task_with_actions() {
    let definition = TaskDefinition {
        environment_variables: vec![EnvironmentVariable {
            name: "A".into(),
            value: "1".into(),
        }],
        memory_mb: 64,
        disk_mb: 128,
        cpu_weight: 5,
        log_source: "TSK".into(),
        log_guid: "logs".into(),
        result_file: "/tmp/result".into(),
        completion_callback_url: "https://cc.example.com/x".into(),
        annotation: "note".into(),
        placement_tags: vec!["isolated".into()],
        ..good()
    };
    let key = "placement.errand.dev/isolated";
    let wanted = json!({
        "actions": {
            "container": {"image": "docker.io/busybox:1", "env": [{"name": "A", "value": "1"}]},
            "action": {"run": {"path": "sh", "args": ["-c", "true"], "user": "vcap", "nofile": 1024}},
            "logSource": "TSK", "resultFile": "/tmp/result", "pendingTimeout": "30m", "ttlAfterFinished": "2m",
        },
        "capabilities": {"memory": "64Mi", "ephemeralStorage": "128Mi", "nodeSelector": {key: "true"},
            "tolerations": [{"key": key, "operator": "Exists"}]},
        "timeout": "720h", "domain": "cf-tasks", "annotation": "note",
        "callback": {"url": "https://cc.example.com/x", "policy": "Diego", "subject": "Some_guid"},
    });
    assert_eq!(spec(&definition), wanted);
}

#[test]
fn a_task_for_cells_from_outside_has_no_pod_and_no_bounds() {
    let settings = Settings {
        cells: true,
        ..Settings::default()
    };
    let definition = TaskDefinition {
        root_fs: "anything:x".into(),
        volume_mounts: vec![VolumeMount::default()],
        max_pids: 5,
        ..good()
    };
    let task = made(&definition, &settings).unwrap();
    assert_eq!(
        serde_json::to_value(&task.spec).unwrap(),
        json!({"external": {"processor": "diego"}, "timeout": "720h", "domain": "cf-tasks"})
    );
    assert_eq!(task.name_any(), names::object_name("Some_guid"));
    assert_eq!(
        (names::guid(&task), names::definition(&task)),
        (Some("Some_guid"), Some(b"bytes".to_vec()))
    );
    assert!(!task.annotations().contains_key(names::NOT_KEPT));
}

#[test]
fn what_has_no_effect_is_noted() {
    let definition = TaskDefinition {
        cpu_weight: 50,
        max_pids: 10,
        log_rate_limit: Some(LogRateLimit { bytes_per_second: -1 }),
        ..good()
    };
    let task = made(&definition, &Settings::default()).unwrap();
    assert_eq!(
        task.annotations()[names::NOT_KEPT],
        "cpu_weight,max_pids,log_rate_limit"
    );
}

#[test]
fn what_a_task_cannot_do_without_is_refused_with_a_sentence() {
    type Change = fn(&mut TaskDefinition);
    let cases: [(Change, &str); 9] = [
        (
            |d| d.root_fs = "preloaded:x".into(),
            "no image is known for stack \"x\"",
        ),
        (
            |d| d.root_fs = "oci:///x".into(),
            "only docker://[HOST]/PATH[#TAG], preloaded:STACK and preloaded+layer:STACK",
        ),
        (
            |d| d.root_fs = "preloaded+layer:x?layer=http://a".into(),
            "no image is known for stack \"x\"",
        ),
        (
            |d| {
                d.volume_mounts = vec![VolumeMount {
                    driver: "nfsv3driver".into(),
                    ..VolumeMount::default()
                }];
            },
            "--diego-volume nfsv3driver=claim",
        ),
        (
            |d| d.volume_mounted_files = vec![messages::File::default()],
            "volume_mounted_files: the path \"\" of a file",
        ),
        (
            |d| d.image_username = "u".into(),
            "image_username and image_password need keys that seal them",
        ),
        (
            |d| d.completion_callback_url = "ftp://x".into(),
            "is not an http or https URL",
        ),
        (|d| d.placement_tags = vec!["a b".into()], "placement tag \"a b\""),
        (
            |d| {
                d.environment_variables = vec![EnvironmentVariable {
                    name: "A=B".into(),
                    value: String::new(),
                }];
            },
            "environment variable \"A=B\"",
        ),
    ];
    for (change, part) in cases {
        let mut definition = good();
        change(&mut definition);
        let refused = made(&definition, &Settings::default()).unwrap_err().to_string();
        assert!(refused.contains(part), "{refused}");
    }
    let wanted = Wanted {
        guid: "g",
        domain: "d",
        bytes: &vec![0; names::MAX_DEFINITION + 1],
        definition: &good(),
        hidden: None,
    };
    let refused = task(&wanted, &Settings::default()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the task definition has 184321 bytes; at most 184320 are possible"
    );
}

#[test]
fn layers_and_dependencies_are_downloaded_first() {
    let layer = |kind, name: &str| ImageLayer {
        name: name.into(),
        url: format!("http://blobs/{name}"),
        destination_path: format!("/{name}"),
        layer_type: kind,
        media_type: 1,
        digest_algorithm: 1,
        digest_value: "ab".repeat(32),
    };
    let definition = TaskDefinition {
        image_layers: vec![layer(2, "droplet"), layer(1, "lifecycle")],
        cached_dependencies: vec![CachedDependency {
            from: "http://blobs/dep".into(),
            to: "/dep".into(),
            ..CachedDependency::default()
        }],
        legacy_download_user: "vcap".into(),
        ..good()
    };
    let digest = "ab".repeat(32);
    let checksum = json!({"algorithm": "sha256", "value": digest});
    let key = format!("sha256:{digest}");
    let wanted = json!({"serial": {"actions": [
        {"parallel": {"actions": [
            {"download": {"from": "http://blobs/lifecycle", "to": "/lifecycle", "artifact": "lifecycle", "checksum": checksum, "cacheKey": key}},
            {"download": {"from": "http://blobs/dep", "to": "/dep"}},
            {"download": {"from": "http://blobs/droplet", "to": "/droplet", "artifact": "droplet", "user": "vcap", "checksum": checksum, "cacheKey": key}},
        ]}},
        {"run": {"path": "sh", "args": ["-c", "true"], "user": "vcap", "nofile": 1024}},
    ]}});
    assert_eq!(spec(&definition)["actions"]["action"], wanted);
}

#[test]
fn files_and_volumes_come_into_the_container() {
    let settings = Settings {
        volumes: [("nfsv3driver".to_owned(), VolumeKind::Claim)].into(),
        ..Settings::default()
    };
    let file = |path: &str, content: &str| messages::File {
        path: path.into(),
        content: content.into(),
    };
    let mut definition = TaskDefinition {
        volume_mounted_files: vec![file("/db/user", "ann")],
        volume_mounts: vec![VolumeMount {
            driver: "nfsv3driver".into(),
            container_dir: "/data".into(),
            mode: "r".into(),
            shared: Some(SharedDevice {
                volume_id: "shared".into(),
                mount_config: "{}".into(),
            }),
        }],
        ..good()
    };
    let run = definition.action.as_mut().unwrap().run.as_mut().unwrap();
    run.volume_mounted_files = vec![file("elsewhere", "")];
    let task = made(&definition, &settings).unwrap();
    let actions = json!(task.spec.actions);
    assert_eq!(
        actions["files"],
        json!({"mountPath": "/etc/cf-service-bindings", "contents": {"db/user": "ann"}})
    );
    assert_eq!(
        actions["pod"],
        json!({"volumes": [{"name": "volume-0", "persistentVolumeClaim": {"claimName": "shared"}}]})
    );
    assert_eq!(
        actions["container"]["volumeMounts"],
        json!([{"name": "volume-0", "mountPath": "/data", "readOnly": true}])
    );
    assert_eq!(
        task.annotations()[names::NOT_KEPT],
        "action.run.volume_mounted_files,volume_mounts.mount_config"
    );
}

#[test]
fn the_layer_of_a_root_file_system_goes_before_all_else() {
    let settings = Settings {
        stacks: [("s".to_owned(), "stack:1".to_owned())].into(),
        ..Settings::default()
    };
    let (sha256, sha512) = ("ab".repeat(32), "cd".repeat(64));
    let definition = TaskDefinition {
        root_fs: format!("preloaded+layer:s?layer=http://blobs/root&layer_path=/app&layer_digest={sha256}"),
        image_layers: vec![ImageLayer {
            url: "http://blobs/shared".into(),
            destination_path: "/shared".into(),
            layer_type: 1,
            media_type: 1,
            digest_algorithm: 2,
            digest_value: sha512.clone(),
            ..ImageLayer::default()
        }],
        ..good()
    };
    let actions = json!(made(&definition, &settings).unwrap().spec.actions);
    assert_eq!(actions["container"]["image"], "stack:1");
    let run = json!({"run": {"path": "sh", "args": ["-c", "true"], "user": "vcap", "nofile": 1024}});
    let shared = json!({"download": {"from": "http://blobs/shared", "to": "/shared",
        "checksum": {"algorithm": "sha512", "value": sha512}, "cacheKey": format!("sha512:{sha512}")}});
    let layer = json!({"download": {"from": "http://blobs/root", "to": "/app",
        "checksum": {"algorithm": "sha256", "value": sha256}}});
    let after = json!({"serial": {"actions": [{"parallel": {"actions": [shared]}}, run]}});
    assert_eq!(actions["action"], json!({"serial": {"actions": [layer, after]}}));
}

#[test]
fn without_a_log_guid_log_sources_have_no_names() {
    let named = |log_guid: &str| {
        let mut definition = TaskDefinition {
            log_source: "TSK".into(),
            log_guid: log_guid.into(),
            ..good()
        };
        let run = definition.action.as_mut().unwrap().run.as_mut().unwrap();
        run.log_source = "RUN".into();
        let spec = spec(&definition);
        (
            spec["actions"]["logSource"].clone(),
            spec["actions"]["action"]["run"]["logSource"].clone(),
        )
    };
    assert_eq!(named("g"), (json!("TSK"), json!("RUN")));
    assert_eq!(named(""), (Value::Null, Value::Null));
}

#[test]
fn kubernetes_puts_nothing_in_the_place_of_parts_of_a_value() {
    let variable = |name: &str, value: &str| EnvironmentVariable {
        name: name.into(),
        value: value.into(),
    };
    let given = [
        variable("A", "first"),
        variable("B", "$(A) and $$"),
        variable("C", "$HOME costs $5"),
        variable("A", "last"),
    ];
    let got: Vec<_> = variables(&given)
        .unwrap()
        .into_iter()
        .map(|variable| (variable.name, variable.value.unwrap()))
        .collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        got,
        [
            pair("B", "$$(A) and $$$$"),
            pair("C", "$HOME costs $5"),
            pair("A", "last")
        ]
    );
}

#[test]
fn actions_deeper_than_a_task_holds_are_refused_with_a_sentence() {
    let mut action = run("sh");
    for _ in 0..40 {
        action = messages::Action {
            serial: Some(Box::new(SerialAction {
                actions: vec![action],
                ..SerialAction::default()
            })),
            ..messages::Action::default()
        };
    }
    let definition = TaskDefinition {
        action: Some(action),
        ..good()
    };
    let refused = made(&definition, &Settings::default()).unwrap_err();
    assert!(matches!(refused, Unsupported::Actions(_)), "{refused}");
}

#[test]
fn more_actions_than_a_task_holds_are_refused_before_anything_is_made_of_them() {
    let with = |count| {
        let serial = SerialAction {
            actions: vec![run("sh"); count],
            ..SerialAction::default()
        };
        let action = messages::Action {
            serial: Some(Box::new(serial)),
            ..messages::Action::default()
        };
        let definition = TaskDefinition {
            action: Some(action),
            ..good()
        };
        made(&definition, &Settings::default()).map(drop)
    };
    assert_eq!(with(MAX_ACTIONS - 1), Ok(()));
    assert_eq!(with(MAX_ACTIONS), Err(ActionsError::TooMany.into()));
}

proptest! {
    #[test]
    fn any_file_system_address_and_tag_are_mapped_or_refused(rootfs in ".{0,40}", url in ".{0,40}", tag in ".{0,20}") {
        let definition = TaskDefinition {
            root_fs: rootfs,
            completion_callback_url: url,
            placement_tags: vec![tag],
            ..good()
        };
        let _ = made(&definition, &Settings::default());
    }
}
