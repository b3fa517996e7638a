//! The engine through the real client against the embedded plane: every phase, every reason, every crash point.

mod actions;
mod bounds;
mod callbacks;
pub mod containers;
mod counts;
mod crash;
mod dispatch;
mod egress;
mod ends;
mod faults;
mod http;
mod input;
mod lease;
mod limits;
mod lost;
mod proxy;
mod queue;
mod schedules;
