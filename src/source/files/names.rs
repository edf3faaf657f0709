//! Names of users and groups, read once from `/etc/passwd` and `/etc/group`.
//!
//! Other name services (LDAP, systemd) are not asked: a capture must not hang on a network. Entries keep the
//! numbers anyway (FORMAT.md §7), names only help on a host that numbers its users differently.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Longest database that is read, in bytes; what follows is ignored.
const MAX_BYTES: u64 = 16 << 20;

/// User and group names with their numbers.
#[derive(Debug, Default)]
pub struct Names {
    users: Table,
    groups: Table,
}

#[derive(Debug, Default)]
struct Table(HashMap<u32, String>);

impl Table {
    fn read(path: &str) -> Self {
        let mut bytes = Vec::new();
        // A missing or unreadable database leaves entries without names, which is no failure.
        if let Ok(file) = File::open(Path::new(path))
            && file.take(MAX_BYTES).read_to_end(&mut bytes).is_err()
        {
            return Self::default();
        }
        Self::parse(&bytes)
    }

    /// Lines `name:password:number:…`; the first line that names a number counts.
    fn parse(bytes: &[u8]) -> Self {
        let mut table = Self::default();
        for line in bytes.split(|&b| b == b'\n').filter_map(|line| std::str::from_utf8(line).ok()) {
            let mut fields = line.split(':');
            let (Some(name), Some(_), Some(number)) = (fields.next(), fields.next(), fields.next()) else { continue };
            let Ok(number) = number.parse::<u32>() else { continue };
            if name.is_empty() || name.starts_with(['#', '+', '-']) {
                continue;
            }
            table.0.entry(number).or_insert_with(|| name.to_owned());
        }
        table
    }

    fn name(&self, number: u32) -> &str {
        self.0.get(&number).map_or("", String::as_str)
    }
}

impl Names {
    /// The names of this host. Missing databases are empty ones.
    #[must_use]
    pub fn system() -> Self {
        Self { users: Table::read("/etc/passwd"), groups: Table::read("/etc/group") }
    }

    /// Name of a user, empty when unknown.
    #[must_use]
    pub fn user(&self, uid: u32) -> &str {
        self.users.name(uid)
    }

    /// Name of a group, empty when unknown.
    #[must_use]
    pub fn group(&self, gid: u32) -> &str {
        self.groups.name(gid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts_and_broken_lines_are_passed_over() {
        let text =
            b"root:x:0:0::/:/bin/sh\ntoor:x:0:0\n\nbad\nx:y\nn:x:-1:\n+::0:\nbig:x:4294967294:\nroot:x:7:\n\xff:x:9:\n";
        let names = Names { users: Table::parse(text), groups: Table::default() };
        assert_eq!(names.user(0), "root");
        assert_eq!(names.user(4_294_967_294), "big");
        assert_eq!((names.user(7), names.user(9), names.group(0)), ("root", "", ""));
    }

    #[test]
    fn the_host_knows_its_root() {
        let names = Names::system();
        assert_eq!((names.user(0), names.group(0)), ("root", "root"));
    }
}
