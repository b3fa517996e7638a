//! Containers and their variables.

use k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, SecretEnvSource, SecretKeySelector, VolumeMount,
};
use proptest::{
    collection::vec,
    option::{of, weighted},
    prelude::*,
};

use super::{
    pod::volume_name,
    words::{text, text1},
};
use crate::crd::Container;

pub fn env_var() -> BoxedStrategy<EnvVar> {
    let secret =
        ("[a-z]{1,8}", "[a-z]{1,8}", of(any::<bool>())).prop_map(|(name, key, optional)| EnvVarSource {
            secret_key_ref: Some(SecretKeySelector { name, key, optional }),
            ..EnvVarSource::default()
        });
    let field = text().prop_map(|field_path| EnvVarSource {
        field_ref: Some(ObjectFieldSelector {
            field_path,
            api_version: None,
        }),
        ..EnvVarSource::default()
    });
    let name = prop_oneof![4 => "[A-C]", 1 => text(), 1 => "ERRAND_(TASK|INPUT|INPUT_DIR|ATTEMPT)|PORT"];
    (name, of(text()), weighted(0.2, prop_oneof![secret, field]))
        .prop_map(|(name, value, value_from)| EnvVar {
            name,
            value: value.filter(|_| value_from.is_none()),
            value_from,
        })
        .boxed()
}

pub fn container() -> BoxedStrategy<Container> {
    let secret = "[a-z]{1,8}".prop_map(|name| EnvFromSource {
        secret_ref: Some(SecretEnvSource { name, optional: None }),
        ..EnvFromSource::default()
    });
    let path = prop_oneof!["/[a-z/]{0,12}", "/errand/(bin|input)", text()];
    let mount = (volume_name(), path).prop_map(|(name, mount_path)| VolumeMount {
        name,
        mount_path,
        ..VolumeMount::default()
    });
    let policy = prop_oneof![Just("Always"), Just("IfNotPresent"), Just("Never")];
    (
        text1(),
        vec(text(), 0..4),
        vec(text(), 0..4),
        vec(env_var(), 0..4),
        vec(secret, 0..2),
        of(text()),
        of(policy),
        vec(mount, 0..3),
    )
        .prop_map(
            |(image, command, args, env, env_from, working_dir, policy, volume_mounts)| Container {
                image,
                command,
                args,
                env,
                env_from,
                working_dir,
                image_pull_policy: policy.map(str::to_owned),
                volume_mounts,
            },
        )
        .boxed()
}
