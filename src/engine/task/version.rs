//! Versions of Functions. A version is a ControllerRevision that belongs to the Function and is named after it; its
//! `data.spec` holds those parts of the spec that are fixed, as a merge patch (RFC 7386). The rest is the Function's.

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::ResourceExt as _;
use serde_json::Value;

use super::reconcile::Error;
use crate::{
    crd::{Function, FunctionSpec, revision_name},
    engine::context::Context,
};

/// Why there is no such version to run.
#[derive(Debug, PartialEq, Eq)]
pub enum Missing {
    /// The Function has none of this number.
    None,
    /// With the parts that it fixes the Function is none, as a sentence says.
    Unreadable(String),
}

/// The spec of a version.
///
/// # Errors
/// [`Error::Call`] where the API server did not answer.
pub async fn spec(
    ctx: &Context,
    function: &Function,
    version: i64,
) -> Result<Result<FunctionSpec, Missing>, Error> {
    let name = revision_name(&function.name_any(), version);
    let api = ctx.revisions(&function.namespace().unwrap_or_default());
    let revision = ctx.call("get a ControllerRevision", api.get_opt(&name)).await?;
    Ok(
        match revision.filter(|revision| is_version(revision, function, version)) {
            Some(revision) => fixed(&function.spec, revision.data.map(|data| data.0)).map_err(|error| {
                Missing::Unreadable(format!(
                    "version {version} of function {name} is no function: {error}"
                ))
            }),
            None => Err(Missing::None),
        },
    )
}

fn is_version(revision: &ControllerRevision, function: &Function, version: i64) -> bool {
    let uid = function.uid();
    let owned = revision
        .owner_references()
        .iter()
        .any(|owner| Some(&owner.uid) == uid.as_ref());
    owned && revision.revision == version
}

/// The spec with the parts that are fixed put over it.
fn fixed(spec: &FunctionSpec, data: Option<Value>) -> Result<FunctionSpec, serde_json::Error> {
    let patch = data.as_ref().and_then(|data| data.get("spec"));
    let Some(patch) = patch else {
        return Ok(spec.clone());
    };
    let mut whole = serde_json::to_value(spec)?;
    json_patch::merge(&mut whole, patch);
    serde_json::from_value(whole)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec_of(value: Value) -> FunctionSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_version_fixes_what_it_holds_and_nothing_else() {
        let now =
            spec_of(json!({"container": {"image": "b", "command": ["x"]}, "timeout": "5s", "paused": true}));
        let data = json!({"spec": {"container": {"image": "a"}, "timeout": null}, "note": 1});
        let then = spec_of(json!({"container": {"image": "a", "command": ["x"]}, "paused": true}));
        assert_eq!(fixed(&now, Some(data)).unwrap(), then);
        assert_eq!(fixed(&now, None).unwrap(), now);
        assert!(fixed(&now, Some(json!({"spec": {"container": null}}))).is_err());
    }

    #[test]
    fn only_a_revision_of_this_function_and_number_is_its_version() {
        let function: Function = serde_json::from_value(json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Function", "metadata": {"name": "f", "uid": "u"},
            "spec": {"container": {"image": "a"}},
        }))
        .unwrap();
        let revision = |uid: &str, number: i64| -> ControllerRevision {
            let owner =
                json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Function", "name": "f", "uid": uid});
            serde_json::from_value(
                json!({"metadata": {"name": "f-v1", "ownerReferences": [owner]}, "revision": number}),
            )
            .unwrap()
        };
        assert!(is_version(&revision("u", 1), &function, 1));
        assert!(!is_version(&revision("other", 1), &function, 1));
        assert!(!is_version(&revision("u", 2), &function, 1));
    }
}
