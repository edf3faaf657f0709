//! Applying: what the engine promises of plans, runs, checks and undos, whatever the services are.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ccbackup::durable::{Disk, DiskChange, Faults};
use ccbackup::engine::Session;
use ccbackup::engine::apply::{
    ApplyReport, ApplyRequest, CheckReport, PlanReport, RunId, RunStatus, Services, UndoReport,
};
use ccbackup::engine::create::Sources;
use ccbackup::error::Kind;
use ccbackup::model::BackupId;
use ccbackup::source::{ActionKind, Source};
use ccbackup::{ComponentConfig, CreateOptions, Recorder, Result};

use crate::contract::{Bench, Subject as _, contract, processes_with, snapshot};
use crate::other_docs::check_output;
use crate::shelf::{Shelf, ShelfSubject, beside};

contract!(shelf, ShelfSubject::start);

/// Two shelves of one backup, and the configuration that has them.
struct Shelves {
    one: ShelfSubject,
    other: ShelfSubject,
    bench: Bench,
    components: Vec<ComponentConfig>,
}

impl Shelves {
    fn new() -> Self {
        let (mut one, mut other) = (ShelfSubject::start().unwrap(), ShelfSubject::start().unwrap());
        one.fill();
        other.fill();
        let bench = Bench::new(&one);
        let named = |name: &str, shelf: &ShelfSubject| ComponentConfig::of_files(name, vec![shelf.folder()]);
        let components = vec![named("shelf-one", &one), named("shelf-other", &other)];
        Self { one, other, bench, components }
    }

    fn try_capture(&self) -> Result<BackupId> {
        let options = CreateOptions { components: self.components.clone(), threads: 2, ..CreateOptions::default() };
        let open = |config: &ComponentConfig| -> Box<dyn Source> { Shelf::open(config) };
        let sources = Sources { open: &open, ..Sources::default() };
        let session = Session::open_or_create(&self.bench.repository(), self.bench.host(), false)?;
        Ok(session.create_from(&options, sources, &Recorder::default())?.id)
    }

    fn capture(&self) -> BackupId {
        self.try_capture().unwrap()
    }

    fn with<T>(&self, work: impl FnOnce(Session, Services<'_>) -> T) -> T {
        let open = |config: &ComponentConfig| -> Box<dyn Source> { Shelf::open(config) };
        work(self.bench.session(), Services { configs: &self.components, open: &open })
    }

    fn plan(&self, id: &BackupId, request: &ApplyRequest) -> PlanReport {
        self.with(|session, services| session.plan_apply(id, request, services, &Recorder::default())).unwrap()
    }

    fn try_apply(&self, id: &BackupId, request: &ApplyRequest) -> Result<ApplyReport> {
        self.with(|session, services| session.apply(id, request, services, &mut |_| Ok(()), &Recorder::default()))
    }

    fn apply(&self, id: &BackupId) -> ApplyReport {
        self.try_apply(id, &overwriting()).unwrap()
    }

    fn check(&self, id: &BackupId) -> CheckReport {
        let request = ApplyRequest::default();
        self.with(|session, services| session.check(id, &request, services, &Recorder::default())).unwrap()
    }

    fn undo(&self, run: &RunId) -> Result<UndoReport> {
        self.with(|session, services| session.undo_apply(run, services, &Recorder::default()))
    }

    fn statuses(&self) -> Vec<Vec<RunStatus>> {
        let runs = self.bench.session().apply_runs().unwrap();
        runs.iter().map(|run| run.components.iter().map(|component| component.status).collect()).collect()
    }

    fn fingerprints(&self) -> [String; 2] {
        [self.one.fingerprint(), self.other.fingerprint()]
    }

    fn wipe(&mut self) {
        self.one.wipe();
        self.other.wipe();
    }
}

fn overwriting() -> ApplyRequest {
    ApplyRequest { overwrite: true, threads: 2, ..ApplyRequest::default() }
}

fn set(shelf: &ShelfSubject, word: &str) {
    fs::write(beside(&shelf.folder(), word), "").unwrap();
}

fn unset(shelf: &ShelfSubject, word: &str) {
    fs::remove_file(beside(&shelf.folder(), word)).unwrap();
}

#[test]
fn a_component_that_fails_costs_only_itself_and_can_be_undone() {
    let mut shelves = Shelves::new();
    let before = shelves.fingerprints();
    let id = shelves.capture();
    shelves.wipe();
    let empty = shelves.fingerprints();
    set(&shelves.one, "failing");
    let report = shelves.apply(&id);
    assert!(!report.is_whole());
    assert_eq!(report.components.iter().map(|c| c.status).collect::<Vec<_>>(), [RunStatus::Failed, RunStatus::Checked]);
    assert!(report.failure().unwrap().one_line().contains("the shelf fell"));
    assert_eq!(shelves.statuses(), [[RunStatus::Failed, RunStatus::Checked]]);
    assert_eq!(shelves.other.fingerprint(), before[1]);
    let undone = shelves.undo(&report.run.unwrap()).unwrap();
    let order: Vec<_> = undone.components.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(order, ["shelf-other", "shelf-one"], "the last comes first");
    assert_eq!(shelves.fingerprints(), empty);
    assert_eq!(shelves.statuses(), [[RunStatus::Undone; 2]]);
}

#[test]
fn what_needs_a_component_that_failed_is_left_alone_and_what_others_need_comes_first() {
    let mut shelves = Shelves::new();
    let id = shelves.capture();
    shelves.wipe();
    let empty = shelves.fingerprints();
    shelves.components[0].needs = vec!["shelf-other".into()];
    set(&shelves.other, "failing");
    let report = shelves.apply(&id);
    let ends: Vec<_> = report.components.iter().map(|c| (c.name.as_str(), c.status)).collect();
    assert_eq!(ends, [("shelf-other", RunStatus::Failed), ("shelf-one", RunStatus::Skipped)]);
    assert_eq!(shelves.one.fingerprint(), empty[0]);
    unset(&shelves.other, "failing");
    assert!(shelves.apply(&id).is_whole());
    shelves.components[0].needs.clear();
    shelves.components[1].priority = -1;
    assert_eq!(shelves.plan(&id, &overwriting()).components[0].name, "shelf-other");
}

#[test]
fn a_service_that_does_not_answer_costs_only_its_component() {
    let mut shelves = Shelves::new();
    let id = shelves.capture();
    shelves.wipe();
    set(&shelves.one, "unreachable");
    let plan = shelves.plan(&id, &ApplyRequest::default());
    assert_eq!(plan.failure().map(ccbackup::Error::kind), Some(Kind::Unreachable));
    assert!(plan.components[0].actions.is_empty() && plan.components[1].has_changes());
    let report = shelves.apply(&id);
    assert_eq!(report.components.iter().map(|c| c.status).collect::<Vec<_>>(), [RunStatus::Failed, RunStatus::Checked]);
    let checked = shelves.check(&id);
    assert!(!checked.equal && checked.components[0].error.is_some() && checked.components[1].error.is_none());
    unset(&shelves.one, "unreachable");
    assert!(shelves.apply(&id).is_whole());
    assert!(shelves.check(&id).equal);
}

#[test]
fn a_conflict_of_one_component_keeps_all_from_being_touched() {
    let mut shelves = Shelves::new();
    let id = shelves.capture();
    shelves.one.wipe();
    shelves.other.change();
    let before = (shelves.fingerprints(), snapshot(&shelves.bench.repository()));
    let error = shelves.try_apply(&id, &ApplyRequest::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::WouldOverwrite);
    assert_eq!((shelves.fingerprints(), snapshot(&shelves.bench.repository())), before);
    assert!(shelves.statuses().is_empty());
    // Whoever leaves the other one out gets what there is.
    let request = ApplyRequest { components: vec!["shelf-one".into()], ..ApplyRequest::default() };
    assert!(shelves.try_apply(&id, &request).unwrap().is_whole());
}

#[test]
fn who_is_shown_the_plan_may_refuse_it() {
    let mut shelves = Shelves::new();
    let id = shelves.capture();
    shelves.wipe();
    let empty = shelves.fingerprints();
    let refuse = &mut |plan: &PlanReport| {
        assert_eq!(plan.changes(), 8);
        Err(ccbackup::Error::new(Kind::NotConfirmed, "no"))
    };
    let monitor = Recorder::default();
    let refused = shelves.with(|session, services| session.apply(&id, &overwriting(), services, refuse, &monitor));
    assert_eq!(refused.unwrap_err().kind(), Kind::NotConfirmed);
    assert_eq!(shelves.fingerprints(), empty);
    assert!(shelves.statuses().is_empty());
}

#[test]
fn what_was_applied_and_is_not_there_is_no_success() {
    let mut shelves = Shelves::new();
    let id = shelves.capture();
    shelves.wipe();
    set(&shelves.other, "lying");
    let report = shelves.apply(&id);
    assert!(!report.is_whole() && report.failure().is_none());
    assert_eq!(report.components[1].status, RunStatus::Differs);
    assert_eq!(report.components[1].differences[0].object, "books");
    assert_eq!(shelves.statuses(), [[RunStatus::Checked, RunStatus::Differs]]);
}

#[test]
fn what_a_person_has_to_do_is_told_and_is_no_success() {
    let mut shelves = Shelves::new();
    let id = shelves.capture();
    shelves.wipe();
    set(&shelves.one, "manual");
    let report = shelves.apply(&id);
    assert!(!report.is_whole() && report.failure().is_none());
    assert_eq!(report.components[0].status, RunStatus::Checked, "the rest of it is back");
    let last = report.components[0].actions.last().unwrap();
    assert_eq!((last.kind, last.command.as_deref()), (ActionKind::Manual, Some("fetch the key")));
}

#[test]
fn components_that_the_configuration_does_not_have_are_left_to_a_person() {
    let mut shelves = Shelves::new();
    let id = shelves.capture();
    shelves.wipe();
    let empty = shelves.other.fingerprint();
    let gone = shelves.components.pop().unwrap();
    let report = shelves.apply(&id);
    assert!(!report.is_whole() && report.failure().is_none());
    assert_eq!(report.components.iter().map(|c| c.status).collect::<Vec<_>>(), [RunStatus::Checked, RunStatus::Manual]);
    assert_eq!(report.components[1].actions[0].detail, "the configuration has no component of this name");
    assert_eq!(shelves.other.fingerprint(), empty);
    let checked = shelves.check(&id);
    assert!(!checked.equal && checked.components[1].manual.is_some());
    shelves.components.push(gone);
    let unknown = ApplyRequest { components: vec!["shelf-none".into()], ..ApplyRequest::default() };
    assert_eq!(shelves.try_apply(&id, &unknown).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_component_whose_capture_failed_is_named_with_the_backup_that_has_it() {
    let mut shelves = Shelves::new();
    let good = shelves.capture();
    set(&shelves.one, "broken");
    let id = shelves.capture();
    unset(&shelves.one, "broken");
    shelves.wipe();
    let only = ApplyRequest { components: vec!["shelf-one".into()], ..ApplyRequest::default() };
    for (request, place) in [(&overwriting(), 1), (&only, 0)] {
        let plan = shelves.plan(&id, request);
        let action = &plan.components[place].actions[0];
        assert_eq!((plan.components[place].name.as_str(), action.kind), ("shelf-one", ActionKind::Manual));
        assert!(action.detail.contains(good.as_str()) && action.detail.contains("no last page"), "{}", action.detail);
    }
    assert!(!shelves.apply(&id).is_whole());
    assert!(!shelves.check(&id).equal, "what is not in the backup is not equal to it");
    assert!(shelves.try_apply(&good, &only).unwrap().is_whole());
}

#[test]
fn two_applies_at_once_are_refused() {
    let mut shelves = Shelves::new();
    let id = shelves.capture();
    shelves.wipe();
    let go = &mut |_: &PlanReport| {
        assert_eq!(shelves.try_apply(&id, &overwriting()).unwrap_err().kind(), Kind::Locked);
        assert_eq!(shelves.undo(&"20260101-000000".parse().unwrap()).unwrap_err().kind(), Kind::Locked);
        assert!(!shelves.check(&id).equal, "a check needs no lock");
        Ok(())
    };
    let monitor = Recorder::default();
    assert!(
        shelves
            .with(|session, services| session.apply(&id, &overwriting(), services, go, &monitor))
            .unwrap()
            .is_whole()
    );
}

#[test]
fn runs_are_undone_from_the_last_to_the_first() {
    let mut shelves = Shelves::new();
    let first = shelves.capture();
    shelves.one.change();
    let second = shelves.capture();
    shelves.one.change();
    let oldest = shelves.fingerprints();
    let one = shelves.apply(&first).run.unwrap();
    let between = shelves.fingerprints();
    let two = shelves.apply(&second).run.unwrap();
    let error = shelves.undo(&one).unwrap_err();
    assert!(error.to_string().contains(&two.to_string()), "{error}");
    shelves.undo(&two).unwrap();
    assert_eq!(shelves.fingerprints(), between);
    shelves.undo(&one).unwrap();
    assert_eq!(shelves.fingerprints(), oldest);
    assert_eq!(shelves.undo(&"20260101-000000".parse().unwrap()).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn an_undo_that_fails_can_be_tried_again() {
    let mut shelves = Shelves::new();
    let id = shelves.capture();
    shelves.one.change();
    shelves.other.change();
    let old = shelves.fingerprints();
    let run = shelves.apply(&id).run.unwrap();
    set(&shelves.other, "stubborn");
    let undone = shelves.undo(&run).unwrap();
    assert!(undone.failure().unwrap().one_line().contains("does not give it back"));
    assert_eq!(undone.components.iter().map(|c| c.status).collect::<Vec<_>>(), [RunStatus::Checked, RunStatus::Undone]);
    assert_eq!(shelves.one.fingerprint(), old[0], "one that fails keeps no other from being put back");
    let monitor = Recorder::default();
    let confirm = |session: Session, services: Services<'_>| session.confirm_apply(&run, services, &monitor);
    shelves.with(confirm).expect_err("half of it is undone");
    unset(&shelves.other, "stubborn");
    assert!(shelves.undo(&run).unwrap().failure().is_none());
    assert_eq!(shelves.fingerprints(), old);
}

#[test]
fn an_undo_needs_the_configuration_of_what_it_puts_back() {
    let mut shelves = Shelves::new();
    let id = shelves.capture();
    shelves.other.change();
    let old = shelves.fingerprints();
    let run = shelves.apply(&id).run.unwrap();
    let gone = shelves.components.pop().unwrap();
    assert_eq!(shelves.undo(&run).unwrap().failure().unwrap().kind(), Kind::Usage);
    shelves.components.push(gone);
    assert!(shelves.undo(&run).unwrap().failure().is_none());
    assert_eq!(shelves.fingerprints(), old);
}

#[test]
fn damage_costs_only_its_component_and_nothing_of_it_is_applied() {
    let mut shelves = Shelves::new();
    let id = shelves.capture();
    shelves.wipe();
    let empty = shelves.one.fingerprint();
    let archive = shelves.bench.repository().join(id.as_str()).join("shelf-one.tar.zst");
    let mut bytes = fs::read(&archive).unwrap();
    let end = bytes.len() / 2;
    bytes[20..end].fill(0);
    fs::write(&archive, bytes).unwrap();
    let report = shelves.apply(&id);
    assert_eq!(report.components.iter().map(|c| c.status).collect::<Vec<_>>(), [RunStatus::Failed, RunStatus::Checked]);
    assert!(report.failure().unwrap().is_damage(), "{}", report.failure().unwrap().one_line());
    assert_eq!(shelves.one.fingerprint(), empty);
    assert!(shelves.check(&id).failure().unwrap().is_damage());
}

/// Forbids all changes to the disk after so many.
#[derive(Debug)]
struct DiesAt(AtomicU64);

impl Faults for DiesAt {
    fn before(&self, _: DiskChange, _: &Path) -> std::result::Result<(), (usize, io::Error)> {
        let left = self.0.load(Ordering::SeqCst);
        if left == 0 {
            return Err((0, io::Error::other("the process has died")));
        }
        self.0.store(left - 1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn whatever_change_to_the_state_is_the_last_one_an_undo_puts_the_old_back() {
    let mut shelves = Shelves::new();
    let before = shelves.fingerprints();
    let id = shelves.capture();
    for last in 0.. {
        shelves.one.change();
        shelves.other.wipe();
        let old = shelves.fingerprints();
        let outcome = shelves.with(|mut session, services| {
            session.host.disk = Disk::with_faults(Arc::new(DiesAt(AtomicU64::new(last))));
            session.apply(&id, &overwriting(), services, &mut |_| Ok(()), &Recorder::default())
        });
        let is_done = outcome.is_ok_and(|report| report.is_whole());
        for run in shelves.bench.session().apply_runs().unwrap().iter().rev().filter(|run| run.can_be_undone()) {
            assert!(shelves.undo(&run.id).unwrap().failure().is_none());
        }
        assert_eq!(shelves.fingerprints(), old, "it died after {last} changes");
        // Each takes its time, and what was there before makes no difference to an apply.
        if last % 5 == 0 || is_done {
            let again = shelves.apply(&id);
            assert!(again.is_whole(), "it died after {last} changes: {again:#?}");
            assert_eq!(shelves.fingerprints(), before);
            let monitor = Recorder::default();
            let run = again.run.unwrap();
            shelves.with(|session, services| session.confirm_apply(&run, services, &monitor)).unwrap();
        }
        assert!(last < 1000, "it never ends");
        if is_done {
            assert!(last > 20, "so few changes are not all");
            break;
        }
    }
}

#[test]
fn a_run_that_was_killed_is_told_by_the_next() {
    let mut shelves = Shelves::new();
    let id = shelves.capture();
    shelves.wipe();
    let run = shelves.apply(&id).run.unwrap();
    let place = shelves.with(|session, _| session.state.runs_dir()).join(run.to_string()).join("run.json");
    let record = fs::read_to_string(&place).unwrap();
    fs::write(&place, record.replacen("\"checked\"", "\"applying\"", 1)).unwrap();
    let monitor = Recorder::default();
    shelves.with(|session, services| session.apply(&id, &overwriting(), services, &mut |_| Ok(()), &monitor)).unwrap();
    let notes = monitor.notes.lock().unwrap().join("\n");
    assert!(notes.contains(&run.to_string()), "{notes}");
    let folder = place.parent().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&folder.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700, "nobody else may see what was replaced");
}

#[test]
fn the_documents_of_applies_are_those_that_are_promised() {
    let mut shelves = Shelves::new();
    let id = shelves.capture();
    shelves.one.change();
    set(&shelves.one, "manual");
    let mut plan = shelves.plan(&id, &overwriting());
    plan.components[0].actions.rotate_right(1);
    plan.components[0].error = Some(ccbackup::Error::failed("it broke"));
    check_output("plan", &plan);
    set(&shelves.one, "lying");
    let mut report = shelves.apply(&id);
    report.components[0].error = Some(ccbackup::Error::failed("it broke"));
    check_output("apply", &report);
    let mut checked = shelves.check(&id);
    checked.components[0].manual = Some("nobody knows it".into());
    checked.components[0].error = Some(ccbackup::Error::failed("it broke"));
    check_output("check", &checked);
    let runs = serde_json::to_value(shelves.bench.session().apply_runs().unwrap()).unwrap();
    check_output("runs", &with_detail(runs));
    let mut undone = shelves.undo(&report.run.unwrap()).unwrap();
    undone.components[0].error = Some(ccbackup::Error::failed("it broke"));
    check_output("undo", &undone);
}

fn with_detail(mut runs: serde_json::Value) -> serde_json::Value {
    runs[0]["components"][0]["detail"] = "it broke".into();
    runs
}

#[test]
fn processes_are_found_by_their_arguments() {
    let mut sleep = std::process::Command::new("sleep").arg("61.0625").spawn().unwrap();
    // Its arguments are there a moment after it is.
    let found = (0..500).map(|_| processes_with("61.0625")).find(|found| !found.is_empty()).unwrap_or_default();
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [sleep.id()]);
}
