//! Values as TOML writes them.

use std::fmt::Write as _;
use std::time::Duration;

use crate::secret::SecretRef;

/// A TOML list of strings.
pub(in crate::config) fn list<'t>(items: impl Iterator<Item = &'t str>) -> String {
    format!("[{}]", items.map(quote).collect::<Vec<_>>().join(", "))
}

/// A TOML basic string.
pub(in crate::config) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => drop(write!(out, "\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A reference to a secret.
pub(in crate::config) fn reference_text(reference: &SecretRef) -> String {
    match reference {
        SecretRef::File(path) => format!("{{ file = {} }}", quote(&path.to_string_lossy())),
        SecretRef::Env(name) => format!("{{ env = {} }}", quote(name)),
        SecretRef::Vault { path, field } => format!("{{ vault = {} }}", quote(&format!("{path}#{field}"))),
        SecretRef::Command(argv) => format!("{{ command = {} }}", list(argv.iter().map(String::as_str))),
    }
}

/// A time in its largest whole unit, as `values::parse_duration` reads it.
pub(in crate::config) fn duration_text(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(length, _)| seconds > 0 && seconds.is_multiple_of(*length));
    let (length, name) = unit.unwrap_or((1, "s"));
    quote(&format!("{}{name}", seconds / length))
}
