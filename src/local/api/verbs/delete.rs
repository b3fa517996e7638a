//! Delete: preconditions, grace, propagation, finalizers.
use serde_json::Value;

use super::{Answer, Call, update};
use crate::local::api::{
    catalogue::{Kind, NAMESPACES, PODS},
    http::{
        path::Query,
        status::{ApiError, Result},
    },
    meta,
    store::Object,
};

/// Keeps an owner until its blocking dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Keeps an owner until its dependents have let go of it.
pub const ORPHAN: &str = "orphan";

/// Namespaces that admission keeps (`NamespaceLifecycle`).
const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after their owner.
    Background,
    /// They are deleted before their owner.
    Foreground,
    /// They stay.
    Orphan,
}

/// `meta/v1 DeleteOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds that a pod gets to end.
    pub grace: Option<i64>,
    /// What becomes of dependents.
    pub propagation: Option<Propagation>,
    /// Only this object.
    pub uid: Option<String>,
    /// Only this version.
    pub version: Option<String>,
    /// Only say what would happen.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// From the body, or without one from query parameters.
    ///
    /// # Errors
    /// 400 for what is no such options.
    pub fn parse(body: Option<&Value>, query: &Query) -> Result<Self> {
        match body {
            Some(body) => Self::from_body(body),
            None => {
                let propagation = match (query.get("propagationPolicy"), query.tristate("orphanDependents")) {
                    (Some(policy), _) => Some(propagation(policy)?),
                    (None, Some(true)) => Some(Propagation::Orphan),
                    (None, Some(false)) => Some(Propagation::Background),
                    (None, None) => None,
                };
                let options = Self {
                    grace: query.number("gracePeriodSeconds")?,
                    propagation,
                    dry_run: query.get("dryRun").is_some(),
                    ..Self::default()
                };
                options.checked()
            }
        }
    }

    fn from_body(body: &Value) -> Result<Self> {
        if !body.is_object() {
            return Err(ApiError::bad_request("DeleteOptions: expected a JSON object"));
        }
        let kind = meta::text(body, &["kind"]);
        if !matches!(kind, "" | "DeleteOptions") {
            return Err(ApiError::bad_request(format!(
                "the object provided is unrecognized (must be of type DeleteOptions): {kind}"
            )));
        }
        let grace = match body.get("gracePeriodSeconds") {
            None | Some(Value::Null) => None,
            Some(seconds) => Some(
                seconds
                    .as_i64()
                    .ok_or_else(|| ApiError::bad_request("gracePeriodSeconds: expected an integer"))?,
            ),
        };
        let policy = match (body.get("propagationPolicy"), body.get("orphanDependents")) {
            (Some(Value::String(policy)), _) if !policy.is_empty() => Some(propagation(policy)?),
            (_, Some(Value::Bool(true))) => Some(Propagation::Orphan),
            (_, Some(Value::Bool(false))) => Some(Propagation::Background),
            _ => None,
        };
        let wanted =
            |field| Some(meta::text(body, &["preconditions", field])).filter(|text| !text.is_empty());
        let options = Self {
            grace,
            propagation: policy,
            uid: wanted("uid").map(str::to_owned),
            version: wanted("resourceVersion").map(str::to_owned),
            dry_run: !meta::texts(body, &["dryRun"]).is_empty(),
        };
        options.checked()
    }

    /// Whether the object is the one that is meant.
    ///
    /// # Errors
    /// 409 for another uid or version.
    pub fn check(&self, kind: &Kind, current: &Object) -> Result<()> {
        let name = &current.facts.name;
        match &self.uid {
            Some(uid) if **uid != *current.facts.uid => {
                return Err(ApiError::uid_conflict(
                    kind.subject(),
                    name,
                    uid,
                    &current.facts.uid,
                ));
            }
            _ => {}
        }
        match &self.version {
            Some(version) if *version != current.version.to_string() => {
                let why = format!(
                    "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
                    current.version
                );
                Err(ApiError::conflict(kind.subject(), name, &why))
            }
            _ => Ok(()),
        }
    }

    fn checked(self) -> Result<Self> {
        match self.grace {
            Some(seconds) if seconds < 0 => Err(ApiError::bad_request(format!(
                "gracePeriodSeconds: Invalid value: {seconds}: must be greater than or equal to 0"
            ))),
            _ => Ok(self),
        }
    }
}

fn propagation(policy: &str) -> Result<Propagation> {
    match policy {
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        "Orphan" => Ok(Propagation::Orphan),
        other => Err(ApiError::bad_request(format!(
            "propagationPolicy: Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
        ))),
    }
}

/// What came of a deletion.
pub enum Deleted {
    /// The object is gone.
    Gone(Answer),
    /// The object stays until its grace period or its finalizers are over.
    Pending(Answer),
}

/// Deletes an object, or begins to.
///
/// # Errors
/// As the API server refuses.
pub fn delete(call: &mut Call<'_>, name: &str, options: &DeleteOptions) -> Result<Deleted> {
    if call.kind.is(NAMESPACES) && IMMORTAL.contains(&name) {
        return Err(ApiError::forbidden(
            call.kind.subject(),
            name,
            "this namespace may not be deleted",
        ));
    }
    for _ in 0..1000 {
        let current = call.stored(name)?;
        options.check(call.kind, &current)?;
        let old = current.value();
        let step = step(call.kind, &old, options, jiff::Timestamp::now());
        if call.options.dry_run || options.dry_run {
            return Ok(Deleted::Pending(Answer::Stored(current)));
        }
        let address = current.address(&call.kind.key);
        let done = call.core.store.write(|writer| {
            if writer
                .get(&address)
                .is_none_or(|now| now.version != current.version)
            {
                return Ok(None);
            }
            let done = match step {
                Step::Remove(last) => Deleted::Gone(Answer::Stored(writer.delete(&address, last)?)),
                Step::Mark(marked) => {
                    let object = writer.put(&call.kind.key, &call.kind.fields, marked)?;
                    Deleted::Pending(Answer::Stored(object))
                }
                Step::Nothing => Deleted::Pending(Answer::Stored(current.clone())),
            };
            Ok::<_, ApiError>(Some(done))
        })?;
        if let Some(done) = done {
            call.written();
            return Ok(done);
        }
    }
    Err(ApiError::stale(call.kind.subject(), name))
}

enum Step {
    Remove(Value),
    Mark(Value),
    Nothing,
}

/// What a deletion does to an object. Follows `rest.BeforeDelete` and `Store.Delete` of apiserver.
fn step(kind: &Kind, old: &Value, options: &DeleteOptions, now: jiff::Timestamp) -> Step {
    let mut new = old.clone();
    set_propagation(&mut new, options.propagation);
    let grace = grace(kind, old, options);
    let before = meta::at(old, &["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64);
    if !meta::is_deleting(old) {
        mark(&mut new, now, grace);
    } else if before.is_some_and(|before| grace < before) {
        let began = meta::meta_text(old, "deletionTimestamp")
            .parse::<jiff::Timestamp>()
            .ok();
        let began = began.and_then(|end| {
            end.checked_sub(jiff::SignedDuration::from_secs(before.unwrap_or(0)))
                .ok()
        });
        mark(&mut new, began.unwrap_or(now), grace);
    }
    if kind.is(NAMESPACES) {
        meta::set(&mut new, &["status", "phase"], "Terminating");
    }
    if update::vanishes(kind, &new) {
        // Watchers see a pod that ends at once without a deletion mark, as from a real server.
        return Step::Remove(if meta::is_deleting(old) { new } else { old.clone() });
    }
    if new == *old {
        Step::Nothing
    } else {
        Step::Mark(new)
    }
}

fn mark(value: &mut Value, from: jiff::Timestamp, grace: i64) {
    let end = from
        .checked_add(jiff::SignedDuration::from_secs(grace))
        .unwrap_or(from);
    meta::set_meta(value, "deletionTimestamp", meta::time(end));
    meta::set_meta(value, "deletionGracePeriodSeconds", grace);
    if let Some(generation) = meta::at(value, &["metadata", "generation"]).and_then(Value::as_i64) {
        meta::set_meta(value, "generation", generation + 1);
    }
}

/// Seconds that an object gets; only pods on a node get any.
fn grace(kind: &Kind, old: &Value, options: &DeleteOptions) -> i64 {
    if !kind.is(PODS) {
        return 0;
    }
    let ended = matches!(meta::text(old, &["status", "phase"]), "Succeeded" | "Failed");
    if ended || meta::text(old, &["spec", "nodeName"]).is_empty() {
        return 0;
    }
    let own = meta::at(old, &["spec", "terminationGracePeriodSeconds"])
        .and_then(Value::as_i64)
        .unwrap_or(30);
    options.grace.unwrap_or(own).max(0)
}

fn set_propagation(value: &mut Value, policy: Option<Propagation>) {
    let Some(policy) = policy else { return };
    let wanted = match policy {
        Propagation::Background => None,
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Orphan => Some(ORPHAN),
    };
    let mut finalizers: Vec<String> = meta::finalizers(value)
        .into_iter()
        .filter(|finalizer| ![FOREGROUND, ORPHAN].contains(finalizer))
        .map(str::to_owned)
        .collect();
    finalizers.extend(wanted.map(str::to_owned));
    if finalizers.is_empty() {
        meta::remove(value, &["metadata", "finalizers"]);
    } else {
        meta::set_meta(value, "finalizers", finalizers);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_come_from_the_body_or_the_query() {
        let body = json!({
            "kind": "DeleteOptions", "gracePeriodSeconds": 5, "propagationPolicy": "Foreground",
            "preconditions": {"uid": "u", "resourceVersion": "7"}, "dryRun": ["All"]
        });
        let parsed = DeleteOptions::parse(Some(&body), &Query::default()).unwrap();
        assert_eq!(
            parsed,
            DeleteOptions {
                grace: Some(5),
                propagation: Some(Propagation::Foreground),
                uid: Some("u".into()),
                version: Some("7".into()),
                dry_run: true
            }
        );
        let query = Query::parse(Some("gracePeriodSeconds=0&propagationPolicy=Orphan")).unwrap();
        let parsed = DeleteOptions::parse(None, &query).unwrap();
        assert_eq!(
            (parsed.grace, parsed.propagation),
            (Some(0), Some(Propagation::Orphan))
        );
        assert!(DeleteOptions::parse(Some(&json!({"gracePeriodSeconds": -1})), &Query::default()).is_err());
        assert!(
            DeleteOptions::parse(Some(&json!({"propagationPolicy": "Later"})), &Query::default()).is_err()
        );
    }
}
