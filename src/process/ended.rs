//! How a child ended, and what that means.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use crate::error::{Error, Kind, Result};

/// Characters of standard error that an error repeats; the last ones.
const SHOWN: usize = 2000;

/// Why a child was stopped before it ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Its time was over.
    Timeout(Duration),
    /// It gave no sign of life for so long.
    Silence(Duration),
    /// Nobody wants it any more.
    Unwanted,
}

/// How it ended, as the watching thread saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// None when it could not be ended.
    pub(super) status: Option<ExitStatus>,
    pub(super) cut: Option<Cut>,
    /// Something that the child started went on and kept its standard output open.
    pub(super) held_open: bool,
}

/// What a program wrote that ended well.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// The last 8 KiB of its standard error, without secrets.
    pub stderr: String,
}

impl Output {
    /// Its standard output as text, without the line end at the end; none when it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.stdout).ok().map(|text| text.trim_end_matches(['\n', '\r']))
    }
}

/// It may hold secrets.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output {{ {} bytes }}", self.stdout.len())
    }
}

/// A child that ended by itself, for whoever knows better than the exit status what that means.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The exit code, when no signal ended it.
    pub code: Option<i32>,
    /// The number of the signal that ended it.
    pub signal: Option<i32>,
    /// The last 8 KiB of its standard error, without secrets.
    pub stderr: &'a str,
}

impl Ended<'_> {
    /// Whether it ended with exit code 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

/// Looks at an end before the exit status is judged; an error of it stands.
pub(super) type Judge = dyn Fn(&Ended<'_>) -> Result<()> + Send + Sync;

/// The verdict about the child `name`.
pub(super) fn verdict(name: &str, end: End, stderr: &str, judge: Option<&Judge>) -> Result<()> {
    let stopped = |why: String| Err(said(Error::new(Kind::TimedOut, format!("{name} {why} and was stopped")), stderr));
    match end.cut {
        Some(Cut::Timeout(limit)) => return stopped(format!("was not done after {}", Span(limit))),
        Some(Cut::Silence(limit)) => return stopped(format!("gave no sign of life for {}", Span(limit))),
        Some(Cut::Unwanted) => return Err(Error::failed(format!("{name} was stopped"))),
        None => {}
    }
    let Some(status) = end.status else {
        return Err(Error::failed(format!("{name} cannot be ended: it does not even answer SIGKILL")));
    };
    let ended = Ended { code: status.code(), signal: status.signal(), stderr };
    if let Some(judge) = judge {
        judge(&ended)?;
    }
    match (ended.code, ended.signal) {
        (Some(0), _) if end.held_open => {
            let message = format!("{name} ended, but a program that it started kept its output open");
            Err(said(Error::new(Kind::Incomplete, message), stderr))
        }
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(said(Error::failed(format!("{name} failed with exit code {code}")), stderr)),
        (None, signal) => {
            let message = format!("{name} was killed by {}", signal_name(signal.unwrap_or(0)));
            Err(said(Error::failed(message), stderr))
        }
    }
}

/// Adds what the child said, if it said anything, as the cause.
fn said(error: Error, stderr: &str) -> Error {
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines.join("; ");
    if text.is_empty() {
        return error;
    }
    let count = text.chars().count();
    let shown: String = text.chars().skip(count.saturating_sub(SHOWN)).collect();
    error.because(Error::failed(if count > SHOWN { format!("…{shown}") } else { shown }))
}

fn signal_name(number: i32) -> String {
    let names = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL (by hand, or by the system for want of memory)"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (14, "SIGALRM"),
        (15, "SIGTERM"),
    ];
    let known = names.iter().find(|(n, _)| *n == number);
    known.map_or_else(|| format!("signal {number}"), |(_, name)| (*name).to_owned())
}

/// A span of time in words.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{} ms", self.0.as_millis()),
            s if s % 3600 == 0 => write!(f, "{} h", s / 3600),
            s if s % 60 == 0 => write!(f, "{} min", s / 60),
            s => write!(f, "{s} s"),
        }
    }
}
