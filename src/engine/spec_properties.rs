//! Whatever specs the API accepts: a sentence, or a pod that keeps its promises.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::{Container, Pod};
use proptest::prelude::*;

use super::{
    config::{Delivery, Runner},
    pod,
    resolve::{Facts, Run, resolve},
};
use crate::{
    crd::{CAPTURE_FINALIZER, FunctionSpec, LABEL_LATENCY, Task, arbitrary},
    local::node::env::expand,
};

fn built(
    task: &Task,
    function: &FunctionSpec,
    attempt: u32,
    delivery: Delivery,
) -> Result<(Run, Pod), String> {
    let runner = Runner {
        image: "errand:1".into(),
        pull_policy: None,
        delivery: None,
    };
    let name = task
        .spec
        .function_ref
        .as_ref()
        .map(|reference| reference.name.as_str());
    let run = resolve(&task.spec, function, name).map_err(|refused| refused.to_string())?;
    let pod = pod::build(task, &run, attempt, &runner, delivery).map_err(|refused| refused.to_string())?;
    Ok((run, pod))
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![Just(Delivery::ImageVolume), Just(Delivery::InitContainer)]
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
    })
}

fn the_container(pod: &Pod) -> &Container {
    &pod.spec.as_ref().unwrap().containers[0]
}

/// Command and arguments as the container gets them, in an environment where every variable has a value.
fn command_line(container: &Container) -> Vec<String> {
    let texts = container.command.iter().chain(&container.args).flatten();
    texts.map(|text| expand(text, |_| Some("VALUE"))).collect()
}

/// The input files, as container and supervisor see them.
fn input_files(pod: &Pod) -> BTreeMap<String, Vec<u8>> {
    let annotations = pod.metadata.annotations.iter().flatten();
    let files = annotations.filter_map(|(key, value)| {
        let file = key.strip_prefix("errand.dev/input-")?;
        Some(match file.strip_suffix(".base64") {
            Some(file) => (file.to_owned(), STANDARD.decode(value).unwrap()),
            None => (file.to_owned(), value.clone().into_bytes()),
        })
    });
    files.collect()
}

fn is_subdomain(name: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 253
        && name.split('.').all(|label| {
            let (first, last) = (label.bytes().next(), label.bytes().last());
            first.is_some_and(alphanumeric)
                && last.is_some_and(alphanumeric)
                && label.bytes().all(|byte| alphanumeric(byte) || byte == b'-')
        })
}

fn is_label_value(value: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    value.len() <= 63
        && ends(value.bytes().next())
        && ends(value.bytes().last())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// What [`arbitrary`] gives is accepted by the API, which a test beside the plane shows.
fn assert_promises(task: &Task, function: &FunctionSpec, run: &Run, pod: &Pod) {
    assert_identity(task, function, pod);
    assert_safety(task, function, pod);
    assert_needs(run, pod);
    assert_input(task, run, pod);
}

fn assert_identity(task: &Task, function: &FunctionSpec, pod: &Pod) {
    let metadata = &pod.metadata;
    assert!(
        is_subdomain(metadata.name.as_deref().unwrap()),
        "{:?}",
        metadata.name
    );
    assert_eq!(metadata.namespace, task.metadata.namespace);
    assert_eq!(
        metadata.finalizers.as_deref(),
        Some(&[CAPTURE_FINALIZER.to_owned()][..])
    );
    let given = function.pod.clone().unwrap_or_default();
    for (key, value) in metadata.labels.iter().flatten() {
        let handed_on = given.labels.get(key) == Some(value);
        assert!(handed_on || is_label_value(value), "{key}={value}");
    }
    for (key, value) in &given.annotations {
        assert_eq!(
            metadata.annotations.as_ref().unwrap().get(key),
            Some(value),
            "{key}"
        );
    }
    let annotations = metadata.annotations.iter().flatten();
    let bytes: usize = annotations.map(|(key, value)| key.len() + value.len()).sum();
    assert!(bytes <= 256 * 1024, "{bytes} bytes of annotations");
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let owners: Vec<_> = owners
        .iter()
        .map(|owner| {
            (
                owner.kind.as_str(),
                owner.controller,
                Some(&owner.name),
                Some(&owner.uid),
            )
        })
        .collect();
    let of_task = (task.metadata.name.as_ref(), task.metadata.uid.as_ref());
    assert_eq!(owners, [("Task", Some(true), of_task.0, of_task.1)]);
}

fn assert_safety(task: &Task, function: &FunctionSpec, pod: &Pod) {
    let wish =
        |capabilities: &Option<crate::crd::Capabilities>| capabilities.as_ref().and_then(|c| c.privileged);
    let asked = wish(&task.spec.capabilities).or(wish(&function.capabilities)) == Some(true);
    for container in containers(pod) {
        let security = container.security_context.as_ref().unwrap();
        let privileged = asked && container.name == pod::CONTAINER;
        assert_eq!(
            security.privileged,
            privileged.then_some(true),
            "{}",
            container.name
        );
        let escalates = security.allow_privilege_escalation != Some(false);
        assert_eq!(escalates, privileged, "{}", container.name);
    }
    let spec = pod.spec.as_ref().unwrap();
    let account = function
        .pod
        .as_ref()
        .and_then(|pod| pod.service_account_name.clone());
    let token = spec.automount_service_account_token != Some(false);
    assert_eq!((token, &spec.service_account_name), (account.is_some(), &account));
    assert_eq!(spec.restart_policy.as_deref(), Some("Never"));
    assert_eq!(
        (spec.host_network, spec.host_pid, spec.host_ipc),
        (None, None, None)
    );
}

fn assert_needs(run: &Run, pod: &Pod) {
    let wanted = &run.capabilities;
    let resources = the_container(pod).resources.clone().unwrap_or_default();
    assert_eq!(resources.limits, resources.requests);
    let limits = resources.limits.unwrap_or_default();
    for (name, amount) in &wanted.resources {
        assert_eq!(limits.get(name).map(|limit| &limit.0), Some(&amount.0), "{name}");
    }
    let affinity = pod.spec.as_ref().unwrap().affinity.clone().unwrap_or_default();
    let node_affinity = affinity.node_affinity.unwrap_or_default();
    let required = node_affinity.required_during_scheduling_ignored_during_execution;
    if let Some(limit) = wanted.network_latency_ms {
        for term in required.unwrap().node_selector_terms {
            let expressions = term.match_expressions.unwrap_or_default();
            let empty = expressions.is_empty() && term.match_fields.is_none_or(|fields| fields.is_empty());
            let bounded = expressions.iter().any(|expression| {
                expression.key == LABEL_LATENCY
                    && expression.values.as_deref() == Some(&[limit.to_string()][..])
            });
            // An empty term matches no node.
            assert!(empty || bounded, "{expressions:?}");
        }
    }
}

fn assert_input(task: &Task, run: &Run, pod: &Pod) {
    let input = task.spec.input.clone().unwrap_or_default();
    let given = match (&input.body, &input.body_base64) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(encoded)) => Some(STANDARD.decode(encoded).unwrap()),
        (None, None) => None,
    };
    assert_eq!(run.input.body, given);
    let container = the_container(pod);
    assert!(command_line(container).ends_with(&input.args), "{:?}", input.args);
    // A Task may set the same variable; the last one of a name counts.
    let variable = container
        .env
        .iter()
        .flatten()
        .find(|var| var.name == "ERRAND_INPUT");
    if let Some(text) = given
        .as_ref()
        .filter(|body| body.len() <= 4096)
        .and_then(|body| std::str::from_utf8(body).ok())
        && !text.contains('\0')
    {
        let value = expand(variable.unwrap().value.as_deref().unwrap(), |_| Some("VALUE"));
        assert_eq!(value, text);
    }
    let mut files = BTreeMap::new();
    if run.facts.http.is_none() {
        files.extend(given.map(|body| ("body".to_owned(), body)));
        files.extend(input.query.map(|query| ("query".to_owned(), query.into_bytes())));
        files.extend(
            input
                .content_type
                .map(|it| ("content-type".to_owned(), it.into_bytes())),
        );
        if !input.headers.is_empty() {
            files.insert(
                "headers.json".to_owned(),
                serde_json::to_vec(&input.headers).unwrap(),
            );
        }
    }
    assert_eq!(input_files(pod), files);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_spec_that_the_api_accepts_ends_in_a_sentence_or_in_a_sound_pod(
        task in arbitrary::task(),
        function in arbitrary::function_spec(),
        attempt in 1..=101_u32,
        delivery in delivery(),
    ) {
        match built(&task, &function, attempt, delivery) {
            Ok((run, pod)) => assert_promises(&task, &function, &run, &pod),
            Err(sentence) => prop_assert!(sentence.len() > 20, "{}", sentence),
        }
    }

    #[test]
    fn what_a_pod_says_of_its_run_is_read_back_unchanged(
        task in arbitrary::task(),
        function in arbitrary::function_spec(),
    ) {
        if let Ok((run, pod)) = built(&task, &function, 1, Delivery::ImageVolume) {
            let written = &pod.metadata.annotations.as_ref().unwrap()[pod::ANNOTATION_FACTS];
            prop_assert_eq!(serde_json::from_str::<Facts>(written).unwrap(), run.facts);
            let sent: Pod = serde_json::from_slice(&serde_json::to_vec(&pod).unwrap()).unwrap();
            prop_assert_eq!(sent, pod);
        }
    }
}
