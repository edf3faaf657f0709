//! Names and texts as other programs read them: identifiers and literals of SQL, connection strings, file names.

use crate::error::{Error, Result};

/// Longest name of a database, role or table, in bytes, as servers are built everywhere.
pub(super) const MAX_NAME_BYTES: usize = 63;

/// `"name"`.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`, with `standard_conforming_strings` on or off.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// `key='value'` of a connection string.
pub(super) fn setting(key: &str, value: &str) -> String {
    format!("{key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A line of a password file that fits every host and database.
pub(super) fn password_line(password: &[u8]) -> Result<Vec<u8>> {
    if password.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
        return Err(Error::usage("the password has a line feed or a NUL byte, which a password file cannot hold"));
    }
    let mut line = b"*:*:*:*:".to_vec();
    for byte in password {
        if matches!(byte, b':' | b'\\') {
            line.push(b'\\');
        }
        line.push(*byte);
    }
    line.push(b'\n');
    Ok(line)
}

/// The name of a database as a part of a path: letters, digits, `_`, `-`, `.` and what is not ASCII stay, other bytes are
/// `%XX`. So is a leading dot. No two names become one.
pub(super) fn file_stem(name: &str) -> String {
    let mut stem = String::with_capacity(name.len());
    for (at, c) in name.char_indices() {
        let plain = !c.is_ascii() || c.is_ascii_alphanumeric() || "_-".contains(c) || (c == '.' && at > 0);
        if plain {
            stem.push(c);
        } else {
            stem.push_str(&format!("%{:02X}", u32::from(c)));
        }
    }
    stem
}

#[cfg(test)]
/// The name that [`file_stem`] was given; none when it was not.
fn name_of_stem(stem: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(stem.len());
    let mut rest = stem.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let (hex, after) = tail.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (file_stem(&name) == stem).then_some(name)
}

/// A name like `name` with `suffix` behind it, short enough for a server.
pub(super) fn with_suffix(name: &str, suffix: &str) -> String {
    let mut end = name.len().min(MAX_NAME_BYTES.saturating_sub(suffix.len()));
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", name.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_stay_what_they_are() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(setting("dbname", "a'b\\c = x"), "dbname='a\\'b\\\\c = x'");
        assert_eq!(password_line(b"a:b\\c").unwrap(), b"*:*:*:*:a\\:b\\\\c\n");
        assert!(password_line(b"a\nb").is_err());
    }

    #[test]
    fn every_name_of_a_database_has_a_file_name_of_its_own() {
        for name in
            ["app", "a/b", "..", ".", ".hidden", "a b", "%2F", "\u{fc}n\u{ef} \"db\" x", "a\nb", "CON", "a.b", "~"]
        {
            let stem = file_stem(name);
            assert!(!stem.contains(['/', '\n', '"', ' ']) && !stem.starts_with('.'), "{stem}");
            assert_eq!(name_of_stem(&stem).as_deref(), Some(name));
        }
        for bad in ["a b", "%2", "%zz", "%61", "%2f", "."] {
            assert_eq!(name_of_stem(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let long = "\u{fc}".repeat(31);
        let name = with_suffix(&long, "_ccbackup_new");
        assert!(name.len() <= MAX_NAME_BYTES && name.ends_with("_ccbackup_new"), "{name}");
        assert_eq!(with_suffix("app", "_x"), "app_x");
    }
}
