//! The node of the embedded plane: runs pods on this machine as a kubelet does, through a client only.
//!
//! - [`kubelet`]: watches the pods bound to the node; one [`worker`] task per pod.
//! - [`sync`], [`status`]: what a pod needs next, and what its status says: pure.
//! - [`env`], [`fields`], [`volumes`], [`images`]: what a container gets: pure; [`prepare`] fetches and writes it.
//! - [`runtime`]: child processes or a container engine.
//! - [`cri_log`], [`log_file`], [`logs`]: container output on disk and on its way to `pods/log`.
//! - [`register`]: the Node object and its Lease.

pub mod cri_log;
mod ending;
pub mod env;
pub mod fields;
pub mod images;
pub mod kubelet;
pub mod log_file;
pub mod logs;
pub mod options;
mod prepare;
mod probe;
mod pull_secrets;
mod register;
pub mod runtime;
pub mod status;
pub mod sync;
pub mod volumes;
mod worker;

pub use kubelet::{Node, NodeError, run};
pub use options::{NodeOptions, RuntimeChoice};
pub use runtime::process::ProcessOptions;
