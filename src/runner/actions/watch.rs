//! A tree of actions from start to end: the loop around poll(2) that carries out what the machine orders.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id as WaitFor, WaitPidFlag, WaitStatus, waitid, waitpid};

use super::failure::Failure;
use super::job::Job;
use super::machine::{Event, Machine, Order, Outcome};
use super::output::Output;
use super::tree::{Id, Kind, Tree};
use crate::handover::args::SuperviseArgs;
use crate::runner::capture::Which;
use crate::runner::pass::{readable, wait};
use crate::runner::signals::{Signals, is_stop};
use crate::runner::timeline::{Due, Timeline};

/// A tree under way.
pub(super) struct Watch<'a> {
    args: &'a SuperviseArgs,
    executable: PathBuf,
    pub(super) signals: Signals,
    pub(super) timeline: Timeline,
    pub(super) output: Output,
    machine: Machine,
    jobs: Vec<Job>,
    armed: Vec<(Instant, Id)>,
    /// Which of our streams got output that others held open.
    pub(super) held_open: [bool; 2],
}

impl<'a> Watch<'a> {
    /// Starts the tree.
    pub(super) fn start(args: &'a SuperviseArgs, signals: Signals, tree: Tree) -> io::Result<Self> {
        let (machine, orders) = Machine::new(tree);
        let mut watch = Self {
            args,
            executable: std::env::current_exe()?,
            signals,
            timeline: Timeline::new(Instant::now(), args.timeout, args.grace),
            output: Output::new(args.log_limit)?,
            machine,
            jobs: Vec::new(),
            armed: Vec::new(),
            held_open: [false; 2],
        };
        watch.carry_out(orders);
        Ok(watch)
    }

    /// Until all has ended and the streams are passed on; what it came to.
    pub(super) fn run(&mut self) -> Outcome {
        loop {
            self.forward();
            self.reap();
            let now = Instant::now();
            match self.timeline.due(now) {
                Due::Nothing => {}
                Due::Terminate => self.step(Event::Cancel),
                Due::Kill => self.jobs.iter_mut().for_each(|job| job.kill(now)),
            }
            self.deadlines(now);
            for job in &mut self.jobs {
                job.turn(&mut self.output);
            }
            self.output.flush();
            self.settle(now);
            if self.take_ended() {
                continue;
            }
            if let Some(outcome) = self.machine.outcome() {
                let outcome = outcome.clone();
                self.timeline.end(now);
                self.output.flush();
                if self.output.is_empty() {
                    return outcome;
                }
            }
            self.wait();
        }
    }

    fn step(&mut self, event: Event) {
        let orders = self.machine.step(event);
        self.carry_out(orders);
    }

    fn carry_out(&mut self, orders: Vec<Order>) {
        let now = Instant::now();
        let mut orders = VecDeque::from(orders);
        while let Some(order) = orders.pop_front() {
            match order {
                Order::Start(id) => {
                    if let Err(error) = self.start_job(id) {
                        let failure = Failure::plain(format!("the action could not be started: {error}"));
                        orders.extend(self.machine.step(Event::Ended(id, Err(failure))));
                    }
                }
                Order::Interrupt(id) => {
                    let grace = self.args.grace;
                    let job = self.jobs.iter_mut().find(|job| job.id == id);
                    job.into_iter().for_each(|job| job.interrupt(now, grace));
                }
                // A time too far away to be told is none.
                Order::Arm(id, after) => self.armed.extend(now.checked_add(after).map(|due| (due, id))),
                Order::Disarm(id) => self.armed.retain(|(_, armed)| *armed != id),
                Order::Say(id, which, line) => self.say(id, which, &line),
            }
        }
    }

    fn start_job(&mut self, id: Id) -> io::Result<()> {
        let Some(node) = self.machine.tree().nodes.get(id) else {
            return Ok(());
        };
        if let Kind::Work(work) = &node.kind {
            let job = Job::start(&self.executable, id, work, node.source.clone())?;
            self.jobs.push(job);
        }
        Ok(())
    }

    fn say(&mut self, id: Id, which: Which, line: &str) {
        let node = self.machine.tree().nodes.get(id);
        let source = node.and_then(|node| node.source.as_deref());
        for line in line.lines() {
            self.output.line(which, source, line.as_bytes());
        }
    }

    /// Passes signals on; those that mean the end stop the tree.
    fn forward(&mut self) {
        for signal in self.signals.take() {
            if is_stop(signal) {
                self.timeline.stop(Instant::now(), signal as i32);
                self.step(Event::Cancel);
            } else {
                self.jobs.iter().for_each(|job| job.signal(signal));
            }
        }
    }

    /// Takes the ends of our processes, and those of the orphans that became ours.
    fn reap(&mut self) {
        loop {
            let now = Instant::now();
            self.jobs.iter_mut().for_each(|job| job.take_end(now));
            let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            let pid = match waitid(WaitFor::All, peek) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Err(Errno::EINTR) => continue,
                Ok(status) => status.pid(),
                // Ended by a signal that has no name here; a real-time signal, most likely.
                Err(_) => {
                    self.jobs.iter_mut().for_each(|job| job.take_end(now));
                    None
                }
            };
            // Our own are taken above, where their status has every signal's number.
            if !self.jobs.iter().any(|job| pid == Some(job.pid())) {
                let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            }
        }
    }

    fn deadlines(&mut self, now: Instant) {
        while let Some(at) = self.armed.iter().position(|(due, _)| *due <= now) {
            let (_, id) = self.armed.swap_remove(at);
            self.step(Event::Due(id));
        }
    }

    fn settle(&mut self, now: Instant) {
        let stalled = self.output.stalled_since();
        for job in &mut self.jobs {
            // What a slow reader holds back is not what others hold open.
            let [out, err] = job.settle(now, &mut self.output);
            self.held_open[0] |= out;
            self.held_open[1] |= err;
        }
        let until = stalled.and_then(|moved| self.timeline.stall_until(moved));
        if self.waits_for_reader() && until.is_some_and(|until| until <= now) {
            self.output.give_up();
        }
    }

    /// While a process runs, a slow reader slows it down; once one has ended, it is waited for within bounds.
    fn waits_for_reader(&self) -> bool {
        self.machine.outcome().is_some() || self.jobs.iter().any(Job::has_ended)
    }

    /// Tells the machine of an end. True where there was one: there may be more to do at once.
    fn take_ended(&mut self) -> bool {
        let Some(at) = self.jobs.iter().position(Job::is_over) else {
            return false;
        };
        let job = self.jobs.remove(at);
        let id = job.id;
        let end = job.end(self.args.grace);
        if let Some(line) = end.line {
            self.say(id, Which::Stdout, &line);
        }
        self.step(Event::Ended(id, end.outcome));
        true
    }

    fn wait(&self) {
        let stall = self
            .output
            .stalled_since()
            .filter(|_| self.waits_for_reader())
            .and_then(|moved| self.timeline.stall_until(moved));
        let jobs = self.jobs.iter().filter_map(Job::next);
        let armed = self.armed.iter().map(|(due, _)| *due);
        let next = jobs.chain(armed).chain(self.timeline.next()).chain(stall).min();
        let mut fds = vec![readable(self.signals.as_fd())];
        fds.extend(self.output.poll_fds());
        fds.extend(self.jobs.iter().flat_map(|job| job.poll_fds(&self.output)));
        wait(&mut fds, next);
    }

    /// Kills the groups of processes that did not end.
    pub(super) fn kill_rest(&self) {
        self.jobs.iter().for_each(|job| job.signal(Signal::SIGKILL));
    }
}
