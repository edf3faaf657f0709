//! The folder in which contextd keeps its vectors: files of chromem-go, read and judged without it.
//!
//! Nothing here opens a file: names and bytes come from whoever has them, a folder or a backup, so that both are judged
//! by the same code. No bytes of a store are believed: each length is held against what is there.

mod collection;
mod document;
mod encode;
mod gob;
mod inventory;
mod store;

pub use collection::{Collection, DocumentFacts, FileFacts, Health, QUARANTINE, Reason, Role, hash_of_name};
pub use document::{Document, MAX_FILE_BYTES, Metadata, Unreadable};
pub use encode::{document_bytes, metadata_bytes};
pub use inventory::{INVENTORY_NAME, Inventory, UnreadableFile};
pub use store::Store;
