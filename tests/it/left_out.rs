//! What rules leave out is never lost without a word: it is counted, listed, and changes no exit code.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Sandbox, write};

fn ccbackup(dir: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccbackup"));
    command.args(line.split_whitespace()).current_dir(dir).env_clear().env("CCBACKUP_HOME", dir.join("keys"));
    command.output().unwrap()
}

fn done(dir: &Path, line: &str) -> String {
    let output = ccbackup(dir, line);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "`{line}`\n{out}\n{err}");
    out
}

fn json(dir: &Path, line: &str) -> Value {
    serde_json::from_str(&done(dir, line)).unwrap()
}

/// A tree with a cache, a marked folder and logs.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path().join("app");
    write(&app.join("kept"), b"k");
    write(&app.join("a.log"), b"l");
    write(&app.join("old/b.log"), b"l");
    write(&app.join("cached/CACHEDIR.TAG"), b"Signature: 8a477f597d28d172789f06886806bc55");
    write(&app.join("cached/w"), b"w");
    write(&app.join("marked/.nobackup"), b"");
    write(&app.join("marked/z"), b"z");
    dir
}

const RULES: &str = "--exclude *.log --exclude-caches --exclude-if-present .nobackup";

#[test]
fn caches_and_marked_folders_are_kept_unless_a_rule_says_otherwise() {
    let dir = tree();
    let report = json(dir.path(), "create --path app --json");
    assert_eq!((&report["left_out"], &report["components"][0]["left_out"]), (&0.into(), &0.into()));
    let listed = done(dir.path(), "ls");
    for path in ["cached/w", "marked/z", "marked/.nobackup", "a.log"] {
        assert!(listed.contains(&format!("files/app/{path}\n")), "{path} is not in\n{listed}");
    }
    let manifest = &json(dir.path(), "show --json")["manifest"];
    assert_eq!(manifest["components"][0].get("left_out"), None);
}

#[test]
fn flags_leave_out_and_everything_left_out_is_counted_and_listed() {
    let dir = tree();
    let preview = json(dir.path(), &format!("create --encrypt --path app --dry-run --json {RULES}"));
    assert_eq!(preview["components"][0]["left_out"], 4);
    let report = json(dir.path(), &format!("create --encrypt --path app --json {RULES}"));
    assert_eq!((&report["left_out"], &report["components"][0]["left_out"]), (&4.into(), &4.into()));
    assert_eq!(report["problems"].as_array().unwrap().len(), 0);
    let listed = done(dir.path(), "ls");
    for lost in ["cached/w", "marked/z", "marked/.nobackup", "a.log", "old/b.log"] {
        assert!(!listed.contains(lost), "{lost} is in\n{listed}");
    }
    for kept in ["app/kept", "app/cached", "app/cached/CACHEDIR.TAG", "app/marked", "app/old"] {
        assert!(listed.contains(&format!("files/{kept}\n")), "{kept} is not in\n{listed}");
    }
    let shown = json(dir.path(), "show --json");
    assert_eq!(shown["manifest"]["components"][0]["left_out"], 4);
    assert_eq!(shown["manifest"]["components"][0]["problems"], serde_json::json!([]));
    let line = |path: &str, reason: &str| serde_json::json!({"component": "files", "path": path, "reason": reason});
    assert_eq!(
        shown["left_out"],
        serde_json::json!([
            line("app/a.log", "excluded by a glob"),
            line("app/cached", "the folder is a cache (CACHEDIR.TAG)"),
            line("app/marked", "the folder holds .nobackup"),
            line("app/old/b.log", "excluded by a glob"),
        ])
    );
    let text = done(dir.path(), "show");
    assert!(text.contains("left out of files by rules: 4\n  files/app/a.log: excluded by a glob\n"), "{text}");
    done(dir.path(), "verify --deep");

    // Without a key the count remains.
    fs::rename(dir.path().join("keys/identity.txt"), dir.path().join("elsewhere")).unwrap();
    assert_eq!(json(dir.path(), "show --json")["left_out"], Value::Null);
    let text = done(dir.path(), "show");
    assert!(text.contains("left out of files by rules: 4 (with a key they are listed)"), "{text}");
    done(dir.path(), "verify");
}

#[test]
fn the_configuration_leaves_out_and_flags_add_to_it() {
    let dir = tree();
    let config = "[defaults]\nexclude_caches = true\n[[component]]\nname = \"one\"\nkind = \"files\"\npaths = [\"app\"]\n\
                  exclude_if_present = [\".nobackup\"]\n[[component]]\nname = \"two\"\nkind = \"files\"\npaths = [\"app\"]\n\
                  exclude_caches = false\n";
    fs::write(dir.path().join("ccbackup.toml"), config).unwrap();
    let counts = |line: &str| -> Vec<u64> {
        let report = json(dir.path(), line);
        report["components"].as_array().unwrap().iter().map(|c| c["left_out"].as_u64().unwrap()).collect()
    };
    assert_eq!(counts("create --json"), [2, 0]);
    assert_eq!(counts("create --json --exclude *.log --exclude-if-present kept"), [1, 1], "app itself holds `kept`");
}

#[test]
fn the_list_is_bounded_and_the_count_is_not() {
    let mut sandbox = Sandbox::plain();
    for i in 0..1200 {
        write(&sandbox.tree().join(format!("{i}.log")), b"");
    }
    sandbox.settings.components[0].files_mut().unwrap().rules.exclude = vec!["*.log".into()];
    let report = sandbox.create();
    assert_eq!(report.left_out, 1200);
    let chain = sandbox.chain(&report.id).unwrap();
    let inventory = chain.inventory("files").unwrap();
    assert_eq!((inventory.left_out().len(), inventory.problems().len(), inventory.entries()), (1000, 0, 1));
    assert_eq!(chain.backup.manifest.components[0].left_out, Some(1200));
}

#[test]
fn names_that_are_no_file_names_are_refused() {
    let dir = tree();
    for name in ["a/b", "..", "."] {
        let output = ccbackup(dir.path(), &format!("create --path app --exclude-if-present {name}"));
        assert_eq!(output.status.code(), Some(2), "{name}");
    }
}
