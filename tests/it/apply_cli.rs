//! `restore --apply`, `--undo`, `--confirm`, `--runs` and `check` as people and scripts meet them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use snapbox::{assert_data_eq, str};

use crate::contract::snapshot;

/// A folder with a repository that holds a component `other`, which the configuration does not have.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(host.path("app")).unwrap();
        fs::write(host.path("app/a.yaml"), "a: 1\n").unwrap();
        host.configure("other");
        host.run("create --cipher none", 0);
        host.configure("app");
        host
    }

    fn configure(&self, name: &str) {
        let text = format!("[[component]]\nname = \"{name}\"\nkind = \"files\"\npaths = [\"app\"]\n");
        fs::write(self.path("ccbackup.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn output(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ccbackup"));
        command.args(line.split_whitespace()).current_dir(self.dir.path()).env_clear();
        command.env("CCBACKUP_HOME", self.path("keys")).env("TMPDIR", self.dir.path()).output().unwrap()
    }

    fn run(&self, line: &str, code: i32) -> (String, String) {
        let output = self.output(line);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(code), "`{line}`\n{out}\n{err}");
        (out, err)
    }

    fn json(&self, line: &str, code: i32) -> Value {
        let (out, err) = self.run(line, code);
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{line}: not one JSON document: {e}\n{out}\n{err}"))
    }
}

fn everything(folder: &Path) -> Vec<PathBuf> {
    snapshot(folder).into_keys().collect()
}

#[test]
fn what_the_configuration_does_not_have_is_left_to_a_person_with_exit_code_3() {
    let host = Host::new();
    let before = snapshot(host.dir.path());
    let (out, _) = host.run("restore --apply --dry-run", 3);
    assert_data_eq!(
        out,
        str![[r#"
backup [..] → the living services
component  action  object           detail
other      manual  component other  the configuration has no component of this name
nothing was changed (dry run)

"#]]
    );
    let plan = host.json("restore --apply --dry-run --json", 3);
    assert_eq!(plan["dry_run"], true);
    assert_eq!(plan["components"][0]["actions"][0]["kind"], "manual");
    host.run("check", 3);
    assert_eq!(host.json("check --json", 3)["equal"], false);
    host.run("restore --runs", 0);
    let after = snapshot(host.dir.path());
    assert!(before == after, "a dry run, a check and a list touch nothing");
    // Nothing has to be done, so nobody is asked.
    let report = host.json("restore --apply --json", 3);
    assert_eq!((&report["run"], &report["components"][0]["status"]), (&Value::Null, &"manual".into()));
    assert!(everything(host.dir.path()).iter().all(|path| !path.ends_with("runs") && !path.ends_with("scratch")));
}

#[test]
fn runs_that_are_not_there_and_flags_that_do_not_go_together_are_refused() {
    let host = Host::new();
    host.run("restore --undo 20260101-000000 --yes", 1);
    host.run("restore --confirm 20260101-000000 --yes", 1);
    let (_, err) = host.run("restore --undo 20260101-000000", 5);
    assert!(err.contains("--yes"), "{err}");
    for line in [
        "restore",
        "restore --apply --target x",
        "restore --apply --undo 20260101-000000",
        "restore --apply --include x",
        "restore --apply --delete",
        "restore --undo nonsense",
        "restore latest --undo 20260101-000000",
        "restore --runs --dry-run",
        "restore --confirm 20260101-000000 --overwrite",
    ] {
        host.run(line, 2);
    }
    assert_eq!(host.json("restore --runs --json", 0), serde_json::json!([]));
    assert_eq!(host.json("restore --apply --component none --json", 1)["error"]["kind"], "not-found");
}
