//! Messages out of requests and into answers. The media type of a request is not looked at, as at the real server.

use axum::{
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use prost::Message;

use super::{
    failure::{Failure, bad_request, message},
    fields::Malformed,
    messages::DesireTaskRequest,
};
use crate::facade::{extract::body_up_to, state::Facade};

/// Most bytes of a request: a definition of the largest size ([`super::names::MAX_DEFINITION`]), or a result, and room
/// for what is around them.
const MAX_REQUEST: usize = 256 * 1024;

/// A message that is read from bytes.
pub trait FromWire: Sized {
    /// Reads it. Messages in messages are read 100 deep at most, which is prost's own limit.
    ///
    /// # Errors
    /// It is none.
    fn from_wire(bytes: &[u8]) -> Result<Self, Malformed>;
}

impl<T: Message + Default> FromWire for T {
    fn from_wire(bytes: &[u8]) -> Result<Self, Malformed> {
        T::decode(bytes).map_err(|_| Malformed)
    }
}

impl FromWire for DesireTaskRequest {
    fn from_wire(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::parse(bytes)
    }
}

/// The message of a request.
pub struct Sent<T>(pub T);

impl<T: FromWire> FromRequest<Facade> for Sent<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, facade: &Facade) -> Result<Self, Failure> {
        let body = body_up_to(request, facade, MAX_REQUEST).await?;
        T::from_wire(&body).map(Self).map_err(|Malformed| bad_request())
    }
}

/// A message as an answer.
pub struct Answer<T>(pub T);

impl<T: Message> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        message(self.0.encode_to_vec())
    }
}

/// It is done: a TaskLifecycleResponse or UpsertDomainResponse without error, and so no bytes at all.
pub struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        message(Vec::new())
    }
}
