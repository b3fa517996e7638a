//! Answers of the API server, with what is nested too deep left out.
//!
//! Kubernetes keeps up to 10,000 levels of JSON where a definition preserves unknown fields, as it does for actions and
//! volumes; serde_json reads 128 and refuses the rest, and with it the whole list that one such object is in. So one
//! object of a stranger's would blind the controller for all others. Here deep values become `null`, and whoever reads
//! the object says what is wrong with it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use kube::{
    Client, Config,
    client::{ClientBuilder, DynBody},
};
use tower::util::MapResponseLayer;

use super::unserved::UnservedLayer;

/// Levels that are passed on. The deepest tree of actions takes 102 of a list.
const MAX_DEPTH: usize = 120;

/// A client whose answers are no deeper than that.
///
/// # Errors
/// Where the configuration cannot be used.
pub fn client(config: Config) -> kube::Result<Client> {
    let layer = MapResponseLayer::new(shallow);
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

/// The same for who acts on what is not there.
///
/// # Errors
/// Where the configuration cannot be used.
pub fn steady_client(config: Config) -> kube::Result<Client> {
    let layer = MapResponseLayer::new(shallow);
    let builder = ClientBuilder::try_from(config)?.with_layer(&layer);
    Ok(builder.with_layer(&UnservedLayer).build())
}

fn shallow(response: Response<Box<DynBody>>) -> Response<ShallowBody> {
    let kind = response.headers().get(CONTENT_TYPE);
    // Logs are text, and whatever stands in them is passed on.
    let json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    response.map(|body| ShallowBody {
        body,
        filter: json.then(Filter::default),
    })
}

struct ShallowBody {
    body: Box<DynBody>,
    filter: Option<Filter>,
}

impl Body for ShallowBody {
    type Data = Bytes;
    type Error = <DynBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut *self.body).poll_frame(cx);
        let Some(filter) = &mut self.filter else {
            return polled;
        };
        polled.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(|data| filter.feed(data)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// Follows JSON byte by byte, one document after the other.
#[derive(Debug, Default)]
struct Filter {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Filter {
    fn feed(&mut self, data: Bytes) -> Bytes {
        // Until the first byte that is left out, nothing is copied.
        let mut copy: Option<Vec<u8>> = None;
        for (at, byte) in data.iter().enumerate() {
            match self.step(*byte) {
                Step::Keep => copy.iter_mut().for_each(|copy| copy.push(*byte)),
                Step::Drop => drop(copy.get_or_insert_with(|| data[..at].to_vec())),
                Step::Null => copy
                    .get_or_insert_with(|| data[..at].to_vec())
                    .extend_from_slice(b"null"),
            }
        }
        copy.map_or(data, Bytes::from)
    }

    fn step(&mut self, byte: u8) -> Step {
        let deep = self.depth > MAX_DEPTH;
        let kept = if deep { Step::Drop } else { Step::Keep };
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return kept;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => {
                self.depth += 1;
                if self.depth == MAX_DEPTH + 1 {
                    return Step::Null;
                }
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        kept
    }
}

enum Step {
    Keep,
    Drop,
    /// In place of all that follows at this depth.
    Null,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// In pieces of `size` bytes.
    fn filtered(text: &str, size: usize) -> String {
        let mut filter = Filter::default();
        let pieces = text.as_bytes().chunks(size.max(1));
        let bytes: Vec<u8> = pieces
            .flat_map(|piece| filter.feed(Bytes::copy_from_slice(piece)))
            .collect();
        String::from_utf8(bytes).unwrap()
    }

    fn nested(levels: usize, open: &str, close: &str) -> String {
        format!("{}1{}", open.repeat(levels), close.repeat(levels))
    }

    #[test]
    fn what_is_too_deep_becomes_null_and_the_rest_stays() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[\"]\\\"[\",", "]")] {
            let whole = nested(MAX_DEPTH, open, close);
            assert_eq!(filtered(&whole, 7), whole);
            let deep = format!("[{},2]\n", nested(10_000, open, close));
            let read: Vec<Value> = serde_json::from_str(&filtered(&deep, 5)).unwrap();
            assert_eq!((read.len(), &read[1]), (2, &2.into()));
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from)
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| serde_json::json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_of_any_depth_stays_json(inner in any_json(), levels in 0..300_usize, size in 1..50_usize) {
            let text = format!("{}{inner}{}\n{inner}\n", "[".repeat(levels), "]".repeat(levels));
            let said = filtered(&text, size);
            let documents: Vec<Result<Value, _>> = serde_json::Deserializer::from_str(&said).into_iter().collect();
            prop_assert_eq!(documents.len(), 2);
            prop_assert_eq!(documents[1].as_ref().unwrap(), &inner);
            prop_assert!(documents[0].is_ok());
            if levels + 6 < MAX_DEPTH {
                prop_assert_eq!(said, text);
            }
        }
    }
}
