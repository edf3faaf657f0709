//! A Redis cluster of three masters with replicas: captured, lost, put back, also into another one.

use ccbackup::environment::Environment;
use ccbackup::{ComponentConfig, Recorder};

use crate::contract::{Bench, Subject};
use crate::redis::RedisSubject;
use crate::redis_peers::{Cluster, component, environment, is_installed};

struct ClusterSubject {
    cluster: Cluster,
}

impl ClusterSubject {
    fn start() -> Option<Self> {
        is_installed().then(|| Self { cluster: Cluster::start() })
    }
}

impl Subject for ClusterSubject {
    fn component(&self) -> ComponentConfig {
        component(self.cluster.config())
    }

    fn environment(&self) -> Environment {
        environment()
    }

    fn fill(&mut self) {
        self.cluster.seed();
    }

    fn change(&mut self) {
        self.cluster.cli(&["SET", "k:7", "changed"]);
        self.cluster.cli(&["SET", "new", "1"]);
        self.cluster.cli(&["DEL", "k:8"]);
    }

    fn wipe(&mut self) {
        self.cluster.wipe();
    }

    fn fingerprint(&self) -> String {
        self.cluster.fingerprint()
    }
}

#[test]
fn a_cluster_comes_back_and_another_one_becomes_the_same() {
    let Some(mut subject) = ClusterSubject::start() else { return };
    subject.fill();
    let before = subject.fingerprint();
    let bench = Bench::new(&subject);
    let first = bench.capture(&subject);
    let second = bench.capture(&subject);
    assert_eq!(second.components[0].new_entries, 0, "nothing has changed");
    assert_eq!(first.components[0].source.as_ref().unwrap().counts["masters"], 3);
    assert!(bench.is_equal(&subject, &second.id));

    subject.change();
    let changed = subject.fingerprint();
    assert!(!bench.is_equal(&subject, &second.id));
    assert!(bench.plan(&subject, &second.id, false).conflicts() > 0);
    let applied = bench.apply(&subject, &second.id, true);
    assert_eq!(subject.fingerprint(), before);
    bench.undo(&subject, &applied);
    assert_eq!(subject.fingerprint(), changed, "an undo puts the old back");

    subject.wipe();
    bench.apply(&subject, &second.id, false);
    assert_eq!(subject.fingerprint(), before);
    assert_eq!(subject.cluster.cli(&["GET", "foo{"]), "open");
    assert_eq!(subject.cluster.cli(&["GET", "{}bar"]), "empty");
    assert_eq!(subject.cluster.cli(&["PEXPIRETIME", "gone"]), "4102444800000");
    assert_eq!(bench.apply(&subject, &second.id, false).run, None, "a second apply finds everything equal");
    drop(subject);

    let new = ClusterSubject::start().unwrap();
    bench.apply(&new, &second.id, false);
    assert_eq!(new.fingerprint(), before, "a cluster with other ids");
    assert!(bench.is_equal(&new, &second.id));

    let alone = RedisSubject::start().unwrap();
    alone.server.cli_in(3, &["SET", "x", "1"]);
    let bench = Bench::new(&alone);
    let id = bench.capture(&alone).id;
    let said = match bench.try_apply(&new, &id, true, &Recorder::default()) {
        Err(error) => error.one_line(),
        Ok(report) => report.failure().unwrap().one_line(),
    };
    assert!(said.contains("database 3"), "{said}");
    assert_eq!(new.fingerprint(), before, "nothing was dropped for what a cluster cannot take");
}

#[test]
fn a_cluster_that_moves_is_not_captured_and_one_node_is_not_taken_for_all() {
    let Some(mut subject) = ClusterSubject::start() else { return };
    subject.fill();
    let bench = Bench::new(&subject);
    let first = bench.capture(&subject);
    let masters = subject.cluster.masters();
    let (from, to) = (masters[0], masters[1]);
    let slots = from.cli(&["CLUSTER", "NODES"]);
    let own = slots.lines().find(|line| line.contains("myself")).unwrap().to_owned();
    let slot = own.rsplit(' ').next().unwrap().split('-').next().unwrap().to_owned();
    let id = to.cli(&["CLUSTER", "MYID"]);
    from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id]);
    let report = bench.try_capture(&subject, &Recorder::default());
    let said = report.map_or_else(|e| e.one_line(), |report| format!("{:?}", report.failed));
    assert!(said.contains("on its way"), "{said}");
    from.cli(&["CLUSTER", "SETSLOT", &slot, "STABLE"]);

    // A replica takes over: the slots are the same, and so are the data.
    let replica = subject.cluster.nodes.iter().find(|node| node.cli(&["ROLE"]).starts_with("slave")).unwrap();
    replica.cli(&["CLUSTER", "FAILOVER"]);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !replica.cli(&["ROLE"]).starts_with("master") {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    subject.cluster.wait();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let second = bench.capture(&subject);
    assert!(second.components[0].bytes_stored < 64 << 10);
    assert_eq!(second.components[0].entries, first.components[0].entries);

    let mut config = subject.cluster.config();
    config.url = config.nodes.pop();
    config.nodes.clear();
    let mut lone = subject.component();
    lone.source = ccbackup::config::SourceConfig::Redis(Box::new(config));
    let source = ccbackup::source::open(&lone.source);
    let scratch = tempfile::tempdir().unwrap();
    let (environment, monitor) = (environment(), Recorder::default());
    let context = ccbackup::source::SourceContext {
        component: "redis",
        environment: &environment,
        monitor: &monitor,
        scratch: scratch.path(),
        now: ccbackup::model::Moment::from_unix_seconds(0),
    };
    let error = source.capture(&context).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("is part of a cluster"), "{error}");
}
