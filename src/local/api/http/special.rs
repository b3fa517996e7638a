//! Resources and subresources that are no plain objects: reviews, bindings, tokens, logs.
use axum::body::Body;
use http::{Request, Response};

use super::{router::Exchange, status::Result};

/// What answers instead of the store.
pub(super) enum Special {}

impl Special {
    pub fn of(_exchange: &Exchange<'_>) -> Option<Self> {
        None
    }

    pub async fn serve(self, _exchange: &Exchange<'_>, _request: Request<Body>) -> Result<Response<Body>> {
        match self {}
    }
}
