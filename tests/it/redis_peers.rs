//! Real Redis servers in folders of their own, on free ports of the loopback: alone, and three masters with replicas.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ccbackup::ComponentConfig;
use ccbackup::config::{RedisAddress, RedisConfig, SourceConfig};
use ccbackup::environment::Environment;
use ccbackup::secret::SecretRef;

use crate::support::noise;

/// The password of every server of these tests.
pub(crate) const PASSWORD: &str = "CANARY-redis-password-7f31";
/// The variable that refers to it.
pub(crate) const VARIABLE: &str = "TEST_REDIS_PASSWORD";

/// Whether the programs are there; says so when they are not.
pub(crate) fn is_installed() -> bool {
    let there = ["redis-server", "redis-cli"].iter().all(|name| {
        Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    });
    if !there {
        eprintln!("SKIPPED: there is no redis-server; install redis-server and redis-tools (scripts/setup.sh)");
    }
    there
}

/// A server, which ends with this.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) port: u16,
    settings: String,
    child: Child,
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn spawn(dir: &Path, port: u16, settings: &str, arguments: &[&str]) -> Child {
    let folder = dir.display();
    let text = format!(
        "bind 127.0.0.1\nport {port}\ndir {folder}\nsave \"\"\nlogfile {folder}/log\nrequirepass {PASSWORD}\n\
         repl-diskless-sync-delay 0\nenable-debug-command local\nunixsocket {folder}/socket\n{settings}"
    );
    let path = dir.join("redis.conf");
    if !path.exists() {
        fs::write(&path, text).unwrap();
    }
    let mut command = Command::new("redis-server");
    command.arg(&path).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

impl Redis {
    /// With these lines of configuration more.
    pub(crate) fn start(settings: &str) -> Self {
        for _ in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            let port = free_port();
            let child = spawn(dir.path(), port, settings, &[]);
            let mut server = Self { dir, port, settings: settings.to_owned(), child };
            if server.is_ready() {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    fn is_ready(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if self.try_cli(&["PING"]).contains("PONG") {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Ends the process at once and begins another one in the same folder; what was not saved is gone.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.dir.path(), self.port, &self.settings, &[]);
        assert!(self.is_ready(), "{}", self.log());
    }

    /// Begins a process after one that has ended, with arguments that win over the configuration.
    pub(crate) fn start_again(&mut self, arguments: &[&str]) {
        self.child = spawn(self.dir.path(), self.port, &self.settings, arguments);
        assert!(self.is_ready(), "{}", self.log());
    }

    /// The same without waiting until it is ready.
    pub(crate) fn begin_restart(&mut self) {
        self.kill();
        self.child = spawn(self.dir.path(), self.port, &self.settings, &[]);
    }

    /// A server that has loaded an RDB.
    pub(crate) fn start_with(rdb: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(rdb, dir.path().join("dump.rdb")).unwrap();
        let port = free_port();
        let child = spawn(dir.path(), port, "", &[]);
        let mut server = Self { dir, port, settings: String::new(), child };
        assert!(server.is_ready(), "{}", server.log());
        server
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The vendor's client.
    pub(crate) fn client(&self) -> Command {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).env("REDISCLI_AUTH", PASSWORD).stderr(Stdio::null());
        command
    }

    fn try_cli(&self, words: &[&str]) -> String {
        let output = self.client().args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// What the vendor's client says.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let output = self.client().arg("-e").args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        assert!(output.status.success(), "{words:?}: {said}");
        said
    }

    /// What it says about a database.
    pub(crate) fn cli_in(&self, database: u32, words: &[&str]) -> String {
        let number = database.to_string();
        let all: Vec<&str> = ["-n", &number].into_iter().chain(words.iter().copied()).collect();
        self.cli(&all)
    }

    /// Sends many commands; none may fail.
    pub(crate) fn pipe(&self, database: u32, commands: &[Vec<Vec<u8>>]) {
        let mut bytes = Vec::new();
        for command in commands {
            bytes.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for word in command {
                bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        let mut client = self.client();
        client.args(["-n", &database.to_string(), "--pipe"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = client.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writing = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("errors: 0,"), "{said}");
    }

    /// Data of every sort.
    pub(crate) fn seed(&self) {
        self.pipe(0, &every_sort());
        self.pipe(3, &[words(&["SET", "same name", "another database"]), words(&["SET", "int", "-7"])]);
        self.pipe(15, &[words(&["SET", "same name", "the last database"])]);
        self.cli(&[
            "FUNCTION",
            "LOAD",
            "#!lua name=mylib\nredis.register_function('myf',function(k,a) return 'hi' end)",
        ]);
        self.cli(&["FUNCTION", "LOAD", "#!lua name=other\nredis.register_function('of',function(k,a) return 1 end)"]);
        self.cli(&["ACL", "SETUSER", "bob", "on", ">CANARY-bob", "~k:*", "+get", "(~tmp:* +set)"]);
        self.cli(&["ACL", "SETUSER", "off", "off", "nopass", "resetchannels", "-@all"]);
    }

    /// All data, as the vendor's client tells them.
    pub(crate) fn fingerprint(&self) -> String {
        let mut lines = vec![self.cli(&["DEBUG", "DIGEST"])];
        for database in [0, 3, 15] {
            lines.push(self.cli_in(database, &["DBSIZE"]));
        }
        for key in ["ttl:far", "ttl:0", "ttl:499"] {
            lines.push(self.cli(&["PEXPIRETIME", key]));
        }
        lines.push(self.try_cli(&["XPENDING", "stream", "group"]));
        lines.push(self.try_cli(&["XINFO", "STREAM", "empty-stream"]));
        for list in [&["FUNCTION", "LIST", "WITHCODE"][..], &["ACL", "LIST"]] {
            // `reset` sets a flag that says what holds without it, too.
            let mut list: Vec<_> = self.cli(list).lines().map(|line| line.replace(" sanitize-payload", "")).collect();
            list.sort();
            lines.append(&mut list);
        }
        lines.join("\n")
    }

    /// Loses all data.
    pub(crate) fn wipe(&self) {
        self.cli(&["FLUSHALL"]);
        self.cli(&["FUNCTION", "FLUSH"]);
        for user in self.cli(&["ACL", "USERS"]).lines().filter(|user| *user != "default") {
            self.cli(&["ACL", "DELUSER", user]);
        }
    }

    pub(crate) fn config(&self) -> RedisConfig {
        RedisConfig {
            url: Some(RedisAddress::Tcp("127.0.0.1".into(), self.port)),
            nodes: Vec::new(),
            user: None,
            password: Some(SecretRef::Env(VARIABLE.into())),
            data: None,
            acl: true,
            settings: true,
        }
    }

    /// Writes pairs of keys, both in one transaction, until the guard is dropped.
    pub(crate) fn write_pairs(&self) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, port) = (Arc::clone(&stop), self.port);
        let thread = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut replies = BufReader::new(stream.try_clone().unwrap());
            writeln!(stream, "AUTH {PASSWORD}\r").unwrap();
            let mut line = String::new();
            replies.read_line(&mut line).unwrap();
            let mut round = 0_u64;
            while !ended.load(Ordering::Relaxed) {
                round += 1;
                let text = format!("MULTI\r\nSET pair:a {round}\r\nSET pair:b {round}\r\nEXEC\r\n");
                if stream.write_all(text.as_bytes()).is_err() {
                    break;
                }
                // +OK, +QUEUED twice, *2 and two +OK; or an error while the server is a replica.
                let mut lines = 6;
                while lines > 0 {
                    line.clear();
                    if replies.read_line(&mut line).unwrap_or(0) == 0 {
                        return round;
                    }
                    lines -= if line.starts_with("-EXECABORT") { 3 } else { 1 };
                }
            }
            round
        });
        Writer(stop, Some(thread))
    }

    /// Ends every child of the server as soon as it is there, until the guard is dropped.
    pub(crate) fn kill_children(&self) -> Killer {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, parent) = (Arc::clone(&stop), self.pid());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                for child in children(parent) {
                    std::thread::sleep(Duration::from_millis(60));
                    let pid = rustix::process::Pid::from_raw(child as i32).unwrap();
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Killer(stop, Some(thread))
    }
}

/// Processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for item in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = item.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(item.path().join("stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        if fields.split_whitespace().nth(1) == Some(&parent.to_string()) {
            found.push(pid);
        }
    }
    found
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Stops writing when it is dropped.
pub(crate) struct Writer(Arc<AtomicBool>, Option<std::thread::JoinHandle<u64>>);

impl Writer {
    /// Stops, and says how many pairs were written.
    pub(crate) fn stop(mut self) -> u64 {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().map(std::thread::JoinHandle::join);
    }
}

/// Stops killing when it is dropped.
pub(crate) struct Killer(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Drop for Killer {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().map(std::thread::JoinHandle::join);
    }
}

/// The variables by which the password is found.
pub(crate) fn environment() -> Environment {
    Environment::new([(VARIABLE.into(), PASSWORD.into())])
}

/// A component `redis`.
pub(crate) fn component(config: RedisConfig) -> ComponentConfig {
    let source = SourceConfig::Redis(Box::new(config));
    ComponentConfig { name: "redis".into(), source, ..ComponentConfig::default() }
}

/// A command.
pub(crate) fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Commands that make keys of every type in every encoding, with names and times of every sort.
pub(crate) fn every_sort() -> Vec<Vec<Vec<u8>>> {
    let mut all = vec![
        words(&["SET", "canary", "CANARY-value"]),
        words(&["SET", "", "the empty name"]),
        words(&["SET", "empty", ""]),
        words(&["SET", "int", "12345"]),
        words(&["SET", "int:large", "9223372036854775807"]),
        words(&["SET", "grün/日本 \n\tkey", "ünï"]),
        words(&["SET", "compressible", &"ab".repeat(3000)]),
        words(&["SETBIT", "bits", "100000", "1"]),
        words(&["GEOADD", "geo", "13.361389", "38.115556", "Palermo"]),
        words(&["RPUSH", "list", "a", "1", "-5", "70000", "a longer element of the list"]),
        words(&["SADD", "set:int", "1", "2", "300000"]),
        words(&["SADD", "set:small", "a", "b"]),
        words(&["HSET", "hash:small", "f", "v", "n", "7"]),
        words(&["ZADD", "zset:small", "1", "a", "inf", "b", "-inf", "c", "3.0000000000000004", "d"]),
        words(&["XADD", "stream", "1-1", "f", "v"]),
        words(&["XADD", "stream", "1-2", "f", "v2"]),
        words(&["XADD", "stream", "2-1", "g", "w"]),
        words(&["XGROUP", "CREATE", "stream", "group", "0"]),
        words(&["XREADGROUP", "GROUP", "group", "consumer", "COUNT", "2", "STREAMS", "stream", ">"]),
        words(&["XDEL", "stream", "1-2"]),
        words(&["XGROUP", "CREATE", "empty-stream", "nobody", "$", "MKSTREAM"]),
        words(&["SET", "ttl:far", "v", "PXAT", "4102444800000"]),
        vec![b"SET".to_vec(), b"\xff\xfe\x00bytes".to_vec(), b"\x00\x01".to_vec()],
        vec![b"SET".to_vec(), b"large".to_vec(), noise(7, 8 << 20)],
    ];
    let many = |name: &str, key: &str, extra: &dyn Fn(u32) -> Vec<String>| {
        let mut command = vec![name.to_owned(), key.to_owned()];
        (0..600).for_each(|n| command.extend(extra(n)));
        command.into_iter().map(String::into_bytes).collect::<Vec<_>>()
    };
    all.push(many("SADD", "set:table", &|n| vec![format!("member {n}")]));
    all.push(many("HSET", "hash:table", &|n| vec![format!("f{n}"), format!("value {n} of the table")]));
    all.push(many("ZADD", "zset:table", &|n| vec![format!("{}.5", n % 40), format!("m{n}")]));
    all.push(many("RPUSH", "list:long", &|n| vec![format!("element {n} of a long list")]));
    all.push(many("PFADD", "hll", &|n| vec![format!("e{n}")]));
    all.extend(
        (0..500).map(|n| words(&["SET", &format!("ttl:{n}"), "v", "PXAT", &format!("{}", 4_102_444_800_000_u64 + n)])),
    );
    all.extend((0..2000).map(|n| words(&["SET", &format!("k:{n:05}"), &format!("the value of the key number {n}")])));
    all
}

/// Three masters, each with a replica.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts it and waits until it is whole.
    pub(crate) fn start() -> Self {
        let settings = |bus: u16| {
            format!(
                "cluster-enabled yes\ncluster-config-file nodes.conf\ncluster-node-timeout 2000\ncluster-port {bus}\n\
                 masterauth {PASSWORD}\n"
            )
        };
        let nodes: Vec<Redis> = (0..6).map(|_| Redis::start(&settings(free_port()))).collect();
        let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let mut create = nodes[0].client();
        create.args(["--cluster", "create"]).args(&addresses).args(["--cluster-replicas", "1", "--cluster-yes"]);
        let output = create.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let cluster = Self { nodes };
        cluster.wait();
        cluster
    }

    /// Waits until every node sees a whole cluster, and every replica has its data.
    pub(crate) fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let whole = self.nodes.iter().all(|node| node.try_cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
            let replicas = self.nodes.iter().filter(|node| node.try_cli(&["ROLE"]).starts_with("slave")).count();
            if whole && replicas == 3 {
                return;
            }
            assert!(Instant::now() < until, "the cluster does not become whole");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub(crate) fn config(&self) -> RedisConfig {
        let nodes = self.nodes.iter().map(|node| RedisAddress::Tcp("127.0.0.1".into(), node.port)).collect();
        RedisConfig { url: None, nodes, ..self.nodes[0].config() }
    }

    /// The nodes that are masters at this moment.
    pub(crate) fn masters(&self) -> Vec<&Redis> {
        self.nodes.iter().filter(|node| node.try_cli(&["ROLE"]).starts_with("master")).collect()
    }

    /// A command that goes where the slot of its key is.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let output = self.nodes[0].client().args(["-c", "-e"]).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        assert!(output.status.success(), "{words:?}: {said}");
        said
    }

    /// Keys of every sort with slots of every sort, and a library on each master.
    pub(crate) fn seed(&self) {
        let mut script = String::new();
        for n in 0..1500 {
            script.push_str(&format!("SET k:{n} value-{n}\nSET {{tag}}{n} {n}\n"));
        }
        script.push_str(
            "SET foo{ open\nSET {}bar empty\nSADD set a b c\nHSET hash f v g w\nSET gone v PXAT 4102444800000\n",
        );
        let mut client = self.nodes[0].client();
        client.arg("-c").stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = client.spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        for master in self.masters() {
            master.cli(&[
                "FUNCTION",
                "LOAD",
                "#!lua name=mylib\nredis.register_function('myf',function(k,a) return 'hi' end)",
            ]);
        }
    }

    /// Each key's slot and value through any node, and what the masters hold.
    pub(crate) fn fingerprint(&self) -> String {
        let mut keys = Vec::new();
        for master in self.masters() {
            let mut dump = Vec::new();
            let mut client = master.client();
            client.args(["--csv", "--scan"]);
            client.stdout(Stdio::piped()).spawn().unwrap().stdout.unwrap().read_to_end(&mut dump).unwrap();
            let names = String::from_utf8(dump).unwrap();
            for name in names.lines() {
                let name = name.trim_matches('"');
                keys.push(format!("{name} {}", master.cli(&["OBJECT", "ENCODING", name])));
            }
            keys.push(format!("functions {}", master.cli(&["FUNCTION", "LIST"]).lines().count()));
        }
        keys.sort();
        let digests = self.masters().iter().map(|m| m.cli(&["DEBUG", "DIGEST"])).fold([0_u8; 20], |sum, digest| {
            let mut sum = sum;
            for (at, byte) in sum.iter_mut().enumerate() {
                *byte ^= u8::from_str_radix(&digest[at * 2..at * 2 + 2], 16).unwrap();
            }
            sum
        });
        format!("{digests:?}\n{}", keys.len())
    }

    pub(crate) fn wipe(&self) {
        for master in self.masters() {
            master.cli(&["FLUSHALL"]);
            master.cli(&["FUNCTION", "FLUSH"]);
        }
    }
}
