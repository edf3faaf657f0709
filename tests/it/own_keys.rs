//! Keys and state of the host that backs up are in no backup, wherever they lie.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::write;
use crate::trusted::Program;

/// Everything lies below the folder that is backed up, the keys are made by the first run.
fn run(program: &Program, line: &str) -> (String, String) {
    let mut command = program.command(line);
    command.env("CCBACKUP_HOME", program.path("app/.config/ccbackup"));
    program.check(line, command.output().unwrap(), 0)
}

#[test]
fn keys_and_state_are_left_out_from_the_first_run_on() {
    let program = Program::new();
    write(&program.path("app/.config/ccbackup/ccbackup.toml.bak"), b"x");
    let read = |kind: &str| {
        run(&program, &format!("create {kind} --path app"));
        run(&program, "ls").0.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for kind in ["--encrypt", "--encrypt", "--cipher aes-256-gcm", "--cipher aes-256-gcm", "--encrypt --rehash"] {
        let mut entries = read(kind);
        entries.retain(|e| e.starts_with("files/app/.config"));
        let expected =
            ["files/app/.config", "files/app/.config/ccbackup", "files/app/.config/ccbackup/ccbackup.toml.bak"];
        assert_eq!(entries, expected, "{kind}");
    }
    run(&program, "create --encrypt --path app");
    let (shown, _) = run(&program, "show latest");
    for name in ["identity.txt", "signer", "aes.key"] {
        assert!(shown.contains(&format!("{name}: a key of this host")), "{name}: {shown}");
    }
    assert!(shown.contains("state: own data of the backup"), "{shown}");
}

#[test]
fn keys_that_are_named_or_linked_are_left_out_and_folders_are_not() {
    let program = Program::new();
    run(&program, "key generate");
    fs::rename(program.path("app/.config/ccbackup/identity.txt"), program.path("app/named")).unwrap();
    fs::hard_link(program.path("app/named"), program.path("app/second name")).unwrap();
    symlink("named", program.path("app/link")).unwrap();
    fs::rename(program.path("app/.config/ccbackup/signer"), program.path("app/real signer")).unwrap();
    symlink("../../real signer", program.path("app/.config/ccbackup/signer")).unwrap();
    // What is named through a link is the file that it leads to; a folder that is named is a mistake and no key.
    run(&program, "--identity app/link create --cipher none --path app");
    let (shown, _) = run(&program, "show latest");
    assert!(shown.contains("app/named: a key of this host"), "{shown}");
    let (entries, _) = run(&program, "ls");
    for absent in ["app/named", "second name", "real signer"] {
        assert!(!entries.contains(absent), "{absent}: {entries}");
    }
    assert!(entries.contains("files/app/link") && entries.contains("files/app/data/b"), "{entries}");
}
