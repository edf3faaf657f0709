//! Progress on stderr: a bar for people, JSON lines for programs, nothing for everybody else.
//!
//! Workers only add to counters; one thread paints. Nothing is drawn in the first 250 ms, so short runs stay silent.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::{StopFlag, Terminal, shown, worded};
use crate::error::Hint;
use crate::monitor::Monitor;
use crate::rate_limit::RateLimit;
use crate::threads::lock;

const SILENCE: Duration = Duration::from_millis(250);
const PAINT_EVERY: Duration = Duration::from_millis(100);
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// Nothing that is read at once is worth a longer pause, whatever the limit.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Nothing,
    Bar,
    Lines,
}

/// The monitor of the command line.
pub struct TerminalMonitor {
    progress: Arc<Progress>,
    painter: Mutex<Option<JoinHandle<()>>>,
}

struct Progress {
    terminal: Terminal,
    show: View,
    quiet: bool,
    stop: StopFlag,
    rate_limit: Option<RateLimit>,
    begun: Instant,
    bytes: AtomicU64,
    entries: Arc<AtomicU64>,
    state: Mutex<Current>,
    wake: Condvar,
}

#[derive(Default)]
struct Current {
    stage: Option<Stage>,
    is_over: bool,
}

struct Stage {
    name: String,
    total_bytes: Option<u64>,
    total_entries: Option<u64>,
    begun: Instant,
    bar: Option<ProgressBar>,
}

/// A line of `--json-progress`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum ProgressLine<'a> {
    Progress {
        stage: &'a str,
        bytes: u64,
        entries: u64,
        total_bytes: Option<u64>,
        total_entries: Option<u64>,
        seconds: f64,
    },
    Note {
        text: &'a str,
    },
}

impl TerminalMonitor {
    /// A monitor on `terminal`. A bar needs a terminal on stderr; `lines` asks for JSON lines in its place, wherever
    /// stderr goes; `quiet` drops notes and the bar. `rate_limit` holds the work back.
    #[must_use]
    pub fn new(terminal: Terminal, lines: bool, quiet: bool, stop: StopFlag, rate_limit: Option<RateLimit>) -> Self {
        let show = match (lines, !quiet && terminal.traits().can_draw) {
            (true, _) => View::Lines,
            (false, true) => View::Bar,
            (false, false) => View::Nothing,
        };
        let progress = Progress {
            terminal,
            show,
            quiet,
            stop,
            rate_limit,
            begun: Instant::now(),
            bytes: AtomicU64::new(0),
            entries: Arc::default(),
            state: Mutex::default(),
            wake: Condvar::new(),
        };
        Self { progress: Arc::new(progress), painter: Mutex::new(None) }
    }

    /// Ends the progress: the bar disappears, the last JSON line is written. Further stages show nothing.
    pub fn finish(&self) {
        {
            let mut state = lock(&self.progress.state);
            self.progress.end_stage(&mut state);
            state.is_over = true;
        }
        self.progress.wake.notify_all();
        let painter = lock(&self.painter).take();
        // A painter that panicked has said so; there is nothing to be saved here.
        drop(painter.map(JoinHandle::join));
    }
}

impl Monitor for TerminalMonitor {
    fn stage(&self, name: &str, total_bytes: Option<u64>, total_entries: Option<u64>) {
        let mut state = lock(&self.progress.state);
        if state.is_over || self.progress.show == View::Nothing {
            return;
        }
        self.progress.end_stage(&mut state);
        self.progress.bytes.store(0, Ordering::Relaxed);
        self.progress.entries.store(0, Ordering::Relaxed);
        let name = shown(name).into_owned();
        state.stage = Some(Stage { name, total_bytes, total_entries, begun: Instant::now(), bar: None });
        drop(state);
        let mut painter = lock(&self.painter);
        if painter.is_none() {
            let progress = Arc::clone(&self.progress);
            // Without a thread there is no progress to be seen, which is no reason to fail.
            *painter = thread::Builder::new().name("progress".into()).spawn(move || progress.paint()).ok();
        }
    }

    fn throttle(&self, bytes: u64) {
        let Some(limit) = &self.progress.rate_limit else { return };
        let until = Instant::now() + limit.wait_for(bytes).min(LONGEST_WAIT);
        while self.stop_signal() == 0 {
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return,
                left => thread::sleep(left.min(PAINT_EVERY)),
            }
        }
    }

    fn advance(&self, bytes: u64, entries: u64) {
        self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.progress.entries.fetch_add(entries, Ordering::Relaxed);
    }

    fn note(&self, text: &str) {
        match self.progress.show {
            _ if self.progress.quiet => {}
            View::Lines => self.progress.line(&ProgressLine::Note { text }),
            View::Nothing | View::Bar => self.progress.terminal.label("note", "", text),
        }
    }

    fn advise(&self, text: &str, hint: &Hint) {
        self.note(&format!("{text}; {}", worded(hint)));
    }

    fn stop_signal(&self) -> i32 {
        self.progress.stop.signal()
    }
}

impl Progress {
    fn paint(&self) {
        let interval = if self.show == View::Lines { REPORT_EVERY } else { PAINT_EVERY };
        let mut state = lock(&self.state);
        while !state.is_over {
            state = self.wake.wait_timeout(state, interval).unwrap_or_else(PoisonError::into_inner).0;
            let Some(stage) = state.stage.as_mut() else { continue };
            match self.show {
                View::Nothing => {}
                View::Lines => self.report(stage),
                View::Bar if self.begun.elapsed() < SILENCE => {}
                View::Bar => self.draw(stage),
            }
        }
    }

    fn draw(&self, stage: &mut Stage) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let bar = stage.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(stage.total_bytes, ProgressDrawTarget::stderr())
                .with_style(style(stage.total_bytes, stage.total_entries, &self.entries))
                .with_prefix(stage.name.clone())
                .with_elapsed(stage.begun.elapsed());
            self.terminal.set_bar(Some(bar.clone()));
            bar
        });
        bar.set_position(bytes);
        bar.tick();
    }

    fn report(&self, stage: &Stage) {
        self.line(&ProgressLine::Progress {
            stage: &stage.name,
            bytes: self.bytes.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
            total_bytes: stage.total_bytes,
            total_entries: stage.total_entries,
            seconds: (stage.begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        });
    }

    fn line(&self, line: &ProgressLine<'_>) {
        if let Ok(text) = serde_json::to_string(line) {
            self.terminal.say(&text);
        }
    }

    fn end_stage(&self, state: &mut Current) {
        let Some(stage) = state.stage.take() else { return };
        if self.show == View::Lines {
            self.report(&stage);
        }
        if let Some(bar) = stage.bar {
            self.terminal.set_bar(None);
            bar.finish_and_clear();
        }
    }
}

fn style(total_bytes: Option<u64>, total_entries: Option<u64>, entries: &Arc<AtomicU64>) -> ProgressStyle {
    let template = if total_bytes.is_some_and(|total| total > 0) {
        "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes}, {entries}, {binary_bytes_per_sec}, ETA {eta}"
    } else {
        "{prefix} {spinner} {binary_bytes}, {entries}, {binary_bytes_per_sec}, {elapsed}"
    };
    let entries = Arc::clone(entries);
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ").tick_chars("|/-\\ ").with_key(
        "entries",
        move |_: &indicatif::ProgressState, out: &mut dyn fmt::Write| {
            let done = entries.load(Ordering::Relaxed);
            let text =
                total_entries.map_or_else(|| format!("{done} entries"), |total| format!("{done}/{total} entries"));
            out.write_str(&text).ok();
        },
    )
}

impl fmt::Debug for TerminalMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TerminalMonitor({:?})", self.progress.show)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor(lines: bool, quiet: bool) -> (TerminalMonitor, super::super::Captured) {
        let (terminal, _, err) = Terminal::captured();
        (TerminalMonitor::new(terminal, lines, quiet, StopFlag::default(), None), err)
    }

    #[test]
    fn nothing_but_notes_is_shown_where_no_terminal_is() {
        let (monitor, err) = monitor(false, false);
        assert!(monitor.progress.show == View::Nothing);
        monitor.stage("reading", Some(10), None);
        monitor.advance(10, 1);
        monitor.note("one\u{1b}[31m");
        monitor.note("two");
        monitor.finish();
        assert_eq!(err.text(), "note: one\\x1b[31m\nnote: two\n");
    }

    #[test]
    fn quiet_drops_notes() {
        let (monitor, err) = monitor(false, true);
        monitor.note("one");
        assert_eq!(err.text(), "");
    }

    #[test]
    fn json_progress_is_one_document_a_line() {
        let (monitor, err) = monitor(true, false);
        assert!(monitor.progress.show != View::Nothing);
        monitor.stage("reading", Some(10), None);
        monitor.advance(4, 1);
        monitor.advance(6, 2);
        monitor.note("a \"note\"");
        monitor.stage("writing", None, None);
        monitor.finish();
        monitor.stage("after the end", None, None);
        let lines: Vec<serde_json::Value> =
            err.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let stages: Vec<_> = lines.iter().map(|line| line["stage"].as_str().unwrap_or("-")).collect();
        assert_eq!(stages.first(), Some(&"-"));
        assert_eq!(lines[0], serde_json::json!({"type": "note", "text": "a \"note\""}));
        let reading = lines.iter().rfind(|line| line["stage"] == "reading").unwrap();
        assert_eq!((&reading["bytes"], &reading["entries"]), (&10.into(), &3.into()));
        assert_eq!((&reading["total_bytes"], &reading["total_entries"]), (&10.into(), &serde_json::Value::Null));
        let writing = lines.last().unwrap();
        assert_eq!((&writing["stage"], &writing["bytes"]), (&"writing".into(), &0.into()));
    }

    #[test]
    fn a_signal_stops_the_work() {
        let (terminal, ..) = Terminal::captured();
        let stop = StopFlag::default();
        let monitor = TerminalMonitor::new(terminal, false, false, stop.clone(), None);
        assert!(monitor.check().is_ok());
        stop.set(15);
        assert_eq!(monitor.check().unwrap_err().kind().exit_code(), 143);
    }
}
