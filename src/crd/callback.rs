//! Who is told of a Task's end, and how that went.

use std::fmt;

use k8s_openapi::jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, status::timestamp, task::SUBDOMAIN};

/// Where the end of a Task is told, by a POST: at least once, and again until it is taken or the policy gives up.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!(has(self.policy) && self.policy == 'Diego' && has(self.retry))", "policy Diego has rules of its own for retries"),
)]
pub struct Callback {
    /// Address of the POST. It may name no user and no password.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[!-~]+$"))]
    pub url: String,
    /// Key of the signature in the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, as Standard
    /// Webhooks has it. Without it the POST is not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
    /// What is sent, and which answers count. Default Standard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<CallbackPolicy>,
    /// Id of the Task in the words of whoever is called: `data.subject`, or `task_guid` with policy Diego, where the
    /// Task's name takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub subject: Option<String>,
    /// When it is tried again, with policy Standard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<CallbackRetry>,
    /// Limit on one try, from the look-up of the name to the head of the answer. Default 10s, at most 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(format!("!self.matches('{}') || (duration(self) >= duration('100ms') && duration(self) <= duration('60s'))", Duration::PATTERN)).message("must be at least 100ms and at most 60s"))]
    pub timeout: Option<Duration>,
    /// Follow redirects: at most three, and never from https to http. Default false; true with policy Diego.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_redirects: Option<bool>,
    /// Delete the Task once its callback is over, delivered or not, instead of after its ttlAfterFinished. Default
    /// false; true with policy Diego.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_after: Option<bool>,
}

impl Callback {
    /// The policy, or its default.
    pub fn policy(&self) -> CallbackPolicy {
        self.policy.unwrap_or_default()
    }

    /// Whether redirects are followed.
    pub fn follows_redirects(&self) -> bool {
        self.follow_redirects
            .unwrap_or(self.policy() == CallbackPolicy::Diego)
    }

    /// Whether the Task goes as soon as its callback is over.
    pub fn deletes_after(&self) -> bool {
        self.delete_after
            .unwrap_or(self.policy() == CallbackPolicy::Diego)
    }
}

/// One key of a Secret in the Task's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub name: String,
    /// Key in it. Its value is the base64 of 24 bytes or more, with or without `whsec_` before it; several, parted by
    /// spaces or line breaks, sign together while one takes the place of another.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// What is sent, and which answers count. Standard (default): an event as Standard Webhooks has it; 2xx is taken, 410 ends
/// it, all else is tried again. Diego: the completion callback of Cloud Foundry's Diego; any answer but 503 and 504 is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum CallbackPolicy {
    /// An event as Standard Webhooks has it. 2xx is taken, 410 ends it, all else is tried again.
    #[default]
    Standard,
    /// The completion callback of Cloud Foundry's Diego. Any answer but 503 and 504 is taken; it is tried again for 120
    /// seconds after the end of the Task.
    Diego,
}

/// When a callback is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallbackRetry {
    /// Tries in all. Default 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub limit: Option<u32>,
    /// Wait before the second try; each further one is four times as long, up to 2h. Default 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Duration>,
}

/// How far a callback has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallbackStatus {
    /// Pending, Delivering, Delivered or Failed. The last two are final.
    pub state: CallbackState,
    /// Tries so far that came to an end.
    #[serde(default)]
    pub attempts: u32,
    /// When the last try ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub last_attempt_at: Option<Timestamp>,
    /// When the next try may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub next_attempt_at: Option<Timestamp>,
    /// HTTP status of the last answer; absent where the last try got none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status: Option<u16>,
    /// What came of the last try, in a sentence; nothing of an answer's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the callback was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub delivered_at: Option<Timestamp>,
}

/// Where a callback stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum CallbackState {
    /// Not tried yet.
    #[default]
    Pending,
    /// Tried, not taken, and tried again.
    Delivering,
    /// Taken.
    Delivered,
    /// Not taken, and not tried again.
    Failed,
}

impl CallbackState {
    /// True where nothing more is sent.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed)
    }
}

impl fmt::Display for CallbackState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "Pending",
            Self::Delivering => "Delivering",
            Self::Delivered => "Delivered",
            Self::Failed => "Failed",
        })
    }
}
