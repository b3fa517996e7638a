//! `pods/NAME/log`: which container is meant, and its log as its node streams it.
//!
//! Rules and texts follow `k8s.io/kubernetes/pkg/registry/core/pod/strategy.go` (LogLocation) and `validation.go`.
use axum::body::Body;
use futures::StreamExt;
use http::{Response, StatusCode};
use serde_json::Value;

use super::{
    path::Query,
    respond,
    router::Exchange,
    status::{ApiError, Result, Subject},
};
use crate::local::{
    api::{meta, schema::FieldError, verbs::WriteOptions},
    logs::{LogError, LogOptions},
};

pub(super) async fn serve(exchange: &Exchange<'_>) -> Result<Response<Body>> {
    let name = exchange.name()?;
    let stored = exchange.call(WriteOptions::default()).stored(name)?;
    let pod = stored.value();
    let mut options = parse(exchange.query)?;
    let container = container(&pod, exchange.query.get("container"))?;
    options.container = Some(container.clone());
    let node = meta::text(&pod, &["spec", "nodeName"]);
    if node.is_empty() {
        // Nothing can have been written yet.
        return Ok(text(Body::empty()));
    }
    let source = exchange.core.logs.get(node).ok_or_else(|| {
        refuse(&LogError::NodeUnreachable {
            node: node.to_owned(),
        })
    })?;
    let stream = source
        .logs(
            &stored.facts.namespace,
            name,
            &stored.facts.uid,
            &container,
            options,
        )
        .await;
    let stream = stream.map_err(|error| refuse(&error))?;
    let end = exchange.core.shutdown.clone().cancelled_owned();
    Ok(text(Body::from_stream(stream.take_until(Box::pin(end)))))
}

fn text(body: Body) -> Response<Body> {
    respond::bytes(StatusCode::OK, "text/plain", body)
}

fn refuse(error: &LogError) -> ApiError {
    match StatusCode::from_u16(error.code()) {
        Ok(StatusCode::BAD_REQUEST) => ApiError::bad_request(error.to_string()),
        Ok(StatusCode::NOT_FOUND) => ApiError::new(StatusCode::NOT_FOUND, "NotFound", error.to_string()),
        Ok(code @ StatusCode::BAD_GATEWAY) => ApiError::new(code, "ServiceUnavailable", error.to_string()),
        _ => ApiError::internal(error.to_string()),
    }
}

/// `PodLogOptions` of a query.
fn parse(query: &Query) -> Result<LogOptions> {
    let subject = Subject {
        group: "",
        plural: "",
        kind: "PodLogOptions",
    };
    let number = |name: &str, least: i64| -> Result<Option<i64>> {
        let value: Option<i64> = query.number(name)?;
        match value {
            Some(value) if value < least => {
                let why = format!("must be greater than or equal to {least}");
                let error = FieldError::invalid(name, &value.into(), &why);
                Err(ApiError::invalid(subject, "", &[error]))
            }
            value => Ok(value),
        }
    };
    let since_time = query.get("sinceTime").map(str::parse).transpose();
    let since_time = since_time
        .map_err(|error: jiff::Error| ApiError::bad_request(format!("sinceTime: Invalid value: {error}")))?;
    let since_seconds = number("sinceSeconds", 1)?;
    if since_time.is_some() && since_seconds.is_some() {
        let error = FieldError::forbidden(
            "",
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        );
        return Err(ApiError::invalid(subject, "", &[error]));
    }
    let unsigned = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    Ok(LogOptions {
        container: None,
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        tail_lines: unsigned(number("tailLines", 0)?),
        limit_bytes: unsigned(number("limitBytes", 1)?),
        since_seconds,
        since_time,
    })
}

/// The container that is meant: the one that is named, or the only one.
fn container(pod: &Value, wanted: Option<&str>) -> Result<String> {
    let names = |field: &str| -> Vec<&str> {
        let list = meta::at(pod, &["spec", field]).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .map(|container| meta::text(container, &["name"]))
            .collect()
    };
    let (main, init, debug) = (
        names("containers"),
        names("initContainers"),
        names("ephemeralContainers"),
    );
    let pod_name = meta::meta_text(pod, "name");
    match wanted {
        Some(name) if main.iter().chain(&init).chain(&debug).any(|known| *known == name) => {
            Ok(name.to_owned())
        }
        Some(name) => Err(ApiError::bad_request(format!(
            "container {name} is not valid for pod {pod_name}"
        ))),
        None => match (main.as_slice(), init.is_empty() && debug.is_empty()) {
            ([only], true) => Ok((*only).to_owned()),
            (main, _) => {
                let mut text = format!(
                    "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                    main.join(" ")
                );
                if !init.is_empty() {
                    text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                }
                if !debug.is_empty() {
                    text.push_str(&format!(
                        " or one of the ephemeral containers: [{}]",
                        debug.join(" ")
                    ));
                }
                Err(ApiError::bad_request(text))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_container_is_named_or_the_only_one() {
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        let two = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}],
            "initContainers": [{"name": "i"}]}});
        assert_eq!(container(&one, None).unwrap(), "a");
        assert_eq!(container(&two, Some("i")).unwrap(), "i");
        assert_eq!(
            container(&two, None).unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
        assert_eq!(
            container(&one, Some("x")).unwrap_err().message,
            "container x is not valid for pod p"
        );
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let of = |query: &str| parse(&Query::parse(Some(query)).unwrap());
        assert_eq!(of("tailLines=5&follow=true").unwrap().tail_lines, Some(5));
        for bad in [
            "tailLines=-1",
            "limitBytes=0",
            "sinceSeconds=0",
            "sinceTime=x",
            "tailLines=x",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
