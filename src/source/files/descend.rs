//! Ways down that follow no link: a step, a path of any length, and the opening of what was reached. A walk and a
//! destination both go down by these.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, retry_on_intr};
use rustix::path::Arg;

/// How a folder is opened through which something is reached.
pub(super) const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Longest path that one system call takes, without its NUL.
const MAX_CALL_BYTES: usize = 4095;

/// How often a path is tried that somebody renames meanwhile.
const RENAME_TRIES: u32 = 4;

/// How often and how long an open is tried again while another program gives up its lease on the file.
const LEASE_TRIES: u32 = 40;
const LEASE_PAUSE: Duration = Duration::from_millis(50);

/// Opens the folder `name` in `parent`.
pub(super) fn step(parent: impl AsFd, name: impl Arg + Copy) -> Result<OwnedFd, Errno> {
    let parent = parent.as_fd();
    retry_on_intr(|| openat(parent, name, FOLDER, Mode::empty()))
}

/// Opens `name` for reading, without following a link and without blocking on a pipe or a lease. With
/// [`OFlags::NOATIME`] its access time stays where that is allowed, which it is to an owner.
pub(super) fn open_to_read(folder: impl AsFd, name: impl Arg + Copy, flags: OFlags) -> Result<OwnedFd, Errno> {
    let folder = folder.as_fd();
    let careful = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = |flags: OFlags| retry_on_intr(|| openat(folder, name, careful | flags, Mode::empty()));
    let mut tries = 0;
    loop {
        let opened = match open(flags) {
            Err(Errno::PERM) if flags.contains(OFlags::NOATIME) => open(flags - OFlags::NOATIME),
            opened => opened,
        };
        if opened.as_ref().err() != Some(&Errno::AGAIN) || tries == LEASE_TRIES {
            return opened;
        }
        tries += 1;
        std::thread::sleep(LEASE_PAUSE);
    }
}

/// Goes down whole paths.
pub(super) struct Descent {
    /// Cleared when the kernel, or a filter before it, does not know `openat2`.
    pub(super) openat2: AtomicBool,
}

impl Default for Descent {
    fn default() -> Self {
        Self { openat2: AtomicBool::new(true) }
    }
}

impl Descent {
    /// Opens the folder at `path` beneath `root`, for reaching what is in it; the empty path is `root` itself.
    pub(super) fn open(&self, root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
        if path.is_empty() {
            return step(root, c".");
        }
        let (piece, mut rest) = split_at_limit(path);
        let mut here = self.beneath(root, piece)?;
        while !rest.is_empty() {
            let (piece, tail) = split_at_limit(rest);
            (here, rest) = (self.beneath(here, piece)?, tail);
        }
        Ok(here)
    }

    /// By one call where the kernel can do that, otherwise step by step.
    fn beneath(&self, root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
        if self.openat2.load(Ordering::Relaxed) {
            let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            for _ in 0..RENAME_TRIES {
                match openat2(root.as_fd(), path, FOLDER, Mode::empty(), how) {
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(Errno::NOSYS | Errno::PERM | Errno::TOOBIG | Errno::INVAL) => {
                        self.openat2.store(false, Ordering::Relaxed);
                        break;
                    }
                    result => return result,
                }
            }
        }
        let mut here: Option<OwnedFd> = None;
        for name in path.split(|&b| b == b'/') {
            // A path that was checked has none of these; one that leads upwards must never get here.
            if matches!(name, b"" | b"." | b"..") {
                return Err(Errno::INVAL);
            }
            let parent = here.as_ref().map_or(root.as_fd(), AsFd::as_fd);
            here = Some(step(parent, name)?);
        }
        here.ok_or(Errno::INVAL)
    }
}

/// The longest start of `path` that one call takes and that ends before a slash, and what follows that slash.
fn split_at_limit(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= MAX_CALL_BYTES {
        return (path, &[]);
    }
    match path[..=MAX_CALL_BYTES].iter().rposition(|&b| b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, &[]),
    }
}
