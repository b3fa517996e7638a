//! Errand on its embedded plane, as its users meet it: the command line, kubectl, the examples.

// Helpers of tests may fail like tests; clippy.toml spares only the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cli;
mod cluster;
#[path = "../conformance/mod.rs"]
mod conformance;
mod dev;
mod doors;
mod engine;
mod examples;
mod facade;
mod kubectl;
mod support;
