//! The APIs that are spoken, one folder each. This is the one place that names them.

pub mod errand;

use super::door::Door;

/// The doors of all dialects.
pub fn doors() -> Vec<Door> {
    errand::doors()
}
