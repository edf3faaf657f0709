//! Makes repositories that lie: whatever a forger who holds the trusted signing key could write.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use ccbackup::Kind;
use ccbackup::archive::frame::{Compressor, SeekTable};
use ccbackup::engine::query;
use ccbackup::engine::select::Selection;
use ccbackup::engine::verify::Depth;
use ccbackup::model::{BackupId, Digest};
use serde_json::{Value, json};

use crate::support::{Sandbox, noise, write};

/// A full backup without encryption whose files are written by the test.
pub(crate) struct Forge {
    pub(crate) sandbox: Sandbox,
    pub(crate) id: BackupId,
    pub(crate) manifest: Value,
    /// Lines of the inventory as the tool wrote them.
    pub(crate) lines: Vec<Value>,
}

pub(crate) const INDEX: &str = "files.index.zst";
pub(crate) const ARCHIVE: &str = "files.tar.zst";

impl Forge {
    pub(crate) fn new() -> Self {
        let mut sandbox = Sandbox::plain();
        let tree = sandbox.tree();
        write(&tree.join("a"), b"content of a");
        write(&tree.join("dir/b"), &noise(5, 3000));
        std::os::unix::fs::symlink("/etc", tree.join("link")).unwrap();
        fs::hard_link(tree.join("a"), tree.join("z")).unwrap();
        // Once the real thing, so that what is forged differs in one point only.
        let id = sandbox.create().id;
        // This host would remember its head and see every forgery by that alone.
        fs::remove_dir_all(&sandbox.host.state_dir).unwrap();
        let dir = sandbox.root().join(id.as_str());
        let manifest = serde_json::from_slice(&fs::read(dir.join("manifest.json")).unwrap()).unwrap();
        let text = zstd_all(&fs::read(dir.join(INDEX)).unwrap());
        let lines = text.lines().filter(|l| l.starts_with("{\"path\"")).map(|l| serde_json::from_str(l).unwrap());
        let lines = lines.collect();
        let forge = Self { sandbox, id, manifest, lines };
        // The forge itself must make good backups, or every refusal below would prove nothing.
        forge.put_index(&forge.lines);
        forge.seal();
        let out = forge.sandbox.restore(&forge.id);
        assert_eq!(fs::read(out.join("a")).unwrap(), b"content of a");
        let report = forge.sandbox.verify(&forge.id, Depth::Deep(100.0));
        assert!(report.ok, "{:#?}", report.findings);
        forge
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.sandbox.root().join(self.id.as_str())
    }

    /// The line of a path below `tree`.
    pub(crate) fn line(&self, path: &str) -> Value {
        self.lines.iter().find(|l| l["path"] == format!("tree/{path}")).unwrap_or_else(|| panic!("no {path}")).clone()
    }

    pub(crate) fn put_index(&self, lines: &[Value]) {
        self.put_segments(&[lines.to_vec()], |_, _| {});
    }

    /// Writes an index of these segments; `lie` may change the table lines and the end line.
    pub(crate) fn put_segments(&self, segments: &[Vec<Value>], lie: impl FnOnce(&mut Vec<Value>, &mut Value)) {
        let mut frames = Vec::new();
        let mut table = Vec::new();
        let (mut offset, mut entries) = (0, 0);
        for lines in segments {
            let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
            let digest = Digest::of(text.as_bytes()).to_string();
            let first = lines[0]["path"].clone();
            table.push(json!({"segment": [self.id.as_str(), offset, text.len(), digest, lines.len(), first]}));
            offset += text.len();
            entries += lines.len();
            frames.push(text.into_bytes());
        }
        let mut end = json!({"end": {"table_offset": offset, "segments": segments.len(), "entries": entries}});
        lie(&mut table, &mut end);
        frames.push(table.iter().map(|l| format!("{l}\n")).collect::<String>().into_bytes());
        frames.push(format!("{end}\n").into_bytes());
        write(&self.dir().join(INDEX), &framed(&frames));
    }

    /// Writes manifest, digests and signature to fit the other files, as the holder of the signing key could.
    pub(crate) fn seal(&self) {
        self.seal_as(|_| {});
    }

    pub(crate) fn seal_as(&self, change: impl FnOnce(&mut Value)) {
        let dir = self.dir();
        let mut manifest = self.manifest.clone();
        let component = &mut manifest["components"][0];
        for (pointer, name) in [("/index", INDEX), ("/archives/0", ARCHIVE)] {
            let bytes = fs::read(dir.join(name)).unwrap();
            let record = component.pointer_mut(pointer).unwrap();
            record["size_bytes"] = json!(bytes.len());
            record["sha256"] = json!(Digest::of(&bytes).to_string());
        }
        // An index that cannot even be read says nothing about itself.
        let stored = fs::read(dir.join(INDEX)).unwrap();
        let mut index = Vec::new();
        let read = zstd::Decoder::new(&stored[..]).unwrap().take(1 << 20).read_to_end(&mut index);
        let index = String::from_utf8_lossy(if read.is_ok() { &index } else { b"" });
        let lines = |start: &str| index.lines().filter(|l| l.starts_with(start)).count();
        let own = format!("{{\"segment\":[\"{}\"", self.id);
        component["entries"] = json!(lines("{\"path\""));
        component["index"]["segments"] = json!(lines("{\"segment\""));
        component["index"]["own_segments"] = json!(lines(&own));
        // It is optional, and the table is forged too.
        component["index"].as_object_mut().unwrap().shift_remove("table");
        change(&mut manifest);
        write(&dir.join("manifest.json"), manifest.to_string().as_bytes());
        self.sign();
    }

    pub(crate) fn sign(&self) {
        let dir = self.dir();
        let names: BTreeSet<_> = fs::read_dir(&dir).unwrap().map(|f| f.unwrap().file_name()).collect();
        let mut sums = String::new();
        for name in names.iter().filter_map(|n| n.to_str()).filter(|n| !n.starts_with("SHA256SUMS")) {
            sums.push_str(&format!("{}  {name}\n", Digest::of(&fs::read(dir.join(name)).unwrap())));
        }
        write(&dir.join("SHA256SUMS"), sums.as_bytes());
        write(&dir.join("SHA256SUMS.sig"), self.sandbox.signer.sign(sums.as_bytes()).unwrap().as_bytes());
    }

    /// Every reader refuses with this kind, and the world outside the target stays as it is.
    pub(crate) fn refused(&self, kind: Kind, about: &str) {
        let target = self.sandbox.scratch("out");
        let before = self.outside();
        let restored = self.sandbox.try_restore(&self.id, &target, |_| {});
        match restored {
            Ok(report) => {
                assert!(kind == Kind::Damage && !report.findings.is_empty(), "{about}: it was restored: {report:#?}");
            }
            Err(error) => assert_eq!(error.kind(), kind, "{about}: {}", error.one_line()),
        }
        assert_eq!(self.outside(), before, "{about}: something changed outside the target");
        match self.sandbox.verify_with(&self.id, Depth::Deep(100.0), true) {
            Ok(report) => assert!(!report.ok, "{about}: verify is content"),
            Err(error) => assert_eq!(error.kind(), kind, "{about}: {}", error.one_line()),
        }
        // Only reading must not fall over either; what it says does not matter here.
        if let Ok(chain) = self.sandbox.chain(&self.id) {
            let all = Selection::new(&[], &[]).unwrap();
            drop(query::entries(&chain, &all, &mut |_, _| Ok(())));
        }
        assert!(peak_memory_bytes() < 1 << 30, "{about}: {} bytes of memory", peak_memory_bytes());
    }

    /// All names around the target, and a file that stands for the rest of the system.
    pub(crate) fn outside(&self) -> BTreeSet<PathBuf> {
        let walk = walkdir::WalkDir::new(self.sandbox.dir.path()).into_iter().map(|e| e.unwrap().into_path());
        let below_target = self.sandbox.dir.path().join("out");
        walk.filter(|p| !p.starts_with(&below_target)).collect()
    }
}

fn zstd_all(stored: &[u8]) -> String {
    String::from_utf8(zstd::decode_all(stored).unwrap()).unwrap()
}

pub(crate) fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::new(3).unwrap().compress(bytes, &mut out).unwrap();
    out
}

/// Frames with an honest seek table.
pub(crate) fn framed(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut table = SeekTable::default();
    for frame in frames {
        let compressed = compress(frame);
        table.push(compressed.len() as u64, frame.len() as u64).unwrap();
        out.extend(compressed);
    }
    table.write(&mut out);
    out
}

/// A seek table that says what it is told, whether it is true or not.
pub(crate) fn raw_table(entries: &[(u32, u32)], count: u32) -> Vec<u8> {
    let mut out = 0x184D_2A5E_u32.to_le_bytes().to_vec();
    out.extend(u32::try_from(entries.len() * 8 + 9).unwrap().to_le_bytes());
    for (stored, length) in entries {
        out.extend(stored.to_le_bytes());
        out.extend(length.to_le_bytes());
    }
    out.extend(count.to_le_bytes());
    out.push(0);
    out.extend(0x8F92_EAB1_u32.to_le_bytes());
    out
}

fn peak_memory_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

pub(crate) fn with(line: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut line = line.clone();
    change(&mut line);
    line
}
