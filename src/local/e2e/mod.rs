//! Scheduler, node and node lifecycle together, against the API server in this process.

mod docker;
mod events;
mod nodes;
mod plane;
mod pods;
