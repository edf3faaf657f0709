//! Redis alone: captured while it is written to, lost, put back, compared by the vendor's own client.

use ccbackup::ComponentConfig;
use ccbackup::environment::Environment;

use crate::contract::{Bench, Guard, Subject, contract};
use crate::redis_peers::{PASSWORD, Redis, component, environment, is_installed};

/// A server as the subject of the contract.
pub(crate) struct RedisSubject {
    pub(crate) server: Redis,
    changes: u32,
}

impl RedisSubject {
    pub(crate) fn start() -> Option<Self> {
        is_installed().then(|| Self { server: Redis::start(""), changes: 0 })
    }
}

impl Subject for RedisSubject {
    fn component(&self) -> ComponentConfig {
        component(self.server.config())
    }

    fn environment(&self) -> Environment {
        environment()
    }

    fn fill(&mut self) {
        self.server.seed();
    }

    fn change(&mut self) {
        self.changes += 1;
        let number = self.changes.to_string();
        self.server.cli(&["SET", "changed", &number]);
        self.server.cli(&["HSET", "hash:table", "f7", &number]);
        self.server.cli_in(3, &["SET", &format!("new {number}"), "1"]);
        self.server.cli(&["DEL", "k:00000"]);
        self.server.cli(&[
            "FUNCTION",
            "LOAD",
            "REPLACE",
            &format!("#!lua name=mylib\nredis.register_function('f{number}',function(k,a) return 1 end)"),
        ]);
        self.server.cli(&["ACL", "SETUSER", "bob", &format!("~new{number}:*")]);
    }

    fn wipe(&mut self) {
        self.server.wipe();
    }

    fn fingerprint(&self) -> String {
        self.server.fingerprint()
    }

    fn churn(&mut self) -> Option<Guard> {
        Some(Box::new(self.server.write_pairs()))
    }

    fn break_half_way(&mut self) -> Option<Guard> {
        self.server.cli(&["CONFIG", "SET", "rdb-key-save-delay", "1000"]);
        Some(Box::new((self.server.kill_children(), Fast(self.server.port))))
    }

    fn canary(&self) -> Option<String> {
        Some(PASSWORD.into())
    }
}

/// Transfers are fast again when it is dropped.
struct Fast(u16);

impl Drop for Fast {
    fn drop(&mut self) {
        let mut client = std::process::Command::new("redis-cli");
        client
            .args(["-p", &self.0.to_string(), "CONFIG", "SET", "rdb-key-save-delay", "0"])
            .env("REDISCLI_AUTH", PASSWORD);
        assert!(client.output().unwrap().status.success());
    }
}

contract!(redis_alone, RedisSubject::start);

#[test]
fn a_restart_of_the_server_costs_nothing() {
    let Some(mut subject) = RedisSubject::start() else { return };
    subject.fill();
    let bench = Bench::new(&subject);
    let first = bench.capture(&subject);
    let before = subject.fingerprint();
    subject.server.cli(&["SAVE"]);
    subject.server.restart();
    // Users live in memory alone.
    subject.server.cli(&["ACL", "SETUSER", "bob", "on", ">CANARY-bob", "~k:*", "+get", "(~tmp:* +set)"]);
    subject.server.cli(&["ACL", "SETUSER", "off", "off", "nopass", "resetchannels", "-@all"]);
    assert_eq!(subject.fingerprint(), before);
    let second = bench.capture(&subject);
    let (one, two) = (&first.components[0], &second.components[0]);
    assert!(one.bytes_stored > 1 << 20);
    assert_eq!((two.entries, two.new_entries), (one.entries, 0));
    assert!(two.bytes_stored < 64 << 10, "{} bytes were stored", two.bytes_stored);
}

#[test]
fn a_pair_that_is_written_together_comes_back_together() {
    let Some(mut subject) = RedisSubject::start() else { return };
    subject.fill();
    let bench = Bench::new(&subject);
    let writer = subject.server.write_pairs();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let id = bench.capture(&subject).id;
    assert!(writer.stop() > 100);
    subject.wipe();
    bench.apply(&subject, &id, false);
    let pair = ["pair:a", "pair:b"].map(|key| subject.server.cli(&["GET", key]));
    assert_eq!(pair[0], pair[1]);
    assert!(pair[0].parse::<u64>().unwrap() > 0);
    assert_eq!(subject.server.cli(&["FCALL", "myf", "0"]), "hi");
    assert_eq!(subject.server.cli_in(15, &["GET", "same name"]), "the last database");
    assert!(bench.is_equal(&subject, &id));
}
