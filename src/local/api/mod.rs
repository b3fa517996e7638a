//! The API server of the embedded plane.
