//! Two archives side by side: what was captured, and what a dump of the living database says now.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::archive::{DatabaseSql, Summary};
use super::sql::statements;
use crate::source::{Checked, Difference};

/// How much of two archives can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// Tablespaces were left out on purpose.
    pub(super) tablespaces: bool,
    /// Subscriptions are made later.
    pub(super) subscriptions: bool,
    /// Owner, settings, rights and comment of the database as a whole.
    pub(super) properties: bool,
}

impl Scope {
    /// Everything.
    pub(super) const ALL: Self = Self { tablespaces: true, subscriptions: true, properties: true };
}

/// Compares object by object and count by count.
pub(super) fn compare(archived: &Summary, living: &Summary, scope: Scope, checked: &mut Checked) {
    let database = &archived.database;
    compare_maps(&archived.tables, &living.tables, checked, |(schema, name), a, b, checked| {
        let object = format!("table {schema}.{name} of {database}");
        let rows = |n: u64| format!("{n} rows");
        match (a, b) {
            (Some(a), Some(b)) if a.rows != b.rows => checked.compare(object, &rows(a.rows), &rows(b.rows)),
            (Some(a), Some(b)) if a.digest != b.digest => {
                checked.differs(object, format!("{} on both sides, and not the same ones", rows(a.rows)));
            }
            (Some(_), Some(_)) => checked.compared += 1,
            (a, _) => checked.differs(object, one_side(a.is_some())),
        }
    });
    compare_maps(&archived.sequences, &living.sequences, checked, |(schema, name), a, b, checked| {
        let absent = &"no such sequence".to_owned();
        checked.compare(format!("sequence {schema}.{name} of {database}"), a.unwrap_or(absent), b.unwrap_or(absent));
    });
    checked.compare(format!("number of large objects of {database}"), &archived.large_objects, &living.large_objects);
    checked.compare(
        format!("content of the large objects of {database}"),
        &archived.large_object_digest,
        &living.large_object_digest,
    );
    // Another major version words the same object in another way.
    let same_words = major(&archived.tool) == major(&living.tool) && archived.minor == living.minor;
    compare_maps(&archived.objects, &living.objects, checked, |name, a, b, checked| {
        if !scope.subscriptions && name.is_of_subscription() {
            return;
        }
        let object = format!("{name} of {database}");
        match (a, b) {
            (Some(a), Some(b)) if a != b && same_words => {
                checked.differs(object, "its definition, owner or rights are others");
            }
            (Some(_), Some(_)) => checked.compared += 1,
            _ if !same_words && (a.is_none() || !is_the_same_in_all(&name.kind)) => {}
            (a, _) => checked.differs(object, one_side(a.is_some())),
        }
    });
    if scope.tablespaces {
        let words = |summary: &Summary| summary.tablespaces.iter().cloned().collect::<Vec<_>>().join(", ");
        checked.compare(format!("tablespaces of {database}"), &words(archived), &words(living));
    }
    if scope.properties && same_words {
        let (a, b) = (properties(&archived.database_sql, scope), properties(&living.database_sql, scope));
        compare_maps(&a, &b, checked, |kind, a, b, checked| {
            checked.compared += 1;
            if a != b {
                checked.differs(format!("{} of the database {database}", kind.to_lowercase()), "differs");
            }
        });
    }
}

/// Whether every version gives objects of this kind the same name, so that one that is not there is lost. What only the newer
/// one has may be its way to say the same.
fn is_the_same_in_all(kind: &str) -> bool {
    const KINDS: &[&str] = &[
        "TABLE",
        "VIEW",
        "MATERIALIZED VIEW",
        "FUNCTION",
        "PROCEDURE",
        "AGGREGATE",
        "POLICY",
        "TRIGGER",
        "RULE",
        "INDEX",
        "CONSTRAINT",
        "FK CONSTRAINT",
        "CHECK CONSTRAINT",
        "ROW SECURITY",
        "SEQUENCE",
        "TYPE",
        "DOMAIN",
    ];
    KINDS.contains(&kind)
}

/// The first few differences in one line.
pub(super) fn in_words(differences: &[Difference]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<_> = differences.iter().take(SHOWN).map(|d| format!("{}: {}", d.object, d.detail)).collect();
    let more = differences.len().saturating_sub(SHOWN);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join("; "))
}

fn one_side(archived: bool) -> &'static str {
    if archived { "it is not there" } else { "it is there, and was not when the backup was made" }
}

/// What is said of the database as a whole: kind, and its statements with the owner.
fn properties(sql: &[DatabaseSql], scope: Scope) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in sql {
        let known = all.entry(one.kind.clone()).or_default();
        known.push(format!("owner {}", one.owner));
        let place = |text: String| match text.split_once(" TABLESPACE = ") {
            Some((before, _)) if !scope.tablespaces => before.to_owned(),
            _ => text,
        };
        let texts = statements(&one.sql).map(|found| found.into_iter().map(|s| place(s.text)).collect::<Vec<_>>());
        known.extend(texts.unwrap_or_else(|_| vec![one.sql.clone()]));
        known.sort();
    }
    all
}

fn compare_maps<'m, K: Ord + 'm, V: 'm>(
    archived: &'m BTreeMap<K, V>,
    living: &'m BTreeMap<K, V>,
    checked: &mut Checked,
    mut compare: impl FnMut(&'m K, Option<&'m V>, Option<&'m V>, &mut Checked),
) {
    for (key, value) in archived {
        compare(key, Some(value), living.get(key), checked);
    }
    for (key, value) in living.iter().filter(|(key, _)| !archived.contains_key(key)) {
        compare(key, None, Some(value), checked);
    }
}

fn major(version: &(impl Display + ?Sized)) -> String {
    version.to_string().split('.').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::archive::ObjectName;
    use super::*;

    fn summary(tool: &str, objects: &[(&str, &str)]) -> Summary {
        let name = |(kind, tag): &(&str, &str)| ObjectName {
            kind: (*kind).into(),
            namespace: "public".into(),
            tag: (*tag).into(),
        };
        let objects = objects.iter().map(|object| (name(object), Default::default())).collect();
        Summary { tool: tool.into(), objects, ..Summary::default() }
    }

    #[test]
    fn what_a_newer_server_lacks_is_a_difference_and_what_only_it_says_is_none() {
        let archived = summary("15.18", &[("POLICY", "t own"), ("VIEW", "v"), ("ACL", "TABLE t")]);
        let living = summary("18.1", &[("VIEW", "v"), ("CONSTRAINT", "t t_x_not_null")]);
        let mut checked = Checked::default();
        compare(&archived, &living, Scope::ALL, &mut checked);
        let [difference] = checked.differences.as_slice() else { panic!("{:?}", checked.differences) };
        assert!(difference.object.contains("POLICY"), "{difference:?}");
    }
}
