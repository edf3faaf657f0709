//! Forms that are odd and allowed, and forms that are not, in repositories that are signed: the tool and `docs/reader.py` must
//! draw the line at the same place, which is that of docs/FORMAT.md.

use std::fs;

use ccbackup::model::Digest;
use serde_json::{Value, json};

use crate::forge::{Forge, INDEX, framed, with};
use crate::oracle::Pair;
use crate::support::write;

/// What both must say of a forged repository: whether it is sound, and whether all of it comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Say {
    /// Nothing is wrong.
    Sound,
    /// It is restored, but differs from the tar stream, the manifest or what nobody needs to restore.
    Found,
    /// Something of it is damage.
    Damage,
}
use Say::{Damage, Found, Sound};

pub(crate) struct Judge {
    pub(crate) forge: Forge,
    pair: Pair,
    wrong: Vec<String>,
}

impl Judge {
    pub(crate) fn new() -> Self {
        let forge = Forge::new();
        let pair = Pair::of(&forge.sandbox);
        Self { forge, pair, wrong: Vec::new() }
    }

    /// Asks both about what lies there now.
    pub(crate) fn ask(&mut self, about: &str, expected: Say) {
        let (verdict, restored) = (self.pair.verdict(true), self.pair.restored(Some(&self.forge.id)));
        let said = match (&verdict, &restored) {
            (Ok(v), Ok(0 | 3)) if v.is_empty() => Some(Sound),
            (Ok(_), Ok(0 | 3)) => Some(Found),
            (Ok(v), Ok(1 | 4 | 5)) if !v.is_empty() => Some(Damage),
            _ => None,
        };
        if said != Some(expected) {
            self.wrong
                .push(format!("{about}: {expected:?} was expected\n  verify: {verdict:?}\n  restore: {restored:?}"));
        }
    }

    /// An index of these lines and, behind them, these problem lines.
    fn index(&self, lines: &[String], problems: &str, lie: impl FnOnce(&mut String, &mut String)) {
        let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
        let (digest, n) = (Digest::of(text.as_bytes()).to_string(), lines.len());
        let table = json!({"segment": [self.forge.id.as_str(), 0, text.len(), digest, n, "tree"]});
        let offset = text.len() + problems.len();
        let end = json!({"end": {"table_offset": offset, "segments": 1, "entries": n}});
        let (mut table, mut end) = (format!("{table}\n"), format!("{end}\n"));
        lie(&mut table, &mut end);
        let mut frames = vec![text.into_bytes(), problems.as_bytes().to_vec(), table.into_bytes(), end.into_bytes()];
        frames.retain(|f| !f.is_empty());
        write(&self.forge.dir().join(INDEX), &framed(&frames));
        self.forge.seal_as(|m| {
            let component = &mut m["components"][0];
            component["entries"] = json!(n);
            // More may be counted than are listed.
            component["problems"] =
                json!([{"kind": "a", "count": 9}, {"kind": "new", "count": 9}, {"kind": "unreadable", "count": 1}]);
        });
    }

    fn lines(&self) -> Vec<String> {
        self.forge.lines.iter().map(Value::to_string).collect()
    }

    /// The line of a path is changed.
    fn line(&mut self, about: &str, path: &str, change: impl FnOnce(String) -> String, expected: Say) {
        let mut lines = self.lines();
        let at = self.forge.lines.iter().position(|l| l["path"] == format!("tree/{path}")).unwrap();
        let changed = change(lines[at].clone());
        assert_ne!(changed, lines[at], "{about}");
        lines[at] = changed;
        self.index(&lines, "", |_, _| {});
        self.ask(&format!("{about} ({})", lines[at].chars().take(400).collect::<String>()), expected);
    }

    /// The manifest's text is changed.
    pub(crate) fn manifest(&mut self, about: &str, change: impl FnOnce(String) -> String, expected: Say) {
        self.forge.put_index(&self.forge.lines);
        self.forge.seal();
        let place = self.forge.dir().join("manifest.json");
        let text = fs::read_to_string(&place).unwrap();
        let changed = change(text.clone());
        assert_ne!(changed, text, "{about}");
        write(&place, changed.as_bytes());
        self.forge.sign();
        self.ask(about, expected);
    }

    pub(crate) fn end(self) {
        assert!(self.wrong.is_empty(), "{} differences\n{}", self.wrong.len(), self.wrong.join("\n\n"));
    }
}

/// Keys set in a line; those that are not there yet come last.
fn set(line: &str, change: &Value) -> String {
    let line = serde_json::from_str(line).unwrap();
    let merged = with(&line, |line| {
        for (key, value) in change.as_object().unwrap() {
            if *value == json!("-") {
                line.as_object_mut().unwrap().shift_remove(key);
            } else {
                line[key] = value.clone();
            }
        }
    });
    merged.to_string()
}

/// Text behind all keys of a line.
fn behind(line: &str, text: &str) -> String {
    format!("{}{text}}}", line.strip_suffix('}').unwrap())
}

#[test]
fn both_readers_agree_on_values_in_index_lines() {
    let mut judge = Judge::new();
    let id = judge.forge.id.to_string();
    let (a, b) = (judge.forge.line("a"), judge.forge.line("dir/b"));
    let offset = a["content"][0][2].as_u64().unwrap();
    let extent = |at: u64, length: u64| json!([id, 0, offset + at, length]);
    let empty = Digest::of(b"").to_string();
    let digest = a["sha256"].clone();
    let big = b["content"][0].clone();
    let at_b = big[2].as_u64().unwrap();
    let cases = [
        ("a", json!({"mtime": "1768600000.5"}), Found),
        ("a", json!({"mtime": "-0.25"}), Found),
        ("a", json!({"mtime": "1768600000.50"}), Damage),
        ("a", json!({"mtime": "1768600000."}), Damage),
        ("a", json!({"mtime": ".5"}), Damage),
        ("a", json!({"mtime": "-0"}), Damage),
        ("a", json!({"mtime": "-0.0"}), Damage),
        ("a", json!({"mtime": "+1"}), Damage),
        ("a", json!({"mtime": "01"}), Damage),
        ("a", json!({"mtime": "1.0000000001"}), Damage),
        ("a", json!({"mtime": 1_768_600_000}), Damage),
        ("a", json!({"ctime": "9223372036854775807.999999999"}), Sound),
        ("a", json!({"ctime": "9223372036854775808"}), Damage),
        ("a", json!({"ctime": "-9223372036854775808"}), Sound),
        ("a", json!({"ctime": "-9223372036854775807.5"}), Sound),
        ("a", json!({"ctime": "-9223372036854775808.5"}), Damage),
        ("a", json!({"mode": "7777"}), Found),
        ("a", json!({"mode": "644"}), Damage),
        ("a", json!({"mode": "00644"}), Damage),
        ("a", json!({"mode": "0648"}), Damage),
        ("a", json!({"uid": 1_u64 << 32}), Damage),
        ("a", json!({"uid": -1}), Damage),
        ("a", json!({"uid": "0"}), Damage),
        ("a", json!({"inode": u64::MAX}), Sound),
        ("a", json!({"inode": 1.5}), Damage),
        ("a", json!({"user": "-"}), Found),
        ("a", json!({"user": ""}), Damage),
        ("a", json!({"user": "\\377"}), Damage),
        ("a", json!({"user": null}), Damage),
        ("a", json!({"user": "gr\u{fc}n"}), Found),
        ("a", json!({"group": "\\141"}), Damage),
        ("a", json!({"path": "tree/\\141"}), Damage),
        ("a", json!({"path": "tree/a\u{a0}"}), Damage),
        ("a", json!({"path": "tree/a\\302\\240"}), Damage),
        ("a", json!({"size": 1_u64 << 61}), Damage),
        ("a", json!({"size": null}), Damage),
        ("a", json!({"sha256": digest.as_str().unwrap().to_uppercase()}), Damage),
        ("a", json!({"content": "-", "pieces": [extent(0, 12)]}), Sound),
        ("a", json!({"content": "-", "pieces": [extent(0, 6), extent(6, 6)]}), Sound),
        ("a", json!({"content": "-", "pieces": [extent(0, 12), extent(0, 0)]}), Damage),
        ("a", json!({"content": "-", "pieces": [extent(0, 13)]}), Damage),
        ("a", json!({"content": [extent(0, 6), extent(6, 6)]}), Damage),
        ("a", json!({"content": []}), Damage),
        ("a", json!({"content": [[id, 0, 1_u64 << 61, 12]]}), Damage),
        ("a", json!({"content": [[id, 0, offset, 12, 0]]}), Damage),
        ("a", json!({"content": [[id, 1, offset, 12]]}), Damage),
        ("a", json!({"content": [["20200101-000000", 0, offset, 12]]}), Damage),
        ("a", json!({"content": "-"}), Damage),
        ("a", json!({"size": 0, "sha256": empty, "content": [extent(0, 0)]}), Found),
        ("a", json!({"size": 0, "sha256": empty, "content": [extent(1 << 40, 0)]}), Found),
        ("a", json!({"size": 0, "sha256": empty, "content": "-", "pieces": []}), Found),
        ("a", json!({"size": 0, "sha256": empty, "content": "-", "pieces": [extent(0, 0)]}), Damage),
        ("a", json!({"size": 0, "sha256": empty, "content": [extent(0, 0)], "regions": []}), Damage),
        ("a", json!({"size": 99, "sha256": empty, "content": [extent(0, 0)], "regions": []}), Found),
        ("a", json!({"regions": [[0, 12]]}), Found),
        ("a", json!({"size": 524, "regions": [[512, 12]]}), Found),
        ("a", json!({"size": 525, "regions": [[512, 12]]}), Damage),
        ("a", json!({"regions": [[0, 6], [6, 6]]}), Damage),
        ("a", json!({"regions": [[0, 12], [12, 0]]}), Damage),
        ("a", json!({"regions": null}), Damage),
        ("dir/b", json!({"regions": [[0, 1024], [1024, 1976]]}), Found),
        ("dir/b", json!({"regions": [[0, 1000], [1000, 2000]]}), Damage),
        ("dir/b", json!({"content": [[id, 0, at_b - 1, 3000]]}), Damage),
        ("a", json!({"chunks": [[12, digest]]}), Sound),
        ("a", json!({"chunks": [[12, empty]]}), Sound),
        ("a", json!({"chunks": []}), Damage),
        ("a", json!({"chunks": [[12, digest], [0, empty]]}), Damage),
        ("a", json!({"chunks": [[11, digest]]}), Damage),
        ("a", json!({"unsettled": true}), Sound),
        ("a", json!({"unsettled": false}), Damage),
        ("a", json!({"unsettled": 1}), Damage),
        ("a", json!({"target": "tree/a"}), Damage),
        ("a", json!({"device": [1, 3]}), Damage),
        ("a", json!({"xattrs": [["user.a", "AP8="]]}), Found),
        ("a", json!({"xattrs": [["user.a", ""], ["user.b", ""]]}), Found),
        ("a", json!({"xattrs": []}), Damage),
        ("a", json!({"xattrs": [["user.b", ""], ["user.a", ""]]}), Damage),
        ("a", json!({"xattrs": [["user.a", ""], ["user.a", ""]]}), Damage),
        ("a", json!({"xattrs": [["user.a", "AP8"]]}), Damage),
        ("a", json!({"xattrs": [["user.a", "AP9="]]}), Damage),
        ("a", json!({"xattrs": [["user.a", "_w=="]]}), Damage),
        ("a", json!({"xattrs": [["user.\\141", ""]]}), Damage),
        ("a", json!({"xattrs": [["user.a\\000", ""]]}), Damage),
        ("dir", json!({"size": 0}), Damage),
        ("dir", json!({"unsettled": true}), Damage),
        ("link", json!({"content": [extent(0, 0)]}), Damage),
        ("link", json!({"target": "\\055x"}), Found),
        ("link", json!({"target": "-x"}), Damage),
        ("link", json!({"target": ""}), Damage),
        ("link", json!({"target": "a\\000b"}), Damage),
        ("link", json!({"target": "x".repeat(4095)}), Found),
        ("link", json!({"target": "x".repeat(4097)}), Damage),
        ("link", json!({"type": "fifo", "target": "-"}), Found),
        ("link", json!({"type": "char", "target": "-", "device": [4096, 0]}), Damage),
        ("link", json!({"type": "char", "target": "-", "device": [0, 1 << 20]}), Damage),
        ("link", json!({"type": "char", "target": "-", "device": [1]}), Damage),
        ("link", json!({"type": "char", "target": "-"}), Damage),
        ("link", json!({"type": "socket", "target": "-"}), Damage),
        ("z", json!({"target": "tree/dir"}), Damage),
        ("z", json!({"target": "tree/z"}), Damage),
        ("z", json!({"target": "tree/zz"}), Damage),
        ("z", json!({"target": "./tree/a"}), Damage),
        ("z", json!({"target": "tree/link"}), Found),
        ("z", json!({"target": "tree/dir/b"}), Found),
        ("z", json!({"home": [id, 0, 0]}), Found),
        ("z", json!({"home": [id, 9, 0]}), Found),
        ("z", json!({"home": ["20200101-000000", 0, 0]}), Found),
        ("z", json!({"home": [id, 0, 1_u64 << 40]}), Found),
        ("dir/b", json!({"path": format!("tree/dir/{}", "x".repeat(256))}), Damage),
        ("dir/b", json!({"path": format!("tree/dir/{}", "x".repeat(255))}), Found),
        ("dir/b", json!({"path": "tree/dir/x/b"}), Damage),
        ("dir/b", json!({"path": "tree/dir/x/y/b"}), Damage),
        ("link", json!({"path": "tree/a/link"}), Damage),
        ("link", json!({"path": "tree/a/x/link"}), Damage),
    ];
    for (path, change, expected) in cases {
        judge.line(&format!("{change}"), path, |l| set(&l, &change), expected);
    }
    judge.end();
}

#[test]
fn both_readers_agree_on_the_form_of_index_lines() {
    let mut judge = Judge::new();
    let nested = |levels: usize| format!(",\"zzz\":{}{}", "[".repeat(levels), "]".repeat(levels));
    let cases = [
        (",\"zzz\":{\"a\":[1,null,-1.5e3,false],\"b\":\"\\\\\"}", Sound),
        (",\"zzz\":123456789012345678901234567890,\"yyy\":1e999", Sound),
        (",\"zzz\":1,\"zzz\":1", Damage),
        (",\"zzz\":{\"a\":1,\"a\":1}", Damage),
        (",\"zzz\":\"\\n\"", Damage),
        (",\"zzz\":\"\\u0041\"", Damage),
        (",\"zzz\":\"\u{7f}\u{a0}\"", Sound),
        (",\"zzz\":\"\t\"", Damage),
        (",\"zzz\":01", Damage),
        (",\"zzz\":-", Damage),
        (",\"zzz\":1.", Damage),
        (",\"zzz\":tru", Damage),
        (",\"zzz\": 1", Damage),
        (",\"zzz\":[1,]", Damage),
        (",\"zzz\"", Damage),
        (",", Damage),
        (",\"zzz\":NaN", Damage),
        (",\"mode\":\"0644\"", Damage),
        (",\"zzz\":1,\"xattrs\":[[\"user.a\",\"\"]]", Damage),
        (",\"content\":null", Damage),
        (&nested(126), Sound),
        (&nested(127), Damage),
    ];
    for (text, expected) in cases {
        judge.line(text, "a", |l| behind(&l, text), expected);
    }
    let texts = [
        ("\"type\":", "\"type\": ", Damage),
        ("{\"path\"", "{ \"path\"", Damage),
        ("{\"path\"", " {\"path\"", Damage),
        ("tree/a", "tree\\/a", Damage),
        ("tree/a", "tree/\\u0061", Damage),
        ("\"type\":\"file\"", "\"type\":\"file\",\"zzz\":1", Damage),
        ("\"uid\":", "\"uid\":0", Damage),
        ("\"uid\":", "\"uid\":-", Damage),
        ("\"size\":12", "\"size\":12.0", Damage),
        ("\"size\":12", "\"size\":1.2e1", Damage),
        ("\"size\":12", "\"size\":012", Damage),
        ("\"size\":12", "\"size\":+12", Damage),
    ];
    for (from, to, expected) in texts {
        judge.line(&format!("{from} → {to}"), "a", |l| l.replacen(from, to, 1), expected);
    }
    judge.line("CR at the end", "a", |l| format!("{l}\r"), Damage);
    judge.line("a space at the end", "a", |l| format!("{l} "), Damage);
    judge.line("a line that is empty", "z", |_| String::new(), Damage);
    judge.line("another line", "z", |_| "{\"x\":1}".into(), Damage);
    judge.line("twice", "z", |l| format!("{l}{l}"), Damage);
    let order = |l: String| {
        let uid = l.find("\"uid\":").unwrap();
        let gid = l.find("\"gid\":").unwrap();
        let end = gid + l[gid..].find(',').unwrap();
        format!("{}{},{}{}", &l[..uid], &l[gid..end], &l[uid..gid - 1], &l[end..])
    };
    judge.line("gid before uid", "a", order, Damage);

    let lines = judge.lines();
    for (problems, expected) in [
        ("{\"problem\":{\"kind\":\"unreadable\",\"path\":\"tree/x\",\"detail\":\"no\"}}\n", Sound),
        ("{\"problem\":{\"kind\":\"new\",\"path\":\"/..\",\"detail\":\"\",\"x\":[1]}}\n", Sound),
        ("{\"problem\":{\"kind\":\"left-out\",\"path\":\"\",\"detail\":\"\"}}\n", Found),
        (&"{\"problem\":{\"kind\":\"unreadable\",\"path\":\"tree/x\",\"detail\":\"no\"}}\n".repeat(2), Found),
        ("{\"problem\":{\"path\":\"x\",\"kind\":\"unreadable\",\"detail\":\"no\"}}\n", Found),
        ("{\"problem\":{\"kind\":\"unreadable\",\"path\":\"x\"}}\n", Found),
        ("{\"problem\":{\"kind\":\"unreadable\",\"path\":null,\"detail\":\"no\"}}\n", Found),
        ("{\"problem\":{\"kind\":\"unreadable\",\"path\":\"\\\\141\",\"detail\":\"no\"}}\n", Found),
        ("{\"problem\":{\"kind\":\"a\",\"path\":\"x\",\"detail\":\"no\"},\"x\":1}\n", Found),
        ("{\"problem\":{\"kind\":\"a\",\"path\":\"x\",\"detail\":\"no\",\"detail\":\"no\"}}\n", Found),
        ("{\"other\":1}\n", Found),
        ("\n", Found),
    ] {
        judge.index(&lines, problems, |_, _| {});
        judge.ask(problems, expected);
    }
    type Lie = fn(&mut String, &mut String);
    let lies: [(&str, Lie, Say); 14] = [
        ("an unknown key in end", |_, e| *e = e.replace("}}", ",\"x\":1}}"), Sound),
        ("an unknown key beside end", |_, e| *e = e.replace("}}", "},\"x\":1}"), Damage),
        ("an unknown key first in end", |_, e| *e = e.replace("{\"table", "{\"x\":1,\"table"), Damage),
        ("end with white space", |_, e| *e = e.replace(':', ": "), Damage),
        ("two segments in end", |_, e| *e = e.replace("\"segments\":1", "\"segments\":2"), Damage),
        ("other entries in end", |_, e| *e = e.replace("\"entries\":", "\"entries\":1"), Damage),
        ("two end lines", |_, e| *e = e.repeat(2), Damage),
        ("seven parts in a segment", |t, _| *t = t.replace("]}", ",1]}"), Damage),
        ("an unknown key beside segment", |t, _| *t = t.replace("]}", "],\"x\":1}"), Damage),
        ("another first path", |t, _| *t = t.replace("\"tree\"", "\"tre\""), Damage),
        ("a first path that could be shorter", |t, _| *t = t.replace("\"tree\"", "\"tr\\\\145e\""), Damage),
        ("own segments not from 0 on", |t, _| *t = t.replacen(",0,", ",1,", 1), Damage),
        ("a segment of an unknown backup", |t, _| *t = t.replacen("\"2026", "\"2025", 1), Damage),
        ("another length", |t, _| *t = t.replacen(",0,", ",0,1", 1), Damage),
    ];
    for (about, lie, expected) in lies {
        judge.index(&lines, "", lie);
        judge.ask(about, expected);
    }
    judge.end();
}
