//! Errand on a real Kubernetes: the operator runs inside of the cluster, installed from the chart, and every pod is one.
//!
//! `make e2e` brings up the cluster and runs these. They find it by KUBECONFIG; each has a namespace of its own. Those
//! under `disruptive` stop parts of the cluster and run one at a time.

// Helpers of tests may fail like tests; clippy.toml spares only the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod actions;
mod callbacks;
mod capabilities;
mod dialects;
mod diego;
mod disruptive;
mod doors;
mod ends;
mod rights;
mod schedules;
mod starts;
mod support;
mod tasks;
