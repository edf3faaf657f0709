//! Which processes use a folder: a server that does not answer where it was expected may still run in it.
//!
//! Folders and files are known by device and number, so a server in a container, which sees other paths, is found too.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::{Context as _, Result};

/// A device and the number of a file on it.
type Id = (u64, u64);

/// Words for the processes, other than this one, that work in `folder` or have a file of it open; none when nobody does as far as
/// this user can see: those of other users are seen by root alone.
pub(super) fn users_of(folder: &Path) -> Result<Option<String>> {
    let root = folder.metadata().at("cannot stat", folder)?;
    let root = (root.dev(), root.ino());
    let mut files = BTreeSet::from([root]);
    // Append-only files lie one folder deeper.
    collect(folder, 1, &mut files)?;
    let Ok(processes) = fs::read_dir("/proc") else { return Ok(None) };
    let own = std::process::id();
    let pids = processes.flatten().filter_map(|item| item.file_name().to_str()?.parse::<u32>().ok());
    let users: BTreeSet<u32> = pids.filter(|pid| *pid != own && uses(*pid, root, &files)).collect();
    let name = |pid: &u32| match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{} (process {pid})", name.trim_end()),
        Err(_) => format!("process {pid}"),
    };
    Ok((!users.is_empty()).then(|| users.iter().map(name).collect::<Vec<_>>().join(", ")))
}

fn collect(folder: &Path, deeper: u32, files: &mut BTreeSet<Id>) -> Result<()> {
    for item in folder.read_dir().at("cannot list", folder)? {
        let item = item.at("cannot list", folder)?;
        // What went away meanwhile is used by nobody.
        let Ok(meta) = item.metadata() else { continue };
        files.insert((meta.dev(), meta.ino()));
        if meta.is_dir() && deeper > 0 {
            collect(&item.path(), deeper - 1, files)?;
        }
    }
    Ok(())
}

fn uses(pid: u32, folder: Id, files: &BTreeSet<Id>) -> bool {
    let id = |path: &Path| path.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    if id(Path::new(&format!("/proc/{pid}/cwd"))) == Some(folder) {
        return true;
    }
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten().any(|item| {
        // Sockets and pipes have no path.
        let is_file = fs::read_link(item.path()).is_ok_and(|target| target.is_absolute());
        is_file && id(&item.path()).is_some_and(|id| files.contains(&id))
    })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of tests need not last")]
mod tests {
    use std::fs::File;
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn named_while(folder: &Path, mut other: Child) {
        // Its folder is changed just before it becomes what it is to be.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let expected = format!("sleep (process {})", other.id());
        let mut users = users_of(folder).unwrap();
        while users.as_ref() != Some(&expected) && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(10));
            users = users_of(folder).unwrap();
        }
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(users, Some(expected));
        assert_eq!(users_of(folder).unwrap(), None);
    }

    #[test]
    fn a_process_that_works_in_the_folder_or_has_a_file_of_it_open_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(users_of(dir.path()).unwrap(), None);
        let sleep = || {
            let mut command = Command::new("sleep");
            command.arg("30").stdin(Stdio::null());
            command
        };
        named_while(dir.path(), sleep().current_dir(dir.path()).spawn().unwrap());
        let deeper = dir.path().join("appendonlydir");
        fs::create_dir(&deeper).unwrap();
        let path = deeper.join("appendonly.aof.1.incr.aof");
        fs::write(&path, "").unwrap();
        named_while(dir.path(), sleep().stdin(Stdio::from(File::open(&path).unwrap())).spawn().unwrap());
        assert!(users_of(&dir.path().join("nowhere")).is_err());
    }
}
