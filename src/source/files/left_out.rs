//! What rules leave out: all of it is counted, the first of it listed, so that nothing goes missing without a word.

use crate::model::{Problem, ProblemKind, escape_path};

/// Things that are listed by path; the others are only counted.
const MAX_LISTED: usize = 1000;

/// Memory of the list, in bytes: paths may be long.
const MAX_LISTED_BYTES: usize = 1 << 20;

/// What the rules of a component left out. A folder counts once, whatever it holds.
#[derive(Clone, Debug, Default)]
pub struct LeftOut {
    /// How many.
    pub count: u64,
    /// The first of them, of the kind [`ProblemKind::LeftOut`], with the rule as detail.
    pub listed: Vec<Problem>,
    listed_bytes: usize,
}

impl LeftOut {
    /// Adds what has this raw path.
    pub(super) fn add(&mut self, path: &[u8], reason: &str) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED && self.listed_bytes.saturating_add(path.len()) <= MAX_LISTED_BYTES {
            self.listed_bytes += path.len();
            let path = escape_path(path).into_owned();
            self.listed.push(Problem { kind: ProblemKind::LeftOut, path, detail: reason.into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_right_and_the_list_is_bounded() {
        let mut many = LeftOut::default();
        (0..2500).for_each(|_| many.add(b"app/x.log", "excluded by a glob"));
        assert_eq!((many.count, many.listed.len()), (2500, MAX_LISTED));
        let mut long = LeftOut::default();
        (0..100).for_each(|_| long.add(&[b'a'; 30_000], "excluded by a glob"));
        assert_eq!((long.count, long.listed.len()), (100, MAX_LISTED_BYTES / 30_000));
    }
}
