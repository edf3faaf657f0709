//! `pg_dumpall --globals-only`: what belongs to no database. Checked, made the same for the same server, and cut into what
//! can be compared and applied one by one.

use std::collections::BTreeMap;

use super::sql::{Statement, Word, statements};
use crate::error::{Error, Kind, Result};
use crate::model::Digest;

/// Largest script that is read.
pub(super) const MAX_GLOBALS_BYTES: u64 = 256 << 20;
const BEGIN: &str = "-- PostgreSQL database cluster dump";
const END: &str = "-- PostgreSQL database cluster dump complete";

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// A role: its making, attributes, settings and comment.
    Role(String),
    /// That the second role is a member of the first.
    Membership(String, String),
    /// A tablespace.
    Tablespace(String),
    /// Rights on a parameter of the server.
    Parameter(String),
    /// What only holds while the script runs.
    Session,
    /// Nothing that is known: a person has to look at it.
    Other,
}

/// A script of globals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Globals {
    /// Statements by what they are about, in the order of the script.
    pub(super) by_subject: BTreeMap<Subject, Vec<Statement>>,
    /// Subjects in the order of the script: roles before memberships.
    pub(super) order: Vec<Subject>,
}

impl Globals {
    /// Reads a script; it must be whole.
    pub(super) fn parse(script: &str) -> Result<Self> {
        check_whole(script)?;
        let mut globals = Self::default();
        for statement in statements(script).map_err(|e| e.within("the globals cannot be read"))? {
            let subject = subject(&statement.words);
            let known = globals.by_subject.entry(subject.clone()).or_default();
            if known.is_empty() {
                globals.order.push(subject);
            }
            known.push(statement);
        }
        Ok(globals)
    }

    /// Names of the roles.
    pub(super) fn roles(&self) -> impl Iterator<Item = &str> {
        self.order.iter().filter_map(|subject| match subject {
            Subject::Role(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The statements about a subject.
    pub(super) fn about(&self, subject: &Subject) -> &[Statement] {
        self.by_subject.get(subject).map_or(&[], Vec::as_slice)
    }

    /// Whether two say the same of a subject.
    pub(super) fn agree(&self, other: &Self, subject: &Subject) -> bool {
        let texts = |globals: &Self| -> Vec<String> {
            let mut texts: Vec<_> = globals.about(subject).iter().map(|s| s.text.clone()).collect();
            texts.sort();
            texts
        };
        texts(self) == texts(other)
    }
}

/// The script as it is kept: the token of `\restrict`, random in each run, becomes the digest of all the rest. So equal
/// globals are equal bytes, and nobody can write the token into them beforehand.
pub(super) fn settle(script: &[u8]) -> Result<String> {
    let script = std::str::from_utf8(script)
        .map_err(|e| Error::new(Kind::Incomplete, "pg_dumpall wrote something that is not UTF-8").because(e))?;
    check_whole(script)?;
    let restrict = |line: &str| {
        let (command, token) = line.split_once(' ')?;
        matches!(command, "\\restrict" | "\\unrestrict").then(|| (command.to_owned(), token.to_owned()))
    };
    // The first line of this kind opens; only lines with its token are psql's, whatever a string may hold.
    let Some(token) = script.lines().find_map(restrict).map(|(_, token)| token) else { return Ok(script.to_owned()) };
    let with = |new: &str| -> String {
        let mut lines = String::with_capacity(script.len() + 128);
        for line in script.split_inclusive('\n') {
            match restrict(line.trim_end_matches('\n')) {
                Some((command, found)) if found == token => lines.push_str(&format!("{command} {new}\n")),
                _ => lines.push_str(line),
            }
        }
        lines
    };
    let digest = Digest::of(with("").as_bytes()).to_string();
    Ok(with(&digest))
}

fn check_whole(script: &str) -> Result<()> {
    let incomplete = |what: &str| Err(Error::new(Kind::Incomplete, format!("the globals {what}")));
    if script.is_empty() {
        return incomplete("are empty: not one byte came");
    }
    if !script.lines().take(8).any(|line| line == BEGIN) {
        return incomplete("do not begin as a dump of pg_dumpall");
    }
    // Behind the mark only what is no statement: versions differ in whether `\unrestrict` comes before or after it.
    let mut behind = script.lines().rev().map(str::trim).take_while(|line| *line != END);
    if script.lines().any(|line| line == END)
        && behind.all(|line| line.is_empty() || line == "--" || line.starts_with("\\unrestrict "))
    {
        Ok(())
    } else {
        incomplete("are cut: their end mark is missing")
    }
}

fn subject(words: &[Word]) -> Subject {
    let is = |at: usize, word: &str| words.get(at).is_some_and(|w| w.is(word));
    let name = |at: usize| words.get(at).and_then(Word::name).unwrap_or_default().to_owned();
    if is(0, "set") || (is(0, "select") && words.len() < 3) {
        return Subject::Session;
    }
    for (at, verb) in [(1, "create"), (1, "alter"), (2, "comment"), (2, "security")] {
        if !is(0, verb) {
            continue;
        }
        let at = if verb == "security" { words.iter().position(|w| w.is("on")).map_or(at, |on| on + 1) } else { at };
        if is(at, "role") || is(at, "user") {
            return Subject::Role(name(at + 1));
        }
        if is(at, "tablespace") {
            return Subject::Tablespace(name(at + 1));
        }
    }
    if is(0, "grant") || is(0, "revoke") {
        let place = |word: &str| words.iter().position(|w| w.is(word));
        if let Some(on) = place("on") {
            return match () {
                () if is(on + 1, "tablespace") => Subject::Tablespace(name(on + 2)),
                () if is(on + 1, "parameter") => Subject::Parameter(name(on + 2)),
                () => Subject::Other,
            };
        }
        if is(2, "to") && is(0, "grant") {
            return Subject::Membership(name(1), name(3));
        }
    }
    Subject::Other
}

#[cfg(test)]
#[path = "globals_tests.rs"]
mod tests;
