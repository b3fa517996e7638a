//! Passes a stream of the command through to ours, without ever blocking.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};

use super::capture::{Capture, Which};

/// The size of a pipe, unless somebody changes it.
const BUFFER: usize = 64 * 1024;
/// A pipe that polls as writable takes this much without blocking: one page, `PIPE_BUF` in pipe(7).
const CHUNK: usize = 4096;
/// Reads before signals and timers get their turn again.
const READS: usize = 16;

/// Our stdout or stderr.
pub(super) struct Sink {
    fd: OwnedFd,
    /// Why nothing is written any more.
    closed: Option<&'static str>,
    last: Option<u8>,
    dropped: u64,
    moved: Instant,
}

impl Sink {
    pub(super) fn new(which: Which) -> io::Result<Self> {
        let fd = match which {
            Which::Stdout => io::stdout().as_fd().try_clone_to_owned()?,
            Which::Stderr => io::stderr().as_fd().try_clone_to_owned()?,
        };
        Ok(Self {
            fd,
            closed: None,
            last: None,
            dropped: 0,
            moved: Instant::now(),
        })
    }

    /// Writes what can be written without blocking, and returns how much that was. Once nobody reads any more,
    /// everything counts as taken, and as dropped.
    ///
    /// The descriptor is not made non-blocking, since others may share it; so each write waits for a poll and is
    /// no longer than what a pipe then takes.
    pub(super) fn offer(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while self.closed.is_none() && done < bytes.len() && self.ready() {
            let chunk = &bytes[done..bytes.len().min(done + CHUNK)];
            match write(&self.fd, chunk) {
                Ok(0) | Err(Errno::EAGAIN) => break,
                Ok(count) => {
                    done += count;
                    self.last = chunk.get(count - 1).copied();
                    self.moved = Instant::now();
                }
                Err(Errno::EINTR) => {}
                Err(_) => self.closed = Some("standard output is closed"),
            }
        }
        if self.closed.is_none() {
            return done;
        }
        self.dropped += (bytes.len() - done) as u64;
        bytes.len()
    }

    /// Nobody takes anything any more.
    pub(super) fn give_up(&mut self) {
        self.closed.get_or_insert("nobody reads standard output");
    }

    /// Why nothing is written any more, if that is so. Asked of stdout only.
    pub(super) fn closed(&self) -> Option<&'static str> {
        self.closed
    }

    /// The last byte that went out ends no line.
    pub(super) fn ends_mid_line(&self) -> bool {
        self.last.is_some_and(|byte| byte != b'\n')
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// When something was taken last.
    pub(super) fn moved(&self) -> Instant {
        self.moved
    }

    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)
    }

    fn ready(&self) -> bool {
        let mut fds = [self.poll_fd()];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }
}

/// One of the command's streams on its way to ours.
pub(super) struct Lane {
    which: Which,
    /// `None` at the end of the stream.
    source: Option<OwnedFd>,
    pub(super) sink: Sink,
    buffer: Vec<u8>,
    /// The part of `buffer` that still has to go out.
    pending: std::ops::Range<usize>,
    /// The pipe was empty when it was read last.
    quiet: bool,
    /// Bytes read since the command ended.
    since_end: usize,
    held_open: bool,
}

impl Lane {
    /// `source` is the reading end of a pipe; it becomes non-blocking (the writing end has its own flags).
    pub(super) fn new(which: Which, source: OwnedFd) -> io::Result<Self> {
        fcntl(&source, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            which,
            source: Some(source),
            sink: Sink::new(which)?,
            buffer: vec![0; BUFFER],
            pending: 0..0,
            quiet: false,
            since_end: 0,
            held_open: false,
        })
    }

    /// Moves what can be moved now, but not for ever. Nothing is read before the last of it has gone out, so a
    /// slow reader slows the command down, as it would without us.
    pub(super) fn turn(&mut self, capture: &mut Capture) {
        for _ in 0..READS {
            self.flush();
            let Some(source) = self.source.as_ref().filter(|_| self.pending.is_empty()) else {
                return;
            };
            match read(source, &mut self.buffer) {
                Ok(0) => self.source = None,
                Ok(count) => {
                    self.quiet = false;
                    self.since_end = self.since_end.saturating_add(count);
                    self.pending = 0..count;
                    capture.take(self.which, &self.buffer[..count]);
                }
                Err(Errno::EAGAIN) => {
                    self.quiet = true;
                    return;
                }
                Err(Errno::EINTR) => {}
                Err(_) => self.source = None,
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.pending.start += self.sink.offer(&self.buffer[self.pending.clone()]);
        }
    }

    /// The command has ended: what is read from now on may be of others.
    pub(super) fn command_ended(&mut self) {
        self.since_end = 0;
        self.quiet = false;
    }

    /// The time for other processes is over: goes on without them once everything that the command itself wrote
    /// has been read, which is when the pipe was empty or as much was read as fits into it.
    pub(super) fn leave_others(&mut self) {
        let Some(source) = self.source.as_ref().filter(|_| self.pending.is_empty()) else {
            return;
        };
        let capacity = fcntl(source, FcntlArg::F_GETPIPE_SZ)
            .ok()
            .and_then(|size| usize::try_from(size).ok());
        if self.quiet || self.since_end >= capacity.unwrap_or(0) {
            self.held_open = true;
            self.source = None;
        }
    }

    /// Everything has been read and passed on.
    pub(super) fn is_done(&self) -> bool {
        self.source.is_none() && self.pending.is_empty()
    }

    /// Something has been read that nobody takes.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn held_open(&self) -> bool {
        self.held_open
    }

    /// What to poll for.
    pub(super) fn poll_fd(&self) -> Option<PollFd<'_>> {
        match &self.source {
            _ if self.is_waiting() => Some(self.sink.poll_fd()),
            Some(source) => Some(PollFd::new(source.as_fd(), PollFlags::POLLIN)),
            None => None,
        }
    }
}

/// Waits until one of `fds` is ready, or until `until`. May return early.
pub(super) fn wait(fds: &mut [PollFd<'_>], until: Option<Instant>) {
    let timeout = until.map(|until| {
        let micros = until.saturating_duration_since(Instant::now()).as_micros();
        PollTimeout::try_from(micros.div_ceil(1000)).unwrap_or(PollTimeout::MAX)
    });
    // EINTR and spurious ends are all the same to the callers: they look at everything again.
    let _ = poll(fds, timeout);
}

/// A descriptor to read from.
pub(super) fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}
