//! The embedded plane: a Kubernetes-style API server and a node on one machine. It knows
//! Kubernetes' rules and none of Errand's.
pub mod api;
#[cfg(test)]
mod e2e;
pub mod events;
pub mod logs;
pub mod node;
pub mod node_lifecycle;
pub mod scheduler;
