//! Problem lines: what the capture met, with its path (FORMAT.md §7).

use crate::error::Result;
use crate::model::{Problem, Scan, double_backslashes};

const KEYS: [&str; 3] = ["kind", "path", "detail"];

/// Appends the line with its final newline.
pub(super) fn write_line(problem: &Problem, out: &mut Vec<u8>) {
    // Words for people. In a line no quote and no control character can stand.
    let plain = |c: char| match c {
        '"' => '\'',
        c if c.is_control() => ' ',
        c => c,
    };
    let detail: String = problem.detail.chars().map(plain).collect();
    for (key, text) in [
        ("{\"problem\":{\"kind\":\"", problem.kind.as_str()),
        ("\",\"path\":\"", &problem.path),
        ("\",\"detail\":\"", &detail),
    ] {
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(double_backslashes(text).as_bytes());
    }
    out.extend_from_slice(b"\"}}\n");
}

/// Reads an untrusted line.
pub(super) fn parse_line(line: &[u8]) -> Result<Problem> {
    let mut scan = Scan::new(line);
    scan_line(&mut scan).ok_or_else(|| scan.fault("a problem line"))
}

fn scan_line(scan: &mut Scan<'_>) -> Option<Problem> {
    let kind = scan.after("{\"problem\":{\"kind\":\"", Scan::text)?.as_ref().into();
    let path = scan.after(",\"path\":\"", Scan::escaped)?.into_owned();
    let detail = scan.after(",\"detail\":\"", Scan::text)?.into_owned();
    scan.end(&KEYS, "}")?;
    Some(Problem { kind, path, detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"problem":{"kind":"unreadable","path":"a/\\001x","detail":"no \\ way"}}"#;

    #[test]
    fn problems_come_back_and_what_a_line_cannot_hold_is_replaced() {
        let problem = Problem {
            kind: "changed".into(),
            path: "a/ b\\\\\\377".into(),
            detail: "it says \"no\"\nand \\055 gr\u{fc}n".into(),
        };
        let mut line = Vec::new();
        write_line(&problem, &mut line);
        let detail = "it says 'no' and \\055 gr\u{fc}n".into();
        assert_eq!(parse_line(&line).expect("own lines are read"), Problem { detail, ..problem });
    }

    #[test]
    fn problem_lines_have_one_form() {
        parse_line(LINE.as_bytes()).expect("the form of the format");
        let future = LINE.replace("way\"}", "way\",\"future\":{\"x\":[\" \",1.5]}}");
        parse_line(future.as_bytes()).expect("unknown keys after the known ones are passed over");
        for (from, to) in [
            ("{\"problem\"", " {\"problem\""),
            ("\"kind\":\"unreadable\",\"path\"", "\"path\""),
            ("\"kind\":\"unreadable\"", "\"future\":1,\"kind\":\"unreadable\""),
            ("\"unreadable\"", "\"un\\u0072eadable\""),
            ("\"unreadable\"", "null"),
            ("001x", "x"),
            ("way\"}", "way\",\"kind\":\"x\"}"),
            ("way\"}", "way\",\"x\":1,\"x\":2}"),
            ("way\"}", "way\",\"x\": 1}"),
            ("way\"}", "way\",\"x\":{\"y\":1,\"y\":1}}"),
            ("way\"}}", "way\"},\"future\":1}"),
            ("way\"}}", "way\"}} "),
            ("way", "w\tay"),
            ("way", "w\\\"ay"),
        ] {
            let line = LINE.replacen(from, to, 1);
            assert_ne!(line, LINE, "{from}");
            assert!(parse_line(line.as_bytes()).is_err(), "{line}");
        }
    }
}
