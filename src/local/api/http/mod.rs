//! The HTTP face: paths, content negotiation, refusals, serving.
pub mod body;
mod discovery;
pub mod identity;
mod logs;
pub mod negotiate;
pub mod path;
mod proto;
mod proxy;
pub mod respond;
pub mod router;
mod special;
pub mod status;
