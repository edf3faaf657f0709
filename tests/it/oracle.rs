//! The tool against a second reader, `docs/reader.py`, that was written from docs/FORMAT.md alone: both must say the same of
//! every repository, and bring back the same tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use ccbackup::Result;
use ccbackup::config::ComponentConfig;
use ccbackup::engine::chain::Chain;
use ccbackup::engine::query;
use ccbackup::engine::restore;
use ccbackup::engine::select::Selection;
use ccbackup::engine::verify::{self, Depth};
use ccbackup::engine::{Host, Session};
use ccbackup::keys::Keys;
use ccbackup::model::{BackupId, EntryKind};
use ccbackup::monitor::Recorder;
use ccbackup::repo::Repository;
use ccbackup::repo::backup::Trust;
use ccbackup::repo::catalog::Catalog;
use ccbackup::repo::signing::SignerKey;
use serde_json::{Value, json};

use crate::golden::{GOLDEN, Golden};
use crate::support::{Sandbox, assert_same, awkward_tree, look, noise, write};

/// One process of the second reader; it works through many questions.
struct Reader {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// Exit code, and what was printed as JSON.
struct Answer {
    code: i64,
    out: Value,
    said: String,
}

impl Reader {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle.py");
        let mut process = Command::new("python3");
        process.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = process.spawn().expect("this test needs python3, which scripts/setup.sh installs");
        let questions = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, questions, answers }
    }

    fn ask(&mut self, arguments: &[String]) {
        let mut questions = self.questions.as_ref().unwrap();
        writeln!(questions, "{}", json!(arguments)).unwrap();
    }

    fn answer(&mut self) -> Answer {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).expect("this test needs python3 with the package cryptography");
        let said = answer["err"].as_str().unwrap().to_owned();
        let code = answer["code"].as_i64().unwrap_or_else(|| panic!("the second reader fell over: {said}"));
        let out = serde_json::from_str(answer["out"].as_str().unwrap()).unwrap_or_default();
        Answer { code, out, said }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.questions.take());
        self.process.wait().unwrap();
    }
}

/// A repository with what is needed to read it, and both readers.
pub(crate) struct Pair {
    root: PathBuf,
    identity: Option<PathBuf>,
    signer: SignerKey,
    scratch: tempfile::TempDir,
    reader: Reader,
}

/// Kinds of findings, each with its backup.
pub(crate) type Verdict = BTreeSet<(String, String)>;

impl Pair {
    pub(crate) fn of(sandbox: &Sandbox) -> Self {
        let identity = sandbox.identity();
        Self::new(sandbox.root(), identity.exists().then_some(identity), sandbox.signer.public())
    }

    fn new(root: PathBuf, identity: Option<PathBuf>, signer: SignerKey) -> Self {
        Self { root, identity, signer, scratch: tempfile::tempdir().unwrap(), reader: Reader::start() }
    }

    fn ask(&mut self, arguments: &[&str]) {
        let mut arguments: Vec<_> = arguments.iter().map(|&a| a.to_owned()).collect();
        arguments.insert(1, self.root.to_str().unwrap().to_owned());
        arguments.extend(["--json".into(), "--signer".into(), self.signer.to_string()]);
        arguments.extend(self.identity.iter().flat_map(|i| ["-i".to_owned(), i.to_str().unwrap().to_owned()]));
        self.reader.ask(&arguments);
    }

    fn trust(&self) -> Trust {
        Trust { signers: vec![self.signer.clone()], allow_unsigned: false }
    }

    fn keys(&self) -> Keys {
        self.identity.as_ref().map_or_else(Keys::none, |i| Keys::load(std::slice::from_ref(i)).unwrap())
    }

    fn latest(&self) -> Result<BackupId> {
        let repo = Repository::open_to_read(&self.root)?;
        Catalog::load(&repo)?.latest(&repo, &self.trust(), None).map(|l| l.id)
    }

    fn chain(&self, id: &BackupId) -> Result<Arc<Chain>> {
        Chain::open(&Repository::open_to_read(&self.root)?, id, &self.trust(), self.keys())
    }

    fn session(&self, keys: Keys) -> Result<Session> {
        Session::open(&self.root, Host::new(self.scratch.path().join("state"), None), self.trust(), keys)
    }

    /// What the tool finds in all backups. This host remembers nothing: that is beyond the format.
    fn tool_verdict(&self, deep: bool) -> Result<Verdict> {
        let depth = if deep { Depth::Deep(100.0) } else { Depth::Keyless };
        let options = verify::VerifyOptions { depth, all: true, threads: 2 };
        let keys = if deep { self.keys() } else { Keys::none() };
        let report = self.session(keys)?.verify(&self.latest()?, &options, &Recorder::default())?;
        Ok(report.findings.into_iter().map(|f| (f.kind.to_string(), f.backup)).collect())
    }

    /// What both find, or in what they differ.
    pub(crate) fn verdict(&mut self, deep: bool) -> Result<Verdict, String> {
        let arguments = ["check", "--all", "--deep"];
        self.ask(&arguments[..if deep { 3 } else { 2 }]);
        let tool = self.tool_verdict(deep);
        let tool = tool.unwrap_or_else(|e| BTreeSet::from([(e.kind().name().into(), e.one_line())]));
        let answer = self.reader.answer();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let found = answer.out["findings"].as_array().unwrap();
        let reader = found.iter().map(|f| (text(&f["kind"]), text(&f["backup"]))).collect();
        // Where a line is lost and a link to it with it, or a line and its member do not fit, the words are free.
        let (tool, reader) = if deep { (damage_alone(tool), damage_alone(reader)) } else { (tool, reader) };
        if tool == reader { Ok(tool) } else { Err(format!("the tool finds {tool:?}, the other {}", answer.said)) }
    }

    /// Restores with both, and returns the exit code, which must be the same, like both trees.
    pub(crate) fn restored(&mut self, id: Option<&BackupId>) -> Result<i64, String> {
        let (ours, theirs) = (self.scratch.path().join("tool"), self.scratch.path().join("reader"));
        for folder in [&ours, &theirs] {
            fs::remove_dir_all(folder).or_else(|e| if folder.exists() { Err(e) } else { Ok(()) }).unwrap();
        }
        let id_text = id.map_or("latest", BackupId::as_str).to_owned();
        self.ask(&["restore", &id_text, "-o", theirs.to_str().unwrap()]);
        let tool = self.tool_restore(id, &ours);
        let answer = self.reader.answer();
        let (code, why) = match &tool {
            Ok(report) if !report.findings.is_empty() => (4, format!("{:?}", report.findings)),
            Ok(report) => (if report.problems.is_empty() { 0 } else { 3 }, format!("{:?}", report.problems)),
            Err(e) => (i64::from(e.kind().exit_code()), e.one_line()),
        };
        if code != answer.code {
            return Err(format!("the tool: {code}, {why}\nthe other: {}, {}", answer.code, answer.said));
        }
        // A folder that was made because its own line was lost may have any mode and time.
        let (ours, theirs) = (tree(&ours, code != 4), tree(&theirs, code != 4));
        if ours == theirs {
            return Ok(code);
        }
        let paths = ours.keys().chain(theirs.keys()).filter(|p| ours.get(*p) != theirs.get(*p));
        let paths: BTreeSet<_> = paths.take(9).map(|p| p.escape_ascii().to_string()).collect();
        Err(format!("different trees ({code}): {paths:?}\nthe tool: {why}\nthe other: {}", answer.said))
    }

    fn tool_restore(&self, id: Option<&BackupId>, target: &Path) -> Result<restore::RestoreReport> {
        let id = id.map_or_else(|| self.latest(), |id| Ok(id.clone()))?;
        let options = restore::RestoreOptions { threads: 2, ..Default::default() };
        self.session(self.keys())?.restore(&id, target, options, &Recorder::default())
    }

    /// Both list the same entries.
    fn assert_listed(&mut self, id: &BackupId) {
        self.ask(&["ls", id.as_str()]);
        let mut rows = Vec::new();
        let chain = self.chain(id).unwrap_or_else(|e| panic!("{}", e.one_line()));
        let findings = query::entries(&chain, &Selection::new(&[], &[]).unwrap(), &mut |component, entry| {
            let mut row = json!({
                "component": component, "path": entry.path.to_string(), "type": entry.kind.name(), "size": entry.size(),
                "mode": format!("{:04o}", entry.mode), "uid": entry.uid, "gid": entry.gid,
                "mtime": entry.mtime.to_string(),
            });
            if let EntryKind::File { sha256, .. } = &entry.kind {
                row["sha256"] = json!(sha256.to_string());
            }
            rows.push(row);
            Ok(())
        });
        assert_eq!(findings.unwrap(), []);
        let answer = self.reader.answer();
        assert_eq!((answer.code, answer.out.as_array().unwrap()), (0, &rows), "{id}: {}", answer.said);
    }

    /// A valid repository: nothing is found, all is listed, all comes back the same.
    fn assert_agreed(&mut self, ids: &[BackupId]) {
        assert_eq!(self.verdict(true), Ok(Verdict::new()));
        for id in ids {
            self.assert_listed(id);
            let code = self.restored(Some(id)).unwrap_or_else(|e| panic!("{id}: {e}"));
            assert!(matches!(code, 0 | 3), "{id}: {code}");
            let trees = ["tool", "reader"].map(|folder| look(&self.scratch.path().join(folder)));
            assert_same(&below_components(&trees[0]), &below_components(&trees[1]), id.as_str());
        }
    }

    /// The tree that the second reader restores.
    pub(crate) fn restore_by_reader(&mut self, id: &BackupId) -> PathBuf {
        let target = self.scratch.path().join("reader");
        self.ask(&["restore", id.as_str(), "-o", target.to_str().unwrap()]);
        let answer = self.reader.answer();
        assert!(matches!(answer.code, 0 | 3), "{id}: {} {}", answer.code, answer.said);
        target.join("files/tree")
    }
}

/// All kinds of damage to one.
fn damage_alone(verdict: Verdict) -> Verdict {
    let kept = ["unsigned", "wrong-signer", "newer-format", "no-key", "wrong-key"];
    let word = |kind: String| if kept.contains(&&*kind) { kind } else { "damage".into() };
    verdict.into_iter().map(|(kind, backup)| (word(kind), backup)).collect()
}

/// Entries of components: what else lies in a target is the reader's own.
fn below_components<T: Clone>(tree: &BTreeMap<Vec<u8>, T>) -> BTreeMap<Vec<u8>, T> {
    tree.iter().filter(|(path, _)| path.contains(&b'/')).map(|(p, t)| (p.clone(), t.clone())).collect()
}

/// Small trees at a glance: mode, time and content by path.
fn tree(root: &Path, all_of_folders: bool) -> BTreeMap<Vec<u8>, (u32, i64, i64, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    for item in walkdir::WalkDir::new(root).into_iter().filter_map(std::result::Result::ok) {
        let (path, kind) = (item.path(), item.file_type());
        let meta = path.symlink_metadata().unwrap();
        let content = match kind {
            kind if kind.is_symlink() => fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec(),
            kind if kind.is_file() && meta.len() < 1 << 24 => fs::read(path).unwrap(),
            _ => vec![],
        };
        let about = match kind.is_dir() && !all_of_folders {
            true => (0, 0, 0, content),
            false => (meta.mode(), meta.mtime(), meta.mtime_nsec(), content),
        };
        seen.insert(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), about);
    }
    below_components(&seen)
}

#[test]
fn both_readers_agree_on_every_golden_repository() {
    for name in GOLDEN {
        let golden = Golden::open(name);
        let mut pair = Pair::new(golden.dir.join("repository"), golden.identity(), golden.trust.signers[0].clone());
        let ids =
            golden.expect["backups"].as_array().unwrap().iter().map(|b| b["id"].as_str().unwrap().parse().unwrap());
        pair.assert_agreed(&ids.collect::<Vec<_>>());
    }
}

/// Two backups of an awkward tree, with a second component that is empty, and a third that has rules.
fn awkward_chain(mut sandbox: Sandbox) {
    let root = sandbox.tree();
    awkward_tree(&root);
    write(&root.join("large two"), &noise(8, 9 << 20));
    let spec = |name: &str, folder: PathBuf, exclude: &[&str]| {
        let mut component = ComponentConfig::of_files(name, vec![folder]);
        component.files_mut().unwrap().rules.exclude = exclude.iter().map(|&e| e.to_owned()).collect();
        component
    };
    let nothing = sandbox.dir.path().join("nothing");
    fs::create_dir(&nothing).unwrap();
    let more = [spec("nothing", nothing, &[]), spec("rules", root.clone(), &["large*", "a", "sparse*"])];
    sandbox.settings.components.extend(more);
    sandbox.settings.volume_bytes = 1 << 20;
    let mut ids = vec![sandbox.create().id];
    // A piece of a large file is new, a file is moved, one is copied, a hard link has another first name.
    let mut large = noise(8, 9 << 20);
    large.splice(4 << 20..4 << 20, *b"in the middle");
    write(&root.join("large two"), &large);
    fs::rename(root.join("large"), root.join("large moved")).unwrap();
    fs::remove_file(root.join("linked/first")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let report = sandbox.try_create().unwrap_or_else(|e| panic!("{}", e.one_line()));
    drop(socket);
    assert!(report.problems.iter().all(|p| p.kind.as_str() == "unsupported"), "{:?}", report.problems);
    ids.push(report.id);
    Pair::of(&sandbox).assert_agreed(&ids);
}

#[test]
fn both_readers_agree_on_an_awkward_chain_with_age() {
    awkward_chain(Sandbox::new());
}

#[test]
fn both_readers_agree_on_an_awkward_chain_with_aes() {
    awkward_chain(Sandbox::aes());
}

#[test]
fn both_readers_agree_on_an_awkward_chain_without_encryption() {
    awkward_chain(Sandbox::plain());
}

/// Flips and cuts a repository of two backups at 200 places.
fn flips(mut sandbox: Sandbox, seed: u64) {
    let root = sandbox.tree();
    for number in 0..90 {
        write(&root.join(format!("many/{number:03}")), format!("content {number}").as_bytes());
    }
    write(&root.join("hello"), b"hello");
    write(&root.join("moved"), &noise(1, 2000));
    fs::hard_link(root.join("hello"), root.join("many/zz")).unwrap();
    std::os::unix::fs::symlink("hello", root.join("link")).unwrap();
    let hollow = fs::File::create(root.join("hollow")).unwrap();
    hollow.set_len(100_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&hollow, b"data", 65536).unwrap();
    sandbox.create();
    fs::rename(root.join("moved"), root.join("many/to")).unwrap();
    write(&root.join("new"), &noise(2, 70_000));
    sandbox.create();
    let mut pair = Pair::of(&sandbox);
    pair.assert_agreed(&[]);

    let files = walkdir::WalkDir::new(sandbox.root()).sort_by_file_name().into_iter().map(|f| f.unwrap());
    let files: Vec<_> = files.filter(|f| f.file_type().is_file() && f.metadata().unwrap().len() > 0).collect();
    let mut random = seed;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let (mut codes, mut differences) = (BTreeMap::new(), Vec::new());
    for number in 0..200 {
        let path = files[number % files.len()].path();
        let good = fs::read(path).unwrap();
        let mut bad = good.clone();
        let at = next(good.len());
        match next(6) {
            0 => bad.truncate(at),
            _ => bad[at] ^= 1 << next(8),
        }
        let name = path.strip_prefix(sandbox.root()).unwrap();
        let what = format!("{}, {} of {} bytes, at {at}", name.display(), bad.len(), good.len());
        fs::write(path, bad).unwrap();
        match pair.verdict(false) {
            Ok(verdict) => *codes.entry(if verdict.is_empty() { "clean" } else { "found" }).or_insert(0) += 1,
            Err(e) => differences.push(format!("{what}: verify: {e}")),
        }
        match pair.restored(None) {
            Ok(code) => *codes.entry(if code == 0 { "whole" } else { "lost" }).or_insert(0) += 1,
            Err(e) => differences.push(format!("{what}: restore: {e}")),
        }
        fs::write(path, good).unwrap();
    }
    assert!(differences.is_empty(), "seed {seed}: {} differences\n{}", differences.len(), differences.join("\n\n"));
    // Only what is of use to nobody else goes unnoticed: the copy of the signers. Much of the chain is of no use to the newest.
    assert!(codes["found"] > 150 && codes["whole"] > 50 && codes["lost"] > 20, "{codes:?}");
    pair.assert_agreed(&[]);
}

#[test]
fn both_readers_agree_on_200_flips_without_encryption() {
    let mut sandbox = Sandbox::plain();
    sandbox.settings.volume_bytes = 1;
    flips(sandbox, 1);
}

#[test]
fn both_readers_agree_on_200_flips_with_age() {
    flips(Sandbox::new(), 2);
}

#[test]
fn both_readers_agree_on_200_flips_with_aes() {
    flips(Sandbox::aes(), 3);
}
