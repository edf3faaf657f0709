//! The block of 512 bytes that tar streams are made of, and names that archives use themselves (FORMAT.md §5).

/// Size of a tar block in bytes.
pub const BLOCK: usize = 512;
/// Folder of the members that hold pieces of files; no inventory lists it.
pub const PIECES_DIR: &str = ".ccbackup-pieces";
/// The two empty blocks that end a tar stream.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Number of zero bytes that follow `length` bytes of content, up to the next block.
#[must_use]
pub fn padding(length: u64) -> usize {
    // The remainder is below BLOCK.
    (BLOCK - usize::try_from(length % BLOCK as u64).unwrap_or(0)) % BLOCK
}

/// Raw bytes for a message: escaped, quoted, not too long.
pub(super) fn shown(bytes: &[u8]) -> String {
    let dots = if bytes.len() > 256 { "…" } else { "" };
    format!("\"{}\"{dots}", bytes[..bytes.len().min(256)].escape_ascii())
}
