//! Pods: defaults, first status, and what may change later.
use serde_json::{Map, Value, json};

use crate::local::api::{meta, schema::FieldError};

/// Lists of containers in a pod's spec.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

fn fill_in(map: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    let slot = map.entry(field).or_insert(Value::Null);
    if slot.is_null() {
        *slot = value.into();
    }
}

/// `SetDefaults_Pod`, `SetDefaults_PodSpec`, `SetDefaults_Container` and their like.
pub fn fill(value: &mut Value) {
    let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    fill_in(spec, "restartPolicy", "Always");
    fill_in(spec, "terminationGracePeriodSeconds", 30);
    fill_in(spec, "dnsPolicy", "ClusterFirst");
    fill_in(spec, "schedulerName", "default-scheduler");
    fill_in(spec, "securityContext", json!({}));
    fill_in(spec, "enableServiceLinks", true);
    let account = spec
        .get("serviceAccount")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty());
    let account = account.unwrap_or("default").to_owned();
    fill_in(spec, "serviceAccountName", account);
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        spec.insert("serviceAccount".into(), account);
    }
    for list in CONTAINERS {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(container) = container.as_object_mut() {
                fill_container(container);
            }
        }
    }
    for volume in spec
        .get_mut("volumes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        fill_volume(volume);
    }
}

fn fill_container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or("");
    fill_in(container, "imagePullPolicy", pull_policy(image));
    fill_in(container, "terminationMessagePath", "/dev/termination-log");
    fill_in(container, "terminationMessagePolicy", "File");
    fill_in(container, "resources", json!({}));
    for port in container
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(port) = port.as_object_mut() {
            fill_in(port, "protocol", "TCP");
        }
    }
    for variable in container
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        fill_field_ref(variable.pointer_mut("/valueFrom/fieldRef"));
    }
    // A limit without a request is also the request.
    let limits = container
        .get("resources")
        .and_then(|r| r.get("limits"))
        .and_then(Value::as_object)
        .cloned();
    for (resource, quantity) in limits.into_iter().flatten() {
        if let Some(resources) = container.get_mut("resources")
            && meta::at(resources, &["requests", &resource]).is_none()
        {
            meta::set(resources, &["requests", &resource], quantity);
        }
    }
}

fn fill_field_ref(reference: Option<&mut Value>) {
    if let Some(reference) = reference.and_then(Value::as_object_mut) {
        fill_in(reference, "apiVersion", "v1");
    }
}

/// Images without a tag, or tagged `latest`, are pulled each time.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn fill_volume(volume: &mut Value) {
    let Some(volume) = volume.as_object_mut() else {
        return;
    };
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(kind).and_then(Value::as_object_mut) {
            fill_in(source, "defaultMode", 0o644);
        }
    }
    for item in volume
        .get_mut("downwardAPI")
        .and_then(|source| source.get_mut("items"))
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        fill_field_ref(item.get_mut("fieldRef"));
    }
    if let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) {
        let policy = pull_policy(image.get("reference").and_then(Value::as_str).unwrap_or(""));
        fill_in(image, "pullPolicy", policy);
    }
}

/// The status of a new pod.
pub fn begin(value: &mut Value) {
    let quality = quality(value);
    meta::set(
        value,
        &["status"],
        json!({"phase": "Pending", "qosClass": quality}),
    );
}

/// `qos.ComputePodQOS`.
fn quality(value: &Value) -> &'static str {
    let containers = ["containers", "initContainers"].map(|list| meta::at(value, &["spec", list]));
    let containers: Vec<&Value> = containers
        .into_iter()
        .flatten()
        .filter_map(Value::as_array)
        .flatten()
        .collect();
    let quantity = |c: &Value, set: &str, resource: &str| meta::at(c, &["resources", set, resource]).cloned();
    let sets = ["requests", "limits"];
    let resources = ["cpu", "memory"];
    let any = containers.iter().any(|c| {
        sets.iter().any(|set| {
            resources
                .iter()
                .any(|resource| quantity(c, set, resource).is_some())
        })
    });
    let all = containers.iter().all(|c| {
        resources.iter().all(|resource| {
            let limit = quantity(c, "limits", resource);
            limit.is_some() && limit == quantity(c, "requests", resource)
        })
    });
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

const UPDATES: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What is wrong with a pod, new or changed.
pub fn validate(value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    match old {
        Some(old) => validate_update(value, old),
        None => validate_new(value),
    }
}

fn list<'a>(value: &'a Value, field: &str) -> Vec<&'a Value> {
    meta::at(value, &["spec", field])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect()
}

fn validate_new(value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if list(value, "containers").is_empty() {
        errors.push(FieldError::required("spec.containers", ""));
    }
    let mut names: Vec<&str> = Vec::new();
    for field in CONTAINERS {
        for (index, container) in list(value, field).into_iter().enumerate() {
            let path = format!("spec.{field}[{index}]");
            check_name(&mut errors, &path, meta::text(container, &["name"]), &mut names);
            let image = meta::text(container, &["image"]);
            if image.is_empty() {
                errors.push(FieldError::required(&format!("{path}.image"), ""));
            }
            check_mounts(&mut errors, &path, container, value);
        }
    }
    let mut volumes = Vec::new();
    for (index, volume) in list(value, "volumes").into_iter().enumerate() {
        check_name(
            &mut errors,
            &format!("spec.volumes[{index}]"),
            meta::text(volume, &["name"]),
            &mut volumes,
        );
    }
    let policy = &value["spec"]["restartPolicy"];
    if !matches!(policy.as_str(), Some("Always" | "OnFailure" | "Never")) {
        let supported = ["Always", "OnFailure", "Never"].map(str::to_owned);
        errors.push(FieldError::not_supported(
            "spec.restartPolicy",
            policy,
            &supported,
        ));
    }
    check_deadline(&mut errors, value);
    errors
}

fn check_name<'a>(errors: &mut Vec<FieldError>, path: &str, name: &'a str, known: &mut Vec<&'a str>) {
    let field = format!("{path}.name");
    if name.is_empty() {
        errors.push(FieldError::required(&field, ""));
    } else if let Err(why) = meta::check_label(name) {
        errors.push(FieldError::invalid(&field, &name.into(), why));
    } else if known.contains(&name) {
        errors.push(FieldError::duplicate(&field, &name.into()));
    }
    known.push(name);
}

fn check_mounts(errors: &mut Vec<FieldError>, path: &str, container: &Value, pod: &Value) {
    let volumes: Vec<&str> = list(pod, "volumes")
        .into_iter()
        .map(|v| meta::text(v, &["name"]))
        .collect();
    let mounts = container.get("volumeMounts").and_then(Value::as_array);
    for (index, mount) in mounts.into_iter().flatten().enumerate() {
        let name = meta::text(mount, &["name"]);
        if !volumes.contains(&name) {
            let text = format!("{path}.volumeMounts[{index}].name");
            errors.push(FieldError::invalid(&text, &name.into(), "no such volume"));
        }
        if meta::text(mount, &["mountPath"]).is_empty() {
            errors.push(FieldError::required(
                &format!("{path}.volumeMounts[{index}].mountPath"),
                "",
            ));
        }
    }
}

fn check_deadline(errors: &mut Vec<FieldError>, value: &Value) {
    let field = "spec.activeDeadlineSeconds";
    match meta::at(value, &["spec", "activeDeadlineSeconds"]) {
        None | Some(Value::Null) => {}
        Some(seconds)
            if seconds
                .as_i64()
                .is_some_and(|s| (1..=i64::from(i32::MAX)).contains(&s)) => {}
        Some(seconds) => {
            errors.push(FieldError::invalid(
                field,
                seconds,
                "must be between 1 and 2147483647, inclusive",
            ));
        }
    }
}

fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_deadline_change(&mut errors, new, old);
    let mut leveled = new.clone();
    for path in [
        &["spec", "activeDeadlineSeconds"][..],
        &["spec", "schedulingGates"],
    ] {
        meta::copy(&mut leveled, old, path);
    }
    if meta::text(old, &["spec", "nodeName"]).is_empty() {
        // Set once, by a scheduler.
        meta::copy(&mut leveled, old, &["spec", "nodeName"]);
    }
    level_images(&mut leveled, old);
    level_tolerations(&mut leveled, old);
    if leveled.get("spec") != old.get("spec") {
        errors.push(FieldError::forbidden("spec", UPDATES));
    }
    errors
}

fn check_deadline_change(errors: &mut Vec<FieldError>, new: &Value, old: &Value) {
    let seconds = |value: &Value| meta::at(value, &["spec", "activeDeadlineSeconds"]).and_then(Value::as_i64);
    let field = "spec.activeDeadlineSeconds";
    match (seconds(old), seconds(new)) {
        (Some(before), Some(after)) if after > before => {
            let why = "must be less than or equal to previous value";
            errors.push(FieldError::invalid(field, &after.into(), why));
        }
        (Some(_), None) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(field, &Value::Null, why));
        }
        _ => check_deadline(errors, new),
    }
}

fn level_images(leveled: &mut Value, old: &Value) {
    for field in ["containers", "initContainers"] {
        let images: Vec<Value> = list(old, field).into_iter().map(|c| c["image"].clone()).collect();
        let containers = leveled
            .pointer_mut(&format!("/spec/{field}"))
            .and_then(Value::as_array_mut);
        for (container, image) in containers.into_iter().flatten().zip(images) {
            if !meta::text(container, &["image"]).is_empty() {
                container["image"] = image;
            }
        }
    }
}

fn level_tolerations(leveled: &mut Value, old: &Value) {
    let (now, before) = (list(leveled, "tolerations"), list(old, "tolerations"));
    if before.iter().all(|toleration| now.contains(toleration)) {
        meta::copy(leveled, old, &["spec", "tolerations"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
        fill(&mut pod);
        pod
    }

    fn task() -> Value {
        pod(json!({"containers": [{"name": "task", "image": "a:1"}], "restartPolicy": "Never"}))
    }

    #[test]
    fn pods_get_the_defaults_of_kubernetes() {
        let mut pod = pod(
            json!({"containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 1}],
            "resources": {"limits": {"cpu": "1"}}}]}),
        );
        begin(&mut pod);
        assert_eq!(
            pod,
            json!({"metadata": {"name": "p"}, "spec": {
                "containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 1, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}, "imagePullPolicy": "Always",
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                "schedulerName": "default-scheduler", "securityContext": {}, "enableServiceLinks": true,
                "serviceAccountName": "default", "serviceAccount": "default"},
                "status": {"phase": "Pending", "qosClass": "Burstable"}})
        );
        assert_eq!(pull_policy("r:5000/x"), "Always");
        assert_eq!(pull_policy("r:5000/x:1"), "IfNotPresent");
        assert_eq!(pull_policy("x@sha256:00"), "IfNotPresent");
    }

    #[test]
    fn a_running_pod_may_only_be_shortened_tolerated_and_reimaged() {
        let old = task();
        let mut new = old.clone();
        new["spec"]["activeDeadlineSeconds"] = 10.into();
        new["spec"]["containers"][0]["image"] = "b:1".into();
        new["spec"]["tolerations"] = json!([{"key": "a"}]);
        new["spec"]["nodeName"] = "n".into();
        assert_eq!(validate(&new, Some(&old)), []);
        let mut longer = new.clone();
        longer["spec"]["activeDeadlineSeconds"] = 11.into();
        assert_eq!(
            validate(&longer, Some(&new))[0].to_string(),
            "spec.activeDeadlineSeconds: Invalid value: 11: must be less than or equal to previous value"
        );
        let mut moved = new.clone();
        moved["spec"]["nodeName"] = "other".into();
        assert!(
            validate(&moved, Some(&new))[0]
                .to_string()
                .starts_with("spec: Forbidden: pod updates may not")
        );
        let mut command = old.clone();
        command["spec"]["containers"][0]["command"] = json!(["x"]);
        assert_eq!(validate(&command, Some(&old)).len(), 1);
    }

    #[test]
    fn a_pod_that_cannot_run_is_refused_field_by_field() {
        let bad = pod(
            json!({"containers": [{"name": "A", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "restartPolicy": "Sometimes", "activeDeadlineSeconds": 0}),
        );
        let fields: Vec<String> = validate(&bad, None)
            .into_iter()
            .map(|error| error.field)
            .collect();
        assert_eq!(
            fields,
            [
                "spec.containers[0].name",
                "spec.containers[0].image",
                "spec.containers[0].volumeMounts[0].name",
                "spec.restartPolicy",
                "spec.activeDeadlineSeconds"
            ]
        );
        assert_eq!(validate(&pod(json!({})), None)[0].field, "spec.containers");
    }
}
