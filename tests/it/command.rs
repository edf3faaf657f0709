//! Kind `command` keeps the contract of all kinds, with and without a program that compares.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ccbackup::ComponentConfig;
use ccbackup::config::{CommandConfig, SourceConfig};
use ccbackup::environment::Environment;
use ccbackup::secret::SecretRef;

use crate::contract::{Guard, Subject, contract};

/// A store of one file, and a tool that dumps, loads and compares it for who knows its token.
const TOOL: &str = r#"set -eu
folder=$2
test "$TOKEN" = "$(cat "$folder/token")" || { echo "wrong token $TOKEN" >&2; exit 9; }
case $1 in
dump)
    test -e "$folder/db" || exit 0
    if test -e "$folder/broken"; then head -c 1000 "$folder/db"; echo "the disk is gone, $TOKEN" >&2; exit 1; fi
    cat "$folder/db" ;;
load) cat > "$folder/db.new"; mv "$folder/db.new" "$folder/db" ;;
diff) exec cmp - "$folder/db" ;;
esac
"#;
const CANARY: &str = "canary-4b1d7e90";

struct Store {
    folder: tempfile::TempDir,
    compares: bool,
    changes: u32,
}

impl Store {
    fn start(compares: bool) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tool"), TOOL).unwrap();
        fs::write(folder.path().join("token"), CANARY).unwrap();
        Some(Self { folder, compares, changes: 0 })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, text: &str) {
        put(&self.path("db"), text);
    }
}

fn put(db: &Path, text: &str) {
    let new = db.with_extension("put");
    fs::write(&new, text).unwrap();
    fs::rename(new, db).unwrap();
}

fn rows(changes: u32) -> String {
    (0..20_000).map(|n| format!("row {n} {}\n", if n % 5000 == 7 { changes } else { 0 })).collect()
}

struct Stop(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().map(std::thread::JoinHandle::join);
    }
}

struct Mended(PathBuf);

impl Drop for Mended {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

impl Subject for Store {
    fn component(&self) -> ComponentConfig {
        let tool = |verb: &str| {
            let words = ["sh".into(), self.path("tool"), verb.into(), self.folder.path().to_owned()];
            words.map(|word| word.into_os_string().into_string().unwrap()).to_vec()
        };
        let config = CommandConfig {
            capture: tool("dump"),
            apply: tool("load"),
            check: if self.compares { tool("diff") } else { Vec::new() },
            env: [("TOKEN".to_owned(), Some(SecretRef::Env("STORE_TOKEN".into())))].into_iter().collect(),
            min_bytes: 0,
            object: "dump/store.txt".into(),
            ..CommandConfig::default()
        };
        ComponentConfig { name: "store".into(), source: SourceConfig::Command(config), ..ComponentConfig::default() }
    }

    fn environment(&self) -> Environment {
        Environment::new([("STORE_TOKEN".into(), CANARY.into()), ("PATH".into(), std::env::var_os("PATH").unwrap())])
    }

    fn fill(&mut self) {
        self.put(&rows(0));
    }

    fn change(&mut self) {
        self.changes += 1;
        self.put(&rows(self.changes));
    }

    fn wipe(&mut self) {
        fs::remove_file(self.path("db")).unwrap();
    }

    fn fingerprint(&self) -> String {
        fs::read_to_string(self.path("db")).unwrap_or_default()
    }

    fn churn(&mut self) -> Option<Guard> {
        let (stop, db) = (Arc::new(AtomicBool::new(false)), self.path("db"));
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for n in 1000.. {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                put(&db, &rows(n));
            }
        });
        Some(Box::new(Stop(stop, Some(thread))))
    }

    fn break_half_way(&mut self) -> Option<Guard> {
        fs::write(self.path("broken"), "").unwrap();
        Some(Box::new(Mended(self.path("broken"))))
    }

    fn canary(&self) -> Option<String> {
        Some(CANARY.to_owned())
    }

    fn mark(&self) -> Option<String> {
        Some(self.folder.path().to_str().unwrap().to_owned())
    }
}

contract!(captured, || Store::start(false));
contract!(compared, || Store::start(true));
