//! Somebody who can write to the repository, but has no signing key, adds backups of his own: they are shown, and count
//! for nothing.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use ccbackup::model::{BackupId, Digest};
use ccbackup::repo::signing::Signer;
use serde_json::{Value, json};

use crate::support::write;

/// The program with keys, a tree and a repository in a folder of its own.
pub(crate) struct Program {
    pub(crate) dir: tempfile::TempDir,
}

impl Program {
    pub(crate) fn new() -> Self {
        let program = Self { dir: tempfile::tempdir().unwrap() };
        write(&program.path("app/a.yaml"), b"a: 1\n");
        write(&program.path("app/data/b"), b"hello\n");
        program
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ccbackup"));
        command.args(line.split_whitespace()).current_dir(self.dir.path()).env_clear();
        command.env("CCBACKUP_HOME", self.path("keys"));
        command
    }

    /// Both streams, after the exit code was checked.
    pub(crate) fn run(&self, line: &str, code: i32) -> (String, String) {
        self.check(line, self.command(line).output().unwrap(), code)
    }

    pub(crate) fn check(&self, line: &str, output: Output, code: i32) -> (String, String) {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(code), "`{line}`\n{out}\n{err}");
        (out, err)
    }

    pub(crate) fn json(&self, line: &str, code: i32) -> Value {
        serde_json::from_str(&self.run(&format!("{line} --json"), code).0).unwrap()
    }

    /// A backup of the tree; gives its id.
    pub(crate) fn create(&self) -> String {
        self.json("create --cipher none --path app", 0)["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn manifest(&self, id: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path("backups").join(id).join("manifest.json")).unwrap()).unwrap()
    }

    /// Puts a backup named `id` beside the others: a copy of the newest with another manifest, whose digests fit.
    fn plant(&self, id: &str, signer: Option<&Signer>, change: impl FnOnce(&mut Value)) {
        let from = self.path("backups/latest").canonicalize().unwrap();
        let to = self.path("backups").join(id);
        fs::create_dir(&to).unwrap();
        let mut manifest: Value = serde_json::from_slice(&fs::read(from.join("manifest.json")).unwrap()).unwrap();
        manifest["id"] = json!(id);
        change(&mut manifest);
        let mut sums = String::new();
        let listed = fs::read_to_string(from.join("SHA256SUMS")).unwrap();
        for name in listed.lines().map(|line| &line[66..]) {
            let bytes =
                if name == "manifest.json" { manifest.to_string().into() } else { fs::read(from.join(name)).unwrap() };
            write(&to.join(name), &bytes);
            sums.push_str(&format!("{}  {name}\n", Digest::of(&bytes)));
        }
        write(&to.join("SHA256SUMS"), sums.as_bytes());
        match signer {
            Some(signer) => write(&to.join("SHA256SUMS.sig"), signer.sign(sums.as_bytes()).unwrap().as_bytes()),
            // The signature of another backup is better than none.
            None => drop(fs::copy(from.join("SHA256SUMS.sig"), to.join("SHA256SUMS.sig")).unwrap()),
        }
    }

    fn stranger(&self) -> Signer {
        Signer::generate(&self.path("stranger")).unwrap()
    }

    fn own_signer(&self) -> Signer {
        Signer::load(&self.path("keys/signer")).unwrap()
    }
}

const PLANTED: &str = "20990101-000000";

#[test]
fn a_planted_backup_counts_for_nothing() {
    type Change = fn(&mut Value);
    let cases: [(&str, bool, Change); 7] = [
        ("the largest number", true, |m| m["sequence"] = json!(1_u64 << 60)),
        ("the largest number, not signed", false, |m| m["sequence"] = json!(1_u64 << 60)),
        ("an impossible number", true, |m| m["sequence"] = json!(u64::MAX)),
        ("the next number", true, |m| m["sequence"] = json!(3)),
        ("another host", true, |m| {
            m["sequence"] = json!(1000);
            m["host"] = json!("elsewhere");
            m["host_id"] = json!("SHA256:somebody");
        }),
        ("a newer format", true, |m| m["version"] = json!(7)),
        ("no manifest at all", true, |m| *m = json!([])),
    ];
    for (about, signed, change) in cases {
        let program = Program::new();
        program.create();
        program.create();
        let stranger = program.stranger();
        program.plant(PLANTED, signed.then_some(&stranger), change);
        write(&program.path("app/new"), b"new");
        let (out, err) = program.run("create --cipher none --path app --json", 0);
        assert!(err.contains(PLANTED) && err.contains("does not count"), "{about}: {err}");
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["kind"], "incremental", "{about}: {report}");
        let id = report["id"].as_str().unwrap();
        let sequence = program.manifest(id)["sequence"].as_u64().unwrap();
        assert_eq!(sequence, if about == "the next number" { 4 } else { 3 }, "{about}");

        // Everybody takes the real one for the newest, and says what claims to be newer still.
        let (_, err) = program.run("restore --target out", 0);
        assert_eq!(err.contains(PLANTED), about != "the next number", "{about}: {err}");
        assert_eq!(fs::read(program.path("out/files/app/new")).unwrap(), b"new", "{about}");
        assert_eq!(program.json("show", 0)["manifest"]["id"], id, "{about}");
        let verified = program.json("verify", if about == "the next number" { 0 } else { 4 });
        assert_eq!(verified["id"], id, "{about}");
        let verified = program.json("verify --all", 4);
        let findings = verified["findings"].as_array().unwrap();
        assert!(!findings.is_empty() && findings.iter().all(|f| f["backup"] == PLANTED), "{about}: {verified:#}");
        let unreadable = matches!(about, "an impossible number" | "no manifest at all");
        let code = if unreadable { 4 } else { i32::from(about == "a newer format") };
        let (out, err) = program.run("list --json", code);
        let listed: Vec<Value> = serde_json::from_str(&out).unwrap();
        assert_eq!(listed.len(), 4, "{about}");
        assert!(listed.iter().all(|b| b["trusted"] == (b["id"] != PLANTED)), "{about}: {listed:#?}");
        assert!(err.contains("1 of 4 backups"), "{about}: {err}");
        let (out, _) = program.run("find new", if signed { 0 } else { 4 });
        assert!(out.contains("files/app/new"), "{about}: {out}");

        // And all is well without it.
        fs::remove_dir_all(program.path("backups").join(PLANTED)).unwrap();
        assert_eq!(program.json("verify --all --deep", 0)["notes"], json!([]), "{about}");
    }
}

#[test]
fn an_old_backup_under_a_new_name_is_not_the_newest() {
    let program = Program::new();
    let first = program.create();
    let from = program.path("backups").join(&first);
    let copied = Command::new("cp").arg("-a").arg(from).arg(program.path("backups").join(PLANTED)).status().unwrap();
    assert!(copied.success());
    let second = program.create();
    assert_eq!(program.manifest(&second)["parent"]["id"], first);
    assert_eq!(program.json("show", 0)["manifest"]["id"], second);
}

#[test]
fn a_writer_gives_out_no_number_that_readers_refuse() {
    let program = Program::new();
    let first = program.create();
    let id = format!("{}-2", &first[..15]);
    program.plant(&id, Some(&program.own_signer()), |m| m["sequence"] = json!(1_u64 << 60));
    let (_, err) = program.run("create --cipher none --path app", 1);
    assert!(err.contains("1152921504606846976") && err.contains("--repo"), "{err}");
    assert_eq!(program.json("list", 0).as_array().unwrap().len(), 2);
}

#[test]
fn a_newer_format_of_somebody_trusted_is_obeyed_by_every_verb() {
    let program = Program::new();
    let first = program.create();
    program.plant(PLANTED, Some(&program.own_signer()), |m| *m = json!({"format": "ccbackup", "version": 2, "x": {}}));
    for line in [
        "create --cipher none --path app",
        "restore --target out",
        "show",
        "ls",
        "cat latest files/app/a.yaml",
        "list",
        "find a.yaml",
    ] {
        let (_, err) = program.run(line, 1);
        assert!(err.contains("version 2"), "{line}: {err}");
    }
    program.run(&format!("diff {first} latest"), 1);
    for line in ["verify", "verify --all", "verify --deep", "verify --all --deep"] {
        let report = program.json(line, 1);
        let findings = report["findings"].as_array().unwrap();
        assert!(findings.len() == 1 && findings[0]["kind"] == "newer-format", "{line}: {report:#}");
    }
    assert!(!program.path("out").exists());
    // The others are as good as ever, and damage comes before the lack of a newer program.
    program.run(&format!("verify {first}"), 0);
    program.run(&format!("restore {first} --target out"), 0);
    fs::remove_file(program.path("backups").join(&first).join("README.txt")).unwrap();
    program.run("verify --all", 4);
}

#[test]
fn what_this_host_made_is_not_passed_over_and_others_are_told_of_it() {
    let program = Program::new();
    let first = program.create();
    let second = program.create();
    let manifest = program.path("backups").join(&second).join("manifest.json");
    let good = fs::read(&manifest).unwrap();
    write(&manifest, &[&good[..], b" "].concat());
    let (_, err) = program.run("restore --target out", 4);
    assert!(err.contains(&second), "{err}");
    assert!(!program.path("out").exists());
    program.run("verify", 4);
    // A host that did not make it goes back behind it, and says so.
    fs::remove_dir_all(program.path("keys/state")).unwrap();
    let (_, err) = program.run("restore --target out", 0);
    assert!(err.contains(&second) && err.contains("does not count"), "{err}");
    assert_eq!(program.json("verify", 4)["id"], first);
    let report = program.json("create --cipher none --path app", 0);
    assert_eq!(report["kind"], "full");
    assert!(report["full_because"].as_str().unwrap().contains("manifest.json does not match"), "{report}");
    assert_eq!(program.manifest(report["id"].as_str().unwrap())["sequence"], 3, "its number is not given out again");

    // One that is gone is told of too.
    write(&manifest, &good);
    fs::remove_dir_all(program.path("backups").join(report["id"].as_str().unwrap())).unwrap();
    let (_, err) = program.run("show", 0);
    assert!(err.contains("is not in the repository"), "{err}");
}

#[test]
fn without_a_known_signer_a_list_claims_nothing() {
    let program = Program::new();
    program.create();
    let elsewhere = program.command("list --json").env("CCBACKUP_HOME", program.path("elsewhere")).output().unwrap();
    let (out, err) = program.check("list", elsewhere, 0);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()[0]["trusted"], Value::Null);
    assert!(!err.contains("trusted"), "{err}");
}

#[test]
fn a_host_goes_on_beside_another_that_it_does_not_trust() {
    let program = Program::new();
    program.create();
    let line = "create --cipher none --path app --json";
    let as_other = |line: &str| program.command(line).env("CCBACKUP_HOME", program.path("other")).output().unwrap();
    program.check("another host", as_other(line), 5);
    let (out, _) = program.check("it adopts", as_other(&format!("{line} --adopt")), 0);
    let adopted: Value = serde_json::from_str(&out).unwrap();
    let adopted = adopted["id"].as_str().unwrap();
    assert_eq!(program.manifest(adopted)["sequence"], 2);
    program.check("it goes on", as_other(line), 0);
    // Whoever has the key of neither could have put it there: it does not stop the first host, nor share a number.
    let (out, err) = program.run(line, 0);
    assert!(err.contains(adopted), "{err}");
    let own: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(program.manifest(own["id"].as_str().unwrap())["sequence"], 4);
    assert!(program.dir.path().join("backups").join(adopted.parse::<BackupId>().unwrap().as_str()).exists());
}
