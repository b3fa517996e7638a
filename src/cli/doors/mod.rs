//! Flags about single doors of the REST facade, a file for each.

mod cloudru;
mod listen;

pub use self::listen::DiegoListen;
use crate::facade::dialects;

/// What single doors are told.
#[derive(Debug, clap::Args)]
pub struct DoorArgs {
    #[command(flatten)]
    cloudru: cloudru::CloudruArgs,
}

impl DoorArgs {
    /// As the facade takes it.
    pub fn settings(&self) -> dialects::Settings {
        dialects::Settings {
            cloudru: self.cloudru.settings(),
        }
    }
}
