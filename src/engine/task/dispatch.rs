//! What to do next about the request to an HTTP function. Pure.
//!
//! A Task of an HTTP function is Running once its request is about to be sent. That write is the mark by which a
//! controller that comes back, or another one that takes over, knows that the function may have got the request.

use super::outcome::{Outcome, Reason};
use crate::crd::{Http, TaskResult};

/// How far the one request to an HTTP function has come, as far as this process knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RequestState {
    /// Nothing was begun.
    #[default]
    None,
    /// The container does not answer yet.
    AwaitingReady,
    /// The container answers; the request waits to be sent.
    Ready,
    /// The request is under way.
    Sent,
    /// The answer is here.
    Answered(Box<TaskResult>),
    /// There will be no answer, in a sentence.
    Failed(String),
}

impl RequestState {
    /// True where this process has not sent the request.
    fn is_unsent(&self) -> bool {
        matches!(self, Self::None | Self::AwaitingReady | Self::Ready)
    }
}

/// The next move.
#[derive(Debug, PartialEq)]
pub enum Move {
    /// Nothing, until the request has come further.
    Rest,
    /// Wait for the function to answer at all.
    AwaitReady,
    /// Write the mark, then send the request.
    Send,
    /// Send the request once more; the mark is there already.
    SendAgain,
    /// The attempt is over.
    End(Outcome),
}

/// The next move while the container runs. `marked` tells that the mark is written.
pub fn next(http: &Http, request: &RequestState, marked: bool) -> Move {
    let may_repeat = http.idempotent == Some(true);
    match request {
        RequestState::Failed(words) => Move::End(Outcome::new(Reason::NoAnswer, words.clone())),
        RequestState::Sent | RequestState::Answered(_) => Move::Rest,
        RequestState::None | RequestState::AwaitingReady | RequestState::Ready if marked && !may_repeat => {
            Move::End(Outcome::new(
                Reason::DispatchInterrupted,
                "the controller went away while the request was under way; it is not sent again, since the function may \
                 have worked on it (http.idempotent: true allows it)",
            ))
        }
        RequestState::None => Move::AwaitReady,
        RequestState::AwaitingReady => Move::Rest,
        RequestState::Ready if marked => Move::SendAgain,
        RequestState::Ready => Move::Send,
    }
}

/// How an attempt without an answer ended when its container ended so as `how` says.
pub fn ended_unanswered(request: &RequestState, marked: bool, how: Outcome) -> Outcome {
    if how.reason != Reason::Completed {
        return how;
    }
    let (reason, message) = if marked && request.is_unsent() {
        let words =
            "the controller went away while the request was under way, and the container has ended since";
        (Reason::DispatchInterrupted, words)
    } else {
        (
            Reason::NoAnswer,
            "the container ended before it answered the request",
        )
    };
    Outcome {
        exit_code: how.exit_code,
        ..Outcome::new(reason, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(idempotent: Option<bool>, marked: bool) -> [Move; 5] {
        let http = Http {
            idempotent,
            ..Http::default()
        };
        [
            RequestState::None,
            RequestState::AwaitingReady,
            RequestState::Ready,
            RequestState::Sent,
            RequestState::Failed("broken".into()),
        ]
        .map(|request| next(&http, &request, marked))
    }

    fn interrupted() -> Move {
        Move::End(Outcome::new(
            Reason::DispatchInterrupted,
            "the controller went away while the request was under way; it is not sent again, since the function may \
             have worked on it (http.idempotent: true allows it)",
        ))
    }

    fn no_answer() -> Move {
        Move::End(Outcome::new(Reason::NoAnswer, "broken"))
    }

    #[test]
    fn a_request_is_sent_once_the_function_is_ready_and_the_mark_is_written() {
        for idempotent in [None, Some(false), Some(true)] {
            let expected = [Move::AwaitReady, Move::Rest, Move::Send, Move::Rest, no_answer()];
            assert_eq!(moves(idempotent, false), expected, "{idempotent:?}");
        }
    }

    #[test]
    fn a_request_that_somebody_else_had_under_way_is_not_sent_again() {
        for idempotent in [None, Some(false)] {
            let expected = [
                interrupted(),
                interrupted(),
                interrupted(),
                Move::Rest,
                no_answer(),
            ];
            assert_eq!(moves(idempotent, true), expected, "{idempotent:?}");
        }
    }

    #[test]
    fn unless_the_function_is_idempotent() {
        let expected = [
            Move::AwaitReady,
            Move::Rest,
            Move::SendAgain,
            Move::Rest,
            no_answer(),
        ];
        assert_eq!(moves(Some(true), true), expected);
    }

    #[test]
    fn a_container_that_ended_well_without_an_answer_failed_and_it_is_said_whose_fault_it_was() {
        let end = |reason, exit_code| Outcome {
            exit_code,
            ..Outcome::new(reason, "")
        };
        let told = |request: &RequestState, marked, how| {
            let outcome = ended_unanswered(request, marked, how);
            (outcome.reason, outcome.exit_code)
        };
        let well = || end(Reason::Completed, Some(0));
        assert_eq!(
            told(&RequestState::None, true, well()),
            (Reason::DispatchInterrupted, Some(0))
        );
        assert_eq!(
            told(&RequestState::Ready, false, well()),
            (Reason::NoAnswer, Some(0))
        );
        let failed = RequestState::Failed("closed".into());
        assert_eq!(told(&failed, true, well()), (Reason::NoAnswer, Some(0)));
        let badly = end(Reason::ExitCode, Some(7));
        assert_eq!(
            told(&RequestState::None, true, badly),
            (Reason::ExitCode, Some(7))
        );
    }
}
