//! Two sets of records, key by key: both come in order, so nothing is kept in memory.

use std::cmp::Ordering;
use std::io::Read;

use super::canonical::{Record, Sorted, ValueReader};
use super::rdb::{Input, RecordHead, fingerprint};
use crate::error::{Context as _, Result};

/// Keys that are named for each sort of difference.
const EXAMPLES: usize = 5;

/// The records of several servers as those of one.
#[derive(Debug)]
pub(super) struct Records(Vec<(Option<Record>, Sorted)>);

/// A record, and the number of the server that it is of.
pub(super) type Found = (Record, usize);

impl Records {
    /// Of all these.
    pub(super) fn of(servers: impl IntoIterator<Item = Sorted>) -> Result<Self> {
        let with_first = |mut sorted: Sorted| Ok((sorted.next()?, sorted));
        Ok(Self(servers.into_iter().map(with_first).collect::<Result<_>>()?))
    }

    /// The next record.
    pub(super) fn next(&mut self) -> Result<Option<Found>> {
        let heads = self.0.iter().enumerate().filter_map(|(at, (head, _))| Some((at, head.as_ref()?)));
        let least = heads.min_by(|(_, a), (_, b)| (a.head.database, &a.head.key).cmp(&(b.head.database, &b.head.key)));
        let Some((at, _)) = least else { return Ok(None) };
        let (head, sorted) = &mut self.0[at];
        let next = sorted.next()?;
        Ok(std::mem::replace(head, next).map(|record| (record, at)))
    }

    /// The bytes of a value.
    pub(super) fn open<'v>(&self, found: &'v Found) -> Result<ValueReader<'v>> {
        self.0[found.1].1.open(&found.0.value)
    }
}

/// How the keys of an archive and those of a server compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Keys that are equal in value and time of expiry.
    pub(super) equal: u64,
    /// Keys of the archive that the server does not have.
    pub(super) missing: Difference,
    /// Keys of the server that the archive does not have.
    pub(super) extra: Difference,
    /// Keys whose value or time of expiry differ.
    pub(super) changed: Difference,
    /// Keys of those that are equal that expire some day.
    pub(super) expiring: u64,
    /// Keys that have expired, wherever they are still.
    pub(super) expired: u64,
}

/// Keys that differ in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) count: u64,
    /// The first of them, as people read them.
    pub(super) examples: Vec<String>,
}

impl Difference {
    fn add(&mut self, record: &Record) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(name(record));
        }
    }
}

impl Comparison {
    /// Nothing differs.
    pub(super) fn is_equal(&self) -> bool {
        self.missing.count + self.extra.count + self.changed.count == 0
    }

    /// The server has nothing but what the archive has, too.
    pub(super) fn is_part(&self) -> bool {
        self.extra.count + self.changed.count == 0
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        let mut words = vec![format!("{} keys are equal", self.equal)];
        for (difference, what) in
            [(&self.missing, "missing"), (&self.extra, "not in the backup"), (&self.changed, "different")]
        {
            if difference.count > 0 {
                let more = if difference.count > difference.examples.len() as u64 { ", …" } else { "" };
                words.push(format!("{} {what} ({}{more})", difference.count, difference.examples.join(", ")));
            }
        }
        if self.expired > 0 {
            words.push(format!("{} have expired", self.expired));
        }
        words.join("; ")
    }
}

/// The database and the key of a record, as people read it.
fn name(record: &Record) -> String {
    let key = record.head.key.escape_ascii().to_string();
    let short: String = key.chars().take(60).collect();
    let more = if short.len() < key.len() { "…" } else { "" };
    format!("{}:\"{short}{more}\"", record.head.database)
}

/// Compares key by key. What has expired at `now` (milliseconds since 1970) does not count. `step` is told of every key of the
/// archive that has not, and may stop it.
pub(super) fn compare(
    archive: &mut Records,
    server: &mut Records,
    now: i64,
    step: &mut dyn FnMut(Option<&RecordHead>) -> Result<()>,
) -> Result<Comparison> {
    let mut found = Comparison::default();
    let (mut ours, mut theirs) = (living(archive, now, &mut found)?, living(server, now, &mut found)?);
    loop {
        let order = match (&ours, &theirs) {
            (None, None) => return Ok(found),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => (a.head.database, &a.head.key).cmp(&(b.head.database, &b.head.key)),
        };
        match (order, &ours, &theirs) {
            (Ordering::Less, Some((record, _)), _) => found.missing.add(record),
            (Ordering::Greater, _, Some((record, _))) => found.extra.add(record),
            (_, Some(a), Some(b)) if a.0.head.expires == b.0.head.expires && same_value(archive, a, server, b)? => {
                found.equal += 1;
                found.expiring += u64::from(a.0.head.expires.is_some());
            }
            (_, Some((record, _)), _) => found.changed.add(record),
            (_, None, _) => {}
        }
        if order == Ordering::Greater {
            step(None)?;
        } else {
            step(ours.as_ref().map(|(record, _)| &record.head))?;
            ours = living(archive, now, &mut found)?;
        }
        if order != Ordering::Less {
            theirs = living(server, now, &mut found)?;
        }
    }
}

/// The next record that has not expired.
fn living(records: &mut Records, now: i64, found: &mut Comparison) -> Result<Option<Found>> {
    while let Some(record) = records.next()? {
        if record.0.head.expires.is_none_or(|at| at > now) {
            return Ok(Some(record));
        }
        found.expired += 1;
    }
    Ok(None)
}

fn same_value(archive: &Records, a: &Found, server: &Records, b: &Found) -> Result<bool> {
    let (kind_a, kind_b) = (a.0.head.kind, b.0.head.kind);
    let may_be_same = kind_a == kind_b && a.0.value.length() == b.0.value.length();
    if may_be_same && same_bytes(archive.open(a)?, server.open(b)?)? {
        return Ok(true);
    }
    // Another encoding, or another order.
    let lowest = kind_a.min(kind_b);
    let ours = fingerprint(&mut Input::new(archive.open(a)?), kind_a, lowest)?;
    Ok(ours == fingerprint(&mut Input::new(server.open(b)?), kind_b, lowest)?)
}

fn same_bytes(mut a: impl Read, mut b: impl Read) -> Result<bool> {
    const PIECE: u64 = 64 * 1024;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        a.by_ref().take(PIECE).read_to_end(&mut left).doing("cannot read a value")?;
        b.by_ref().take(PIECE).read_to_end(&mut right).doing("cannot read a value")?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}
