//! Tasks and what is in them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::{
    collection::{btree_map, vec},
    option::of,
    prelude::*,
};
use serde_json::json;

use super::{
    container::{container, env_var},
    function::retry,
    node::capabilities,
    pod::pod_options,
    words::{duration, object_name, text, text1},
};
use crate::crd::{
    Actions, Callback, CallbackPolicy, CallbackRetry, Container, Duration, Files, FunctionRef, Input,
    MAX_BODY_BYTES, SecretKeyRef, Task, TaskSpec,
};

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
