//! The REST facade: the doors through which clients of other task APIs come, over the same Tasks and Functions.
//!
//! A request goes one way: [`server`] -> layers ([`layers`]: id, log, metrics, limits) -> a door's handler
//! ([`dialects`]) -> [`access`] (may the caller do this?) -> [`views`] (what is known) or [`objects`] (what the API
//! server must be asked) -> the answer, or a WebSocket ([`sockets`]). Whatever goes wrong is a [`refusal::Refusal`],
//! which the door gives its own shape. Nothing outside `dialects` knows which APIs there are.

pub mod access;
mod body;
pub mod config;
mod docs;
pub mod door;
pub mod edits;
pub mod extract;
pub mod layers;
pub mod metrics;
pub mod objects;
pub mod peers;
pub mod refusal;
pub mod reports;
pub mod results;
mod run;
pub mod server;
pub mod sockets;
pub mod state;
pub mod uuids;
pub mod views;

pub mod dialects;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use run::{Listeners, run};
