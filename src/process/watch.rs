//! The thread that watches one child: it drains standard error, keeps the limits, and alone ends and reaps the child.
//!
//! The process group may be signalled safely as long as its leader was not reaped: until then nobody else gets its number.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process_group, pidfd_open, waitpid};

use super::ended::{Cut, End};
use super::redact::Tail;
use crate::error::{Context as _, Result};
use crate::threads::{lock, start_detached};

/// How long a child may take to end after SIGTERM before it gets SIGKILL, and what it started may keep its output open
/// after it ended.
const GRACE: Duration = Duration::from_secs(5);
/// The same when nobody wants it any more: somebody waits for the end.
const GRACE_UNWANTED: Duration = Duration::from_secs(1);
/// After SIGKILL; a process that hangs in the kernel can take forever.
const GRACE_KILLED: Duration = Duration::from_secs(5);

/// What our side does with the child's standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Feeding {
    /// It is closed, or there never was one.
    Closed = 0,
    /// The child waits for us.
    WaitsForUs = 1,
    /// We wait for the child to take something.
    WaitsForIt = 2,
}

/// How long a child may live.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) timeout: Option<Duration>,
    pub(super) silence: Option<Duration>,
}

/// What the watching thread and the one that reads and writes know of each other.
#[derive(Debug)]
pub(super) struct Shared {
    began: Instant,
    /// Milliseconds after `began` when the child last wrote or took something.
    alive_at: AtomicU64,
    feeding: AtomicU8,
    is_cut: AtomicBool,
    end: Mutex<Option<End>>,
    ended: Condvar,
    pub(super) tail: Mutex<Tail>,
}

impl Shared {
    /// The child wrote or took something.
    pub(super) fn is_alive(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.alive_at.store(now, Ordering::Relaxed);
    }

    pub(super) fn set_feeding(&self, feeding: Feeding) {
        self.feeding.store(feeding as u8, Ordering::Relaxed);
    }

    /// Whether the child is being stopped, or was.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) -> Option<End> {
        *lock(&self.end)
    }

    /// Waits up to `limit` for the end.
    pub(super) fn wait_end(&self, limit: Duration) -> Option<End> {
        let end = lock(&self.end);
        let (end, _) =
            self.ended.wait_timeout_while(end, limit, |end| end.is_none()).unwrap_or_else(PoisonError::into_inner);
        *end
    }

    fn last_sign(&self) -> Instant {
        self.began + Duration::from_millis(self.alive_at.load(Ordering::Relaxed))
    }
}

/// A child that is watched; dropped, it is ended, and all of its group.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) shared: Arc<Shared>,
    #[cfg(test)]
    pub(super) group: Pid,
    /// Closed to tell the thread that nobody wants the child any more.
    wanted: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Watched {
    /// Starts to watch. `stdout` is only looked at; a reader shares it.
    pub(super) fn start(mut child: Child, stdout: Option<Arc<File>>, limits: Limits) -> Result<Self> {
        const DOING: &str = "cannot watch a child process";
        let shared = Arc::new(Shared {
            began: Instant::now(),
            alive_at: AtomicU64::new(0),
            feeding: AtomicU8::new(Feeding::Closed as u8),
            is_cut: AtomicBool::new(false),
            end: Mutex::new(None),
            ended: Condvar::new(),
            tail: Mutex::default(),
        });
        let group = Pid::from_child(&child);
        let stderr = child.stderr.take().map(|stderr| File::from(OwnedFd::from(stderr)));
        let started = pidfd_open(group, PidfdFlags::empty()).doing(DOING).and_then(|pidfd| {
            let (unwanted, wanted) = std::io::pipe().doing(DOING)?;
            let watch = Watch { child, group, pidfd, stderr, stdout, unwanted, limits, shared: Arc::clone(&shared) };
            Ok((wanted, start_detached("watch", move || watch.run())?))
        });
        match started {
            Ok((wanted, thread)) => Ok(Self {
                shared,
                #[cfg(test)]
                group,
                wanted: Some(wanted),
                thread: Some(thread),
            }),
            Err(error) => {
                // Nobody watches it, so it must not run.
                signal(group, Signal::KILL);
                waitpid(Some(group), WaitOptions::empty()).ok();
                Err(error)
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.wanted = None;
        // The thread ends in bounded time; that it panicked is not told twice.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// A group that is gone is what is wanted.
fn signal(group: Pid, signal: Signal) {
    kill_process_group(group, signal).ok();
}

struct Watch {
    child: Child,
    group: Pid,
    pidfd: OwnedFd,
    stderr: Option<File>,
    stdout: Option<Arc<File>>,
    unwanted: PipeReader,
    limits: Limits,
    shared: Arc<Shared>,
}

/// How far the end is.
#[derive(Clone, Copy)]
enum Stage {
    Running,
    /// SIGTERM was sent; SIGKILL follows then.
    Asked(Instant),
    /// SIGKILL was sent; given up then.
    Killed(Instant),
    /// It ended by itself; what it started may go on until then.
    Ended(Instant),
}

/// What one look found.
#[derive(Default)]
struct Seen {
    /// The child ended.
    ended: bool,
    /// Nobody has its standard output open for writing.
    closed: bool,
    /// Nobody wants it any more.
    unwanted: bool,
    /// There is something on standard error, or its end.
    said: bool,
}

impl Watch {
    fn run(mut self) {
        let mut cut = None;
        let mut held_open = false;
        let mut stage = Stage::Running;
        loop {
            let seen = self.look(stage, cut.is_none());
            if seen.said {
                self.take_stderr();
            }
            if seen.ended {
                if cut.is_some() {
                    break;
                }
                stage = Stage::Ended(Instant::now() + GRACE);
            }
            if seen.unwanted {
                cut = Some(Cut::Unwanted);
                stage = if matches!(stage, Stage::Ended(_)) { break } else { self.ask(GRACE_UNWANTED) };
            }
            let now = Instant::now();
            match stage {
                Stage::Running => {
                    cut = self.over(now);
                    if cut.is_some() {
                        stage = self.ask(GRACE);
                    }
                }
                Stage::Asked(until) if now >= until => {
                    signal(self.group, Signal::KILL);
                    stage = Stage::Killed(now + GRACE_KILLED);
                }
                Stage::Killed(until) if now >= until => return self.tell(End { status: None, cut, held_open }),
                Stage::Ended(_) if self.stderr.is_none() && (self.stdout.is_none() || seen.closed) => break,
                Stage::Ended(until) if now >= until => {
                    held_open = self.stdout.is_some() && !seen.closed;
                    break;
                }
                _ => {}
            }
        }
        if cut.is_some() || held_open {
            // The leader is a zombie still, so the group is ours; nothing of it stays.
            signal(self.group, Signal::KILL);
        }
        let status = self.child.wait().ok();
        self.tell(End { status, cut, held_open });
    }

    /// Waits for the next thing to happen.
    fn look(&self, stage: Stage, is_wanted: bool) -> Seen {
        let is_ended = matches!(stage, Stage::Ended(_));
        let mut fds = Vec::with_capacity(4);
        fn ask<'f>(fds: &mut Vec<PollFd<'f>>, fd: Option<BorrowedFd<'f>>, events: PollFlags) -> Option<usize> {
            fds.push(PollFd::from_borrowed_fd(fd?, events));
            Some(fds.len() - 1)
        }
        let none = PollFlags::empty();
        let ended = ask(&mut fds, (!is_ended).then(|| self.pidfd.as_fd()), PollFlags::IN);
        let unwanted = ask(&mut fds, is_wanted.then(|| self.unwanted.as_fd()), none);
        let said = ask(&mut fds, self.stderr.as_ref().map(File::as_fd), PollFlags::IN);
        // That all writers have closed it is told without being asked for.
        let stdout = self.stdout.as_deref().filter(|_| is_ended);
        let closed = ask(&mut fds, stdout.map(File::as_fd), none);
        let until = match stage {
            Stage::Running => self.next_limit(),
            Stage::Asked(until) | Stage::Killed(until) | Stage::Ended(until) => Some(until),
        };
        let wait = until.and_then(|until| Timespec::try_from(until.saturating_duration_since(Instant::now())).ok());
        // Interrupted or not: what was not seen now is seen at the next look.
        if poll(&mut fds, wait.as_ref()).is_err() {
            return Seen::default();
        }
        let is = |at: Option<usize>| at.is_some_and(|at| !fds[at].revents().is_empty());
        Seen { ended: is(ended), closed: is(closed), unwanted: is(unwanted), said: is(said) }
    }

    /// When a limit could be broken next.
    fn next_limit(&self) -> Option<Instant> {
        let timeout = self.limits.timeout.and_then(|limit| self.shared.began.checked_add(limit));
        let silence = self.limits.silence.and_then(|limit| self.shared.last_sign().checked_add(limit));
        [timeout, silence].into_iter().flatten().min()
    }

    /// The limit that is broken now.
    fn over(&self, now: Instant) -> Option<Cut> {
        let is_over = |since: Instant, limit: &Duration| now.saturating_duration_since(since) >= *limit;
        if let Some(limit) = self.limits.timeout.filter(|limit| is_over(self.shared.began, limit)) {
            return Some(Cut::Timeout(limit));
        }
        let limit = self.limits.silence.filter(|limit| is_over(self.shared.last_sign(), limit))?;
        // A child that waits for us is not silent.
        let unread = self.stdout.as_ref().is_some_and(|stdout| ioctl_fionread(stdout).is_ok_and(|bytes| bytes > 0));
        if unread || self.shared.feeding.load(Ordering::Relaxed) == Feeding::WaitsForUs as u8 {
            self.shared.is_alive();
            return None;
        }
        Some(Cut::Silence(limit))
    }

    /// Asks the group to end. One that was stopped would not hear it.
    fn ask(&self, grace: Duration) -> Stage {
        self.shared.is_cut.store(true, Ordering::Relaxed);
        signal(self.group, Signal::TERM);
        signal(self.group, Signal::CONT);
        Stage::Asked(Instant::now() + grace)
    }

    fn take_stderr(&mut self) {
        let mut buffer = [0; 8192];
        match self.stderr.as_mut().map(|stderr| stderr.read(&mut buffer)) {
            Some(Ok(length)) if length > 0 => lock(&self.shared.tail).push(&buffer[..length]),
            Some(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            _ => self.stderr = None,
        }
    }

    fn tell(&self, end: End) {
        *lock(&self.shared.end) = Some(end);
        self.shared.ended.notify_all();
    }
}
