//! Archives go both ways between this module and GNU tar, bsdtar and Python's tarfile.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Command, Output};

use rustix::fs::{lgetxattr, llistxattr, major, minor};

use super::samples::{ACL, BEFORE_1970, ESCAPED, STUB, Sample, archive, expand, members, samples, samples_but};
use super::*;

fn store(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

fn run(command: &mut Command) -> Output {
    let name = command.get_program().to_owned();
    let output = command.env("LC_ALL", "C.UTF-8").output();
    output.unwrap_or_else(|e| panic!("the tool {name:?} must be installed: {e}"))
}

/// Owners, devices and attributes can only be compared when they can be set.
fn must_be_root() {
    assert!(rustix::process::geteuid().is_root(), "this test makes devices and changes owners: run it as root");
}

fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65536];
    let length = llistxattr(path, &mut names).unwrap();
    let names = names[..length].split(|&b| b == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 65536];
        let length = lgetxattr(path, name, &mut value).unwrap();
        value.truncate(length);
        value
    };
    // SELinux labels come from the system, not from the archive.
    names.filter(|name| name != b"security.selinux").map(|name| (name.to_vec(), value(name))).collect()
}

/// Compares what a tool extracted.
fn compare_tree(root: &Path, samples: &[Sample]) {
    for sample in samples {
        let entry = &sample.entry;
        let path = root.join(entry.path.as_os_str());
        let meta = fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", entry.path));
        let kind = meta.file_type();
        match &entry.kind {
            EntryKind::File { regions, .. } => {
                assert!(fs::read(&path).unwrap() == sample.content(), "content of {}", entry.path);
                if regions.is_some() && meta.len() >= 1 << 20 {
                    assert!(meta.blocks() * 512 < meta.len() / 2, "{} has lost its holes", entry.path);
                }
            }
            EntryKind::Dir => assert!(kind.is_dir()),
            EntryKind::Symlink { target } => {
                assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), target, "{}", entry.path);
            }
            EntryKind::Hardlink { target } => {
                assert_eq!(meta.ino(), fs::symlink_metadata(root.join(target.as_os_str())).unwrap().ino());
            }
            EntryKind::Fifo => assert!(kind.is_fifo()),
            EntryKind::CharDevice { major: a, minor: b } => {
                assert_eq!((kind.is_char_device(), major(meta.rdev()), minor(meta.rdev())), (true, *a, *b));
            }
            EntryKind::BlockDevice { major: a, minor: b } => {
                assert_eq!((kind.is_block_device(), major(meta.rdev()), minor(meta.rdev())), (true, *a, *b));
            }
        }
        let owner = (meta.mode() & 0o7777, meta.uid(), meta.gid());
        assert_eq!(owner, (entry.mode, entry.uid, entry.gid), "mode and owner of {}", entry.path);
        let mtime = at(meta.mtime(), meta.mtime_nsec().try_into().unwrap());
        assert_eq!(mtime, entry.mtime, "modification time of {}", entry.path);
        let expected: BTreeMap<_, _> = entry.xattrs.iter().map(|x| (x.name.clone(), x.value.clone())).collect();
        assert_eq!(attributes(&path), expected, "attributes of {}", entry.path);
    }
}

fn extract_with_gnu_tar(tar: &Path, out: &Path) -> String {
    fs::create_dir(out).unwrap();
    let output = run(Command::new("tar").args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"]).args([
        tar.as_os_str(),
        "-C".as_ref(),
        out.as_os_str(),
    ]));
    assert!(output.status.success(), "{output:?}");
    let warnings = std::str::from_utf8(&output.stderr).unwrap().lines();
    warnings.filter(|line| !line.contains("implausibly old time stamp")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn gnu_tar_extracts_every_kind_of_entry() {
    must_be_root();
    let folder = tempfile::tempdir().unwrap();
    let (tar, out) = (folder.path().join("x.tar"), folder.path().join("out"));
    let samples = samples();
    store(&tar, &archive(&samples));
    let warnings = extract_with_gnu_tar(&tar, &out);
    assert_eq!(warnings, "tar: Ignoring unknown extended header keyword 'CCBACKUP.pieces'\n");
    compare_tree(&out, &samples);
}

#[test]
fn gnu_tar_finds_no_difference_to_the_tree_that_it_extracted() {
    must_be_root();
    let folder = tempfile::tempdir().unwrap();
    let (tar, out) = (folder.path().join("x.tar"), folder.path().join("out"));
    let samples = samples_but(&[STUB]);
    store(&tar, &archive(&samples));
    assert_eq!(extract_with_gnu_tar(&tar, &out), "");
    let compared = run(Command::new("tar").args(["--numeric-owner", "-df"]).arg(&tar).arg("-C").arg(&out));
    assert!(compared.status.success() && compared.stdout.is_empty(), "{compared:?}");
}

#[test]
fn bsdtar_extracts_every_kind_of_entry() {
    must_be_root();
    let folder = tempfile::tempdir().unwrap();
    let (tar, out) = (folder.path().join("x.tar"), folder.path().join("out"));
    // It does not undo GNU's escapes in names of attributes, sets no ACLs from attributes, and reads -5.25 as -4.75.
    let samples = samples_but(&[ESCAPED, ACL, BEFORE_1970]);
    store(&tar, &archive(&samples));
    fs::create_dir(&out).unwrap();
    let output = run(Command::new("bsdtar").args(["--numeric-owner", "-xpf"]).arg(&tar).arg("-C").arg(&out));
    // Names that are not UTF-8 come through, but not without these words.
    let mut warnings = std::str::from_utf8(&output.stderr).unwrap().lines();
    let known = ["name can't be converted from UTF-8 to current locale.", "Error exit delayed from previous errors."];
    assert!(warnings.all(|line| known.iter().any(|end| line.ends_with(end))), "{output:?}");
    compare_tree(&out, &samples);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

const PYTHON_LIST: &str = r"
import hashlib, os, sys, tarfile
for m in tarfile.open(sys.argv[1], 'r:'):
    kind = [n for n, f in dict(file=m.isreg(), dir=m.isdir(), symlink=m.issym(), hardlink=m.islnk(), fifo=m.isfifo(),
                               char=m.ischr(), block=m.isblk()).items() if f][0]
    content = hashlib.sha256(tarfile.TarFile.extractfile(t, m).read()).hexdigest() if kind == 'file' else '-'
    print(os.fsencode(m.name).hex(), kind, oct(m.mode), m.uid, m.gid, m.size, round(m.mtime * 1000), content,
          os.fsencode(m.linkname).hex(), m.devmajor, m.devminor)
";

#[test]
fn python_lists_the_same_entries_and_contents() {
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("x.tar");
    let samples = samples();
    store(&tar, &archive(&samples));
    let script = PYTHON_LIST.replace("in tarfile.open(sys.argv[1], 'r:')", "in (t := tarfile.open(sys.argv[1], 'r:'))");
    let output = run(Command::new("python3").args(["-c", &script]).arg(&tar));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).unwrap();
    for (line, sample) in listed.lines().zip(&samples) {
        let (e, content) = (&sample.entry, sample.content());
        let is_file = e.kind.name() == "file";
        let digest = if is_file { Digest::of(&content).to_string() } else { "-".into() };
        let (link, device) = match &e.kind {
            EntryKind::Symlink { target } => (target.clone(), (0, 0)),
            EntryKind::Hardlink { target } => (target.as_bytes().to_vec(), (0, 0)),
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                (vec![], (*major, *minor))
            }
            _ => (vec![], (0, 0)),
        };
        let milliseconds = (e.mtime.seconds as f64 * 1e3 + f64::from(e.mtime.nanoseconds) / 1e6).round_ties_even();
        // A leading dash is written as `./-`.
        let dash = if e.path.as_bytes().starts_with(b"-") { &b"./"[..] } else { b"" };
        let name = [dash, e.path.as_bytes()].concat();
        let expected = format!(
            "{} {} 0o{:o} {} {} {} {milliseconds} {digest} {} {} {}",
            hex(&name),
            e.kind.name(),
            e.mode,
            e.uid,
            e.gid,
            content.len(),
            hex(&link),
            device.0,
            device.1
        );
        assert_eq!(line, expected, "{}", e.path);
    }
    assert_eq!(listed.lines().count(), samples.len());
}

#[test]
fn gnu_tar_reads_sizes_and_numbers_beyond_octal() {
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("x.tar");
    let size = (1_u64 << 33) + 1000;
    let big = |path: &str, kind: EntryKind| {
        let mut entry = entry(path, kind);
        (entry.uid, entry.mtime) = (u32::MAX - 1, at(1 << 33, 0));
        entry
    };
    let entries = [
        big("dense", file(size)),
        big("sparse", sparse_file(2 * size, Some(vec![(1, size)]))),
        big("device", EntryKind::CharDevice { major: 3_000_000, minor: 3_000_001 }),
        big("last", file(0)),
    ];
    // Contents are a hole in the archive.
    let mut out = File::create(&tar).unwrap();
    for entry in &entries {
        let mut header = Vec::new();
        let content = write_member_header(entry, &mut header);
        out.write_all(&header).unwrap();
        std::io::Seek::seek_relative(&mut out, i64::try_from(content).unwrap()).unwrap();
        out.write_all(&vec![0; padding(content)]).unwrap();
    }
    out.write_all(&END).unwrap();
    let listed = run(Command::new("tar").args(["--numeric-owner", "--utc", "-tvf"]).arg(&tar));
    assert!(listed.status.success() && listed.stderr.is_empty(), "{listed:?}");
    let lines = String::from_utf8(listed.stdout).unwrap();
    let lines: Vec<Vec<_>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
    let expected = |name, size: &str| vec![name, "4294967294/0".to_owned(), size.to_owned()];
    for (line, (entry, size)) in lines.iter().zip(entries.iter().zip([
        size.to_string(),
        (2 * size).to_string(),
        "3000000,3000001".to_owned(),
        "0".to_owned(),
    ])) {
        assert_eq!(line[1..3], expected(line[0].to_owned(), &size)[1..], "{line:?}");
        assert_eq!((line[3], line[5]), ("2242-03-16", &*entry.path.to_string()));
    }
    assert_eq!(lines.len(), entries.len());
}

/// What a tool can store.
struct Peer {
    attributes: bool,
    /// Largest error of times, in nanoseconds.
    time_error: u128,
}

/// Compares a tar that a tool made of the extracted tree.
fn compare_archive(tar: &[u8], samples: &[Sample], peer: &Peer) {
    let members = members(tar);
    assert_eq!(members.len(), samples.len());
    for ((member, stored), sample) in members.iter().zip(samples) {
        let mut entry = sample.entry.clone();
        entry.user = String::from_utf8(member.user.clone()).unwrap();
        entry.group = String::from_utf8(member.group.clone()).unwrap();
        if !peer.attributes {
            entry.xattrs.clear();
        }
        let nanoseconds = |t: Timestamp| i128::from(t.seconds) * 1_000_000_000 + i128::from(t.nanoseconds);
        if nanoseconds(member.mtime).abs_diff(nanoseconds(entry.mtime)) <= peer.time_error {
            entry.mtime = member.mtime;
        }
        if let EntryKind::File { size, regions, in_pieces, .. } = &mut entry.kind {
            let content = sample.content();
            // Holes depend on the file system, so contents are compared.
            (*size, *regions, *in_pieces) = (content.len() as u64, member.regions.clone(), false);
            let found = member.regions.as_ref().map_or(stored.to_vec(), |r| expand(stored, r, member.real_size));
            assert!(found == content, "content of {}", entry.path);
        }
        assert_eq!(member.difference(&entry), None, "{}", entry.path);
    }
}

/// Makes the tree of the samples, without those that `but` names, and lets `make` pack it: archive, tree, list of names
/// with a NUL after each.
fn packed_by(but: &[&str], peer: &Peer, make: impl FnOnce(&Path, &Path, &Path) -> Command) -> Vec<u8> {
    must_be_root();
    let folder = tempfile::tempdir().unwrap();
    let (ours, tree) = (folder.path().join("ours.tar"), folder.path().join("tree"));
    let (theirs, list) = (folder.path().join("theirs.tar"), folder.path().join("list"));
    let samples = samples_but(but);
    store(&ours, &archive(&samples));
    extract_with_gnu_tar(&ours, &tree);
    store(&list, &samples.iter().flat_map(|s| [s.entry.path.as_bytes(), b"\0"].concat()).collect::<Vec<_>>());
    let output = run(&mut make(&theirs, &tree, &list));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tar = fs::read(&theirs).unwrap();
    compare_archive(&tar, &samples, peer);
    tar
}

#[test]
fn archives_of_gnu_tar_are_read() {
    for (format, attributes, time_error) in [("posix", true, 0), ("gnu", false, 999_999_999)] {
        let tar = packed_by(&[], &Peer { attributes, time_error }, |tar, tree, list| {
            let mut command = Command::new("tar");
            command.arg(format!("--format={format}")).arg("-cf").arg(tar).arg("-C").arg(tree);
            if attributes {
                command.args(["--xattrs", "--xattrs-include=*", "--sparse"]);
            }
            command.args(["--no-recursion", "--null", "--verbatim-files-from", "-T"]).arg(list);
            command
        });
        assert_eq!(members(&tar).iter().any(|(m, _)| m.regions.is_some()), attributes, "sparse files");
    }
}

#[test]
fn archives_of_bsdtar_are_read() {
    // It writes names of attributes without escapes, and ACLs as text.
    let but = [ESCAPED, ACL, BEFORE_1970];
    let tar = packed_by(&but, &Peer { attributes: true, time_error: 0 }, |tar, tree, list| {
        let mut command = Command::new("bsdtar");
        command.args(["--format=pax", "--no-fflags", "-cf"]).arg(tar).arg("-C").arg(tree);
        command.args(["-n", "--null", "-T"]).arg(list);
        command
    });
    assert!(members(&tar).iter().any(|(m, _)| m.regions.is_some()), "sparse files");
}

#[test]
fn archives_of_python_are_read() {
    const PACK: &str = r"
import os, sys, tarfile
names = [os.fsdecode(n) for n in open(sys.argv[3], 'rb').read().split(b'\0') if n]
with tarfile.open(sys.argv[1], 'w', format=tarfile.PAX_FORMAT) as t:
    os.chdir(sys.argv[2])
    for n in names: t.add(n, recursive=False)
";
    packed_by(&[], &Peer { attributes: false, time_error: 1000 }, |tar, tree, list| {
        let mut command = Command::new("python3");
        command.args(["-c", PACK]).args([tar, tree, list]);
        command
    });
}
