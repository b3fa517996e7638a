//! Definitions in the words of clients of `.r2`, who know no image layers (`VersionDownTo`, `ToCachedDependencies` and
//! `ToDownloadActions` in `bbs/models`). Pure.
//!
//! Only what is about layers is made anew; all else stays byte for byte.

use prost::Message as _;

use super::{
    fields::{Malformed, put, split},
    messages::{Action, CachedDependency, DownloadAction, ImageLayer, LayerType, ParallelAction},
};

/// Numbers of fields of a TaskDefinition.
const ACTION: u32 = 3;
const CACHED_DEPENDENCIES: u32 = 15;
const DOWNLOAD_USER: u32 = 16;
const IMAGE_LAYERS: u32 = 25;
/// Number of the serial action in an Action, and of the actions in it.
const SERIAL: u32 = 8;
const ACTIONS: u32 = 1;

/// The definition without image layers: shared ones become cached dependencies before the others, exclusive ones
/// downloads before the action.
///
/// # Errors
/// It is no definition.
pub fn without_layers(definition: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut layers = Vec::new();
    let mut action: Option<Vec<u8>> = None;
    let mut user = String::new();
    for field in split(definition) {
        let field = field?;
        match (field.number, field.content) {
            (IMAGE_LAYERS, Some(content)) => {
                layers.push(ImageLayer::decode(content).map_err(|_| Malformed)?);
            }
            (ACTION, Some(content)) => action.get_or_insert_default().extend_from_slice(content),
            (DOWNLOAD_USER, Some(content)) => {
                user = String::from_utf8(content.to_vec()).map_err(|_| Malformed)?;
            }
            _ => {}
        }
    }
    if layers.is_empty() {
        return Ok(definition.to_vec());
    }
    let downloads = downloads(&layers, &user);
    let mut out = Vec::with_capacity(definition.len());
    for dependency in dependencies(&layers) {
        put(&mut out, CACHED_DEPENDENCIES, &dependency.encode_to_vec());
    }
    for field in split(definition) {
        let field = field?;
        let replaced = field.number == ACTION && !downloads.is_empty();
        if field.number != IMAGE_LAYERS && !replaced {
            out.extend_from_slice(field.raw);
        }
    }
    if !downloads.is_empty() {
        put(&mut out, ACTION, &before(downloads, action.as_deref()));
    }
    Ok(out)
}

/// The bytes of an action that downloads all this at once and then does the other.
fn before(downloads: Vec<Action>, then: Option<&[u8]>) -> Vec<u8> {
    let parallel = Action {
        parallel: Some(Box::new(ParallelAction {
            actions: downloads,
            log_source: String::new(),
        })),
        ..Action::default()
    };
    let parallel = parallel.encode_to_vec();
    let Some(then) = then else {
        return parallel;
    };
    let mut serial = Vec::new();
    put(&mut serial, ACTIONS, &parallel);
    put(&mut serial, ACTIONS, then);
    let mut action = Vec::new();
    put(&mut action, SERIAL, &serial);
    action
}

/// Shared layers as dependencies.
pub fn dependencies(layers: &[ImageLayer]) -> Vec<CachedDependency> {
    let shared = layers
        .iter()
        .filter(|layer| layer.layer_type() == LayerType::Shared);
    let dependency = |layer: &ImageLayer| CachedDependency {
        name: layer.name.clone(),
        from: layer.url.clone(),
        to: layer.destination_path.clone(),
        cache_key: match layer.digest_value.is_empty() {
            true => layer.url.clone(),
            false => key(layer),
        },
        log_source: String::new(),
        checksum_algorithm: layer.algorithm().to_owned(),
        checksum_value: layer.digest_value.clone(),
    };
    shared.map(dependency).collect()
}

/// Exclusive layers as downloads.
pub fn downloads(layers: &[ImageLayer], user: &str) -> Vec<Action> {
    let exclusive = layers
        .iter()
        .filter(|layer| layer.layer_type() == LayerType::Exclusive);
    let download = |layer: &ImageLayer| DownloadAction {
        artifact: layer.name.clone(),
        from: layer.url.clone(),
        to: layer.destination_path.clone(),
        cache_key: key(layer),
        log_source: String::new(),
        user: user.to_owned(),
        checksum_algorithm: layer.algorithm().to_owned(),
        checksum_value: layer.digest_value.clone(),
    };
    exclusive
        .map(|layer| Action {
            download: Some(Box::new(download(layer))),
            ..Action::default()
        })
        .collect()
}

fn key(layer: &ImageLayer) -> String {
    format!("{}:{}", layer.algorithm(), layer.digest_value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::messages::{RunAction, TaskDefinition},
        *,
    };

    fn layer(kind: LayerType, name: &str, digest: &str) -> ImageLayer {
        ImageLayer {
            name: name.into(),
            url: format!("http://blobs/{name}"),
            destination_path: format!("/{name}"),
            layer_type: kind.into(),
            media_type: 1,
            digest_algorithm: i32::from(!digest.is_empty()),
            digest_value: digest.into(),
        }
    }

    fn run() -> Action {
        Action {
            run: Some(Box::new(RunAction {
                path: "sh".into(),
                resource_limits: Some(Default::default()),
                ..RunAction::default()
            })),
            ..Action::default()
        }
    }

    fn definition(layers: Vec<ImageLayer>, action: Option<Action>) -> TaskDefinition {
        TaskDefinition {
            root_fs: "preloaded:x".into(),
            action,
            cached_dependencies: vec![CachedDependency {
                name: "old".into(),
                ..CachedDependency::default()
            }],
            legacy_download_user: "vcap".into(),
            image_layers: layers,
            ..TaskDefinition::default()
        }
    }

    fn seen(definition: &TaskDefinition) -> TaskDefinition {
        TaskDefinition::decode(&*without_layers(&definition.encode_to_vec()).unwrap()).unwrap()
    }

    #[test]
    fn shared_layers_come_before_the_other_dependencies_and_leave_the_action_alone() {
        let layers = vec![
            layer(LayerType::Shared, "a", "ab"),
            layer(LayerType::Shared, "b", ""),
        ];
        let before = definition(layers, Some(run()));
        let dependency = |name: &str, algorithm: &str, value: &str, key: &str| CachedDependency {
            name: name.into(),
            from: format!("http://blobs/{name}"),
            to: format!("/{name}"),
            cache_key: key.into(),
            checksum_algorithm: algorithm.into(),
            checksum_value: value.into(),
            log_source: String::new(),
        };
        let wanted = TaskDefinition {
            cached_dependencies: vec![
                dependency("a", "sha256", "ab", "sha256:ab"),
                dependency("b", "", "", "http://blobs/b"),
                before.cached_dependencies[0].clone(),
            ],
            image_layers: Vec::new(),
            ..before.clone()
        };
        assert_eq!(seen(&before), wanted);
    }

    #[test]
    fn exclusive_layers_are_downloaded_at_once_before_the_action() {
        let before = definition(vec![layer(LayerType::Exclusive, "a", "ab")], Some(run()));
        let after = seen(&before);
        let download = DownloadAction {
            artifact: "a".into(),
            from: "http://blobs/a".into(),
            to: "/a".into(),
            cache_key: "sha256:ab".into(),
            user: "vcap".into(),
            checksum_algorithm: "sha256".into(),
            checksum_value: "ab".into(),
            log_source: String::new(),
        };
        let serial = after.action.clone().unwrap().serial.unwrap();
        let [first, second] = &serial.actions[..] else {
            panic!("{serial:?}")
        };
        let parallel = &first.parallel.as_ref().unwrap().actions;
        assert_eq!(
            parallel
                .iter()
                .map(|action| *action.download.clone().unwrap())
                .collect::<Vec<_>>(),
            [download]
        );
        // Also a message that is there and empty.
        assert_eq!(*second, run());
        assert_eq!(
            (after.image_layers.len(), after.cached_dependencies.len()),
            (0, 1)
        );
        let alone = seen(&definition(vec![layer(LayerType::Exclusive, "a", "ab")], None));
        assert!(alone.action.unwrap().parallel.is_some());
    }

    proptest! {
        #[test]
        fn a_definition_without_layers_stays_byte_for_byte(unknown in 29u32..1000, content in prop::collection::vec(any::<u8>(), 0..50)) {
            let mut bytes = definition(Vec::new(), Some(run())).encode_to_vec();
            put(&mut bytes, unknown, &content);
            prop_assert_eq!(without_layers(&bytes).unwrap(), bytes);
        }

        #[test]
        fn what_is_not_known_stays_where_layers_go(unknown in 29u32..1000, content in prop::collection::vec(any::<u8>(), 0..50)) {
            let mut bytes = definition(vec![layer(LayerType::Exclusive, "a", "ab")], Some(run())).encode_to_vec();
            put(&mut bytes, unknown, &content);
            let after = without_layers(&bytes).unwrap();
            let kept: Vec<_> = split(&after).map(Result::unwrap).filter(|field| field.number == unknown).collect();
            prop_assert_eq!(kept.len(), 1);
            prop_assert_eq!(kept[0].content, Some(&*content));
        }

        #[test]
        fn any_bytes_are_seen_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = without_layers(&bytes);
        }
    }
}
