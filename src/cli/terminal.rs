//! Standard output, standard error, and what is known about them.
//!
//! Results go to stdout, everything else to stderr. A progress bar on the terminal steps aside for both. A reader that
//! closed stdout is remembered, so that `run` can end quietly; any other failure to write is an error like others.

use std::fmt::{self, Display};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use indicatif::ProgressBar;
use serde::Serialize;

use super::Environment;
use super::text::{Table, shown, shown_lines};
use crate::error::{Context as _, Error, Kind, Result};
use crate::threads::lock;

const CANNOT_PRINT: &str = "cannot write to standard output";

/// The streams of the process; clones share them.
#[derive(Clone)]
pub struct Terminal(Arc<Streams>);

struct Streams {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    traits: Traits,
    out_is_gone: AtomicBool,
    has_document: AtomicBool,
    bar: Mutex<Option<ProgressBar>>,
}

/// What is known about the streams; by default they are no terminals, and nobody's.
#[derive(Debug, Default)]
pub(super) struct Traits {
    out_is_terminal: bool,
    can_ask: bool,
    /// Any stream of the process leads to a person.
    pub(super) attended: bool,
    /// Messages on stderr are coloured.
    pub(super) color: bool,
    /// Help on stdout is coloured.
    pub(super) out_color: bool,
    /// A bar can be drawn on stderr.
    pub(super) can_draw: bool,
}

/// Collects what a terminal of a test is told.
#[derive(Clone, Debug, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Terminal {
    /// The streams of this process.
    #[must_use]
    pub fn of_process(environment: &Environment) -> Self {
        let (out_is_terminal, err_is_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let in_is_terminal = io::stdin().is_terminal();
        let can_draw = err_is_terminal && environment.can_move_cursor;
        let traits = Traits {
            out_is_terminal,
            can_ask: err_is_terminal && in_is_terminal,
            attended: in_is_terminal || out_is_terminal || err_is_terminal,
            color: can_draw && !environment.no_color,
            out_color: out_is_terminal && environment.can_move_cursor && !environment.no_color,
            can_draw,
        };
        let out = BufWriter::with_capacity(64 << 10, io::stdout());
        Self::new(Box::new(out), Box::new(io::stderr()), traits)
    }

    fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, traits: Traits) -> Self {
        let (out_is_gone, has_document, bar) = Default::default();
        let (out, err) = (Mutex::new(out), Mutex::new(err));
        Self(Arc::new(Streams { out, err, traits, out_is_gone, has_document, bar }))
    }

    /// Streams that are no terminals; what is written to them can be looked at.
    #[must_use]
    pub fn captured() -> (Self, Captured, Captured) {
        let (out, err) = (Captured::default(), Captured::default());
        (Self::over(Box::new(out.clone()), Box::new(err.clone())), out, err)
    }

    /// Streams that are no terminals, of a caller who is there.
    #[must_use]
    pub fn over(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Self::new(out, err, Traits { attended: true, ..Traits::default() })
    }

    /// What is known about the streams.
    #[must_use]
    pub(super) fn traits(&self) -> &Traits {
        &self.0.traits
    }

    /// Whether the reader of stdout went away.
    #[must_use]
    pub fn out_is_gone(&self) -> bool {
        self.0.out_is_gone.load(Ordering::Relaxed)
    }

    /// Whether a JSON document was printed already.
    #[must_use]
    pub(super) fn has_document(&self) -> bool {
        self.0.has_document.load(Ordering::Relaxed)
    }

    /// Sets the bar that must step aside for lines.
    pub(super) fn set_bar(&self, bar: Option<ProgressBar>) {
        *lock(&self.0.bar) = bar;
    }

    fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        let bar = lock(&self.0.bar).clone();
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Writes to stdout through a buffer: raw bytes, long listings. The stream is held until `write` is done, so
    /// `write` must not print by other ways. A bar on the same terminal is taken away first.
    pub fn with_out<T>(&self, write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
        if self.0.traits.out_is_terminal
            && let Some(bar) = lock(&self.0.bar).take()
        {
            bar.finish_and_clear();
        }
        self.write_out(write)
    }

    fn write_out<T>(&self, write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
        let mut out = lock(&self.0.out);
        let mut watched = Watched { out: &mut **out, is_gone: &self.0.out_is_gone };
        let value = write(&mut watched)?;
        // On a terminal every piece is shown at once, elsewhere when the buffer is full.
        if self.0.traits.out_is_terminal {
            watched.flush().doing(CANNOT_PRINT)?;
        }
        Ok(value)
    }

    /// Writes a line to stdout. Text from outside goes through [`shown`] first.
    pub fn print(&self, line: impl Display) -> Result<()> {
        let write = || self.write_out(|out| writeln!(out, "{line}").doing(CANNOT_PRINT));
        if self.0.traits.out_is_terminal { self.aside(write) } else { write() }
    }

    /// Writes text to stdout as it is.
    pub fn print_bytes(&self, text: &[u8]) -> Result<()> {
        self.with_out(|out| out.write_all(text).doing(CANNOT_PRINT))
    }

    /// Writes a table to stdout.
    pub fn print_table(&self, table: &Table) -> Result<()> {
        self.with_out(|out| table.write(out).doing(CANNOT_PRINT))
    }

    /// Writes a path or name from outside: harmless on a terminal, unchanged elsewhere.
    pub fn print_outside(&self, text: &str) -> Result<()> {
        if self.0.traits.out_is_terminal { self.print(shown(text)) } else { self.print(text) }
    }

    /// Prints the one JSON document of a `--json` run.
    pub fn print_json(&self, document: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(document)
            .map_err(|e| Error::failed("the result cannot be written as JSON").because(e))?;
        self.0.has_document.store(true, Ordering::Relaxed);
        self.print(text)
    }

    /// Brings all that was printed to its reader. Called by `run` at the end.
    pub fn flush(&self) -> Result<()> {
        self.write_out(|out| out.flush().doing(CANNOT_PRINT))
    }

    /// Writes a line to stderr as it is. A stderr that is gone is nobody's error.
    pub(super) fn say(&self, line: &str) {
        self.aside(|| {
            let mut err = lock(&self.0.err);
            drop(err.write_all(format!("{line}\n").as_bytes()));
            drop(err.flush());
        });
    }

    /// Writes `label: text` to stderr, made harmless; line breaks in `text` are kept and indented.
    pub(super) fn label(&self, label: &str, color: &str, text: &str) {
        let text = shown_lines(text).replace('\n', "\n  ");
        if self.0.traits.color && !color.is_empty() {
            self.say(&format!("\x1b[{color}m{label}:\x1b[0m {text}"));
        } else {
            self.say(&format!("{label}: {text}"));
        }
    }

    /// Something a person must read, shown also with `-q`.
    pub fn warn(&self, text: &str) {
        self.label("warning", "1;33", text);
    }

    /// Asks a question; anything but yes, and nobody to ask, is refused.
    pub fn confirm(&self, question: &str) -> Result<()> {
        let refusal = |why: &str| Error::new(Kind::NotConfirmed, format!("not confirmed: {why}"));
        if !self.0.traits.can_ask {
            return Err(refusal("there is no terminal to ask on").hint("add --yes to answer every question with yes"));
        }
        self.aside(|| {
            let mut err = lock(&self.0.err);
            drop(write!(err, "{} [y/N] ", shown(question)));
            drop(err.flush());
        });
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).doing("cannot read the answer")?;
        if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
            Ok(())
        } else {
            Err(refusal("the answer was not yes"))
        }
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Terminal({:?})", self.0.traits)
    }
}

impl Captured {
    /// What was written so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0)).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Notices that nobody reads stdout any more, which is told apart from pipes to child programs here only.
struct Watched<'a> {
    out: &'a mut dyn Write,
    is_gone: &'a AtomicBool,
}

impl Watched<'_> {
    fn noticed<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            self.is_gone.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        self.noticed(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.noticed(result)
    }
}
