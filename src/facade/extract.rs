//! What handlers take out of a request, refusing what is wrong with it.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use super::{
    access::{Caller, token_of},
    layers::Identified,
    refusal::Refusal,
    state::Facade,
};
use crate::crd::MAX_BODY_BYTES;

/// A body that is too large is read on to its end up to this size: most clients look at an answer only after they
/// have sent everything.
const DRAINED: usize = 32 * 1024 * 1024;

/// Who asks: known by their certificate ([`super::peers`]), else by the token in the headers.
pub struct Asker(pub Arc<Caller>);

impl FromRequestParts<Facade> for Asker {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, facade: &Facade) -> Result<Self, Refusal> {
        let caller = match parts.extensions.get::<Arc<Caller>>() {
            Some(peer) => peer.clone(),
            None => {
                let token = token_of(&parts.headers).ok_or_else(|| {
                    Refusal::Unauthenticated("a token is needed in the header Authorization".into())
                })?;
                facade.access.authenticate(token).await?
            }
        };
        if let Some(identified) = parts.extensions.get::<Identified>() {
            let _ = identified.0.set(caller.clone());
        }
        Ok(Self(caller))
    }
}

/// The body, byte for byte, of at most as many bytes as a Task can hold.
pub struct Payload(pub Bytes);

impl FromRequest<Facade> for Payload {
    type Rejection = Refusal;

    async fn from_request(request: Request, facade: &Facade) -> Result<Self, Refusal> {
        body_up_to(request, facade, MAX_BODY_BYTES).await.map(Self)
    }
}

/// The body, byte for byte, of at most `most` bytes.
///
/// # Errors
/// It is larger, does not come in time, or breaks off.
pub async fn body_up_to(request: Request, facade: &Facade, most: usize) -> Result<Bytes, Refusal> {
    let limit = facade.config.body_timeout();
    match tokio::time::timeout(limit, read(request.into_body(), most)).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::Slow(limit)),
    }
}

async fn read(mut body: Body, most: usize) -> Result<Bytes, Refusal> {
    let mut kept = BytesMut::new();
    let mut seen = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::Invalid(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= most {
            kept.extend_from_slice(&data);
        } else if seen > DRAINED {
            break;
        }
    }
    if seen > most {
        return Err(Refusal::TooLarge { limit: most });
    }
    Ok(kept.freeze())
}

/// A body that is JSON of this type, whatever its media type says.
pub struct JsonPayload<T>(pub T);

impl<T: DeserializeOwned> JsonPayload<T> {
    /// Reads a body that is there.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body).map(Self).map_err(|error| {
            Refusal::Invalid(format!("the body is not the JSON that is wanted here: {error}"))
        })
    }
}

impl<T: DeserializeOwned> FromRequest<Facade> for JsonPayload<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, facade: &Facade) -> Result<Self, Refusal> {
        let Payload(body) = Payload::from_request(request, facade).await?;
        Self::parse(&body)
    }
}

/// Text of a header, where it is there and is text.
pub fn text(headers: &header::HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Parameters of the path.
pub struct PathOf<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Facade> for PathOf<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, facade: &Facade) -> Result<Self, Refusal> {
        match Path::<T>::from_request_parts(parts, facade).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(error) => Err(Refusal::Invalid(error.body_text())),
        }
    }
}

/// Parameters of the query.
pub struct QueryOf<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Facade> for QueryOf<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, facade: &Facade) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, facade).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(Refusal::Invalid(error.body_text())),
        }
    }
}
