//! What a caller wants to do, in the words of Kubernetes.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReviewSpec};
use serde::Serialize;

use super::caller::Caller;
use crate::crd::{GROUP, VERSION};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

/// What it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Resource {
    /// Tasks.
    Tasks,
    /// Progress and end of Tasks, reported from outside.
    TaskStatus,
    /// Functions.
    Functions,
    /// Schedules.
    Schedules,
    /// ConfigMaps, in which a catalogue is kept.
    ConfigMaps,
    /// Secrets, which hold passwords of registries.
    Secrets,
}

/// A question about a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Action<'a> {
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub resource: Resource,
    /// In which namespace; empty means in all of them.
    pub namespace: &'a str,
    /// To which one of them, where it is one.
    pub name: Option<&'a str>,
}

impl Verb {
    /// As RBAC rules have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

impl Resource {
    /// Resource and subresource, as RBAC rules have them.
    fn path(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Tasks => ("tasks", None),
            Self::TaskStatus => ("tasks", Some("status")),
            Self::Functions => ("functions", None),
            Self::Schedules => ("schedules", None),
            Self::ConfigMaps => ("configmaps", None),
            Self::Secrets => ("secrets", None),
        }
    }

    /// API group and version.
    fn group(self) -> (&'static str, &'static str) {
        match self {
            Self::Tasks | Self::TaskStatus | Self::Functions | Self::Schedules => (GROUP, VERSION),
            Self::ConfigMaps | Self::Secrets => ("", "v1"),
        }
    }

    fn one(self) -> &'static str {
        match self {
            Self::Tasks => "task",
            Self::TaskStatus => "the status of task",
            Self::Functions => "function",
            Self::Schedules => "schedule",
            Self::ConfigMaps => "configmap",
            Self::Secrets => "secret",
        }
    }

    fn many(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::TaskStatus => "the status of tasks",
            Self::Functions => "functions",
            Self::Schedules => "schedules",
            Self::ConfigMaps => "configmaps",
            Self::Secrets => "secrets",
        }
    }
}

impl Action<'_> {
    /// The question to the API server.
    pub(super) fn spec(&self, caller: &Caller) -> SubjectAccessReviewSpec {
        let (resource, subresource) = self.resource.path();
        let (group, version) = self.resource.group();
        SubjectAccessReviewSpec {
            user: Some(caller.user.clone()),
            uid: caller.uid.clone(),
            groups: Some(caller.groups.clone()),
            extra: Some(caller.extra.clone()),
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                version: Some(version.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: subresource.map(str::to_owned),
                namespace: Some(self.namespace.to_owned()),
                name: self.name.map(str::to_owned),
                verb: Some(self.verb.as_str().to_owned()),
                ..ResourceAttributes::default()
            }),
            non_resource_attributes: None,
        }
    }

    /// What a caller is told who may not.
    pub(super) fn refusal(&self, user: &str) -> String {
        let what = match self.name {
            Some(name) => format!("{} {name:?}", self.resource.one()),
            None => self.resource.many().to_owned(),
        };
        let place = match self.namespace {
            "" => "all namespaces".to_owned(),
            namespace => format!("namespace {namespace:?}"),
        };
        format!("user {user:?} cannot {} {what} in {place}", self.verb.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_cannot_do_what_and_where() {
        let action = Action {
            verb: Verb::Create,
            resource: Resource::Tasks,
            namespace: "jobs",
            name: None,
        };
        let refusal = |action: Action<'_>| action.refusal("ann");
        assert_eq!(
            refusal(action),
            r#"user "ann" cannot create tasks in namespace "jobs""#
        );
        let one = Action {
            verb: Verb::Patch,
            resource: Resource::TaskStatus,
            name: Some("a\nb"),
            ..action
        };
        assert_eq!(
            refusal(one),
            r#"user "ann" cannot patch the status of task "a\nb" in namespace "jobs""#
        );
        let all = Action {
            verb: Verb::List,
            resource: Resource::Functions,
            namespace: "",
            name: None,
        };
        assert_eq!(
            refusal(all),
            r#"user "ann" cannot list functions in all namespaces"#
        );
    }

    #[test]
    fn a_question_tells_all_about_the_caller_and_the_action() {
        let caller = Caller {
            user: "ann".into(),
            uid: Some("u1".into()),
            groups: vec!["dev".into()],
            extra: [("scopes".to_owned(), vec!["x".to_owned()])].into(),
            pod: None,
        };
        let action = Action {
            verb: Verb::Update,
            resource: Resource::TaskStatus,
            namespace: "jobs",
            name: Some("t"),
        };
        assert_eq!(
            serde_json::to_value(action.spec(&caller)).unwrap(),
            serde_json::json!({
                "user": "ann", "uid": "u1", "groups": ["dev"], "extra": {"scopes": ["x"]},
                "resourceAttributes": {"group": "errand.dev", "version": "v1alpha1", "resource": "tasks",
                    "subresource": "status", "namespace": "jobs", "name": "t", "verb": "update"},
            })
        );
    }
}
