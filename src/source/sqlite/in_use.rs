//! Which processes have a database open.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::locks::{holder, holder_of_shm};

/// Words for the processes that have the file at `path` open, or locked as SQLite does; none when nobody has as far as this
/// user can see: descriptors of other users are seen by root alone, locks by all.
pub(crate) fn users_of(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let mut pids: BTreeSet<i32> = holder(&file).into_iter().chain(holder_of_shm(path)).collect();
    drop(file);
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    pids.extend(open_in((metadata.dev(), metadata.ino())));
    pids.remove(&own);
    if pids.is_empty() {
        return None;
    }
    let name = |pid: &i32| match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{} (process {pid})", name.trim_end()),
        Err(_) => "a process that cannot be seen from here".to_owned(),
    };
    Some(pids.iter().map(name).collect::<Vec<_>>().join(", "))
}

fn open_in(file: (u64, u64)) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let has_it_open = |pid: &i32| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        descriptors.flatten().any(|fd| fs::metadata(fd.path()).is_ok_and(|m| (m.dev(), m.ino()) == file))
    };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(has_it_open).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of tests need not last")]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_has_the_file_open_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        fs::write(&path, "").unwrap();
        assert_eq!(users_of(&path), None);
        let mut other = Command::new("sleep").arg("30").stdin(Stdio::from(File::open(&path).unwrap())).spawn().unwrap();
        let users = users_of(&path);
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(users, Some(format!("sleep (process {})", other.id())));
    }
}
