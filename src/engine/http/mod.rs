//! Dispatch to an HTTP function: wait until the container answers, send one request, keep the answer.
//!
//! A request is sent at most once: nothing here repeats it or follows a redirect, and [`SendError`] tells whether
//! anything can have reached the function. The function is a stranger: heads, bodies and
//! time are bounded, and no more of a body is held in memory than is kept.
//!
//! - [`request`]: from a Task's input to a request; pure.
//! - [`answer`]: from an answer to a [`crate::crd::TaskResult`]; pure.
//! - [`send`](send()), [`wait_ready`]: the wire, by one of two ways ([`Route`]): straight to the pod over a
//!   connection of its own, or through the API server ([`proxy`]).

mod answer;
mod direct;
mod proxy;
mod request;
mod route;
mod send;
mod wait;

pub use answer::Answer;
pub use proxy::{Refusal, check_proxied};
pub use request::{Request, RequestError};
pub use route::{PodProxy, Route};
pub use send::{Limits, READ_CAP, SendError, Stage, send};
pub use wait::{Readiness, WaitError, wait_ready};

#[cfg(test)]
mod tests;
