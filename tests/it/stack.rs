//! A whole stack by one configuration, that of the README: captured while everything is written to, lost, and brought back into
//! living services; and each part by hand, with the vendor's own tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::format_doc::blocks;
use crate::postgres_server::{self, Server};
use crate::redis_peers::{self, Redis};
use crate::support::{shell, succeed, write};

/// The services, and a folder for the rest.
struct Stack {
    dir: tempfile::TempDir,
    postgres: Server,
    redis: Redis,
}

/// A thread that changes something all the time.
struct Busy(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Busy {
    fn start(mut change: impl FnMut(u64) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut turn = 0;
            while !stopped.load(Ordering::Relaxed) {
                turn += 1;
                change(turn);
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().map(std::thread::JoinHandle::join);
    }
}

const TABLES: &str = "CREATE ROLE web LOGIN PASSWORD 'x'; CREATE DATABASE app OWNER web;";
const ROWS: &str = "CREATE TABLE account (id int PRIMARY KEY, units int NOT NULL);
    INSERT INTO account SELECT i, 100 FROM generate_series(1, 1000) i;
    CREATE TABLE text (id serial PRIMARY KEY, words text);
    INSERT INTO text (words) SELECT md5(i::text) || md5((i * 7)::text) FROM generate_series(1, 60000) i;";
const TRANSFERS: &str = "DO $$ DECLARE giver int; taker int; BEGIN LOOP
    giver := 1 + (random() * 499)::int;
    taker := 501 + (random() * 499)::int;
    UPDATE account SET units = units - 1 WHERE id = giver;
    UPDATE account SET units = units + 1 WHERE id = taker;
    COMMIT; END LOOP; END $$;";

impl Stack {
    fn start() -> Option<Self> {
        if !redis_peers::is_installed() {
            return None;
        }
        let stack = Self { dir: tempfile::tempdir().unwrap(), postgres: Server::start()?, redis: Redis::start("") };
        stack.configure();
        Some(stack)
    }

    fn app(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    /// The configuration of the README, with the ports and passwords of the test.
    fn configure(&self) {
        let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
        let configs = blocks(&readme).into_iter().filter(|(info, _)| info.ends_with(" example:stack"));
        let text: String = configs.map(|(_, text)| text).collect();
        assert!(text.matches("[[component]]").count() == 7, "a component of every kind: {text}");
        let text = text.replace("5432", &self.postgres.port.to_string()).replace("6379", &self.redis.port.to_string());
        write(&self.app().join("ccbackup.toml"), text.as_bytes());
        for name in ["dump-queue", "load-queue", "same-queue"] {
            let script = match name {
                "dump-queue" => "[ -e data/queue ] || exit 0; cat data/queue; echo '-- end'",
                "load-queue" => "grep -v '^-- end$' > data/queue",
                _ => "grep -v '^-- end$' | cmp - data/queue",
            };
            let path = self.app().join("scripts").join(name);
            write(&path, format!("#!/bin/sh\ncd '{}'\n{script}\n", self.app().display()).as_bytes());
            succeed(Command::new("chmod").arg("755").arg(path));
        }
    }

    fn fill(&self) {
        let app = self.app();
        write(&app.join("docker-compose.yaml"), b"services: {}\n");
        write(&app.join(".env"), b"COLOR=green\n");
        write(&app.join("configs/grafana.ini"), b"[security]\n");
        write(&app.join("data/queue"), b"first\nsecond\n");
        write(&app.join("data/contextcore/state/web/T-1.json"), task("T-1", 0).as_bytes());
        fs::create_dir_all(app.join("data/grafana")).unwrap();
        let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chromem/healthy");
        succeed(Command::new("cp").arg("-r").arg(store).arg(app.join("data/vectorstore")));
        shell(
            "sqlite3 data/grafana/grafana.db 'PRAGMA journal_mode=WAL; CREATE TABLE account(id INTEGER PRIMARY KEY, units INT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO account SELECT i, 100 FROM n;'",
            &app,
        );
        self.postgres.psql("postgres", TABLES);
        self.postgres.psql("app", ROWS);
        self.redis.seed();
    }

    /// Everything that can be written to is, until the guards are dropped.
    fn work(&self) -> Vec<Box<dyn std::any::Any>> {
        let app = self.app();
        let (database, tasks) = (app.join("data/grafana/grafana.db"), app.join("data/contextcore/state/web"));
        vec![
            Box::new(self.postgres.background("app", TRANSFERS)),
            Box::new(self.redis.write_pairs()),
            Box::new(Busy::start(move |turn| {
                let (from, to) = (1 + turn % 500, 501 + turn % 499);
                let sql = format!(
                    ".timeout 5000\nBEGIN IMMEDIATE; UPDATE account SET units = units - 1 WHERE id = {from};
                     UPDATE account SET units = units + 1 WHERE id = {to}; COMMIT;"
                );
                let mut sqlite = Command::new("sqlite3");
                sqlite.arg(&database).arg(&sql).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            })),
            Box::new(Busy::start(move |turn| {
                let staged = tasks.join(".T-1.tmp");
                fs::write(&staged, task("T-1", turn)).unwrap();
                fs::rename(staged, tasks.join("T-1.json")).unwrap();
                std::thread::sleep(Duration::from_millis(400));
            })),
        ]
    }

    /// What the vendors' own clients tell of everything.
    fn fingerprint(&self) -> String {
        let files = shell(
            "find .env docker-compose.yaml configs data -type f -not -path 'data/grafana/*' -not -name '*.lock' | sort | xargs sha256sum;
             sqlite3 data/grafana/grafana.db .dump",
            &self.app(),
        );
        let files = String::from_utf8(files.stdout).unwrap();
        format!("{files}\n{}\n{}", self.postgres.fingerprint(), self.redis.fingerprint())
    }

    /// Loses everything; the services run, empty.
    fn lose(&mut self) {
        shell("rm -rf .env docker-compose.yaml configs data", &self.app());
        self.postgres.initialise();
        self.postgres.run();
        self.redis.wipe();
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ccbackup"));
        command.args(line.split(' ')).current_dir(self.app()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("CCBACKUP_HOME", self.dir.path().join("home"));
        command.env("POSTGRES_PASSWORD", postgres_server::PASSWORD).env("REDIS_PASSWORD", redis_peers::PASSWORD);
        command
    }

    /// Runs a command line, which must end with this code; gives its document.
    fn run(&self, line: &str, code: i32) -> Value {
        let output = self.command(&format!("{line} --json")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "ccbackup {line}: {said}\n{text}");
        for secret in [postgres_server::PASSWORD, redis_peers::PASSWORD] {
            assert!(!said.contains(secret) && !text.contains(secret), "ccbackup {line} shows a secret");
        }
        serde_json::from_str(&text).unwrap()
    }

    fn sums(&self) -> (String, String) {
        let sqlite = shell("sqlite3 data/grafana/grafana.db 'SELECT sum(units), count(*) FROM account'", &self.app());
        let postgres = self.postgres.psql("app", "SELECT sum(units), count(*) FROM account");
        (String::from_utf8(sqlite.stdout).unwrap().trim().to_owned(), postgres)
    }
}

fn task(id: &str, turn: u64) -> String {
    format!(
        r#"{{"task_id":"{id}","span_name":"contextcore.task.task","start_time":"2026-01-17T14:30:00+00:00","attributes":{{"task.status":"todo","turn":{turn}}},"schema_version":2,"project_id":"web"}}"#
    )
}

fn component<'v>(report: &'v Value, name: &str) -> &'v Value {
    report["components"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap()
}

#[test]
fn a_stack_that_is_written_to_is_captured_as_one_point_lost_and_brought_back() {
    let Some(mut stack) = Stack::start() else { return };
    stack.fill();
    // While everything is written to.
    let work = stack.work();
    std::thread::sleep(Duration::from_millis(500));
    let busy = stack.run("create --encrypt", 0);
    drop(work);
    // A loop of the server does not notice that nobody listens any more.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO %'";
    stack.postgres.psql("postgres", end);
    assert_eq!(busy["components"].as_array().unwrap().len(), 7, "{busy:#}");
    assert_eq!(busy["recovery_point"]["verdict"], "consistent", "{busy:#}");
    // At rest: what is equal costs next to nothing.
    stack.run("create --encrypt", 0);
    let quiet = stack.run("create --encrypt", 0);
    for component in quiet["components"].as_array().unwrap() {
        assert_eq!(component["new_entries"], 0, "{component:#}");
        assert!(component["bytes_stored"].as_u64().unwrap() < 64 << 10, "{component:#}");
    }
    stack.run("check", 0);
    let before = stack.fingerprint();

    stack.lose();
    let planned = stack.run("restore --apply --dry-run", 0);
    assert!(planned.to_string().contains("create"), "{planned:#}");
    stack.run("restore --apply --yes", 0);
    assert_eq!(stack.fingerprint(), before);
    stack.run("check", 0);
    let again = stack.run("restore --apply --yes", 0);
    assert!(!again.to_string().contains("\"create\"") && !again.to_string().contains("\"replace\""), "{again:#}");

    // What was captured in motion is of one moment each.
    let id = busy["id"].as_str().unwrap();
    stack.run(&format!("restore {id} --apply --yes"), 5);
    stack.run(&format!("restore {id} --apply --overwrite --yes"), 0);
    let whole = "100000|1000".to_owned();
    assert_eq!(stack.sums(), (whole.clone(), whole));
    assert_eq!(stack.redis.cli(&["GET", "pair:a"]), stack.redis.cli(&["GET", "pair:b"]));
    let run = stack.run("restore --runs", 0);
    let newest = run.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    stack.run(&format!("restore --undo {newest} --yes"), 0);
    assert_eq!(stack.fingerprint(), before);

    by_hand(&stack, quiet["id"].as_str().unwrap());
    assert_eq!(component(&quiet, "postgres")["kind"], "postgres");
}

/// Each part with standard tools and the vendor's own, as docs/RECOVERY.md says.
fn by_hand(stack: &Stack, id: &str) {
    let home = stack.dir.path().join("home");
    let script = format!("sh backups/{id}/restore.sh -i '{}/identity.txt' -o ../by-hand", home.display());
    shell(&script, &stack.app());
    let out = stack.dir.path().join("by-hand");
    // PostgreSQL.
    let dump = out.join("postgres/databases/app.dump");
    stack.postgres.psql("postgres", "CREATE DATABASE by_hand TEMPLATE template0");
    let mut restore = stack.postgres.client("pg_restore", "by_hand");
    succeed(restore.arg("--exit-on-error").arg(&dump));
    let rows = "SELECT count(*), md5(string_agg(words, ',' ORDER BY id)) FROM text";
    assert_eq!(stack.postgres.psql("by_hand", rows), stack.postgres.psql("app", rows));
    // Redis.
    let other = Redis::start_with(&out.join("redis/dump.rdb"));
    // Users are in another file.
    let digest = |server: &Redis| server.fingerprint().lines().next().map(str::to_owned);
    assert_eq!(digest(&other), digest(&stack.redis));
    // SQLite: one database, wherever it lay.
    let checked = shell(
        "for f in $(find grafana -name '*.db'); do sqlite3 $f 'PRAGMA integrity_check; SELECT sum(units) FROM account'; done",
        &out,
    );
    assert_eq!(String::from_utf8(checked.stdout).unwrap(), "ok\n100000\n");
    // The vectorstore, the state, and what the program wrote.
    let same = "diff -r -x inventory.json vectorstore ../app/data/vectorstore && cmp queue/output <(cat ../app/data/queue; echo '-- end')
        cmp $(find tasks -name T-1.json | head -n 1) ../app/data/contextcore/state/web/T-1.json";
    shell(same, &out);
}
