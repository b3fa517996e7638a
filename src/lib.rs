//! Errand runs containers as tasks on Kubernetes.
//!
//! Data flows one way round: client -> ([`facade`]) -> Task -> [`engine`] -> pod -> [`runner`] -> pod -> [`engine`] -> Task.
//!
//! - [`crd`]: Task, Function, Schedule and their parts: types, schema, CEL rules. No I/O.
//! - [`handover`]: what the engine tells the supervisor (arguments) and what the supervisor leaves behind (evidence).
//! - [`engine`]: the controller. Decides purely, acts thinly.
//! - [`facade`]: the REST facade: the doors of other task APIs over the same Tasks and Functions.
//! - [`runner`]: the supervisor that runs inside a container.
//! - [`local`]: the embedded plane: API server, scheduler and node on one machine.
//! - [`cli`]: one file per subcommand; wires the rooms together.
//! - [`livelog`]: the live log of a Task as lines; [`serve`]: HTTP on a listener, [`tls`]: certificates of listeners and of callers; [`health`]: health and metrics over it.
//! - [`telemetry`]: logs and metrics; [`chain`]: an error and its sources in one line; [`quantity`]: amounts as numbers; [`moments`]: cron expressions.
//!
//! Imports go one way: `crd` <- `handover` <- `engine`, `runner`, `livelog` <- `facade` (which knows no engine); `local` imports none of them; `cli` imports all.

pub mod chain;
pub mod cli;
pub mod crd;
pub mod engine;
pub mod facade;
#[cfg(test)]
mod fuzz;
pub mod handover;
pub mod health;
pub mod livelog;
pub mod local;
pub mod moments;
pub mod quantity;
pub mod runner;
pub mod serve;
pub mod telemetry;
pub mod tls;
