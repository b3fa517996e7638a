//! What a task needs of the machine that runs it.

use k8s_openapi::api::core::v1::Toleration;

use super::{Unsupported, egress, files, volumes};
use crate::{
    crd::{Capabilities, Quantity},
    facade::dialects::diego::{
        messages::{Action, TaskDefinition},
        settings::Settings,
    },
};

/// What labels of nodes, and taints that keep other tasks off them, are called for a placement tag.
pub const PLACEMENT: &str = "placement.errand.dev/";

/// Memory and disk, privileges and placement. Weights of processor time have no counterpart: what a pod is given of it is
/// a limit too, and a task must not be slowed down where nobody else wants the time.
pub fn capabilities(definition: &TaskDefinition) -> Result<Capabilities, Unsupported> {
    let tags = &definition.placement_tags;
    if let Some(tag) = tags.iter().find(|tag| !is_tag(tag)) {
        return Err(Unsupported::Tag(tag.clone()));
    }
    let key = |tag: &String| format!("{PLACEMENT}{tag}");
    Ok(Capabilities {
        memory: mebibytes(definition.memory_mb),
        ephemeral_storage: mebibytes(definition.disk_mb),
        privileged: definition.privileged.then_some(true),
        node_selector: tags.iter().map(|tag| (key(tag), "true".to_owned())).collect(),
        tolerations: tags
            .iter()
            .map(|tag| Toleration {
                key: Some(key(tag)),
                operator: Some("Exists".to_owned()),
                ..Toleration::default()
            })
            .collect(),
        ..Capabilities::default()
    })
}

/// 0 is no limit.
fn mebibytes(count: i32) -> Option<Quantity> {
    (count > 0).then(|| Quantity(format!("{count}Mi")))
}

/// The name part of a label's key.
fn is_tag(tag: &str) -> bool {
    let bytes = tag.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    tag.len() <= 63
        && ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// How many actions there are, inner ones included.
pub fn count(action: &Action) -> usize {
    1 + inner(action).map(count).sum::<usize>()
}

/// The actions right within one. They come decoded, and so at most some fifty deep.
pub fn inner(action: &Action) -> impl Iterator<Item = &Action> {
    let timeout = action.timeout.iter().filter_map(|it| it.action.as_deref());
    let progress = action.emit_progress.iter().filter_map(|it| it.action.as_deref());
    let attempt = action.try_.iter().filter_map(|it| it.action.as_deref());
    let parallel = action.parallel.iter().flat_map(|it| &it.actions);
    let serial = action.serial.iter().flat_map(|it| &it.actions);
    let codependent = action.codependent.iter().flat_map(|it| &it.actions);
    let one = timeout.chain(progress).chain(attempt);
    one.chain(parallel).chain(serial).chain(codependent)
}

/// Fields of the definition that have no effect here, by their names in JSON. A task does its work without them.
pub fn not_kept(definition: &TaskDefinition, settings: &Settings) -> Vec<&'static str> {
    let rules = &definition.egress_rules;
    let network = definition.network.as_ref();
    let fields = [
        ("cpu_weight", definition.cpu_weight > 0),
        ("egress_rules", !settings.egress && !rules.is_empty()),
        (
            "trusted_system_certificates_path",
            !definition.trusted_system_certificates_path.is_empty(),
        ),
        (
            "network",
            network.is_some_and(|network| !network.properties.is_empty()),
        ),
        ("max_pids", definition.max_pids > 0),
        (
            "certificate_properties",
            definition.certificate_properties.is_some(),
        ),
        ("log_rate_limit", definition.log_rate_limit.is_some()),
        ("metric_tags", !definition.metric_tags.is_empty()),
        ("metrics_guid", !definition.metrics_guid.is_empty()),
        (
            "action.run.volume_mounted_files",
            definition.action.as_ref().is_some_and(files::in_actions),
        ),
        (
            "volume_mounts.mount_config",
            volumes::has_config(&definition.volume_mounts),
        ),
    ];
    let parts = match settings.egress {
        true => egress::not_kept(rules),
        false => Vec::new(),
    };
    let set = fields
        .into_iter()
        .filter_map(|(name, is_set)| is_set.then_some(name));
    set.chain(parts).collect()
}
