//! The end of what a child wrote to standard error, without secrets.

use crate::secret::Hidden;

/// Bytes of standard error that are shown at most.
pub(super) const TAIL_MAX: usize = 8 * 1024;
/// Bytes that are kept before secrets are taken out.
const KEPT: usize = 4 * TAIL_MAX;

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > 2 * KEPT {
            self.bytes.drain(..self.bytes.len() - KEPT);
            self.cut = true;
        }
    }

    /// At most [`TAIL_MAX`] bytes of text from the end, whole lines where possible.
    pub(super) fn text(&self, hidden: &Hidden) -> String {
        let mut bytes = &self.bytes[..];
        if self.cut {
            // The first line lost its beginning, and with it maybe the half by which a secret would be known.
            let line = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1);
            bytes = &bytes[line.max(hidden.longest()).min(bytes.len())..];
        }
        let text = hidden.redact(&String::from_utf8_lossy(bytes));
        let text = text.trim_end();
        let mut from = text.len().saturating_sub(TAIL_MAX);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        match text[from..].find('\n') {
            Some(line) if from > 0 => text[from + line + 1..].to_owned(),
            _ => text[from..].to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn hidden(secrets: &[&str]) -> Hidden {
        let mut hidden = Hidden::default();
        secrets.iter().for_each(|secret| hidden.add(&Secret::new(*secret)));
        hidden
    }

    #[test]
    fn the_tail_is_bounded_and_starts_with_a_whole_line() {
        let mut tail = Tail::default();
        for n in 0..100_000 {
            tail.push(format!("line {n}\n").as_bytes());
        }
        let text = tail.text(&Hidden::default());
        assert!(text.len() <= TAIL_MAX && text.starts_with("line ") && text.ends_with("line 99999"), "{}", text.len());
    }

    #[test]
    fn no_half_of_a_secret_is_left_where_the_tail_begins() {
        let secret = "s".repeat(3000);
        for shift in 0..3000 {
            let mut tail = Tail::default();
            tail.push(&vec![b'x'; 2 * KEPT]);
            tail.push(secret.as_bytes());
            tail.push(&vec![b'.'; KEPT - shift]);
            assert!(!tail.text(&hidden(&[&secret])).contains('s'), "{shift}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_somehow() {
        let mut tail = Tail::default();
        tail.push(b"a\xff\xfe\n");
        assert_eq!(tail.text(&Hidden::default()), "a\u{fffd}\u{fffd}");
        let mut tail = Tail::default();
        tail.push("ä".repeat(TAIL_MAX).as_bytes());
        assert!(tail.text(&Hidden::default()).chars().all(|c| c == 'ä'));
    }
}
