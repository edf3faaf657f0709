//! The repository of a test of the contract, and looks at what must not be touched.

use ccbackup::engine::apply::{ApplyReport, ApplyRequest, PlanReport, RunId, Services};
use ccbackup::engine::create::{CreateReport, Sources};
use ccbackup::engine::verify::Depth;
use ccbackup::engine::{Clock, Host, Session};
use ccbackup::error::Hint;
use ccbackup::model::{BackupId, Moment};
use ccbackup::monitor::Monitor;
use ccbackup::{CreateOptions, Error, Keys, Recorder, Result, Signer, Trust, VerifyOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use super::subject::Subject;

/// A repository with a host of its own.
pub(crate) struct Bench {
    pub(super) dir: tempfile::TempDir,
    pub(super) host: Host,
    pub(super) trust: Trust,
    pub(super) now: AtomicI64,
}

impl Bench {
    /// For the component of a subject; not encrypted, so that everything can be looked at.
    pub(crate) fn new(subject: &impl Subject) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer::generate(&dir.path().join("signer")).unwrap();
        let trust = Trust { signers: vec![signer.public()], ..Trust::default() };
        fs::create_dir(dir.path().join("tmp")).unwrap();
        let temporary = [("TMPDIR".into(), dir.path().join("tmp").into_os_string())];
        let mut host = Host::new(dir.path().join("state"), Some(signer));
        host.environment = subject.environment().with(temporary);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        Self { dir, host, trust, now: AtomicI64::new(i64::try_from(now).unwrap()) }
    }

    /// The folder of the repository.
    pub(crate) fn repository(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    /// The folder of what the host remembers.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Where dry runs and checks put what they need.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    /// The host, a minute later than before: the clock of whoever changes the service is real, and what is younger than a
    /// capture is not trusted to be unchanged.
    pub(crate) fn host(&self) -> Host {
        let now = self.now.fetch_add(60, Ordering::Relaxed) + 60;
        Host { clock: Clock::Fixed(Moment::from_unix_seconds(now)), ..self.host.clone() }
    }

    /// What a session is opened with, for those who need one of their own.
    pub(crate) fn parts(&self) -> (Host, Trust) {
        (self.host(), self.trust.clone())
    }

    /// Opened to read and to apply.
    pub(crate) fn session(&self) -> Session {
        Session::open(&self.repository(), self.host(), self.trust.clone(), Keys::none()).unwrap()
    }

    /// Makes a backup of the component alone.
    pub(crate) fn try_capture(&self, subject: &impl Subject, monitor: &dyn Monitor) -> Result<CreateReport> {
        let options = CreateOptions { components: vec![subject.component()], threads: 2, ..CreateOptions::default() };
        let open = subject.open();
        let sources = Sources { open: &open, ..Sources::default() };
        Session::open_or_create(&self.repository(), self.host(), false)?.create_from(&options, sources, monitor)
    }

    /// Makes a backup that is whole.
    pub(crate) fn capture(&self, subject: &impl Subject) -> CreateReport {
        let report = self.try_capture(subject, &Recorder::default()).unwrap_or_else(|e| panic!("{}", said(&e)));
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        self.assert_sound(&report.id);
        report
    }

    pub(super) fn assert_sound(&self, id: &BackupId) {
        let options = VerifyOptions { depth: Depth::Deep(100.0), all: false, threads: 2 };
        let verified = self.session().verify(id, &options, &Recorder::default()).unwrap();
        assert!(verified.ok, "{:#?}", verified.findings);
    }

    /// What an apply would do.
    pub(crate) fn plan(&self, subject: &impl Subject, id: &BackupId, overwrite: bool) -> PlanReport {
        let request = ApplyRequest { overwrite, threads: 2, ..ApplyRequest::default() };
        let plan = with(subject, |services| self.session().plan_apply(id, &request, services, &Recorder::default()));
        let plan = plan.unwrap_or_else(|e| panic!("{}", said(&e)));
        assert!(plan.failure().is_none(), "{}", plan.failure().map(said).unwrap_or_default());
        plan
    }

    /// Applies a backup.
    pub(crate) fn try_apply(
        &self,
        subject: &impl Subject,
        id: &BackupId,
        overwrite: bool,
        monitor: &dyn Monitor,
    ) -> Result<ApplyReport> {
        let request = ApplyRequest { overwrite, threads: 2, ..ApplyRequest::default() };
        with(subject, |services| self.session().apply(id, &request, services, &mut |_| Ok(()), monitor))
    }

    /// Applies a backup as a whole.
    pub(crate) fn apply(&self, subject: &impl Subject, id: &BackupId, overwrite: bool) -> ApplyReport {
        let applied = self.try_apply(subject, id, overwrite, &Recorder::default());
        let applied = applied.unwrap_or_else(|e| panic!("{}", said(&e)));
        assert!(applied.is_whole(), "{applied:#?}");
        assert!(applied.components.iter().all(|c| c.compared > 0), "a check that compares nothing: {applied:#?}");
        let scratch = snapshot(&self.state()).into_keys().find(|path| path.to_string_lossy().contains("scratch"));
        assert_eq!(scratch, None, "the scratch folder is left");
        applied
    }

    /// Compares the living service with a backup.
    pub(crate) fn is_equal(&self, subject: &impl Subject, id: &BackupId) -> bool {
        let request = ApplyRequest { threads: 2, ..ApplyRequest::default() };
        let checked = with(subject, |services| self.session().check(id, &request, services, &Recorder::default()));
        let checked = checked.unwrap_or_else(|e| panic!("{}", said(&e)));
        assert!(checked.failure().is_none(), "{}", checked.failure().map(said).unwrap_or_default());
        checked.equal
    }

    pub(super) fn confirm(&self, subject: &impl Subject, run: &RunId) {
        let confirm = |services: Services<'_>| self.session().confirm_apply(run, services, &Recorder::default());
        let confirmed = with(subject, confirm).unwrap_or_else(|e| panic!("{}", said(&e)));
        assert!(confirmed.failure().is_none(), "{confirmed:#?}");
    }

    pub(crate) fn undo(&self, subject: &impl Subject, report: &ApplyReport) {
        let run = report.run.as_ref().expect("something was touched");
        self.undo_run(subject, &run.to_string());
    }

    pub(super) fn undo_run(&self, subject: &impl Subject, run: &str) {
        let run = run.parse().unwrap();
        let undone = with(subject, |services| self.session().undo_apply(&run, services, &Recorder::default()));
        let undone = undone.unwrap_or_else(|e| panic!("{}", said(&e)));
        assert!(undone.failure().is_none(), "{}", undone.failure().map(said).unwrap_or_default());
    }
}

/// The services of a host that has only this one.
pub(crate) fn with<T>(subject: &impl Subject, work: impl FnOnce(Services<'_>) -> T) -> T {
    let open = subject.open();
    work(Services { configs: &[subject.component()], open: &open })
}

/// An error with its causes.
pub(crate) fn said(error: &Error) -> String {
    error.one_line()
}

/// Content, size, mode and time of everything below a folder.
pub(crate) fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    for item in walkdir::WalkDir::new(folder) {
        let Ok(item) = item else { continue };
        let meta = item.metadata().unwrap();
        let content = if meta.is_file() { fs::read(item.path()).unwrap() } else { Vec::new() };
        seen.insert(item.path().to_owned(), (meta.mode(), meta.mtime_nsec() + meta.mtime() * 1_000_000_000, content));
    }
    seen
}

/// Processes that have a text among their arguments.
pub(crate) fn processes_with(text: &str) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for item in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = item.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let arguments = fs::read(item.path().join("cmdline")).unwrap_or_default();
        if holds(&arguments, text) {
            found.insert(pid);
        }
    }
    found
}

/// Whether bytes hold a text.
pub(crate) fn holds(bytes: &[u8], text: &str) -> bool {
    !text.is_empty() && bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Remembers everything that it is told, and asks to stop at one of the questions.
#[derive(Debug)]
pub(crate) struct StopsAt {
    pub(super) left: AtomicI64,
    pub(crate) said: Recorder,
}

impl StopsAt {
    /// Asks to stop from the `question`-th time on that somebody asks.
    pub(crate) fn question(question: i64) -> Self {
        Self { left: AtomicI64::new(question), said: Recorder::default() }
    }
}

impl Monitor for StopsAt {
    fn stage(&self, _: &str, _: Option<u64>, _: Option<u64>) {}

    fn advance(&self, bytes: u64, entries: u64) {
        self.said.advance(bytes, entries);
    }

    fn note(&self, text: &str) {
        self.said.note(text);
    }

    fn advise(&self, text: &str, _: &Hint) {
        self.said.note(text);
    }

    fn stop_signal(&self) -> i32 {
        if self.left.fetch_sub(1, Ordering::Relaxed) <= 1 { 15 } else { 0 }
    }
}
