//! What the files of a store must look like.

use crate::model::EntryPath;
use crate::source::settled::{Fault, Judged, Reader, Settled};
use crate::vectorstore::{FileFacts, INVENTORY_NAME, MAX_FILE_BYTES, Role, Store, Unreadable};

/// Decodes every file.
#[derive(Debug)]
pub(super) struct StoreReader;

impl Reader for StoreReader {
    type Facts = FileFacts;

    const MAX_BYTES: u64 = MAX_FILE_BYTES;

    fn wanted(&self, _: &EntryPath, _: bool) -> bool {
        true
    }

    fn judge(&self, path: &EntryPath, bytes: &[u8]) -> Judged<FileFacts> {
        let facts = FileFacts::of(path.name(), Ok(bytes));
        // A file of somebody else that has no bytes is as good as any.
        Judged { whole: facts.fault().is_none(), facts }
    }

    fn unread(&self, path: &EntryPath, fault: Fault) -> FileFacts {
        let why = if fault == Fault::TooLarge { Unreadable::TooLarge } else { Unreadable::Unread };
        FileFacts::of(path.name(), Err(why))
    }
}

/// Judges a store by what is known of its files.
pub(super) fn judge(settled: &Settled<FileFacts>) -> Store {
    let files = settled.files.iter().map(|(path, known)| (path.as_bytes(), &known.facts));
    Store::judge(settled.folders.iter().map(EntryPath::as_bytes), files)
}

/// Whether a file has a name under which captures and restores by hand leave an inventory.
pub(super) fn is_inventory(path: &EntryPath) -> bool {
    path.name() == INVENTORY_NAME.as_bytes()
}

/// Whether chromem-go looks at it.
pub(super) fn is_of_chromem(path: &EntryPath) -> bool {
    Role::of(path.name()) != Role::Other
}
