//! Compares a living server with a backup: every key as the replication gives it, and counts, functions and users through the
//! doors that clients use.

use super::acl;
use super::archive::Part;
use super::look::{Look, Targets, look, targets};
use super::reply::{Reply, command};
use super::server::{Seen, Server};
use crate::config::RedisConfig;
use crate::error::Result;
use crate::source::{Checked, Contents, SourceContext};

/// Object by object and count by count.
pub(super) fn compare_all(
    config: &RedisConfig,
    contents: &dyn Contents,
    context: &SourceContext<'_>,
) -> Result<Checked> {
    let targets = targets(config, contents, context)?;
    let look = look(contents, &targets, context)?;
    let mut checked = Checked { compared: look.keys.equal, ..Checked::default() };
    for (difference, what) in [
        (&look.keys.missing, "is not there"),
        (&look.keys.extra, "is not in the backup"),
        (&look.keys.changed, "has another value or another time of expiry"),
    ] {
        for key in &difference.examples {
            checked.differs(format!("key {key}"), what);
        }
        let more = difference.count - difference.examples.len() as u64;
        if more > 0 {
            checked.differs("keys", format!("{more} more: each {what}"));
        }
    }
    check_functions(&mut checked, &look, &targets, context)?;
    match &targets.topology {
        None => check_counts(&mut checked, &look, &targets, context)?,
        Some(_) => check_slots(&mut checked, &look, &targets, context)?,
    }
    if let Some(users) = Part::all(contents)?.first().map(Part::users).transpose()?.flatten() {
        for server in &targets.servers {
            let mut client = server.connect(context.monitor)?;
            let seen = Seen::of(client.users().and_then(|there| Ok((there, client.own_name()?))))?;
            match seen {
                Seen::Known((there, own)) => acl::check(&mut checked, &users, &there, &own),
                Seen::Denied(why) => context.monitor.note(&format!("users were not compared: {why}")),
            }
        }
    }
    Ok(checked)
}

fn check_functions(checked: &mut Checked, look: &Look, targets: &Targets, context: &SourceContext<'_>) -> Result<()> {
    for (server, replicated) in targets.servers.iter().zip(&look.server_functions) {
        let told = Seen::of(server.connect(context.monitor)?.functions())?;
        let there = told.known().unwrap_or(replicated);
        checked.compared += 1;
        if *there != look.functions {
            let missing = look.functions.iter().filter(|code| !there.contains(code)).count();
            let extra = there.iter().filter(|code| !look.functions.contains(code)).count();
            let detail = format!("{missing} libraries are not there, {extra} are not in the backup");
            checked
                .differences
                .push(crate::source::Difference { object: format!("functions at {}", server.address), detail });
        }
    }
    Ok(())
}

/// What `INFO` counts: all keys, also those that have expired and were not yet dropped, so only too few can be wrong.
fn check_counts(checked: &mut Checked, look: &Look, targets: &Targets, context: &SourceContext<'_>) -> Result<()> {
    for server in &targets.servers {
        let Seen::Known(keyspace) = Seen::of(server.connect(context.monitor)?.keyspace())? else { continue };
        let counted: u64 = keyspace.values().sum();
        let expected = look.keys.equal + look.keys.changed.count + look.keys.extra.count;
        checked.compared += 1;
        if counted < expected && look.keys.is_equal() && look.keys.expired == 0 {
            let detail = format!("the server counts {counted}, and its data hold {expected}");
            checked.differences.push(crate::source::Difference { object: "number of keys".into(), detail });
        }
    }
    Ok(())
}

/// Keys of each slot, asked of the master that has it: keys in the wrong master are invisible to clients.
fn check_slots(checked: &mut Checked, look: &Look, targets: &Targets, context: &SourceContext<'_>) -> Result<()> {
    let Some(topology) = &targets.topology else { return Ok(()) };
    for (shard, server) in topology.masters.iter().zip(&targets.servers) {
        let counts = count_slots(server, &shard.slots, context)?;
        for (slot, count) in counts {
            let (expected, expiring) = look.slots.get(usize::from(slot)).copied().unwrap_or_default();
            checked.compared += 1;
            // Keys that expire may be gone, or not yet be dropped.
            if count != expected && !expiring && look.keys.expired == 0 {
                let detail = format!("the backup has {expected} keys, {} has {count}", shard.address);
                checked.differences.push(crate::source::Difference { object: format!("slot {slot}"), detail });
            }
        }
    }
    Ok(())
}

fn count_slots(
    server: &Server,
    ranges: &super::cluster::Ranges,
    context: &SourceContext<'_>,
) -> Result<Vec<(u16, u64)>> {
    let slots: Vec<u16> = ranges.iter().flat_map(|(first, last)| *first..=*last).collect();
    let mut client = server.connect(context.monitor)?;
    let mut counts = Vec::new();
    for batch in slots.chunks(512) {
        let ask = |slot: &u16| command(&[b"CLUSTER", b"COUNTKEYSINSLOT", slot.to_string().as_bytes()]);
        client.send(&batch.iter().flat_map(ask).collect::<Vec<u8>>())?;
        for slot in batch {
            match client.answer()? {
                Reply::Integer(count) => counts.push((*slot, u64::try_from(count).unwrap_or_default())),
                Reply::Refused(refusal) => return Err(refusal.into_error("CLUSTER COUNTKEYSINSLOT")),
                _ => {}
            }
        }
    }
    Ok(counts)
}
