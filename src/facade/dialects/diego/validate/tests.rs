use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::facade::dialects::diego::messages::{
    Action, CodependentAction, DownloadAction, EmitProgressAction, LogRateLimit, ParallelAction, RunAction,
    SecurityGroupRule, SerialAction, TimeoutAction, TryAction, UploadAction,
};

fn run() -> Action {
    Action {
        run: Some(Box::new(RunAction {
            path: "sh".into(),
            user: "vcap".into(),
            ..RunAction::default()
        })),
        ..Action::default()
    }
}

fn good() -> TaskDefinition {
    TaskDefinition {
        root_fs: "docker:///busybox".into(),
        action: Some(run()),
        ..TaskDefinition::default()
    }
}

fn told(outcome: Result<(), Failure>) -> String {
    match outcome {
        Ok(()) => String::new(),
        Err(Failure::Told(error)) => error.message,
        Err(Failure::Refused(refusal)) => refusal.to_string(),
    }
}

/// What a definition is told that is good but for this.
fn but_for(change: impl FnOnce(&mut TaskDefinition)) -> String {
    let mut definition = good();
    change(&mut definition);
    told(desire("g", "d", Some(&definition)))
}

fn acting(action: Action) -> String {
    but_for(|definition| definition.action = Some(action))
}

#[test]
fn ids_are_checked_as_the_real_server_does() {
    let long = "x".repeat(256);
    let most = "é".repeat(255);
    for (guid, domain, text) in [
        ("a-B_9", "d", ""),
        ("", "", "Invalid field: task_guid, Invalid field: domain"),
        ("a b", "d", "Invalid field: task_guid"),
        ("a\n", "d", "Invalid field: task_guid"),
        ("é", "d", "Invalid field: task_guid"),
        ("g", &most, ""),
        (&long, "d", "the request received is invalid"),
        ("g", &long, "the request received is invalid"),
    ] {
        assert_eq!(told(desire(guid, domain, Some(&good()))), text, "{guid} {domain}");
    }
    assert_eq!(told(desire("g", "d", None)), "Invalid field: task_definition");
}

#[test]
fn the_other_calls_name_what_they_miss() {
    let start = |guid: &str, cell: &str| {
        told(super::start(&StartTaskRequest {
            task_guid: guid.into(),
            cell_id: cell.into(),
        }))
    };
    assert_eq!(start("g", "c"), "");
    assert_eq!(start("", ""), "Invalid field: task_guid, Invalid field: cell_id");
    assert_eq!(start("g", &"c".repeat(256)), "the request received is invalid");
    let complete = CompleteTaskRequest {
        task_guid: "g".into(),
        ..CompleteTaskRequest::default()
    };
    assert_eq!(told(super::complete(&complete)), "Invalid field: cell_id");
    let fail = FailTaskRequest {
        task_guid: "?".into(),
        failure_reason: String::new(),
    };
    assert_eq!(
        told(super::fail(&fail)),
        "Invalid field: task_guid, Invalid field: failure_reason"
    );
    let reject = RejectTaskRequest {
        task_guid: "g".into(),
        rejection_reason: String::new(),
    };
    assert_eq!(told(super::reject(&reject)), "Invalid field: failure_reason");
    let named = |guid: &str| {
        told(super::named(&TaskGuidRequest {
            task_guid: guid.into(),
        }))
    };
    assert_eq!(
        (named(""), named("any text")),
        ("Invalid field: task_guid".into(), String::new())
    );
    assert_eq!(
        told(super::upsert(&UpsertDomainRequest::default())),
        "Invalid field: domain"
    );
}

#[test]
fn a_definition_is_told_what_is_wrong_with_its_fields() {
    type Change = fn(&mut TaskDefinition);
    let cases: [(Change, &str); 14] = [
        (|d| d.root_fs = String::new(), "Invalid field: rootfs"),
        (|d| d.root_fs = ":x".into(), "Invalid field: rootfs"),
        (|d| d.root_fs = "plain".into(), "Invalid field: rootfs"),
        (|d| d.action = None, "invalid action type"),
        (|d| d.memory_mb = -1, "Invalid field: memory_mb"),
        (|d| d.disk_mb = -1, "Invalid field: disk_mb"),
        (|d| d.max_pids = -1, "Invalid field: max_pids"),
        (
            |d| d.annotation = "x".repeat(10 * 1024 + 1),
            "Invalid field: annotation",
        ),
        (
            |d| {
                d.log_rate_limit = Some(LogRateLimit { bytes_per_second: -2 });
            },
            "Invalid field: log_rate_limit",
        ),
        (|d| d.image_username = "u".into(), "Invalid field: image_password"),
        (|d| d.image_password = "p".into(), "Invalid field: image_username"),
        (
            |d| d.egress_rules = vec![SecurityGroupRule::default()],
            "Invalid field: egress_rules",
        ),
        (
            |d| d.cached_dependencies = vec![CachedDependency::default()],
            "Invalid field: cached_dependency, Invalid field: from, Invalid field: to",
        ),
        (
            |d| {
                d.image_layers = vec![ImageLayer {
                    layer_type: 2,
                    ..ImageLayer::default()
                }];
            },
            "Invalid field: image_layer, Invalid field: url, Invalid field: destination_path, Invalid field: media_type, \
             Invalid field: digest_algorithm, Invalid field: digest_value, Invalid field: legacy_download_user",
        ),
    ];
    for (change, text) in cases {
        assert_eq!(but_for(change), text);
    }
    assert_eq!(
        but_for(|d| {
            d.root_fs = String::new();
            d.action = None;
            d.memory_mb = -1;
        }),
        "Invalid field: rootfs, invalid action type, Invalid field: memory_mb"
    );
}

#[test]
fn what_the_real_server_does_not_look_at_is_not_looked_at_here() {
    let text = but_for(|d| {
        d.cpu_weight = 1000;
        d.completion_callback_url = "anything".into();
        d.placement_tags = vec![String::new()];
        d.log_rate_limit = Some(LogRateLimit { bytes_per_second: -1 });
        d.annotation = "x".repeat(10 * 1024);
    });
    assert_eq!(text, "");
}

#[test]
fn layers_need_a_digest_that_is_whole_and_known() {
    let layer = |algorithm, value: &str| {
        but_for(|d| {
            d.image_layers = vec![ImageLayer {
                url: "http://x".into(),
                destination_path: "/x".into(),
                layer_type: 1,
                media_type: 1,
                digest_algorithm: algorithm,
                digest_value: value.into(),
                ..ImageLayer::default()
            }];
        })
    };
    assert_eq!((layer(0, ""), layer(1, "v"), layer(2, "v")), Default::default());
    assert_eq!(
        layer(1, ""),
        "Invalid field: image_layer, Invalid field: digest_value"
    );
    // The real server says it twice.
    let twice = "Invalid field: digest_algorithm, Invalid field: digest_algorithm";
    assert_eq!(layer(0, "v"), format!("Invalid field: image_layer, {twice}"));
    assert_eq!(
        layer(9, "v"),
        "Invalid field: image_layer, Invalid field: digest_algorithm"
    );
}

#[test]
fn actions_are_told_apart_by_the_first_that_is_there() {
    let prefix = "Invalid field: action, ";
    let group = || {
        Box::new(SerialAction {
            actions: vec![],
            log_source: String::new(),
        })
    };
    for (action, text) in [
        (Action::default(), "Invalid field: inner-action"),
        (
            Action {
                run: Some(Box::default()),
                serial: Some(group()),
                ..Action::default()
            },
            "Invalid field: path, Invalid field: user",
        ),
        (
            Action {
                download: Some(Box::default()),
                ..Action::default()
            },
            "Invalid field: from, Invalid field: to, Invalid field: user",
        ),
        (
            Action {
                upload: Some(Box::default()),
                ..Action::default()
            },
            "Invalid field: to, Invalid field: from, Invalid field: user",
        ),
        (
            Action {
                timeout: Some(Box::default()),
                ..Action::default()
            },
            "Invalid field: action, Invalid field: timeout_ms",
        ),
        (
            Action {
                emit_progress: Some(Box::default()),
                ..Action::default()
            },
            "Invalid field: action",
        ),
        (
            Action {
                try_: Some(Box::default()),
                ..Action::default()
            },
            "Invalid field: action",
        ),
        (
            Action {
                parallel: Some(Box::default()),
                ..Action::default()
            },
            "Invalid field: actions",
        ),
        (
            Action {
                serial: Some(group()),
                ..Action::default()
            },
            "Invalid field: actions",
        ),
        (
            Action {
                codependent: Some(Box::default()),
                ..Action::default()
            },
            "Invalid field: actions",
        ),
    ] {
        assert_eq!(acting(action.clone()), format!("{prefix}{text}"), "{action:?}");
    }
    let deep = Action {
        parallel: Some(Box::new(ParallelAction {
            actions: vec![
                run(),
                Action::default(),
                Action {
                    try_: Some(Box::new(TryAction {
                        action: Some(Box::default()),
                        ..TryAction::default()
                    })),
                    ..Action::default()
                },
            ],
            ..ParallelAction::default()
        })),
        ..Action::default()
    };
    let inner = "Invalid field: inner-action";
    assert_eq!(acting(deep), format!("{prefix}{inner}, {inner}"));
}

#[test]
fn all_kinds_of_actions_pass_when_they_are_whole() {
    let download = DownloadAction {
        from: "http://x".into(),
        to: "/x".into(),
        user: "vcap".into(),
        checksum_algorithm: "SHA256".into(),
        checksum_value: "ab".into(),
        ..DownloadAction::default()
    };
    let upload = UploadAction {
        from: "/x".into(),
        to: "http://x".into(),
        user: "vcap".into(),
        ..UploadAction::default()
    };
    let child = || Some(Box::new(run()));
    let all = vec![
        Action {
            download: Some(Box::new(download.clone())),
            ..Action::default()
        },
        Action {
            upload: Some(Box::new(upload)),
            ..Action::default()
        },
        Action {
            timeout: Some(Box::new(TimeoutAction {
                action: child(),
                timeout_ms: 1,
                ..TimeoutAction::default()
            })),
            ..Action::default()
        },
        Action {
            emit_progress: Some(Box::new(EmitProgressAction {
                action: child(),
                ..EmitProgressAction::default()
            })),
            ..Action::default()
        },
        Action {
            codependent: Some(Box::new(CodependentAction {
                actions: vec![run()],
                ..CodependentAction::default()
            })),
            ..Action::default()
        },
    ];
    let serial = Action {
        serial: Some(Box::new(SerialAction {
            actions: all,
            ..SerialAction::default()
        })),
        ..Action::default()
    };
    assert_eq!(acting(serial), "");
    for (algorithm, value, text) in [
        ("", "ab", "checksum algorithm"),
        ("md5", "", "checksum value"),
        ("sha512", "ab", "invalid algorithm"),
    ] {
        let download = DownloadAction {
            checksum_algorithm: algorithm.into(),
            checksum_value: value.into(),
            ..download.clone()
        };
        let action = Action {
            download: Some(Box::new(download)),
            ..Action::default()
        };
        assert_eq!(
            acting(action),
            format!("Invalid field: action, Invalid field: {text}")
        );
    }
}

#[test]
fn an_answer_stays_small_however_much_is_wrong() {
    let parallel = ParallelAction {
        actions: vec![Action::default(); 50_000],
        ..ParallelAction::default()
    };
    let action = Action {
        parallel: Some(Box::new(parallel)),
        ..Action::default()
    };
    assert_eq!(acting(action).matches("Invalid field").count(), MOST);
}

proptest! {
    #[test]
    fn any_definition_that_is_read_is_judged(bytes in prop::collection::vec(any::<u8>(), 0..300), guid in ".{0,20}") {
        if let Ok(definition) = TaskDefinition::decode(&*bytes) {
            let _ = desire(&guid, "d", Some(&definition));
        }
    }

    #[test]
    fn a_guid_is_letters_digits_dashes_and_underscores(guid in "[a-zA-Z0-9_é .-]{0,8}") {
        let legal = !guid.is_empty() && guid.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        prop_assert_eq!(told(desire(&guid, "d", Some(&good()))).is_empty(), legal);
    }
}
