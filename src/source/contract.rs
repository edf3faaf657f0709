//! The contract of all kinds: one suite that each passes, with the real service, a real repository and the real engine.
//!
//! It is compiled into the integration tests (tests/it/main.rs). A kind plugs in with a [`Subject`] and one line:
//!
//! ```text
//! contract!(redis, Redis::start);   // a function that gives Option<impl Subject>: none skips, and has said why
//! ```
//!
//! Every property gets a subject of its own. What a service tells of itself is asked through the vendor's own door
//! ([`Subject::fingerprint`]), never through ours.

use ccbackup::engine::apply::{RunStatus, Services};
use ccbackup::engine::query;
use ccbackup::error::Kind;
use ccbackup::model::BackupId;
use ccbackup::source::ActionKind;
use ccbackup::{Recorder, Selection};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[path = "contract_bench.rs"]
mod bench;
#[path = "contract_subject.rs"]
mod subject;

pub(crate) use bench::{Bench, StopsAt, holds, processes_with, said, snapshot, with};
pub(crate) use subject::{Guard, OpenSource, Subject};

/// Two captures without a change between them: the second holds everything and stores nothing.
pub(crate) fn capturing_twice_without_change_stores_nothing(mut subject: impl Subject) {
    subject.fill();
    let bench = Bench::new(&subject);
    let first = bench.capture(&subject);
    let second = bench.capture(&subject);
    let (one, two) = (&first.components[0], &second.components[0]);
    assert!(one.entries > 0 && one.new_entries > 0, "the first capture holds something");
    assert_eq!((two.entries, two.new_entries), (one.entries, 0), "{:#?}", new_entries(&bench, &second.id));
    assert!(two.bytes_stored < 64 << 10, "{} bytes were stored though nothing changed", two.bytes_stored);
}

/// Paths whose content a backup holds itself.
fn new_entries(bench: &Bench, id: &BackupId) -> Vec<String> {
    let chain = bench.session().chain(id).unwrap();
    let mut new = Vec::new();
    let mut note = |_: &str, entry: &ccbackup::model::Entry| {
        new.extend((entry.home.backup == *id).then(|| entry.path.to_string()));
        Ok(())
    };
    query::entries(&chain, &Selection::default(), &mut note).unwrap();
    new
}

/// What was wiped comes back, as our own check and the vendor's client agree; also from an incremental.
pub(crate) fn what_was_wiped_comes_back(mut subject: impl Subject) {
    subject.fill();
    let bench = Bench::new(&subject);
    bench.capture(&subject);
    subject.change();
    let before = subject.fingerprint();
    let id = bench.capture(&subject).id;
    assert!(bench.is_equal(&subject, &id), "what was just captured is equal");
    subject.wipe();
    assert_ne!(subject.fingerprint(), before, "wiping changes the fingerprint");
    assert!(!bench.is_equal(&subject, &id), "a check notices that everything is gone");
    let report = bench.apply(&subject, &id, false);
    assert!(report.run.is_some(), "something was touched");
    assert!(bench.is_equal(&subject, &id), "all is back");
    assert_eq!(subject.fingerprint(), before, "the vendor's client agrees");
}

/// A second apply finds everything equal and touches nothing.
pub(crate) fn applying_twice_finds_everything_equal(mut subject: impl Subject) {
    subject.fill();
    let bench = Bench::new(&subject);
    let id = bench.capture(&subject).id;
    subject.wipe();
    bench.apply(&subject, &id, false);
    let plan = bench.plan(&subject, &id, false);
    let actions: Vec<_> = plan.components.iter().flat_map(|component| &component.actions).collect();
    assert!(!actions.is_empty(), "a plan names what is equal");
    assert!(actions.iter().all(|action| action.kind == ActionKind::Equal), "{actions:#?}");
    let again = bench.apply(&subject, &id, false);
    assert_eq!(again.run, None, "nothing is touched");
    assert_eq!(bench.session().apply_runs().unwrap().len(), 1);
}

/// What differs is a conflict, which refuses the whole before anything is touched; told to, an apply replaces it.
pub(crate) fn what_differs_is_replaced_only_when_that_was_said(mut subject: impl Subject) {
    subject.fill();
    let bench = Bench::new(&subject);
    let before = subject.fingerprint();
    let id = bench.capture(&subject).id;
    subject.change();
    let changed = subject.fingerprint();
    assert_ne!(changed, before, "a change changes the fingerprint");
    assert!(!bench.is_equal(&subject, &id), "a check notices the change");
    assert!(bench.plan(&subject, &id, false).conflicts() > 0, "a plan notices the change");
    let refused = bench.try_apply(&subject, &id, false, &Recorder::default()).expect_err("it must be refused");
    assert_eq!(refused.kind(), Kind::WouldOverwrite, "{}", said(&refused));
    assert_eq!(subject.fingerprint(), changed, "nothing was touched");
    assert!(bench.session().apply_runs().unwrap().is_empty(), "a run that was refused leaves nothing");
    assert!(bench.plan(&subject, &id, true).replacements() > 0);
    bench.apply(&subject, &id, true);
    if subject.is_exact() {
        assert_eq!(subject.fingerprint(), before);
    }
}

/// An undo puts back what was there, also when it is done twice; after a confirmation there is nothing to undo.
pub(crate) fn an_undo_puts_the_old_back(mut subject: impl Subject) {
    subject.fill();
    let bench = Bench::new(&subject);
    let id = bench.capture(&subject).id;
    subject.change();
    let old = subject.fingerprint();
    let report = bench.apply(&subject, &id, true);
    assert_ne!(subject.fingerprint(), old);
    bench.undo(&subject, &report);
    assert_eq!(subject.fingerprint(), old, "the old is back");
    bench.undo(&subject, &report);
    assert_eq!(subject.fingerprint(), old, "a second undo changes nothing");
    let statuses: Vec<_> = bench.session().apply_runs().unwrap()[0].components.iter().map(|c| c.status).collect();
    assert_eq!(statuses, [RunStatus::Undone]);

    subject.wipe();
    let empty = subject.fingerprint();
    let report = bench.apply(&subject, &id, false);
    bench.undo(&subject, &report);
    assert_eq!(subject.fingerprint(), empty, "what an apply made is gone again");

    let report = bench.apply(&subject, &id, true);
    let filled = subject.fingerprint();
    let run = report.run.expect("something was touched");
    bench.confirm(&subject, &run);
    let undo = |services: Services<'_>| bench.session().undo_apply(&run, services, &Recorder::default());
    with(&subject, undo).expect_err("what was replaced is dropped");
    assert_eq!(subject.fingerprint(), filled);
    assert!(bench.is_equal(&subject, &id));
}

/// A capture that fails in its middle leaves nothing: no archive, no child, no file; the next one is whole.
pub(crate) fn a_capture_that_fails_half_way_leaves_nothing(mut subject: impl Subject) {
    subject.fill();
    let bench = Bench::new(&subject);
    let good = bench.capture(&subject);
    let children = || subject_processes(&subject.mark());
    let before = children();
    subject.change();
    let Some(guard) = subject.break_half_way() else { return };
    let name = subject.component().name;
    match bench.try_capture(&subject, &Recorder::default()) {
        Err(error) => assert!(!matches!(error.kind(), Kind::Interrupted(_)), "{}", said(&error)),
        Ok(report) => {
            let failed = bench.session().chain(&report.id).unwrap().component(&name).is_err();
            assert!(failed || !report.problems.is_empty(), "half a capture was taken for a whole: {report:#?}");
            let own = fs::read_dir(bench.repository().join(report.id.as_str())).unwrap().flatten();
            let archives: Vec<_> = own.map(|item| item.file_name()).filter(|n| is_archive_of(n, &name)).collect();
            assert!(archives.is_empty(), "{archives:?} is left of a capture that failed");
        }
    }
    drop(guard);
    let new: Vec<_> = subject_processes(&subject.mark()).difference(&before).copied().collect();
    assert!(new.is_empty(), "the processes {new:?} are left");
    let left: Vec<_> = fs::read_dir(bench.temporary()).unwrap().flatten().map(|item| item.path()).collect();
    assert!(left.is_empty(), "{left:?} is left");
    let left: Vec<_> =
        snapshot(&bench.state()).into_keys().filter(|path| path.to_string_lossy().contains("scratch")).collect();
    assert!(left.is_empty(), "{left:?} is left");
    let whole = bench.capture(&subject);
    assert_ne!(whole.id, good.id);
    assert!(bench.is_equal(&subject, &whole.id));
}

fn is_archive_of(name: &std::ffi::OsStr, component: &str) -> bool {
    name.to_string_lossy().starts_with(&format!("{component}.tar"))
}

fn subject_processes(mark: &Option<String>) -> BTreeSet<u32> {
    mark.as_deref().map(processes_with).unwrap_or_default()
}

/// A dry run, a plan and a check leave service, repository and state as they are, to the byte.
pub(crate) fn a_dry_run_touches_nothing(mut subject: impl Subject) {
    subject.fill();
    let bench = Bench::new(&subject);
    let id = bench.capture(&subject).id;
    let assert_untouched = |subject: &_, overwrite| {
        let look = || (snapshot(&bench.repository()), snapshot(&bench.state()), Subject::fingerprint(subject));
        let before = look();
        bench.plan(subject, &id, overwrite);
        bench.is_equal(subject, &id);
        let after = look();
        assert!(before.0 == after.0, "the repository was touched: {:?}", differing(&before.0, &after.0));
        assert!(before.1 == after.1, "the state was touched: {:?}", differing(&before.1, &after.1));
        assert_eq!(before.2, after.2, "the service was touched");
        assert!(fs::read_dir(bench.temporary()).unwrap().next().is_none(), "something is left among temporary files");
    };
    assert_untouched(&subject, false);
    subject.change();
    assert_untouched(&subject, true);
    subject.wipe();
    assert_untouched(&subject, false);
}

fn differing<T: PartialEq>(a: &BTreeMap<PathBuf, T>, b: &BTreeMap<PathBuf, T>) -> Vec<PathBuf> {
    let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    keys.into_iter().filter(|key| a.get(*key) != b.get(*key)).cloned().collect()
}

/// What a source gives that changes all the time is whole, or the capture failed.
pub(crate) fn a_source_that_changes_all_the_time_is_captured_whole_or_not_at_all(mut subject: impl Subject) {
    subject.fill();
    let bench = Bench::new(&subject);
    for _ in 0..3 {
        let Some(churn) = subject.churn() else { return };
        let captured = bench.try_capture(&subject, &Recorder::default());
        drop(churn);
        let Ok(report) = captured else { continue };
        bench.assert_sound(&report.id);
        let name = subject.component().name;
        if !report.problems.is_empty() || bench.session().chain(&report.id).unwrap().component(&name).is_err() {
            continue;
        }
        subject.wipe();
        bench.apply(&subject, &report.id, true);
        assert!(bench.is_equal(&subject, &report.id), "what came back is what was captured");
    }
}

/// An apply that is stopped anywhere can be undone, and applied again.
pub(crate) fn an_apply_that_is_stopped_can_be_undone_and_applied_again(mut subject: impl Subject) {
    subject.fill();
    let bench = Bench::new(&subject);
    let before = subject.fingerprint();
    let id = bench.capture(&subject).id;
    for question in [2, 4, 6, 8, 12, 20, 40, 100] {
        subject.change();
        let old = subject.fingerprint();
        let monitor = StopsAt::question(question);
        match bench.try_apply(&subject, &id, true, &monitor) {
            Ok(report) => {
                assert!(report.is_whole(), "{report:#?}");
                bench.undo(&subject, &report);
            }
            Err(error) => {
                assert!(matches!(error.kind(), Kind::Interrupted(15)), "{}", said(&error));
                for run in bench.session().apply_runs().unwrap().iter().rev().filter(|run| run.can_be_undone()) {
                    bench.undo_run(&subject, &run.id.to_string());
                }
            }
        }
        assert_eq!(subject.fingerprint(), old, "stopped at question {question}, an undo puts the old back");
        let report = bench.apply(&subject, &id, true);
        if subject.is_exact() {
            assert_eq!(subject.fingerprint(), before, "stopped at question {question}, and applied again");
        }
        let run = report.run.expect("something was touched");
        bench.confirm(&subject, &run);
    }
}

/// The secret by which a service is reached is in no argument of any process, no output, no state, no clear file of a
/// repository.
pub(crate) fn the_secret_is_found_nowhere(mut subject: impl Subject) {
    let Some(canary) = subject.canary() else { return };
    subject.fill();
    let bench = Bench::new(&subject);
    let ended = Arc::new(AtomicBool::new(false));
    let watch = {
        let (ended, canary) = (Arc::clone(&ended), canary.clone());
        std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !ended.load(Ordering::Relaxed) {
                seen.extend(processes_with(&canary));
            }
            seen
        })
    };
    let monitor = Recorder::default();
    let mut outputs = Vec::new();
    let created = bench.try_capture(&subject, &monitor).unwrap_or_else(|e| panic!("{}", said(&e)));
    outputs.push(format!("{created:?}"));
    subject.change();
    outputs.push(format!("{:?}", bench.plan(&subject, &created.id, true)));
    outputs.push(format!("{:?}", bench.try_apply(&subject, &created.id, false, &monitor).map_err(|e| said(&e))));
    outputs.push(format!("{:?}", bench.apply(&subject, &created.id, true)));
    outputs.push(format!("{:?}", subject.component()));
    if let Some(guard) = subject.break_half_way() {
        outputs.push(format!("{:?}", bench.try_capture(&subject, &monitor).map_err(|e| format!("{e:?} {}", said(&e)))));
        drop(guard);
    }
    ended.store(true, Ordering::Relaxed);
    let seen = watch.join().unwrap();
    assert!(seen.is_empty(), "the secret was among the arguments of the processes {seen:?}");
    outputs.extend(monitor.notes.lock().unwrap().iter().cloned());
    for output in &outputs {
        assert!(!output.contains(&canary), "the secret was said: {output}");
    }
    for (path, (.., content)) in snapshot(&bench.repository()).iter().chain(&snapshot(bench.dir.path())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What the service holds may hold anything.
        if name.contains(".tar.") {
            continue;
        }
        assert!(!holds(content, &canary), "the secret is in {}", path.display());
        if name.contains(".zst") {
            let clear = zstd::decode_all(content.as_slice()).unwrap_or_default();
            assert!(!holds(&clear, &canary), "the secret is in {}", path.display());
        }
    }
}

/// Makes a test of every property, each with a subject of its own. `$start` gives `Option<impl Subject>`.
macro_rules! contract {
    ($kind:ident, $start:expr) => {
        mod $kind {
            #[allow(unused_imports, reason = "what starts a subject may be named from outside")]
            use super::*;

            $crate::contract::contract!(@test $start,
                capturing_twice_without_change_stores_nothing
                what_was_wiped_comes_back
                applying_twice_finds_everything_equal
                what_differs_is_replaced_only_when_that_was_said
                an_undo_puts_the_old_back
                a_capture_that_fails_half_way_leaves_nothing
                a_dry_run_touches_nothing
                a_source_that_changes_all_the_time_is_captured_whole_or_not_at_all
                an_apply_that_is_stopped_can_be_undone_and_applied_again
                the_secret_is_found_nowhere
            );
        }
    };
    (@test $start:expr, $($property:ident)*) => {
        $(
            #[test]
            fn $property() {
                if let Some(subject) = $start() {
                    $crate::contract::$property(subject);
                }
            }
        )*
    };
}
pub(crate) use contract;
