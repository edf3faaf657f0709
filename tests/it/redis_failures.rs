//! Redis: what goes wrong, and traps that lose data elsewhere.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use ccbackup::config::{RedisAddress, RedisConfig};
use ccbackup::environment::Environment;
use ccbackup::source::ActionKind;
use ccbackup::{ComponentConfig, Recorder};

use crate::contract::{Bench, Subject};
use crate::redis::RedisSubject;
use crate::redis_peers::{PASSWORD, Redis, component, environment, free_port, is_installed, words};
use crate::support::succeed;

/// A server with a configuration of its own.
struct Other<'a> {
    server: &'a Redis,
    config: RedisConfig,
    environment: Environment,
}

impl Subject for Other<'_> {
    fn component(&self) -> ComponentConfig {
        component(self.config.clone())
    }

    fn environment(&self) -> Environment {
        self.environment.clone()
    }

    fn fill(&mut self) {
        self.server.seed();
    }

    fn change(&mut self) {}

    fn wipe(&mut self) {
        self.server.wipe();
    }

    fn fingerprint(&self) -> String {
        self.server.fingerprint()
    }
}

fn other(server: &Redis, change: impl FnOnce(&mut RedisConfig)) -> Other<'_> {
    let mut config = server.config();
    change(&mut config);
    Other { server, config, environment: environment() }
}

/// Why the capture of a component failed.
fn failure(subject: &impl Subject) -> String {
    let bench = Bench::new(subject);
    match bench.try_capture(subject, &Recorder::default()) {
        Err(error) => error.one_line(),
        Ok(report) => format!("{:?}", report.failed),
    }
}

#[test]
fn each_way_of_not_getting_in_is_told_apart() {
    let Some(subject) = RedisSubject::start() else { return };
    let server = &subject.server;
    let mut wrong = other(server, |_| {});
    wrong.environment = Environment::new([(crate::redis_peers::VARIABLE.into(), "CANARY-wrong".into())]);
    let said = failure(&wrong);
    assert!(said.contains("WRONGPASS") && !said.contains("CANARY-wrong"), "{said}");
    let said = failure(&other(server, |config| config.password = None));
    assert!(said.contains("NOAUTH"), "{said}");
    server.cli(&["ACL", "SETUSER", "weak", "on", &format!(">{PASSWORD}"), "+ping"]);
    let said = failure(&other(server, |config| config.user = Some("weak".into())));
    assert!(said.contains("NOPERM"), "{said}");
    let nobody = free_port();
    let said = failure(&other(server, |config| config.url = Some(RedisAddress::Tcp("127.0.0.1".into(), nobody))));
    assert!(said.contains("cannot connect"), "{said}");
}

#[test]
fn other_servers_and_silent_ones_are_no_redis() {
    let Some(subject) = RedisSubject::start() else { return };
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                kept.push(stream);
            }
        });
        let said =
            failure(&other(&subject.server, |config| config.url = Some(RedisAddress::Tcp("127.0.0.1".into(), port))));
        let expected = if answer.is_empty() { "silent" } else { "no Redis server" };
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_server_that_is_loading_is_said_to_be_so() {
    let Some(mut subject) = RedisSubject::start() else { return };
    subject.fill();
    subject.server.cli(&["SAVE"]);
    subject.server.cli(&["CONFIG", "SET", "key-load-delay", "3000"]);
    let path = subject.server.dir.path().join("redis.conf");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\nkey-load-delay 3000\n")).unwrap();
    subject.server.begin_restart();
    std::thread::sleep(Duration::from_millis(400));
    let said = failure(&subject);
    assert!(said.contains("LOADING"), "{said}");
}

#[test]
fn a_server_that_dies_in_the_middle_fails_the_capture() {
    let Some(mut subject) = RedisSubject::start() else { return };
    subject.fill();
    let bench = Bench::new(&subject);
    subject.server.cli(&["CONFIG", "SET", "rdb-key-save-delay", "1000"]);
    let pid = rustix::process::Pid::from_raw(subject.server.pid() as i32).unwrap();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
    let said = match bench.try_capture(&subject, &Recorder::default()) {
        Err(error) => error.one_line(),
        Ok(report) => {
            assert!(!report.failed.is_empty(), "half a capture was taken for a whole");
            format!("{:?}", report.failed)
        }
    };
    killer.join().unwrap();
    assert!(said.contains("in the middle of the RDB") || said.contains("broke"), "{said}");
}

#[test]
fn the_mark_of_the_transfer_in_the_data_ends_nothing() {
    let Some(subject) = RedisSubject::start() else { return };
    let server = &subject.server;
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let greeting = format!("AUTH {PASSWORD}\r\nREPLCONF capa eof\r\nREPLCONF rdb-only 1\r\n");
    stream.write_all(greeting.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 15]).unwrap();
    stream.write_all(b"PSYNC ? -1\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let mark = bytes[bytes.len() - 40..].to_vec();
    assert!(bytes.windows(5).any(|window| window == b"$EOF:"));
    server.pipe(0, &[vec![b"SET".to_vec(), b"a".to_vec(), mark.clone()], vec![b"SET".to_vec(), mark, b"b".to_vec()]]);
    let bench = Bench::new(&subject);
    let id = bench.capture(&subject).id;
    assert!(bench.is_equal(&subject, &id));
    assert_eq!(server.cli(&["DBSIZE"]), "2");
}

#[test]
fn keys_that_expire_meanwhile_are_no_difference() {
    let Some(mut subject) = RedisSubject::start() else { return };
    subject.fill();
    let near: Vec<_> = (0..1000).map(|n| words(&["SET", &format!("near:{n}"), "v", "PX", "1500"])).collect();
    subject.server.pipe(0, &near);
    let bench = Bench::new(&subject);
    let report = bench.capture(&subject);
    let facts = report.components[0].source.as_ref().unwrap();
    assert!(facts.counts["keys_with_ttl"] >= 1500, "{facts:?}");
    std::thread::sleep(Duration::from_millis(1600));
    subject.wipe();
    bench.apply(&subject, &report.id, false);
    assert_eq!(subject.server.cli(&["EXISTS", "near:7"]), "0");
    assert_eq!(subject.server.cli(&["PEXPIRETIME", "ttl:far"]), "4102444800000");
    assert!(bench.is_equal(&subject, &report.id));
}

#[test]
fn an_append_only_file_holds_what_was_applied_after_a_restart() {
    if !is_installed() {
        return;
    }
    let mut server = Redis::start("appendonly yes\nappendfsync always\n");
    server.seed();
    let (bench, id) = {
        let subject = other(&server, |_| {});
        let bench = Bench::new(&subject);
        let id = bench.capture(&subject).id;
        server.wipe();
        server.cli(&["SET", "later", "1"]);
        bench.apply(&subject, &id, true);
        (bench, id)
    };
    let digest = server.cli(&["DEBUG", "DIGEST"]);
    server.restart();
    assert_eq!(server.cli(&["DEBUG", "DIGEST"]), digest, "the append-only file wins, and holds all");
    assert_eq!(server.cli(&["EXISTS", "later"]), "0");
    // Users of a server without an ACL file are in redis.conf by CONFIG REWRITE.
    assert!(server.cli(&["ACL", "LIST"]).contains("user bob"));
    assert!(bench.is_equal(&other(&server, |_| {}), &id));
}

#[test]
fn a_server_that_a_killed_run_left_waiting_is_mended_by_the_next() {
    let Some(mut subject) = RedisSubject::start() else { return };
    subject.fill();
    let before = subject.fingerprint();
    let bench = Bench::new(&subject);
    let id = bench.capture(&subject).id;
    for empty in [true, false] {
        if empty {
            subject.wipe();
        }
        let server = &subject.server;
        server.cli(&["CONFIG", "SET", "masteruser", "ccbackup-restore"]);
        server.cli(&["CONFIG", "SET", "masterauth", "0123456789"]);
        server.cli(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
        if !empty {
            assert!(bench.plan(&subject, &id, false).conflicts() > 0, "what it holds cannot be seen");
        }
        bench.apply(&subject, &id, !empty);
        let server = &subject.server;
        assert!(server.cli(&["ROLE"]).starts_with("master"));
        assert_eq!(server.cli(&["CONFIG", "GET", "masterauth"]), "masterauth");
        assert_eq!(server.cli(&["CONFIG", "GET", "masteruser"]), "masteruser");
        assert_eq!(subject.fingerprint(), before);
    }
}

#[test]
fn a_replica_is_captured_and_never_applied_to() {
    let Some(mut subject) = RedisSubject::start() else { return };
    subject.fill();
    let replica = Redis::start(&format!("masterauth {PASSWORD}\nreplicaof 127.0.0.1 {}\n", subject.server.port));
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while !replica.cli(&["INFO", "replication"]).contains("master_link_status:up") {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(Duration::from_millis(50));
    }
    let follower = other(&replica, |config| config.acl = false);
    let bench = Bench::new(&follower);
    let id = bench.capture(&follower).id;
    subject.server.cli(&["SET", "more", "1"]);
    let plan = bench.plan(&follower, &id, true);
    assert!(plan.conflicts() > 0);
    subject.server.kill();
    std::thread::sleep(Duration::from_millis(300));
    let said = failure(&follower);
    assert!(said.contains("NOMASTERLINK"), "{said}");
}

#[test]
fn a_user_with_the_fewest_rights_captures_all_data_and_says_what_is_lacking() {
    let Some(mut subject) = RedisSubject::start() else { return };
    subject.fill();
    let rule = format!(">{PASSWORD}");
    subject.server.cli(&["ACL", "SETUSER", "few", "on", &rule, "resetchannels", "+psync", "+replconf", "+ping"]);
    let few = other(&subject.server, |config| config.user = Some("few".into()));
    let bench = Bench::new(&few);
    let report = bench.try_capture(&few, &Recorder::default()).unwrap();
    assert_eq!(report.problems.len(), 2, "{:?}", report.problems);
    let without = other(&subject.server, |config| {
        (config.user, config.acl, config.settings) = (Some("few".into()), false, false);
    });
    let id = bench.capture(&without).id;
    let all = other(&subject.server, |_| {});
    assert!(bench.is_equal(&all, &id), "all keys and functions are in it");
}

#[test]
fn other_encodings_of_the_same_data_are_equal() {
    let Some(mut subject) = RedisSubject::start() else { return };
    subject.fill();
    let subject = other(&subject.server, |config| config.settings = false);
    let bench = Bench::new(&subject);
    let id = bench.capture(&subject).id;
    let before = subject.fingerprint();
    for limit in ["hash-max-listpack-entries", "zset-max-listpack-entries", "set-max-intset-entries"] {
        subject.server.cli(&["CONFIG", "SET", limit, "1"]);
    }
    subject.server.wipe();
    bench.apply(&subject, &id, false);
    assert_eq!(subject.server.cli(&["OBJECT", "ENCODING", "hash:small"]), "hashtable");
    assert_eq!(subject.server.cli(&["OBJECT", "ENCODING", "zset:small"]), "skiplist");
    assert_eq!(subject.fingerprint(), before);
    assert!(bench.is_equal(&subject, &id));
    let plan = bench.plan(&subject, &id, false);
    let actions: Vec<_> = plan.components.iter().flat_map(|component| &component.actions).collect();
    assert!(actions.iter().all(|action| action.kind == ActionKind::Equal), "{actions:#?}");
}

#[test]
fn the_rdb_in_the_archive_is_one_that_the_vendors_tools_take() {
    let Some(mut subject) = RedisSubject::start() else { return };
    subject.fill();
    let digest = subject.server.cli(&["DEBUG", "DIGEST"]);
    let bench = Bench::new(&subject);
    let id = bench.capture(&subject).id;
    let by_hand = tempfile::tempdir().unwrap();
    let backup = bench.repository().join(id.as_str());
    let script = "for f in \"$0\"/redis.tar*; do zstd -dc \"$f\" | tar -x -C \"$1\"; done; \
                  find \"$1\" -name dump.rdb -exec mv {} \"$1\"/dump.rdb \\;";
    succeed(Command::new("bash").args(["-ec", script]).arg(&backup).arg(by_hand.path()));
    let rdb = by_hand.path().join("dump.rdb");
    let checked = Command::new("redis-check-rdb").arg(&rdb).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.contains("Checksum OK"), "{said}");
    let loaded = Redis::start_with(&rdb);
    assert_eq!(loaded.cli(&["DEBUG", "DIGEST"]), digest);
}

#[test]
fn a_stopped_server_gets_its_files_and_append_only_files_go_aside() {
    if !is_installed() {
        return;
    }
    let mut server = Redis::start("appendonly yes\nappendfsync always\n");
    server.seed();
    let folder = server.dir.path().to_owned();
    let with_files = |config: &mut RedisConfig| config.data = Some(folder.clone());
    let digest = server.cli(&["DEBUG", "DIGEST"]);
    let bench = Bench::new(&other(&server, with_files));
    let id = bench.capture(&other(&server, with_files)).id;
    server.wipe();
    server.cli(&["SET", "later", "1"]);
    let later = server.cli(&["DEBUG", "DIGEST"]);
    server.kill();

    assert!(bench.plan(&other(&server, with_files), &id, false).conflicts() > 0);
    // Its start is left to a person, so the run is not whole; what it put there was compared.
    let apply = |server: &Redis| {
        let applied = bench.try_apply(&other(server, with_files), &id, true, &Recorder::default()).unwrap();
        assert!(applied.failure().is_none() && applied.components[0].compared > 0, "{applied:#?}");
        applied
    };
    let applied = apply(&server);
    let plan = bench.plan(&other(&server, with_files), &id, false);
    let actions: Vec<_> = plan.components.iter().flat_map(|component| &component.actions).collect();
    assert!(actions.iter().all(|action| action.kind == ActionKind::Equal), "{actions:#?}");
    assert!(!folder.join("appendonlydir").exists(), "it would win");
    bench.undo(&other(&server, with_files), &applied);
    server.start_again(&[]);
    assert_eq!(server.cli(&["DEBUG", "DIGEST"]), later, "an undo puts the old back");
    server.kill();

    apply(&server);
    server.start_again(&["--appendonly", "no"]);
    assert_eq!(server.cli(&["DEBUG", "DIGEST"]), digest);
    server.cli(&["CONFIG", "SET", "appendonly", "yes"]);
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while !server.cli(&["INFO", "persistence"]).contains("aof_rewrite_in_progress:0") {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(Duration::from_millis(50));
    }
    server.restart();
    assert_eq!(server.cli(&["DEBUG", "DIGEST"]), digest, "from the append-only files");
    // Users come when the server runs.
    bench.apply(&other(&server, with_files), &id, false);
    assert!(server.cli(&["ACL", "LIST"]).contains("user bob"));
}

#[test]
fn the_folder_of_a_server_that_may_run_is_left_alone() {
    let Some(subject) = RedisSubject::start() else { return };
    let mut server = subject.server;
    server.cli(&["SET", "a", "1"]);
    let folder = server.dir.path().to_owned();
    let with_files = |config: &mut RedisConfig| config.data = Some(folder.clone());
    let bench = Bench::new(&other(&server, with_files));
    let id = bench.capture(&other(&server, with_files)).id;
    server.cli(&["SET", "a", "2"]);
    server.cli(&["SAVE"]);

    let step = serde_json::json!({ "step": "files", "folder": folder, "placed": "dump.rdb", "moved": [] });
    let source = ccbackup::source::open(&other(&server, with_files).component().source);
    let scratch = tempfile::tempdir().unwrap();
    let (environment, monitor) = (environment(), Recorder::default());
    let context = ccbackup::source::SourceContext {
        component: "redis",
        environment: &environment,
        monitor: &monitor,
        scratch: scratch.path(),
        now: ccbackup::model::Moment::from_unix_seconds(0),
    };
    let undo = || source.undo(std::slice::from_ref(&step), scratch.path(), &context).unwrap_err();
    let error = undo();
    assert!(error.kind() == ccbackup::error::Kind::Locked && error.to_string().contains("the server runs"), "{error}");

    let refusal = |server: &Redis, change: &dyn Fn(&mut RedisConfig)| {
        let applied = bench.try_apply(&other(server, change), &id, true, &Recorder::default());
        match applied {
            Err(error) => error.one_line(),
            Ok(report) => report.failure().unwrap().one_line(),
        }
    };
    let nobody = free_port();
    let said = refusal(&server, &|config| {
        with_files(config);
        config.url = Some(RedisAddress::Tcp("127.0.0.1".into(), nobody));
    });
    assert!(said.contains(&format!("used by redis-server (process {})", server.pid())), "{said}");

    server.kill();
    let mut sleep = Command::new("sleep").arg("60").current_dir(&folder).spawn().unwrap();
    let said = refusal(&server, &with_files);
    let error = undo();
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    let name = format!("used by sleep (process {})", sleep.id());
    assert!(said.contains(&name) && error.to_string().contains(&name), "{said}; {error}");
    server.start_again(&[]);
    assert_eq!(server.cli(&["GET", "a"]), "2", "nothing was moved");
}

#[test]
fn clients_that_write_at_once_do_not_make_an_apply_fail() {
    let Some(mut subject) = RedisSubject::start() else { return };
    subject.fill();
    let bench = Bench::new(&subject);
    let id = bench.capture(&subject).id;
    let writer = subject.server.write_pairs();
    std::thread::sleep(Duration::from_millis(200));
    let applied = bench.try_apply(&subject, &id, true, &Recorder::default()).unwrap();
    assert!(applied.failure().is_none(), "{applied:#?}");
    assert!(writer.stop() > 100);
    let strange: Vec<_> =
        applied.components[0].differences.iter().filter(|found| !found.object.contains("pair:")).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(subject.server.cli(&["ROLE"]).starts_with("master"));
}

#[test]
fn a_server_with_a_login_of_its_own_that_was_left_waiting_is_freed_by_an_undo() {
    if !is_installed() {
        return;
    }
    let server = Redis::start("masterauth CANARY-own-login\nmasteruser somebody\n");
    server.seed();
    let subject = other(&server, |_| {});
    let bench = Bench::new(&subject);
    let id = bench.capture(&subject).id;
    server.cli(&["SET", "later", "1"]);
    let later = server.fingerprint();
    let applied = bench.apply(&subject, &id, true);
    assert_eq!(server.cli(&["EXISTS", "later"]), "0");

    let notes = crate::contract::snapshot(&bench.state());
    let (_, (.., notes)) = notes.iter().find(|(path, _)| path.ends_with("redis/steps.json")).unwrap();
    let notes: Vec<serde_json::Value> = serde_json::from_slice(notes).unwrap();
    let from = notes.iter().find_map(|step| step["from"].as_str()).unwrap();
    let (host, port) = from.rsplit_once(':').unwrap();
    server.cli(&["REPLICAOF", host, port]);
    bench.undo(&subject, &applied);
    assert!(server.cli(&["ROLE"]).starts_with("master"));
    assert_eq!(server.fingerprint(), later);
    assert_eq!(server.cli(&["CONFIG", "GET", "masterauth"]), "masterauth\nCANARY-own-login", "its own login stays");
}
