//! The answer of a function, given again. Its headers stay behind, all but the type: they spoke to the one who sent the
//! request, and `GC-Storage` is nobody's business.

use axum::{http::StatusCode, response::Response};

use super::{failure::body, map::outcome};
use crate::{
    crd::{Phase, Task},
    facade::{results, state::phase},
};

/// What is said of a task that is not over, or not there: clients that poll cannot tell, and ask again.
pub const TOO_EARLY: &str = "the task is not over yet; ask again";

/// The answer of a whole Task; `None` where it is not over.
pub fn replay(task: &Task) -> Option<Response> {
    let status = StatusCode::from_u16(outcome(task)?).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let told = task.status.as_ref();
    let result = told.and_then(|told| told.result.as_ref());
    let result = result.filter(|result| phase(task) == Phase::Succeeded || !results::is_empty(result));
    let Some(result) = result else {
        let why = told.and_then(|told| told.message.clone());
        let why = why.unwrap_or_else(|| "the function did not answer".to_owned());
        return Some(body(status, code(status), why));
    };
    let mut response = results::response(result);
    *response.status_mut() = status;
    Some(response)
}

fn code(status: StatusCode) -> &'static str {
    if status == StatusCode::REQUEST_TIMEOUT {
        "TIMED_OUT"
    } else {
        "FUNCTION_FAILED"
    }
}
