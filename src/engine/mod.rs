//! The controller: turns Tasks into pods and pods into results.
pub mod backoff;
pub mod events;
pub mod follow;
pub mod health;
pub mod http;
pub mod leader;
pub mod metrics;
