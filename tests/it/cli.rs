//! The command line as people and scripts meet it: text, JSON documents, exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use snapbox::{assert_data_eq, str};

/// A folder with a small tree; every command gets an empty environment but for the keys' place.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(host.path("app/conf")).unwrap();
        fs::write(host.path("app/conf/a.yaml"), "a: 1\n").unwrap();
        fs::write(host.path("app/b.txt"), "hello\n").unwrap();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ccbackup"));
        command.args(line.split_whitespace()).current_dir(self.dir.path()).env_clear();
        command.env("CCBACKUP_HOME", self.path("keys"));
        command
    }

    fn run(&self, line: &str, code: i32) -> (String, String) {
        let output = self.command(line).output().unwrap();
        check(line, &output, code);
        (text(&output.stdout), text(&output.stderr))
    }

    fn json(&self, line: &str, code: i32) -> Value {
        let (out, err) = self.run(line, code);
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{line}: not one JSON document: {e}\n{out}\n{err}"))
    }

    fn archive(&self) -> PathBuf {
        self.path("backups/latest").canonicalize().unwrap().join("files.tar.zst.age")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn check(line: &str, output: &Output, code: i32) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "`{line}`\n{out}\n{err}");
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_main_job_reads_well() {
    let host = Host::new();
    let (out, err) = host.run("create --encrypt --path app", 0);
    assert_data_eq!(
        out,
        str![[r#"
backup [..] (full, encrypted) in [..]/backups
component  entries  new  read   stored  problems
files            4    4  11 B  [..] KiB         0
stored [..] KiB in [..] s

"#]]
    );
    assert_data_eq!(
        err,
        str![[r#"
warning: a new identity was made in [..]/keys/identity.txt
  It is the only key that opens these backups. Copy it to another place now, off this machine:
    ccbackup key export --secret
  Without a copy, losing this machine means losing the backups too.

"#]]
    );
    let (out, _) = host.run("verify", 0);
    assert_data_eq!(
        out,
        str![[r#"
no damage: 1 backup, 2 archive and index files, [..] KiB; signed by SHA256:[..]

"#]]
    );
    let (out, _) = host.run("ls", 0);
    assert_eq!(out, "files/app\nfiles/app/b.txt\nfiles/app/conf\nfiles/app/conf/a.yaml\n");
    assert_eq!(host.run("cat latest files/app/b.txt", 0).0, "hello\n");
    let (out, _) = host.run("restore --target out", 0);
    assert_data_eq!(
        out,
        str![[r#"
backup [..] → [..]/out
4 entries: wrote 4 (11 B), 0 were there already
done in [..] s

"#]]
    );
    assert_eq!(fs::read(host.path("out/files/app/b.txt")).unwrap(), b"hello\n");
    flip(&host.archive());
    let (out, _) = host.run("verify", 4);
    assert_data_eq!(
        out,
        str![[r#"
DAMAGE  changed: [..]/files.tar.zst.age
        in backup [..], component files
        its SHA-256 is [..], signed was [..]
  next: bring [..]
1 finding in 1 backup, 2 archive and index files, [..] KiB

"#]]
    );
}

#[test]
fn json_documents_have_the_promised_keys() {
    let host = Host::new();
    let created = host.json("create --json --encrypt --path app", 0);
    let expected = ["id", "kind", "parent", "components", "bytes_stored", "duration_seconds", "problems"];
    assert!(expected.iter().all(|k| keys(&created).contains(k)), "{created}");
    let expected = "name kind entries new_entries bytes_read bytes_stored captured_at left_out problems"
        .split(' ')
        .collect::<Vec<_>>();
    assert_eq!(keys(&created["components"][0]), expected);
    assert_eq!(created["kind"], "full");
    let verified = host.json("verify --json --deep", 0);
    let expected = ["id", "ok", "depth", "archives", "bytes", "entries", "findings"];
    assert!(expected.iter().all(|k| keys(&verified).contains(k)), "{verified}");
    assert_eq!((&verified["ok"], &verified["depth"], &verified["entries"]), (&true.into(), &"deep".into(), &4.into()));
    let listed = host.json("--json list", 0);
    let expected = "id kind parent encrypted components failed unexpected verdict bytes_stored created_at verified_at problems trusted";
    assert_eq!(keys(&listed[0]), expected.split(' ').collect::<Vec<_>>());
    assert!(listed[0]["verified_at"].is_string());
    flip(&host.archive());
    let damaged = host.json("verify --json", 4);
    let expected = ["kind", "backup", "component", "path", "detail", "next"];
    assert_eq!(keys(&damaged["findings"][0]), expected);
    assert_eq!(damaged["ok"], false);
    let failed = host.json("restore --json --target out nonsense", 2);
    assert_eq!(keys(&failed["error"]), ["kind", "message", "causes", "hint"]);
    let failed = host.json("show 1999 --json", 1);
    assert_eq!(failed["error"]["kind"], "not-found");
}

#[test]
fn every_kind_of_end_has_its_exit_code() {
    let host = Host::new();
    host.run("list", 1);
    host.run("create --frobnicate", 2);
    host.run("create --encrypt --path missing", 1);
    host.run("create --encrypt --path app", 0);
    fs::create_dir(host.path("full")).unwrap();
    fs::write(host.path("full/x"), "x").unwrap();
    host.run("restore --target full", 5);
    host.run("restore --target full --overwrite", 0);
    assert_eq!(fs::read(host.path("full/x")).unwrap(), b"x");
    host.run("restore --target full --overwrite --delete", 0);
    fs::write(host.path("full/files/extra"), "x").unwrap();
    host.run("restore --target full --overwrite --delete", 5);
    assert!(host.path("full/files/extra").exists(), "nothing is removed without a yes");
    host.run("restore --target full --overwrite --delete --yes", 0);
    assert!(!host.path("full/files/extra").exists());
    let stranger = Command::new(env!("CARGO_BIN_EXE_ccbackup"))
        .args(["--repo", "backups", "verify"])
        .current_dir(host.dir.path())
        .env_clear()
        .env("CCBACKUP_HOME", host.path("stranger"))
        .output()
        .unwrap();
    check("verify without a trusted signer", &stranger, 5);
    let file = fs::File::open(host.path("backups/.lock")).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    host.run("create --encrypt --path app", 5);
}

#[test]
fn a_dry_run_touches_nothing() {
    let host = Host::new();
    host.run("create --encrypt --path app --dry-run", 0);
    host.run("init --dry-run --dir app", 0);
    let names: Vec<_> = fs::read_dir(host.dir.path()).unwrap().map(|i| i.unwrap().file_name()).collect();
    assert_eq!(names, ["app"], "no keys, no repository, no configuration");
    host.run("create --encrypt --path app", 0);
    host.run("restore --target out --dry-run", 0);
    assert!(!host.path("out").exists());
}

#[test]
fn an_identity_file_alone_opens_and_trusts_a_repository() {
    let host = Host::new();
    host.run("create --encrypt --path app", 0);
    let (secret, _) = host.run("key export --secret", 0);
    fs::write(host.path("from-the-safe.txt"), secret).unwrap();
    let restore = |identity: &str| {
        Command::new(env!("CARGO_BIN_EXE_ccbackup"))
            .args(["--repo", "backups", "restore", "--target", "out", "--identity", identity])
            .current_dir(host.dir.path())
            .env_clear()
            .env("CCBACKUP_HOME", host.path("another-machine"))
            .output()
            .unwrap()
    };
    check("restore on another machine", &restore("from-the-safe.txt"), 0);
    assert_eq!(fs::read(host.path("out/files/app/b.txt")).unwrap(), b"hello\n");
    check("restore with a missing key", &restore("nowhere.txt"), 1);
}

#[test]
fn names_cannot_play_tricks_on_a_terminal_and_raw_text_is_kept_elsewhere() {
    let host = Host::new();
    fs::write(host.path("app/\u{1b}[31mred\u{202e}.txt"), "x").unwrap();
    host.run("create --encrypt --path app", 0);
    let (out, _) = host.run("ls", 0);
    assert!(out.contains("files/app/\\033[31mred\\342\\200\\256.txt"), "{out}");
}

#[test]
fn init_writes_a_configuration_that_create_uses() {
    let host = Host::new();
    fs::write(host.path("app/docker-compose.yaml"), "services: {}\n").unwrap();
    fs::write(host.path("app/.env"), "A=1\n").unwrap();
    host.run("init --dir app", 0);
    host.run("init --dir app", 5);
    let config = fs::read_to_string(host.path("app/ccbackup.toml")).unwrap();
    assert!(config.contains("kind = \"files\"") && config.contains("age1"), "{config}");
    let created = host.json("--config app/ccbackup.toml create --json", 0);
    assert_eq!(created["components"][0]["name"], "configs");
    assert!(host.path("app/backups/latest").exists());
    fs::write(host.path("app/ccbackup.toml"), "[repositry]\nlocation = \"x\"\n").unwrap();
    let (_, err) = host.run("--config app/ccbackup.toml create", 2);
    assert!(err.contains("repositry") && err.contains("repository"), "{err}");
}

#[test]
fn the_demo_works_and_cleans_up() {
    let host = Host::new();
    let scratch = host.path("tmp");
    fs::create_dir(&scratch).unwrap();
    let output = host.command("demo --json").env("TMPDIR", &scratch).output().unwrap();
    check("demo", &output, 0);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes: Vec<_> =
        document["steps"].as_array().unwrap().iter().map(|s| s["exit_code"].as_u64().unwrap()).collect();
    assert!(codes.contains(&4), "the flipped bit must be found: {document}");
    assert_eq!(document["files_compared"], 11);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "the scratch folder is removed");
    let output = host.command("demo").env("TMPDIR", &scratch).output().unwrap();
    check("demo", &output, 0);
    assert!(text(&output.stdout).contains("$ ccbackup verify --all"));
}

#[test]
fn the_programs_that_are_not_built_yet_say_so() {
    for program in [env!("CARGO_BIN_EXE_ccrecover"), env!("CARGO_BIN_EXE_ccops")] {
        let help = Command::new(program).arg("--help").output().unwrap();
        assert!(text(&help.stdout).contains("not built yet"), "{program}");
        let verb = if program.ends_with("ccops") { "doctor" } else { "plan" };
        assert_eq!(Command::new(program).arg(verb).output().unwrap().status.code(), Some(1), "{program} {verb}");
    }
}

#[test]
fn completions_and_man_pages_are_made() {
    let host = Host::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(host.run(&format!("completions {shell}"), 0).0.contains("restore"), "{shell}");
    }
    assert!(host.run("man", 0).0.contains(".TH ccbackup"));
    host.run("man --out man1", 0);
    assert!(fs::read_to_string(host.path("man1/ccbackup-restore.1")).unwrap().contains("overwrite"));
}

#[test]
fn waiving_the_signature_works_where_no_signer_is_known() {
    let host = Host::new();
    host.run("create --cipher none --path app", 0);
    let elsewhere = |line: &str| host.command(line).env("CCBACKUP_HOME", host.path("elsewhere")).output().unwrap();
    check("without a signer", &elsewhere("restore --target out"), 5);
    check("waived", &elsewhere("--allow-unsigned restore --target out"), 0);
    assert_eq!(fs::read(host.path("out/files/app/b.txt")).unwrap(), b"hello\n");
}

#[test]
fn a_wrong_key_is_noticed_before_anything_is_written() {
    let host = Host::new();
    host.run("create --encrypt --path app", 0);
    let (_, _) = host.run("restore --target out --identity keys/signer", 1);
    assert!(!host.path("out").exists());
}
