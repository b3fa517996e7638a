//! What is passed through to a pod.

use k8s_openapi::api::core::v1::LocalObjectReference;
use proptest::{
    collection::{btree_map, vec},
    option::{of, weighted},
    prelude::*,
};
use serde_json::json;

use super::words::{text, text1};
use crate::crd::PodOptions;

pub fn volume_name() -> BoxedStrategy<String> {
    prop_oneof!["[a-d]", "errand-(bin|input|input-decoded)", ".{1,20}"].boxed()
}

pub fn pod_options() -> BoxedStrategy<PodOptions> {
    let source = prop_oneof![
        Just(json!({"emptyDir": {}})),
        Just(json!({"configMap": {"name": "a"}})),
        Just(json!({"emptyDir": []})),
        Just(json!({"what": null})),
    ];
    let volume = (volume_name(), source).prop_map(|(name, source)| {
        let mut volume = serde_json::Map::from_iter([("name".to_owned(), json!(name))]);
        volume.extend(source.as_object().cloned().unwrap_or_default());
        volume
    });
    let key = || text().prop_filter("Errand's own", |key| !key.starts_with("errand.dev/"));
    let long = (any::<char>(), 0..300_000_usize).prop_map(|(c, n)| c.to_string().repeat(n / c.len_utf8()));
    let annotation = prop_oneof![9 => text(), 1 => long];
    let names = (
        weighted(0.3, text1()),
        vec("[a-z]{1,8}", 0..3),
        of(text()),
        of(text()),
        of(text()),
    );
    let rule = weighted(0.5, Just(json!({"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]})));
    let rule = rule.prop_map(|rule| {
        rule.and_then(|rule| rule.as_object().cloned())
            .unwrap_or_default()
    });
    (
        names,
        of(1..=3600_i64),
        vec(volume, 0..3),
        weighted(0.3, vec(rule, 0..3)),
        btree_map(key(), text(), 0..3),
        btree_map(key(), annotation, 0..3),
    )
        .prop_map(
            |(names, grace, volumes, egress, labels, annotations)| PodOptions {
                service_account_name: names.0,
                image_pull_secrets: names
                    .1
                    .into_iter()
                    .map(|name| LocalObjectReference { name })
                    .collect(),
                priority_class_name: names.2,
                scheduler_name: names.3,
                runtime_class_name: names.4,
                termination_grace_period_seconds: grace,
                volumes,
                egress,
                labels,
                annotations,
            },
        )
        .boxed()
}
