//! The HTTP face: paths, content negotiation, refusals, serving.
pub mod status;
