//! `restore --apply`, `--undo`, `--confirm`, `--runs` and `check` as people and scripts meet them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use snapbox::{assert_data_eq, str};

use crate::contract::snapshot;

/// A folder with a repository that holds a component `notes`: the file `notes`, as programs give and take it.
struct Host {
    dir: tempfile::TempDir,
}

/// What takes the notes back.
const TAKE: &str = "cat > notes";

impl Host {
    fn new() -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(host.path("tmp")).unwrap();
        host.write("first\n");
        host.configure("notes", TAKE);
        host.run("create --cipher none", 0);
        host
    }

    /// The configuration has this component, and this script takes it back.
    fn configure(&self, name: &str, script: &str) {
        let place = self.dir.path().display();
        let text = format!(
            "[[component]]\nname = \"{name}\"\nkind = \"command\"\ncapture = [\"cat\", \"{place}/notes\"]\n\
             apply = [\"sh\", \"-c\", 'cd {place}; {script}']\n"
        );
        fs::write(self.path("ccbackup.toml"), text).unwrap();
    }

    fn write(&self, text: &str) {
        fs::write(self.path("notes"), text).unwrap();
    }

    fn read(&self) -> String {
        fs::read_to_string(self.path("notes")).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ccbackup"));
        command.args(line.split_whitespace()).current_dir(self.dir.path()).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("CCBACKUP_HOME", self.path("keys")).env("TMPDIR", self.path("tmp"));
        command
    }

    fn run(&self, line: &str, code: i32) -> (String, String) {
        let output = self.command(line).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(code), "`{line}`\n{out}\n{err}");
        (out, err)
    }

    fn json(&self, line: &str, code: i32) -> Value {
        let (out, err) = self.run(line, code);
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{line}: not one JSON document: {e}\n{out}\n{err}"))
    }

    /// Applies over what is there; gives the run.
    fn overwrite(&self) -> String {
        self.json("restore --apply --overwrite --yes --json", 0)["run"].as_str().unwrap().to_owned()
    }
}

fn everything(folder: &Path) -> Vec<PathBuf> {
    snapshot(folder).into_keys().collect()
}

#[test]
fn what_the_configuration_does_not_have_is_left_to_a_person_with_exit_code_3() {
    let host = Host::new();
    host.configure("other", TAKE);
    let seen = || snapshot(&host.path("backups")).into_iter().chain(snapshot(&host.path("keys"))).collect::<Vec<_>>();
    let before = seen();
    let (out, _) = host.run("restore --apply --dry-run", 3);
    assert_data_eq!(
        out,
        str![[r#"
backup [..] → the living services
component  action  object           detail
other      manual  component other  backup [..] does not have it
notes      manual  component notes  the configuration has no component of this name
nothing was changed (dry run)

"#]]
    );
    let plan = host.json("restore --apply --dry-run --json", 3);
    assert_eq!(plan["dry_run"], true);
    assert_eq!(plan["components"][0]["actions"][0]["kind"], "manual");
    host.run("check", 3);
    assert_eq!(host.json("check --json", 3)["equal"], false);
    host.run("restore --runs", 0);
    assert!(seen() == before, "a dry run, a check and a list touch nothing");
    assert!(fs::read_dir(host.path("tmp")).unwrap().next().is_none(), "nothing is left among temporary files");
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

#[test]
fn a_living_service_is_brought_back_compared_and_put_back() {
    let host = Host::new();
    host.run("check", 0);
    let (out, _) = host.run("restore --apply --dry-run", 0);
    assert_data_eq!(
        out,
        str![[r#"
backup [..] → the living services
component  action  object  detail
notes      equal   output  6 bytes
nothing was changed (dry run)

"#]]
    );
    host.write("changed\n");
    let (out, err) = host.run("check", 3);
    assert!(out.contains("notes      differs") && err.contains("notes: output: "), "{out}{err}");
    for line in ["restore --apply --dry-run", "restore --apply --yes"] {
        let (out, err) = host.run(line, 5);
        assert!(out.contains("notes      conflict  output") && err.contains("--overwrite"), "{out}{err}");
    }
    let plan = host.json("restore --apply --yes --json", 5);
    assert_eq!((&plan["dry_run"], &plan["components"][0]["actions"][0]["kind"]), (&true.into(), &"conflict".into()));
    let (_, err) = host.run("restore --apply --overwrite", 5);
    assert!(err.contains("--yes"), "{err}");
    assert_eq!(host.read(), "changed\n", "nobody said yes");
    assert_eq!(host.json("restore --runs --json", 0), serde_json::json!([]), "nothing was touched");

    let (out, _) = host.run("restore --apply --overwrite --yes", 0);
    assert_data_eq!(
        out,
        str![[r#"
backup [..] → the living services
component  action   object  detail
notes      replace  output  8 bytes are there and differ; the backup has 6
by hand, output: sh -c [..]
component  result   compared  differences
notes      checked         1            0
run [..]: `ccbackup restore --undo [..]` puts back what was there,
`ccbackup restore --confirm [..]` drops it
done in [..] s

"#]]
    );
    assert_eq!(host.read(), "first\n");
    host.run("check", 0);
    let runs = host.json("restore --runs --json", 0);
    let run = runs[0]["id"].as_str().unwrap();
    let (out, _) = host.run("restore --runs", 0);
    assert!(out.contains(run) && out.contains("notes checked"), "{out}");
    host.run(&format!("restore --undo {run}"), 5);
    assert_eq!(host.read(), "first\n", "nobody said yes");
    host.run(&format!("restore --undo {run} --yes"), 0);
    assert_eq!(host.read(), "changed\n");
    let (out, _) = host.run(&format!("restore --undo {run} --yes"), 0);
    assert!(out.contains("nothing was left to do"), "{out}");

    let run = host.overwrite();
    host.run(&format!("restore --confirm {run} --yes"), 0);
    host.run(&format!("restore --undo {run} --yes"), 2);
    assert_eq!(host.read(), "first\n");
    assert_eq!(host.json("restore --apply --json", 0)["run"], Value::Null, "all is equal, so nobody is asked");
}

#[test]
fn what_fails_ends_with_exit_code_1_and_cannot_drive_a_terminal() {
    let host = Host::new();
    host.write("changed\n");
    host.configure("notes", "cat > notes; printf \"\\033[31mred\" >&2; exit 7");
    let (out, err) = host.run("restore --apply --overwrite --yes", 1);
    assert!(out.contains("notes      failed") && err.contains("1 of 1 components are not back"), "{out}{err}");
    assert!(err.contains("red") && !err.contains('\u{1b}'), "{err}");
    host.configure("notes", TAKE);
    let runs = host.json("restore --runs --json", 0);
    assert_eq!(runs[0]["components"][0]["status"], "failed");
    host.run(&format!("restore --undo {} --yes", runs[0]["id"].as_str().unwrap()), 0);
    assert_eq!(host.read(), "changed\n");
    host.configure("notes", TAKE);
    fs::remove_file(host.path("notes")).unwrap();
    host.run("check", 3);
    host.overwrite();
    host.run("check", 0);
}

#[test]
fn a_program_that_was_killed_while_it_applied_leaves_a_run_that_can_be_undone_and_applied_again() {
    let host = Host::new();
    host.write("changed\n");
    host.configure("notes", "echo $$ > pid; cat > notes; touch reached; exec sleep 60");
    let mut tool = host.command("restore --apply --overwrite --yes -q").spawn().unwrap();
    for _ in 0..600 {
        if host.path("reached").exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    tool.kill().unwrap();
    tool.wait().unwrap();
    let child = fs::read_to_string(host.path("pid")).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(child).unwrap(), rustix::process::Signal::KILL).ok();
    assert_eq!(host.read(), "first\n", "it was killed after it had written");

    host.configure("notes", TAKE);
    let runs = host.json("restore --runs --json", 0);
    assert_eq!(runs[0]["components"][0]["status"], "applying");
    let run = runs[0]["id"].as_str().unwrap();
    let (_, err) = host.run("restore --apply --yes", 0);
    assert!(err.contains(run) && err.contains("--undo"), "the next run tells of it: {err}");
    host.run(&format!("restore --undo {run} --yes"), 0);
    assert_eq!(host.read(), "changed\n");
    let again = host.overwrite();
    assert_eq!(host.read(), "first\n");
    host.run(&format!("restore --confirm {again} --yes"), 0);
    let left: Vec<_> = snapshot(&host.path("keys")).into_keys().filter(|path| path.ends_with("scratch")).collect();
    assert!(left.is_empty(), "{left:?}");
}
