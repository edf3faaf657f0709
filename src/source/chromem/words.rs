//! What is said of collections.

use crate::vectorstore::{Collection, Health, Inventory, Store};

/// A collection by the name that a person knows.
fn title(collection: &Collection) -> String {
    object(&Inventory::of(collection))
}

/// The same, of an inventory.
pub(super) fn object(inventory: &Inventory) -> String {
    let named = inventory.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let aside = if inventory.health == Health::Quarantined { " in quarantine" } else { "" };
    format!("collection {}{named}{aside}", inventory.folder)
}

/// What somebody has to know of a store that is not as it should be: a line for each collection.
pub(super) fn conditions(store: &Store) -> Vec<String> {
    let mut lines = Vec::new();
    for collection in &store.collections {
        if matches!(collection.health, Health::Corrupt | Health::Quarantined) {
            lines.push(format!("{} is {}", title(collection), collection.state()));
        }
        if collection.misnamed > 0 {
            let documents = counted(collection.misnamed, "document");
            lines.push(format!("{}: {documents} in files that have not the name of their id", title(collection)));
        }
    }
    let hidden = store.hidden();
    lines.extend(hidden.iter().map(|c| format!("{} is hidden by another one of the same name", title(c))));
    lines
}

/// `1 document`, `2 documents`.
pub(super) fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
