//! Whether contextd runs: chromem-go locks nothing, so only the kernel knows.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::{Error, Kind, Result};

/// Processes of contextd that belong to this user or to the owner of `store`, by number. `processes` is where the kernel shows
/// them; those that it hides are not seen.
pub(super) fn contextd(processes: &Path, store: &Path) -> Result<Vec<u32>> {
    let owner = store.metadata().ok().map(|data| data.uid());
    let us = rustix::process::geteuid().as_raw();
    let Ok(list) = fs::read_dir(processes) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for item in list.flatten() {
        let number = item.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let (Some(number), Ok(data)) = (number, item.metadata()) else { continue };
        let ours = data.uid() == us || Some(data.uid()) == owner;
        let named = || fs::read(item.path().join("comm")).is_ok_and(|name| name.trim_ascii_end() == b"contextd");
        // One that has ended and waits for its parent writes nothing.
        let ended = || fs::read_to_string(item.path().join("stat")).is_ok_and(|stat| stat.contains(") Z "));
        if ours && named() && !ended() {
            found.push(number);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Which they are, in words.
pub(super) fn told(running: &[u32]) -> String {
    let numbers: Vec<_> = running.iter().map(u32::to_string).collect();
    format!("runs as process {}", numbers.join(", "))
}

/// An error if there are any.
pub(super) fn refuse(running: &[u32]) -> Result<()> {
    if running.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Locked, format!("contextd {} and keeps all collections in memory", told(running)))
        .hint("stop it first, and start it afterwards"))
}
