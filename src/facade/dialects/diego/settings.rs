//! What the operator tells the door.

use std::{collections::BTreeMap, str::FromStr};

use super::keys::Keys;
use crate::facade::access::NamespaceRule;

/// Settings of the door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The images that stand for root file systems `preloaded:STACK`.
    pub stacks: BTreeMap<String, String>,
    /// What the volumes of drivers are.
    pub volumes: BTreeMap<String, VolumeKind>,
    /// Cells come from outside: they start the tasks that are desired here and tell how they end. Else tasks get pods.
    pub cells: bool,
    /// Rules about where a task may connect to become a NetworkPolicy of it, and without rules it connects to nothing. Else
    /// rules are left out, and noted in the Task.
    pub egress: bool,
    /// What seals passwords of registries in Tasks. Without it definitions with a password are refused.
    pub keys: Option<Keys>,
    /// How often a task may be rejected before the next rejection fails it.
    pub retries: u16,
    /// Which namespace stands for a caller of this door. Without it the rule of all doors: that may go by groups, and a
    /// certificate names none.
    pub namespaces: Option<NamespaceRule>,
}

/// One stack, as a flag has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// What comes after `preloaded:`.
    pub name: String,
    /// The image.
    pub image: String,
}

/// What a volume of a driver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeKind {
    /// The PersistentVolumeClaim of the task's namespace that its volume_id names.
    Claim,
}

/// One driver, as a flag has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Its name in volume_mounts.
    pub name: String,
    /// What its volumes are.
    pub kind: VolumeKind,
}

/// Why a text is no driver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not DRIVER=claim, as in nfsv3driver=claim")]
pub struct NoDriver(String);

impl FromStr for Driver {
    type Err = NoDriver;

    fn from_str(text: &str) -> Result<Self, NoDriver> {
        match text.split_once('=') {
            Some((name, "claim")) if !name.is_empty() => Ok(Self {
                name: name.to_owned(),
                kind: VolumeKind::Claim,
            }),
            _ => Err(NoDriver(text.to_owned())),
        }
    }
}

/// Why a text is no stack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not STACK=IMAGE, as in cflinuxfs4=cloudfoundry/cflinuxfs4:1.200.0")]
pub struct NoStack(String);

impl FromStr for Stack {
    type Err = NoStack;

    fn from_str(text: &str) -> Result<Self, NoStack> {
        match text.split_once('=') {
            Some((name, image))
                if !name.is_empty() && !image.is_empty() && !image.contains(char::is_whitespace) =>
            {
                Ok(Self {
                    name: name.to_owned(),
                    image: image.to_owned(),
                })
            }
            _ => Err(NoStack(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_a_name_and_an_image() {
        let stack = |text: &str| text.parse::<Stack>().map(|stack| (stack.name, stack.image));
        let image = "registry.example.com/cflinuxfs4@sha256:ab=cd";
        assert_eq!(
            stack(&format!("cflinuxfs4={image}")),
            Ok(("cflinuxfs4".into(), image.into()))
        );
        for bad in ["", "a", "=b", "a=", "a=b c"] {
            assert_eq!(stack(bad), Err(NoStack(bad.into())), "{bad}");
        }
    }

    #[test]
    fn a_driver_is_a_name_and_what_its_volumes_are() {
        let driver = "nfsv3driver=claim".parse::<Driver>().unwrap();
        assert_eq!(
            (driver.name.as_str(), driver.kind),
            ("nfsv3driver", VolumeKind::Claim)
        );
        for bad in ["", "a", "=claim", "a=", "a=csi"] {
            assert_eq!(bad.parse::<Driver>(), Err(NoDriver(bad.into())), "{bad}");
        }
    }
}
