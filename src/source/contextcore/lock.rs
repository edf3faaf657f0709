//! The locks of ContextCore: an empty file `<state file>.lock`, which writers lock alone and readers together.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::error::{Context as _, Error, Kind, Result, path_text};
use crate::model::EntryPath;
use crate::source::made;
use crate::source::settled::Root;

/// A writer holds its lock for the time of one small file.
const TRIES: u32 = 300;
const PAUSE: Duration = Duration::from_millis(10);

/// Keeps writers away from a state file while it is read. None where no writer ever was, because there is no lock; where it
/// cannot be had the file is watched as any other. A capture makes no files, so no lock either.
pub(super) fn shared(root: &Root, path: &EntryPath) -> Option<File> {
    let lock = EntryPath::new([path.as_bytes(), b".lock"].concat()).ok()?;
    let file = root.open_file(&lock).ok()?;
    wait(&file, FlockOperation::NonBlockingLockShared).ok().filter(|got| *got).map(|_| file)
}

/// Keeps readers and writers away from a state file while it is replaced.
pub(super) fn alone(file: &Path) -> Result<File> {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    let name = Path::new(&name);
    let lock = open(name)?;
    if wait(&lock, FlockOperation::NonBlockingLockExclusive).at("cannot lock", name)? {
        return Ok(lock);
    }
    Err(Error::new(Kind::Locked, format!("{} is locked by somebody else", path_text(file)))
        .hint("ContextCore holds it; stop it, or wait until it has written"))
}

/// Opens a lock, and makes it where it is missing: for whoever has the folder, who could not lock it else.
fn open(name: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true).truncate(false).mode(0o644);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    match options.clone().create_new(true).open(name) {
        Ok(made) => made::inherit_file(&made, name).map(|()| made),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            // It may be removed meanwhile.
            options.create(true).open(name).at("cannot open the lock", name)
        }
        Err(e) => Err(e).at("cannot make the lock", name),
    }
}

fn wait(lock: &File, how: FlockOperation) -> std::result::Result<bool, Errno> {
    for _ in 0..TRIES {
        match flock(lock, how) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
