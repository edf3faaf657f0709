//! What the tests share: a sandbox with keys, repository and clock of its own, awkward trees, and a way to look at a tree
//! so that two can be compared entry by entry.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use ccbackup::ComponentConfig;
use ccbackup::Result;
use ccbackup::archive::seal::Sealer;
use ccbackup::durable::Disk;
use ccbackup::engine::chain::Chain;
use ccbackup::engine::create::{CreateOptions, CreateReport};
use ccbackup::engine::verify::{self, Depth};
use ccbackup::engine::{Clock, Host, Session, restore};
use ccbackup::keys::{AesKey, Keys, generate_identity};
use ccbackup::model::{BackupId, Moment};
use ccbackup::monitor::{Monitor, Recorder};
use ccbackup::repo::Repository;
use ccbackup::repo::backup::Trust;
use ccbackup::repo::signing::Signer;
use ccbackup::repo::state::LocalState;

/// A host with keys, a repository and a tree to back up, all below one temporary folder.
pub(crate) struct Sandbox {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) settings: CreateOptions,
    /// Without its signer.
    pub(crate) host: Host,
    pub(crate) adopt: bool,
    pub(crate) signer: Signer,
    pub(crate) now: i64,
}

impl Sandbox {
    /// Encrypts with age.
    pub(crate) fn new() -> Self {
        let mut sandbox = Self::plain();
        let recipient = generate_identity(&sandbox.identity(), None, Moment::default()).unwrap();
        sandbox.settings.sealer = Sealer::age(&[recipient]).unwrap();
        sandbox
    }

    /// Does not encrypt.
    pub(crate) fn plain() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let state_dir = dir.path().join("home/state");
        let signer = Signer::generate(&dir.path().join("home/signer")).unwrap();
        let settings =
            CreateOptions { components: vec![component("files", tree)], threads: 2, ..CreateOptions::default() };
        let host = Host { name: "test".into(), ..Host::new(state_dir, None) };
        Self { dir, settings, host, adopt: false, signer, now: 1_768_660_200 }
    }

    /// Encrypts with a raw AES key.
    pub(crate) fn aes() -> Self {
        let mut sandbox = Self::plain();
        let key = AesKey::generate(&sandbox.identity()).unwrap();
        sandbox.settings.sealer = Sealer::aes(&key);
        sandbox
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("backups")
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.dir.path().join("identity")
    }

    pub(crate) fn keys(&self) -> Keys {
        if self.identity().exists() { Keys::load(&[self.identity()]).unwrap() } else { Keys::none() }
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust { signers: vec![self.signer.public()], allow_unsigned: false }
    }

    pub(crate) fn repo(&self) -> Repository {
        Repository::open(&self.root()).unwrap()
    }

    pub(crate) fn state(&self) -> LocalState {
        LocalState::new(&self.host.state_dir, &self.repo().record().repository_id, Disk::default())
    }

    /// The host with its signer, as it makes backups.
    pub(crate) fn host(&self) -> Host {
        Host { signer: Some(self.signer.clone()), ..self.host.clone() }
    }

    /// Opened to make backups.
    pub(crate) fn writer(&self) -> Result<Session> {
        Session::open_or_create(&self.root(), self.host(), self.adopt)
    }

    /// Opened to read, by somebody who trusts this host's signer.
    pub(crate) fn reader(&self) -> Result<Session> {
        self.reader_of(&self.root(), self.keys())
    }

    pub(crate) fn reader_of(&self, root: &Path, keys: Keys) -> Result<Session> {
        Session::open(root, self.host(), self.trust(), keys)
    }

    /// A backup at the host's time.
    pub(crate) fn create_watched(&self, monitor: &dyn Monitor) -> Result<CreateReport> {
        self.writer()?.create(&self.settings, monitor)
    }

    /// A backup, one minute after the last.
    pub(crate) fn try_create(&mut self) -> Result<CreateReport> {
        self.now += 60;
        self.host.clock = Clock::Fixed(Moment::from_unix_seconds(self.now));
        self.create_watched(&Recorder::default())
    }

    /// A backup without problems.
    pub(crate) fn create(&mut self) -> CreateReport {
        let report = self.try_create().unwrap_or_else(|e| panic!("create failed: {}", e.one_line()));
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        report
    }

    pub(crate) fn verify(&self, id: &BackupId, depth: Depth) -> verify::VerifyReport {
        self.verify_with(id, depth, false).unwrap_or_else(|e| panic!("verify failed: {}", e.one_line()))
    }

    pub(crate) fn verify_with(&self, id: &BackupId, depth: Depth, all: bool) -> Result<verify::VerifyReport> {
        let options = verify::VerifyOptions { depth, all, threads: 2 };
        let keys = if depth == Depth::Keyless { Keys::none() } else { self.keys() };
        self.reader_of(&self.root(), keys)?.verify(id, &options, &Recorder::default())
    }

    pub(crate) fn chain(&self, id: &BackupId) -> Result<Arc<Chain>> {
        self.reader()?.chain(id)
    }

    pub(crate) fn try_restore(
        &self,
        id: &BackupId,
        target: &Path,
        change: impl FnOnce(&mut restore::RestoreOptions),
    ) -> Result<restore::RestoreReport> {
        let mut options = restore::RestoreOptions { threads: 2, ..Default::default() };
        change(&mut options);
        self.reader()?.restore(id, target, options, &Recorder::default())
    }

    /// Restores into a new folder and returns the restored tree.
    pub(crate) fn restore(&self, id: &BackupId) -> PathBuf {
        let target = self.scratch(&format!("restored-{id}"));
        let report =
            self.try_restore(id, &target, |_| {}).unwrap_or_else(|e| panic!("restore failed: {}", e.one_line()));
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        // What `create` had to say about a file is said again.
        assert!(report.problems.iter().all(|p| p.kind.as_str() == "unsettled"), "{:?}", report.problems);
        target.join("files/tree")
    }

    /// Restores with the backup's own script.
    pub(crate) fn restore_by_hand(&self, id: &BackupId) -> PathBuf {
        let target = self.scratch(&format!("by-hand-{id}"));
        let mut script = Command::new("sh");
        script.arg(self.root().join(id.as_str()).join("restore.sh")).arg("-o").arg(&target);
        if self.identity().exists() {
            script.arg("-i").arg(self.identity());
        }
        let decryptor = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/aes-decrypt.py");
        script.arg("-d").arg(decryptor);
        let output = script.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // What `create` had to say about a file is said again.
        let repeated = output.status.code() == Some(3)
            && said.lines().all(|l| l.contains(": was not read cleanly when the backup was made: "));
        assert!(output.status.success() || repeated, "{script:?}: {}\n{said}", output.status);
        target.join("files/tree")
    }

    /// A path for a new folder.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        path
    }
}

pub(crate) fn component(name: &str, root: PathBuf) -> ComponentConfig {
    ComponentConfig::of_files(name, vec![root])
}

/// Runs another test as nobody, from a copy of this program: root may read everything and make devices.
pub(crate) fn run_as_nobody(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let scratch = dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    std::os::unix::fs::chown(&scratch, Some(65534), Some(65534)).unwrap();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
    nobody.args(["--exact", name, "--ignored", "--nocapture"]).env("TMPDIR", &scratch).env("HOME", &scratch);
    let output = succeed(nobody.current_dir("/"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "the test must have run: {said}");
}

/// Runs a program that must succeed.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| {
        panic!(
            "this test needs {:?}, which cannot be started ({e}); scripts/setup.sh installs it",
            command.get_program()
        )
    });
    assert!(
        output.status.success(),
        "{command:?} failed: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub(crate) fn shell(script: &str, dir: &Path) -> Output {
    succeed(Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(dir))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Everything about an entry that must come back.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Seen {
    kind: String,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    size: u64,
    content: String,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// First path of the same inode.
    same_as: Option<Vec<u8>>,
    has_holes: bool,
    device: u64,
}

/// A tree as a map from path to what was seen there.
pub(crate) fn look(root: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    for item in walkdir::WalkDir::new(root).sort_by_file_name() {
        let item = item.unwrap();
        let path = item.path();
        let meta = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let kind = meta.file_type();
        let word = if kind.is_file() {
            "file"
        } else if kind.is_dir() {
            "dir"
        } else if kind.is_symlink() {
            "symlink"
        } else if kind.is_fifo() {
            "fifo"
        } else if kind.is_char_device() {
            "char"
        } else if kind.is_block_device() {
            "block"
        } else {
            "other"
        };
        let content = match word {
            "file" if meta.size() < 1 << 30 => {
                succeed(Command::new("sha256sum").arg("-z").arg("--").arg(path)).stdout[..64].escape_ascii().to_string()
            }
            "symlink" => fs::read_link(path).unwrap().as_os_str().as_bytes().escape_ascii().to_string(),
            _ => String::new(),
        };
        let first = (!kind.is_dir() && meta.nlink() > 1)
            .then(|| inodes.entry((meta.dev(), meta.ino())).or_insert_with(|| name.clone()).clone());
        seen.insert(
            name,
            Seen {
                kind: word.into(),
                mode: meta.permissions().mode() & 0o7777,
                owner: (meta.uid(), meta.gid()),
                mtime: (meta.mtime(), meta.mtime_nsec()),
                size: if kind.is_dir() { 0 } else { meta.size() },
                content,
                xattrs: xattrs(path),
                same_as: first,
                has_holes: kind.is_file() && meta.blocks() * 512 + 65536 < meta.size(),
                device: if word == "char" || word == "block" { meta.rdev() } else { 0 },
            },
        );
    }
    seen
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 65536];
    let n = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut found: Vec<_> = names[..n]
        .split(|&b| b == 0)
        .filter(|n| !n.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let n = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).unwrap();
            (name.to_vec(), value[..n].to_vec())
        })
        .collect();
    found.sort();
    found
}

/// Panics with the first differences between two trees.
pub(crate) fn assert_same(expected: &BTreeMap<Vec<u8>, Seen>, actual: &BTreeMap<Vec<u8>, Seen>, what: &str) {
    let mut differences = Vec::new();
    for (path, seen) in expected {
        match actual.get(path) {
            None => differences.push(format!("{} is missing", path.escape_ascii())),
            Some(other) if other != seen => {
                differences.push(format!("{}:\n  expected {seen:?}\n  found    {other:?}", path.escape_ascii()));
            }
            Some(_) => {}
        }
    }
    differences.extend(
        actual
            .keys()
            .filter(|p| !expected.contains_key(*p))
            .map(|p| format!("{} should not be there", p.escape_ascii())),
    );
    assert!(
        differences.is_empty(),
        "{what}: {} differences\n{}",
        differences.len(),
        differences.iter().take(8).cloned().collect::<Vec<_>>().join("\n")
    );
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).unwrap();
    }
    File::create(path).unwrap().write_all(bytes).unwrap();
}

/// Bytes that do not compress, always the same for a seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// A tree with everything that makes life hard for backup tools.
pub(crate) fn awkward_tree(root: &Path) {
    let at = |name: &[u8]| root.join(OsStr::from_bytes(name));
    write(&at(b"plain"), b"hello\n");
    write(&at(b"empty"), b"");
    write(&at(b"new\nline"), b"1");
    write(&at(b"\xff\xfe not utf-8"), b"2");
    write(&at(b"-dash"), b"3");
    write(&at(b" leading and trailing "), b"4");
    write(&at(b"quote\"back\\slash%d$(x)`y`*?[z]"), b"5");
    write(&at("gr\u{fc}n \u{65e5}\u{672c} \u{202e}rtl".as_bytes()), b"6");
    write(&at(b"tab\tbell\x07"), b"7");
    write(&at(b"a-b"), b"order");
    write(&at(b"a/c"), b"order");
    write(&at(b"a.b"), b"order");
    write(&at(&[b'n'; 255]), b"a name of 255 bytes");
    fs::create_dir(at(b"empty dir")).unwrap();
    let mut deep = root.to_path_buf();
    for level in 0..18 {
        deep = deep.join(format!("{level:03}-{}", "d".repeat(180)));
    }
    write(&deep.join("bottom"), b"deep");
    std::os::unix::fs::symlink(OsStr::from_bytes(b"dangling/\xff\ntarget"), at(b"link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at(b"absolute link")).unwrap();
    std::os::unix::fs::symlink("x".repeat(300), at(b"long link")).unwrap();
    write(&at(b"linked/first"), b"two names");
    fs::hard_link(at(b"linked/first"), at(b"linked/second")).unwrap();
    fs::hard_link(at(b"linked/first"), at(b"zz third %s\nname")).unwrap();
    // Holes: in front, in the middle, at the end, and nothing else.
    for (name, size, pieces) in [
        (&b"sparse"[..], 64_u64 << 30, &[(1_u64 << 20, 5000_usize), (30 << 30, 70_000)][..]),
        (b"sparse to the end", 3 << 20, &[((3 << 20) - 4096, 4096)]),
        (b"only a hole", 1 << 40, &[]),
        (b"small hole", 200_000, &[(100_000, 10)]),
    ] {
        let file = File::create(at(name)).unwrap();
        file.set_len(size).unwrap();
        for &(offset, length) in pieces {
            std::os::unix::fs::FileExt::write_all_at(&file, &noise(offset, length), offset).unwrap();
        }
    }
    write(&at(b"large"), &noise(7, 11 << 20));
    write(&at(b"modes/setuid"), b"x");
    fs::set_permissions(at(b"modes/setuid"), fs::Permissions::from_mode(0o6751)).unwrap();
    write(&at(b"modes/none"), b"x");
    fs::set_permissions(at(b"modes/none"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(at(b"modes"), fs::Permissions::from_mode(0o1777)).unwrap();
    succeed(Command::new("mkfifo").arg(at(b"fifo")));
    write(&at(b"attributes"), b"x");
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty())
            .unwrap_or_else(|e| panic!("this test needs a temporary folder with extended attributes: {e}"));
    };
    set(&at(b"attributes"), "user.binary", b"\x00\xff\n=\n17 path=evil\n");
    set(&at(b"attributes"), "user.empty", b"");
    set(&at(b"empty dir"), "user.dir", b"d");
    succeed(Command::new("setfacl").arg("-m").arg("u:12345:rw").arg(at(b"attributes")));
    succeed(Command::new("setfacl").arg("-d").arg("-m").arg("g:23456:rx").arg(at(b"empty dir")));
    if is_root() {
        write(&at(b"owned"), b"x");
        std::os::unix::fs::chown(at(b"owned"), Some(3_000_000), Some(4_000_000_000)).unwrap();
        std::os::unix::fs::lchown(at(b"link"), Some(77), Some(88)).unwrap();
        succeed(Command::new("mknod").arg(at(b"char")).args(["c", "1", "3"]));
        succeed(Command::new("mknod").arg(at(b"block")).args(["b", "259", "70000"]));
        set(&at(b"link"), "trusted.link", b"on a link");
        write(&at(b"capable"), b"x");
        set(&at(b"capable"), "security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    let time = |path: &Path, seconds: &str| {
        succeed(Command::new("touch").arg("-h").arg("-d").arg(format!("@{seconds}")).arg(path));
    };
    time(&at(b"plain"), "1700000000.123456789");
    time(&at(b"empty"), "-86400.25");
    time(&at(b"a/c"), "0");
    time(&at(b"link"), "1234567890.000000001");
    time(&at(b"a"), "-1.5");
    time(&at(b"empty dir"), "4294967296.5");
}
