//! Callbacks: the end of a Task is POSTed to where `spec.callback` says.
//!
//! - [`decide`]: whether to call now, and what an answer means; pure.
//! - [`step`]: the same as a step of the Task's reconcile; pure.
//! - [`event`], [`sign`]: body and signature; pure.
//! - [`target`], [`networks`]: what an address may be, and which addresses are never called; pure.
//! - [`call`]: one POST on the wire.
//! - [`desk`]: the calls under way, which occupy no worker.
//!
//! What was tried is in `status.callback`, written after each try. A controller that dies between a try and that write
//! leaves the try to the next one, so whoever is called hears of the end at least once, and knows a repeat by its
//! `webhook-id`.

pub mod call;
pub mod decide;
pub mod desk;
pub mod event;
pub mod networks;
pub mod secret;
pub mod sign;
pub mod step;
pub mod target;

use std::time::Duration;

use crate::tls::Outgoing;

pub use desk::{Desk, Flight};
pub use networks::{Network, Networks};

/// How callbacks are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may be called.
    pub networks: Networks,
    /// Whom https callbacks trust and what they show; `None` = Mozilla's authorities, and nothing.
    pub tls: Option<Outgoing>,
    /// Calls under way at once.
    pub at_once: usize,
    /// Calls to one host under way at once, so that a slow one leaves room for others.
    pub per_host: usize,
    /// Policy Diego: time between two rounds of tries.
    pub diego_pass: Duration,
    /// Policy Diego: how long after its end a Task is kept for its callback.
    pub diego_keep: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            networks: Networks::default(),
            tls: None,
            at_once: 64,
            per_host: 4,
            // BOSH's defaults of Diego's BBS: kick_task_interval 30s, expire_completed_task_duration 120s.
            diego_pass: Duration::from_secs(30),
            diego_keep: Duration::from_secs(120),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
