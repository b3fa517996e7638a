//! Who a token stands for.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use serde::Serialize;

use super::token::Audience;

/// Who sent a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Name.
    pub user: String,
    /// uid, for users that have one.
    pub uid: Option<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// More that the authenticator said.
    pub extra: BTreeMap<String, Vec<String>>,
    /// Some: a pod reporting for its own Task, which may do nothing else.
    pub pod: Option<PodIdentity>,
}

/// The pod that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PodIdentity {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// What a decision about a caller depends on.
#[derive(Serialize)]
pub(super) struct Question<'a> {
    user: &'a str,
    uid: Option<&'a str>,
    groups: &'a [String],
    extra: &'a BTreeMap<String, Vec<String>>,
}

impl Caller {
    pub(super) fn question(&self) -> Question<'_> {
        Question {
            user: &self.user,
            uid: self.uid.as_deref(),
            groups: &self.groups,
            extra: &self.extra,
        }
    }
}

/// The caller that a review found, if the token is valid and for this audience.
pub(super) fn reviewed(status: TokenReviewStatus, audience: Audience) -> Option<Caller> {
    if status.authenticated != Some(true) {
        // The text says what is wrong with the token and holds nothing of it.
        tracing::debug!(
            why = status.error.as_deref().unwrap_or_default(),
            "a token was refused"
        );
        return None;
    }
    let named = match audience.name() {
        // An authenticator that knows no audiences leaves them out, and has not checked for ours.
        Some(wanted) => status.audiences.iter().flatten().any(|named| named == wanted),
        None => true,
    };
    let user = status.user.unwrap_or_default();
    let pod = match audience {
        Audience::Errand => pod_of(&user).ok()?,
        Audience::ApiServer => None,
    };
    let name = user.username.filter(|name| !name.is_empty())?;
    named.then(|| Caller {
        user: name,
        uid: user.uid.filter(|uid| !uid.is_empty()),
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default(),
        pod,
    })
}

/// Keys that tell the pod of a bound token (Kubernetes, "Managing Service Accounts", "Bound service account tokens").
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// The pod is told in part or to somebody who is no service account.
struct HalfTold;

fn pod_of(user: &UserInfo) -> Result<Option<PodIdentity>, HalfTold> {
    let told = |key: &str| match user
        .extra
        .as_ref()
        .and_then(|extra| extra.get(key))
        .map(Vec::as_slice)
    {
        None => Ok(None),
        Some([value]) if !value.is_empty() => Ok(Some(value.clone())),
        Some(_) => Err(HalfTold),
    };
    let account = user.username.as_deref().unwrap_or_default();
    let account = account.strip_prefix("system:serviceaccount:");
    match (
        told(POD_NAME)?,
        told(POD_UID)?,
        account.and_then(|account| account.split_once(':')),
    ) {
        (None, None, _) => Ok(None),
        (Some(name), Some(uid), Some((namespace, _))) if !namespace.is_empty() => Ok(Some(PodIdentity {
            namespace: namespace.to_owned(),
            name,
            uid,
        })),
        _ => Err(HalfTold),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn review(audience: Audience, status: Value) -> Option<Caller> {
        reviewed(serde_json::from_value(status).unwrap(), audience)
    }

    fn of_a_pod(username: &str, extra: Value) -> Value {
        json!({"authenticated": true, "audiences": ["errand"], "user": {"username": username, "extra": extra}})
    }

    const ROBOT: &str = "system:serviceaccount:jobs:robot";

    #[test]
    fn only_an_authenticated_and_named_user_is_a_caller() {
        let user = json!({"username": "ann", "groups": ["dev"], "uid": ""});
        let ann = Caller {
            user: "ann".into(),
            groups: vec!["dev".into()],
            ..Caller::default()
        };
        let known = json!({"authenticated": true, "user": user});
        assert_eq!(review(Audience::ApiServer, known), Some(ann));
        for refused in [
            json!({"authenticated": false, "user": user, "error": "no"}),
            json!({"user": user}),
            json!({"authenticated": true}),
            json!({"authenticated": true, "user": {"username": ""}}),
        ] {
            assert_eq!(review(Audience::ApiServer, refused.clone()), None, "{refused}");
        }
    }

    #[test]
    fn a_token_for_errand_needs_a_review_that_looked_at_audiences() {
        for audiences in [json!(null), json!([]), json!(["other"])] {
            let status = json!({"authenticated": true, "audiences": audiences, "user": {"username": "ann"}});
            assert_eq!(review(Audience::Errand, status), None, "{audiences}");
        }
        let status =
            json!({"authenticated": true, "audiences": ["x", "errand"], "user": {"username": "ann"}});
        let caller = review(Audience::Errand, status).unwrap();
        assert_eq!((caller.user.as_str(), caller.pod), ("ann", None));
    }

    #[test]
    fn a_bound_token_for_errand_is_that_pod_and_one_for_the_api_server_is_its_account() {
        let status = of_a_pod(ROBOT, json!({POD_NAME: ["p"], POD_UID: ["u"]}));
        let pod = PodIdentity {
            namespace: "jobs".into(),
            name: "p".into(),
            uid: "u".into(),
        };
        assert_eq!(review(Audience::Errand, status.clone()).unwrap().pod, Some(pod));
        assert_eq!(review(Audience::ApiServer, status).unwrap().pod, None);
    }

    #[test]
    fn a_pod_that_is_told_in_part_is_nobody() {
        for (username, extra) in [
            (ROBOT, json!({POD_NAME: ["p"]})),
            (ROBOT, json!({POD_UID: ["u"]})),
            (ROBOT, json!({POD_NAME: ["p"], POD_UID: []})),
            (ROBOT, json!({POD_NAME: ["p", "q"], POD_UID: ["u"]})),
            (ROBOT, json!({POD_NAME: [""], POD_UID: ["u"]})),
            ("ann", json!({POD_NAME: ["p"], POD_UID: ["u"]})),
            (
                "system:serviceaccount::robot",
                json!({POD_NAME: ["p"], POD_UID: ["u"]}),
            ),
            (
                "system:serviceaccount:jobs",
                json!({POD_NAME: ["p"], POD_UID: ["u"]}),
            ),
        ] {
            assert_eq!(
                review(Audience::Errand, of_a_pod(username, extra.clone())),
                None,
                "{username} {extra}"
            );
        }
    }
}
