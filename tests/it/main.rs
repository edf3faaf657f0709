//! The integration tests: one binary, a module a subject. See docs/TESTING.md.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test ends where it fails, says loudly what it skips, and its files need not last"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]

mod apply;
mod apply_cli;
mod attempts;
mod byhand;
mod byhand_damage;
mod byhand_names;
mod bytes;
mod captures;
mod chromem;
mod cli;
mod command;
mod contents;
mod contextcore;
#[path = "../../src/source/contract.rs"]
mod contract;
mod crash;
mod damage;
mod files_apply;
mod forge;
mod format_doc;
mod golden;
mod hostile;
mod incremental;
mod kill;
mod left_out;
mod limits;
mod losses;
mod motion;
mod objects;
mod oracle;
mod oracle_forged;
mod oracle_manifest;
mod other_docs;
mod own_keys;
mod places;
mod postgres;
mod postgres_server;
mod property;
mod readme;
mod redis;
mod redis_cluster;
mod redis_failures;
mod redis_peers;
mod refusals;
mod resume;
mod session;
mod shelf;
mod sqlite;
mod stack;
mod support;
mod threads;
mod torture;
mod trusted;

/// A file that nobody lists is a test that nobody runs.
#[test]
fn every_file_of_this_folder_is_a_module() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
    for item in std::fs::read_dir(&folder).unwrap() {
        let name = item.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").expect("only Rust files here");
        assert!(
            module == "main" || main.contains(&format!("mod {module};")),
            "tests/it/{name} is not listed in main.rs"
        );
    }
}
