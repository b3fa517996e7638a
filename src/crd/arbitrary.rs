//! Strategies for property tests: Tasks, Functions and Schedules that the API accepts, however odd they are. Boxed, since whole
//! trees of such values do not fit the stack of a test's thread.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{
    api::core::v1::{
        EnvFromSource, EnvVar, EnvVarSource, LocalObjectReference, NodeAffinity, NodeSelector,
        NodeSelectorRequirement, NodeSelectorTerm, ObjectFieldSelector, PreferredSchedulingTerm,
        SecretEnvSource, SecretKeySelector, Toleration, VolumeMount,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use proptest::{
    collection::{btree_map, vec},
    option::{of, weighted},
    prelude::*,
    strategy::Union,
};
use serde_json::json;

use super::*;

/// A name that an object may have: a DNS subdomain, of up to 253 characters.
pub fn object_name() -> BoxedStrategy<String> {
    let label = prop_oneof![4 => "[a-z]{1,8}", 1 => "[a-z0-9]([a-z0-9-]{0,80}[a-z0-9])?"];
    vec(label, 1..6)
        .prop_map(|labels| {
            let mut name = labels.join(".");
            name.truncate(253);
            name.trim_end_matches(['.', '-']).to_owned()
        })
        .boxed()
}

/// A Task as the API server hands it out, with a Function by reference.
pub fn task() -> BoxedStrategy<Task> {
    let uid = any::<u128>().prop_map(|uid| uuid::Uuid::from_u128(uid).to_string());
    (object_name(), object_name(), uid, task_spec())
        .prop_map(|(name, namespace, uid, spec)| Task {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace),
                uid: Some(uid),
                ..ObjectMeta::default()
            },
            spec,
            status: None,
        })
        .boxed()
}

/// A Task's spec that refers to a Function.
pub fn task_spec() -> BoxedStrategy<TaskSpec> {
    let words = (
        of(text()),
        of(text()),
        of(text()),
        of(text()),
        of(text()),
        of(text()),
    );
    let run = (
        of(input()),
        of(capabilities()),
        of(duration()),
        vec(env_var(), 0..4),
        of(retry()),
    );
    let version = of(0..i64::MAX);
    let rest = (
        of(-1_000_000..=1_000_000),
        of(any::<bool>()),
        of(callback()),
        of(any::<bool>()),
    );
    (object_name(), version, words, run, rest)
        .prop_map(|(name, version, words, run, rest)| TaskSpec {
            function_ref: Some(FunctionRef { name, version }),
            function: None,
            external: None,
            actions: None,
            input: run.0,
            capabilities: run.1,
            timeout: run.2,
            env: run.3,
            retry: run.4,
            title: words.0,
            description: words.1,
            owner: words.2,
            domain: words.3,
            annotation: words.4,
            command: words.5,
            priority: rest.0,
            cancel: rest.1,
            callback: rest.2,
            suspend: rest.3,
        })
        .boxed()
}

fn callback() -> BoxedStrategy<Callback> {
    let secret = ("[a-z]{1,8}", "[-._a-zA-Z0-9]{1,12}").prop_map(|(name, key)| SecretKeyRef { name, key });
    let retry =
        (of(1..=20_u32), of(duration())).prop_map(|(limit, backoff)| CallbackRetry { limit, backoff });
    let policy = prop_oneof![Just(CallbackPolicy::Standard), Just(CallbackPolicy::Diego)];
    (
        ("https?://[!-~]{1,40}", of(text1()), of(secret)),
        (
            of(policy),
            of(retry),
            of((100..=60_000_u64).prop_map(Duration::from_millis)),
        ),
        (of(any::<bool>()), of(any::<bool>())),
    )
        .prop_map(
            |((url, subject, secret_ref), (policy, retry, timeout), (follow_redirects, delete_after))| {
                let retry = retry.filter(|_| policy != Some(CallbackPolicy::Diego));
                Callback {
                    url,
                    subject,
                    secret_ref,
                    policy,
                    retry,
                    timeout,
                    follow_redirects,
                    delete_after,
                }
            },
        )
        .boxed()
}

/// Actions in a container.
pub fn actions() -> BoxedStrategy<Actions> {
    let run =
        (text1(), vec(text(), 0..3)).prop_map(|(path, args)| json!({"run": {"path": path, "args": args}}));
    let tree = run.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..3).prop_map(|actions| json!({"serial": {"actions": actions}})),
            inner.prop_map(|action| json!({"timeout": {"after": "1s", "action": action}})),
        ]
    });
    let times = (of(duration()), of(duration()));
    let files = ("/[a-z]{1,8}", btree_map("[a-z]{1,8}", text(), 0..3));
    let files = files.prop_map(|(mount_path, contents)| Files { mount_path, contents });
    (
        container(),
        tree,
        of(text1()),
        of(text1()),
        of(pod_options()),
        times,
        of(files),
    )
        .prop_map(
            |(container, tree, log_source, result_file, pod, times, files)| Actions {
                container: Container {
                    command: Vec::new(),
                    args: Vec::new(),
                    ..container
                },
                action: tree.as_object().cloned().unwrap_or_default(),
                log_source,
                files,
                result_file,
                logs: None,
                pending_timeout: times.0,
                ttl_after_finished: times.1,
                pod,
            },
        )
        .boxed()
}

/// A Function's spec.
pub fn function_spec() -> BoxedStrategy<FunctionSpec> {
    let times = (of(duration()), of(duration()), of(duration()));
    let words = (of(text()), of(text()));
    let ends = (of(retry()), result(), of(0..=MAX_LOG_BYTES));
    let rest = (
        of(1..=100_000_u32),
        of(any::<bool>()),
        vec((text1(), 0..i64::MAX), 0..3),
        of(any::<bool>()),
    );
    let whole = (
        container(),
        weighted(0.3, http()),
        of(capabilities()),
        of(pod_options()),
    );
    (whole, times, words, ends, rest)
        .prop_map(|(whole, times, words, ends, rest)| {
            let (container, http, capabilities, pod) = whole;
            let supervisable = http.is_none() && !container.command.is_empty();
            let mut result = ends.1;
            if http.is_some() {
                result.from = None;
                result.path = None;
            }
            FunctionSpec {
                description: words.0,
                display_name: words.1,
                supervise: rest.3.filter(|wish| !wish || supervisable),
                container,
                http,
                capabilities,
                timeout: times.0,
                pending_timeout: times.1,
                retry: ends.0,
                result: (result != ResultSpec::default()).then_some(result),
                logs: ends.2.map(|limit| Logs { limit: Some(limit) }),
                ttl_after_finished: times.2,
                max_concurrency: rest.0,
                paused: rest.1,
                aliases: rest
                    .2
                    .into_iter()
                    .map(|(name, version)| Alias {
                        name,
                        version,
                        description: None,
                    })
                    .collect(),
                pod,
            }
        })
        .boxed()
}

/// A Schedule's spec.
pub fn schedule_spec() -> BoxedStrategy<ScheduleSpec> {
    let policy = prop_oneof![
        Just(ConcurrencyPolicy::Allow),
        Just(ConcurrencyPolicy::Forbid),
        Just(ConcurrencyPolicy::Replace)
    ];
    // To the end of the year 9999.
    let start = (0..253_402_300_799_i64, 0..1_000_000_000_i32)
        .prop_map(|(seconds, nanoseconds)| Timestamp::new(seconds, nanoseconds).unwrap());
    let metadata = (btree_map(text(), text(), 0..3), btree_map(text(), text(), 0..3))
        .prop_map(|(labels, annotations)| TemplateMetadata { labels, annotations });
    let when = (text1(), "[A-Za-z/_]{1,64}", of(start), any::<bool>());
    let how = (
        of(1..=1_000_000_000_u32),
        of(any::<bool>()),
        of(duration()),
        of(policy),
    );
    (when, how, of(metadata), task_spec())
        .prop_map(
            |((cron, zone, start_at, again), how, metadata, spec)| ScheduleSpec {
                schedule: (again || start_at.is_none()).then_some(cron),
                time_zone: again.then_some(zone),
                start_at,
                count: how.0,
                suspend: how.1,
                starting_deadline: how.2,
                concurrency_policy: how.3,
                template: TaskTemplate { metadata, spec },
            },
        )
        .boxed()
}

/// Text of any characters; some of it is what Kubernetes might take for a variable. At most 255 characters.
fn text() -> BoxedStrategy<String> {
    prop_oneof![
        4 => ".{0,12}",
        2 => "[$()A ]{0,12}",
        2 => any::<String>(),
        1 => (any::<char>(), 0..256_usize).prop_map(|(c, n)| c.to_string().repeat(n)),
    ]
    .boxed()
}

fn text1() -> BoxedStrategy<String> {
    text()
        .prop_map(|text| if text.is_empty() { "x".to_owned() } else { text })
        .boxed()
}

fn duration() -> BoxedStrategy<Duration> {
    prop_oneof![Just(0), 0..5000_u64, any::<u64>()]
        .prop_map(Duration::from_millis)
        .boxed()
}

fn quantity() -> BoxedStrategy<Quantity> {
    r"\+?([0-9]{1,6}(\.[0-9]{0,3})?|\.[0-9]{1,3})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9])?"
        .prop_map(Quantity)
        .boxed()
}

fn input() -> BoxedStrategy<Input> {
    let header = ("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,24}", text());
    let many = (".{1,3}", 3000..4096_usize).prop_map(|(text, n)| text.chars().cycle().take(n).collect());
    let headers = prop_oneof![
        8 => btree_map(header.0, header.1, 0..4),
        1 => btree_map("[a-z]{1,8}", many, 0..64),
    ];
    let query = prop_oneof![4 => "[!-~]{0,40}", 1 => "[!-~]".prop_map(|c| c.repeat(8192))];
    let args = prop_oneof![9 => vec(text(), 0..5), 1 => vec("[$()a]{0,4}", 0..1024)];
    (
        of("[A-Z]{1,16}"),
        of(query),
        headers,
        of("[ -~]{0,40}"),
        body(),
        args,
    )
        .prop_map(
            |(method, query, headers, content_type, (body, body_base64), args)| Input {
                method,
                query,
                headers,
                content_type,
                body,
                body_base64,
                args,
            },
        )
        .boxed()
}

/// A body as text or as base64.
fn body() -> BoxedStrategy<(Option<String>, Option<String>)> {
    let repeated = (vec(any::<u8>(), 1..4), 0..=MAX_BODY_BYTES)
        .prop_map(|(some, length)| some.into_iter().cycle().take(length).collect());
    let bytes = prop_oneof![4 => vec(any::<u8>(), 0..64), 1 => repeated];
    let long = (any::<char>(), 0..=MAX_BODY_BYTES).prop_map(|(c, n)| c.to_string().repeat(n / c.len_utf8()));
    prop_oneof![
        1 => Just((None, None)),
        3 => text().prop_map(|text| (Some(text), None)),
        1 => long.prop_map(|text| (Some(text), None)),
        3 => bytes.prop_map(|bytes: Vec<u8>| (None, Some(STANDARD.encode(bytes)))),
    ]
    .boxed()
}

fn env_var() -> BoxedStrategy<EnvVar> {
    let secret =
        ("[a-z]{1,8}", "[a-z]{1,8}", of(any::<bool>())).prop_map(|(name, key, optional)| EnvVarSource {
            secret_key_ref: Some(SecretKeySelector { name, key, optional }),
            ..EnvVarSource::default()
        });
    let field = text().prop_map(|field_path| EnvVarSource {
        field_ref: Some(ObjectFieldSelector {
            field_path,
            api_version: None,
        }),
        ..EnvVarSource::default()
    });
    let name = prop_oneof![4 => "[A-C]", 1 => text(), 1 => "ERRAND_(TASK|INPUT|INPUT_DIR|ATTEMPT)|PORT"];
    (name, of(text()), weighted(0.2, prop_oneof![secret, field]))
        .prop_map(|(name, value, value_from)| EnvVar {
            name,
            value: value.filter(|_| value_from.is_none()),
            value_from,
        })
        .boxed()
}

fn container() -> BoxedStrategy<Container> {
    let secret = "[a-z]{1,8}".prop_map(|name| EnvFromSource {
        secret_ref: Some(SecretEnvSource { name, optional: None }),
        ..EnvFromSource::default()
    });
    let path = prop_oneof!["/[a-z/]{0,12}", "/errand/(bin|input)", text()];
    let mount = (volume_name(), path).prop_map(|(name, mount_path)| VolumeMount {
        name,
        mount_path,
        ..VolumeMount::default()
    });
    let policy = prop_oneof![Just("Always"), Just("IfNotPresent"), Just("Never")];
    (
        text1(),
        vec(text(), 0..4),
        vec(text(), 0..4),
        vec(env_var(), 0..4),
        vec(secret, 0..2),
        of(text()),
        of(policy),
        vec(mount, 0..3),
    )
        .prop_map(
            |(image, command, args, env, env_from, working_dir, policy, volume_mounts)| Container {
                image,
                command,
                args,
                env,
                env_from,
                working_dir,
                image_pull_policy: policy.map(str::to_owned),
                volume_mounts,
            },
        )
        .boxed()
}

fn http() -> BoxedStrategy<Http> {
    let path = || of("/[!-~]{0,20}");
    let dispatch = of(prop_oneof![Just(Dispatch::Direct), Just(Dispatch::ApiProxy)]);
    (of(1..=u16::MAX), path(), path(), dispatch, of(any::<bool>()))
        .prop_map(|(port, path, readiness_path, dispatch, idempotent)| Http {
            port,
            path,
            // The API server passes on requests, not bare connections.
            readiness_path: match dispatch {
                Some(Dispatch::ApiProxy) => readiness_path.or_else(|| Some("/ready".into())),
                _ => readiness_path,
            },
            dispatch,
            idempotent,
        })
        .boxed()
}

fn capabilities() -> BoxedStrategy<Capabilities> {
    let amounts = (of(quantity()), of(quantity()), of(quantity()));
    let resources = btree_map("([a-z]{1,6}/[a-z]{1,6}|cpu|memory)", quantity(), 0..3);
    let toleration = (of(text()), of("Exists|Equal")).prop_map(|(key, operator)| Toleration {
        key,
        operator,
        ..Toleration::default()
    });
    (
        amounts,
        resources,
        of(any::<bool>()),
        of(1..=3_600_000_i32),
        btree_map(text(), text(), 0..3),
        of(node_affinity()),
        vec(toleration, 0..3),
    )
        .prop_map(
            |(amounts, resources, privileged, latency, node_selector, node_affinity, tolerations)| {
                Capabilities {
                    cpu: amounts.0,
                    memory: amounts.1,
                    ephemeral_storage: amounts.2,
                    resources,
                    privileged,
                    network_latency_ms: latency,
                    node_selector,
                    node_affinity,
                    tolerations,
                }
            },
        )
        .boxed()
}

fn node_affinity() -> BoxedStrategy<NodeAffinity> {
    let requirement = || {
        (text(), "In|NotIn|Exists|Lt", of(vec(text(), 0..3))).prop_map(|(key, operator, values)| {
            NodeSelectorRequirement {
                key,
                operator,
                values,
            }
        })
    };
    let term = move || {
        (of(vec(requirement(), 0..3)), of(vec(requirement(), 0..2))).prop_map(
            |(match_expressions, match_fields)| NodeSelectorTerm {
                match_expressions,
                match_fields,
            },
        )
    };
    let preferred =
        (1..=100_i32, term()).prop_map(|(weight, preference)| PreferredSchedulingTerm { weight, preference });
    (of(vec(term(), 0..3)), of(vec(preferred, 0..2)))
        .prop_map(|(required, preferred)| NodeAffinity {
            required_during_scheduling_ignored_during_execution: required
                .map(|node_selector_terms| NodeSelector { node_selector_terms }),
            preferred_during_scheduling_ignored_during_execution: preferred,
        })
        .boxed()
}

fn retry() -> BoxedStrategy<Retry> {
    let on = prop_oneof![
        Just(RetryOn::Infrastructure),
        Just(RetryOn::Failure),
        Just(RetryOn::Timeout)
    ];
    (of(0..=100_u32), of(vec(on, 0..=3)), of(duration()))
        .prop_map(|(limit, on, backoff)| Retry { limit, on, backoff })
        .boxed()
}

fn result() -> BoxedStrategy<ResultSpec> {
    let from = Union::new([
        Just((None, None)).boxed(),
        Just((Some(ResultSource::Stdout), None)).boxed(),
        Just((Some(ResultSource::Log), None)).boxed(),
        Just((Some(ResultSource::TerminationMessage), None)).boxed(),
        text1()
            .prop_map(|path| (Some(ResultSource::File), Some(path)))
            .boxed(),
    ]);
    (from, of(0..=MAX_RESULT_BYTES), of(text1()))
        .prop_map(|((from, path), limit, content_type)| ResultSpec {
            from,
            path,
            limit,
            content_type,
        })
        .boxed()
}

fn volume_name() -> BoxedStrategy<String> {
    prop_oneof!["[a-d]", "errand-(bin|input|input-decoded)", ".{1,20}"].boxed()
}

fn pod_options() -> BoxedStrategy<PodOptions> {
    let source = prop_oneof![
        Just(json!({"emptyDir": {}})),
        Just(json!({"configMap": {"name": "a"}})),
        Just(json!({"emptyDir": []})),
        Just(json!({"what": null})),
    ];
    let volume = (volume_name(), source).prop_map(|(name, source)| {
        let mut volume = serde_json::Map::from_iter([("name".to_owned(), json!(name))]);
        volume.extend(source.as_object().cloned().unwrap_or_default());
        volume
    });
    let key = || text().prop_filter("Errand's own", |key| !key.starts_with("errand.dev/"));
    let long = (any::<char>(), 0..300_000_usize).prop_map(|(c, n)| c.to_string().repeat(n / c.len_utf8()));
    let annotation = prop_oneof![9 => text(), 1 => long];
    let names = (
        weighted(0.3, text1()),
        vec("[a-z]{1,8}", 0..3),
        of(text()),
        of(text()),
        of(text()),
    );
    let rule = weighted(0.5, Just(json!({"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]})));
    let rule = rule.prop_map(|rule| {
        rule.and_then(|rule| rule.as_object().cloned())
            .unwrap_or_default()
    });
    (
        names,
        of(1..=3600_i64),
        vec(volume, 0..3),
        weighted(0.3, vec(rule, 0..3)),
        btree_map(key(), text(), 0..3),
        btree_map(key(), annotation, 0..3),
    )
        .prop_map(
            |(names, grace, volumes, egress, labels, annotations)| PodOptions {
                service_account_name: names.0,
                image_pull_secrets: names
                    .1
                    .into_iter()
                    .map(|name| LocalObjectReference { name })
                    .collect(),
                priority_class_name: names.2,
                scheduler_name: names.3,
                runtime_class_name: names.4,
                termination_grace_period_seconds: grace,
                volumes,
                egress,
                labels,
                annotations,
            },
        )
        .boxed()
}
