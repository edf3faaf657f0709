//! A child and our ends of its pipes, moved by one thread: what is to be written goes out while what was written comes in,
//! so that neither side ever waits for the other.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::ended::{Judge, verdict};
use super::private_file::PrivateFile;
use super::watch::{Feeding, Watched};
use crate::error::{Context as _, Error, Result};
use crate::monitor::Monitor;
use crate::secret::Hidden;
use crate::threads::lock;

/// How long one wait takes at most before the wish to stop is looked at.
const STEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// A child that runs.
pub(super) struct Running<'a> {
    pub(super) name: String,
    /// Ours is not blocking; the child's end is another.
    pub(super) stdin: Option<File>,
    /// None when it was closed or never wanted.
    pub(super) stdout: Option<Arc<File>>,
    pub(super) watched: Watched,
    pub(super) monitor: Option<&'a dyn Monitor>,
    pub(super) hidden: Hidden,
    pub(super) judge: Option<Arc<Judge>>,
    /// They must be there as long as the child is.
    pub(super) _files: Vec<Arc<PrivateFile>>,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    /// Bytes that the child's standard input took.
    pub(super) written: usize,
    /// Bytes of its standard output that are in the buffer now.
    pub(super) read: usize,
    /// There will be no more.
    pub(super) is_end: bool,
}

impl Running<'_> {
    /// Moves what can be moved: `input` out and something into `buffer`; waits until one of both succeeds or the output
    /// ended. Without `input` and with an empty `buffer` there is nothing to wait for.
    pub(super) fn step(&mut self, input: &[u8], buffer: &mut [u8]) -> Result<Moved> {
        loop {
            if let Some(monitor) = self.monitor {
                monitor.check()?;
            }
            let stdin = self.stdin.as_ref().filter(|_| !input.is_empty());
            let stdout = self.stdout.as_deref().filter(|_| !buffer.is_empty());
            if (stdin.is_none() && stdout.is_none()) || self.watched.shared.is_cut() {
                return Ok(Moved { is_end: true, ..Moved::default() });
            }
            if stdin.is_some() {
                self.watched.shared.set_feeding(Feeding::WaitsForIt);
            }
            // The end is asked for before the pipe: what comes in between is not lost.
            let has_ended = self.watched.shared.end().is_some();
            let (can_write, can_read) = ready(stdin, stdout, if has_ended { None } else { Some(&STEP) })?;
            if can_read && let Some(mut stdout) = stdout {
                match stdout.read(buffer) {
                    Ok(0) => self.stdout = None,
                    Ok(read) => {
                        self.watched.shared.is_alive();
                        if self.stdin.is_some() {
                            self.watched.shared.set_feeding(Feeding::WaitsForUs);
                        }
                        return Ok(Moved { read, ..Moved::default() });
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e).doing(format!("cannot read what {} writes", self.name)),
                }
            } else if has_ended && !can_write {
                // What is still open is held by somebody outside the group, who may never close it.
                self.stdout = None;
                self.close_stdin();
            }
            if can_write && let Some(mut stdin) = self.stdin.as_ref() {
                match stdin.write(input) {
                    Ok(written) => {
                        self.watched.shared.is_alive();
                        self.watched.shared.set_feeding(Feeding::WaitsForUs);
                        return Ok(Moved { written, ..Moved::default() });
                    }
                    Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                    // It takes no more; whether that is an error says its exit status.
                    Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                        self.close_stdin();
                        return Ok(Moved::default());
                    }
                    Err(e) => return Err(e).doing(format!("cannot write to {}", self.name)),
                }
            }
        }
    }

    /// The child sees the end of its input.
    pub(super) fn close_stdin(&mut self) {
        self.stdin = None;
        self.watched.shared.set_feeding(Feeding::Closed);
    }

    /// Waits for the end and judges it.
    pub(super) fn conclude(&mut self) -> Result<()> {
        self.close_stdin();
        let end = loop {
            if let Some(end) = self.watched.shared.wait_end(Duration::from_millis(200)) {
                break end;
            }
            if let Some(monitor) = self.monitor {
                monitor.check()?;
            }
        };
        verdict(&self.name, end, &self.stderr(), self.judge.as_deref())
    }

    /// The last part of its standard error so far, without secrets.
    pub(super) fn stderr(&self) -> String {
        lock(&self.watched.shared.tail).text(&self.hidden)
    }

    pub(super) fn too_much(&self, max: u64) -> Error {
        Error::failed(format!("{} wrote more than {max} bytes", self.name))
    }
}

/// Whether standard input takes and standard output has something, or its end; waits up to `wait`, or not at all.
fn ready(stdin: Option<&File>, stdout: Option<&File>, wait: Option<&Timespec>) -> Result<(bool, bool)> {
    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = Vec::with_capacity(2);
    fds.extend(stdin.map(|fd| PollFd::new(fd, PollFlags::OUT)));
    fds.extend(stdout.map(|fd| PollFd::new(fd, PollFlags::IN)));
    match poll(&mut fds, Some(wait.unwrap_or(&NOW))) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(e).doing("cannot wait for a child process"),
    }
    let is = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
    let (first, second) = (is(0), is(1));
    Ok(match (stdin.is_some(), stdout.is_some()) {
        (true, _) => (first, second),
        (false, _) => (false, first),
    })
}
