//! Looks around for services that a backup should hold, for `init`: environment, compose files, listening ports, usual paths.
//!
//! Nothing is connected to, and no secret is read: what is found becomes components that name secrets by reference, with
//! comments that say what they were found by and what is left to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::compose::{self, Service};
use super::discover::{COMPOSE_FILES, discover};
use super::kinds::{
    ChromemConfig, ContextcoreConfig, PostgresConfig, PostgresUrl, RedisAddress, RedisConfig, SourceConfig,
    SqliteConfig,
};
use super::listening::listening;
use super::types::{ComponentConfig, Hooks};
use crate::environment::Environment;
use crate::error::{Context as _, Result, path_text};
use crate::secret::SecretRef;

/// How deep databases are looked for below the folder, and how many names are looked at.
const DEPTH: usize = 3;
const MOST_LOOKED_AT: usize = 10_000;
/// What a SQLite database begins with.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Databases that lie where packages put them.
const USUAL_DATABASES: [&str; 2] = ["/var/lib/grafana/grafana.db", "/var/lib/vaultwarden/db.sqlite3"];

/// Where is looked.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The folder of the stack, absolute.
    pub folder: &'a Path,
    /// The home folder.
    pub home: Option<&'a Path>,
    /// Variables; only whether those with secrets are set is looked at.
    pub environment: &'a Environment,
    /// Where the kernel tells of networks: `/proc/net`.
    pub network: &'a Path,
    /// What absolute paths are below: `/`.
    pub root: &'a Path,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Components, those of files first.
    pub components: Vec<ComponentConfig>,
    /// Comments by the component's name; those without a component have an empty one.
    pub comments: BTreeMap<String, Vec<String>>,
}

impl Survey {
    fn add(&mut self, name: &str, source: SourceConfig, comments: Vec<String>) {
        let component =
            ComponentConfig { name: name.to_owned(), source, hooks: Hooks::default(), ..Default::default() };
        self.components.push(component);
        self.comments.insert(name.to_owned(), comments);
    }

    fn note(&mut self, text: String) {
        self.comments.entry(String::new()).or_default().push(text);
    }
}

/// Looks around. What cannot be looked at is an error where files are concerned, and a missing suggestion elsewhere.
pub fn survey(around: &Surroundings<'_>) -> Result<Survey> {
    let mut survey = Survey::default();
    for component in discover(around.folder, around.home)? {
        let path = component.paths().first().cloned().unwrap_or_default();
        match component.name.as_str() {
            "vectorstore" => {
                let comments =
                    vec!["The vectorstore of contextd: every collection is decoded when it is captured.".to_owned()];
                survey.add("vectorstore", SourceConfig::Chromem(ChromemConfig { path }), comments);
            }
            "contextcore" => {
                let comments = vec!["Tasks and projects of ContextCore.".to_owned()];
                survey.add("contextcore", SourceConfig::Contextcore(ContextcoreConfig { home: path }), comments);
            }
            _ => survey.components.push(component),
        }
    }
    let services = compose_services(around.folder)?;
    let ports = listening(around.network);
    postgres(around, &services, &ports, &mut survey);
    redis(around, &services, &ports, &mut survey);
    databases(around, &mut survey)?;
    for service in &services {
        let by_hand = ["mysql", "mariadb", "mongo", "rabbitmq", "vault", "etcd"];
        if let Some(kind) = by_hand.iter().find(|kind| service.image == **kind) {
            survey.note(format!(
                "The service {} runs {kind}, for which there is no kind yet: use kind = \"command\" with its dump tool.",
                service.name
            ));
        }
    }
    Ok(survey)
}

fn compose_services(folder: &Path) -> Result<Vec<Service>> {
    let Some(file) = COMPOSE_FILES.iter().map(|name| folder.join(name)).find(|file| file.is_file()) else {
        return Ok(Vec::new());
    };
    let mut bytes = Vec::new();
    let open = File::open(&file).at("cannot open", &file)?;
    open.take(compose::MAX_BYTES).read_to_end(&mut bytes).at("cannot read", &file)?;
    Ok(compose::services(&String::from_utf8_lossy(&bytes)))
}

fn postgres(around: &Surroundings<'_>, services: &[Service], ports: &BTreeSet<u16>, survey: &mut Survey) {
    let variable = |name: &str| around.environment.get(name).and_then(|value| value.to_str());
    let is_postgres = |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
    let mut config = PostgresConfig::default();
    let mut comments = Vec::new();
    let images = ["postgres", "postgis", "timescaledb", "pgvector"];
    if variable("DATABASE_URL").is_some_and(is_postgres) {
        config.url = Some(PostgresUrl::Secret(SecretRef::Env("DATABASE_URL".to_owned())));
        comments.push("Found by the variable DATABASE_URL, which must be set when a backup runs.".to_owned());
    } else if let Some(host) = variable("PGHOST") {
        config.host = Some(host.to_owned());
        config.port = variable("PGPORT").and_then(|port| port.parse().ok());
        config.user = variable("PGUSER").map(str::to_owned);
        if variable("PGPASSWORD").is_some() {
            config.password = Some(SecretRef::Env("PGPASSWORD".to_owned()));
        }
        comments.push("Found by the variables PGHOST and its like.".to_owned());
    } else if let Some(service) = services.iter().find(|service| images.contains(&service.image.as_str())) {
        let Some(port) = service.published(5432) else {
            survey.note(format!(
                "The service {} runs PostgreSQL, and publishes no port: publish 127.0.0.1:5432:5432, and add a component.",
                service.name
            ));
            return;
        };
        config.host = Some("127.0.0.1".to_owned());
        config.port = Some(port);
        config.user = Some(service.plain("POSTGRES_USER").unwrap_or("postgres").to_owned());
        if service.variables.contains_key("POSTGRES_PASSWORD") {
            config.password = Some(SecretRef::Env("POSTGRES_PASSWORD".to_owned()));
        }
        comments.push(format!("Found as the service {} of the compose file.", service.name));
    } else if ports.contains(&5432) {
        config.host = Some("127.0.0.1".to_owned());
        config.user = Some("postgres".to_owned());
        comments.push("Found by port 5432, on which somebody listens.".to_owned());
    } else {
        return;
    }
    if config.url.is_none() && config.password.is_none() {
        comments.push(
            "If it wants a password: password = { file = \"/etc/ccbackup/postgres.password\" }   # of mode 0600".into(),
        );
    }
    comments.push("The role must see everything: a superuser, or a member of pg_read_all_data.".to_owned());
    survey.add("postgres", SourceConfig::Postgres(Box::new(config)), comments);
}

fn redis(around: &Surroundings<'_>, services: &[Service], ports: &BTreeSet<u16>, survey: &mut Survey) {
    let variable = |name: &str| around.environment.get(name).and_then(|value| value.to_str());
    let password = ["REDIS_PASSWORD", "REDISCLI_AUTH"].into_iter().find(|name| variable(name).is_some());
    let mut comments = Vec::new();
    let service =
        services.iter().find(|service| matches!(service.image.as_str(), "redis" | "valkey" | "redis-stack-server"));
    let url = if let Some(url) = variable("REDIS_URL").and_then(redis_place) {
        comments.push("Found by the variable REDIS_URL.".to_owned());
        url
    } else if let Some(service) = service {
        let Some(port) = service.published(6379) else {
            survey.note(format!(
                "The service {} runs Redis, and publishes no port: publish 127.0.0.1:6379:6379, and add a component.",
                service.name
            ));
            return;
        };
        comments.push(format!("Found as the service {} of the compose file.", service.name));
        RedisAddress::Tcp("127.0.0.1".to_owned(), port)
    } else if ports.contains(&6379) {
        comments.push("Found by port 6379, on which somebody listens.".to_owned());
        RedisAddress::Tcp("127.0.0.1".to_owned(), 6379)
    } else {
        return;
    };
    if password.is_none() {
        comments.push(
            "If it wants a password: password = { file = \"/etc/ccbackup/redis.password\" }   # of mode 0600".into(),
        );
    }
    let config = RedisConfig {
        url: Some(url),
        nodes: Vec::new(),
        user: None,
        password: password.map(|name| SecretRef::Env(name.to_owned())),
        data: None,
        acl: true,
        settings: true,
    };
    survey.add("redis", SourceConfig::Redis(Box::new(config)), comments);
}

/// Host and port of a URL; user, password and number of the database are left out.
fn redis_place(url: &str) -> Option<RedisAddress> {
    let rest = url.strip_prefix("redis://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    RedisAddress::parse_host(authority.rsplit('@').next()?).ok()
}

/// SQLite databases that no component of files holds.
fn databases(around: &Surroundings<'_>, survey: &mut Survey) -> Result<()> {
    let held: Vec<PathBuf> = survey.components.iter().flat_map(|c| c.paths().to_vec()).collect();
    let backups = around.folder.join("backups");
    let mut found = Vec::new();
    let walk = walkdir::WalkDir::new(around.folder).max_depth(DEPTH).sort_by_file_name().into_iter();
    let inside =
        walk.filter_entry(|item| item.path() != backups && !item.file_name().as_encoded_bytes().starts_with(b"."));
    // A folder that cannot be listed costs a suggestion only.
    let files = inside
        .take(MOST_LOOKED_AT)
        .flatten()
        .filter(|item| item.file_type().is_file())
        .map(walkdir::DirEntry::into_path);
    let usual = USUAL_DATABASES.iter().map(|path| around.root.join(path.trim_start_matches('/')));
    for file in files.chain(usual) {
        let named = file.extension().is_some_and(|ext| ["db", "sqlite", "sqlite3"].iter().any(|known| ext == *known));
        if named && !held.iter().any(|root| file.starts_with(root)) && is_sqlite(&file) {
            found.push(file);
        }
    }
    // A name with a sign of globs would mean other files.
    found.retain(|file| !path_text(file).contains(['*', '?', '[', ']', '{', '}', '\\']));
    if !found.is_empty() {
        let comments =
            vec!["Databases that were found by their names and first bytes; open ones are captured whole.".to_owned()];
        survey.add("sqlite", SourceConfig::Sqlite(SqliteConfig { path: found }), comments);
    }
    Ok(())
}

fn is_sqlite(file: &Path) -> bool {
    let mut start = [0; 16];
    fs::symlink_metadata(file).is_ok_and(|data| data.is_file())
        && File::open(file).and_then(|mut open| open.read_exact(&mut start)).is_ok()
        && start == *SQLITE_MAGIC
}
