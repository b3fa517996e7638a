//! Fields that are too large or not what they should be: each is refused with the limit in the message.

use super::*;

/// A spec that is accepted.
fn plain(kind: Kind) -> Value {
    match kind {
        Kind::Task => json!({"functionRef": {"name": "f"}}),
        Kind::Function => json!({"container": {"image": "i", "command": ["true"]}}),
        Kind::Schedule => {
            json!({"schedule": "* * * * *", "template": {"spec": {"functionRef": {"name": "f"}}}})
        }
    }
}

/// The plain spec with the field at `path` (`a.b.c`) set to `value`.
fn with(kind: Kind, path: &str, value: &Value) -> Value {
    let mut spec = plain(kind);
    let mut place = &mut spec;
    for name in path.split('.') {
        place = &mut place[name];
    }
    *place = value.clone();
    spec
}

async fn refusal(client: &Client, kind: Kind, spec: &Value) -> String {
    let object = kind.object("x", spec);
    let (status, answer) = post(client, kind, "dryRun=All", object.to_string().into_bytes()).await;
    match status {
        201 => String::new(),
        422 => answer["message"].as_str().unwrap().to_owned(),
        _ => panic!("{status}: {answer}"),
    }
}

fn long(length: usize) -> Value {
    json!("x".repeat(length))
}

fn many(value: Value, length: usize) -> Value {
    json!(vec![value; length])
}

fn map(length: usize) -> Value {
    let pairs = (0..length).map(|at| (format!("key{at}"), json!("1")));
    Value::Object(pairs.collect())
}

/// A field with the largest or last value that is accepted, one that is not, and what is said of that.
struct Row {
    path: &'static str,
    accepted: Value,
    refused: Value,
    sentence: String,
    /// CEL rules are not judged where a value is of the wrong type or size, which is said too.
    ends_the_check: bool,
}

const NOT_CHECKED: &str = "<nil>: Invalid value: \"null\": some validation rules were not checked because the object \
    was invalid; correct the existing errors to complete validation";

impl Row {
    fn message(&self, kind: Kind) -> String {
        let mut said = format!("spec.{}: {}", self.path, self.sentence);
        if self.ends_the_check {
            said = format!("[{said}, {NOT_CHECKED}]");
        }
        format!("{}.errand.dev \"x\" is invalid: {said}", kind.name())
    }
}

/// A value that `sentence` is said of.
fn row(path: &'static str, accepted: Value, refused: Value, sentence: &str) -> Row {
    Row {
        path,
        accepted,
        refused,
        sentence: sentence.to_owned(),
        ends_the_check: false,
    }
}

fn ending(row: Row) -> Row {
    Row {
        ends_the_check: true,
        ..row
    }
}

/// A text of at most so many characters.
fn text(path: &'static str, limit: usize) -> Row {
    let sentence = format!("Too long: may not be more than {limit} bytes");
    ending(row(path, long(limit), long(limit + 1), &sentence))
}

/// A list or map of at most so many items.
fn sized(path: &'static str, of: impl Fn(usize) -> Value, limit: usize) -> Row {
    let sentence = format!("Too many: {}: must have at most {limit} items", limit + 1);
    ending(row(path, of(limit), of(limit + 1), &sentence))
}

fn list(path: &'static str, item: Value, limit: usize) -> Row {
    sized(path, |length| many(item.clone(), length), limit)
}

fn at_least(path: &'static str, limit: i64) -> Row {
    let refused = limit - 1;
    let sentence =
        format!("Invalid value: {refused}: spec.{path} in body should be greater than or equal to {limit}");
    row(path, json!(limit), json!(refused), &sentence)
}

fn at_most(path: &'static str, limit: i64) -> Row {
    let refused = limit + 1;
    let sentence =
        format!("Invalid value: {refused}: spec.{path} in body should be less than or equal to {limit}");
    row(path, json!(limit), json!(refused), &sentence)
}

/// A text that has to match a pattern.
fn matching(path: &'static str, pattern: &str, accepted: &str, refused: &str) -> Row {
    let sentence = format!("Invalid value: \"{refused}\": spec.{path} in body should match '{pattern}'");
    row(path, json!(accepted), json!(refused), &sentence)
}

/// A value of another JSON type.
fn typed(path: &'static str, accepted: Value, types: &str, refused: Value, name: &str) -> Row {
    let sentence =
        format!("Invalid value: \"{name}\": spec.{path} in body must be of type {types}: \"{name}\"");
    ending(row(path, accepted, refused, &sentence))
}

const NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const BASE64: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";
const DURATION: &str = "^([0-9]+([.][0-9]+)?(ms|s|m|h))+$";
const QUANTITY: &str = r"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";
const MOMENT: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";
const PATH: &str = "^/[!-~]*$";
const URL: &str = "^https?://[!-~]+$";
const PULL_POLICY: &str = "^(Always|IfNotPresent|Never)$";

fn task_rows() -> Vec<Row> {
    vec![
        text("functionRef.name", 253),
        matching("functionRef.name", NAME, "a.b-c.0", "../f"),
        matching("functionRef.name", NAME, "0", "a b"),
        matching("functionRef.name", NAME, "a", "A"),
        at_least("functionRef.version", 0),
        matching("input.method", "^[A-Z]+$", "PROPFIND", "get"),
        ending(row(
            "input.method",
            json!("A".repeat(16)),
            json!("A".repeat(17)),
            "Too long: may not be more than 16 bytes",
        )),
        text("input.query", 8192),
        matching("input.query", "^[!-~]*$", "a=%20", "a= "),
        sized("input.headers", map, 64),
        text("input.contentType", 256),
        matching("input.contentType", "^[ -~]*$", "text/plain; a=b", "text/é"),
        text("input.body", 131_072),
        row(
            "input.body",
            json!("é".repeat(65_536)),
            json!("é".repeat(65_537)),
            "Invalid value: \"string\": may be at most 131072 bytes long",
        ),
        matching("input.bodyBase64", BASE64, "eA==", "eA="),
        matching("input.bodyBase64", BASE64, "", "e_8="),
        ending(row(
            "input.bodyBase64",
            long(174_764),
            long(174_768),
            "Too long: may not be more than 174764 bytes",
        )),
        list("input.args", json!("a"), 1024),
        list("env", json!({"name": "A"}), 1024),
        text("title", 1024),
        text("description", 4096),
        text("owner", 512),
        text("domain", 512),
        text("annotation", 10_240),
        text("command", 4096),
        at_most("priority", 1_000_000),
        at_least("priority", -1_000_000),
        typed("priority", json!(1), "integer", json!("1"), "string"),
        typed("cancel", json!(true), "boolean", json!("yes"), "string"),
        typed("suspend", json!(true), "boolean", json!("yes"), "string"),
        matching("callback.url", URL, "https://a", "ftp://a"),
        matching("callback.url", URL, "http://a/?b", "http://a b"),
        ending(row(
            "callback.url",
            json!(format!("http://{}", "a".repeat(2041))),
            json!(format!("http://{}", "a".repeat(2042))),
            "Too long: may not be more than 2048 bytes",
        )),
    ]
}

fn function_rows() -> Vec<Row> {
    vec![
        text("description", 4096),
        text("displayName", 256),
        text("container.image", 1024),
        row(
            "container.image",
            json!("i"),
            json!(""),
            "Invalid value: \"\": spec.container.image in body should be at least 1 chars long",
        ),
        list("container.command", json!("a"), 256),
        list("container.args", json!("a"), 1024),
        list("container.env", json!({"name": "A"}), 1024),
        list("container.envFrom", json!({}), 64),
        list(
            "container.volumeMounts",
            json!({"name": "v", "mountPath": "/v"}),
            64,
        ),
        matching("container.imagePullPolicy", PULL_POLICY, "Never", "Sometimes"),
        at_least("http.port", 1),
        at_most("http.port", 65_535),
        matching("http.path", PATH, "/", "a"),
        matching("http.readinessPath", PATH, "/%20", "/ "),
        row(
            "http.dispatch",
            json!("Direct"),
            json!("Mesh"),
            "Unsupported value: \"Mesh\": supported values: \"Direct\", \"ApiProxy\"",
        ),
        at_least("result.limit", 0),
        at_most("result.limit", 524_288),
        text("result.contentType", 256),
        row(
            "result.from",
            json!("Log"),
            json!("Nowhere"),
            "Unsupported value: \"Nowhere\": supported values: \"Stdout\", \"Log\", \"TerminationMessage\", \"File\"",
        ),
        at_least("logs.limit", 0),
        at_most("logs.limit", 262_144),
        at_least("maxConcurrency", 1),
        at_most("maxConcurrency", 100_000),
        list("aliases", json!({"name": "a", "version": 1}), 100),
        text("pod.serviceAccountName", 253),
        list("pod.imagePullSecrets", json!({"name": "a"}), 16),
        at_least("pod.terminationGracePeriodSeconds", 1),
        at_most("pod.terminationGracePeriodSeconds", 3600),
        list("pod.volumes", json!({"name": "v"}), 64),
        sized("pod.labels", map, 64),
        sized("pod.annotations", map, 64),
        matching("pendingTimeout", DURATION, "720h", "soon"),
        matching("ttlAfterFinished", DURATION, "0s", "-1s"),
    ]
}

/// Of both types.
fn common_rows() -> Vec<Row> {
    let quantity = |path, accepted, refused| matching(path, QUANTITY, accepted, refused);
    let too_long = "Invalid value: \"string\": must be at most 720h";
    vec![
        quantity("capabilities.cpu", "0.5", "half"),
        typed(
            "capabilities.cpu",
            json!(2),
            "integer,string",
            json!(true),
            "boolean",
        ),
        quantity("capabilities.memory", "1Gi", "-1Gi"),
        quantity("capabilities.ephemeralStorage", "1e3", "1 Gi"),
        sized("capabilities.resources", map, 32),
        at_least("capabilities.networkLatencyMs", 1),
        at_most("capabilities.networkLatencyMs", 3_600_000),
        sized("capabilities.nodeSelector", map, 64),
        list("capabilities.tolerations", json!({"operator": "Exists"}), 64),
        at_least("retry.limit", 0),
        at_most("retry.limit", 100),
        list("retry.on", json!("Failure"), 3),
        matching("retry.backoff", DURATION, "1.5s", "1,5s"),
        matching("timeout", DURATION, "1h30m", "90"),
        typed("timeout", json!("90s"), "string", json!(90), "integer"),
        row("timeout", json!("720h"), json!("720h1ms"), too_long),
        ending(row(
            "timeout",
            json!(format!("{:0>32}", "1h")),
            json!(format!("{:0>33}", "1h")),
            "Too long: may not be more than 32 bytes",
        )),
    ]
}

fn schedule_rows() -> Vec<Row> {
    let day = "2026-01-01T00:00:00";
    vec![
        text("schedule", 256),
        text("timeZone", 64),
        at_least("count", 1),
        at_most("count", 1_000_000_000),
        matching("startingDeadline", DURATION, "1.5s", "1,5s"),
        matching(
            "startAt",
            MOMENT,
            &format!("{day}.123456789Z"),
            &format!("{day}.1234567891Z"),
        ),
        sized("template.metadata.labels", map, 64),
        sized("template.metadata.annotations", map, 64),
        text("template.spec.owner", 512),
        at_least("template.spec.functionRef.version", 0),
    ]
}

#[tokio::test]
async fn an_oversized_or_malformed_field_is_refused_with_the_limit_in_the_message() {
    let (_server, client) = server().await;
    let of = |kind, rows: Vec<Row>| rows.into_iter().chain(common_rows()).map(move |row| (kind, row));
    let schedules = schedule_rows().into_iter().map(|row| (Kind::Schedule, row));
    let specs = of(Kind::Task, task_rows()).chain(of(Kind::Function, function_rows()));
    for (kind, row) in specs.chain(schedules) {
        let (accepted, refused) = (
            with(kind, row.path, &row.accepted),
            with(kind, row.path, &row.refused),
        );
        assert_eq!(
            refusal(&client, kind, &accepted).await,
            "",
            "{kind:?} {}",
            row.path
        );
        assert_eq!(refusal(&client, kind, &refused).await, row.message(kind));
    }
}

#[tokio::test]
async fn a_function_without_a_container_is_refused() {
    let (_server, client) = server().await;
    for (kind, spec, missing) in [
        (Kind::Function, json!({}), "spec.container: Required value"),
        (
            Kind::Function,
            json!({"container": {}}),
            "spec.container.image: Required value",
        ),
        (
            Kind::Task,
            json!({"function": {}}),
            "spec.function.container: Required value",
        ),
        (
            Kind::Task,
            json!({"functionRef": {}}),
            "spec.functionRef.name: Required value",
        ),
        (
            Kind::Task,
            json!({"external": {}}),
            "spec.external.processor: Required value",
        ),
        (
            Kind::Task,
            json!({"actions": {"container": {"image": "i"}}}),
            "spec.actions.action: Required value",
        ),
    ] {
        let wanted = format!(
            "{}.errand.dev \"x\" is invalid: [{missing}, {NOT_CHECKED}]",
            kind.name()
        );
        assert_eq!(refusal(&client, kind, &spec).await, wanted);
    }
}
