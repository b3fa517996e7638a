//! Functions in the words of this API. Pure.

use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    counts::Counts,
    ids::{Id, function_id},
    map,
    settings::{check_tags, check_text},
};
use crate::crd::{Capabilities, Container, Duration, Function, FunctionSpec, Http, Quantity};

/// Annotation of a Function: the language that it is written in.
const LANG: &str = "greencloud.errand.dev/lang";
/// Annotation of a Function: its tags, as a JSON array.
const TAGS: &str = "greencloud.errand.dev/tags";
/// Languages that have a name here.
const LANGUAGES: [&str; 6] = ["GO", "PY", "JS", "CS", "RB", "RS"];
/// Seconds that a call may take.
const TIMEOUT: std::ops::RangeInclusive<u64> = 10..=120;
/// Where the creator says nothing.
const DEFAULT_TIMEOUT: u64 = 10;
/// Longest description and name.
const MAX_DESCRIPTION: usize = 80;
const MAX_NAME: usize = 64;
/// Most processors and MiB.
const MAX_CPUS: i64 = 4;
const MAX_MEMORY: i64 = 2048;

/// A function to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = GreenCloudNewFunction)]
pub struct NewFunction {
    /// Letters and digits.
    #[serde(default)]
    name: String,
    /// Printable ASCII, 80 characters at most.
    #[serde(default)]
    description: String,
    /// Words to find it by.
    #[serde(default, alias = "tags")]
    tag: Vec<String>,
    /// GO, PY, JS, CS, RB or RS.
    #[serde(default)]
    lang: String,
    /// DOCKER.
    #[serde(default, rename = "type")]
    kind: String,
    /// The image with the function.
    #[serde(default)]
    image: String,
}

/// What is to be changed; what is left out stays.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(as = GreenCloudFunctionChange)]
pub struct FunctionChange {
    name: Option<String>,
    description: Option<String>,
    #[serde(alias = "tags")]
    tag: Option<Vec<String>>,
}

/// What is to be needed; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GreenCloudCapabilitiesChange)]
pub struct CapabilitiesChange {
    /// Seconds.
    #[schema(minimum = 10, maximum = 120)]
    timeout: Option<u64>,
    /// Processors.
    #[schema(minimum = 0, maximum = 4)]
    cpu_count: Option<i64>,
    /// MiB.
    #[schema(minimum = 0, maximum = 2048)]
    mem_size: Option<i64>,
    /// All privileges of the machine; `privilaged` is understood as well.
    #[serde(alias = "privilaged")]
    privileged: Option<bool>,
}

/// A function.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = GreenCloudFunction)]
pub struct FunctionDetail {
    name: String,
    description: String,
    /// docker
    #[serde(rename = "type")]
    kind: &'static str,
    /// In lower case; empty where it is not known.
    lang: String,
    tags: Vec<Tag>,
    capabilities: FunctionNeeds,
    metrics: FunctionMetrics,
}

/// A function in a list.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GreenCloudFunctionSummary)]
pub struct FunctionSummary {
    id: String,
    name: String,
    description: String,
    lang: String,
    tags: Vec<Tag>,
    /// In unix seconds.
    created_at: String,
}

/// A tag. There are no tags beside functions, so its id is its name.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = GreenCloudTag)]
pub struct Tag {
    id: String,
    name: String,
    /// Always empty.
    color: &'static str,
}

/// What a function needs; 0 and false are no requirement.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GreenCloudFunctionNeeds)]
pub struct FunctionNeeds {
    /// Limit on the run time in seconds.
    timeout: u64,
    /// Processors.
    cpu_count: i64,
    /// Memory in MiB.
    mem_size: i64,
    /// Longest network latency in milliseconds.
    network_latency: i32,
    /// All privileges of the machine.
    privileged: bool,
}

/// Numbers of tasks that still exist.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GreenCloudFunctionMetrics)]
pub struct FunctionMetrics {
    /// Since midnight UTC.
    todays_tasks: usize,
    /// Not over.
    pending_tasks: usize,
    /// In the last seven days.
    week_tasks: usize,
    /// Over.
    completed_tasks: usize,
}

impl FunctionSummary {
    /// True with this tag.
    pub fn is_tagged(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own.id == tag)
    }
}

/// The Function that is asked for: its image answers one request per Task.
pub fn function(id: &Id, new: NewFunction) -> Result<Function, String> {
    if !new.kind.eq_ignore_ascii_case("DOCKER") {
        return Err("type must be DOCKER".into());
    }
    let lang = new.lang.to_ascii_uppercase();
    if !LANGUAGES.contains(&lang.as_str()) {
        return Err(format!("lang must be one of {}", LANGUAGES.join(", ")));
    }
    if new.image.is_empty() {
        return Err("image is missing: nothing is built here, so name the image that holds the function, such as \"registry.example/team/hello:1\"".into());
    }
    let spec = FunctionSpec {
        container: Container {
            image: new.image,
            ..Container::default()
        },
        http: Some(Http::default()),
        timeout: Some(Duration::from_secs(DEFAULT_TIMEOUT)),
        ..FunctionSpec::default()
    };
    let mut function = Function::new(id.as_str(), spec);
    let change = FunctionChange {
        name: Some(new.name),
        description: Some(new.description),
        tag: Some(new.tag),
    };
    self::change(&mut function, change)?;
    function.annotations_mut().insert(LANG.to_owned(), lang);
    Ok(function)
}

/// Takes a change over.
pub fn change(function: &mut Function, change: FunctionChange) -> Result<(), String> {
    if let Some(name) = change.name {
        let legal =
            (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !legal {
            return Err(format!("name must be 1 to {MAX_NAME} letters and digits"));
        }
        function.spec.display_name = Some(name);
    }
    if let Some(description) = change.description {
        check_text("description", &description, MAX_DESCRIPTION)?;
        function.spec.description = Some(description).filter(|text| !text.is_empty());
    }
    if let Some(tags) = change.tag {
        check_tags(&tags)?;
        let text = serde_json::to_string(&tags).map_err(|error| error.to_string())?;
        if tags.is_empty() {
            function.annotations_mut().remove(TAGS);
        } else {
            function.annotations_mut().insert(TAGS.to_owned(), text);
        }
    }
    Ok(())
}

/// Changes what a Function needs; all or nothing.
pub fn set_needs(function: &mut Function, change: &CapabilitiesChange) -> Result<(), String> {
    if change.timeout.is_some_and(|timeout| !TIMEOUT.contains(&timeout)) {
        return Err(format!(
            "timeout must be {} to {} seconds",
            TIMEOUT.start(),
            TIMEOUT.end()
        ));
    }
    if change
        .cpu_count
        .is_some_and(|count| !(0..=MAX_CPUS).contains(&count))
    {
        return Err(format!("cpuCount must be 0 to {MAX_CPUS}"));
    }
    if change
        .mem_size
        .is_some_and(|size| !(0..=MAX_MEMORY).contains(&size))
    {
        return Err(format!("memSize must be 0 to {MAX_MEMORY} (MiB)"));
    }
    if let Some(timeout) = change.timeout {
        function.spec.timeout = Some(Duration::from_secs(timeout));
    }
    let mut needs = function.spec.capabilities.take().unwrap_or_default();
    if let Some(count) = change.cpu_count {
        needs.cpu = (count > 0).then(|| Quantity(count.to_string()));
    }
    if let Some(size) = change.mem_size {
        needs.memory = (size > 0).then(|| Quantity(format!("{size}Mi")));
    }
    if let Some(privileged) = change.privileged {
        needs.privileged = privileged.then_some(true);
    }
    function.spec.capabilities = Some(needs).filter(|needs| *needs != Capabilities::default());
    Ok(())
}

/// A Function as a whole.
pub fn detail(function: &Function, counts: Counts) -> FunctionDetail {
    FunctionDetail {
        name: name(function),
        description: function.spec.description.clone().unwrap_or_default(),
        kind: "docker",
        lang: lang(function),
        tags: tags(function),
        capabilities: needs(function),
        metrics: FunctionMetrics {
            todays_tasks: counts.today,
            pending_tasks: counts.pending,
            week_tasks: counts.week,
            completed_tasks: counts.completed,
        },
    }
}

/// A Function in a list.
pub fn summary(function: &Function) -> FunctionSummary {
    let created = function.creation_timestamp().map_or(0, |time| time.0.as_second());
    FunctionSummary {
        id: function_id(&function.metadata),
        name: name(function),
        description: function.spec.description.clone().unwrap_or_default(),
        lang: lang(function),
        tags: tags(function),
        created_at: created.to_string(),
    }
}

/// What a Function needs.
pub fn needs(function: &Function) -> FunctionNeeds {
    let needs = map::needs(None, function.spec.capabilities.as_ref());
    FunctionNeeds {
        timeout: map::limit(&function.spec),
        cpu_count: needs.cpu_count,
        mem_size: needs.mem_size,
        network_latency: needs.network_latency,
        privileged: needs.privileged,
    }
}

fn name(function: &Function) -> String {
    let own = function.spec.display_name.clone();
    own.unwrap_or_else(|| function.name_any())
}

fn lang(function: &Function) -> String {
    let lang = function.annotations().get(LANG);
    lang.map(|lang| lang.to_ascii_lowercase()).unwrap_or_default()
}

fn tags(function: &Function) -> Vec<Tag> {
    let text = function.annotations().get(TAGS);
    let names: Vec<String> = text
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let tag = |name: String| Tag {
        id: name.clone(),
        name,
        color: "",
    };
    names.into_iter().map(tag).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn made(new: Value) -> Result<Function, String> {
        let id = Id::new(Timestamp::from_second(1_678_087_212).unwrap());
        function(&id, serde_json::from_value(new).unwrap())
    }

    fn hello() -> Value {
        json!({"name": "hello1", "description": "says hello", "tag": ["demo"], "lang": "GO", "type": "DOCKER", "image": "x/hello:1"})
    }

    #[test]
    fn a_function_is_made_of_an_image_and_shown_again() {
        let function = made(hello()).unwrap();
        assert_eq!(
            serde_json::to_value(&function.spec).unwrap(),
            json!({"description": "says hello", "displayName": "hello1", "container": {"image": "x/hello:1"}, "http": {}, "timeout": "10s"})
        );
        let counts = Counts {
            today: 1,
            week: 2,
            pending: 3,
            completed: 4,
        };
        assert_eq!(
            serde_json::to_value(detail(&function, counts)).unwrap(),
            json!({"name": "hello1", "description": "says hello", "type": "docker", "lang": "go",
                "tags": [{"id": "demo", "name": "demo", "color": ""}],
                "capabilities": {"timeout": 10, "cpuCount": 0, "memSize": 0, "networkLatency": 0, "privileged": false},
                "metrics": {"todaysTasks": 1, "pendingTasks": 3, "weekTasks": 2, "completedTasks": 4}})
        );
        let summary = summary(&function);
        assert!(summary.is_tagged("demo") && !summary.is_tagged("other"));
        assert_eq!(
            serde_json::to_value(summary).unwrap(),
            json!({"id": function.name_any(), "name": "hello1", "description": "says hello", "lang": "go",
                "tags": [{"id": "demo", "name": "demo", "color": ""}], "createdAt": "0"})
        );
    }

    #[test]
    fn what_cannot_be_made_is_refused_with_a_sentence() {
        for (field, value, part) in [
            ("type", json!("WASM"), "DOCKER"),
            ("lang", json!("COBOL"), "GO, PY"),
            ("image", json!(""), "image is missing"),
            ("name", json!(""), "letters and digits"),
            ("name", json!("a-b"), "letters and digits"),
            ("name", json!("a".repeat(65)), "letters and digits"),
            ("description", json!("x".repeat(81)), "at most 80"),
            ("tag", json!([""]), "must not be empty"),
        ] {
            let mut new = hello();
            new[field] = value;
            let error = made(new.clone()).unwrap_err();
            assert!(error.contains(part), "{new}: {error}");
        }
    }

    #[test]
    fn changes_leave_the_rest_as_it_is() {
        let mut function = made(hello()).unwrap();
        let to = |change: Value| serde_json::from_value::<FunctionChange>(change).unwrap();
        change(&mut function, to(json!({"description": "", "tags": []}))).unwrap();
        assert_eq!(
            (
                function.spec.description.as_deref(),
                function.spec.display_name.as_deref(),
                tags(&function)
            ),
            (None, Some("hello1"), vec![])
        );
    }

    #[test]
    fn needs_are_set_within_bounds_and_taken_away_with_zero() {
        let mut function = made(hello()).unwrap();
        let to = |change: Value| serde_json::from_value::<CapabilitiesChange>(change).unwrap();
        set_needs(
            &mut function,
            &to(json!({"timeout": 120, "cpuCount": 4, "memSize": 2048, "privilaged": true})),
        )
        .unwrap();
        let all = FunctionNeeds {
            timeout: 120,
            cpu_count: 4,
            mem_size: 2048,
            network_latency: 0,
            privileged: true,
        };
        assert_eq!(needs(&function), all);
        for (change, part) in [
            (json!({"timeout": 9, "cpuCount": 1}), "10 to 120"),
            (json!({"timeout": 121}), "10 to 120"),
            (json!({"cpuCount": 5}), "0 to 4"),
            (json!({"cpuCount": -1}), "0 to 4"),
            (json!({"memSize": 2049}), "0 to 2048"),
            (json!({"memSize": -1}), "0 to 2048"),
        ] {
            let error = set_needs(&mut function, &to(change.clone())).unwrap_err();
            assert!(error.contains(part), "{change}: {error}");
            assert_eq!(needs(&function), all);
        }
        set_needs(
            &mut function,
            &to(json!({"cpuCount": 0, "memSize": 0, "privileged": false})),
        )
        .unwrap();
        assert_eq!(function.spec.capabilities, None);
    }
}
