//! The nearest known word to a mistyped one.

/// Words longer than this are compared by their beginning only; they come from files.
const MAX_CHARS: usize = 64;

/// The word of `known` that needs the fewest edits to become `typed`; none only when `known` is empty.
#[must_use]
pub(super) fn nearest<'k>(typed: &str, known: &[&'k str]) -> Option<&'k str> {
    known.iter().copied().min_by_key(|word| distance(typed, word))
}

/// Edits between two words: insertions, deletions, replacements and swaps of neighbours count one each.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(MAX_CHARS).flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().take(MAX_CHARS).flat_map(char::to_lowercase).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut edits = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                edits = edits.min(before[j - 1] + 1);
            }
            row.push(edits);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
