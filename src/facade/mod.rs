//! The REST facade.
pub mod access;
