//! The APIs that are spoken, one folder each. This is the one place that names them.

pub mod cloudru;
pub mod diego;
pub mod errand;
pub mod greencloud;
pub mod qinling;
pub mod ucloud;

use super::door::Door;

/// What single dialects can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The API of cloud.ru.
    pub cloudru: cloudru::Settings,
    /// The API of Diego.
    pub diego: diego::Settings,
}

/// The doors of all dialects.
pub fn doors() -> Vec<Door> {
    let mut doors = errand::doors();
    doors.extend(greencloud::doors());
    doors.extend(qinling::doors());
    doors.extend(cloudru::doors());
    doors.extend(ucloud::doors());
    doors
}

/// The doors whose callers show a certificate in place of a token. They have a listener of their own.
pub fn peer_doors() -> Vec<Door> {
    diego::doors()
}
