//! The listener of the doors whose callers show a certificate in place of a token, and who such a caller is.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use tokio::net::TcpListener;

use super::{access::Caller, refusal::Refusal};
use crate::tls::{FileIdentity, Peer};

/// A listener with a way to know its callers.
pub struct PeerListener {
    /// Where they come in.
    pub listener: TcpListener,
    /// Who they are.
    pub proof: Proof,
}

/// How callers of a [`PeerListener`] are known.
#[derive(Clone, Debug)]
pub enum Proof {
    /// By their certificates; without one of the right authority there is no connection.
    Certificate(FileIdentity),
    /// Everyone is this caller, over plain HTTP: for loopback on a machine of one user.
    Given(Arc<Caller>),
}

impl Proof {
    /// What the listener shows; `None` = plain HTTP.
    pub fn identity(&self) -> Option<&FileIdentity> {
        match self {
            Self::Certificate(identity) => Some(identity),
            Self::Given(_) => None,
        }
    }
}

/// Names that Kubernetes keeps for itself (Kubernetes, "Authenticating", "Users in Kubernetes"). An authority of clients
/// is not one of the cluster, so its certificates must not say them.
const RESERVED: &str = "system:";
/// Everyone who has shown who they are, as the API server has it.
const AUTHENTICATED: &str = "system:authenticated";

/// The caller with this certificate: a user of its name, without groups of their own.
///
/// # Errors
/// It names nobody, or somebody that only the cluster may name.
pub fn caller(peer: &Peer) -> Result<Caller, Refusal> {
    let refused = |why: String| Err(Refusal::Unauthenticated(why));
    let Some(name) = &peer.0 else {
        return refused("the client's certificate has no common name, so it names no user".into());
    };
    if name.starts_with(RESERVED) {
        return refused(format!(
            "names that begin with {RESERVED} are Kubernetes' own, and the client's certificate has {name:?}"
        ));
    }
    Ok(Caller {
        user: name.to_string(),
        groups: vec![AUTHENTICATED.to_owned()],
        ..Caller::default()
    })
}

/// Tells the handlers behind `router` who asks, as [`super::extract::Asker`] takes it.
pub fn identify(router: Router, proof: &Proof) -> Router {
    match proof {
        Proof::Certificate(_) => router.layer(from_fn_with_state((), by_certificate)),
        Proof::Given(caller) => router.layer(Extension(caller.clone())),
    }
}

async fn by_certificate(State(()): State<()>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
    match caller(&peer) {
        Ok(caller) => {
            request.extensions_mut().insert(Arc::new(caller));
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_a_user_of_its_name_and_in_no_group_of_its_own() {
        let ann = Caller {
            user: "ann".into(),
            groups: vec!["system:authenticated".into()],
            ..Caller::default()
        };
        assert_eq!(caller(&Peer(Some("ann".into()))), Ok(ann));
    }

    #[test]
    fn nobody_becomes_part_of_the_cluster_by_a_certificate() {
        for name in [None, Some("system:admin"), Some("system:serviceaccount:a:b")] {
            let refused = caller(&Peer(name.map(Into::into)));
            assert!(matches!(refused, Err(Refusal::Unauthenticated(_))), "{name:?}");
        }
    }
}
