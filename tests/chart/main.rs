//! The Helm chart: what its templates say with the value files of `charts/errand/ci`, and with others.

// Helpers of tests may fail like tests; clippy.toml spares only the test functions themselves.
#![allow(clippy::unwrap_used, clippy::panic)]

mod rights;
mod workloads;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use serde::Deserialize as _;
use serde_json::Value;

/// The value files of the checks.
const VALUES: [&str; 4] = ["defaults", "full", "minimal", "one-namespace"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// helm on PATH, or ours over its library.
fn helm() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let mut tool = Command::new(root().join("tests/support/tool.sh"));
        let output = tool.arg("helm").stderr(Stdio::inherit()).output().unwrap();
        assert!(
            output.status.success(),
            "helm is missing and could not be installed"
        );
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

fn run(args: &[&str]) -> Output {
    let chart = root().join("charts/errand");
    let mut helm = Command::new(helm());
    helm.args(["template", "errand"]).arg(chart).args(args);
    helm.args(["--namespace", "errand-system"]).output().unwrap()
}

/// The objects of the chart, as release `errand` in namespace `errand-system`.
fn rendered(args: &[&str]) -> Vec<Value> {
    let output = run(args);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let documents = serde_yaml::Deserializer::from_str(&text).map(|one| Value::deserialize(one).unwrap());
    documents.filter(|object| !object.is_null()).collect()
}

fn with(values: &str) -> Vec<Value> {
    let file = root().join(format!("charts/errand/ci/{values}.yaml"));
    rendered(&["--values", file.to_str().unwrap()])
}

/// The objects of a kind.
fn all<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn named<'a>(objects: &'a [Value], kind: &str, wanted: &str) -> &'a Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && name(object) == wanted);
    found.unwrap_or_else(|| panic!("there is no {kind} {wanted}"))
}

fn names(objects: &[Value], kind: &str) -> Vec<String> {
    let mut names: Vec<_> = all(objects, kind).map(|object| name(object).to_owned()).collect();
    names.sort();
    names
}

/// Whether values are refused, and the reason.
fn refusal(set: &str) -> String {
    let output = run(&["--set", set]);
    assert!(!output.status.success(), "{set} was taken");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
