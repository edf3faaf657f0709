//! Names of components.

/// Component names are file names: 1 to 64 lower-case letters, digits, `-`, `_`, starting with a letter or digit.
#[must_use]
pub fn is_component_name(name: &str) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| ok(b) || b == b'-' || b == b'_')
        && name.bytes().next().is_some_and(ok)
}
