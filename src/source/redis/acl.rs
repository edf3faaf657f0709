//! Users and their rights: not in the RDB, so they are captured beside it, as the lines of `ACL LIST`.
//!
//! The lines hold hashes of passwords, which a server takes as they are. The user who asks is never changed by an apply: whoever
//! saws at that branch is locked out half-way.

use std::collections::BTreeMap;

use super::client::Client;
use super::reply::Reply;
use crate::error::{Error, Kind, Result};
use crate::source::{Action, ActionKind, Checked};

/// Lines by the user's name.
pub(super) type Users = BTreeMap<String, String>;

impl Client<'_> {
    /// Users and their rights.
    pub(super) fn users(&mut self) -> Result<Users> {
        let reply = self.call(&[b"ACL", b"LIST"])?;
        let lines: Option<Vec<String>> = reply.items().iter().map(Reply::text).collect();
        parse(&lines.unwrap_or_default().join("\n"))
    }

    /// The user who asks.
    pub(super) fn own_name(&mut self) -> Result<String> {
        self.text(&[b"ACL", b"WHOAMI"])
    }

    /// Makes a user what its line says, or removes one that had none.
    pub(super) fn set_user(&mut self, name: &str, line: Option<&str>) -> Result<()> {
        let Some(line) = line else { return self.call(&[b"ACL", b"DELUSER", name.as_bytes()]).map(|_| ()) };
        let rules = words(line);
        let mut command: Vec<&[u8]> = vec![b"ACL", b"SETUSER", name.as_bytes(), b"reset"];
        command.extend(rules.iter().skip(2).map(|word| word.as_bytes()));
        match self.ask(&command)? {
            // Its text repeats the rule, which may be the hash of a password.
            Reply::Refused(refusal) if refusal.code() == "ERR" => {
                Err(Error::failed(format!("the server refuses a rule of the user \"{name}\"")))
            }
            Reply::Refused(refusal) => Err(refusal.into_error("ACL SETUSER")),
            _ => Ok(()),
        }
    }

    /// Writes users where they survive a restart; false where the server has no such place.
    pub(super) fn save_users(&mut self) -> Result<bool> {
        for command in [[b"ACL".as_slice(), b"SAVE"], [b"CONFIG", b"REWRITE"]] {
            match self.ask(&command)? {
                Reply::Refused(refusal) if matches!(refusal.code(), "ERR" | "NOPERM") => {}
                Reply::Refused(refusal) => return Err(refusal.into_error("ACL SAVE")),
                _ => return Ok(true),
            }
        }
        Ok(false)
    }
}

/// The document.
pub(super) fn document(users: &Users) -> Vec<u8> {
    users.values().map(|line| format!("{line}\n")).collect::<String>().into_bytes()
}

/// Reads lines `user NAME rule…`.
pub(super) fn parse(text: &str) -> Result<Users> {
    let user = |line: &str| {
        let words = words(line);
        match words.as_slice() {
            // A flag that `reset` sets and that says what holds without it, too.
            [first, name, ..] if *first == "user" => {
                let plain =
                    words.iter().filter(|word| **word != "sanitize-payload").copied().collect::<Vec<_>>().join(" ");
                Ok(((*name).to_owned(), plain))
            }
            _ => Err(Error::new(Kind::Incomplete, "a line of the list of users does not begin with a user")),
        }
    };
    text.lines().filter(|line| !line.is_empty()).map(user).collect()
}

/// Words of a line; what stands in round brackets (a selector) is one word.
fn words(line: &str) -> Vec<&str> {
    let (mut words, mut start, mut depth) = (Vec::new(), 0, 0_u32);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'(' if at == start => depth = 1,
            b')' => depth = 0,
            b' ' if depth == 0 => {
                words.push(&line[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    words.push(&line[start..]);
    words.retain(|word| !word.is_empty());
    words
}

/// A user that an apply makes or changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) line: String,
    /// What it is now.
    pub(super) before: Option<String>,
}

/// What an apply would do about users. Users that the backup does not have stay as they are.
pub(super) fn plan(archive: &Users, server: &Users, own: &str, overwrite: bool) -> (Vec<Action>, Vec<Change>) {
    let (mut actions, mut changes) = (Vec::new(), Vec::new());
    for (name, line) in archive {
        let object = format!("user \"{name}\"");
        let before = server.get(name);
        if before == Some(line) {
            actions.push(Action::new(ActionKind::Equal, object, "the same rights and passwords"));
            continue;
        }
        if name == own {
            let detail = "it is the user of this connection, and differs: it is not changed";
            let action = Action::new(ActionKind::Manual, object, detail);
            actions.push(
                action.by_hand(format!("ACL SETUSER {name} reset, and then what acl.txt of the backup says of it")),
            );
            continue;
        }
        let (kind, detail) = match (before, overwrite) {
            (None, _) => (ActionKind::Create, "it is not there"),
            (Some(_), true) => (ActionKind::Replace, "its rights or passwords differ"),
            (Some(_), false) => (ActionKind::Conflict, "its rights or passwords differ"),
        };
        actions.push(Action::new(kind, object, detail));
        changes.push(Change { name: name.clone(), line: line.clone(), before: before.cloned() });
    }
    (actions, changes)
}

/// Compares users; the one who asks is not changed by an apply, and so does not count.
pub(super) fn check(checked: &mut Checked, archive: &Users, server: &Users, own: &str) {
    for (name, line) in archive.iter().filter(|(name, _)| *name != own) {
        let object = format!("user \"{name}\"");
        match server.get(name) {
            Some(there) if there == line => checked.compared += 1,
            Some(_) => checked.differs(object, "its rights or passwords differ"),
            None => checked.differs(object, "it is not there"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_one_rule() {
        let line = "user bob on #5e88 ~k:* resetchannels -@all +get (~tmp:* -@all +set) (%R~r:* +@read)";
        let expected = [
            "user",
            "bob",
            "on",
            "#5e88",
            "~k:*",
            "resetchannels",
            "-@all",
            "+get",
            "(~tmp:* -@all +set)",
            "(%R~r:* +@read)",
        ];
        assert_eq!(words(line), expected);
        assert_eq!(parse(line).unwrap()["bob"], line);
        assert!(parse("nonsense").is_err());
    }

    #[test]
    fn a_flag_that_says_nothing_is_no_difference() {
        assert_eq!(parse("user a on sanitize-payload nopass").unwrap(), parse("user a on nopass").unwrap());
        assert_ne!(parse("user a on skip-sanitize-payload nopass").unwrap(), parse("user a on nopass").unwrap());
    }

    #[test]
    fn the_user_who_asks_is_left_alone() {
        let archive = parse("user a on nopass\nuser b on +@all\nuser c on\nuser default on nopass").unwrap();
        let server = parse("user a on nopass\nuser b on -@all\nuser default on #12\nuser z on").unwrap();
        let kinds = |overwrite| {
            let (actions, changes) = plan(&archive, &server, "default", overwrite);
            (actions.iter().map(|a| a.kind).collect::<Vec<_>>(), changes.len())
        };
        use ActionKind::{Conflict, Create, Equal, Manual, Replace};
        assert_eq!(kinds(false), (vec![Equal, Conflict, Create, Manual], 2));
        assert_eq!(kinds(true), (vec![Equal, Replace, Create, Manual], 2));
    }
}
