//! The moment at which a restored database gets its name: one transaction, in which the old one gets another and the
//! properties of the database are set.

use std::time::Duration;

use super::archive::Summary;
use super::names::identifier;
use super::restore::terminate;
use super::session::Session;
use super::sql::statements;
use crate::error::{Error, Result};

/// Sessions can come back between their end and the renames, as they were accepted before the door was closed.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(300);

/// Renames `new` to `name`, and what is called so now to `old`; sets what the archive says of the database as a whole.
pub(super) fn swap_in(
    session: &Session<'_>,
    name: &str,
    new: &str,
    old: Option<&str>,
    archived: &Summary,
) -> Result<()> {
    let mut script = String::from("BEGIN;\n");
    if let Some(old) = old {
        script.push_str(&format!("ALTER DATABASE {} RENAME TO {};\n", identifier(name), identifier(old)));
    }
    script.push_str(&format!("ALTER DATABASE {} RENAME TO {};\n", identifier(new), identifier(name)));
    // Open before the properties are set: they may say that it stays closed.
    script.push_str(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS true;\n", identifier(name)));
    script.push_str(&format!("COMMENT ON DATABASE {} IS NULL;\n", identifier(name)));
    for statement in properties(archived)? {
        script.push_str(&statement);
        script.push('\n');
    }
    script.push_str("COMMIT;");
    let closed: Vec<&str> = if old.is_some() { vec![name, new] } else { vec![new] };
    run_closed(session, name, &closed, &script)
}

/// Sets what the archive says of the database as a whole.
fn properties(archived: &Summary) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for sql in &archived.database_sql {
        if sql.kind == "DATABASE" {
            if !sql.owner.is_empty() {
                let (database, owner) = (identifier(&archived.database), identifier(&sql.owner));
                all.push(format!("ALTER DATABASE {database} OWNER TO {owner};"));
            }
            continue;
        }
        all.extend(statements(&sql.sql)?.into_iter().map(|statement| statement.text));
    }
    Ok(all)
}

/// Runs a transaction that renames what is to be `name` and opens it, with `closed` closed and their sessions ended. They are
/// opened again when it fails. Between the first and the last of it the run does not stop: nobody else would open them.
pub(super) fn run_closed(session: &Session<'_>, name: &str, closed: &[&str], script: &str) -> Result<()> {
    session.context.monitor.check()?;
    session.to_its_end(|| closed_to_its_end(session, name, closed, script))
}

fn closed_to_its_end(session: &Session<'_>, name: &str, closed: &[&str], script: &str) -> Result<()> {
    let first = &session.maintenance(name);
    let doing = format!("giving the database {name} its place");
    let door = |open: bool| -> String {
        closed.iter().map(|name| format!("ALTER DATABASE {} ALLOW_CONNECTIONS {open};\n", identifier(name))).collect()
    };
    let end: String = closed.iter().map(|name| terminate(name) + "\n").collect();
    // In one session, so that it is over in a moment, and a lost connection leaves as little as can be.
    let whole = format!("{}{end}{script}", door(false));
    let mut last = Error::failed(doing.clone());
    for _ in 0..TRIES {
        match session.execute(first, &whole, &doing) {
            Ok(_) => return Ok(()),
            Err(error) if error.one_line().contains("being accessed by other users") => {
                last = error;
                if let Err(stop) = session.context.monitor.check() {
                    last = stop;
                    break;
                }
                std::thread::sleep(PAUSE);
            }
            Err(error) => {
                last = error;
                break;
            }
        }
    }
    match session.execute(first, &door(true), "opening the databases again") {
        Ok(_) => Err(last),
        Err(also) => Err(last.within(format!("{}: sessions are still refused", also.one_line()))),
    }
}
