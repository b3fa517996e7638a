//! The controller: turns Tasks into pods and pods into results.
//!
//! [`run`] fills the caches and starts the loops. [`task`] holds the life of a Task: what a pod tells
//! ([`task::view`]), what to do next ([`task::plan`], pure), and the thin steps that do it. [`schedule`] makes Tasks at their moments. [`resolve`] puts Task and
//! Function together, [`pod`] makes the pod of it (both pure).

pub mod backoff;
pub mod callback;
pub mod config;
pub mod context;
mod counts;
pub mod events;
pub mod follow;
pub mod http;
mod lag;
pub mod leader;
mod leaving;
pub mod metrics;
pub mod pod;
mod poison;
pub mod progress;
pub mod queue;
pub mod recent;
pub mod released;
pub mod requests;
pub mod resolve;
mod run;
pub mod schedule;
pub mod task;

pub use config::{Config, Delivery, Runner};
pub use run::{Error, run};

#[cfg(test)]
mod spec_properties;
