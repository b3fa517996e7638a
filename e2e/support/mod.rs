//! What the cluster tests share.

pub mod account;
#[path = "../../tests/plane/support/command.rs"]
#[allow(dead_code)]
pub mod command;
pub mod diego;
#[path = "../../tests/plane/support/http.rs"]
#[allow(dead_code)]
pub mod http;
pub mod installation;
#[path = "../../tests/plane/support/protobuf.rs"]
#[allow(dead_code)]
pub mod protobuf;
#[path = "../../tests/plane/support/receiver.rs"]
#[allow(dead_code)]
pub mod receiver;
pub mod space;

use std::time::Duration;

pub use space::{Space, in_space};

/// No wait is meant to last; this bounds those that would last for ever. Pulls, relists and slow machines are in it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The image of busybox that the containers of tests run.
pub fn tools() -> String {
    std::env::var("ERRAND_E2E_TOOLS").unwrap_or_else(|_| "errand-tools:1".to_owned())
}
