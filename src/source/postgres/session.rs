//! A server as one run speaks to it: through PostgreSQL's own programs, with the password in a file that has no name.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::address::Address;
use super::globals::{Globals, MAX_GLOBALS_BYTES, settle};
use super::names::password_line;
use super::stderr::{failure, redact, spoils};
use super::tools::{Tools, package};
use crate::config::PostgresConfig;
use crate::error::{Context as _, Error, Kind, Result};
use crate::process::{Command, Output};
use crate::secret::Secret;
use crate::source::SourceContext;
use crate::threads::lock;

/// Largest answer to a query.
const MAX_ANSWER: u64 = 256 << 20;
/// Longest time one query of ours may take; those that copy data have no limit but silence.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3600);

/// Event triggers do not see what is put back; no password of a statement that fails gets into the log of the server.
const QUIET: &[&str] = &["session_replication_role=replica", "log_statement=none", "log_min_error_statement=panic"];

/// Databases of every server, of which one serves as the first connection when the named one does not.
const ALWAYS: &[&str] = &["postgres", "template1"];

/// Whether a login failed for its database alone.
fn is_shut(error: &Error) -> bool {
    let text = error.one_line();
    let missing = text.split_once("database \"").is_some_and(|(_, name)| name.contains("\" does not exist"));
    missing || text.contains("is not currently accepting connections")
}

/// What is known of a server before anything is done with it.
#[derive(Clone, Debug, serde::Deserialize)]
pub(super) struct Server {
    /// 150018 for 15.18.
    pub(super) version_num: u32,
    /// `15.18 (Debian …)`
    pub(super) version: String,
    /// Number of the cluster: a restored one has another.
    pub(super) system_identifier: String,
    /// The role that is logged in.
    pub(super) role: String,
    /// It is a superuser.
    pub(super) superuser: bool,
    /// It is a standby.
    pub(super) recovery: bool,
    /// Nothing can be written.
    pub(super) read_only: bool,
    /// Position in the write-ahead log.
    pub(super) lsn: Option<String>,
}

impl Server {
    /// 15 of 15.18.
    pub(super) fn major(&self) -> u32 {
        self.version_num / 10_000
    }
}

const SERVER: &str = "SELECT json_build_object('version_num', current_setting('server_version_num')::int, \
    'version', current_setting('server_version'), \
    'system_identifier', (SELECT system_identifier::text FROM pg_catalog.pg_control_system()), \
    'role', current_user, \
    'superuser', (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user), \
    'recovery', pg_catalog.pg_is_in_recovery(), \
    'read_only', current_setting('default_transaction_read_only')::bool, \
    'lsn', CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
           ELSE pg_catalog.pg_current_wal_lsn() END::text);";

/// A server, the programs for it, and who we are there.
#[derive(Debug)]
pub(super) struct Session<'a> {
    pub(super) config: &'a PostgresConfig,
    pub(super) context: &'a SourceContext<'a>,
    pub(super) address: Address,
    password: Option<Secret>,
    tools: Tools,
    /// Programs whose version was asked for.
    found: Mutex<BTreeMap<String, PathBuf>>,
    pub(super) server: Server,
    /// What runs is brought to its end, also when the run is asked to stop.
    unstopped: AtomicBool,
}

/// Sets the wish to stop free again, however the work ended.
struct Unstopped<'s>(&'s AtomicBool, bool);

impl Drop for Unstopped<'_> {
    fn drop(&mut self) {
        self.0.store(self.1, Ordering::Relaxed);
    }
}

impl<'a> Session<'a> {
    /// Asks the server who it is and what we may.
    pub(super) fn open(config: &'a PostgresConfig, context: &'a SourceContext<'a>) -> Result<Self> {
        let (address, password) = Address::of(config, context.environment)?;
        let server = Server {
            version_num: 0,
            version: String::new(),
            system_identifier: String::new(),
            role: String::new(),
            superuser: false,
            recovery: false,
            read_only: false,
            lsn: None,
        };
        let tools = Tools::new(config.bin.as_deref());
        let found = Mutex::default();
        let unstopped = AtomicBool::new(false);
        let mut session = Self { config, context, address, password, tools, found, server, unstopped };
        session.server = match session.look() {
            Err(error) if is_shut(&error) => session.look_elsewhere(error)?,
            server => server?,
        };
        Ok(session)
    }

    /// The database of the first connection is not there, or was closed by a run that was killed: that must stop nobody from
    /// putting it back.
    fn look_elsewhere(&mut self, error: Error) -> Result<Server> {
        let named = self.address.database.clone();
        for other in ALWAYS.iter().filter(|other| **other != named) {
            (*other).clone_into(&mut self.address.database);
            if let Ok(server) = self.look() {
                self.context.monitor.note(&format!("{}; asking in the database {other} instead", error.one_line()));
                return Ok(server);
            }
        }
        self.address.database = named;
        Err(error)
    }

    /// Speaks from another database than `name` from now on, where there is one: `name` is about to go.
    pub(super) fn leave(&mut self, name: &str) {
        if self.address.database != name {
            return;
        }
        for other in ALWAYS.iter().filter(|other| **other != name) {
            let there: Result<bool> = self.query(other, "SELECT 'true'::json;");
            if there.is_ok() {
                (*other).clone_into(&mut self.address.database);
                return;
            }
        }
    }

    /// Does something to its end, also when the run is asked to stop meanwhile: what was closed must be opened again.
    pub(super) fn to_its_end<T>(&self, work: impl FnOnce() -> T) -> T {
        let _before = Unstopped(&self.unstopped, self.unstopped.swap(true, Ordering::Relaxed));
        work()
    }

    /// What the server says of itself now.
    pub(super) fn look(&self) -> Result<Server> {
        self.query(&self.address.database, SERVER)
    }

    /// A program of the server's own major version.
    pub(super) fn tool(&self, name: &str) -> Result<PathBuf> {
        if let Some(path) = lock(&self.found).get(name) {
            return Ok(path.clone());
        }
        let path = self.tools.of_major(name, self.server.major(), self.context.environment)?;
        lock(&self.found).insert(name.to_owned(), path.clone());
        Ok(path)
    }

    /// A run of `program` for `database`. `doing` begins the message when it fails. `options` are settings of its session.
    pub(super) fn command(&self, program: &Path, database: &str, doing: &str, options: &[&str]) -> Result<Command<'a>> {
        let mut command = Command::new(program, self.context.environment)
            .package(&package(self.server.major().max(15)))
            .arg("-w")
            .arg("-d")
            .arg(self.address.connection(database))
            .env("PGCONNECT_TIMEOUT", "20")
            .env("PGAPPNAME", "ccbackup")
            // Times are dumped as text in the zone of the session: equal data must be equal bytes on every server.
            .env("PGTZ", "UTC")
            .timeout(None)
            .silence(self.config.silence);
        if !self.unstopped.load(Ordering::Relaxed) {
            command = command.stopped_by(self.context.monitor);
        }
        if !options.is_empty() {
            let options: Vec<_> = options.iter().map(|option| format!("-c {option}")).collect();
            command = command.env("PGOPTIONS", options.join(" "));
        }
        let mut secrets = Vec::new();
        if let Some(password) = &self.password {
            let line = Secret::new(password_line(password.expose())?);
            let file = command.secret_file(&line)?;
            command = command.hide(password).env("PGPASSFILE", file);
            secrets.push(password.clone());
        }
        let what = format!("{doing} failed");
        Ok(command.judge(move |ended| {
            let secrets: Vec<&[u8]> = secrets.iter().map(Secret::expose).collect();
            let said_no = ended.stderr.lines().any(spoils);
            match (ended.signal, ended.code) {
                (Some(signal), _) => {
                    let said = redact(ended.stderr, &secrets);
                    Err(Error::failed(format!("{what}: it was ended by signal {signal}; {}", said.trim())))
                }
                (None, Some(0)) if !said_no => Ok(()),
                (None, Some(0)) => {
                    let error = failure(&what, ended.stderr, &secrets);
                    Err(if error.kind() == Kind::Failed { error.of_kind(Kind::Incomplete) } else { error })
                }
                _ => Err(failure(&what, ended.stderr, &secrets)),
            }
        }))
    }

    /// Runs `sql` in `database`; the first error ends it. What it says is in `Output::stdout`.
    pub(super) fn execute(&self, database: &str, sql: &str, doing: &str) -> Result<Output> {
        self.execute_with(&QUIET[1..], database, sql, doing)
    }

    /// The same, unseen by event triggers, where we are a superuser.
    pub(super) fn execute_unseen(&self, database: &str, sql: &str, doing: &str) -> Result<Output> {
        self.execute_with(QUIET, database, sql, doing)
    }

    /// Settings under which what was captured is put back; only a superuser may have them.
    pub(super) fn quiet(&self) -> &'static [&'static str] {
        if self.server.superuser { QUIET } else { &[] }
    }

    fn execute_with(&self, options: &[&str], database: &str, sql: &str, doing: &str) -> Result<Output> {
        let program = self.tools.psql();
        let options = if self.server.superuser { options } else { &[] };
        let command = self.command(&program, database, doing, options)?;
        let command = command
            .env("PGCLIENTENCODING", "UTF8")
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"].map(OsStr::new))
            .timeout(QUERY_TIMEOUT)
            .silence(None);
        let sql = format!("{sql}\n");
        command.run(sql.as_bytes(), MAX_ANSWER)
    }

    /// Runs a query that gives one JSON value.
    pub(super) fn query<T: DeserializeOwned>(&self, database: &str, sql: &str) -> Result<T> {
        let doing = format!("asking PostgreSQL at {}", self.address.shown());
        let output = self.execute(database, sql, &doing)?;
        serde_json::from_slice(&output.stdout)
            .map_err(|e| Error::failed(format!("{doing}: the answer cannot be read")).because(e))
    }

    /// Runs a query as rows of JSON objects.
    pub(super) fn rows<T: DeserializeOwned>(&self, database: &str, select: &str) -> Result<Vec<T>> {
        self.query(database, &format!("SELECT coalesce(pg_catalog.json_agg(t), '[]') FROM ({select}) t;"))
    }

    /// Everything that `pg_dumpall` says of what belongs to no database.
    pub(super) fn globals(&self) -> Result<String> {
        let program = self.tool("pg_dumpall")?;
        let database = self.address.database.clone();
        let mut command = self.command(&program, &database, "pg_dumpall of the globals", &[])?.arg("--globals-only");
        command = command.arg("-l").arg(&database);
        if !self.may_read_passwords()? {
            command = command.arg("--no-role-passwords");
        }
        let mut script = Vec::new();
        let stream = command.stream(&[])?;
        stream.take(MAX_GLOBALS_BYTES).read_to_end(&mut script).doing("cannot read the globals")?;
        settle(&script)
    }

    /// The globals of the living server, to compare with.
    pub(super) fn living_globals(&self) -> Result<Globals> {
        Globals::parse(&self.globals()?)
    }

    /// A database from which `name` can be renamed or dropped: not from within.
    pub(super) fn maintenance(&self, name: &str) -> String {
        let first = &self.address.database;
        match () {
            () if first != name => first.clone(),
            () if name == "postgres" => "template1".to_owned(),
            () => "postgres".to_owned(),
        }
    }

    /// Whether the passwords of roles can be read, as verifiers.
    pub(super) fn may_read_passwords(&self) -> Result<bool> {
        let sql = "SELECT pg_catalog.to_json(pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT'));";
        self.query(&self.address.database, sql)
    }
}
