//! The frame around every program: prepares the process, parses the command line, runs, prints errors, gives the code.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

use super::text::shown_lines;
use super::{Context, Environment, Global, StopFlag, Terminal, report};
use crate::error::{Error, Kind, Result};

/// What a shell shows for a program that nobody reads any more: 128 + SIGPIPE.
const CODE_OUT_IS_GONE: u8 = 141;
/// More open files than this are never needed, and a huge limit slows child programs that close them all.
const MAX_OPEN_FILES: u64 = 1 << 20;

/// A command line with the global flags.
pub trait Program: clap::Parser {
    /// The global flags as parsed.
    fn global(&self) -> &Global;
}

/// Runs a program on the arguments and the environment of this process.
pub fn run<P: Program>(go: impl FnOnce(P, &Context) -> Result<u8>) -> ExitCode {
    install_panic_message();
    // Everything that is written is for the owner alone, unless a restore sets a file's own mode.
    umask(Mode::RWXG | Mode::RWXO);
    raise_open_files();
    let environment = Environment::of_process();
    let terminal = Terminal::of_process(&environment);
    let arguments: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(match StopFlag::install() {
        Ok(stop) => run_in(&arguments, environment, &terminal, stop, go),
        Err(error) => report(&terminal, &error, asks_for_json(&arguments)),
    })
}

/// Runs a program on given arguments, the program's name first, and gives the exit code.
pub fn run_in<P: Program>(
    arguments: &[OsString],
    environment: Environment,
    terminal: &Terminal,
    stop: StopFlag,
    go: impl FnOnce(P, &Context) -> Result<u8>,
) -> u8 {
    let program = match P::try_parse_from(arguments) {
        Ok(program) => program,
        Err(error) => return answer(terminal, &error, asks_for_json(arguments)),
    };
    let context = Context::new(program.global().clone(), environment, terminal.clone(), stop);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| go(program, &context)));
    context.monitor.finish();
    match outcome {
        Ok(result) => conclude(terminal, result, context.json()),
        Err(_) if context.json() => report(terminal, &defect(), true),
        // The message was printed where it happened.
        Err(_) => defect().kind().exit_code(),
    }
}

/// Whether `--json` stands among arguments that could not be parsed.
fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments.iter().skip(1).take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

/// Prints help, version, or what is wrong with the command line.
fn answer(terminal: &Terminal, error: &clap::Error, json: bool) -> u8 {
    let text = error.render();
    if !error.use_stderr() {
        let text = if terminal.traits().out_color { text.ansi().to_string() } else { text.to_string() };
        return conclude(terminal, terminal.print_bytes(text.as_bytes()).map(|()| 0), false);
    }
    let text = text.to_string();
    if json {
        let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
        let message = message.strip_prefix("error: ").unwrap_or(message).split_whitespace();
        let usage = rest.lines().find(|line| line.starts_with("Usage:")).unwrap_or("see --help");
        return report(terminal, &Error::usage(message.collect::<Vec<_>>().join(" ")).hint(usage), true);
    }
    let text = shown_lines(text.trim_end());
    match text.strip_prefix("error: ") {
        Some(rest) if terminal.traits().color => terminal.say(&format!("\x1b[1;31merror:\x1b[0m {rest}")),
        _ => terminal.say(&text),
    }
    Kind::Usage.exit_code()
}

/// The exit code of a result, once all that was printed has reached its reader.
fn conclude(terminal: &Terminal, result: Result<u8>, json: bool) -> u8 {
    let flushed = terminal.flush();
    let (code, error) = match (result, flushed) {
        (Ok(code), Ok(())) => return code,
        // A code that says more than done is not lost because nobody read the text.
        (Ok(code), Err(error)) => ((code != 0).then_some(code), error),
        (Err(error), _) => (None, error),
    };
    if terminal.out_is_gone() && is_broken_pipe(&error) {
        return code.unwrap_or(CODE_OUT_IS_GONE);
    }
    let reported = report(terminal, &error, json);
    code.unwrap_or(reported)
}

fn is_broken_pipe(error: &Error) -> bool {
    let broken = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    error.causes().any(|cause| cause.downcast_ref().is_some_and(broken))
}

fn defect() -> Error {
    Error::failed("this is a defect in ccbackup; the run was stopped")
        .hint("what was published before is complete; please report the message on stderr")
}

/// Panics are printed as what they are, at once and straight to stderr: the terminal may be held by who panics.
fn install_panic_message() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        let text = format!(
            "error: this is a defect in ccbackup: {}{place}\n",
            shown_lines(info.payload_as_str().unwrap_or("no message"))
        );
        let trace = std::backtrace::Backtrace::capture();
        let mut err = io::stderr().lock();
        drop(err.write_all(text.as_bytes()));
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            drop(writeln!(err, "{trace}"));
        } else {
            drop(err.write_all(b"hint: please report this; RUST_BACKTRACE=1 shows where it came from\n"));
        }
    }));
}

fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(MAX_OPEN_FILES).min(MAX_OPEN_FILES);
    if current.is_some_and(|current| current < wanted) {
        // The old limit serves as well, only with fewer files at once.
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).ok();
    }
}

#[cfg(test)]
mod tests;
