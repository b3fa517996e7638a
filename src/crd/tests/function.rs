//! What a Function may be. The same rules hold for one that is written into a Task.

use super::*;

fn spec(change: Value) -> Value {
    let mut spec = json!({"container": {"image": "i"}});
    spec.as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    spec
}

/// The rules of a Function hold alone and inside a Task.
fn assert_problems(change: Value, wanted: &[&str]) {
    let spec = spec(change);
    let at = |root: &str| -> Vec<String> {
        wanted
            .iter()
            .map(|sentence| format!("{root}{sentence}"))
            .collect()
    };
    assert_eq!(function_problems(&spec), at("spec"), "{spec}");
    let inline = json!({"function": spec});
    assert_eq!(task_problems(&inline), at("spec.function"), "{inline}");
}

#[test]
fn an_http_functions_result_is_its_answer() {
    let refused = ": an HTTP function's result is its answer: leave result.from out";
    for from in ["Stdout", "Log", "TerminationMessage"] {
        assert_problems(json!({"http": {}, "result": {"from": from}}), &[refused]);
        assert_problems(json!({"result": {"from": from}}), &[]);
    }
    assert_problems(
        json!({"http": {}, "result": {"from": "File", "path": "/r"}}),
        &[refused],
    );
    assert_problems(json!({"http": {}, "result": {"limit": 10}}), &[]);
    assert_problems(json!({"http": {}, "result": {}}), &[]);
}

#[test]
fn supervision_can_be_asked_for_only_where_it_is_possible() {
    let refused = ": supervise: true needs container.command and a command function";
    let command = json!({"image": "i", "command": ["true"]});
    assert_problems(json!({"supervise": true, "container": command}), &[]);
    assert_problems(json!({"supervise": true}), &[refused]);
    assert_problems(
        json!({"supervise": true, "http": {}, "container": command}),
        &[refused],
    );
    for harmless in [json!({}), json!({"http": {}}), json!({"container": command})] {
        let mut change = harmless;
        change["supervise"] = json!(false);
        assert_problems(change, &[]);
    }
}

#[test]
fn a_path_goes_with_a_result_from_a_file() {
    let refused = ".result: path goes with from: File";
    assert_problems(json!({"result": {"from": "File", "path": "/r"}}), &[]);
    assert_problems(json!({"result": {"from": "File"}}), &[refused]);
    assert_problems(json!({"result": {"path": "/r"}}), &[refused]);
    assert_problems(json!({"result": {"from": "Stdout", "path": "/r"}}), &[refused]);
}

#[test]
fn the_way_through_the_api_server_needs_a_readiness_path() {
    let refused = ".http: dispatch: ApiProxy needs readinessPath: the API server passes on requests, not bare connections";
    assert_problems(json!({"http": {"dispatch": "ApiProxy"}}), &[refused]);
    assert_problems(
        json!({"http": {"dispatch": "ApiProxy", "readinessPath": "/"}}),
        &[],
    );
    assert_problems(json!({"http": {"dispatch": "Direct"}}), &[]);
    assert_problems(json!({"http": {"idempotent": true}}), &[]);
}

#[test]
fn labels_and_annotations_of_a_pod_may_not_be_errands_own() {
    for field in ["labels", "annotations"] {
        let refused = format!(".pod.{field}: keys under errand.dev/ are Errand's own");
        for bad in ["errand.dev/task", "errand.dev/", "errand.dev/anything"] {
            let pod = json!({"pod": {field: {"a": "b", bad: "c"}}});
            assert_problems(pod, &[&refused]);
        }
        for good in [
            "errand.dev",
            "errand.develop/a",
            "x.errand.dev/a",
            "a/errand.dev",
            "kueue.x-k8s.io/queue-name",
        ] {
            assert_problems(json!({"pod": {field: {good: "c"}}}), &[]);
        }
    }
}

#[test]
fn a_function_may_become_any_other_function() {
    let old = function(&spec(json!({"http": {}, "maxConcurrency": 1})));
    let new = function(&spec(
        json!({"container": {"image": "j", "command": ["true"]}, "supervise": true}),
    ));
    assert_eq!(sentences(new.validate_cel_update(&old)), [""; 0]);
}
