//! Stand-in API.
use axum::body::Body;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;

struct Db {
    rv: u64,
    objects: BTreeMap<(String, String, String), Value>,
    events: broadcast::Sender<(String, Value)>,
    log: Vec<(u64, String, Value)>,
}
impl Db {
    fn emit(&mut self, kind: &str, plural: &str, object: &Value) {
        let event = json!({"type": kind, "object": object});
        self.log.push((self.rv, plural.to_owned(), event.clone()));
        let _ = self.events.send((plural.to_owned(), event));
    }
    fn put(&mut self, key: (String, String, String), mut object: Value, kind: &str) -> Value {
        self.rv += 1;
        object["metadata"]["resourceVersion"] = json!(self.rv.to_string());
        let gone = object["metadata"]["deletionTimestamp"].is_string()
            && object["metadata"]["deletionGracePeriodSeconds"]
                .as_u64()
                .unwrap_or(0)
                == 0
            && object["metadata"]["finalizers"]
                .as_array()
                .is_none_or(|f| f.is_empty());
        if gone {
            self.objects.remove(&key);
            self.emit("DELETED", &key.0, &object);
        } else {
            self.objects.insert(key.clone(), object.clone());
            self.emit(kind, &key.0, &object);
        }
        object
    }
}
fn status(code: u16, reason: &str) -> (u16, Value) {
    (
        code,
        json!({"kind":"Status","apiVersion":"v1","status":"Failure","code":code,"reason":reason,"message":reason}),
    )
}
pub fn client() -> Client {
    let db = Arc::new(Mutex::new(Db {
        rv: 1,
        objects: BTreeMap::new(),
        events: broadcast::channel(10000).0,
        log: Vec::new(),
    }));
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let db = db.clone();
        async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let segments: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
            let rest = if segments[0] == "api" {
                &segments[2..]
            } else {
                &segments[3..]
            };
            let (ns, rest) = if rest[0] == "namespaces" && rest.len() > 2 {
                (rest[1].to_owned(), &rest[2..])
            } else {
                (String::new(), rest)
            };
            let plural = rest[0].to_owned();
            let query: BTreeMap<String, String> = parts
                .uri
                .query()
                .unwrap_or("")
                .split('&')
                .filter_map(|p| p.split_once('='))
                .map(|(a, b)| (a.to_owned(), b.replace("%3D", "=").replace("%2F", "/")))
                .collect();
            let node = query
                .get("fieldSelector")
                .and_then(|f| f.strip_prefix("spec.nodeName=").map(str::to_owned));
            let name_sel = query
                .get("fieldSelector")
                .and_then(|f| f.strip_prefix("metadata.name=").map(str::to_owned));
            let ns2 = ns.clone();
            let matches = move |o: &Value| {
                node.as_ref()
                    .is_none_or(|n| o["spec"]["nodeName"].as_str() == Some(n))
                    && (ns2.is_empty() || o["metadata"]["namespace"].as_str() == Some(&ns2))
                    && name_sel
                        .as_ref()
                        .is_none_or(|n| o["metadata"]["name"].as_str() == Some(n))
            };
            let answer = |(code, value): (u16, Value)| {
                Ok::<_, Infallible>(
                    Response::builder()
                        .status(code)
                        .header("content-type", "application/json")
                        .body(Body::from(value.to_string()))
                        .unwrap(),
                )
            };
            let mut d = db.lock().unwrap();
            if query.get("watch").map(String::as_str) == Some("true") {
                let rv: u64 = query
                    .get("resourceVersion")
                    .and_then(|v| v.parse().ok())
                    .unwrap_or(0);
                let past: Vec<Value> = d
                    .log
                    .iter()
                    .filter(|(v, p, _)| *v > rv && *p == plural)
                    .map(|(_, _, e)| e.clone())
                    .collect();
                let rx = d.events.subscribe();
                let live =
                    futures::stream::unfold(
                        rx,
                        |mut rx| async move { rx.recv().await.ok().map(|e| (e, rx)) },
                    )
                    .filter_map(move |(p, e)| {
                        let p2 = plural.clone();
                        async move { (p == p2).then_some(e) }
                    });
                let all = futures::stream::iter(past)
                    .chain(live)
                    .filter(move |e| {
                        let ok = matches(&e["object"]);
                        async move { ok }
                    })
                    .map(|e| Ok::<_, Infallible>(format!("{e}\n")));
                return Ok(Response::builder()
                    .status(200)
                    .header("content-type", "application/json")
                    .body(Body::from_stream(all))
                    .unwrap());
            }
            let name = rest.get(1).map(|s| (*s).to_owned());
            let key = |n: &str| (plural.clone(), ns.clone(), n.to_owned());
            let result = match (parts.method.as_str(), name, rest.get(2).copied()) {
                ("GET", None, _) => {
                    let items: Vec<Value> = d
                        .objects
                        .iter()
                        .filter(|(k, o)| k.0 == plural && matches(o))
                        .map(|(_, o)| o.clone())
                        .collect();
                    (
                        200,
                        json!({"kind":"List","apiVersion":"v1","metadata":{"resourceVersion": d.rv.to_string()},"items":items}),
                    )
                }
                ("GET", Some(n), _) => d
                    .objects
                    .get(&key(&n))
                    .map_or(status(404, "NotFound"), |o| (200, o.clone())),
                ("POST", Some(n), Some("binding")) => match d.objects.get(&key(&n)).cloned() {
                    None => status(404, "NotFound"),
                    Some(mut o) => {
                        o["spec"]["nodeName"] = body["target"]["name"].clone();
                        d.put(key(&n), o, "MODIFIED");
                        (201, json!({"kind":"Status","status":"Success"}))
                    }
                },
                ("POST", None, _) => {
                    let mut o = body;
                    let n = o["metadata"]["name"].as_str().unwrap_or("x").to_owned();
                    if d.objects.contains_key(&key(&n)) {
                        status(409, "AlreadyExists")
                    } else {
                        if !ns.is_empty() {
                            o["metadata"]["namespace"] = json!(ns);
                        }
                        o["metadata"]["uid"] = json!(uuid::Uuid::new_v4().to_string());
                        o["metadata"]["creationTimestamp"] = json!(jiff::Timestamp::now().to_string());
                        if plural == "pods" && o["status"]["phase"].is_null() {
                            o["status"] = json!({"phase":"Pending"});
                        }
                        (201, d.put(key(&n), o, "ADDED"))
                    }
                }
                ("PATCH", Some(n), sub) => match d.objects.get(&key(&n)).cloned() {
                    None => status(404, "NotFound"),
                    Some(mut o) => {
                        if body["metadata"]["uid"].is_string()
                            && body["metadata"]["uid"] != o["metadata"]["uid"]
                        {
                            status(409, "Conflict")
                        } else {
                            let before = o.clone();
                            if sub == Some("status") {
                                json_patch::merge(&mut o, &json!({"status": body["status"]}));
                            } else {
                                json_patch::merge(&mut o, &body);
                            }
                            if o == before {
                                (200, o)
                            } else {
                                (200, d.put(key(&n), o, "MODIFIED"))
                            }
                        }
                    }
                },
                ("DELETE", Some(n), _) => match d.objects.get(&key(&n)).cloned() {
                    None => status(404, "NotFound"),
                    Some(mut o) => {
                        let grace = body["gracePeriodSeconds"].as_i64();
                        let phase = o["status"]["phase"].as_str().unwrap_or("");
                        let grace = if plural != "pods"
                            || o["spec"]["nodeName"].is_null()
                            || phase == "Succeeded"
                            || phase == "Failed"
                        {
                            0
                        } else {
                            grace.unwrap_or(o["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30))
                        };
                        o["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::now().to_string());
                        o["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
                        (200, d.put(key(&n), o, "MODIFIED"))
                    }
                },
                _ => status(405, "MethodNotAllowed"),
            };
            answer(result)
        }
    });
    Client::new(service, "default")
}
