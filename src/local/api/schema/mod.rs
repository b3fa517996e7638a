//! What a Kubernetes API server knows about its types: which resources it serves, what their
//! objects may look like, and how it describes them to clients (discovery, OpenAPI, tables).
//!
//! Everything here is a function of values: no I/O, no clock, no client. Facts come from the
//! Kubernetes API conventions, the apiextensions v1 documentation and what `kubectl` 1.32 asks for.

mod builtin;
pub mod crd;
pub mod discovery;
mod error;
mod jsonpath;
pub mod openapi;
mod resource;
mod structural;
pub mod table;

pub use builtin::builtin_resources;
pub use crd::CrdError;
pub use error::{FieldError, FieldErrorKind};
pub use resource::{Column, Resource, Subresource};
pub use structural::Schema;
pub use table::IncludeObject;
