//! Flags about single doors of the REST facade, a file for each.

mod cloudru;
mod diego;
mod listen;

pub use self::{diego::KeysError, listen::DiegoListen};
use crate::facade::dialects;

/// What single doors are told.
#[derive(Debug, clap::Args)]
pub struct DoorArgs {
    #[command(flatten)]
    cloudru: cloudru::CloudruArgs,
    #[command(flatten)]
    diego: diego::DiegoArgs,
}

impl DoorArgs {
    /// As the facade takes it.
    ///
    /// # Errors
    /// A file that is named cannot be used.
    pub fn settings(&self) -> Result<dialects::Settings, KeysError> {
        Ok(dialects::Settings {
            cloudru: self.cloudru.settings(),
            diego: self.diego.settings()?,
        })
    }
}
