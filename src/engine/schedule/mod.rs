//! Schedules: Tasks that are made at their moments.
//!
//! [`plan`] decides (pure), [`made`] says what a Task is called and holds (pure), [`reconcile`] does it, [`control`] has
//! each Schedule looked at when it changes and when its moment comes.
//!
//! Each moment takes three writes, in this order: the status counts the Task and notes its moment as pending; the Task
//! is created, under a name that only this moment of this Schedule has; the note is taken off. Whoever finds a note creates
//! the Task, and finds it there already where that had been done. While the note stands, no Task of that moment is deleted
//! for its age, so that there is none to be made twice.

pub mod control;
pub mod made;
pub mod plan;
pub mod reconcile;

#[cfg(test)]
mod plan_tests;
