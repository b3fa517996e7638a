//! Strategies for property tests: Tasks, Functions and Schedules that the API accepts, however odd they are. Boxed, since whole
//! trees of such values do not fit the stack of a test's thread.

mod container;
mod function;
mod node;
mod pod;
mod schedule;
mod task;
mod words;

pub use self::{
    function::function_spec,
    schedule::schedule_spec,
    task::{actions, task, task_spec},
};
