use std::io::Write;

use super::super::Captured;
use super::super::ccbackup::args::Cli;
use super::*;

fn run_line(line: &str, go: impl FnOnce(Cli, &Context) -> Result<u8>) -> (u8, Captured, Captured) {
    let (terminal, out, err) = Terminal::captured();
    (run_on(&terminal, line, go), out, err)
}

fn run_on(terminal: &Terminal, line: &str, go: impl FnOnce(Cli, &Context) -> Result<u8>) -> u8 {
    let arguments: Vec<OsString> = std::iter::once("ccbackup").chain(line.split(' ')).map(OsString::from).collect();
    run_in(&arguments, Environment::default(), terminal, StopFlag::default(), go)
}

#[test]
fn the_code_of_the_verb_is_the_code_of_the_program() {
    for code in [0, 3, 4] {
        assert_eq!(run_line("list", |_, _| Ok(code)).0, code);
    }
    assert_eq!(run_line("list", |_, _| Err(Error::new(Kind::Locked, "x"))).0, 5);
    assert_eq!(run_line("list", |_, _| Err(Error::new(Kind::Interrupted(2), "x"))).0, 130);
}

#[test]
fn a_wrong_command_line_is_code_2_on_stderr() {
    let (code, out, err) = run_line("list --nonsense", |_, _| panic!("must not run"));
    assert_eq!((code, out.text().as_str()), (2, ""));
    assert!(err.text().starts_with("error: unexpected argument '--nonsense' found\n"), "{}", err.text());
    let (_, _, err) = run_line("list --non\x1b[2J", |_, _| panic!("must not run"));
    assert!(!err.text().contains('\x1b'), "{}", err.text());
}

#[test]
fn a_wrong_command_line_of_a_json_run_is_a_document() {
    let (code, out, err) = run_line("restore --json", |_, _| panic!("must not run"));
    assert_eq!((code, err.text().as_str()), (2, ""));
    let document: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
    assert_eq!(document["error"]["kind"], "usage");
    assert!(document["error"]["message"].as_str().unwrap().contains("--target"), "{document}");
    assert!(document["error"]["hint"].as_str().unwrap().starts_with("Usage: ccbackup"), "{document}");
}

#[test]
fn help_and_version_go_to_stdout() {
    for line in ["--help", "help", "create --help", "--version", "-V", "key --help"] {
        let (code, out, err) = run_line(line, |_, _| panic!("must not run"));
        assert_eq!((code, err.text().as_str()), (0, ""), "{line}");
        assert!(out.text().contains("ccbackup"), "{line}");
    }
}

#[test]
fn a_panic_is_code_1() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let plain = run_line("list", |_, _| panic!("oops"));
    let json = run_line("list --json", |_, _| panic!("oops"));
    panic::set_hook(hook);
    assert_eq!((plain.0, json.0), (1, 1));
    assert!(json.1.text().contains("this is a defect in ccbackup"));
}

struct Failing(io::ErrorKind);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failing(kind: io::ErrorKind) -> (Terminal, Captured) {
    let err = Captured::default();
    (Terminal::over(Box::new(Failing(kind)), Box::new(err.clone())), err)
}

#[test]
fn a_reader_that_went_away_ends_the_run_quietly() {
    let (terminal, err) = failing(io::ErrorKind::BrokenPipe);
    assert_eq!(run_on(&terminal, "list", |_, context| context.terminal.print("x").map(|()| 0)), 141);
    assert_eq!(err.text(), "");
}

#[test]
fn a_broken_pipe_of_something_else_is_an_error() {
    let (terminal, _, err) = Terminal::captured();
    let broken = |_, _: &Context| Err(Error::failed("x").because(io::Error::from(io::ErrorKind::BrokenPipe)));
    assert_eq!(run_on(&terminal, "list", broken), 1);
    assert!(err.text().starts_with("error: x\n"), "{}", err.text());
}

#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let (terminal, err) = failing(io::ErrorKind::StorageFull);
    assert_eq!(run_on(&terminal, "list", |_, context| context.terminal.print("x").map(|()| 0)), 1);
    assert!(err.text().contains("cannot write to standard output"), "{}", err.text());
    let (terminal, _) = failing(io::ErrorKind::StorageFull);
    assert_eq!(run_on(&terminal, "--help", |_, _| panic!("must not run")), 1);
}

#[test]
fn what_was_buffered_reaches_its_reader_or_is_an_error() {
    let late = |kind| {
        let err = Captured::default();
        let out = io::BufWriter::new(Failing(kind));
        (Terminal::over(Box::new(out), Box::new(err.clone())), err)
    };
    let print = |code| move |_, context: &Context| context.terminal.print("x").map(|()| code);
    let (terminal, err) = late(io::ErrorKind::StorageFull);
    assert_eq!(run_on(&terminal, "list", print(0)), 1);
    assert!(err.text().contains("cannot write to standard output"));
    let (terminal, err) = late(io::ErrorKind::BrokenPipe);
    assert_eq!(run_on(&terminal, "list", print(4)), 4);
    assert_eq!(err.text(), "");
}

#[test]
fn only_flags_before_the_end_of_flags_ask_for_json() {
    let asks = |line: &str| asks_for_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
    assert!(asks("ccbackup list --json"));
    assert!(!asks("ccbackup find -- --json"));
}
