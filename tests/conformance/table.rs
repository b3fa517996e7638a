//! The rows, and what a cell may say.

use super::{
    doors::Door,
    exchange::{Exchange, Reply},
    ground::{About, Subject},
};

/// What a door does about a behaviour.
pub enum Cell {
    /// It answers these requests, one after the other.
    Answers(Vec<Exchange>),
    /// It answers this request and a Task is made, of function `upper` with the input `shout`.
    Makes(Exchange),
    /// It answers this request several times at once, and Tasks are made. With `others` one alone is made, and everybody
    /// but one hears this; without, each request makes a Task of its own.
    AtOnce {
        request: Exchange,
        others: Option<Reply>,
    },
    /// Its API has no such call, in a few words why; this is how it answers whoever tries.
    NoCall(&'static str, Vec<Exchange>),
}

/// A behaviour.
pub struct Row {
    pub title: &'static str,
    /// What is to be seen.
    pub means: &'static str,
    /// Which Task it is about.
    pub about: About,
    /// What a door says to it.
    pub ask: fn(&dyn Door, &Subject) -> Cell,
}

/// In the order in which they are run: what is made in the first is read in the others.
pub const ROWS: [Row; 19] = [
    Row {
        title: "create",
        means: "A Task is made.",
        about: About::Nothing,
        ask: |door, task| door.create(task),
    },
    Row {
        title: "observe",
        means: "A Task that succeeded, made at any of the doors or with kubectl, is read.",
        about: About::Succeeded,
        ask: |door, task| door.observe(task),
    },
    Row {
        title: "run",
        means: "A Task that runs is read.",
        about: About::Running,
        ask: |door, task| door.run(task),
    },
    Row {
        title: "progress",
        means: "A Task that runs has said that 40 % are done.",
        about: About::Reporting,
        ask: |door, task| door.progress(task),
    },
    Row {
        title: "log",
        means: "The log of a Task that succeeded, made at any of the doors or with kubectl, is read.",
        about: About::Succeeded,
        ask: |door, task| door.log(task),
    },
    Row {
        title: "result",
        means: "The result of a Task that succeeded, made at any of the doors or with kubectl, is read.",
        about: About::Succeeded,
        ask: |door, task| door.result(task),
    },
    Row {
        title: "failure",
        means: "A Task whose command ended with code 3.",
        about: About::Failed,
        ask: |door, task| door.failure(task),
    },
    Row {
        title: "time-out",
        means: "A Task that ran out of time.",
        about: About::TimedOut,
        ask: |door, task| door.time_out(task),
    },
    Row {
        title: "cancel",
        means: "A Task that runs is stopped.",
        about: About::Stoppable,
        ask: |door, task| door.cancel(task),
    },
    Row {
        title: "cancelled",
        means: "A Task that was stopped with kubectl.",
        about: About::Cancelled,
        ask: |door, task| door.cancelled(task),
    },
    Row {
        title: "delete",
        means: "A Task is taken away.",
        about: About::Stoppable,
        ask: |door, task| door.delete(task),
    },
    Row {
        title: "not found",
        means: "There is no such Task.",
        about: About::Unknown,
        ask: |door, task| door.not_found(task),
    },
    Row {
        title: "not mine",
        means: "The Task is ann's; eve has no rights, bob may do all in the namespace.",
        about: About::Owned,
        ask: |door, task| door.not_mine(task),
    },
    Row {
        title: "no token",
        means: "The caller brings no token.",
        about: About::Owned,
        ask: |door, task| door.no_token(task),
    },
    Row {
        title: "wrong token",
        means: "The caller brings a token that nobody has.",
        about: About::Owned,
        ask: |door, task| door.wrong_token(task),
    },
    Row {
        title: "bad body",
        means: "The body is not what the call takes.",
        about: About::Running,
        ask: |door, task| door.bad_body(task),
    },
    Row {
        title: "oversized body",
        means: "The body has one byte more than a Task can hold.",
        about: About::Running,
        ask: |door, task| door.oversized_body(task),
    },
    Row {
        title: "concurrent creates",
        means: "The same create comes eight times at once, with the same id where the API lets the caller choose it.",
        about: About::Nothing,
        ask: |door, task| door.concurrent_creates(task),
    },
    Row {
        title: "gone",
        means: "The Task ended longer ago than its Function's ttlAfterFinished.",
        about: About::Gone,
        ask: |door, task| door.gone(task),
    },
];
