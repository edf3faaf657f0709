//! PostgreSQL: a real server is filled, captured, lost and brought back; and everything that can go wrong on the way does.

use std::path::PathBuf;

use ccbackup::ComponentConfig;
use ccbackup::config::{Databases, PostgresConfig, SourceConfig};
use ccbackup::environment::Environment;
use ccbackup::secret::SecretRef;

use crate::contract::{Guard, Subject, contract};
use crate::postgres_server::{Fake, PASSWORD, Server, tools};

/// The variable that has the password.
const VARIABLE: &str = "POSTGRES_TEST_PASSWORD";
const CLUSTER: &str = include_str!("../../fixtures/postgres/seed-cluster.sql");
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
            lock_timeout: std::time::Duration::from_secs(1),
            silence: std::time::Duration::from_secs(20),
            ..PostgresConfig::default()
        }
    }

    fn seed(&self, rows: u32) {
        self.server.psql("postgres", CLUSTER);
        self.server.psql("shop", &format!("\\set rows {rows}\n{SHOP}"));
        self.server.psql("latin", "CREATE TABLE t (x text); INSERT INTO t VALUES ('gr\u{fc}n');");
        self.server.psql("\u{fc}n\u{ef} \"db\" x/y", "CREATE TABLE t (x text); INSERT INTO t VALUES ('a');");
        self.server.psql("template1", "CREATE TABLE of_template (x int);");
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
        self.changes += 1;
        let n = self.changes;
        self.server.psql(
            "shop",
            &format!(
                "UPDATE shop.accounts SET balance = balance + {n} WHERE id = 1; INSERT INTO shop.log (note) VALUES ('{n}');\
                 CREATE TABLE shop.new_{n} (x int); DROP TABLE IF EXISTS shop.refs; SELECT lo_create(5000 + {n});"
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
