//! What no apply touches and a person may want back: settings of the server, rules of access, replication slots.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::source::{Action, ActionKind};

/// Most names in one list.
const SHOWN: usize = 12;

/// One action that names what differs between `settings.json` of a backup and the living server; none when nothing does.
pub(super) fn settings(archived: &Value, living: &Value) -> Option<Action> {
    let mut parts = Vec::new();
    let (old, new) = (values(archived), values(living));
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    parts.extend(list("settings", names.into_iter().filter(|name| old.get(name) != new.get(name))));
    let (old, new) = (&archived["host_access"], &living["host_access"]);
    if old.is_array() && new.is_array() && old != new {
        parts.push("rules of pg_hba.conf".to_owned());
    }
    let there = slots(living);
    parts.extend(list("replication slots", slots(archived).into_iter().filter(|slot| !there.contains(slot))));
    if parts.is_empty() {
        return None;
    }
    let detail = format!("{} are not as in the backup", parts.join("; "));
    let action = Action::new(ActionKind::Manual, "settings of the server", detail);
    Some(action.by_hand("settings.json of the backup has them; they are set in postgresql.conf and pg_hba.conf"))
}

/// Value of each setting with its unit; from which file it came is no difference.
fn values(settings: &Value) -> BTreeMap<&str, (&Value, &Value)> {
    let all = settings["settings"].as_array().into_iter().flatten();
    all.filter_map(|one| Some((one["name"].as_str()?, (&one["setting"], &one["unit"])))).collect()
}

fn slots(settings: &Value) -> BTreeSet<&str> {
    let all = settings["replication_slots"].as_array().into_iter().flatten();
    all.filter_map(|slot| slot["name"].as_str()).collect()
}

fn list<'n>(what: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    let more = names.len().saturating_sub(SHOWN);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| format!("{what} {shown}{rest}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_named_and_an_equal_server_has_no_action() {
        let archived = json!({
            "settings": [{"name": "port", "setting": "5432", "unit": null, "file": "/a"},
                {"name": "work_mem", "setting": "4096", "unit": "kB", "file": "/a"}],
            "host_access": [{"type": "local"}], "tablespaces": [], "replication_slots": [{"name": "s1"}],
        });
        let mut living = archived.clone();
        living["settings"][0]["file"] = json!("/b");
        assert_eq!(settings(&archived, &living), None);
        living["settings"][1]["setting"] = json!("8192");
        living["replication_slots"] = json!([]);
        let action = settings(&archived, &living).unwrap();
        assert_eq!(action.kind, ActionKind::Manual);
        assert_eq!(action.detail, "settings work_mem; replication slots s1 are not as in the backup");
        living["host_access"] = json!(null);
        assert!(
            !settings(&archived, &living).unwrap().detail.contains("pg_hba"),
            "what cannot be read is not compared"
        );
    }
}
