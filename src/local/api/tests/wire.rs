//! What strangers may send: codes and texts of refusals, negotiation, watches on the wire.
use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::super::{ApiOptions, ApiServer, StaticToken, User};

pub struct Wire(ApiServer);

impl Wire {
    pub async fn new() -> Self {
        let token = |user: User, secret: &str| StaticToken {
            user,
            secret: secret.into(),
        };
        let tokens = vec![
            token(User::new("admin", ["system:masters"]), "s3cret"),
            token(User::new("ann", ["dev"]), "ann1"),
        ];
        Self(
            ApiServer::start(ApiOptions {
                tokens,
                ..ApiOptions::default()
            })
            .await
            .unwrap(),
        )
    }

    async fn raw(&self, request: Request<Body>) -> Response<Body> {
        self.0.router().oneshot(request).await.unwrap()
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", "Bearer s3cret");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.raw(request.body(body.into()).unwrap()).await;
        let code = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (
            code,
            serde_json::from_slice(&body)
                .unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into()),
        )
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub async fn refused(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> (u16, String, String) {
        let (code, status) = self.send(method, path, headers, body).await;
        assert_eq!(
            (&status["kind"], &status["status"]),
            (&"Status".into(), &"Failure".into()),
            "{method} {path}: {status}"
        );
        assert_eq!(status["code"], code.as_u16());
        let text = |field: &str| status[field].as_str().unwrap().to_owned();
        (code.as_u16(), text("reason"), text("message"))
    }
}

pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn nonsense_is_answered_with_a_status_of_the_right_code() {
    let wire = Wire::new().await;
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let cases: Vec<(&str, String, &str, String, u16, &str)> = vec![
        ("POST", MAPS.into(), JSON.1, "{".into(), 400, "BadRequest"),
        ("POST", MAPS.into(), JSON.1, "[]".into(), 400, "BadRequest"),
        ("POST", MAPS.into(), JSON.1, "\u{0}".into(), 400, "BadRequest"),
        ("POST", MAPS.into(), JSON.1, deep.clone(), 400, "BadRequest"),
        ("POST", MAPS.into(), "application/yaml", deep, 400, "BadRequest"),
        (
            "POST",
            MAPS.into(),
            "application/yaml",
            "a: &a [*a, *b".into(),
            400,
            "BadRequest",
        ),
        (
            "POST",
            MAPS.into(),
            JSON.1,
            r#"{"metadata":{"name":5}}"#.into(),
            400,
            "BadRequest",
        ),
        (
            "POST",
            MAPS.into(),
            JSON.1,
            r#"{"apiVersion":"v2","metadata":{"name":"a"}}"#.into(),
            400,
            "BadRequest",
        ),
        (
            "POST",
            MAPS.into(),
            JSON.1,
            r#"{"kind":"Pod","metadata":{"name":"a"}}"#.into(),
            400,
            "BadRequest",
        ),
        (
            "POST",
            MAPS.into(),
            JSON.1,
            r#"{"metadata":{"name":"a","namespace":"b"}}"#.into(),
            400,
            "BadRequest",
        ),
        (
            "POST",
            MAPS.into(),
            JSON.1,
            r#"{"metadata":{}}"#.into(),
            422,
            "Invalid",
        ),
        (
            "POST",
            MAPS.into(),
            JSON.1,
            r#"{"metadata":{"name":"A_b"}}"#.into(),
            422,
            "Invalid",
        ),
        (
            "POST",
            MAPS.into(),
            JSON.1,
            r#"{"metadata":{"name":"a","labels":{"x":1}}}"#.into(),
            422,
            "Invalid",
        ),
        (
            "POST",
            MAPS.into(),
            "application/vnd.kubernetes.protobuf",
            "k8s".into(),
            400,
            "BadRequest",
        ),
        (
            "POST",
            MAPS.into(),
            "text/plain",
            "x".into(),
            415,
            "UnsupportedMediaType",
        ),
        (
            "GET",
            "/api/v1/nonsense".into(),
            JSON.1,
            String::new(),
            404,
            "NotFound",
        ),
        (
            "GET",
            "/apis/no.such/v1/things".into(),
            JSON.1,
            String::new(),
            404,
            "NotFound",
        ),
        ("GET", "/nonsense".into(), JSON.1, String::new(), 404, "NotFound"),
        (
            "GET",
            format!("{MAPS}/none"),
            JSON.1,
            String::new(),
            404,
            "NotFound",
        ),
        (
            "GET",
            format!("{MAPS}/none/status"),
            JSON.1,
            String::new(),
            404,
            "NotFound",
        ),
        (
            "GET",
            format!("{MAPS}?labelSelector=a%3D%3D%3Db"),
            JSON.1,
            String::new(),
            400,
            "BadRequest",
        ),
        (
            "GET",
            format!("{MAPS}?fieldSelector=data.x%3Db"),
            JSON.1,
            String::new(),
            400,
            "BadRequest",
        ),
        (
            "GET",
            format!("{MAPS}?limit=x"),
            JSON.1,
            String::new(),
            400,
            "BadRequest",
        ),
        (
            "GET",
            format!("{MAPS}?continue=x"),
            JSON.1,
            String::new(),
            400,
            "BadRequest",
        ),
        (
            "GET",
            format!("{MAPS}?resourceVersion=99999999"),
            JSON.1,
            String::new(),
            504,
            "Timeout",
        ),
        (
            "GET",
            format!("{MAPS}?watch=1&resourceVersion=99999999"),
            JSON.1,
            String::new(),
            410,
            "Expired",
        ),
        (
            "GET",
            format!("{MAPS}?watch=1&resourceVersion=x"),
            JSON.1,
            String::new(),
            400,
            "BadRequest",
        ),
        (
            "PATCH",
            format!("{MAPS}/none"),
            JSON.1,
            "{}".into(),
            415,
            "UnsupportedMediaType",
        ),
        (
            "POST",
            format!("{MAPS}/none"),
            JSON.1,
            "{}".into(),
            405,
            "MethodNotAllowed",
        ),
        ("PUT", MAPS.into(), JSON.1, "{}".into(), 405, "MethodNotAllowed"),
        (
            "OPTIONS",
            MAPS.into(),
            JSON.1,
            String::new(),
            405,
            "MethodNotAllowed",
        ),
        (
            "DELETE",
            format!("{MAPS}/none?propagationPolicy=Never"),
            JSON.1,
            String::new(),
            400,
            "BadRequest",
        ),
        (
            "POST",
            "/api/v1/pods".into(),
            JSON.1,
            r#"{"metadata":{"name":"a"}}"#.into(),
            405,
            "MethodNotAllowed",
        ),
    ];
    for (method, path, kind, body, code, reason) in cases {
        let refused = wire
            .refused(method, &path, &[("content-type", kind)], body.clone())
            .await;
        let shown: String = body.chars().take(60).collect();
        assert_eq!(
            (refused.0, refused.1.as_str()),
            (code, reason),
            "{method} {path} {shown}: {}",
            refused.2
        );
    }
}

#[tokio::test]
async fn bodies_and_objects_have_limits_that_the_message_names() {
    let wire = Wire::new().await;
    let object =
        |size: usize| json!({"metadata": {"name": "big"}, "data": {"x": "y".repeat(size)}}).to_string();
    let (code, _, message) = wire.refused("POST", MAPS, &[JSON], object(4 << 20)).await;
    assert_eq!(
        (code, message.as_str()),
        (413, "Request entity too large: limit is 3145728")
    );
    let (code, _, message) = wire.refused("POST", MAPS, &[JSON], object(2 << 20)).await;
    assert_eq!(code, 413);
    assert!(
        message.contains("request is too large") && message.contains("1572864"),
        "{message}"
    );
    assert_eq!(wire.get(&format!("{MAPS}/big")).await.0, 404);
}

#[tokio::test]
async fn clients_get_the_form_they_accept() {
    let wire = Wire::new().await;
    wire.post(MAPS, json!({"metadata": {"name": "one"}, "data": {"a": "b"}}))
        .await;
    let get = |accept: &'static str, path: String| {
        let wire = &wire;
        async move { wire.send("GET", &path, &[("accept", accept)], "").await }
    };
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let (_, answer) = get(table, MAPS.into()).await;
    assert_eq!(
        (&answer["kind"], &answer["rows"][0]["cells"][0]),
        (&"Table".into(), &"one".into())
    );
    let metadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";
    let (_, answer) = get(metadata, MAPS.into()).await;
    assert_eq!(answer["kind"], "PartialObjectMetadataList");
    assert_eq!(
        (&answer["items"][0]["kind"], answer["items"][0].get("data")),
        (&"PartialObjectMetadata".into(), None)
    );
    let (_, answer) = get(
        "application/vnd.kubernetes.protobuf,application/json",
        format!("{MAPS}/one"),
    )
    .await;
    assert_eq!(answer["data"], json!({"a": "b"}));
    let (code, _) = get("application/vnd.kubernetes.protobuf", MAPS.into()).await;
    assert_eq!(code, 406);
    let (_, yaml) = get("application/yaml", format!("{MAPS}/one")).await;
    assert!(yaml.as_str().unwrap().contains("data:\n  a: b"), "{yaml}");
    let (code, _) = wire
        .send(
            "POST",
            MAPS,
            &[("content-type", "application/yaml")],
            "metadata: {name: two}",
        )
        .await;
    assert_eq!(code, 201);
    let (code, _) = get(
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "/openapi/v2".into(),
    )
    .await;
    assert_eq!(code, 406);
}

#[tokio::test]
async fn pages_are_of_one_moment_and_expire() {
    let wire = Wire::new().await;
    for n in 0..5 {
        wire.post(
            MAPS,
            json!({"metadata": {"name": format!("m{n}"), "labels": {"x": "y"}}}),
        )
        .await;
    }
    let page = |token: String| {
        let wire = &wire;
        async move {
            wire.get(&format!("{MAPS}?limit=2&labelSelector=x&continue={token}"))
                .await
                .1
        }
    };
    let names = |page: &Value| -> Vec<String> {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| o["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = page(String::new()).await;
    wire.send("DELETE", &format!("{MAPS}/m3"), &[], "").await;
    wire.post(MAPS, json!({"metadata": {"name": "m20", "labels": {"x": "y"}}}))
        .await;
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    let second = page(token).await;
    assert_eq!(
        (names(&first), names(&second)),
        (vec!["m0".into(), "m1".into()], vec!["m2".into(), "m3".into()])
    );
    assert_eq!(
        first["metadata"]["resourceVersion"],
        second["metadata"]["resourceVersion"]
    );
    let third = page(second["metadata"]["continue"].as_str().unwrap().to_owned()).await;
    assert_eq!(
        (names(&third), third["metadata"].get("continue")),
        (vec!["m4".into()], None)
    );
}

#[tokio::test]
async fn a_watch_can_begin_with_what_there_is_and_mark_the_end_of_it() {
    let wire = Wire::new().await;
    wire.post(MAPS, json!({"metadata": {"name": "one", "labels": {"x": "y"}}}))
        .await;
    let path = format!(
        "{MAPS}?watch=1&labelSelector=x&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=0"
    );
    let request = Request::get(&path)
        .header("authorization", "Bearer s3cret")
        .body(Body::empty())
        .unwrap();
    let body = wire
        .raw(request)
        .await
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    let events: Vec<Value> = body
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    assert_eq!(
        (&events[0]["type"], &events[0]["object"]["metadata"]["name"]),
        (&"ADDED".into(), &"one".into())
    );
    assert_eq!(events[1]["type"], "BOOKMARK");
    assert_eq!(
        events[1]["object"]["metadata"]["annotations"],
        json!({"k8s.io/initial-events-end": "true"})
    );
    let bad = format!("{MAPS}?watch=1&sendInitialEvents=true");
    assert_eq!(wire.refused("GET", &bad, &[], "").await.0, 400);
}

#[tokio::test]
async fn unknown_fields_are_refused_or_told_as_the_client_wishes() {
    let wire = Wire::new().await;
    let body = json!({"metadata": {"name": "a"}, "odd": 1}).to_string();
    let (code, _, message) = wire
        .refused(
            "POST",
            &format!("{MAPS}?fieldValidation=Strict"),
            &[JSON],
            body.clone(),
        )
        .await;
    assert_eq!(code, 400);
    assert!(
        message.contains("strict decoding error: unknown field \"odd\""),
        "{message}"
    );
    let request = Request::post(MAPS)
        .header("authorization", "Bearer s3cret")
        .header(JSON.0, JSON.1)
        .body(Body::from(body))
        .unwrap();
    let response = wire.raw(request).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["warning"]),
        (201, &"299 - \"unknown field \\\"odd\\\"\"".parse().unwrap())
    );
}

#[tokio::test]
async fn a_dry_run_leaves_no_trace() {
    let wire = Wire::new().await;
    let body = json!({"metadata": {"name": "a"}}).to_string();
    assert_eq!(
        wire.send("POST", &format!("{MAPS}?dryRun=All"), &[JSON], body)
            .await
            .0,
        201
    );
    assert_eq!(wire.get(&format!("{MAPS}/a")).await.0, 404);
    assert_eq!(
        wire.refused("POST", &format!("{MAPS}?dryRun=Some"), &[JSON], "{}")
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn events_are_the_same_through_both_groups() {
    let wire = Wire::new().await;
    let new = json!({"metadata": {"name": "e"}, "regarding": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "Pulled",
        "note": "pulled it", "type": "Normal", "action": "Pull", "reportingController": "node", "reportingInstance": "n", "eventTime": "2026-01-01T00:00:00.000000Z"});
    let (code, answer) = wire
        .post("/apis/events.k8s.io/v1/namespaces/default/events", new)
        .await;
    assert_eq!(
        (code.as_u16(), &answer["note"], &answer["apiVersion"]),
        (201, &"pulled it".into(), &"events.k8s.io/v1".into())
    );
    let (_, core) = wire
        .get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp")
        .await;
    assert_eq!(
        (
            &core["items"][0]["message"],
            &core["items"][0]["involvedObject"]["kind"]
        ),
        (&"pulled it".into(), &"Pod".into())
    );
    let patch =
        json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}).to_string();
    let (code, _) = wire
        .send(
            "PATCH",
            "/apis/events.k8s.io/v1/namespaces/default/events/e",
            &[("content-type", "application/merge-patch+json")],
            patch,
        )
        .await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn an_eviction_deletes_a_pod_and_says_so_in_its_conditions() {
    let wire = Wire::new().await;
    let base = "/api/v1/namespaces/default/pods";
    let pod = json!({
        "metadata": {"name": "p", "finalizers": ["example.com/kept"]},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let (_, made) = wire.post(base, pod).await;
    let (uid, version) = (&made["metadata"]["uid"], &made["metadata"]["resourceVersion"]);
    let eviction = |preconditions: Value| {
        json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"},
            "deleteOptions": {"preconditions": preconditions},
        })
    };
    let path = format!("{base}/p/eviction");
    let other = eviction(json!({"uid": "another"})).to_string();
    assert_eq!(wire.refused("POST", &path, &[JSON], other).await.0, 409);
    assert_eq!(
        wire.post(&format!("{path}?dryRun=All"), eviction(json!({})))
            .await
            .0,
        201
    );
    assert_eq!(wire.get(&format!("{base}/p")).await.1, made, "neither changed it");
    let this = eviction(json!({"uid": uid, "resourceVersion": version}));
    assert_eq!(wire.post(&path, this).await.0, 201);
    let (_, pod) = wire.get(&format!("{base}/p")).await;
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    let mut condition = pod["status"]["conditions"][0].clone();
    condition.as_object_mut().unwrap().remove("lastTransitionTime");
    assert_eq!(
        condition,
        json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        })
    );
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let wire = Wire::new().await;
    let base = "/api/v1/namespaces/default/pods";
    wire.post(
        base,
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
    )
    .await;
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(
        wire.post(&format!("{base}/p/binding"), binding.clone()).await.0,
        201
    );
    let (_, pod) = wire.get(&format!("{base}/p")).await;
    assert_eq!(
        (&pod["spec"]["nodeName"], &pod["status"]["conditions"][0]["type"]),
        (&"n1".into(), &"PodScheduled".into())
    );
    assert_eq!(
        wire.refused("POST", &format!("{base}/p/binding"), &[JSON], binding.to_string())
            .await
            .0,
        409
    );
    let (_, one) = wire.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await;
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    let (code, _, message) = wire.refused("GET", &format!("{base}/p/log"), &[], "").await;
    assert_eq!((code, message.as_str()), (502, "node \"n1\" is not reachable"));
}
