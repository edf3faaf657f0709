//! Tar members: POSIX pax headers over ustar, as GNU tar 1.34, bsdtar and Python read them (FORMAT.md §5).
//!
//! [`write_member_header`] writes what comes before a member's content, [`parse_member`] reads it back, from our own
//! archives and from those of others. Only header blocks pass through here; content is the caller's business.
//!
//! Invariant: the same entry always gives the same bytes, and what was written is read back without a difference.
//! Every byte that is read is untrusted: lengths are checked before anything is allocated or believed.

mod block;
mod field;
mod member;
mod pax;
mod reader;
mod sparse;
#[cfg(test)]
mod tests;
mod writer;

pub use crate::model::{MAX_PAX_BYTES, MAX_REGIONS};
pub use block::{BLOCK, END, PIECES_DIR, padding};
pub use member::{Member, MemberKind};
pub use pax::can_hold_xattr;
pub use reader::{Scan, parse_member, scan_member};
pub use sparse::align_regions;
pub use writer::{write_member_header, write_piece_header};
