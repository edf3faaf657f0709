//! PostgreSQL: a real server is filled, captured, lost and brought back; and everything that can go wrong on the way does.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ccbackup::config::{Databases, PostgresConfig, SourceConfig};
use ccbackup::environment::Environment;
use ccbackup::error::{Context as _, Kind};
use ccbackup::model::Moment;
use ccbackup::secret::SecretRef;
use ccbackup::source::postgres::PostgresSource;
use ccbackup::source::{ActionKind, Body, Captured, Facts, Source as _, SourceContext};
use ccbackup::{ComponentConfig, Error, Recorder, Result};

use crate::contract::{Bench, Guard, Subject, contract};
use crate::postgres_server::{Fake, PASSWORD, Server, tools};
use crate::support::succeed;

/// The variable that has the password.
const VARIABLE: &str = "POSTGRES_TEST_PASSWORD";
const CLUSTER: &str = include_str!("../../fixtures/postgres/seed-cluster.sql");
const DATABASES: &str = include_str!("../../fixtures/postgres/seed-databases.sql");
const SHOP: &str = include_str!("../../fixtures/postgres/seed.sql");

/// A server with data of every kind.
pub(crate) struct Postgres {
    server: Server,
    changes: u32,
}

impl Postgres {
    fn start() -> Option<Self> {
        let server = Server::start()?;
        tools(&server.dir.path().join("bin"), &server.bin);
        Some(Self { server, changes: 0 })
    }

    fn bin(&self) -> PathBuf {
        self.server.dir.path().join("bin")
    }

    fn config(&self) -> PostgresConfig {
        PostgresConfig {
            host: Some("127.0.0.1".into()),
            port: Some(self.server.port),
            user: Some("postgres".into()),
            password: Some(SecretRef::Env(VARIABLE.into())),
            databases: Databases::All,
            bin: Some(self.bin()),
            lock_timeout: Duration::from_secs(1),
            silence: Duration::from_secs(20),
            ..PostgresConfig::default()
        }
    }

    fn seed(&self, rows: u32) {
        self.server.psql("postgres", CLUSTER);
        self.server.psql("shop", &format!("\\set rows {rows}\n{SHOP}"));
        self.server.psql("\u{fc}n\u{ef} \"db\" x/y", "CREATE TABLE t (x text); INSERT INTO t VALUES ('a');");
    }

    /// Databases of other encodings, locales and properties, tables in a template, and a subscription.
    fn seed_more(&self) {
        self.server.psql("postgres", DATABASES);
        self.server.psql("latin", "CREATE TABLE t (x text); INSERT INTO t VALUES ('gr\u{fc}n');");
        self.server.psql("template1", "CREATE TABLE of_template (x int);");
        self.server.psql(
            "shop",
            "CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1 port=1 password=canary-feed dbname=x' PUBLICATION p \
             WITH (connect = false, slot_name = NONE, enabled = false);\
             COMMENT ON SUBSCRIPTION feed IS 'not enabled';",
        );
    }
}

impl Subject for Postgres {
    fn component(&self) -> ComponentConfig {
        let source = SourceConfig::Postgres(Box::new(self.config()));
        ComponentConfig { name: "db".into(), source, ..ComponentConfig::default() }
    }

    fn environment(&self) -> Environment {
        Environment::new([(VARIABLE.into(), PASSWORD.into())])
    }

    fn fill(&mut self) {
        self.seed(2000);
    }

    fn change(&mut self) {
        // A materialised view is in no dump but by its definition, and comes back fresh.
        self.changes += 1;
        let n = self.changes;
        self.server.psql(
            "shop",
            &format!(
                "UPDATE shop.accounts SET balance = balance + {n} WHERE id = 1; INSERT INTO shop.log (note) VALUES ('{n}');\
                 CREATE TABLE shop.new_{n} (x int); DROP TABLE IF EXISTS shop.refs; SELECT lo_create(5000 + {n});\
                 REFRESH MATERIALIZED VIEW shop.totals;"
            ),
        );
    }

    fn wipe(&mut self) {
        self.server.initialise();
        self.server.run();
    }

    fn fingerprint(&self) -> String {
        self.server.fingerprint()
    }

    fn churn(&mut self) -> Option<Guard> {
        let writer = self.server.background("shop", TRANSFERS);
        Some(Box::new(writer))
    }

    fn break_half_way(&mut self) -> Option<Guard> {
        let script = "set -o pipefail; \"$REAL\" \"$@\" | head -c 600; exit 0";
        Some(Box::new(Fake::new(&self.bin(), "pg_dump", script)))
    }

    fn canary(&self) -> Option<String> {
        Some(PASSWORD.into())
    }

    fn mark(&self) -> Option<String> {
        Some(format!("port='{}'", self.server.port))
    }
}

/// Moves money between accounts for ever: their sum stays.
const TRANSFERS: &str = "DO $$ DECLARE n int; BEGIN LOOP n := 1 + floor(random() * 98)::int;\
    UPDATE shop.accounts SET balance = balance - 1 WHERE id = n; UPDATE shop.accounts SET balance = balance + 1 WHERE id = n + 1;\
    INSERT INTO shop.log (note) VALUES (n::text); COMMIT; END LOOP; END $$;";

contract!(contract_of_postgres, Postgres::start);

/// Everything of a capture at the level of the source: paths and bytes, and what it says of the whole.
type Taken = (BTreeMap<String, Vec<u8>>, Facts);

impl Postgres {
    fn capture_with(&self, config: PostgresConfig, environment: &Environment) -> Result<Taken> {
        self.capture_watched(config, environment, |_| {})
    }

    /// Calls `meanwhile` with the path of each stream after its first bytes.
    fn capture_watched(
        &self,
        config: PostgresConfig,
        environment: &Environment,
        mut meanwhile: impl FnMut(&str),
    ) -> Result<Taken> {
        let monitor = Recorder::default();
        let scratch = self.server.dir.path().to_owned();
        let context = context(environment, &monitor, &scratch);
        let source = PostgresSource::new(config);
        let Captured::Objects(mut objects) = source.capture(&context)? else { panic!("no tree") };
        let mut taken = BTreeMap::new();
        while let Some(object) = objects.next()? {
            let path = object.path.to_string();
            let bytes = match object.body {
                Body::Bytes(bytes) => bytes,
                Body::Stream(mut stream) => {
                    let mut bytes = vec![0; 600];
                    let first = stream.read(&mut bytes).doing("cannot read")?;
                    bytes.truncate(first);
                    meanwhile(&path);
                    stream.read_to_end(&mut bytes).doing("cannot read")?;
                    bytes
                }
            };
            taken.insert(path, bytes);
        }
        Ok((taken, objects.finish()?))
    }

    fn capture(&self) -> Result<Taken> {
        self.capture_with(self.config(), &self.environment())
    }

    fn fake(&self, program: &str, script: &str) -> Fake {
        Fake::new(&self.bin(), program, script)
    }

    /// A server with one small database beside those of every cluster.
    fn small() -> Option<Self> {
        let new = Self::start()?;
        new.server.psql("postgres", "CREATE DATABASE shop;");
        new.server.psql("shop", "CREATE TABLE t AS SELECT i, md5(i::text) FROM generate_series(1, 500) i;");
        Some(new)
    }
}

fn context<'a>(environment: &'a Environment, monitor: &'a Recorder, scratch: &'a Path) -> SourceContext<'a> {
    SourceContext { component: "db", environment, monitor, scratch, now: Moment::from_unix_seconds(1_800_000_000) }
}

fn refused(taken: Result<Taken>) -> Error {
    let error = taken.expect_err("it is not whole");
    assert!(!error.one_line().contains("canary"), "{}", error.one_line());
    error
}

#[test]
fn a_dump_that_is_cut_empty_killed_silent_or_complains_fails_and_says_why() {
    let Some(db) = Postgres::small() else { return };
    let only = |kind, words: &str, script: &str| {
        let fake = db.fake("pg_dump", script);
        let config = PostgresConfig { silence: Duration::from_secs(2), ..db.config() };
        let error = refused(db.capture_with(config, &db.environment()));
        drop(fake);
        assert_eq!(error.kind(), kind, "{script}: {}", error.one_line());
        assert!(error.one_line().contains(words), "{script}: {}", error.one_line());
    };
    let cut =
        "\"$REAL\" \"$@\" > \"$TMPDIR/dump\"; head -c $(($(stat -c %s \"$TMPDIR/dump\") * 9 / 10)) \"$TMPDIR/dump\"";
    let cut = cut.replace("$TMPDIR", &db.server.dir.path().display().to_string());
    only(Kind::Incomplete, "cut", &format!("{cut}; exit 0"));
    only(Kind::Incomplete, "not one byte", "exit 0");
    only(Kind::TimedOut, "no sign of life", "sleep 60");
    only(Kind::Failed, "signal 9", "\"$REAL\" \"$@\" | head -c 900; kill -9 $$");
    only(
        Kind::Incomplete,
        "not dumped",
        "\"$REAL\" \"$@\"; echo 'pg_dump: warning: subscriptions not dumped because current user is not a superuser' >&2",
    );
    only(Kind::Incomplete, "error: x", "\"$REAL\" \"$@\"; echo 'pg_dump: error: x' >&2");
    only(Kind::Damage, "bytes were added", "\"$REAL\" \"$@\"; echo more");
    only(Kind::Denied, "***", "echo \"pg_dump: error: password authentication failed; password='canary'\" >&2; exit 1");
    db.capture().unwrap();
}

#[test]
fn globals_that_are_cut_or_empty_fail_the_capture() {
    let Some(db) = Postgres::small() else { return };
    for script in ["\"$REAL\" \"$@\" | head -n 20; exit 0", "exit 0"] {
        let fake = db.fake("pg_dumpall", script);
        assert_eq!(refused(db.capture()).kind(), Kind::Incomplete, "{script}");
        drop(fake);
    }
}

#[test]
fn a_server_that_cannot_be_used_is_named_with_its_reason() {
    let Some(mut db) = Postgres::small() else { return };
    let environment = db.environment();
    let with = |config| db.capture_with(config, &environment);
    let wrong = Environment::new([(VARIABLE.into(), "canary-wrong".into())]);
    assert_eq!(refused(db.capture_with(db.config(), &wrong)).kind(), Kind::Denied);
    assert_eq!(refused(with(PostgresConfig { password: None, ..db.config() })).kind(), Kind::Denied);
    let named = Databases::Named(vec!["nowhere".into()]);
    let error = refused(with(PostgresConfig { databases: named, ..db.config() }));
    assert_eq!(error.kind(), Kind::NotFound, "{}", error.one_line());
    let nowhere = PostgresConfig { bin: Some(db.server.dir.path().join("nowhere")), ..db.config() };
    assert_eq!(refused(with(nowhere)).kind(), Kind::ToolMissing);
    for version in ["14.2", "18.1"] {
        let other = format!("if [ \"$1\" = --version ]; then echo 'pg_dump (PostgreSQL) {version}'; exit; fi");
        let fake = db.fake("pg_dump", "exit 1");
        std::fs::write(db.bin().join("pg_dump"), format!("#!/bin/bash\n{other}\nexit 1\n")).unwrap();
        let error = refused(with(db.config()));
        assert_eq!(error.kind(), Kind::Version, "{}", error.one_line());
        assert!(format!("{:?}", error.advice()).contains("postgresql-client-"), "{error:?}");
        drop(fake);
    }
    let lock = db.server.background("shop", "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60);");
    let begin = std::time::Instant::now();
    while db.server.psql("postgres", "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted;")
        == "0"
    {
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
    let error = refused(with(db.config()));
    assert_eq!(error.kind(), Kind::TimedOut, "{}", error.one_line());
    drop(lock);
    db.server.psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop';");
    db.server.stop();
    assert_eq!(refused(db.capture()).kind(), Kind::Unreachable);
}

#[test]
fn a_server_that_dies_or_freezes_in_the_middle_of_a_dump_fails_the_capture() {
    let Some(mut db) = Postgres::small() else { return };
    db.server.psql("shop", "CREATE TABLE big AS SELECT i, repeat('x', 200) FROM generate_series(1, 60000) i;");
    let environment = db.environment();
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop';";
    let in_shop = |path: &str, work: &dyn Fn()| {
        if path.ends_with("shop.dump") {
            work();
        }
    };
    let ended = db.capture_watched(db.config(), &environment, |path| {
        in_shop(path, &|| drop(db.server.psql("postgres", terminate)));
    });
    assert_eq!(refused(ended).kind(), Kind::Unreachable);
    let quick = PostgresConfig { silence: Duration::from_secs(2), ..db.config() };
    let frozen = db.capture_watched(quick, &environment, |path| in_shop(path, &|| db.server.freeze(true)));
    // Only the main process of the server is frozen: the dump goes on, and the next login does not.
    let error = refused(frozen);
    db.server.freeze(false);
    assert!(matches!(error.kind(), Kind::TimedOut | Kind::Unreachable), "{}", error.one_line());
    let pid = std::fs::read_to_string(db.server.data().join("postmaster.pid")).unwrap();
    let pid = pid.lines().next().unwrap().to_owned();
    let kill = || assert!(std::process::Command::new("kill").args(["-QUIT", &pid]).status().unwrap().success());
    let killed = db.capture_watched(db.config(), &environment, |path| in_shop(path, &kill));
    assert_eq!(refused(killed).kind(), Kind::Unreachable);
    db.server.stop();
    db.server.run();
    db.capture().unwrap();
}

#[test]
fn what_cannot_be_dumped_is_a_problem_and_never_silent() {
    let Some(db) = Postgres::small() else { return };
    db.server.psql("postgres", "CREATE DATABASE closed; ALTER DATABASE closed ALLOW_CONNECTIONS false;");
    let (taken, facts) = db.capture().unwrap();
    assert!(!taken.contains_key("databases/closed.dump"));
    let [problem] = facts.problems.as_slice() else { panic!("{:?}", facts.problems) };
    assert_eq!((problem.kind.as_str(), problem.path.as_str()), ("incomplete", "databases/closed.dump"));
    assert_eq!(facts.counts["databases"], 3);
    assert_eq!(facts.counts["rows"], 500);
    let environment = db.environment();
    let made = db.capture_watched(db.config(), &environment, |path| {
        if path.ends_with("shop.dump") {
            db.server.psql("postgres", "CREATE DATABASE late;");
        }
    });
    assert_eq!(refused(made).kind(), Kind::Incomplete);
}

#[test]
fn the_smallest_rights_are_enough_and_what_they_hide_is_said() {
    let Some(db) = Postgres::small() else { return };
    db.server.psql(
        "postgres",
        "CREATE ROLE backup LOGIN BYPASSRLS PASSWORD 'canary-backup'; GRANT pg_read_all_data TO backup;",
    );
    let config = PostgresConfig { user: Some("backup".into()), ..db.config() };
    let environment = Environment::new([(VARIABLE.into(), "canary-backup".into())]);
    let (taken, facts) = db.capture_with(config.clone(), &environment).unwrap();
    assert!(facts.problems.is_empty(), "{:?}", facts.problems);
    assert_eq!(facts.counts["rows"], 500);
    assert!(
        taken["globals.sql"].windows(13).any(|w| w == b"SCRAM-SHA-256"),
        "members of pg_read_all_data see verifiers"
    );

    db.server.psql(
        "shop",
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;\
        CREATE USER MAPPING FOR postgres SERVER s OPTIONS (password 'x');",
    );
    let (_, facts) = db.capture_with(config.clone(), &environment).unwrap();
    assert!(facts.problems.iter().any(|p| p.detail.contains("user mappings")), "{:?}", facts.problems);

    db.server.psql(
        "shop",
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, slot_name = NONE);",
    );
    let error = refused(db.capture_with(config.clone(), &environment));
    assert_eq!(error.kind(), Kind::Incomplete, "{}", error.one_line());

    db.server.psql("postgres", "ALTER ROLE backup NOBYPASSRLS;");
    db.server.psql("shop", "DROP SUBSCRIPTION s; ALTER TABLE t ENABLE ROW LEVEL SECURITY;");
    let error = refused(db.capture_with(config, &environment));
    assert_eq!(error.kind(), Kind::Denied, "{}", error.one_line());
    assert!(error.one_line().contains("row-level security"), "{}", error.one_line());
}

#[test]
fn passwords_of_roles_that_cannot_be_read_are_a_problem() {
    let Some(db) = Postgres::small() else { return };
    db.server.psql("postgres", "CREATE ROLE plain LOGIN PASSWORD 'canary-plain';");
    db.server.psql("shop", "GRANT SELECT ON t TO plain;");
    let config = PostgresConfig { user: Some("plain".into()), ..db.config() };
    let environment = Environment::new([(VARIABLE.into(), "canary-plain".into())]);
    let (taken, facts) = db.capture_with(config, &environment).unwrap();
    let [problem] = facts.problems.as_slice() else { panic!("{:?}", facts.problems) };
    assert_eq!((problem.kind.as_str(), problem.path.as_str()), ("incomplete", "globals.sql"));
    assert!(problem.detail.contains("pg_authid"), "{}", problem.detail);
    assert!(!taken["globals.sql"].windows(8).any(|w| w == b"PASSWORD"));
}

#[test]
fn a_first_database_that_is_closed_or_not_there_stops_nobody() {
    let Some(db) = Postgres::small() else { return };
    let named = |name: &str| PostgresConfig { dbname: Some(name.into()), ..db.config() };
    let (taken, _) = db.capture_with(named("nowhere"), &db.environment()).unwrap();
    assert!(taken.contains_key("databases/shop.dump"));
    db.server.psql("postgres", "ALTER DATABASE shop ALLOW_CONNECTIONS false;");
    let (_, facts) = db.capture_with(named("shop"), &db.environment()).unwrap();
    assert_eq!(facts.problems.len(), 1, "{:?}", facts.problems);
}

#[test]
fn an_interrupt_in_the_middle_of_a_swap_leaves_no_database_closed() {
    let Some(db) = Postgres::small() else { return };
    let bench = Bench::new(&db);
    let id = bench.capture(&db).id;
    db.server.psql("shop", "DELETE FROM t;");
    let seen = db.server.dir.path().join("swapping");
    // Once the doors are closed the swap is held up.
    let script = format!(
        "input=$(cat; echo .); input=${{input%.}}\n\
         if [[ $input == *'RENAME TO'* ]]; then printf '%s' \"${{input%%BEGIN;*}}\" | \"$REAL\" \"$@\"; touch {0}; sleep 3; fi\n\
         printf '%s' \"$input\" | \"$REAL\" \"$@\"",
        seen.display()
    );
    let fake = db.fake("psql", &script);
    let monitor = Recorder::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let begin = std::time::Instant::now();
            while !seen.exists() && begin.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(Duration::from_millis(20));
            }
            monitor.signal.store(15, std::sync::atomic::Ordering::Relaxed);
        });
        bench.try_apply(&db, &id, true, &monitor).ok();
    });
    drop(fake);
    assert!(seen.exists(), "it came to the swap");
    assert!(matches!(db.server.psql("shop", "SELECT count(*) FROM t;").as_str(), "0" | "500"));
    let shut = "SELECT datname FROM pg_database WHERE NOT datallowconn AND datname !~ '_old|template0';";
    assert_eq!(db.server.psql("postgres", shut), "");
}

#[test]
fn a_role_is_replaced_as_a_whole_and_an_undo_takes_the_password_of_the_backup_away() {
    let Some(db) = Postgres::small() else { return };
    db.server.psql("postgres", "CREATE ROLE web LOGIN; CREATE ROLE job LOGIN PASSWORD 'canary-job';");
    let bench = Bench::new(&db);
    let id = bench.capture(&db).id;
    db.server.psql(
        "postgres",
        "ALTER ROLE web PASSWORD 'canary-web' VALID UNTIL '2030-01-01' CONNECTION LIMIT 3; COMMENT ON ROLE web IS 'x';\
         ALTER ROLE job PASSWORD NULL;",
    );
    let changed = db.fingerprint();
    let applied = bench.apply(&db, &id, true);
    assert!(bench.is_equal(&db, &id));
    let passwords = "SELECT rolname, rolpassword IS NULL FROM pg_authid WHERE rolname IN ('job', 'web') ORDER BY 1;";
    assert_eq!(db.server.psql("postgres", passwords), "job|f\nweb|t");
    bench.undo(&db, &applied);
    assert_eq!(db.server.psql("postgres", passwords), "job|t\nweb|f");
    assert_eq!(db.fingerprint(), changed);
}

#[test]
fn settings_that_differ_are_named_for_a_person_and_those_of_the_same_server_are_not() {
    let Some(db) = Postgres::small() else { return };
    let bench = Bench::new(&db);
    let id = bench.capture(&db).id;
    let manual = || {
        bench.plan(&db, &id, false).components[0]
            .actions
            .iter()
            .filter(|a| a.kind == ActionKind::Manual)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(manual(), []);
    db.server.psql("postgres", "ALTER SYSTEM SET work_mem = '8MB';");
    db.server.psql("postgres", "SELECT pg_reload_conf();");
    std::thread::sleep(Duration::from_millis(500));
    let told = manual();
    assert!(told.len() == 1 && told[0].detail.contains("settings work_mem"), "{told:?}");
}

#[test]
fn what_another_run_is_filling_is_not_dropped_by_an_undo() {
    let Some(db) = Postgres::small() else { return };
    let bench = Bench::new(&db);
    let id = bench.capture(&db).id;
    db.server.psql("shop", "DELETE FROM t;");
    db.server.psql("postgres", "CREATE DATABASE others;");
    db.server
        .psql("postgres", "COMMENT ON DATABASE others IS 'ccbackup: is being restored by db on elsewhere, run 17';");
    let applied = bench.apply(&db, &id, true);
    bench.undo(&db, &applied);
    let names = db.server.psql("postgres", "SELECT datname FROM pg_database ORDER BY 1;");
    assert_eq!(names, "others\npostgres\nshop\ntemplate0\ntemplate1");
    assert_eq!(db.server.psql("shop", "SELECT count(*) FROM t;"), "0");
}

#[test]
fn no_child_has_the_password_in_its_environment() {
    let Some(db) = Postgres::small() else { return };
    let seen = db.server.dir.path().join("seen");
    let script = format!("env >> {0}; echo \"$@\" >> {0}; exec \"$REAL\" \"$@\"", seen.display());
    let fakes: Vec<_> = ["psql", "pg_dump", "pg_dumpall"].iter().map(|program| db.fake(program, &script)).collect();
    db.capture().unwrap();
    drop(fakes);
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("PGPASSFILE=/proc/") && seen.contains("PGTZ=UTC"), "{seen}");
    for secret in [PASSWORD, "canary", VARIABLE, "PGPASSWORD"] {
        assert!(!seen.contains(secret), "{secret} is in {seen}");
    }
}

#[test]
fn under_write_load_each_database_is_one_snapshot_and_comes_back_after_a_total_loss() {
    let Some(mut db) = Postgres::start() else { return };
    db.seed(2000);
    db.seed_more();
    let bench = Bench::new(&db);
    let writer = db.churn();
    std::thread::sleep(Duration::from_millis(300));
    let id = bench.capture(&db).id;
    drop(writer);
    let schema = |db: &Postgres| {
        let dump = succeed(db.server.client("pg_dump", "shop").args(["-s", "-C", "--restrict-key=k"]));
        String::from_utf8(dump.stdout).unwrap()
    };
    let before = (
        db.server.psql("postgres", "SELECT datname, datcollate, datistemplate, encoding FROM pg_database ORDER BY 1;"),
        schema(&db),
    );
    db.wipe();
    let applied = bench.try_apply(&db, &id, false, &Recorder::default()).unwrap();
    assert!(applied.failure().is_none() && applied.components[0].differences.is_empty(), "{applied:#?}");
    let manual: Vec<_> = applied.components[0].actions.iter().filter(|a| a.kind == ActionKind::Manual).collect();
    assert_eq!(manual.len(), 1, "the subscription must be enabled by a person: {manual:?}");
    assert!(!format!("{applied:?}").contains("canary"));
    let after = (db.server.psql("postgres", "SELECT datname, datcollate, datistemplate, encoding FROM pg_database WHERE datname NOT LIKE '%ccbackup_old' ORDER BY 1;"), schema(&db));
    assert_eq!(after, before, "as pg_dump -s tells it");
    assert_eq!(db.server.psql("latin", "SELECT x FROM t;"), "gr\u{fc}n");
    assert_eq!(db.server.psql("template1", "SELECT count(*) FROM of_template;"), "0");
    assert_eq!(db.server.psql("shop", "SELECT sum(balance) FROM shop.accounts;"), "100000");
    let log = db.server.psql(
        "shop",
        "SELECT count(*) > 5, count(*) = max(id), max(id) <= (SELECT last_value FROM shop.log_id_seq) FROM shop.log;",
    );
    assert_eq!(log, "t|t|t", "rows are there, without gaps, and the sequence is not behind them");
    assert_eq!(db.server.psql("shop", "SELECT count(*) FROM pg_index WHERE NOT indisvalid;"), "0");
    assert_eq!(
        db.server.psql(
            "shop",
            "SELECT relispopulated FROM pg_class WHERE relname IN ('totals', 'unpopulated') ORDER BY relname;"
        ),
        "t\nf"
    );
    assert_eq!(db.server.psql("shop", "SELECT subenabled, subslotname FROM pg_subscription;"), "f|");
    assert!(bench.is_equal(&db, &id));
}

#[test]
fn functions_that_name_no_schema_come_back_with_the_search_path_of_their_database() {
    let Some(mut db) = Postgres::small() else { return };
    db.server.psql(
        "shop",
        "CREATE FUNCTION one() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';\
         CREATE FUNCTION two(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT one() + $1';\
         CREATE TABLE checked (x int CHECK (two(x) > 0), y int GENERATED ALWAYS AS (two(1)) STORED);\
         CREATE INDEX ON checked (two(x)); INSERT INTO checked VALUES (1), (2);\
         CREATE MATERIALIZED VIEW seen AS SELECT two(x) FROM checked;",
    );
    let bench = Bench::new(&db);
    let before = db.fingerprint();
    let id = bench.capture(&db).id;
    db.wipe();
    let monitor = Recorder::default();
    let applied = bench.try_apply(&db, &id, false, &monitor).unwrap();
    assert!(applied.is_whole(), "{applied:#?}");
    assert!(monitor.notes.lock().unwrap().iter().any(|note| note.contains("search_path")));
    assert_eq!(db.fingerprint(), before);
}

#[test]
fn an_apply_that_fails_leaves_the_old_database_as_it_was() {
    let Some(mut db) = Postgres::small() else { return };
    let bench = Bench::new(&db);
    let id = bench.capture(&db).id;
    db.server.psql("shop", "INSERT INTO t VALUES (0, 'changed');");
    let changed = db.fingerprint();
    for script in
        ["head -c 3000 | \"$REAL\" \"$@\"", "kill -9 $$", "cat > /dev/null; exit 0", "\"$REAL\" \"$@\"; exit 1"]
    {
        let fake = db.fake("pg_restore", script);
        let failed = bench.try_apply(&db, &id, true, &Recorder::default());
        drop(fake);
        assert!(failed.is_err() || !failed.as_ref().unwrap().is_whole(), "{script}: {failed:#?}");
        assert!(!format!("{failed:?}").contains("canary"));
        assert_eq!(db.fingerprint(), changed, "{script}");
    }
    let pid = std::fs::read_to_string(db.server.data().join("postmaster.pid")).unwrap();
    let fake =
        db.fake("pg_restore", &format!("kill -QUIT {}; sleep 0.3; exec \"$REAL\" \"$@\"", pid.lines().next().unwrap()));
    let failed = bench.try_apply(&db, &id, true, &Recorder::default());
    drop(fake);
    assert!(failed.is_err() || !failed.as_ref().unwrap().is_whole(), "{failed:#?}");
    db.server.stop();
    db.server.run();
    assert_eq!(db.server.psql("shop", "SELECT count(*) FROM t;"), "501");
    bench.apply(&db, &id, true);
    assert_eq!(db.server.psql("shop", "SELECT count(*) FROM t;"), "500");
    let names = db.server.psql("postgres", "SELECT datname FROM pg_database ORDER BY 1;");
    assert_eq!(names, "postgres\nshop\nshop_ccbackup_old\ntemplate0\ntemplate1", "half of one is not left");
}

#[test]
fn sessions_that_are_connected_do_not_stop_a_swap() {
    let Some(db) = Postgres::small() else { return };
    let bench = Bench::new(&db);
    let id = bench.capture(&db).id;
    db.server.psql("shop", "DELETE FROM t;");
    let sessions: Vec<_> = (0..3).map(|_| db.server.background("shop", "SELECT pg_sleep(100);")).collect();
    bench.apply(&db, &id, true);
    drop(sessions);
    let (taken, facts) = db.capture().unwrap();
    assert!(facts.problems.is_empty() && facts.counts["kept_for_undo"] == 1, "what is kept for an undo is no problem");
    assert!(!taken.contains_key("databases/shop_ccbackup_old.dump"));
    assert_eq!(db.server.psql("shop", "SELECT count(*) FROM t;"), "500");
}

#[test]
fn a_base_backup_is_checked_while_it_streams_and_starts_as_a_server() {
    let Some(mut db) = Postgres::small() else { return };
    let config = PostgresConfig { physical: true, ..db.config() };
    let (taken, facts) = db.capture_with(config.clone(), &db.environment()).unwrap();
    assert!(facts.counts["base_files"] > 500 && facts.facts.contains_key("base_log"), "{facts:?}");
    let fake = db.fake("pg_basebackup", "\"$REAL\" \"$@\" | head -c 9000000; exit 0");
    assert_eq!(refused(db.capture_with(config, &db.environment())).kind(), Kind::Incomplete);
    drop(fake);
    db.server.stop();
    let data = db.server.data();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
    let tar = db.server.dir.path().join("base.tar");
    std::fs::write(&tar, &taken["base.tar"]).unwrap();
    succeed(std::process::Command::new("tar").arg("-xpf").arg(&tar).arg("-C").arg(&data));
    succeed(std::process::Command::new(db.server.bin.join("pg_verifybackup")).arg(&data));
    succeed(std::process::Command::new("chown").arg("-R").arg("nobody:").arg(&data));
    succeed(std::process::Command::new("chmod").arg("0700").arg(&data));
    db.server.run();
    assert_eq!(db.server.psql("shop", "SELECT count(*) FROM t;"), "500");
}

#[test]
fn a_hundredth_of_the_rows_as_neighbours_costs_a_tenth_at_most() {
    let Some(db) = Postgres::small() else { return };
    db.server.psql("shop", "CREATE TABLE big AS SELECT i AS id, md5(i::text) || repeat(md5((i + 1)::text), 5) AS a FROM generate_series(1, 200000) i;");
    let bench = Bench::new(&db);
    let full = bench.capture(&db).components[0].bytes_stored;
    let same = bench.capture(&db).components[0].bytes_stored;
    assert!(same < 64 << 10, "{same} bytes for nothing");
    db.server.psql("shop", "UPDATE big SET a = md5(a) || a WHERE id BETWEEN 100000 AND 102000;");
    let neighbours = bench.capture(&db).components[0].bytes_stored;
    eprintln!("full {full}, nothing changed {same}, 1 % as neighbours {neighbours}");
    assert!(neighbours * 10 < full, "{neighbours} of {full}");
}

#[test]
fn objects_of_a_tablespace_that_is_gone_come_back_in_the_default_one_and_the_plan_says_so() {
    let Some(mut db) = Postgres::small() else { return };
    let place = db.server.dir.path().join("space");
    std::fs::create_dir(&place).unwrap();
    succeed(std::process::Command::new("chown").arg("nobody:").arg(&place));
    db.server.psql("postgres", &format!("CREATE TABLESPACE space LOCATION '{}';", place.display()));
    db.server.psql("shop", "CREATE TABLE apart (x int) TABLESPACE space; INSERT INTO apart VALUES (1);");
    let bench = Bench::new(&db);
    let id = bench.capture(&db).id;
    db.wipe();
    let plan = bench.plan(&db, &id, false);
    let manual: Vec<_> = plan.components[0].actions.iter().filter(|a| a.kind == ActionKind::Manual).collect();
    assert!(manual.iter().any(|a| a.command.as_deref().is_some_and(|c| c.contains("LOCATION"))), "{manual:?}");
    assert!(manual.iter().any(|a| a.object.contains("tablespaces of \"shop\"")), "{manual:?}");
    let applied = bench.try_apply(&db, &id, false, &Recorder::default());
    let applied = format!("{applied:?}");
    assert!(applied.contains("tablespaces of shop"), "the check names what is not as it was: {applied}");
    assert_eq!(db.server.psql("shop", "SELECT x FROM apart;"), "1");
}

#[test]
fn a_probe_says_what_there_is_and_what_a_capture_would_lack() {
    let Some(db) = Postgres::small() else { return };
    db.server.psql("postgres", "CREATE DATABASE closed; ALTER DATABASE closed ALLOW_CONNECTIONS false;");
    let (environment, monitor) = (db.environment(), Recorder::default());
    let context = context(&environment, &monitor, db.server.dir.path());
    let probe = PostgresSource::new(db.config()).probe(&context).unwrap();
    assert!(probe.version.is_some_and(|version| !version.is_empty()));
    assert!(probe.finds[0].starts_with("3 databases"), "{:?}", probe.finds);
    assert!(probe.missing.iter().any(|text| text.contains("closed")), "{:?}", probe.missing);
}
