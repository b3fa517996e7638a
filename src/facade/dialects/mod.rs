//! The APIs that are spoken, one folder each. This is the one place that names them.

pub mod errand;
pub mod greencloud;
pub mod ucloud;

use super::door::Door;

/// The doors of all dialects.
pub fn doors() -> Vec<Door> {
    let mut doors = errand::doors();
    doors.extend(greencloud::doors());
    doors.extend(ucloud::doors());
    doors
}
