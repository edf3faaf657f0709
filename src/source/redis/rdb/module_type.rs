//! Names of the types that modules bring.

/// The name of a type of a module, of what begins with its id in the form of lengths: nine letters of six bits each, then ten bits of
/// version.
pub(in crate::source::redis) fn type_name(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let id = match bytes {
        [0x81, id @ ..] => id.first_chunk().map_or(0, |id| u64::from_be_bytes(*id)),
        // Shorter forms hold no name.
        _ => 0,
    };
    let letter = |at: u32| char::from(LETTERS[(id >> (10 + 6 * at)) as usize & 63]);
    (0..9).rev().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_type_is_read_from_its_id() {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let number = |letter: u8| letters.iter().position(|other| *other == letter).unwrap() as u64;
        let id = b"ReJSON-RL".iter().fold(0, |id, letter| id << 6 | number(*letter)) << 10 | 3;
        let mut bytes = vec![0x81];
        bytes.extend_from_slice(&id.to_be_bytes());
        assert_eq!(type_name(&bytes), "ReJSON-RL");
        assert_eq!(type_name(&bytes[..4]), "AAAAAAAAA", "no bytes make it panic");
        assert_eq!(type_name(&[]), "AAAAAAAAA");
    }
}
