//! Odd and forbidden forms of the manifest, the sums and the signature: the tool and `docs/reader.py` must draw the line at the
//! same place.

use std::fs;

use crate::forge::ARCHIVE;
use crate::oracle_forged::Judge;
use crate::oracle_forged::Say::{Damage, Found, Sound};
use crate::support::write;

#[test]
fn both_readers_agree_on_the_manifest() {
    let mut judge = Judge::new();
    let replaced = |from: &'static str, to: &'static str| (format!("{from} → {to}"), from, to);
    let cases = [
        (replaced("{\"format\"", "\u{20}\n\t{\r\n \"format\""), Sound),
        (replaced("{\"format\"", "\u{feff}{\"format\""), Damage),
        (replaced("{\"format\"", "{\"zzz\":{\"a\":[1e999,null,-0.5]},\"format\""), Sound),
        (replaced("{\"format\"", "{\"zzz\":1,\"zzz\":1,\"format\""), Damage),
        (replaced("{\"format\"", "{\"zzz\":{\"a\":1,\"a\":2},\"format\""), Damage),
        (replaced("{\"format\"", "{\"zzz\":{\"a\":1,\"\\u0061\":2},\"format\""), Damage),
        (replaced("{\"format\"", "{\"zzz\":\"\\ud800\",\"format\""), Damage),
        (replaced("{\"format\"", "{\"zzz\":\"\\ud83d\\ude00\",\"format\""), Sound),
        (replaced("{\"format\"", "{\"zzz\":NaN,\"format\""), Damage),
        (replaced("{\"format\"", "{\"zzz\":-Infinity,\"format\""), Damage),
        (replaced("{\"format\"", "{\"zzz\":01,\"format\""), Damage),
        (replaced("{\"format\"", "{\"zzz\":\"\t\",\"format\""), Damage),
        (replaced("{\"format\"", "{\"zzz\":1,}{\"format\""), Damage),
        (replaced("\"format\":\"ccbackup\"", "\"format\":\"other\""), Damage),
        (replaced("\"format\":\"ccbackup\",", ""), Damage),
        (replaced("\"format\":\"ccbackup\"", "\"format\":\"cc\\u0062ackup\""), Sound),
        (replaced("\"version\":1,", "\"version\":2,"), Damage),
        (replaced("\"version\":1,", "\"version\":2,\"zzz\":1,\"zzz\":1,"), Damage),
        (replaced("\"version\":1,", "\"version\":0,"), Damage),
        (replaced("\"version\":1,", "\"version\":1.0,"), Damage),
        (replaced("\"version\":1,", "\"version\":\"1\","), Damage),
        (replaced("\"version\":1,", "\"version\":4294967296,"), Damage),
        (replaced("\"version\":1,", ""), Damage),
        (replaced("\"sequence\":1,", "\"sequence\":0,"), Damage),
        (replaced("\"sequence\":1,", "\"sequence\":1152921504606846976,"), Sound),
        (replaced("\"sequence\":1,", "\"sequence\":1152921504606846977,"), Damage),
        (replaced("\"sequence\":1,", "\"sequence\":1e0,"), Damage),
        (replaced("\"sequence\":1,", "\"sequence\":-1,"), Damage),
        (replaced("\"sequence\":1,", "\"sequence\":true,"), Damage),
        (replaced("\"kind\":\"full\"", "\"kind\":\"incremental\""), Sound),
        (replaced("\"kind\":\"full\"", "\"kind\":\"half\""), Damage),
        (replaced("\"kind\":\"files\"", "\"kind\":\"other\""), Sound),
        (replaced("\"kind\":\"files\"", "\"kind\":null"), Damage),
        (replaced("\"parent\":null,", ""), Damage),
        (replaced("\"parent\":null,", "\"parent\":{},"), Damage),
        (replaced("\"depends_on\":[]", "\"depends_on\":null"), Damage),
        (replaced("\"host\":\"test\"", "\"host\":\"\""), Sound),
        (replaced("\"host\":\"test\"", "\"host\":null"), Damage),
        (replaced("\"cipher\":\"none\"", "\"cipher\":\"none\",\"key_id\":\"0000000000000000\""), Damage),
        (replaced("\"cipher\":\"none\"", "\"cipher\":\"none\",\"zzz\":1"), Damage),
        (replaced("\"cipher\":\"none\"", "\"cipher\":\"rot13\""), Damage),
        (replaced("\"cipher\":\"none\"", "\"cipher\":\"none\",\"cipher\":\"none\""), Damage),
        (replaced("\"sealing\":{\"cipher\":\"none\"}", "\"sealing\":null"), Damage),
        (replaced("\"sealing\":", "\"tags\":null,\"sealing\":"), Damage),
        (replaced("\"sealing\":", "\"tags\":{},\"sealing\":"), Sound),
        (replaced("\"sealing\":", "\"tags\":{\"b\":\"\",\"a\":\"\"},\"sealing\":"), Sound),
        (replaced("\"sealing\":", "\"tags\":{\"b\":1},\"sealing\":"), Damage),
        (replaced("\"sealing\":", "\"tags\":{\"b\":\"\",\"b\":\"\"},\"sealing\":"), Damage),
        (replaced("\"problems\":[]", "\"problems\":[{\"kind\":\"odd\",\"count\":1}]"), Sound),
        (replaced("\"problems\":[]", "\"problems\":[{\"kind\":\"odd\",\"count\":0}]"), Damage),
        (
            replaced("\"problems\":[]", "\"problems\":[{\"kind\":\"odd\",\"count\":1},{\"kind\":\"odd\",\"count\":1}]"),
            Damage,
        ),
        (
            replaced("\"problems\":[]", "\"problems\":[{\"kind\":\"b\",\"count\":1},{\"kind\":\"a\",\"count\":1}]"),
            Damage,
        ),
        (replaced("\"problems\":[]", "\"problems\":[],\"left_out\":0"), Sound),
        (replaced("\"problems\":[]", "\"problems\":[],\"left_out\":null"), Damage),
        (replaced("\"problems\":[]", "\"problems\":[],\"left_out\":\"1\""), Damage),
        (replaced("\"own_segments\":", "\"table\":null,\"own_segments\":"), Damage),
        (replaced("\"own_segments\":", "\"table\":{\"offset\":0,\"bytes\":0},\"own_segments\":"), Damage),
        (replaced("\"segments\":1", "\"segments\":2"), Damage),
        (replaced("\"own_segments\":1", "\"own_segments\":7"), Damage),
        (replaced("\"volume\":0", "\"volume\":1"), Damage),
        (replaced("\"files.tar.zst\"", "\"file.tar.zst\""), Damage),
        (replaced("\"name\":\"files\"", "\"name\":\"Files\""), Damage),
        (replaced("\"frames\":", "\"frames\":1"), Found),
        (replaced("\"tar_bytes\":", "\"tar_bytes\":1"), Found),
        (replaced("\"content_bytes\":", "\"content_bytes\":1"), Found),
        (replaced("\"new_entries\":", "\"new_entries\":1"), Found),
        (replaced("\"entries\":", "\"entries\":1"), Found),
        (replaced("\"size_bytes\":", "\"size_bytes\":1"), Found),
        (replaced("\"created_at\":\"2", "\"created_at\":\"1"), Damage),
        (replaced("Z\",\"finished_at\"", "+00:00\",\"finished_at\""), Damage),
        (replaced("Z\",\"finished_at\"", "z\",\"finished_at\""), Damage),
    ];
    for ((about, from, to), expected) in cases {
        judge.manifest(&about, |text| text.replacen(from, to, 1), expected);
    }
    let nested = |levels: usize| {
        move |t: String| t.replacen('{', &format!("{{\"zzz\":{}{},", "[".repeat(levels), "]".repeat(levels)), 1)
    };
    judge.manifest("126 levels below the top", nested(126), Sound);
    judge.manifest("127 levels below the top", nested(127), Damage);
    judge.manifest("white space behind", |t| format!("{t} \r\n\t"), Sound);
    judge.manifest("something behind", |t| format!("{t}{{}}"), Damage);
    for time in ["2026-02-29T00:00:00Z", "1969-12-31T23:59:59Z", "2026-01-17T24:00:00Z", "2026-01-17T23:59:60Z"] {
        let change = |t: String| {
            let at = t.find("\"finished_at\":\"").unwrap() + 15;
            format!("{}{time}{}", &t[..at], &t[at + 20..])
        };
        judge.manifest(time, change, Damage);
    }
    judge.end();
}

#[test]
fn both_readers_agree_on_the_sums() {
    let mut judge = Judge::new();
    let place = judge.forge.dir().join("SHA256SUMS");
    let good = fs::read_to_string(&place).unwrap();
    let lines: Vec<_> = good.lines().map(str::to_owned).collect();
    let (mut turned, mut twice) = (lines.clone(), lines.clone());
    turned.reverse();
    twice.push(lines[lines.len() - 1].clone());
    let digest = &lines[0][..64];
    for (about, text, expected) in [
        ("as it was", good.clone(), Sound),
        ("CRLF", good.replace('\n', "\r\n"), Damage),
        ("no LF at the end", good.trim_end().to_owned(), Damage),
        ("an empty line", format!("{good}\n"), Damage),
        ("nothing", String::new(), Damage),
        ("another order", format!("{}\n", turned.join("\n")), Damage),
        ("a name twice", format!("{}\n", twice.join("\n")), Damage),
        ("a star", good.replace("  ", " *"), Damage),
        ("upper case", good.replace(digest, &digest.to_uppercase()), Damage),
        ("itself", format!("{digest}  SHA256SUMS\n{good}"), Damage),
        ("a name with a dot", format!("{digest}  .x\n{good}"), Damage),
        ("a name in a folder", format!("{good}{digest}  x/y\n"), Damage),
        ("a file that is not there", format!("{good}{digest}  zzz\n"), Found),
        (
            "no manifest",
            good.lines().filter(|l| !l.ends_with("manifest.json")).map(|l| format!("{l}\n")).collect(),
            Damage,
        ),
        ("no archive", good.lines().filter(|l| !l.ends_with(ARCHIVE)).map(|l| format!("{l}\n")).collect(), Found),
    ] {
        write(&place, text.as_bytes());
        let signature = judge.forge.sandbox.signer.sign(text.as_bytes()).unwrap();
        let armor = place.with_extension("sig");
        write(&armor, signature.as_bytes());
        judge.ask(about, expected);
        if expected == Sound {
            for (about, form) in [
                ("CRLF", signature.replace('\n', "\r\n")),
                ("no LF at the end", signature.trim_end().to_owned()),
                ("something behind", format!("{signature}\n")),
                ("a space in front", format!(" {signature}")),
                ("one long line", signature.replacen('\n', "\n ", 3)),
            ] {
                write(&armor, form.as_bytes());
                judge.ask(&format!("signature: {about}"), Damage);
            }
        }
    }
    judge.end();
}
