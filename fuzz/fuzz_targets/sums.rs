//! Lists of digests that are nearly right: what `parse_sums` takes is what a second, independent reading takes.
//!
//! Chance does not hit on 64 digits and two spaces, so a valid list is made first, and the input says which of its small
//! parts are changed: a carriage return before a newline, a star, a capital letter, two lines in another order.
#![no_main]

use std::collections::BTreeMap;

use ccbackup::model::Digest;
use ccbackup::repo::backup::parse_sums;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 8] =
    ["README.txt", "a", "a.index.zst", "a.tar.zst.age", "a_b-1.1.tar.zst", "manifest.json", "restore.sh", "z-"];
/// What other tools write, or take for white space, an end of a line or a part of a path.
const INSERTED: [&str; 20] = [
    "\r", "\n", " ", "\t", "*", "\\", "\0", "/", ".", "..", "A", "f", "0", "#", "\u{b}", "\u{85}", "\u{a0}",
    "\u{2028}", "é", "\u{feff}",
];

fuzz_target!(|input: &[u8]| {
    let Some((chosen, edits)) = input.split_first() else { return };
    let names = NAMES.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 == 1);
    let mut text: String = names.map(|(_, name)| format!("{}  {name}\n", Digest::of(name.as_bytes()))).collect();
    edits.chunks_exact(3).take(3).for_each(|edit| apply(edit, &mut text));
    let read = parse_sums(text.as_bytes()).ok();
    let expected = read_again(text.as_bytes());
    assert_eq!(read.map(|sums| sums.into_iter().map(|(n, d)| (n, d.to_string())).collect()), expected, "{text:?}");
    drop(parse_sums(input));
});

/// The rules of FORMAT.md §4 once more, byte by byte.
fn read_again(text: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut sums = BTreeMap::new();
    let mut last: &[u8] = b"";
    let (end, lines) = text.split(|&b| b == 0x0a).collect::<Vec<_>>().split_last().map(|(e, l)| (*e, l.to_vec()))?;
    if !end.is_empty() || lines.is_empty() {
        return None;
    }
    for line in lines {
        let (digest, rest) = line.split_at_checked(64)?;
        let name = rest.strip_prefix(b"\x20\x20")?;
        let good_digest = digest.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let good_name = name.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'-' | b'_'));
        if !good_digest || !good_name || name.is_empty() || name[0] == b'.' || name <= last {
            return None;
        }
        last = name;
        sums.insert(String::from_utf8(name.to_vec()).ok()?, String::from_utf8(digest.to_vec()).ok()?);
    }
    Some(sums)
}

/// Three bytes: what, where in a line, in which line.
fn apply(edit: &[u8], text: &mut String) {
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    if ends.is_empty() {
        return;
    }
    let line = usize::from(edit[2]) % ends.len();
    let start = if line == 0 { 0 } else { ends[line - 1] + 1 };
    let end = ends[line];
    // Mostly the joints: start, digest, spaces, name, end, behind the newline.
    let places = [
        start,
        start + 1,
        start + 63,
        start + 64,
        start + 65,
        start + 66,
        end.saturating_sub(1),
        end,
        end + 1,
        text.len(),
    ];
    let place = usize::from(edit[1]);
    let at = places.get(place % 12).copied().unwrap_or(start + place % (end - start + 1)).min(text.len());
    let at = (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let insert = |text: &mut String| text.insert_str(at, INSERTED[usize::from(edit[0]) / 6 % INSERTED.len()]);
    match edit[0] % 6 {
        0 => {
            if at < text.len() {
                text.remove(at);
            }
        }
        1 => {
            if at < text.len() {
                text.remove(at);
            }
            insert(text);
        }
        2 => text.insert_str(at, &text[start..=end].to_owned()),
        3 => {
            let capital = text[start..end].to_ascii_uppercase();
            text.replace_range(start..end, &capital);
        }
        _ => insert(text),
    }
}
