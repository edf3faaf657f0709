//! Index lines from anywhere: what is accepted is written in one form, and that form is read back as the same entry.
#![no_main]

use ccbackup::model::{Entry, EntryKind, EntryPath};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let Ok(entry) = Entry::parse_line(line) else { return };
    let mut canonical = Vec::new();
    entry.write_line(&mut canonical);
    assert_eq!(canonical.iter().filter(|&&b| b == b'\n').count(), 1, "one entry is one line");
    assert!(canonical.ends_with(b"}\n"));
    // Nothing was read in another form than the one that is written; keys of later writers may stand behind.
    assert!(line.starts_with(canonical.strip_suffix(b"}\n").expect("an object")));
    let again = Entry::parse_line(&canonical).expect("own lines are read");
    assert_eq!(again, entry);
    let mut twice = Vec::new();
    again.write_line(&mut twice);
    assert_eq!(twice, canonical);

    // What restores rely on.
    assert!(EntryPath::new(entry.path.as_bytes()).is_ok());
    assert!(entry.mode <= 0o7777);
    if let EntryKind::File { size, extents, regions, chunks, .. } = &entry.kind {
        let stored = extents.iter().try_fold(0_u64, |sum, e| sum.checked_add(e.length)).expect("extents add up");
        assert_eq!(stored, regions.as_ref().map_or(*size, |r| r.iter().map(|r| r.1).sum()));
        assert!(chunks.is_empty() || chunks.iter().map(|c| c.length).sum::<u64>() == stored);
    }
});
