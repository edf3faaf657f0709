use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::config::Cipher;
use crate::error::Kind;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("ccbackup").chain(line.split_whitespace()))
}

fn command(line: &str) -> Command {
    parse(line).unwrap_or_else(|e| panic!("{e}")).command
}

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_and_flag_has_help() {
    fn check(command: &clap::Command, path: &str) {
        assert!(command.get_about().is_some(), "{path} has no summary");
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{path} {} has no help", arg.get_id());
        }
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            let leaf = sub.get_subcommands().next().is_none();
            let bare = ["ccbackup key list"].contains(&path.as_str());
            assert!(!leaf || bare || sub.get_after_help().is_some(), "{path} has no example");
            check(sub, &path);
        }
    }
    check(&Cli::command(), "ccbackup");
}

#[test]
fn every_example_is_accepted() {
    fn lines(command: &clap::Command, out: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        out.extend(help.lines().map(|line| line.trim_start_matches(" (umask 077;").trim().to_owned()));
        command.get_subcommands().for_each(|sub| lines(sub, out));
    }
    let mut all = Vec::new();
    lines(&Cli::command(), &mut all);
    let examples: Vec<_> = all.iter().filter(|line| line.starts_with("ccbackup ")).collect();
    assert!(examples.len() > 20, "{examples:?}");
    for example in examples {
        // What follows two spaces is a remark, what follows a pipe or redirection belongs to the shell.
        let line = example.split("  ").next().unwrap_or_default().split([';', '|', '>']).next().unwrap_or_default();
        let words = line.split_whitespace().map(|word| word.trim_matches('\''));
        if let Err(error) = Cli::try_parse_from(words) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn global_flags_go_anywhere() {
    for line in [
        "--json --repo /r --identity a --identity b -q list",
        "list --json --repo /r --identity a --identity b -q",
        "--json list --repo /r -q --identity a --identity b",
    ] {
        let global = parse(line).unwrap().global;
        assert!(global.json && global.quiet, "{line}");
        assert_eq!(global.repo.as_deref(), Some("/r".as_ref()), "{line}");
        assert_eq!(global.identity, [PathBuf::from("a"), PathBuf::from("b")], "{line}");
    }
    assert!(parse("key --json list").unwrap().global.json);
    assert_eq!(parse("list -vv").unwrap().global.verbose, 2);
    assert_eq!(parse("list --threads 4").unwrap().global.threads, Some(4));
}

#[test]
fn the_default_backup_is_the_latest() {
    for line in ["show", "ls", "verify", "verify --all", "restore --target x"] {
        let id = match command(line) {
            Command::Show(args) => args.id,
            Command::Ls(args) => args.id,
            Command::Verify(args) => args.id,
            Command::Restore(args) => args.id,
            other => panic!("{other:?}"),
        };
        assert!(id.is_latest(), "{line}");
    }
    let Command::Diff(diff) = command("diff 2026") else { panic!() };
    assert_eq!((diff.a.as_str(), diff.b.as_str()), ("2026", "latest"));
}

#[test]
fn backups_are_named_by_id_prefix_or_older_folder() {
    for text in ["latest", "20260117-143000", "20260117-143000-2", "2026", "20251118_020000", "backup-20251118"] {
        assert_eq!(text.parse::<BackupRef>().unwrap().as_str(), text);
    }
    for text in ["", "late", "..", "2026/..", "-2", "backup-", "backup-x", "2026\n", &"2".repeat(65)] {
        assert!(text.parse::<BackupRef>().is_err(), "{text:?}");
    }
}

#[test]
fn wrong_values_are_usage_errors() {
    for line in [
        "create --level 0",
        "create --level 20",
        "create --cipher rot13",
        "create --tag novalue",
        "create --tag =x",
        "create --component No",
        "create --exclude [",
        "create --exclude-if-present a/b",
        "create --exclude-if-present ..",
        "create --component a --path b",
        "show ../x",
        "verify 2026 --all",
        "verify --sample 5",
        "verify --sample 200%",
        "restore",
        "restore --target",
        "cat latest",
        "cat latest nopath",
        "cat latest configs/../x",
        "cat latest Configs/x",
        "list --threads 0",
        "list --quiet --verbose",
        "key generate --cipher none",
        "completions cmd.exe",
        "nonsense",
        "find",
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
    assert_eq!(parse("--help").unwrap_err().kind(), ErrorKind::DisplayHelp);
}

#[test]
fn values_are_parsed_once() {
    let Command::Create(create) = command("create --cipher aes-256-gcm --level 19 --tag a=b=c --path x --path y")
    else {
        panic!()
    };
    assert_eq!(create.cipher, Some(Cipher::Aes256Gcm));
    assert_eq!(create.level, Some(19));
    assert_eq!(create.tag, [Tag { key: "a".into(), value: "b=c".into() }]);
    assert_eq!(create.path.len(), 2);
    let Command::Cat(cat) = command("cat latest configs/a/b") else { panic!() };
    assert_eq!((cat.path.component.as_str(), cat.path.path.as_bytes()), ("configs", &b"a/b"[..]));
    let Command::Verify(verify) = command("verify --deep --sample 0.5%") else { panic!() };
    assert_eq!(verify.sample.unwrap().of(1000), 5);
}

#[test]
fn paths_are_bytes() {
    use std::os::unix::ffi::OsStrExt as _;
    let raw = |bytes: &'static [u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
    let args = [raw(b"ccbackup"), raw(b"cat"), raw(b"latest"), raw(b"configs/\xff\n")];
    let Command::Cat(cat) = Cli::try_parse_from(args).unwrap().command else { panic!() };
    assert_eq!(cat.path.path.as_bytes(), b"\xff\n");
    let args = [raw(b"ccbackup"), raw(b"create"), raw(b"--path"), raw(b"\xff")];
    assert!(Cli::try_parse_from(args).is_ok());
}

#[test]
fn contradictions_and_secret_keys_are_refused_without_repeating_them() {
    let check = |line: &str| {
        let Command::Create(create) = command(line) else { panic!() };
        create.check()
    };
    assert!(check("create --encrypt --cipher aes-256-gcm").is_ok());
    assert!(check("create --encrypt --recipient age1abc").is_ok());
    assert_eq!(check("create --encrypt --cipher none").unwrap_err().kind(), Kind::Usage);
    assert!(check("create --recipient age1abc --cipher none").is_err());
    let error = check("create --recipient AGE-SECRET-KEY-1QQQ").unwrap_err();
    assert!(!error.one_line().contains("1QQQ"), "{error}");
}
