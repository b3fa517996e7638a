//! Names, texts, times and amounts.

use proptest::{collection::vec, prelude::*};

use crate::crd::{Duration, Quantity};

/// A name that an object may have: a DNS subdomain, of up to 253 characters.
pub fn object_name() -> BoxedStrategy<String> {
    let label = prop_oneof![4 => "[a-z]{1,8}", 1 => "[a-z0-9]([a-z0-9-]{0,80}[a-z0-9])?"];
    vec(label, 1..6)
        .prop_map(|labels| {
            let mut name = labels.join(".");
            name.truncate(253);
            name.trim_end_matches(['.', '-']).to_owned()
        })
        .boxed()
}

/// Text of any characters; some of it is what Kubernetes might take for a variable. At most 255 characters.
pub fn text() -> BoxedStrategy<String> {
    prop_oneof![
        4 => ".{0,12}",
        2 => "[$()A ]{0,12}",
        2 => any::<String>(),
        1 => (any::<char>(), 0..256_usize).prop_map(|(c, n)| c.to_string().repeat(n)),
    ]
    .boxed()
}

pub fn text1() -> BoxedStrategy<String> {
    text()
        .prop_map(|text| if text.is_empty() { "x".to_owned() } else { text })
        .boxed()
}

pub fn duration() -> BoxedStrategy<Duration> {
    prop_oneof![Just(0), 0..5000_u64, any::<u64>()]
        .prop_map(Duration::from_millis)
        .boxed()
}

pub fn quantity() -> BoxedStrategy<Quantity> {
    r"\+?([0-9]{1,6}(\.[0-9]{0,3})?|\.[0-9]{1,3})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9])?"
        .prop_map(Quantity)
        .boxed()
}
