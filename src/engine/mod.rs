//! The controller: turns Tasks into pods and pods into results.
pub mod events;
pub mod http;
pub mod metrics;
