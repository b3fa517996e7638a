//! The API server of the embedded plane.
pub mod schema;
