//! Every file of a repository, damaged in every way: `verify` finds it without a key and says where, and a restore puts
//! wrong content under no name.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ccbackup::Kind;
use ccbackup::cli::worded;
use ccbackup::engine::verify::{self, Depth, Finding, FindingKind};
use ccbackup::keys::Keys;
use ccbackup::model::BackupId;
use ccbackup::monitor::Recorder;
use ccbackup::repo::Repository;
use ccbackup::repo::signing::Signer;

use crate::support::{Sandbox, noise, succeed, write};

pub(crate) type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// A chain of three backups, an unharmed copy of it, and the trees that its backups hold.
struct Chain {
    sandbox: Sandbox,
    ids: Vec<BackupId>,
    trees: Vec<Tree>,
}

impl Chain {
    fn new() -> Self {
        let mut sandbox = Sandbox::new();
        sandbox.settings.volume_bytes = 256 << 10;
        let tree = sandbox.tree();
        for name in ["a/one", "a/two", "b/three"] {
            write(&tree.join(name), name.as_bytes());
        }
        write(&tree.join("large"), &noise(1, 9 << 20));
        write(&tree.join("z/last"), &noise(2, 300_000));
        fs::hard_link(tree.join("a/one"), tree.join("a/one again")).unwrap();
        std::os::unix::fs::symlink("a/one", tree.join("link")).unwrap();
        let (mut ids, mut trees) = (vec![sandbox.create().id], vec![contents(&tree)]);

        write(&tree.join("a/two"), b"changed");
        flip(&tree.join("large"), 4 << 20, 1);
        write(&tree.join("c/new"), &noise(3, 5000));
        ids.push(sandbox.create().id);
        trees.push(contents(&tree));

        fs::remove_file(tree.join("b/three")).unwrap();
        flip(&tree.join("large"), 7 << 20, 1);
        write(&tree.join("d"), b"newer");
        ids.push(sandbox.create().id);
        trees.push(contents(&tree));

        let chain = Self { sandbox, ids, trees };
        let newest = chain.sandbox.chain(&chain.ids[2]).unwrap().backup.manifest.clone();
        assert_eq!(newest.depends_on.len(), 2, "the chain must hang together for these tests");
        let first = chain.sandbox.chain(&chain.ids[0]).unwrap().backup.manifest.clone();
        assert!(first.components[0].archives.len() > 1, "there must be volumes");
        assert!(chain.findings().is_empty(), "{:#?}", chain.findings());
        succeed(Command::new("cp").arg("-a").arg(chain.sandbox.root()).arg(chain.pristine()));
        chain
    }

    fn root(&self) -> PathBuf {
        self.sandbox.root()
    }

    fn pristine(&self) -> PathBuf {
        self.sandbox.dir.path().join("pristine")
    }

    /// Names of the files of one backup.
    fn files(&self, number: usize) -> Vec<String> {
        let dir = self.pristine().join(self.ids[number].as_str());
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert!(names.len() >= 7, "{names:?}");
        names
    }

    fn file(&self, number: usize, name: &str) -> PathBuf {
        self.root().join(self.ids[number].as_str()).join(name)
    }

    fn same_in(&self, number: usize, name: &str) -> Option<PathBuf> {
        let path = self.pristine().join(self.ids[number].as_str()).join(name);
        path.exists().then_some(path)
    }

    /// Puts a file, a folder or all back as it was.
    fn heal(&self, path: &Path) {
        let relative = path.strip_prefix(self.root()).unwrap();
        if path.symlink_metadata().is_ok() {
            succeed(Command::new("rm").arg("-rf").arg(path));
        }
        succeed(Command::new("cp").arg("-a").arg(self.pristine().join(relative)).arg(path));
    }

    /// What a verification of everything without a key says; a repository that cannot even be opened is one finding.
    fn findings(&self) -> Vec<Finding> {
        findings(&self.sandbox, &self.ids[2])
    }

    /// Restores a backup; whatever came back must be right. Returns whether it came back whole.
    fn restores(&self, number: usize, about: &str) -> bool {
        let target = self.sandbox.scratch("out");
        let result = self.sandbox.try_restore(&self.ids[number], &target, |_| {});
        let restored = target.join("files/tree");
        let restored = if restored.exists() { contents(&restored) } else { Tree::new() };
        for (path, content) in &restored {
            assert!(self.trees[number].get(path) == Some(content), "{about}: {} came back wrong", path.display());
        }
        match result {
            Ok(report) if report.findings.is_empty() => {
                assert_eq!(restored.len(), self.trees[number].len(), "{about}: something was left out silently");
                true
            }
            Ok(report) => {
                assert!(report.findings.iter().all(|f| f.backup == self.ids[number].as_str()), "{about}");
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Damage, "{about}: {}", error.one_line());
                false
            }
        }
    }
}

fn findings(sandbox: &Sandbox, id: &BackupId) -> Vec<Finding> {
    // Who writes wants a repository.json that is whole.
    let result = Repository::open(&sandbox.root()).and_then(|_| {
        let options = verify::VerifyOptions { depth: Depth::Keyless, all: true, threads: 1 };
        sandbox.reader_of(&sandbox.root(), Keys::none())?.verify(id, &options, &Recorder::default())
    });
    match result {
        Ok(report) => {
            assert_eq!(report.ok, report.findings.is_empty());
            report.findings
        }
        Err(error) => {
            assert!(matches!(error.kind(), Kind::Damage | Kind::NewerFormat), "{}", error.one_line());
            let text = error.one_line();
            vec![Finding {
                kind: if error.is_damage() { FindingKind::Repository } else { FindingKind::NewerFormat },
                backup: String::new(),
                component: None,
                path: text.clone(),
                detail: text,
                next: String::new().into(),
            }]
        }
    }
}

/// Regular files and links of a tree with their bytes.
pub(crate) fn contents(root: &Path) -> Tree {
    let mut tree = Tree::new();
    for item in walkdir::WalkDir::new(root) {
        let item = item.unwrap();
        let path = item.path().strip_prefix(root).unwrap().to_owned();
        if item.file_type().is_file() {
            tree.insert(path, fs::read(item.path()).unwrap());
        } else if item.file_type().is_symlink() {
            tree.insert(path, fs::read_link(item.path()).unwrap().into_os_string().into_encoded_bytes());
        }
    }
    tree
}

pub(crate) fn flip(path: &Path, offset: u64, bits: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ bits], offset).unwrap();
}

fn set_length(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// What can happen to a file. `siblings` are files whose bytes may come to stand in it.
fn each_damage(path: &Path, siblings: &[PathBuf], mut then: impl FnMut(&str)) {
    let pristine = fs::read(path).unwrap();
    let length = pristine.len() as u64;
    assert!(length > 0, "{} is empty", path.display());
    let mut put_back = |what: &str| {
        then(what);
        if path.symlink_metadata().is_ok() {
            fs::remove_file(path).unwrap();
        }
        write(path, &pristine);
    };
    fs::remove_file(path).unwrap();
    put_back("deleted");
    set_length(path, 0);
    put_back("emptied");
    set_length(path, length - 1);
    put_back("cut by a byte");
    for (offset, bit) in
        [(0, 0), (length / 3, 3), (length / 2, 5), (length / 5 * 4, 1), (length - 1, 0), (length - 1, 7)]
    {
        flip(path, offset, 1 << bit);
        put_back(&format!("bit {bit} of byte {offset} flipped"));
    }
    for byte in [0, b'\n'] {
        OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[byte], length).unwrap();
        put_back(&format!("byte {byte} appended"));
    }
    for sibling in siblings {
        let bytes = fs::read(sibling).unwrap();
        if bytes != pristine {
            write(path, &bytes);
            put_back(&format!("replaced by {}", sibling.display()));
        }
    }
    // Things that are no files; opening a pipe without care would wait for ever.
    fs::remove_file(path).unwrap();
    succeed(Command::new("mkfifo").arg(path));
    put_back("replaced by a pipe");
    fs::remove_file(path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path).unwrap();
    put_back("replaced by a link to a device");
}

#[test]
fn whatever_happens_to_a_file_of_a_backup_is_found_without_a_key_and_named() {
    let chain = Chain::new();
    for number in 0..3 {
        let id = chain.ids[number].as_str();
        for name in chain.files(number) {
            let others = (0..3).filter(|&n| n != number).filter_map(|n| chain.same_in(n, &name)).collect::<Vec<_>>();
            let path = chain.file(number, &name);
            each_damage(&path, &others, |what| {
                let found = chain.findings();
                let about = format!("{id}/{name} {what}: {found:#?}");
                let in_component = name.contains(".zst");
                let names_it = |f: &Finding| {
                    f.backup == id
                        && if in_component {
                            f.path == format!("{id}/{name}") && f.component.as_deref() == Some("files")
                        } else {
                            f.path == format!("{id}/{name}") || f.path == id && f.detail.contains(shown_as(&name))
                        }
                };
                assert!(found.iter().any(names_it), "{about}");
                assert!(found.iter().all(|f| !f.detail.is_empty() && !worded(&f.next).is_empty()), "{about}");
            });
        }
    }
    assert!(chain.findings().is_empty(), "all was put back: {:#?}", chain.findings());
}

/// How a message refers to a file: a signature that does not hold is about SHA256SUMS.
fn shown_as(name: &str) -> &str {
    if name == "SHA256SUMS.sig" { "SHA256SUMS" } else { name }
}

#[test]
fn two_files_of_a_backup_that_changed_places_are_both_found() {
    let chain = Chain::new();
    let names = chain.files(1);
    let id = chain.ids[1].as_str();
    for (at, first) in names.iter().enumerate() {
        for second in &names[at + 1..] {
            let (a, b) = (chain.file(1, first), chain.file(1, second));
            let aside = chain.sandbox.dir.path().join("aside");
            for (from, to) in [(&a, &aside), (&b, &a), (&aside, &b)] {
                succeed(Command::new("mv").arg(from).arg(to));
            }
            let found = chain.findings();
            for name in [first, second] {
                // Without a believable list of files nothing can be said about the single file.
                let listed =
                    !["SHA256SUMS", "SHA256SUMS.sig", "manifest.json"].iter().any(|n| n == first || n == second);
                let path = if listed { format!("{id}/{name}") } else { id.to_owned() };
                assert!(found.iter().any(|f| f.backup == id && f.path == path), "{first} and {second}: {found:#?}");
            }
            for path in [a, b] {
                chain.heal(&path);
            }
        }
    }
    assert!(chain.findings().is_empty());
}

#[test]
fn damage_to_the_repositorys_own_record_is_found_and_named() {
    let chain = Chain::new();
    let stranger = chain.sandbox.dir.path().join("stranger");
    write(&stranger, &fs::read(chain.root().join("repository.json")).unwrap().to_ascii_lowercase());
    each_damage(&chain.root().join("repository.json"), std::slice::from_ref(&stranger), |what| {
        let found = chain.findings();
        let named = |f: &Finding| f.path.contains("repository.json") || f.detail.contains("repository");
        assert!(found.iter().any(named), "{what}: {found:#?}");
    });
}

fn opened_and_restored(chain: &Chain, is_meant: impl Fn(&str) -> bool) {
    for number in 0..3 {
        let files = chain.files(number);
        for name in files.iter().filter(|n| is_meant(n)) {
            let path = chain.file(number, name);
            let mut siblings: Vec<_> = (0..3).filter(|&n| n != number).filter_map(|n| chain.same_in(n, name)).collect();
            siblings
                .extend(files.iter().filter(|n| n.contains(".tar.zst") && *n != name).map(|n| chain.file(number, n)));
            each_damage(&path, &siblings, |what| {
                let about = format!("{}/{name} {what}", chain.ids[number]);
                match chain.sandbox.verify_with(&chain.ids[2], Depth::Deep(100.0), true) {
                    Ok(report) => assert!(!report.ok, "{about}"),
                    Err(error) => panic!("{about}: verify gave up: {}", error.one_line()),
                }
                for later in number..3 {
                    chain.restores(later, &about);
                }
                if what == "deleted" {
                    for earlier in 0..number {
                        assert!(chain.restores(earlier, &about), "{about}: an earlier backup does not depend on it");
                    }
                }
            });
        }
    }
}

#[test]
fn a_damaged_archive_gives_no_wrong_content() {
    let chain = Chain::new();
    assert!((0..3).all(|n| chain.restores(n, "unharmed")));
    opened_and_restored(&chain, |name| name.contains(".tar.zst"));
}

#[test]
fn a_damaged_index_gives_no_wrong_content() {
    let chain = Chain::new();
    opened_and_restored(&chain, |name| name.contains(".index.zst"));
}

#[test]
fn a_missing_backup_is_found_when_it_is_needed_or_was_the_newest() {
    let chain = Chain::new();
    for number in 0..3 {
        let folder = chain.root().join(chain.ids[number].as_str());
        fs::remove_dir_all(&folder).unwrap();
        let found = chain.findings();
        let needed_by = &chain.ids[2].as_str();
        let named = |f: &Finding| f.backup == *needed_by && (f.detail.contains(chain.ids[number].as_str()));
        assert!(found.iter().any(named), "{found:#?}");
        for other in (0..3).filter(|&n| n != number) {
            assert_eq!(chain.restores(other, "a backup is missing"), other < number, "{other} without {number}");
        }
        chain.heal(&folder);
    }
    // Together with the link that named it, as a careful thief would.
    fs::remove_dir_all(chain.root().join(chain.ids[2].as_str())).unwrap();
    fs::remove_file(chain.root().join("latest")).unwrap();
    std::os::unix::fs::symlink(chain.ids[1].as_str(), chain.root().join("latest")).unwrap();
    let found = chain.findings();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].kind.to_string().as_str(), found[0].backup.as_str()), ("missing", chain.ids[2].as_str()));
}

#[test]
fn a_backup_under_the_name_of_another_is_found_and_not_restored() {
    let chain = Chain::new();
    for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        let folder = chain.root().join(chain.ids[to].as_str());
        fs::remove_dir_all(&folder).unwrap();
        succeed(Command::new("cp").arg("-a").arg(chain.pristine().join(chain.ids[from].as_str())).arg(&folder));
        let found = chain.findings();
        assert!(found.iter().any(|f| f.backup == chain.ids[to].as_str()), "{from} as {to}: {found:#?}");
        let error = chain.sandbox.chain(&chain.ids[to]).unwrap_err();
        assert_eq!(error.kind(), Kind::Damage, "{}", error.one_line());
        assert!(!chain.restores(2, "a replayed backup") || to == 2 && from == 2);
        chain.heal(&folder);
    }
    // Under a name of its own that is newer than all.
    let name = "20300101-000000";
    succeed(Command::new("cp").arg("-a").arg(chain.root().join(chain.ids[0].as_str())).arg(chain.root().join(name)));
    let found = chain.findings();
    assert!(found.iter().any(|f| f.backup == name), "{found:#?}");
}

#[test]
fn a_backup_signed_by_another_or_by_nobody_is_found_and_refused() {
    let chain = Chain::new();
    let other = Signer::generate(&chain.sandbox.dir.path().join("other")).unwrap();
    for number in 0..3 {
        let signature = chain.file(number, "SHA256SUMS.sig");
        let sums = fs::read(chain.file(number, "SHA256SUMS")).unwrap();
        let id = chain.ids[number].as_str();
        for (kind, word) in [(Kind::WrongSigner, "wrong-signer"), (Kind::Unsigned, "unsigned")] {
            if kind == Kind::Unsigned {
                fs::remove_file(&signature).unwrap();
            } else {
                write(&signature, other.sign(&sums).unwrap().as_bytes());
            }
            let found = chain.findings();
            assert!(found.iter().any(|f| f.kind.to_string() == word && f.backup == id), "{found:#?}");
            let error = chain.sandbox.chain(&chain.ids[number]).unwrap_err();
            assert_eq!(error.kind(), kind, "{}", error.one_line());
            assert_eq!(error.kind().exit_code(), 5);
            assert!(error.advice().is_some_and(|h| worded(h).contains("--allow-unsigned")));
            if number < 2 {
                // The signed manifest of the newest binds the others by digest.
                assert!(chain.restores(2, "a dependency's signature is not needed"));
            }
        }
        chain.heal(&signature);
    }
    assert!(chain.findings().is_empty());
}

/// One 100-byte file, and then every byte of every file changed, in those that say something every single bit.
fn every_bit(mut sandbox: Sandbox) {
    write(&sandbox.tree().join("f"), &noise(9, 100));
    let id = sandbox.create().id;
    assert!(findings(&sandbox, &id).is_empty());
    let dir = sandbox.root().join(id.as_str());
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.push(sandbox.root().join("repository.json"));
    let mut flips = 0;
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let every_bit = matches!(name, "SHA256SUMS" | "SHA256SUMS.sig" | "repository.json");
        // These two are only hashed, so a part of their bytes shows as much as all.
        let step = if matches!(name, "restore.sh" | "README.txt") { 37 } else { 1 };
        for offset in (0..fs::metadata(&path).unwrap().len()).step_by(step) {
            let bits = if every_bit { 0..8 } else { offset % 8..offset % 8 + 1 };
            for bit in bits {
                flip(&path, offset, 1 << bit);
                assert!(!findings(&sandbox, &id).is_empty(), "bit {bit} of byte {offset} of {name} was not missed");
                flip(&path, offset, 1 << bit);
                flips += 1;
            }
        }
    }
    assert!(flips > 8000, "only {flips}");
    assert!(findings(&sandbox, &id).is_empty());
}

#[test]
fn no_bit_of_a_clear_repository_can_flip_unseen() {
    every_bit(Sandbox::plain());
}

#[test]
fn no_bit_of_a_sealed_repository_can_flip_unseen() {
    every_bit(Sandbox::new());
}
