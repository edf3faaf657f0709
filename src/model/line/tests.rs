use proptest::prelude::*;

use super::*;
use crate::error::Kind;

const FILE: &str = r#"{"path":"a/b \\042","type":"file","mode":"0644","uid":0,"gid":7,"user":"u","group":"g","mtime":"1.5","ctime":"-2","inode":9,"home":["20260117-143000",0,512],"size":1033,"sha256":"3549b0028b75d981cdda2e573e9cb49dedc200185876df299f912b79f69dabd8","pieces":[["20260117-143000",0,1024,4],["20260118-143000-2",1,0,517]],"regions":[[0,512],[1024,9]],"chunks":[[521,"1993a3c633cf3e4fd898beaccbf56c1544235cd8f97396e3cbe30952502a5167"]],"unsettled":true,"xattrs":[["user.\\001",""],["user.a","AP8="]]}"#;
const PLAIN: &str = r#"{"path":"p","type":"file","mode":"7777","uid":0,"gid":0,"mtime":"0","ctime":"0","inode":0,"home":["20260117-143000",0,0],"size":3,"sha256":"3549b0028b75d981cdda2e573e9cb49dedc200185876df299f912b79f69dabd8","content":[["20260117-143000",0,512,3]]}"#;
const DEVICE: &str = r#"{"path":"d","type":"char","mode":"0600","uid":4294967295,"gid":0,"mtime":"0","ctime":"0","inode":18446744073709551615,"home":["20260117-143000",0,0],"device":[4,64]}"#;
const LINK: &str = r#"{"path":"l","type":"symlink","mode":"0777","uid":1,"gid":1,"mtime":"0","ctime":"0","inode":1,"home":["20260117-143000",0,0],"target":"x\\\\y"}"#;
const FURTHER: &str = r#"{"path":"l","type":"hardlink","mode":"0777","uid":1,"gid":1,"mtime":"0","ctime":"0","inode":1,"home":["20260117-143000",0,0],"target":"a/b"}"#;
const DIR: &str = r#"{"path":"gr\u00fcn","type":"dir","mode":"0777","uid":1,"gid":1,"user":"\u00fc","mtime":"0","ctime":"0","inode":1,"home":["20260117-143000",0,0]}"#;

fn dir() -> String {
    DIR.replace("\\u00fc", "\u{fc}")
}

fn all() -> [String; 6] {
    [FILE.into(), PLAIN.into(), DEVICE.into(), LINK.into(), FURTHER.into(), dir()]
}

fn refused(line: &str) {
    let error = Entry::parse_line(line.as_bytes()).expect_err(line);
    assert_eq!(error.kind(), Kind::Damage, "{}", error.one_line());
}

/// Each edit makes of a good line one that is refused.
fn edits(line: &str, edits: &[(&str, &str)]) {
    Entry::parse_line(line.as_bytes()).expect(line);
    for (from, to) in edits {
        let edited = line.replacen(from, to, 1);
        assert_ne!(edited, line, "{from} is not there");
        refused(&edited);
    }
}

#[test]
fn lines_come_back_with_and_without_their_newline() {
    for line in all() {
        let entry = Entry::parse_line(line.as_bytes()).expect(&line);
        let mut written = Vec::new();
        entry.write_line(&mut written);
        assert_eq!(String::from_utf8_lossy(&written), format!("{line}\n"));
        assert_eq!(Entry::parse_line(&written).expect("own lines are read"), entry);
    }
}

#[test]
fn keys_have_one_order_and_nothing_stands_between_them() {
    edits(
        FILE,
        &[
            ("{\"path\"", " {\"path\""),
            ("\"type\"", " \"type\""),
            ("\"uid\":0", "\"uid\": 0"),
            ("\"uid\":0,\"gid\":7", "\"gid\":7,\"uid\":0"),
            ("\"uid\":0", "\"uid\":0,\"uid\":0"),
            ("\"gid\":7,", ""),
            ("\"mode\"", "\"m\\u006fde\""),
            ("\"inode\":9", "\"future\":1,\"inode\":9"),
            ("[[0,512],[", "[[0,512], ["),
            ("}", "}}"),
            ("}", "} "),
            ("}", "}\n\n"),
            ("}", ""),
        ],
    );
    refused("");
    refused("\n");
    assert!(Entry::parse_line(b"{\"path\":\"\xff").is_err());
}

#[test]
fn unknown_keys_are_passed_over_behind_all_others() {
    for (line, known) in all().iter().map(|l| (l, Entry::parse_line(l.as_bytes()).expect(l))) {
        let body = line.strip_suffix('}').expect("an object");
        for good in
            ["\"x\":1", "\"x\":null,\"y\":[{\"z\":\" \\\\ \"},-1e999,{}]", "\"x y\":{\"path\":\"\"}", "\"\":true"]
        {
            let line = format!("{body},{good}}}");
            assert_eq!(Entry::parse_line(line.as_bytes()).expect(&line), known);
        }
        for bad in [
            "",
            "\"x\"",
            "\"x\":",
            "\"x\": 1",
            "\"x\" :1",
            "\"x\":1 ",
            "\"x\":[1, 2]",
            "\"x\":{\"y\":1,\"y\":1}",
            "\"x\":1,\"x\":2",
            "\"\\u0078\":2",
            "\"x\":\"\\\"\"",
            "\"x\":\"\\n\"",
            "\"x\":1,",
            "\"x\":1}",
            "\"x\":01",
            "\"x\":tru",
            "\"x\":\"\n\"",
            "\"path\":\"a\"",
            "\"x\":1,\"home\":[\"20260117-143000\",0,0]",
            "\"xattrs\":[]",
            "\"xattrs\":null",
        ] {
            refused(&format!("{body},{bad}}}"));
        }
    }
}

#[test]
fn keys_that_belong_to_another_type_are_refused() {
    let with = |line: &str, key: &str| refused(&format!("{},{key}}}", line.strip_suffix('}').expect("an object")));
    let sha256 = "\"sha256\":\"3549b0028b75d981cdda2e573e9cb49dedc200185876df299f912b79f69dabd8\"";
    for key in ["\"size\":0", sha256, "\"content\":[]", "\"pieces\":[]", "\"regions\":[]", "\"unsettled\":true"] {
        with(&dir(), key);
        with(&dir().replace("\"dir\"", "\"fifo\""), key);
        edits(LINK, &[(",\"target\"", &format!(",{key},\"target\""))]);
        edits(DEVICE, &[(",\"device\"", &format!(",{key},\"device\""))]);
    }
    for key in ["\"target\":\"a\"", "\"device\":[4,64]"] {
        with(&dir(), key);
        with(PLAIN, key);
    }
    with(LINK, "\"device\":[4,64]");
    with(FURTHER, "\"xattrs\":[[\"user.a\",\"\"]]");
    edits(DEVICE, &[(",\"device\"", ",\"target\":\"x\",\"device\""), (",\"device\":[4,64]", "")]);
    edits(LINK, &[(",\"target\":\"x\\\\\\\\y\"", ""), ("symlink", "link"), ("symlink", "dir"), ("symlink", "file")]);
}

#[test]
fn numbers_modes_and_times_have_one_form() {
    for bad in ["00", "-1", "-0", "+0", "0.0", "0e0", "4294967296", "\"0\"", "null", "", "true"] {
        edits(FILE, &[("\"uid\":0", &format!("\"uid\":{bad}"))]);
    }
    for bad in ["644", "00644", "0o644", "+644", "0648", "8644", "", " 644", "0644\\u0020"] {
        edits(FILE, &[("0644", bad)]);
    }
    for bad in ["", "1.", "1.50", "01.5", "+1.5", "1.0", "-0", "1.0000000001", "1e1", "9223372036854775808"] {
        edits(FILE, &[("\"1.5\"", &format!("\"{bad}\""))]);
    }
    edits(
        FILE,
        &[
            ("\"inode\":9", "\"inode\":18446744073709551616"),
            ("\"mtime\":\"1.5\"", "\"mtime\":1.5"),
            ("\"unsettled\":true", "\"unsettled\":false"),
            ("\"unsettled\":true", "\"unsettled\":null"),
            ("\"unsettled\":true", "\"unsettled\":trues"),
            ("\"20260118-143000-2\"", "\"20260118-143000-1\""),
            ("1993a3c6", "1993A3C6"),
        ],
    );
}

#[test]
fn texts_have_one_escaped_form_and_names_are_not_empty() {
    edits(
        FILE,
        &[
            ("a/b \\\\042", "a/b \\\\042 "),
            ("a/b", "a\\u002fb"),
            ("a/b", "a\\/b"),
            ("a/b", "a/\\\\142"),
            ("a/b", "-/b"),
            ("a/b", "\\\\n/\\\\012"),
            ("a/b", "a/\u{1}b"),
            ("a/b", "a/\u{7f}b"),
            ("a/b", "a/\u{202e}b"),
            ("a/b", "gr\\\\303\\\\274n"),
            ("\\\\042", "\\\""),
            ("\\\\042", "\\042"),
            ("\"user\":\"u\"", "\"user\":\"\""),
            ("\"user\":\"u\"", "\"user\":null"),
            ("\"user\":\"u\"", "\"user\":\"\\\\377\""),
            ("\"user\":\"u\"", "\"user\":\"\\\\000\""),
            ("\"group\":\"g\"", "\"group\":\" g\""),
            ("user.\\\\001", "user.\\\\141"),
        ],
    );
    edits(LINK, &[("x\\\\\\\\y", "x\\\\134y"), ("x\\\\\\\\y", ""), ("x\\\\\\\\y", "x\\\\000y")]);
    edits(FURTHER, &[("a/b", "a//b"), ("\"a/b\"", "\"l\""), ("\"a/b\"", "\"m\""), ("a/b", "../b")]);
    edits(LINK, &[("x\\\\\\\\y", &"x".repeat(4097))]);
}

#[test]
fn attributes_are_sorted_and_in_plain_base64() {
    edits(
        FILE,
        &[
            ("[[\"user.\\\\001\",\"\"],[\"user.a\",\"AP8=\"]]", "[]"),
            ("[[\"user.\\\\001\",\"\"],[\"user.a\",\"AP8=\"]]", "null"),
            ("user.a", "user.\\\\001"),
            ("user.a", "user"),
            ("user.\\\\001", "user.b"),
            ("user.a", ""),
            ("user.a", "user.\\\\000"),
            ("AP8=", "AP8"),
            ("AP8=", "AP9="),
            ("AP8=", "AP8=="),
            ("AP8=", "AP-="),
            ("AP8=", "AP8=\\n"),
        ],
    );
    edits(FILE, &[("user.a", &format!("user.{}", "a".repeat(251)))]);
    edits(FILE, &[("AP8=", &BASE64_STANDARD.encode(vec![0; (1 << 20) + 1]))]);
    let mut entry = Entry::parse_line(dir().as_bytes()).expect("good");
    entry.xattrs = (0..9).map(|n| Xattr { name: format!("user.{n}").into(), value: vec![0; 1 << 20] }).collect();
    assert!(entry.check().is_err(), "more than 8 MiB of pax records");
    entry.xattrs.truncate(7);
    entry.check().expect("less than 8 MiB of pax records");
}

#[test]
fn extents_regions_and_chunks_fit_the_size() {
    let content = "\"content\":[[\"20260117-143000\",0,512,3]]";
    edits(
        PLAIN,
        &[
            (content, "\"content\":[]"),
            (content, "\"content\":null"),
            (content, "\"pieces\":[]"),
            (content, "\"content\":[[\"20260117-143000\",0,512,1],[\"20260117-143000\",0,513,2]]"),
            (content, "\"content\":[[\"20260117-143000\",0,512,2]]"),
            (content, &format!("{content},\"pieces\":[[\"20260117-143000\",0,512,3]]")),
            (content, "\"pieces\":[[\"20260117-143000\",0,512,3],[\"20260117-143000\",0,0,0]]"),
            (&format!(",{content}"), ""),
            ("\"size\":3", "\"size\":4"),
            (",512,3", ",1152921504606846976,3"),
            (",512,3", ",18446744073709551615,3"),
            ("3]]}", "3]],\"regions\":[]}"),
            ("3]]}", "3]],\"regions\":[[0,3],[3,0]]}"),
            ("3]]}", "3]],\"regions\":[[0,2],[2,1]]}"),
            ("3]]}", "3]],\"chunks\":[]}"),
            ("\"home\":[\"20260117-143000\",0,0]", "\"home\":[\"20260117-143000\",0,1152921504606846977]"),
        ],
    );
    // An empty file has no holes, and one extent without length, or none.
    let empty = PLAIN.replace("\"size\":3", "\"size\":0").replace("512,3]", "512,0]");
    edits(&empty, &[("0]]}", "0]],\"regions\":[]}"), ("512,0]", "512,0],[\"20260117-143000\",0,512,0]")]);
    edits(&empty.replace("\"content\":[[\"20260117-143000\",0,512,0]]", "\"pieces\":[]"), &[("pieces", "content")]);
    // So does a file that is one hole.
    let hole = empty.replace("\"size\":0", "\"size\":4096");
    refused(&hole);
    edits(&hole.replace("0]]}", "0]],\"regions\":[]}"), &[("[]", "[[4096,0]]"), ("4096", "1152921504606846977")]);
    let regions = "[[0,512],[1024,9]]";
    edits(
        FILE,
        &[
            (regions, "[[1024,9],[0,512]]"),
            (regions, "[[0,512],[512,0],[1024,9]]"),
            (regions, "[[0,521]]"),
            (regions, "[[0,512],[1023,9]]"),
            (regions, "[[0,512],[1024,10]]"),
            (regions, "[[0,9],[512,512]]"),
            (regions, "[[0,512],[0,9]]"),
            ("1033", "1034"),
            ("1024,4],", "1024,5],"),
            ("[[521,", "[[520,"),
            ("[[521,", "[[0,\"1993a3c633cf3e4fd898beaccbf56c1544235cd8f97396e3cbe30952502a5167\"],[521,"),
        ],
    );
    Entry::parse_line(FILE.replace(regions, "[[512,512],[1024,9]]").as_bytes()).expect("regions may touch");
    edits(DEVICE, &[("[4,64]", "[4096,64]"), ("[4,64]", "[4,1048576]"), ("[4,64]", "[4]"), ("[4,64]", "[4,64,0]")]);
    Entry::parse_line(DEVICE.replace("[4,64]", "[4095,1048575]").as_bytes()).expect("the largest numbers");
}

proptest! {
    #[test]
    fn what_is_read_is_what_would_be_written_and_maybe_unknown_keys(
        which in 0..6_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4),
    ) {
        let mut line = all()[which].clone().into_bytes();
        for (at, byte, how) in edits {
            let at = at.index(line.len());
            match how {
                0 => line[at] = byte,
                1 => line.insert(at, byte),
                _ => drop(line.remove(at)),
            }
        }
        if let Ok(entry) = Entry::parse_line(&line) {
            let mut written = Vec::new();
            entry.write_line(&mut written);
            let body = written.strip_suffix(b"}\n").expect("an object");
            prop_assert!(line.starts_with(body), "{}", String::from_utf8_lossy(&line));
        }
    }
}
