//! The life of a Task: observe -> plan -> act.

pub mod dispatch;
mod egress;
pub mod evidence;
pub mod finish;
pub mod letgo;
pub mod outcome;
pub mod plan;
pub mod reconcile;
pub mod start;
pub mod status;
mod suspend;
mod version;
pub mod view;
pub mod write;
