//! Text for people: escaping, sizes and tables.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io;
use std::path::Path;

/// Makes text from outside harmless on a terminal: control characters, line breaks among them, and characters that
/// turn or hide text are written as escapes.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    escape(text, false)
}

/// As [`shown`], but line breaks stay.
pub(super) fn shown_lines(text: &str) -> Cow<'_, str> {
    escape(text, true)
}

fn escape(text: &str, keep_lines: bool) -> Cow<'_, str> {
    let fine = |c: char| !is_dangerous(c) || (keep_lines && c == '\n');
    if text.chars().all(fine) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if fine(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii() => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    Cow::Owned(out)
}

fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A path in a JSON document: C-escaped like all others, so that any bytes survive.
pub(crate) fn escaped(path: &Path) -> String {
    crate::model::escape_path(path.as_os_str().as_encoded_bytes()).into_owned()
}

/// Bytes in binary units with one decimal: `0 B`, `1023 B`, `1.3 GiB`.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths of the unit, rounded; the next unit is taken where rounding would give 1024.0.
    let tenths = |unit: usize| (u128::from(bytes) * 10 + (1_u128 << (10 * unit + 9))) >> (10 * (unit + 1));
    let unit = (0..UNITS.len()).find(|&unit| tenths(unit) < 10_240).unwrap_or(UNITS.len() - 1);
    format!("{}.{} {}", tenths(unit) / 10, tenths(unit) % 10, UNITS[unit])
}

/// Aligned columns, two spaces apart, without lines and without spaces at the end. Cells are made harmless.
#[derive(Clone, Debug)]
pub struct Table {
    /// Whether a column leans to the right.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading; columns of numbers have `>` before their names and lean to the right.
    #[must_use]
    pub fn new(columns: &[&str]) -> Self {
        let heading = columns.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
        Self { right: columns.iter().map(|name| name.starts_with('>')).collect(), rows: vec![heading] }
    }

    /// Adds a row; cells beyond the columns are dropped, missing ones are empty.
    pub fn row(&mut self, cells: &[&dyn Display]) {
        let mut row: Vec<String> = cells.iter().map(|cell| shown(&cell.to_string()).into_owned()).collect();
        row.resize(self.right.len(), String::new());
        self.rows.push(row);
    }

    /// Writes all rows, the heading first.
    pub fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, right), width) in row.iter().zip(&self.right).zip(&widths) {
                line += &if *right { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_drive_a_terminal() {
        assert_eq!(shown("plain é 日本"), "plain é 日本");
        assert!(matches!(shown("plain"), Cow::Borrowed(_)));
        assert_eq!(shown("a\x1b[31mb\n\r\t\u{7f}\u{9b}"), "a\\x1b[31mb\\n\\r\\t\\x7f\\u{9b}");
        assert_eq!(shown("exe\u{202e}txt\u{2066}\u{200b}\u{feff}"), "exe\\u{202e}txt\\u{2066}\\u{200b}\\u{feff}");
        assert_eq!(shown_lines("a\nb\x07"), "a\nb\\x07");
    }

    #[test]
    fn sizes_have_binary_units_and_one_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (1, "1 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_048_576, "1.0 MiB"),
            (1_395_864_371, "1.3 GiB"),
            (1 << 50, "1.0 PiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }

    #[test]
    fn tables_are_aligned_and_end_without_spaces() {
        let mut table = Table::new(&["ID", ">SIZE", "NOTE"]);
        table.row(&[&"20260117-143000", &"1.3 GiB", &""]);
        table.row(&[&"é\x1b", &"10 B"]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let expected = "ID                  SIZE  NOTE\n20260117-143000  1.3 GiB\né\\x1b               10 B\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
