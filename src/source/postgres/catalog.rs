//! What the catalogs of a server say of its databases, as far as no dump does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::literal;
use super::session::Session;
use super::stderr::redact;
use crate::error::Result;

/// A database, as `pg_database` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Database {
    pub(super) name: String,
    /// Only for the run: a restored one has another.
    #[serde(default, skip_serializing)]
    pub(super) oid: u64,
    pub(super) owner: String,
    pub(super) encoding: String,
    /// `c` of libc, `i` of ICU, `b` built in; none before version 15.
    pub(super) provider: Option<String>,
    pub(super) collate: String,
    pub(super) ctype: String,
    pub(super) locale: Option<String>,
    /// Version of the collations that its indexes were built with.
    pub(super) collation_version: Option<String>,
    pub(super) tablespace: String,
    pub(super) template: bool,
    pub(super) allow_connections: bool,
    pub(super) connection_limit: i64,
    pub(super) comment: Option<String>,
}

const DATABASES: &str = "SELECT d.datname AS name, d.oid::bigint AS oid, \
    pg_catalog.pg_get_userbyid(d.datdba) AS owner, pg_catalog.pg_encoding_to_char(d.encoding) AS encoding, \
    j->>'datlocprovider' AS provider, d.datcollate AS collate, d.datctype AS ctype, \
    coalesce(j->>'datlocale', j->>'daticulocale') AS locale, j->>'datcollversion' AS collation_version, \
    t.spcname AS tablespace, d.datistemplate AS template, d.datallowconn AS allow_connections, \
    d.datconnlimit AS connection_limit, pg_catalog.shobj_description(d.oid, 'pg_database') AS comment \
    FROM pg_catalog.pg_database d, pg_catalog.pg_tablespace t, LATERAL pg_catalog.to_json(d) j \
    WHERE t.oid = d.dattablespace ORDER BY d.datname COLLATE \"C\"";

/// A dump of the server that is not to be used: it holds nothing, and nothing may be put into it.
const NEVER: &str = "template0";

impl Database {
    /// Whether it is what an apply replaced and keeps until it is forgotten: it is in the backup before.
    pub(super) fn is_kept(&self) -> bool {
        !self.allow_connections && self.name.contains("_ccbackup_old")
    }
}

/// All databases but `template0`, by name.
pub(super) fn databases(session: &Session<'_>) -> Result<Vec<Database>> {
    let mut all: Vec<Database> = session.rows(&session.address.database, DATABASES)?;
    all.retain(|database| database.name != NEVER);
    Ok(all)
}

/// The database of that name.
pub(super) fn find_database(session: &Session<'_>, name: &str) -> Result<Option<Database>> {
    Ok(databases(session)?.into_iter().find(|database| database.name == name))
}

/// The database of that number.
pub(super) fn database_of_oid(session: &Session<'_>, oid: u64) -> Result<Option<Database>> {
    Ok(databases(session)?.into_iter().find(|database| database.oid == oid))
}

/// Extensions of a database with their versions, which no dump has.
pub(super) fn extensions(session: &Session<'_>, database: &str) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
        version: String,
    }
    let rows: Vec<Row> =
        session.rows(database, "SELECT extname AS name, extversion AS version FROM pg_catalog.pg_extension")?;
    Ok(rows.into_iter().map(|row| (row.name, row.version)).collect())
}

/// Names of the tablespaces.
pub(super) fn tablespaces(session: &Session<'_>) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
    }
    let rows: Vec<Row> =
        session.rows(&session.address.database, "SELECT spcname AS name FROM pg_catalog.pg_tablespace")?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

/// Extensions that the server could make, of those in `wanted`.
pub(super) fn missing_extensions<'w>(
    session: &Session<'_>,
    wanted: impl Iterator<Item = &'w String>,
) -> Result<Vec<&'w String>> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
    }
    let database = &session.address.database;
    let rows: Vec<Row> = session.rows(database, "SELECT name FROM pg_catalog.pg_available_extensions")?;
    Ok(wanted.filter(|name| !rows.iter().any(|row| row.name == **name)).collect())
}

/// What a role that is no superuser cannot see of a database, in words.
pub(super) fn hidden(session: &Session<'_>, database: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Row {
        subscriptions: u64,
        mappings: u64,
    }
    if session.server.superuser {
        return Ok(Vec::new());
    }
    let select = format!(
        "SELECT (SELECT count(s.subdbid) FROM pg_catalog.pg_subscription s, pg_catalog.pg_database d \
         WHERE d.oid = s.subdbid AND d.datname = {}) AS subscriptions, \
         (SELECT count(*) FROM pg_catalog.pg_user_mappings WHERE umoptions IS NULL) AS mappings",
        literal(database)
    );
    let rows: Vec<Row> = session.rows(database, &select)?;
    let mut words = Vec::new();
    for row in rows {
        if row.subscriptions > 0 {
            words.push(format!("{} subscriptions, which only a superuser can dump", row.subscriptions));
        }
        if row.mappings > 0 {
            words.push(format!("options of {} user mappings, which only a superuser can see", row.mappings));
        }
    }
    Ok(words)
}

/// Settings that hold secrets, or commands with them.
fn is_secret(name: &str) -> bool {
    ["password", "passphrase", "secret", "token"].iter().any(|word| name.contains(word))
}

/// `settings.json`: what the server's configuration files say, without secrets.
#[derive(Debug, Default, Serialize)]
pub(super) struct Settings {
    settings: Vec<Setting>,
    /// Rules of `pg_hba.conf`; null when only a superuser may read them.
    host_access: Option<Vec<serde_json::Value>>,
    tablespaces: Vec<serde_json::Value>,
    replication_slots: Vec<serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Setting {
    name: String,
    setting: Option<String>,
    unit: Option<String>,
    file: Option<String>,
}

/// Reads them.
pub(super) fn settings(session: &Session<'_>) -> Result<Settings> {
    let database = &session.address.database;
    let mut settings: Vec<Setting> = session.rows(
        database,
        "SELECT name, setting, unit, sourcefile AS file FROM pg_catalog.pg_settings \
         WHERE source = 'configuration file' ORDER BY name COLLATE \"C\"",
    )?;
    for setting in &mut settings {
        if let Some(value) = &mut setting.setting {
            *value = if is_secret(&setting.name) { "***".to_owned() } else { redact(value, &[]) };
        }
    }
    let mut host_access = None;
    if session.server.superuser {
        let mut rules: Vec<serde_json::Value> = session.rows(
            database,
            "SELECT type, database, user_name, address, netmask, auth_method, options, error \
             FROM pg_catalog.pg_hba_file_rules ORDER BY line_number",
        )?;
        for option in rules.iter_mut().filter_map(|rule| rule.get_mut("options")?.as_array_mut()).flatten() {
            let text = option.as_str().unwrap_or_default();
            let key = text.split('=').next().unwrap_or_default();
            if key.contains("passw") || key.contains("secret") {
                *option = format!("{key}=***").into();
            }
        }
        host_access = Some(rules);
    }
    Ok(Settings {
        settings,
        host_access,
        tablespaces: session.rows(
            database,
            "SELECT spcname AS name, pg_catalog.pg_get_userbyid(spcowner) AS owner, \
             pg_catalog.pg_tablespace_location(oid) AS location FROM pg_catalog.pg_tablespace \
             WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1",
        )?,
        replication_slots: session.rows(
            database,
            "SELECT slot_name AS name, plugin, slot_type AS type, database \
             FROM pg_catalog.pg_replication_slots WHERE NOT temporary ORDER BY 1",
        )?,
    })
}
