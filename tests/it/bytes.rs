//! Paths are bytes: whatever the system accepts as a name works on the command line and in the environment.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::{look, write};

fn bytes(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// A folder whose name is not UTF-8, keys in another one, and a tree with such names below both.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap() };
        write(&host.path(b"tree\xff/plain"), b"plain\n");
        write(&host.path(b"tree\xff/na\xfeme"), b"bytes\n");
        write(&host.path(b"tree\xff/a\\376b"), b"backslash\n");
        host
    }

    fn cwd(&self) -> PathBuf {
        self.dir.path().join(bytes(b"w\xf0rk"))
    }

    fn path(&self, name: &[u8]) -> PathBuf {
        self.cwd().join(bytes(name))
    }

    /// Arguments are cut at spaces.
    fn run(&self, line: &[u8], code: i32) -> (String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ccbackup"));
        command.args(line.split(|&b| b == b' ').map(bytes)).current_dir(self.cwd()).env_clear();
        command.env("CCBACKUP_HOME", self.path(b"keys\xff"));
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(code), "{}\n{out}\n{err}", line.escape_ascii());
        assert!(!err.contains("defect"), "{err}");
        (out, err)
    }

    fn json(&self, line: &[u8], code: i32) -> Value {
        let (out, _) = self.run(line, code);
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("not one JSON document: {e}\n{out}"))
    }

    fn escaped(&self, name: &str) -> String {
        format!("{}/w\\360rk/{name}", self.dir.path().display())
    }
}

#[test]
fn every_path_of_the_command_line_may_be_any_bytes() {
    let host = Host::new();
    let preview = host.json(b"create --json --dry-run --encrypt --path tree\xff --repo repo\xff", 0);
    assert_eq!(preview["repository"], host.escaped("repo\\377"));
    let created = host.json(b"create --json --encrypt --path tree\xff --repo repo\xff", 0);
    assert_eq!(created["components"][0]["entries"], 4);
    let again = host.json(b"create --json --encrypt --path tree\xff --repo repo\xff", 0);
    assert_eq!((&again["kind"], &again["full_because"]), (&"incremental".into(), &Value::Null));
    host.run(b"create --encrypt --path tree\xff --repo repo\xff", 0);
    host.run(b"verify --all --deep --repo repo\xff", 0);

    let restored =
        host.json(b"restore --json --repo repo\xff --target out\xff/\xfe --identity keys\xff/identity.txt", 0);
    assert_eq!(restored["target"], host.escaped("out\\377/\\376"));
    assert_eq!(look(&host.path(b"tree\xff")), look(&host.path(b"out\xff/\xfe/files/tree\xff")));
    let text = host.run(b"restore --repo repo\xff --target again\xff --dry-run", 0).0;
    assert!(text.contains(&format!("→ {}", host.escaped("again\\377"))), "{text}");
}

#[test]
fn cat_takes_a_path_as_it_is_or_as_ls_prints_it() {
    let host = Host::new();
    host.run(b"create --path tree\xff", 0);
    assert_eq!(host.run(b"cat latest files/tree\xff/na\xfeme", 0).0, "bytes\n");
    let listed = host.run(b"ls", 0).0;
    let contents: Vec<_> =
        listed.lines().skip(1).map(|path| host.run(format!("cat latest {path}").as_bytes(), 0).0).collect();
    assert_eq!(contents, ["backslash\n", "bytes\n", "plain\n"], "{listed}");
    // What is there under the very name comes first.
    assert_eq!(host.run(b"cat latest files/tree\xff/a\\376b", 0).0, "backslash\n");
    host.run(b"cat latest files/tree\\377/none", 1);
    let found = host.json(b"find na?me --json", 0);
    assert_eq!(found[0]["path"], "tree\\377/na\\376me");
}

#[test]
fn a_folder_and_a_configuration_of_any_name_work() {
    let host = Host::new();
    write(&host.path(b"data/x"), b"x");
    let init = host.json(b"init --json", 0);
    assert_eq!(init["file"], host.escaped("ccbackup.toml"));
    host.json(b"create --json", 0);
    host.json(b"create --json --full --cipher aes-256-gcm", 0);
    let keys = host.json(b"key list --json", 0);
    assert_eq!(keys[0]["file"], host.escaped("keys\\377/signer"));
    fs::rename(host.path(b"ccbackup.toml"), host.path(b"c\xff.toml")).unwrap();
    host.json(b"--config c\xff.toml create --json", 0);
    fs::write(host.path(b"s\xff.pub"), keys[0]["public"].as_str().unwrap()).unwrap();
    host.run(b"verify --signer s\xff.pub", 0);
}

#[test]
fn what_is_wrong_with_such_a_path_is_said_with_its_name() {
    let host = Host::new();
    let fails = |line: &[u8], code: i32, name: &str| {
        let (_, err) = host.run(line, code);
        assert!(err.contains(name), "{name} is not in {err}");
        let document = host.json(&[line, b" --json"].concat(), code);
        assert!(document["error"].is_object(), "{document}");
    };
    fails(b"--config c\xff.toml create", 1, "c\\377.toml");
    fails(b"--config tree\xff/na\xfeme create", 2, "tree\\377/na\\376me:1");
    fails(b"create --path tree\xff --exclude x\xff*", 2, "x\\377*");
    host.run(b"create --path tree\xff", 0);
    fails(b"ls --identity k\xff", 1, "k\\377");
    fails(b"verify --signer s\xff", 1, "s\\377");
    fails(b"--repo no\xff list", 1, "no\\377");
    fails(b"restore --target tree\xff", 5, "tree\\377");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccbackup"));
    command.arg(OsString::from(bytes(b"v\xff"))).env_clear();
    assert_eq!(command.output().unwrap().status.code(), Some(2));
}
