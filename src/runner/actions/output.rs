//! The streams of several processes on their way to our two: line by line, so that none tears another's.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFd;
use nix::unistd::read;

use crate::handover::progress::Progress;
use crate::runner::capture::{Capture, Which};
use crate::runner::pass::{Sink, readable};

/// A longer line is broken: container runtimes break them there too (CRI, `maxLine` of containerd).
const MAX_LINE: usize = 16 * 1024;
/// While so much waits for our reader, nothing more is read: a slow reader slows the processes down.
const MAX_WAITING: usize = 64 * 1024;
const BUFFER: usize = 16 * 1024;
/// Reads before signals and timers get their turn again.
const READS: usize = 16;

/// Our stdout and stderr, and what is kept of them.
pub(super) struct Output {
    sinks: [Sink; 2],
    waiting: [Vec<u8>; 2],
    pub(super) capture: Capture,
}

const fn index(which: Which) -> usize {
    match which {
        Which::Stdout => 0,
        Which::Stderr => 1,
    }
}

impl Output {
    pub(super) fn new(log_limit: usize) -> io::Result<Self> {
        Ok(Self {
            sinks: [Sink::new(Which::Stdout)?, Sink::new(Which::Stderr)?],
            waiting: [Vec::new(), Vec::new()],
            capture: Capture::new(None, log_limit),
        })
    }

    /// Takes a line, which comes without its newline; it goes out with the next flush. Lines of a named source begin with it in brackets, but for
    /// progress lines, which others read.
    pub(super) fn line(&mut self, which: Which, source: Option<&str>, line: &[u8]) {
        let waiting = &mut self.waiting[index(which)];
        let start = waiting.len();
        if let Some(source) = source.filter(|_| Progress::parse(line).is_none()) {
            waiting.push(b'[');
            waiting.extend_from_slice(source.as_bytes());
            waiting.extend_from_slice(b"] ");
        }
        waiting.extend_from_slice(line);
        waiting.push(b'\n');
        self.capture.take(which, &waiting[start..]);
    }

    /// Writes what can be written.
    pub(super) fn flush(&mut self) {
        for (sink, waiting) in self.sinks.iter_mut().zip(&mut self.waiting) {
            if !waiting.is_empty() {
                let taken = sink.offer(waiting);
                waiting.drain(..taken);
            }
        }
    }

    fn has_room(&self, which: Which) -> bool {
        self.waiting[index(which)].len() < MAX_WAITING
    }

    /// Everything has gone out.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.iter().all(Vec::is_empty)
    }

    /// When the reader of what waits took something last; `None` where nothing waits.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        let stalled = self
            .sinks
            .iter()
            .zip(&self.waiting)
            .filter(|(_, waiting)| !waiting.is_empty());
        stalled.map(|(sink, _)| sink.moved()).min()
    }

    /// Nobody takes what waits.
    pub(super) fn give_up(&mut self) {
        for (sink, waiting) in self.sinks.iter_mut().zip(&self.waiting) {
            if !waiting.is_empty() {
                sink.give_up();
            }
        }
        self.flush();
    }

    /// Where the marked lines go.
    pub(super) fn stdout(&mut self) -> &mut Sink {
        &mut self.sinks[0]
    }

    pub(super) fn dropped(&self, which: Which) -> u64 {
        self.sinks[index(which)].dropped()
    }

    /// What to poll for.
    pub(super) fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let waiting = self
            .sinks
            .iter()
            .zip(&self.waiting)
            .filter(|(_, waiting)| !waiting.is_empty());
        waiting.map(|(sink, _)| sink.poll_fd())
    }
}

/// One stream of one process.
pub(super) struct Source {
    pub(super) which: Which,
    name: Option<String>,
    /// `None` at the end of the stream.
    fd: Option<OwnedFd>,
    /// The beginning of a line.
    partial: Vec<u8>,
    buffer: Vec<u8>,
    /// The pipe was empty when it was read last.
    quiet: bool,
    /// Bytes read since the process ended.
    since_end: usize,
}

impl Source {
    /// `fd` is the reading end of a pipe; it becomes non-blocking (the writing end has its own flags).
    pub(super) fn new(which: Which, name: Option<String>, fd: OwnedFd) -> io::Result<Self> {
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            which,
            name,
            fd: Some(fd),
            partial: Vec::new(),
            buffer: vec![0; BUFFER],
            quiet: false,
            since_end: 0,
        })
    }

    /// Moves what can be moved now, but not for ever.
    pub(super) fn turn(&mut self, output: &mut Output) {
        for _ in 0..READS {
            let Some(fd) = self.fd.as_ref().filter(|_| output.has_room(self.which)) else {
                return;
            };
            match read(fd, &mut self.buffer) {
                Ok(0) => self.close(output),
                Ok(count) => {
                    self.quiet = false;
                    self.since_end = self.since_end.saturating_add(count);
                    self.take(count, output);
                    output.flush();
                }
                Err(Errno::EAGAIN) => {
                    self.quiet = true;
                    return;
                }
                Err(Errno::EINTR) => {}
                Err(_) => self.close(output),
            }
        }
    }

    fn take(&mut self, count: usize, output: &mut Output) {
        let mut rest = &self.buffer[..count];
        while let Some(at) = memchr::memchr(b'\n', rest) {
            let (line, behind) = rest.split_at(at);
            rest = &behind[1..];
            if self.partial.is_empty() {
                output.line(self.which, self.name.as_deref(), line);
            } else {
                self.partial.extend_from_slice(line);
                output.line(self.which, self.name.as_deref(), &self.partial);
                self.partial.clear();
            }
        }
        self.partial.extend_from_slice(rest);
        while self.partial.len() >= MAX_LINE {
            let tail = self.partial.split_off(MAX_LINE);
            output.line(self.which, self.name.as_deref(), &self.partial);
            self.partial = tail;
        }
    }

    fn close(&mut self, output: &mut Output) {
        self.fd = None;
        if !self.partial.is_empty() {
            output.line(self.which, self.name.as_deref(), &self.partial);
            self.partial.clear();
        }
    }

    /// The process has ended: what is read from now on may be of others.
    pub(super) fn process_ended(&mut self) {
        self.since_end = 0;
        self.quiet = false;
    }

    /// The time for other processes is over: goes on without them once everything that the process itself wrote has
    /// been read, which is when the pipe was empty or as much was read as fits into it. True where it went on.
    pub(super) fn leave_others(&mut self, output: &mut Output) -> bool {
        let Some(fd) = &self.fd else {
            return false;
        };
        let capacity = fcntl(fd, FcntlArg::F_GETPIPE_SZ)
            .ok()
            .and_then(|size| usize::try_from(size).ok());
        let done = self.quiet || self.since_end >= capacity.unwrap_or(0);
        if done {
            self.close(output);
        }
        done
    }

    pub(super) fn is_done(&self) -> bool {
        self.fd.is_none()
    }

    /// What to poll for.
    pub(super) fn poll_fd(&self, output: &Output) -> Option<PollFd<'_>> {
        let fd = self.fd.as_ref().filter(|_| output.has_room(self.which))?;
        Some(readable(fd.as_fd()))
    }
}
