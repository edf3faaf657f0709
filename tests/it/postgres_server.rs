//! A PostgreSQL server of its own for a test: in a temporary folder, on a free port, ended with the value that stands for it.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::is_root;

/// The password of the role `postgres`; must be found nowhere.
pub(crate) const PASSWORD: &str = "canary-p:a\\ss'w rd";

/// A server that runs.
pub(crate) struct Server {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) bin: PathBuf,
    running: Option<Child>,
}

/// The newest installed server's programs; says what to install when there are none.
pub(crate) fn programs() -> Option<PathBuf> {
    let found = (9..=40).rev().map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")));
    let found = found.into_iter().find(|bin| bin.join("initdb").is_file());
    if found.is_none() {
        eprintln!("SKIPPED: no PostgreSQL server is installed; install postgresql-15");
    }
    found
}

impl Server {
    /// A new cluster, started; none when it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let bin = programs()?;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { dir, port, bin, running: None };
        server.initialise();
        server.run();
        Some(server)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A command of the server's user: it refuses root.
    fn as_server(&self, program: &str) -> Command {
        let path = self.bin.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").current_dir("/");
        command
    }

    /// Loses all data and begins anew.
    pub(crate) fn initialise(&mut self) {
        self.stop();
        fs::remove_dir_all(self.data()).ok();
        let home = self.dir.path().join("home");
        fs::create_dir_all(&home).unwrap();
        let password = home.join("password");
        fs::write(&password, PASSWORD).unwrap();
        fs::create_dir(self.data()).unwrap();
        fs::set_permissions(self.data(), fs::Permissions::from_mode(0o700)).unwrap();
        if is_root() {
            for path in [&home, &password, &self.data()] {
                chown(path, Some(65534), Some(65534)).unwrap();
            }
        }
        let mut command = self.as_server("initdb");
        command.args(["-U", "postgres", "--auth=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "-N"]);
        succeed(command.arg("-D").arg(self.data()).arg("--pwfile").arg(&password));
        fs::remove_file(password).unwrap();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nfsync = off\nshared_buffers = 16MB\n\
             max_wal_size = 128MB\nwal_keep_size = 64MB\nlog_statement = none\nmax_locks_per_transaction = 64\n",
            self.port
        );
        let mut file = fs::File::options().append(true).open(self.data().join("postgresql.conf")).unwrap();
        file.write_all(settings.as_bytes()).unwrap();
    }

    /// Starts it and waits until it answers.
    pub(crate) fn run(&mut self) {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let mut command = self.as_server("postgres");
        command.arg("-D").arg(self.data()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.running = Some(command.spawn().unwrap());
        let begin = Instant::now();
        while !self.try_psql("postgres", "SELECT 1").status.success() {
            assert!(begin.elapsed() < Duration::from_secs(60), "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: &str) {
        if let Some(child) = &self.running {
            Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap();
        }
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn stop(&mut self) {
        self.signal("-QUIT");
        if let Some(mut child) = self.running.take() {
            child.wait().unwrap();
        }
    }

    /// Does nothing any more, or goes on.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.signal(if frozen { "-STOP" } else { "-CONT" });
    }

    /// The vendor's client.
    pub(crate) fn client(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        let database = database.replace('\\', "\\\\").replace('\'', "\\'");
        let connection = format!("host=127.0.0.1 user=postgres port={} dbname='{database}'", self.port);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("PGPASSWORD", PASSWORD)
            .env("PGTZ", "UTC");
        command.arg("-w").arg("-d").arg(connection);
        command
    }

    pub(crate) fn try_psql(&self, database: &str, sql: &str) -> Output {
        let mut command = self.client("psql", database);
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may end before it reads.
        child.stdin.take().unwrap().write_all(sql.as_bytes()).ok();
        child.wait_with_output().unwrap()
    }

    /// What a script says; it must succeed.
    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        let output = self.try_psql(database, sql);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// A script that runs until the value is dropped.
    pub(crate) fn background(&self, database: &str, sql: &str) -> Background {
        let mut command = self.client("psql", database);
        command.args(["-X", "-q"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
        Background(child)
    }

    /// Databases, globals, definitions, rows, sequences and large objects, as PostgreSQL's own programs tell them; not what
    /// an apply keeps for its undo.
    pub(crate) fn fingerprint(&self) -> String {
        let mut text = self.psql("postgres", DATABASES);
        let globals =
            self.client("pg_dumpall", "postgres").args(["-g", "--no-role-passwords", "--restrict-key=k"]).output();
        text.push_str(&String::from_utf8(globals.unwrap().stdout).unwrap());
        text.push_str(&self.psql("postgres", PASSWORDS));
        for database in self.psql("postgres", OPEN).lines() {
            let schema = succeed(self.client("pg_dump", database).args(["-s", "-C", "--restrict-key=k"]));
            text.push_str(&format!("\n==== {database}\n{}", String::from_utf8_lossy(&schema.stdout)));
            let queries = self.psql(database, TABLES);
            text.push_str(&self.psql(database, &queries));
            text.push_str(&self.psql(database, LARGE_OBJECTS));
        }
        text
    }
}

const DATABASES: &str = "SELECT datname, pg_get_userbyid(datdba), encoding, datcollate, datallowconn, datistemplate, \
    (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a), \
    datconnlimit, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname NOT LIKE '%\\_ccbackup\\_old%' ORDER BY datname;";
const PASSWORDS: &str = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname NOT LIKE 'pg\\_%' AND rolname <> 'postgres' \
    ORDER BY rolname;";
const OPEN: &str = "SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname;";
/// Makes a query for every table and sequence.
const TABLES: &str = "SELECT CASE relkind WHEN 'S' THEN format('SELECT %L, last_value, is_called FROM %s;', oid::regclass, oid::regclass) \
    ELSE format('SELECT %L, count(*), md5(string_agg(t::text, E''\\n'' ORDER BY t::text COLLATE \"C\")) FROM ONLY %s t;', oid::regclass, oid::regclass) END \
    FROM pg_class WHERE relkind IN ('r', 'm', 'S') AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace) \
    AND (relkind <> 'm' OR relispopulated) ORDER BY oid::regclass::text;";
const LARGE_OBJECTS: &str = "SELECT oid, pg_get_userbyid(lomowner), (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(lomacl) a), md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid;";

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("-CONT");
        self.stop();
    }
}

/// A client that runs.
pub(crate) struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A folder of links to the real programs, of which one may be another.
pub(crate) fn tools(folder: &Path, bin: &Path) {
    fs::create_dir_all(folder).unwrap();
    for name in ["psql", "pg_dump", "pg_dumpall", "pg_restore", "pg_basebackup"] {
        std::os::unix::fs::symlink(bin.join(name), folder.join(name)).unwrap();
    }
}

/// Puts a script in the place of a program until the value is dropped. `$REAL` is the program it stands for.
pub(crate) struct Fake {
    place: PathBuf,
    real: PathBuf,
}

impl Fake {
    pub(crate) fn new(folder: &Path, name: &str, script: &str) -> Self {
        let place = folder.join(name);
        let real = fs::read_link(&place).unwrap();
        fs::remove_file(&place).unwrap();
        let text = format!(
            "#!/bin/bash\nREAL={}\nif [ \"$1\" = --version ]; then exec \"$REAL\" --version; fi\n{script}\n",
            real.display()
        );
        fs::write(&place, text).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        Self { place, real }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        fs::remove_file(&self.place).unwrap();
        std::os::unix::fs::symlink(&self.real, &self.place).unwrap();
    }
}
