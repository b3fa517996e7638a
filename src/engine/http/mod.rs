//! Dispatch to an HTTP function: wait until the container answers, send one request, keep the answer.
//!
//! A request is sent at most once: nothing here repeats it, follows a redirect or reuses a connection, and
//! [`SendError`] tells whether anything can have reached the function. The function is a stranger: heads, bodies and
//! time are bounded, and no more of a body is held in memory than is kept.
//!
//! - [`request`]: from a Task's input to a request; pure.
//! - [`answer`]: from an answer to a [`crate::crd::TaskResult`]; pure.
//! - [`send`](send()), [`wait_ready`]: the wire.

mod answer;
mod request;
mod send;
mod wait;

pub use answer::Answer;
pub use request::{Request, RequestError};
pub use send::{Limits, READ_CAP, SendError, Stage, send};
pub use wait::{Readiness, WaitError, wait_ready};

#[cfg(test)]
mod tests;
