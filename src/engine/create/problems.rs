//! The problems of a component: counted without limit, listed as far as an index has room for them (FORMAT.md §12).

use std::collections::BTreeMap;

use crate::model::{Problem, ProblemCount, ProblemKind};

/// Room for listed problems, in bytes as they are written at the most; well below what readers accept, and what memory
/// can hold.
const MAX_LISTED_BYTES: usize = 64 << 20;

#[derive(Debug, Default)]
pub(super) struct Problems {
    listed: Vec<Problem>,
    listed_bytes: usize,
    /// Kind and path of the first that is not listed, and how many there are.
    omitted: Option<(ProblemKind, String, u64)>,
    counts: BTreeMap<ProblemKind, u64>,
}

impl Problems {
    pub(super) fn add(&mut self, problem: Problem) {
        match self.counts.get_mut(&problem.kind) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(problem.kind.clone(), 1)),
        }
        // JSON at most doubles what is escaped already.
        let bytes = 2 * (problem.path.len() + problem.detail.len()) + 64;
        if let Some((_, _, count)) = &mut self.omitted {
            *count += 1;
        } else if self.listed_bytes + bytes > MAX_LISTED_BYTES {
            self.omitted = Some((problem.kind, problem.path, 1));
        } else {
            self.listed_bytes += bytes;
            self.listed.push(problem);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// What is listed, with a last one about those that are not, and the counts of all by kind.
    pub(super) fn finish(mut self) -> (Vec<Problem>, Vec<ProblemCount>) {
        if let Some((kind, path, count)) = self.omitted {
            let detail =
                format!("it and what follows, {count} problems, are counted but not listed: there are too many");
            self.listed.push(Problem { kind, path, detail });
        }
        let counts = self.counts.into_iter().map(|(kind, count)| ProblemCount { kind, count }).collect();
        (self.listed, counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_problems_than_an_index_holds_are_counted() {
        let mut problems = Problems::default();
        let long = "x".repeat(32 << 10);
        for number in 0..3000 {
            let (kind, path) = (ProblemKind::Vanished, format!("{number}{long}"));
            problems.add(Problem { kind, path, detail: String::new() });
        }
        let (listed, counts) = problems.finish();
        assert_eq!(counts, [ProblemCount { kind: ProblemKind::Vanished, count: 3000 }]);
        let (last, before) = listed.split_last().unwrap();
        assert!((900..1100).contains(&before.len()), "{}", before.len());
        assert!(
            last.kind == ProblemKind::Vanished && last.detail.contains(&format!("{} problems", 3000 - before.len()))
        );
        assert!(last.path.starts_with(&before.len().to_string()));
    }
}
