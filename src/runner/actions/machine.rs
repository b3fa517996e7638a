//! What comes next in a tree of actions: events in, orders out. Pure: neither processes nor clocks.
//!
//! The rules are those of Diego's steps: a serial stops at its first failure, a parallel waits for all, a codependent
//! stops all at the first end of any kind, a timeout stops its action and waits for it, a try forgives, an emitProgress
//! only speaks.

use std::time::Duration;

use super::failure::{Failure, Show};
use super::tree::{Id, Kind, Tree};
use crate::runner::capture::Which;

/// What an action came to.
pub(super) type Outcome = Result<(), Failure>;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The work of this node has ended.
    Ended(Id, Outcome),
    /// The time of this node, which was armed, is up.
    Due(Id),
    /// All of it must stop.
    Cancel,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Begin the work of this node, and tell its end.
    Start(Id),
    /// Tell the work of this node, which was begun, to stop.
    Interrupt(Id),
    /// Tell when this time is up.
    Arm(Id, Duration),
    /// The time of this node no longer matters.
    Disarm(Id),
    /// Write a line to the log, with the source of this node.
    Say(Id, Which, String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    phase: Phase,
    /// It was told to stop.
    interrupted: bool,
    /// Its time was up, or it stopped the others.
    fired: bool,
    /// Children that ended, in the order of their ends.
    ended: Vec<Id>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Ahead,
    Running,
    Over(Outcome),
}

/// A tree under way.
#[derive(Debug)]
pub(super) struct Machine {
    tree: Tree,
    states: Vec<State>,
    orders: Vec<Order>,
}

impl Machine {
    /// The machine, and what is to be done first.
    pub(super) fn new(tree: Tree) -> (Self, Vec<Order>) {
        let states = vec![State::default(); tree.nodes.len()];
        let mut machine = Self {
            tree,
            states,
            orders: Vec::new(),
        };
        machine.start(0);
        let orders = std::mem::take(&mut machine.orders);
        (machine, orders)
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What the whole came to, once it has ended.
    pub(super) fn outcome(&self) -> Option<&Outcome> {
        match self.states.first().map(|state| &state.phase) {
            Some(Phase::Over(outcome)) => Some(outcome),
            _ => None,
        }
    }

    /// Takes an event. One about a node that is not under way changes nothing.
    pub(super) fn step(&mut self, event: Event) -> Vec<Order> {
        match event {
            Event::Ended(id, outcome) if self.is_running(id) => self.over(id, outcome),
            Event::Due(id) if self.is_running(id) => self.due(id),
            Event::Cancel => self.interrupt(0),
            Event::Ended(..) | Event::Due(_) => {}
        }
        std::mem::take(&mut self.orders)
    }

    fn is_running(&self, id: Id) -> bool {
        self.states
            .get(id)
            .is_some_and(|state| state.phase == Phase::Running)
    }

    // Recursion goes no deeper than the tree, whose depth the reader bounds.
    fn start(&mut self, id: Id) {
        let Some(node) = self.tree.nodes.get(id) else {
            return;
        };
        self.states[id].phase = Phase::Running;
        match &node.kind {
            Kind::Work(_) => self.orders.push(Order::Start(id)),
            Kind::Serial(children) => {
                let first = children.first().copied();
                self.start_or_end(id, first);
            }
            Kind::Parallel(children) | Kind::Codependent(children) => {
                for child in children.clone() {
                    self.start(child);
                }
            }
            Kind::Timeout(after, inner) => {
                let (after, inner) = (*after, *inner);
                self.orders.push(Order::Arm(id, after));
                self.start(inner);
            }
            Kind::Try(inner) => {
                let inner = *inner;
                self.start(inner);
            }
            Kind::EmitProgress(words, inner) => {
                let inner = *inner;
                let line = words.start.clone();
                self.say(id, Which::Stdout, line);
                self.start(inner);
            }
        }
    }

    fn start_or_end(&mut self, serial: Id, next: Option<Id>) {
        match next {
            Some(next) => self.start(next),
            None => self.over(serial, Ok(())),
        }
    }

    fn say(&mut self, id: Id, which: Which, line: Option<String>) {
        if let Some(line) = line.filter(|line| !line.is_empty()) {
            self.orders.push(Order::Say(id, which, line));
        }
    }

    fn interrupt(&mut self, id: Id) {
        if !self.is_running(id) || self.states[id].interrupted {
            return;
        }
        self.states[id].interrupted = true;
        self.interrupt_children(id);
        if matches!(self.tree.nodes[id].kind, Kind::Work(_)) {
            self.orders.push(Order::Interrupt(id));
        }
    }

    fn interrupt_children(&mut self, id: Id) {
        for child in self.tree.children(id).to_vec() {
            self.interrupt(child);
        }
    }

    /// Time is up, unless the node was told to stop anyway.
    fn due(&mut self, id: Id) {
        if !self.states[id].interrupted && !self.states[id].fired {
            self.states[id].fired = true;
            self.interrupt_children(id);
        }
    }

    fn over(&mut self, id: Id, outcome: Outcome) {
        self.states[id].phase = Phase::Over(outcome.clone());
        let Some(parent) = self.tree.nodes[id].parent else {
            return;
        };
        match &self.tree.nodes[parent].kind {
            Kind::Serial(children) => {
                let at = children.iter().position(|child| *child == id);
                let next = at.and_then(|at| children.get(at + 1)).copied();
                match outcome {
                    // Told to stop, it begins nothing more, even if what was stopped made no failure of it.
                    Ok(()) if !self.states[parent].interrupted => self.start_or_end(parent, next),
                    outcome => self.over(parent, outcome),
                }
            }
            Kind::Parallel(_) => self.one_of_parallel(parent, id),
            Kind::Codependent(_) => self.one_of_codependent(parent, id),
            Kind::Timeout(after, _) => {
                let after = *after;
                self.orders.push(Order::Disarm(parent));
                let outcome = match self.states[parent].fired {
                    true => Err(Failure::timed_out(after, outcome.as_ref().err())),
                    false => outcome,
                };
                self.over(parent, outcome);
            }
            Kind::Try(_) => self.over(parent, Ok(())),
            Kind::EmitProgress(words, _) => {
                let words = words.clone();
                match &outcome {
                    Ok(()) => self.say(parent, Which::Stdout, words.success),
                    Err(failure) => {
                        let line = words.failure.filter(|prefix| !prefix.is_empty()).map(|prefix| {
                            match failure.show {
                                Show::Everywhere => format!("{prefix}: {}", failure.text),
                                Show::Plain | Show::Hidden => prefix,
                            }
                        });
                        self.say(parent, Which::Stderr, line);
                    }
                }
                self.over(parent, outcome);
            }
            Kind::Work(_) => {}
        }
    }

    fn one_of_parallel(&mut self, parent: Id, child: Id) {
        self.states[parent].ended.push(child);
        let children = self.tree.children(parent).to_vec();
        if self.states[parent].ended.len() == children.len() {
            let failures = children.iter().filter_map(|child| self.failure(*child)).collect();
            let outcome = Failure::join(failures).map_or(Ok(()), Err);
            self.over(parent, outcome);
        }
    }

    fn one_of_codependent(&mut self, parent: Id, child: Id) {
        self.states[parent].ended.push(child);
        if !self.states[parent].fired {
            self.states[parent].fired = true;
            self.interrupt_children(parent);
        }
        let ended = self.states[parent].ended.clone();
        if ended.len() == self.tree.children(parent).len() {
            let failure = |child| self.failure(child).unwrap_or_else(Failure::codependent_exited);
            let failures = ended.into_iter().map(failure).collect();
            let outcome = Failure::join(failures).map_or(Ok(()), Err);
            self.over(parent, outcome);
        }
    }

    fn failure(&self, id: Id) -> Option<Failure> {
        match &self.states[id].phase {
            Phase::Over(Err(failure)) => Some(failure.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
