//! Who gets in, and what they may do.
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};

use super::wire::{JSON, MAPS, Wire};

#[tokio::test]
async fn who_has_no_good_token_stays_outside_and_others_do_what_roles_grant() {
    let wire = Wire::new().await;
    for header in ["", "Bearer", "Bearer wrong", "Basic s3cret", "Bearer s3crets"] {
        let (code, reason, _) = wire.refused("GET", MAPS, &[("authorization", header)], "").await;
        assert_eq!((code, reason.as_str()), (401, "Unauthorized"), "{header}");
    }
    assert_eq!(
        wire.send("GET", "/readyz", &[("authorization", "")], "").await,
        (StatusCode::OK, "ok".into())
    );
    let ann = ("authorization", "Bearer ann1");
    let (code, _, message) = wire.refused("GET", MAPS, &[ann], "").await;
    assert_eq!(code, 403);
    assert_eq!(
        message,
        "configmaps is forbidden: User \"ann\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]});
    assert_eq!(wire.post(&format!("{roles}/roles"), role).await.0, 201);
    let binding = json!({"metadata": {"name": "b"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "Group", "name": "dev", "apiGroup": "rbac.authorization.k8s.io"}]});
    assert_eq!(wire.post(&format!("{roles}/rolebindings"), binding).await.0, 201);
    assert_eq!(wire.send("GET", MAPS, &[ann], "").await.0, 200);
    assert_eq!(wire.send("GET", "/apis", &[ann], "").await.0, 200);
    let review = json!({"spec": {"user": "x", "groups": ["dev"], "resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": "default"}}});
    let (_, answer) = wire
        .post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        .await;
    assert_eq!(answer["status"]["allowed"], true);
    let own = json!({"spec": {"resourceAttributes": {"verb": "delete", "resource": "configmaps", "namespace": "default"}}});
    let own = wire
        .send(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            &[ann, JSON],
            own.to_string(),
        )
        .await;
    assert_eq!(
        (own.0.as_u16(), &own.1["status"]),
        (201, &json!({"allowed": false}))
    );
}

#[tokio::test]
async fn whoever_is_bound_to_cluster_admin_may_do_anything() {
    let wire = Wire::new().await;
    let ann = ("authorization", "Bearer ann1");
    assert_eq!(wire.refused("GET", "/metrics", &[ann], "").await.0, 403);
    let api = "rbac.authorization.k8s.io";
    let binding = json!({"metadata": {"name": "ann"}, "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "ann", "apiGroup": api}]});
    let bindings = format!("/apis/{api}/v1/clusterrolebindings");
    assert_eq!(wire.post(&bindings, binding).await.0, 201);
    assert_eq!(wire.send("GET", MAPS, &[ann], "").await.0, 200);
    let (_, masters) = wire
        .send("GET", &format!("{bindings}/cluster-admin"), &[ann], "")
        .await;
    assert_eq!(
        masters["subjects"],
        json!([{"kind": "Group", "name": "system:masters", "apiGroup": api}])
    );
}

#[tokio::test]
async fn service_account_tokens_end_with_what_they_are_bound_to() {
    let wire = Wire::new().await;
    let base = "/api/v1/namespaces/default";
    wire.post(
        &format!("{base}/serviceaccounts"),
        json!({"metadata": {"name": "robot"}}),
    )
    .await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "robot", "containers": [{"name": "c", "image": "i"}]}});
    let (_, pod) = wire.post(&format!("{base}/pods"), pod).await;
    let request = |audience: &str| {
        json!({"spec": {"audiences": [audience], "expirationSeconds": 600,
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]}}})
    };
    let path = format!("{base}/serviceaccounts/robot/token");
    let (code, issued) = wire.post(&path, request("errand")).await;
    assert_eq!(code, 201);
    let token = issued["status"]["token"].as_str().unwrap().to_owned();
    let claims = claims(&token);
    assert_eq!(
        (&claims["aud"], &claims["sub"], &claims["kubernetes.io"]["pod"]),
        (
            &json!(["errand"]),
            &"system:serviceaccount:default:robot".into(),
            &json!({"name": "p", "uid": pod["metadata"]["uid"]})
        )
    );
    let review = |audiences: Value| {
        let body = json!({"spec": {"token": token, "audiences": audiences}});
        let wire = &wire;
        async move {
            wire.post("/apis/authentication.k8s.io/v1/tokenreviews", body)
                .await
                .1
        }
    };
    let known = review(json!(["errand", "other"])).await;
    assert_eq!(known["status"]["authenticated"], true);
    assert_eq!(known["status"]["audiences"], json!(["errand"]));
    assert_eq!(
        known["status"]["user"]["username"],
        "system:serviceaccount:default:robot"
    );
    assert_eq!(
        known["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"],
        json!(["p"])
    );
    assert_eq!(
        known["status"]["user"]["extra"]["authentication.kubernetes.io/pod-uid"],
        json!([pod["metadata"]["uid"]])
    );
    assert_eq!(known["spec"].get("token"), None);
    assert_eq!(review(json!([])).await["status"]["authenticated"], false);
    let bearer = format!("Bearer {token}");
    let (code, ..) = wire.refused("GET", MAPS, &[("authorization", &bearer)], "").await;
    assert_eq!(code, 401, "a token for somebody else is none for the API");
    let (_, api) = wire.post(&path, json!({"spec": {}})).await;
    let bearer = format!("Bearer {}", api["status"]["token"].as_str().unwrap());
    assert_eq!(
        wire.refused("GET", MAPS, &[("authorization", &bearer)], "")
            .await
            .0,
        403
    );
    assert_eq!(
        wire.send("DELETE", &format!("{base}/pods/p"), &[], "").await.0,
        200
    );
    assert_eq!(review(json!(["errand"])).await["status"]["authenticated"], false);
    let short = json!({"spec": {"expirationSeconds": 5}}).to_string();
    assert_eq!(wire.refused("POST", &path, &[JSON], short).await.0, 422);
}

/// What the middle of a token says.
fn claims(token: &str) -> Value {
    let [_, claims, _] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("not three parts: {token}")
    };
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}
