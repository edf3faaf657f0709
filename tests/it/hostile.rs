//! Repositories made to harm, signed by the key that is trusted: only the readers stand between them and the host.
//!
//! Every case must be refused as damage (or its own kind), write nothing outside the target, and neither panic nor take
//! memory that the files do not account for.

use std::fs;
use std::path::Path;

use ccbackup::Kind;
use ccbackup::archive::tar::write_member_header;
use ccbackup::engine::query;
use ccbackup::engine::verify::Depth;
use ccbackup::model::{Digest, Entry};
use serde_json::{Value, json};

use crate::forge::{ARCHIVE, Forge, INDEX, compress, framed, raw_table, with};
use crate::support::write;

#[test]
fn paths_that_lead_out_of_the_target_are_refused() {
    let forge = Forge::new();
    for path in [
        "../evil",
        "tree/../../evil",
        "/tmp/evil",
        "tree/../x",
        "tree//x",
        "tree/./x",
        "tree/",
        "",
        ".",
        "..",
        "tree/x\u{0}y",
        "tree/\\000",
        "tree/\\056\\056/\\056\\056/evil",
        "tree\\057..\\057..\\057evil",
    ] {
        for kind in ["a", "dir", "link", "z"] {
            let mut lines = forge.lines.clone();
            let at = lines.iter().position(|l| l["path"] == format!("tree/{kind}")).unwrap();
            lines[at]["path"] = json!(path);
            forge.put_index(&lines);
            forge.seal();
            forge.refused(Kind::Damage, &format!("{kind} with the path {path:?}"));
        }
    }
}

#[test]
fn entries_below_something_that_is_no_folder_are_refused() {
    let forge = Forge::new();
    let (a, dir, link, root) = (forge.line("a"), forge.line("dir"), forge.line("link"), forge.lines[0].clone());
    let named = |line: &Value, path: &str| with(line, |l| l["path"] = json!(path));
    for (lines, about) in [
        (vec![root.clone(), link.clone(), named(&a, "tree/link/evil")], "a file below a link"),
        (vec![root.clone(), link.clone(), named(&dir, "tree/link/evil")], "a folder below a link"),
        (vec![root.clone(), a.clone(), named(&a, "tree/a/x")], "a file below a file"),
        (vec![root.clone(), named(&a, "tree/nothing/x")], "a file below nothing"),
        (vec![named(&a, "tree/x")], "no root"),
        (
            vec![root.clone(), link.clone(), named(&dir, "tree/link"), named(&a, "tree/link/evil")],
            "a link, then a folder",
        ),
        (
            vec![root.clone(), named(&dir, "tree/link"), link.clone(), named(&a, "tree/link/evil")],
            "a folder, then a link",
        ),
        (vec![root.clone(), a.clone(), a.clone()], "a path twice"),
        (vec![root.clone(), link.clone(), a.clone()], "not in order"),
        (vec![root.clone(), dir.clone(), root.clone()], "the root again"),
    ] {
        forge.put_index(&lines);
        forge.seal();
        forge.refused(Kind::Damage, about);
        // The same across the border of two segments.
        let (head, tail) = lines.split_at(lines.len() - 1);
        if !head.is_empty() {
            forge.put_segments(&[head.to_vec(), tail.to_vec()], |_, _| {});
            forge.seal();
            forge.refused(Kind::Damage, &format!("{about}, in two segments"));
        }
    }
}

#[test]
fn hard_links_to_anything_but_an_earlier_entry_are_refused() {
    let forge = Forge::new();
    write(&forge.sandbox.dir.path().join("secret"), b"secret");
    let cases = [
        "/etc/passwd",
        "..",
        "../../secret",
        "tree/../../../secret",
        "",
        "tree/missing",
        "missing/deep",
        "tree/link/passwd",
        "tree/z",
        "tree/zz",
        "tree",
        "tree/dir",
    ];
    for target in cases {
        let mut lines: Vec<_> = forge
            .lines
            .iter()
            .map(|l| if l["path"] == "tree/z" { with(l, |l| l["target"] = json!(target)) } else { l.clone() })
            .collect();
        if target == "tree/zz" {
            lines.push(with(&forge.line("a"), |l| l["path"] = json!("tree/zz")));
        }
        forge.put_index(&lines);
        forge.seal();
        forge.refused(Kind::Damage, &format!("a hard link to {target:?}"));
    }
}

#[test]
fn impossible_numbers_and_contents_in_lines_are_refused() {
    let forge = Forge::new();
    let id = forge.id.as_str();
    let max = u64::MAX;
    let part = |backup: &str, volume: u64, offset: u64, length: u64| json!([[backup, volume, offset, length]]);
    let huge = 1_u64 << 59;
    let cases: Vec<(&str, Value)> = vec![
        ("a negative size", json!({"size": -1})),
        ("a size of 2^64", json!({"size": 1.9e19})),
        ("a size as text", json!({"size": "12"})),
        ("a size that is not its content", json!({"size": 13})),
        ("no size", json!({"size": null})),
        ("offset and length that overflow", json!({"content": part(id, 0, max, 12)})),
        ("a length that overflows", json!({"size": max, "content": part(id, 0, 0, max)})),
        (
            "lengths whose sum overflows",
            json!({"content": null, "pieces": [[id, 0, 0, huge], [id, 0, 0, huge], [id, 0, 0, huge]]}),
        ),
        ("content far behind the archive", json!({"content": part(id, 0, 1 << 40, 12)})),
        (
            "content that begins inside and ends behind the archive",
            json!({"size": huge, "content": part(id, 0, 512, huge)}),
        ),
        ("content in a volume that is not there", json!({"content": part(id, 7, 512, 12)})),
        ("a volume of 2^32", json!({"content": part(id, 1 << 32, 512, 12)})),
        (
            "content in a backup that the manifest does not name",
            json!({"content": part("20200101-000000", 0, 512, 12)}),
        ),
        ("content in a folder above", json!({"content": part("../../../etc", 0, 512, 12)})),
        ("content elsewhere in the archive", json!({"content": part(id, 0, 0, 12)})),
        ("two contents", json!({"content": [[id, 0, 0, 6], [id, 0, 6, 6]]})),
        ("content and pieces", json!({"pieces": part(id, 0, 0, 12)})),
        ("no content", json!({"content": null})),
        ("pieces of nothing", json!({"content": null, "pieces": []})),
        ("regions that overlap", json!({"size": 100, "regions": [[0, 6], [5, 6]]})),
        ("regions backwards", json!({"size": 100, "regions": [[50, 6], [0, 6]]})),
        ("a region behind the end", json!({"size": 100, "regions": [[90, 12]]})),
        ("a region that overflows", json!({"size": 100, "regions": [[max, 12]]})),
        ("regions of another length", json!({"size": 100, "regions": [[0, 6]]})),
        ("chunks that do not add up", json!({"chunks": [[5, Digest::of(b"").to_string()]]})),
        (
            "chunks that overflow",
            json!({"chunks": [[max, Digest::of(b"").to_string()], [13, Digest::of(b"").to_string()]]}),
        ),
        ("another digest", json!({"sha256": Digest::of(b"other").to_string()})),
        ("a digest that is none", json!({"sha256": "00"})),
        ("a mode beyond the bits", json!({"mode": "17777"})),
        ("a mode that is none", json!({"mode": "rwx"})),
        ("an unknown type", json!({"type": "door"})),
        ("no type", json!({"type": null})),
        ("a device without numbers", json!({"type": "char"})),
        ("a time that is none", json!({"mtime": "yesterday"})),
        ("a time beyond all", json!({"mtime": "99999999999999999999999"})),
        ("a user number of 2^32", json!({"uid": 1_u64 << 32})),
        ("an attribute that is not base64", json!({"xattrs": [["user.a", "?"]]})),
        ("an attribute without a name", json!({"xattrs": [["", "AA=="]]})),
        ("an attribute with a huge name", json!({"xattrs": [["u".repeat(300), "AA=="]]})),
        ("a home behind the archive", json!({"home": [id, 0, 1_u64 << 40]})),
        ("a home in another member", json!({"home": [id, 0, 512]})),
        ("an escape that is none", json!({"path": "tree/a\\x41"})),
        ("an octal escape beyond a byte", json!({"path": "tree/a\\777"})),
    ];
    for (about, change) in cases {
        let lines: Vec<_> = forge
            .lines
            .iter()
            .map(|line| if line["path"] == "tree/a" { merged(line, &change) } else { line.clone() })
            .collect();
        forge.put_index(&lines);
        forge.seal();
        let home_only = change.get("home").is_some();
        if home_only {
            // A restore does not need the member, a restore by hand would: deep verification must say it.
            let report = forge.sandbox.verify(&forge.id, Depth::Deep(100.0));
            assert!(!report.ok, "{about}");
        } else {
            forge.refused(Kind::Damage, about);
        }
    }
}

fn merged(line: &Value, change: &Value) -> Value {
    with(line, |line| {
        for (key, value) in change.as_object().unwrap() {
            if value.is_null() {
                line.as_object_mut().unwrap().shift_remove(key);
            } else {
                line[key] = value.clone();
            }
        }
    })
}

#[test]
fn lines_that_are_no_lines_are_refused() {
    let forge = Forge::new();
    let bomb = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for text in ["", "\n", "{}\n", "null\n", "{\"path\":", "\u{0}\u{0}\u{0}\n", "{\"path\":\"tree\"}\n", bomb.as_str()]
    {
        let good = forge.lines.iter().map(|l| format!("{l}\n")).collect::<String>();
        for lines in [text.to_owned(), format!("{good}{text}")] {
            if lines == good || lines.trim_end() == good.trim_end() || lines.is_empty() {
                continue;
            }
            let digest = Digest::of(lines.as_bytes()).to_string();
            let n = forge.lines.len();
            let table = json!({"segment": [forge.id.as_str(), 0, lines.len(), digest, n, "tree"]});
            let end = json!({"end": {"table_offset": lines.len(), "segments": 1, "entries": n}});
            let frames = [lines.into_bytes(), format!("{table}\n").into_bytes(), format!("{end}\n").into_bytes()];
            write(&forge.dir().join(INDEX), &framed(&frames));
            forge.seal();
            forge.refused(Kind::Damage, &format!("the line {:?}", &text[..text.len().min(40)]));
        }
    }
}

#[test]
fn a_segment_table_that_lies_is_refused() {
    let forge = Forge::new();
    let max = u64::MAX;
    let field = |at: usize, value: Value| move |table: &mut Vec<Value>, _: &mut Value| table[0]["segment"][at] = value;
    let end = |key: &'static str, value: Value| move |_: &mut Vec<Value>, end: &mut Value| end["end"][key] = value;
    type Lie = Box<dyn FnOnce(&mut Vec<Value>, &mut Value)>;
    let lies: Vec<(&str, Lie)> = vec![
        ("a backup that the manifest does not name", Box::new(field(0, json!("20200101-000000")))),
        ("a backup that is a path", Box::new(field(0, json!("../../evil")))),
        ("an offset inside", Box::new(field(1, json!(1)))),
        ("an offset behind the file", Box::new(field(1, json!(1_u64 << 50)))),
        ("an offset that overflows", Box::new(field(1, json!(max)))),
        ("a negative offset", Box::new(field(1, json!(-1)))),
        ("no length", Box::new(field(2, json!(0)))),
        ("another length", Box::new(field(2, json!(17)))),
        ("a huge length", Box::new(field(2, json!(max)))),
        ("another digest", Box::new(field(3, json!(Digest::of(b"x").to_string())))),
        ("a digest that is none", Box::new(field(3, json!("x")))),
        ("another count", Box::new(field(4, json!(1)))),
        ("a huge count", Box::new(field(4, json!(max)))),
        ("no count", Box::new(field(4, json!(0)))),
        ("another first path", Box::new(field(5, json!("other")))),
        ("a first path that leads out", Box::new(field(5, json!("../x")))),
        (
            "the segment twice",
            Box::new(|t: &mut Vec<Value>, e: &mut Value| {
                t.push(t[0].clone());
                e["end"]["segments"] = json!(2);
            }),
        ),
        ("no segment", Box::new(|t: &mut Vec<Value>, _: &mut Value| t.clear())),
        ("another line in the table", Box::new(|t: &mut Vec<Value>, _: &mut Value| t.push(json!({"x": 1})))),
        ("a table behind the file", Box::new(end("table_offset", json!(1_u64 << 50)))),
        ("a table that overflows", Box::new(end("table_offset", json!(max)))),
        ("a table in the lines", Box::new(end("table_offset", json!(0)))),
        ("a negative table", Box::new(end("table_offset", json!(-5)))),
        ("more segments", Box::new(end("segments", json!(max)))),
        ("more entries", Box::new(end("entries", json!(max)))),
        ("fewer entries", Box::new(end("entries", json!(1)))),
        ("no end", Box::new(|_: &mut Vec<Value>, e: &mut Value| *e = json!({"segment": []}))),
    ];
    for (about, lie) in lies {
        forge.put_segments(std::slice::from_ref(&forge.lines), lie);
        forge.seal();
        forge.refused(Kind::Damage, &format!("a table with {about}"));
    }
    // Fewer entries than the manifest promises, in an index that is right in itself.
    forge.put_index(&forge.lines[..2]);
    forge.seal();
    assert!(!forge.sandbox.verify(&forge.id, Depth::Deep(100.0)).ok, "a shorter inventory than promised");
}

#[test]
fn frames_and_seek_tables_that_lie_are_refused() {
    let forge = Forge::new();
    let original = fs::read(forge.dir().join(ARCHIVE)).unwrap();
    let stream = zstd::decode_all(&original[..]).unwrap();
    let frame = compress(&stream);
    let (stored, length) = (u32::try_from(frame.len()).unwrap(), u32::try_from(stream.len()).unwrap());
    let with_table = |frame: &[u8], entries: &[(u32, u32)], count: u32| [frame, &raw_table(entries, count)].concat();
    let bomb = zstd::encode_all(std::io::repeat(0).take_bytes(3 << 30), 1).unwrap();
    let mut unsized_bomb = zstd::Encoder::new(Vec::new(), 1).unwrap();
    unsized_bomb.include_contentsize(false).unwrap();
    std::io::copy(&mut std::io::repeat(0).take_bytes(1 << 30), &mut unsized_bomb).unwrap();
    let unsized_bomb = unsized_bomb.finish().unwrap();
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing at all", vec![]),
        ("a table only", raw_table(&[], 0)),
        ("no table", frame.clone()),
        ("a length of 4 GiB", with_table(&frame, &[(stored, u32::MAX)], 1)),
        ("a length of 64 MiB", with_table(&frame, &[(stored, 64 << 20)], 1)),
        ("a length of nothing", with_table(&frame, &[(stored, 0)], 1)),
        ("a shorter length", with_table(&frame, &[(stored, length - 1)], 1)),
        ("a longer length", with_table(&frame, &[(stored, length + 1)], 1)),
        ("a stored length of 4 GiB", with_table(&frame, &[(u32::MAX, length)], 1)),
        ("a shorter stored length", with_table(&frame, &[(stored - 1, length)], 1)),
        ("a stored length of nothing", with_table(&frame, &[(0, length), (stored, 0)], 2)),
        ("a hundred million frames", with_table(&frame, &[(stored, length)], 100_000_000)),
        ("2^32 - 1 frames", with_table(&frame, &[(stored, length)], u32::MAX)),
        ("no frames", with_table(&frame, &[(stored, length)], 0)),
        ("a frame that bursts", with_table(&bomb, &[(size(&bomb), length)], 1)),
        ("a frame that bursts, with a long entry", with_table(&bomb, &[(size(&bomb), 64 << 20)], 1)),
        ("a frame of unknown size that bursts", with_table(&unsized_bomb, &[(size(&unsized_bomb), length)], 1)),
        ("something else than a frame", with_table(&vec![7; frame.len()], &[(stored, length)], 1)),
        ("zeros", vec![0; 4096]),
    ];
    let mut other = stream.clone();
    let at = other.windows(12).position(|w| w == b"content of a").unwrap();
    other[at] ^= 1;
    cases.push(("other content", framed(&[other])));
    for (about, bytes) in cases {
        write(&forge.dir().join(ARCHIVE), &bytes);
        forge.seal();
        forge.refused(Kind::Damage, &format!("an archive with {about}"));
        write(&forge.dir().join(ARCHIVE), &original);
        let index = fs::read(forge.dir().join(INDEX)).unwrap();
        write(&forge.dir().join(INDEX), &bytes);
        forge.seal();
        forge.refused(Kind::Damage, &format!("an index with {about}"));
        write(&forge.dir().join(INDEX), &index);
    }
}

trait TakeBytes: std::io::Read + Sized {
    fn take_bytes(self, limit: u64) -> std::io::Take<Self> {
        std::io::Read::take(self, limit)
    }
}

impl TakeBytes for std::io::Repeat {}

#[test]
fn a_member_that_contradicts_its_line_is_found_by_deep_verification() {
    let forge = Forge::new();
    let original = fs::read(forge.dir().join(ARCHIVE)).unwrap();
    let stream = zstd::decode_all(&original[..]).unwrap();
    let line = forge.line("a");
    let entry = Entry::parse_line(line.to_string().as_bytes()).unwrap();
    let offset = usize::try_from(entry.home.offset).unwrap();
    for (about, change) in [
        ("another mode", json!({"mode": "4755"})),
        ("another owner", json!({"uid": 4242})),
        ("another path", json!({"path": "tree/q"})),
        ("another group", json!({"gid": 4242})),
    ] {
        let mut lying = Vec::new();
        write_member_header(&Entry::parse_line(merged(&line, &change).to_string().as_bytes()).unwrap(), &mut lying);
        let mut honest = Vec::new();
        write_member_header(&entry, &mut honest);
        assert_eq!(lying.len(), honest.len(), "the case {about} must keep the layout");
        let mut changed = stream.clone();
        assert_eq!(changed[offset..offset + honest.len()], honest[..]);
        changed[offset..offset + lying.len()].copy_from_slice(&lying);
        write(&forge.dir().join(ARCHIVE), &framed(&[changed]));
        forge.seal();
        let report = forge.sandbox.verify(&forge.id, Depth::Deep(100.0));
        assert!(report.findings.iter().any(|f| f.path == "files/tree/a"), "{about}: {:#?}", report.findings);
        assert!(forge.sandbox.verify(&forge.id, Depth::Keyless).ok, "the forger did sign {about}");
    }
}

#[test]
fn a_manifest_that_lies_is_refused() {
    let forge = Forge::new();
    let good = forge.sandbox.scratch("manifest");
    fs::copy(forge.dir().join("manifest.json"), &good).unwrap();
    type Lie = fn(&mut Value);
    let lies: [(&str, Kind, Lie); 26] = [
        ("a component named ../x", Kind::Damage, |m| m["components"][0]["name"] = json!("../x")),
        ("a component named /x", Kind::Damage, |m| m["components"][0]["name"] = json!("/x")),
        ("a component named ..", Kind::Damage, |m| m["components"][0]["name"] = json!("..")),
        ("a component without a name", Kind::Damage, |m| m["components"][0]["name"] = json!("")),
        ("a component with a newline", Kind::Damage, |m| m["components"][0]["name"] = json!("files\n")),
        ("a component twice", Kind::Damage, |m| m["components"] = json!([m["components"][0], m["components"][0]])),
        ("an archive above", Kind::Damage, |m| m["components"][0]["archives"][0]["name"] = json!("../x.tar.zst")),
        ("an archive elsewhere", Kind::Damage, |m| m["components"][0]["archives"][0]["name"] = json!("/etc/passwd")),
        ("another volume", Kind::Damage, |m| m["components"][0]["archives"][0]["volume"] = json!(1)),
        ("a negative volume", Kind::Damage, |m| m["components"][0]["archives"][0]["volume"] = json!(-1)),
        ("an index elsewhere", Kind::Damage, |m| m["components"][0]["index"]["name"] = json!("../../x")),
        ("another index digest", Kind::Damage, |m| {
            m["components"][0]["index"]["sha256"] = json!(Digest::of(b"").to_string());
        }),
        ("another entry count", Kind::Damage, |m| m["components"][0]["entries"] = json!(u64::MAX)),
        ("problems that overflow", Kind::Damage, |m| {
            m["components"][0]["problems"] =
                json!([{"kind": "a", "count": u64::MAX}, {"kind": "b", "count": u64::MAX}]);
        }),
        ("sizes that overflow", Kind::Damage, |m| m["components"][0]["bytes_stored"] = json!(u64::MAX)),
        ("the last of all numbers", Kind::Damage, |m| m["sequence"] = json!(u64::MAX)),
        ("a newer format", Kind::NewerFormat, |m| m["version"] = json!(2)),
        ("a much newer format", Kind::NewerFormat, |m| *m = json!({"format": "ccbackup", "version": u32::MAX})),
        ("version 0", Kind::Damage, |m| m["version"] = json!(0)),
        ("another format", Kind::Damage, |m| m["format"] = json!("tar")),
        ("another repository", Kind::Damage, |m| m["repository_id"] = json!("0".repeat(32))),
        ("another id", Kind::Damage, |m| m["id"] = json!("20200101-000000")),
        ("an id that is a path", Kind::Damage, |m| m["id"] = json!("../../x")),
        ("a dependency on itself", Kind::Damage, |m| {
            m["kind"] = json!("incremental");
            m["depends_on"] = json!([{"id": m["id"], "sums_sha256": Digest::of(b"").to_string()}]);
        }),
        ("a full backup with dependencies", Kind::Damage, |m| {
            m["depends_on"] = json!([{"id": "20200101-000000", "sums_sha256": Digest::of(b"").to_string()}]);
        }),
        ("an unknown cipher", Kind::Damage, |m| m["sealing"] = json!({"cipher": "rot13"})),
    ];
    for (about, kind, lie) in lies {
        forge.seal_as(lie);
        let target = forge.sandbox.scratch("out");
        let before = forge.outside();
        let restored = forge.sandbox.try_restore(&forge.id, &target, |_| {});
        match restored {
            Err(error) => assert_eq!(error.kind(), kind, "{about}"),
            // Damage of one component is told with the others'.
            Ok(report) if about != "another entry count" => {
                assert!(kind == Kind::Damage && !report.findings.is_empty(), "{about}");
                assert_eq!(report.written, 0, "{about}");
            }
            Ok(_) => {}
        }
        assert_eq!(forge.outside(), before, "{about}");
        let report = forge.sandbox.verify_with(&forge.id, Depth::Deep(100.0), true).unwrap();
        assert!(!report.ok, "{about}");
        assert!(
            report.findings.iter().all(|f| (f.kind.to_string() == "newer-format") == (kind == Kind::NewerFormat)),
            "{about}"
        );
        // A listing shows it, and does not fall over.
        query::list(&forge.sandbox.repo(), &forge.sandbox.state(), &forge.sandbox.trust()).unwrap();
    }
    // Links to other backups that are paths.
    forge.seal_as(|m| m["parent"] = json!({"id": "../..", "sums_sha256": Digest::of(b"").to_string()}));
    forge.refused(Kind::Damage, "a parent that is a path");
}

#[test]
fn a_list_of_digests_that_lies_is_refused() {
    let forge = Forge::new();
    let sums = fs::read_to_string(forge.dir().join("SHA256SUMS")).unwrap();
    let digest = Digest::of(b"").to_string();
    for (about, text) in [
        ("a path", format!("{sums}{digest}  ../../x\n")),
        ("an absolute path", format!("{sums}{digest}  /etc/passwd\n")),
        ("a hidden file", format!("{sums}{digest}  .x\n")),
        ("a name twice", format!("{sums}{}", sums.lines().next().unwrap().to_owned() + "\n")),
        ("no last newline", sums.trim_end().to_owned()),
        ("nothing", String::new()),
        ("no manifest", sums.lines().filter(|l| !l.contains("manifest")).map(|l| format!("{l}\n")).collect()),
        ("an escape", format!("\\{sums}")),
    ] {
        write(&forge.dir().join("SHA256SUMS"), text.as_bytes());
        let signature = forge.sandbox.signer.sign(text.as_bytes()).unwrap();
        write(&forge.dir().join("SHA256SUMS.sig"), signature.as_bytes());
        forge.refused(Kind::Damage, &format!("digests with {about}"));
    }
}

#[test]
fn huge_small_files_are_not_read() {
    let forge = Forge::new();
    for name in ["manifest.json", "SHA256SUMS", "SHA256SUMS.sig"] {
        let path = forge.dir().join(name);
        let good = fs::read(&path).unwrap();
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        forge.refused(Kind::Damage, &format!("a {name} of a tebibyte"));
        write(&path, &good);
    }
    let path = forge.sandbox.root().join("repository.json");
    for text in ["{\"format\":\"ccbackup\",\"version\":2}", "{\"format\":\"ccbackup\",\"version\":99,\"x\":[]}"] {
        let good = fs::read(&path).unwrap();
        write(&path, text.as_bytes());
        forge_open_fails(&path, Kind::NewerFormat);
        write(&path, &good);
    }
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    forge_open_fails(&path, Kind::Damage);
}

fn forge_open_fails(record: &Path, kind: Kind) {
    let error = ccbackup::repo::Repository::open(record.parent().unwrap()).unwrap_err();
    assert_eq!(error.kind(), kind, "{}", error.one_line());
}
