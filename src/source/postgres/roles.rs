//! What belongs to no database, beside what the living server has: roles, memberships, tablespaces, rights on parameters.

use std::collections::BTreeSet;

use super::globals::{Globals, Subject};
use super::names::identifier;
use super::session::Session;
use super::sql::Statement;
use super::stderr::redact;
use crate::error::{Error, Result};
use crate::source::{Action, ActionKind, Checked};

/// One subject of the globals and what is done about it.
#[derive(Clone, Debug)]
pub(super) struct GlobalStep {
    pub(super) action: Action,
    /// What is run; empty when nothing is.
    pub(super) statements: Vec<String>,
    /// What puts back what was there.
    pub(super) undo: Vec<String>,
}

/// On which sides the passwords of roles could be read; without them a role that has none looks like one that has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passwords {
    pub(super) archived: bool,
    pub(super) living: bool,
}

/// Compares the globals of a backup with those of a server on which `role` is logged in.
pub(super) fn plan(
    archived: &Globals,
    living: &Globals,
    role: &str,
    passwords: Passwords,
    overwrite: bool,
) -> Vec<GlobalStep> {
    let mut steps = Vec::new();
    for subject in &archived.order {
        let object = match subject {
            Subject::Session => continue,
            Subject::Role(name) => format!("role {}", identifier(name)),
            Subject::Membership(group, member) => {
                format!("membership of {} in {}", identifier(member), identifier(group))
            }
            Subject::Tablespace(name) => format!("tablespace {}", identifier(name)),
            Subject::Parameter(name) => format!("rights on the parameter {name}"),
            Subject::Other => "other statements of the globals".to_owned(),
        };
        let step = |kind, detail: &str| GlobalStep {
            action: Action::new(kind, object.clone(), detail),
            statements: Vec::new(),
            undo: Vec::new(),
        };
        if let Subject::Role(name) = subject
            && name == role
            && says(archived.about(subject), false) == says(living.about(subject), false)
        {
            steps.push(step(ActionKind::Equal, "its password is left as it is: we are logged in with it"));
            continue;
        }
        if archived.agree(living, subject) {
            steps.push(step(ActionKind::Equal, ""));
            continue;
        }
        if matches!(subject, Subject::Role(_)) {
            let known = passwords.archived && passwords.living;
            if says(archived.about(subject), known) == says(living.about(subject), known) {
                let detail = if known { "" } else { "but for its password, which cannot be read on both sides" };
                steps.push(step(ActionKind::Equal, detail));
                continue;
            }
        }
        let is_there = !living.about(subject).is_empty();
        let wanted = archived.about(subject);
        steps.push(match subject {
            Subject::Session => continue,
            Subject::Other => step(ActionKind::Manual, "nothing of this kind is applied; look at globals.sql"),
            Subject::Role(name) if name == role => {
                let mut step = step(
                    ActionKind::Manual,
                    "it is the role that is logged in here; another password or attribute could lock us out",
                );
                step.action = step.action.by_hand(format!("the lines about {} in globals.sql", identifier(name)));
                step
            }
            Subject::Tablespace(_) if !is_there => {
                let create = texts(wanted).into_iter().next().unwrap_or_default();
                let mut step = step(
                    ActionKind::Manual,
                    "its folder must be there, empty, and belong to the user of the server; until then its objects go to \
                     the default tablespace",
                );
                step.action = step.action.by_hand(create);
                step
            }
            Subject::Tablespace(_) => step(ActionKind::Manual, "it is there, at another place or with other rights"),
            Subject::Role(name) if is_there => {
                if overwrite {
                    let step = step(ActionKind::Replace, "attributes, password or settings are others");
                    replace_role(step, name, (wanted, living.about(subject)), passwords)
                } else {
                    step(ActionKind::Conflict, "it is there with other attributes, password or settings")
                }
            }
            Subject::Role(name) => {
                let mut step = step(ActionKind::Create, "");
                step.statements = texts(wanted);
                step.undo = vec![format!("DROP ROLE IF EXISTS {};", identifier(name))];
                step
            }
            Subject::Membership(group, member) => {
                let mut step = step(ActionKind::Create, if is_there { "with other options" } else { "" });
                step.statements = texts(wanted);
                step.undo = vec![format!("REVOKE {} FROM {};", identifier(group), identifier(member))];
                step.undo.extend(texts(living.about(subject)));
                step
            }
            Subject::Parameter(parameter) => {
                let mut step = step(ActionKind::Create, "");
                step.statements = texts(wanted);
                let to = wanted.iter().filter_map(|statement| {
                    let at = statement.words.iter().rposition(|word| word.is("to"))?;
                    statement.words.get(at + 1)?.name()
                });
                let revoke = |role: &str| format!("REVOKE ALL ON PARAMETER {parameter} FROM {};", identifier(role));
                step.undo = to.map(revoke).collect();
                step.undo.extend(texts(living.about(subject)));
                step
            }
        });
    }
    steps
}

fn replace_role(
    mut step: GlobalStep,
    name: &str,
    (wanted, living): (&[Statement], &[Statement]),
    passwords: Passwords,
) -> GlobalStep {
    let name = identifier(name);
    // The statements say only what is set: all that they may leave out is reset first. A password only where the statements
    // would have it: else it is not known, and not to be taken away.
    let ends = |statements: &[Statement]| statements.iter().any(|s| s.words.iter().any(|word| word.is("valid")));
    let without_create = |statements: &[Statement], before: &[Statement], known: bool| -> Vec<String> {
        let kept = statements.iter().filter(|statement| !statement.words.first().is_some_and(|word| word.is("create")));
        let password = if known { " PASSWORD NULL" } else { "" };
        // An end cannot be unset, only put off for ever.
        let until = if ends(before) { " VALID UNTIL 'infinity'" } else { "" };
        let reset = [
            format!("ALTER ROLE {name} RESET ALL;"),
            format!("ALTER ROLE {name} CONNECTION LIMIT -1{password}{until};"),
            format!("COMMENT ON ROLE {name} IS NULL;"),
        ];
        reset.into_iter().chain(kept.map(|statement| statement.text.clone())).collect()
    };
    step.statements = without_create(wanted, living, passwords.archived);
    step.undo = without_create(living, wanted, passwords.living);
    step
}

/// The statements about a role, to compare; with its password or without. For ever is the same as unset.
fn says(statements: &[Statement], password: bool) -> Vec<String> {
    let text = |statement: &Statement| match password {
        true => statement.text.clone(),
        false => redact(&statement.text, &[]).replace(" PASSWORD '***'", ""),
    };
    let mut all: Vec<_> = statements.iter().map(|s| text(s).replace(" VALID UNTIL 'infinity'", "")).collect();
    all.sort();
    all
}

fn texts(statements: &[Statement]) -> Vec<String> {
    statements.iter().map(|statement| statement.text.clone()).collect()
}

/// Runs the statements as one: all or none.
pub(super) fn run(session: &Session<'_>, object: &str, statements: &[String]) -> Result<()> {
    if statements.is_empty() {
        return Ok(());
    }
    let script = format!("BEGIN;\n{}\nCOMMIT;", statements.join("\n"));
    session.execute(&session.address.database, &script, &format!("applying the {object}"))?;
    Ok(())
}

/// Names of roles that the dumps need and nobody will make: an error says them before anything is done.
pub(super) fn missing_owners<'o>(
    owners: impl Iterator<Item = &'o String>,
    archived: &Globals,
    living: &Globals,
) -> BTreeSet<&'o String> {
    let known: BTreeSet<&str> = archived.roles().chain(living.roles()).collect();
    owners.filter(|owner| !known.contains(owner.as_str()) && !owner.starts_with("pg_")).collect()
}

/// Compares subject by subject.
pub(super) fn check(
    archived: &Globals,
    living: &Globals,
    role: &str,
    passwords: Passwords,
    checked: &mut Checked,
) -> Result<()> {
    if archived.order.is_empty() {
        return Err(Error::damage("the globals of the backup are empty"));
    }
    for step in plan(archived, living, role, passwords, true) {
        checked.compared += 1;
        if step.action.kind != ActionKind::Equal {
            let detail = if step.action.detail.is_empty() { "it is not there".to_owned() } else { step.action.detail };
            checked.differences.push(crate::source::Difference { object: step.action.object, detail });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Passwords = Passwords { archived: true, living: true };

    fn globals(lines: &str) -> Globals {
        let text = format!(
            "--\n-- PostgreSQL database cluster dump\n--\nSET x = 1;\n{lines}\n--\n-- PostgreSQL database cluster dump complete\n--\n"
        );
        Globals::parse(&text).unwrap()
    }

    fn kinds(archived: &str, living: &str, overwrite: bool) -> Vec<ActionKind> {
        let steps = plan(&globals(archived), &globals(living), "admin", KNOWN, overwrite);
        steps.iter().map(|step| step.action.kind).collect()
    }

    #[test]
    fn roles_are_made_kept_or_in_conflict() {
        let one = "CREATE ROLE a;\nALTER ROLE a WITH LOGIN;";
        assert_eq!(kinds(one, "", false), [ActionKind::Create]);
        assert_eq!(kinds(one, one, false), [ActionKind::Equal]);
        let other = "CREATE ROLE a;\nALTER ROLE a WITH NOLOGIN;\nALTER ROLE a SET x TO 'y';";
        assert_eq!(kinds(one, other, false), [ActionKind::Conflict]);
        let steps = plan(&globals(one), &globals(other), "admin", KNOWN, true);
        assert_eq!(
            steps[0].statements,
            [
                "ALTER ROLE \"a\" RESET ALL;",
                "ALTER ROLE \"a\" CONNECTION LIMIT -1 PASSWORD NULL;",
                "COMMENT ON ROLE \"a\" IS NULL;",
                "ALTER ROLE a WITH LOGIN;"
            ]
        );
        assert_eq!(steps[0].undo[3..], ["ALTER ROLE a WITH NOLOGIN;", "ALTER ROLE a SET x TO 'y';"]);
    }

    #[test]
    fn a_password_that_could_not_be_read_is_neither_compared_nor_taken_away() {
        let (with, without) = (
            "CREATE ROLE a;\nALTER ROLE a WITH LOGIN PASSWORD 'x' VALID UNTIL 'infinity';",
            "CREATE ROLE a;\nALTER ROLE a WITH LOGIN;",
        );
        let unread = Passwords { archived: false, living: true };
        let steps = plan(&globals(without), &globals(with), "admin", unread, true);
        assert_eq!(steps[0].action.kind, ActionKind::Equal);
        let other = "CREATE ROLE a;\nALTER ROLE a WITH NOLOGIN;";
        let steps = plan(&globals(other), &globals(with), "admin", unread, true);
        assert!(!steps[0].statements.iter().any(|text| text.contains("PASSWORD")), "{steps:?}");
        assert_eq!(kinds(without, with, true), [ActionKind::Replace]);
    }

    #[test]
    fn a_role_that_is_valid_for_ever_is_one_without_an_end() {
        let one = "CREATE ROLE a;\nALTER ROLE a WITH LOGIN;";
        assert_eq!(
            kinds(one, "CREATE ROLE a;\nALTER ROLE a WITH LOGIN VALID UNTIL 'infinity';", false),
            [ActionKind::Equal]
        );
    }

    #[test]
    fn the_role_that_is_logged_in_is_never_touched() {
        let (one, other) = (
            "CREATE ROLE admin;\nALTER ROLE admin WITH PASSWORD 'x';",
            "CREATE ROLE admin;\nALTER ROLE admin WITH LOGIN;",
        );
        for overwrite in [false, true] {
            let steps = plan(&globals(one), &globals(other), "admin", KNOWN, overwrite);
            assert_eq!(steps[0].action.kind, ActionKind::Manual);
            assert!(steps[0].statements.is_empty());
        }
    }

    #[test]
    fn a_tablespace_is_made_by_hand() {
        let steps = plan(&globals("CREATE TABLESPACE t LOCATION '/srv/t';"), &globals(""), "admin", KNOWN, true);
        assert_eq!(steps[0].action.kind, ActionKind::Manual);
        assert_eq!(steps[0].action.command.as_deref(), Some("CREATE TABLESPACE t LOCATION '/srv/t';"));
    }
}
