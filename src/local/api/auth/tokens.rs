//! Bearer tokens: a fixed table, and tokens of service accounts bound to an audience, an expiry and maybe a pod.
//!
//! Service account tokens have the form of a JWT (RFC 7519), since their holders read the claims, but the third part is
//! random and no signature: this server alone has to recognise them. It keeps digests of whole tokens among its
//! objects, where no path of the API leads, so that they live as long as the data folder.
use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::User;
use crate::local::api::{
    catalogue::{PODS, SERVICE_ACCOUNTS},
    core::Core,
    http::status::Result,
    meta,
    store::{Address, Object},
};

/// Audience of the API server itself.
pub const API_AUDIENCE: &str = "https://kubernetes.default.svc";
/// Where digests of service account tokens are kept. No resource has this name.
const BOUND: &str = "~/tokens";

/// A token and whom it stands for.
#[derive(Clone)]
pub struct StaticToken {
    /// The user.
    pub user: User,
    /// The secret.
    pub secret: String,
}

/// The fixed table; only digests are kept.
#[derive(Default)]
pub struct Tokens {
    fixed: Vec<([u8; 32], User)>,
}

/// Whose token it is, and for which audiences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The user.
    pub user: User,
    /// Audiences.
    pub audiences: Vec<String>,
}

/// What a new service account token is bound to.
pub struct Binding<'a> {
    /// Namespace of the account.
    pub namespace: &'a str,
    /// Name of the account.
    pub account: &'a str,
    /// uid of the account.
    pub account_uid: &'a str,
    /// Name and uid of a pod.
    pub pod: Option<(&'a str, &'a str)>,
    /// Audiences.
    pub audiences: &'a [String],
    /// When it ends.
    pub expires: jiff::Timestamp,
}

impl Tokens {
    /// A fixed table.
    pub fn new(fixed: &[StaticToken]) -> Self {
        Self {
            fixed: fixed
                .iter()
                .map(|token| (digest(&token.secret), token.user.clone()))
                .collect(),
        }
    }

    /// Whose token this is, if it is good for the API.
    pub fn user_of(&self, core: &Core, secret: &str) -> Option<User> {
        let bearer = self.bearer_of(core, secret)?;
        bearer
            .audiences
            .iter()
            .any(|audience| audience == API_AUDIENCE)
            .then_some(bearer.user)
    }

    /// Whose token this is. The time taken does not depend on how much of the secret is right.
    pub fn bearer_of(&self, core: &Core, secret: &str) -> Option<Bearer> {
        let wanted = digest(secret);
        let mut found = None;
        for (known, user) in &self.fixed {
            if same(known, &wanted) {
                found = Some(user.clone());
            }
        }
        match found {
            Some(user) => Some(Bearer {
                user,
                audiences: vec![API_AUDIENCE.into()],
            }),
            // Found by the digest, which tells a guesser nothing about the secret.
            None => bound(core, &wanted, jiff::Timestamp::now()),
        }
    }
}

/// SHA-256 of a secret.
fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key() -> Arc<str> {
    BOUND.into()
}

/// Makes a token of a service account and remembers it.
///
/// # Errors
/// A data folder that does not take it.
pub fn issue(core: &Core, binding: &Binding<'_>) -> Result<String> {
    let id = uuid::Uuid::new_v4().to_string();
    let secret = jwt(binding, &id, jiff::Timestamp::now());
    let record = json!({
        "metadata": {"name": hex(&digest(&secret)), "uid": id},
        "namespace": binding.namespace,
        "account": binding.account,
        "accountUid": binding.account_uid,
        "pod": binding.pod.map(|(name, uid)| json!({"name": name, "uid": uid})),
        "audiences": binding.audiences,
        "expires": binding.expires.as_second(),
    });
    core.store.write(|writer| writer.put(&key(), &[], record))?;
    Ok(secret)
}

/// The claims that kube-apiserver writes too, under an `alg` that no verifier of signatures takes for one of its own.
fn jwt(binding: &Binding<'_>, id: &str, now: jiff::Timestamp) -> String {
    let mut about = json!({
        "namespace": binding.namespace,
        "serviceaccount": {"name": binding.account, "uid": binding.account_uid},
    });
    if let Some((name, uid)) = binding.pod {
        about["pod"] = json!({"name": name, "uid": uid});
    }
    let claims = json!({
        "aud": binding.audiences,
        "exp": binding.expires.as_second(),
        "iat": now.as_second(),
        "iss": API_AUDIENCE,
        "jti": id,
        "kubernetes.io": about,
        "nbf": now.as_second(),
        "sub": format!("system:serviceaccount:{}:{}", binding.namespace, binding.account),
    });
    let head = json!({"alg": "errand.dev/lookup", "typ": "JWT"});
    let random = [*uuid::Uuid::new_v4().as_bytes(), *uuid::Uuid::new_v4().as_bytes()].concat();
    let text = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!(
        "{}.{}.{}",
        text(&head),
        text(&claims),
        URL_SAFE_NO_PAD.encode(random)
    )
}

fn bound(core: &Core, digest: &[u8; 32], now: jiff::Timestamp) -> Option<Bearer> {
    let record = core.store.get(&Address::new(&key(), "", &hex(digest)))?.value();
    if is_void(core, &record, now) {
        return None;
    }
    let (namespace, account) = (
        meta::text(&record, &["namespace"]),
        meta::text(&record, &["account"]),
    );
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ];
    let mut user = User::new(format!("system:serviceaccount:{namespace}:{account}"), groups);
    user.uid = meta::text(&record, &["accountUid"]).to_owned();
    user.extra = extra(&record);
    Some(Bearer {
        user,
        audiences: meta::texts(&record, &["audiences"])
            .into_iter()
            .map(str::to_owned)
            .collect(),
    })
}

fn extra(record: &Value) -> BTreeMap<String, Vec<String>> {
    let mut extra = BTreeMap::new();
    let credential = format!("JTI={}", meta::meta_text(record, "uid"));
    extra.insert(
        "authentication.kubernetes.io/credential-id".to_owned(),
        vec![credential],
    );
    for (key, field) in [("pod-name", "name"), ("pod-uid", "uid")] {
        let value = meta::text(record, &["pod", field]);
        if !value.is_empty() {
            extra.insert(
                format!("authentication.kubernetes.io/{key}"),
                vec![value.to_owned()],
            );
        }
    }
    extra
}

/// Whether a token has ended: by time, or with the account or the pod it is bound to.
fn is_void(core: &Core, record: &Value, now: jiff::Timestamp) -> bool {
    if record
        .get("expires")
        .and_then(Value::as_i64)
        .is_none_or(|end| end <= now.as_second())
    {
        return true;
    }
    let namespace = meta::text(record, &["namespace"]);
    let gone = |resource: &str, name: &str, uid: &str| {
        let address = Address::new(&resource.into(), namespace, name);
        core.store
            .get(&address)
            .is_none_or(|object| *object.facts.uid != *uid)
    };
    let pod = meta::text(record, &["pod", "name"]);
    gone(
        SERVICE_ACCOUNTS,
        meta::text(record, &["account"]),
        meta::text(record, &["accountUid"]),
    ) || (!pod.is_empty() && gone(PODS, pod, meta::text(record, &["pod", "uid"])))
}

/// Forgets tokens that have ended.
///
/// # Errors
/// A data folder that does not take it.
pub fn sweep(core: &Core) -> Result<()> {
    let now = jiff::Timestamp::now();
    let ended = |object: &Arc<Object>| {
        let record = object.value();
        is_void(core, &record, now).then_some((object.address(&key()), record))
    };
    let ended: Vec<(Address, Value)> = core.store.list(BOUND, None).0.iter().filter_map(ended).collect();
    for (address, record) in ended {
        core.store.write(|writer| writer.delete(&address, record))?;
    }
    Ok(())
}
