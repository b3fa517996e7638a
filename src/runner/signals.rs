//! Signals as something to poll for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// Forwarded to the command's process group.
const FORWARDED: [Signal; 7] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Signals that mean the end: container runtimes send SIGTERM, an image may name SIGINT instead. SIGQUIT is no
/// such signal, since a Java machine answers it with a list of its threads and goes on.
pub(super) fn is_stop(signal: Signal) -> bool {
    matches!(signal, Signal::SIGTERM | Signal::SIGINT)
}

/// Handlers for all [`FORWARDED`] signals and SIGCHLD.
///
/// A handler rather than a blocked mask with a signalfd: a started command inherits the mask, and nothing could
/// lift it there without unsafe code, whereas handlers become the default again by themselves.
pub(super) struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let signals = FORWARDED
            .into_iter()
            .chain([Signal::SIGCHLD])
            .map(|signal| signal as i32);
        SignalDelivery::with_pipe(read, write, SignalOnly, signals).map(Self)
    }

    /// The signals to forward that arrived since the last call. Never blocks.
    pub(super) fn take(&mut self) -> Vec<Signal> {
        let arrived = self
            .0
            .pending()
            .filter_map(|number| Signal::try_from(number).ok());
        arrived.filter(|signal| *signal != Signal::SIGCHLD).collect()
    }
}

impl AsFd for Signals {
    /// Readable when a signal has arrived.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}
