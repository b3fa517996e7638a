//! What the tests share: a plane as a process of its own, commands against it, and waits with a deadline.

#[path = "../../../src/tls/issue.rs"]
#[allow(dead_code)]
pub mod authority;
pub mod command;
pub mod docker;
pub mod fault;
pub mod ground;
pub mod http;
pub mod plane;
pub mod process;
pub mod protobuf;
pub mod receiver;
pub mod registry;
pub mod socket;
pub mod world;

use std::time::{Duration, Instant};

pub use command::errand;
pub use process::Dev;

/// No wait is meant to last; this bounds those that would last for ever. Machines of tests are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again until there is an answer; fails with what `describe` says after [`PATIENCE`].
pub fn wait_for<T>(what: &str, describe: impl Fn() -> String, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "{what} did not happen within {PATIENCE:?}\n{}",
            describe()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
