//! Parts of cluster and release stop, break and come back. Each test has the cluster for itself and leaves it whole.

mod api_server;
mod controller;
mod dice;
mod diego;
mod load;
mod nodes;
mod prober;
mod processes;
mod release;
mod releases;
mod support;
