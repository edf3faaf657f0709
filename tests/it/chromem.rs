//! The vectorstore of contextd, played by the files that chromem-go wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ccbackup::ComponentConfig;
use ccbackup::config::{ChromemConfig, SourceConfig};
use ccbackup::vectorstore::{Document, document_bytes, hash_of_name};

use crate::contract::{Guard, Subject, contract};
use crate::support::succeed;

contract!(store, Store::start);

/// A store with collections of every sort.
struct Store {
    dir: tempfile::TempDir,
    changes: u32,
}

impl Store {
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("vectorstore")).unwrap();
        Some(Self { dir, changes: 0 })
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("vectorstore")
    }
}

/// Says to a thread that it may end, and waits for it.
pub(crate) struct Working(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Working {
    /// Works until it is dropped; `work` is told how often it worked already.
    pub(crate) fn start(mut work: impl FnMut(u32) + Send + 'static) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                work(turn);
            }
        });
        Self(ended, Some(thread))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.1.take() {
            thread.join().unwrap();
        }
    }
}

/// A file that is too large to be held in memory and is written to while it is read; goes when it is dropped.
pub(crate) struct Restless {
    working: Option<Working>,
    path: PathBuf,
}

impl Restless {
    pub(crate) fn start(path: PathBuf) -> Self {
        let file = fs::File::create(&path).unwrap();
        file.set_len(80 << 20).unwrap();
        let working = Working::start(move |turn| {
            std::os::unix::fs::FileExt::write_at(&file, &turn.to_le_bytes(), 0).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        });
        Self { working: Some(working), path }
    }
}

impl Drop for Restless {
    fn drop(&mut self) {
        self.working = None;
        fs::remove_file(&self.path).unwrap();
    }
}

/// Digests of all files below a folder, as `sha256sum` tells them.
pub(crate) fn digests(folder: &Path, but: &str) -> String {
    let script = format!("find . -type f {but} -print0 | sort -z | xargs -0 -r sha256sum");
    let listed = succeed(Command::new("bash").args(["-c", &script]).current_dir(folder));
    String::from_utf8(listed.stdout).unwrap()
}

fn fixture(sort: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chromem").join(sort)
}

fn copy(from: &Path, to: &Path) {
    succeed(Command::new("cp").arg("-a").arg(from).arg(to));
}

fn document(id: &str, text: &str) -> (String, Vec<u8>) {
    let document = Document { id: id.into(), embedding: vec![0.5; 384], content: text.into(), ..Document::default() };
    (format!("{}.gob", hash_of_name(id.as_bytes())), document_bytes(&document))
}

impl Subject for Store {
    fn component(&self) -> ComponentConfig {
        let source = SourceConfig::Chromem(ChromemConfig { path: self.folder() });
        ComponentConfig { name: "vectors".to_owned(), source, ..ComponentConfig::default() }
    }

    fn fill(&mut self) {
        let store = self.folder();
        for folder in fs::read_dir(fixture("missing-metadata")).unwrap() {
            copy(&folder.unwrap().path(), &store);
        }
        fs::create_dir_all(store.join("tenant/project")).unwrap();
        copy(&fixture("healthy-gz/d8595bb2"), &store.join("tenant/project"));
        fs::create_dir(store.join(".quarantine")).unwrap();
        copy(&fixture("with-empty/e9f85bf6"), &store.join(".quarantine"));
        copy(&fixture("with-empty/90ac1ed5"), &store);
        fs::write(store.join("registry.json"), r#"{"version":1}"#).unwrap();
    }

    fn change(&mut self) {
        self.changes += 1;
        let (name, bytes) = document("changed", &format!("{} times", self.changes));
        fs::write(self.folder().join("a1ef3a3d").join(name), bytes).unwrap();
        let (name, bytes) = document(&format!("new-{}", self.changes), "new");
        fs::write(self.folder().join("a1ef3a3d").join(name), bytes).unwrap();
        fs::remove_file(self.folder().join("d29a21d0/676352f1.gob")).ok();
    }

    fn wipe(&mut self) {
        fs::remove_dir_all(self.folder()).unwrap();
        fs::create_dir(self.folder()).unwrap();
    }

    fn fingerprint(&self) -> String {
        digests(&self.folder(), "")
    }

    fn churn(&mut self) -> Option<Guard> {
        let folder = self.folder().join("a1ef3a3d");
        fs::create_dir_all(&folder).unwrap();
        Some(Box::new(Working::start(move |turn| {
            let (hot, bytes) = document("hot", &format!("turn {turn}"));
            fs::write(folder.join(hot), bytes).unwrap();
            let (new, bytes) = document(&format!("turn-{turn}"), "new");
            fs::write(folder.join(new), bytes).unwrap();
            std::thread::sleep(Duration::from_millis(3));
        })))
    }

    fn break_half_way(&mut self) -> Option<Guard> {
        Some(Box::new(Restless::start(self.folder().join("e9f85bf6/restless"))))
    }
}
