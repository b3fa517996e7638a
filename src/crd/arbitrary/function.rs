//! Functions and what is in them.

use proptest::{
    collection::vec,
    option::{of, weighted},
    prelude::*,
    strategy::Union,
};

use super::{
    container::container,
    node::capabilities,
    pod::pod_options,
    words::{duration, text, text1},
};
use crate::crd::{
    Alias, Dispatch, FunctionSpec, Http, Logs, MAX_LOG_BYTES, MAX_RESULT_BYTES, ResultSource, ResultSpec,
    Retry, RetryOn,
};

/// A Function's spec.
pub fn function_spec() -> BoxedStrategy<FunctionSpec> {
    let times = (of(duration()), of(duration()), of(duration()));
    let words = (of(text()), of(text()));
    let ends = (of(retry()), result(), of(0..=MAX_LOG_BYTES));
    let rest = (
        of(1..=100_000_u32),
        of(any::<bool>()),
        vec((text1(), 0..i64::MAX), 0..3),
        of(any::<bool>()),
    );
    let whole = (
        container(),
        weighted(0.3, http()),
        of(capabilities()),
        of(pod_options()),
    );
    (whole, times, words, ends, rest)
        .prop_map(|(whole, times, words, ends, rest)| {
            let (container, http, capabilities, pod) = whole;
            let supervisable = http.is_none() && !container.command.is_empty();
            let mut result = ends.1;
            if http.is_some() {
                result.from = None;
                result.path = None;
            }
            FunctionSpec {
                description: words.0,
                display_name: words.1,
                supervise: rest.3.filter(|wish| !wish || supervisable),
                container,
                http,
                capabilities,
                timeout: times.0,
                pending_timeout: times.1,
                retry: ends.0,
                result: (result != ResultSpec::default()).then_some(result),
                logs: ends.2.map(|limit| Logs { limit: Some(limit) }),
                ttl_after_finished: times.2,
                max_concurrency: rest.0,
                paused: rest.1,
                aliases: rest
                    .2
                    .into_iter()
                    .map(|(name, version)| Alias {
                        name,
                        version,
                        description: None,
                    })
                    .collect(),
                pod,
            }
        })
        .boxed()
}

fn http() -> BoxedStrategy<Http> {
    let path = || of("/[!-~]{0,20}");
    let dispatch = of(prop_oneof![Just(Dispatch::Direct), Just(Dispatch::ApiProxy)]);
    (of(1..=u16::MAX), path(), path(), dispatch, of(any::<bool>()))
        .prop_map(|(port, path, readiness_path, dispatch, idempotent)| Http {
            port,
            path,
            // The API server passes on requests, not bare connections.
            readiness_path: match dispatch {
                Some(Dispatch::ApiProxy) => readiness_path.or_else(|| Some("/ready".into())),
                _ => readiness_path,
            },
            dispatch,
            idempotent,
        })
        .boxed()
}

pub fn retry() -> BoxedStrategy<Retry> {
    let on = prop_oneof![
        Just(RetryOn::Infrastructure),
        Just(RetryOn::Failure),
        Just(RetryOn::Timeout)
    ];
    (of(0..=100_u32), of(vec(on, 0..=3)), of(duration()))
        .prop_map(|(limit, on, backoff)| Retry { limit, on, backoff })
        .boxed()
}

fn result() -> BoxedStrategy<ResultSpec> {
    let from = Union::new([
        Just((None, None)).boxed(),
        Just((Some(ResultSource::Stdout), None)).boxed(),
        Just((Some(ResultSource::Log), None)).boxed(),
        Just((Some(ResultSource::TerminationMessage), None)).boxed(),
        text1()
            .prop_map(|path| (Some(ResultSource::File), Some(path)))
            .boxed(),
    ]);
    (from, of(0..=MAX_RESULT_BYTES), of(text1()))
        .prop_map(|((from, path), limit, content_type)| ResultSpec {
            from,
            path,
            limit,
            content_type,
        })
        .boxed()
}
