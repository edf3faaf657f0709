//! The front door of the library: what a session and its plans promise.

use std::fs;

use ccbackup::engine::restore::RestoreOptions;
use ccbackup::error::Kind;
use ccbackup::monitor::Recorder;

use crate::support::{Sandbox, write};

#[test]
fn what_came_after_a_deletion_was_shown_stays() {
    let mut sandbox = Sandbox::plain();
    write(&sandbox.tree().join("kept"), b"x");
    let id = sandbox.create().id;
    let out = sandbox.restore(&id);
    let target = out.parent().unwrap().parent().unwrap();
    write(&out.join("shown/extra"), b"not of the backup");
    write(&out.join("kept"), b"changed");
    let options = RestoreOptions { overwrite: true, delete: true, ..RestoreOptions::default() };
    let plan = sandbox.reader().unwrap().plan_restore(&id, target, options, &Recorder::default()).unwrap();
    let shown: Vec<_> = plan.deletions().collect();
    assert_eq!(shown, ["files/tree/shown/extra", "files/tree/shown"]);
    write(&out.join("later"), b"nobody has seen it");
    write(&out.join("shown/later"), b"nor this");
    let report = plan.apply(&Recorder::default()).unwrap();
    assert_eq!(report.deleted, ["files/tree/shown/extra"]);
    let [problem] = report.problems.as_slice() else { panic!("{report:#?}") };
    assert_eq!(problem.path, "files/tree/shown");
    assert_eq!(fs::read(out.join("kept")).unwrap(), b"x");
    assert!(out.join("later").exists() && out.join("shown/later").exists());
}

#[test]
fn a_plan_writes_nothing_over_what_came_after_it_was_made() {
    let mut sandbox = Sandbox::plain();
    write(&sandbox.tree().join("f"), b"x");
    let id = sandbox.create().id;
    let target = sandbox.scratch("out");
    let options = RestoreOptions::default();
    let plan = sandbox.reader().unwrap().plan_restore(&id, &target, options, &Recorder::default()).unwrap();
    assert!(!target.exists(), "a plan writes nothing");
    write(&target.join("files/tree/f"), b"mine");
    assert_eq!(plan.apply(&Recorder::default()).unwrap_err().kind(), Kind::WouldOverwrite);
    assert_eq!(fs::read(target.join("files/tree/f")).unwrap(), b"mine");
}

#[test]
fn a_session_that_was_opened_to_read_makes_no_backup() {
    let mut sandbox = Sandbox::plain();
    write(&sandbox.tree().join("f"), b"x");
    sandbox.create();
    let error = sandbox.reader().unwrap().create(&sandbox.settings, &Recorder::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage, "{}", error.one_line());
    assert_eq!(sandbox.repo().backup_ids().unwrap().len(), 1);
}

#[test]
fn a_session_that_writes_keeps_other_writers_away_as_long_as_it_lives() {
    let mut sandbox = Sandbox::plain();
    write(&sandbox.tree().join("f"), b"x");
    sandbox.create();
    let session = sandbox.writer().unwrap();
    assert_eq!(sandbox.writer().unwrap_err().kind(), Kind::Locked);
    assert!(sandbox.reader().is_ok(), "readers need no lock");
    drop(session);
    sandbox.create();
}
