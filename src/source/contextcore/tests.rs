#![expect(clippy::disallowed_methods, reason = "files of tests need not last")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use super::*;
use crate::durable::{Disk, DiskChange, Faults};
use crate::environment::Environment;
use crate::error::Kind;
use crate::source::ActionKind;
use crate::source::tests_archive::{Archive, Run, apply, check, kinds, picture, plan, undo};

fn put(home: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = home.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn task(id: &str, status: &str, ended: Option<&str>) -> Value {
    json!({
        "task_id": id, "span_name": "contextcore.task.story", "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331", "parent_span_id": null, "start_time": "2026-01-17T14:30:00.123456+00:00",
        "attributes": {"task.id": id, "task.type": "story", "task.title": "Demo", "task.status": status,
            "task.percent_complete": 12.5},
        "events": [{"name": "task.created", "timestamp": "2026-01-17T14:30:00.123900+00:00", "attributes": {}}],
        "status": "UNSET", "status_description": null, "end_time": ended, "schema_version": 2,
        "project_id": "my-project", "created_at": "2026-01-17T14:30:00.200000+00:00",
    })
}

/// A home with everything that ContextCore writes.
fn home(folder: &Path) -> PathBuf {
    let home = folder.join(".contextcore");
    let pretty = |value: &Value| serde_json::to_vec_pretty(value).unwrap();
    put(&home, "state/web/PROJ-7.json", pretty(&task("PROJ-7", "in_progress", None)));
    put(&home, "state/web/PROJ-7.json.lock", "");
    put(&home, "state/web/.write_test", "x");
    put(&home, "state/web/completed/PROJ-1.json", pretty(&task("PROJ-1", "done", Some("2026-01-18T00:00:00+00:00"))));
    let mut old = task("OLD/1", "todo", None);
    for key in ["schema_version", "project_id", "created_at"] {
        old.as_object_mut().unwrap().remove(key);
    }
    old["attributes"]["project.name"] = json!("legacy");
    // A task id with a slash becomes a folder.
    put(&home, "state/old/OLD/1.json", pretty(&old));
    put(&home, "storage/default/web/handoffs/h1.json", r#"{"id":"h1","status":"pending"}"#);
    put(&home, "storage/default/web/sessions/s1.json", r#"{"sessionId":"s1"}"#);
    put(&home, "storage/default/web/insights/i1.json", r#"{"id":"i1"}"#);
    put(&home, "storage/default/web/guidance.json", r#"{"focus":"x"}"#);
    put(&home, "insights/web_insights.json", r#"[{"id":"a"},{"id":"b"}]"#);
    put(&home, "rbac/roles/admin.yaml", "name: admin\n");
    put(&home, "rbac/bindings/b.yaml", "role: admin\n");
    put(&home, "install-state.json", r#"{"version":1,"cluster_name":"c","steps":{}}"#);
    put(&home, "notes.txt", "kept too");
    home
}

fn source(home: &Path) -> ContextcoreSource {
    ContextcoreSource { home: home.to_owned() }
}

/// Files that a backup holds, without locks.
fn lasting(home: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = picture(home).into_iter().filter(|(path, (_, time, _))| time.is_some() && !path.ends_with(".lock"));
    files.map(|(path, (_, _, bytes))| (path, bytes)).collect()
}

#[test]
fn everything_is_captured_wiped_and_applied_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let source = source(&home);
    let before = picture(&home);
    let archive = Archive::capture(&source).unwrap();
    assert_eq!(picture(&home), before, "a capture changes nothing, and makes no locks");
    assert_eq!(Archive::capture(&source).unwrap(), archive);
    assert_eq!(archive.facts.problems, []);
    assert!(archive.paths().iter().all(|path| !path.ends_with(".lock") && !path.ends_with(".write_test")));
    assert_eq!(kinds(&plan(&source, &archive, false)), [ActionKind::Equal]);
    assert_eq!(check(&source, &archive).differences, []);
    fs::remove_dir_all(&home).unwrap();
    assert_eq!(kinds(&plan(&source, &archive, false)), [ActionKind::Create]);
    assert!(!home.exists());
    assert!(check(&source, &archive).differences.iter().any(|d| d.object == "number of completed tasks"));
    apply(&source, &archive, false, &dir.path().join("undo"), &Disk::default()).unwrap();
    let mut expected = before.clone();
    expected.retain(|path, (_, time, _)| time.is_some() && !path.ends_with(".lock") && !path.ends_with(".write_test"));
    let mut after = picture(&home);
    after.retain(|path, (_, time, _)| time.is_some() && !path.ends_with(".lock"));
    assert_eq!(after, expected, "contents, modes and times");
    assert_eq!(check(&source, &archive).differences, []);
    assert_eq!(kinds(&plan(&source, &archive, false)), [ActionKind::Equal], "a second run");
    assert_eq!(Archive::capture(&source).unwrap(), archive);
    undo(&source, &dir.path().join("undo")).unwrap();
    assert_eq!(lasting(&home), BTreeMap::new());
}

#[test]
fn the_summaries_say_what_both_schemas_say() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::capture(&source(&home(dir.path()))).unwrap();
    let tasks: Value = serde_json::from_slice(archive.bytes("state/tasks.json")).unwrap();
    let tasks = tasks["tasks"].as_array().unwrap();
    let line = |id: &str| tasks.iter().find(|task| task["task_id"] == id).unwrap();
    assert_eq!(tasks.len(), 3);
    assert_eq!((&line("PROJ-7")["status"], &line("PROJ-7")["completed"]), (&json!("in_progress"), &json!(false)));
    assert_eq!(
        (&line("PROJ-1")["end_time"], &line("PROJ-1")["completed"]),
        (&json!("2026-01-18T00:00:00+00:00"), &json!(true))
    );
    let old = line("OLD/1");
    assert_eq!(
        (&old["schema_version"], &old["project"], &old["file"]),
        (&json!(1), &json!("legacy"), &json!("state/old/OLD/1.json"))
    );
    assert_eq!(old["created_at"], old["start_time"]);
    let projects: Value = serde_json::from_slice(archive.bytes("state/projects.json")).unwrap();
    let web = json!({"tasks": 1, "completed_tasks": 1, "statuses": {"done": 1, "in_progress": 1}, "handoffs": 1,
        "sessions": 1, "insights": 3, "guidance": true});
    assert_eq!(projects["projects"]["web"], web);
    let counts: Vec<_> = archive.facts.counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
    let expected = [
        "bindings 1",
        "completed_tasks 1",
        "files 12",
        "handoffs 1",
        "insights 3",
        "projects 2",
        "roles 1",
        "sessions 1",
        "tasks 2",
        "tasks_of_schema_1 1",
        "unreadable 0",
    ];
    assert_eq!(counts, expected);
    assert_eq!(archive.facts.facts["install_state"], "python");
}

#[test]
fn summaries_that_came_back_by_hand_are_passed_over_and_files_of_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let archive = Archive::capture(&source(&home)).unwrap();
    put(&home, "state/tasks.json", archive.bytes("state/tasks.json"));
    assert_eq!(Archive::capture(&source(&home)).unwrap().files, archive.files);
    assert_eq!(check(&source(&home), &archive).differences, []);
    put(&home, "state/tasks.json", r#"{"mine":1}"#);
    let other = Archive::capture(&source(&home)).unwrap();
    assert_eq!(other.bytes("state/tasks.json"), br#"{"mine":1}"#);
    assert_eq!(other.facts.problems.len(), 1);
}

#[test]
fn json_that_cannot_be_read_is_captured_as_it_is_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    put(&home, "state/web/HALF.json", br#"{"task_id": "HA"#);
    put(&home, "storage/default/web/handoffs/none.json", "");
    put(&home, "state/web/other.json", "{}");
    let archive = Archive::capture(&source(&home)).unwrap();
    let told: Vec<_> = archive.facts.problems.iter().map(|p| (p.path.as_str(), p.detail.as_str())).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().any(|(path, why)| *path == "state/web/HALF.json" && why.starts_with("it is no JSON")));
    assert!(told.iter().any(|(path, why)| path.ends_with("none.json") && why.starts_with("it is empty")));
    assert!(told.iter().any(|(path, why)| path.ends_with("other.json") && why.starts_with("it has no task_id")));
    assert_eq!(archive.bytes("state/web/HALF.json"), br#"{"task_id": "HA"#);
    assert_eq!(archive.facts.counts["unreadable"], 3);
    fs::remove_dir_all(&home).unwrap();
    apply(&source(&home), &archive, false, &dir.path().join("undo"), &Disk::default()).unwrap();
    assert_eq!(check(&source(&home), &archive).differences, []);
}

#[test]
fn a_task_that_was_completed_since_is_not_there_twice_after_an_apply() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let source = source(&home);
    let archive = Archive::capture(&source).unwrap();
    fs::rename(home.join("state/web/PROJ-7.json"), home.join("state/web/completed/PROJ-7.json")).unwrap();
    put(&home, "rbac/roles/admin.yaml", "name: other\n");
    let changed = lasting(&home);
    let refused = plan(&source, &archive, false);
    let conflicts: Vec<_> =
        refused.iter().filter(|a| a.kind == ActionKind::Conflict).map(|a| a.object.as_str()).collect();
    assert_eq!(conflicts, ["completed task PROJ-7 of web", "file rbac/roles/admin.yaml"]);
    let notes = dir.path().join("undo");
    apply(&source, &archive, true, &notes, &Disk::default()).unwrap();
    assert_eq!(check(&source, &archive).differences, []);
    assert!(!home.join("state/web/completed/PROJ-7.json").exists());
    undo(&source, &notes).unwrap();
    assert_eq!(lasting(&home), changed);
    undo(&source, &notes).unwrap();
    assert_eq!(lasting(&home), changed);
}

#[test]
fn what_somebody_changed_after_an_apply_is_not_undone() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let source = source(&home);
    let archive = Archive::capture(&source).unwrap();
    fs::remove_file(home.join("notes.txt")).unwrap();
    put(&home, "rbac/roles/admin.yaml", "name: other\n");
    let notes = dir.path().join("undo");
    apply(&source, &archive, true, &notes, &Disk::default()).unwrap();
    put(&home, "notes.txt", "newer");
    let error = undo(&source, &notes).unwrap_err();
    assert!(error.one_line().contains("notes.txt changed since"), "{}", error.one_line());
    assert_eq!(fs::read(home.join("notes.txt")).unwrap(), b"newer");
    assert_eq!(fs::read(home.join("rbac/roles/admin.yaml")).unwrap(), b"name: other\n");
}

#[test]
fn a_file_with_another_mode_is_not_equal_and_its_mode_comes_back_both_ways() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let source = source(&home);
    let file = home.join("install-state.json");
    let set = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    let mode = || file.metadata().unwrap().permissions().mode() & 0o777;
    set(0o600);
    let archive = Archive::capture(&source).unwrap();
    set(0o644);
    let told = check(&source, &archive).differences;
    assert!(told.len() == 1 && told[0].detail.contains("another mode"), "{told:?}");
    assert!(kinds(&plan(&source, &archive, false)).contains(&ActionKind::Conflict));
    let notes = dir.path().join("undo");
    apply(&source, &archive, true, &notes, &Disk::default()).unwrap();
    assert_eq!((mode(), check(&source, &archive).differences.len()), (0o600, 0));
    undo(&source, &notes).unwrap();
    assert_eq!(mode(), 0o644);
}

#[derive(Debug)]
struct Die(AtomicUsize);

impl Faults for Die {
    fn before(&self, _: DiskChange, _: &Path) -> std::result::Result<(), (usize, std::io::Error)> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        left.map(drop).map_err(|_| (0, std::io::Error::other("died")))
    }
}

#[test]
fn an_apply_that_dies_at_any_step_is_undone_or_done_again() {
    let mut died = 0;
    for step in (0..).step_by(3) {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let source = source(&home);
        let archive = Archive::capture(&source).unwrap();
        fs::rename(home.join("state/web/PROJ-7.json"), home.join("state/web/completed/PROJ-7.json")).unwrap();
        put(&home, "rbac/roles/admin.yaml", "name: other\n");
        fs::remove_file(home.join("install-state.json")).unwrap();
        let before = lasting(&home);
        let notes = dir.path().join("undo");
        let disk = Disk::with_faults(Arc::new(Die(step.into())));
        if apply(&source, &archive, true, &notes, &disk).is_ok() {
            break;
        }
        died += 1;
        if step % 2 == 0 {
            undo(&source, &notes).unwrap();
            let after: BTreeMap<_, _> =
                lasting(&home).into_iter().filter(|(path, _)| !path.contains(".staged-")).collect();
            assert_eq!(after, before, "undone after step {step}");
        }
        apply(&source, &archive, true, &notes, &Disk::default()).unwrap();
        assert_eq!(check(&source, &archive).differences, [], "done again after step {step}");
        undo(&source, &notes).unwrap();
        assert_eq!(lasting(&home), before, "undone after both runs, step {step}");
    }
    assert!(died > 5);
}

#[test]
fn a_writer_that_holds_the_lock_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let path = home.join("state/web/PROJ-7.json");
    let whole = fs::read(&path).unwrap();
    let lock = fs::File::create(home.join("state/web/PROJ-7.json.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    fs::write(&path, &whole[..50]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(400));
            fs::write(&path, &whole).unwrap();
            drop(lock);
        });
        let archive = Archive::capture(&source(&home)).unwrap();
        assert_eq!(archive.bytes("state/web/PROJ-7.json"), whole);
        assert_eq!(archive.facts.problems, []);
    });
}

#[test]
fn a_file_that_stays_locked_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let archive = Archive::capture(&source(&home)).unwrap();
    let changed = serde_json::to_vec(&task("PROJ-7", "blocked", None)).unwrap();
    put(&home, "state/web/PROJ-7.json", &changed);
    let lock = fs::File::create(home.join("state/web/PROJ-7.json.lock")).unwrap();
    let run = Run::default();
    let context = run.context();
    let source = source(&home);
    let planned = source.plan_apply(&archive, &ApplyOptions { overwrite: true }, &context).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut notes = crate::source::UndoLog::open(&dir.path().join("undo"), &Disk::default()).unwrap();
    assert_eq!(planned.apply(&mut notes).unwrap_err().kind(), Kind::Locked);
    assert_eq!(fs::read(home.join("state/web/PROJ-7.json")).unwrap(), changed);
}

#[test]
fn what_changed_since_the_plan_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let source = source(&home);
    let archive = Archive::capture(&source).unwrap();
    put(&home, "notes.txt", "second");
    let run = Run::default();
    let context = run.context();
    let planned = source.plan_apply(&archive, &ApplyOptions { overwrite: true }, &context).unwrap();
    put(&home, "notes.txt", "third");
    let mut notes = crate::source::UndoLog::open(&dir.path().join("undo"), &Disk::default()).unwrap();
    let error = planned.apply(&mut notes).unwrap_err();
    assert!(error.one_line().contains("changed since the plan"), "{}", error.one_line());
    assert_eq!(fs::read(home.join("notes.txt")).unwrap(), b"third");
}

/// Writes as ContextCore does: under the lock, in place.
fn write_like_contextcore(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let lock = fs::File::options().create(true).truncate(false).write(true).open(name).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut file = fs::File::create(path).unwrap();
    for piece in bytes.chunks(80) {
        file.write_all(piece).unwrap();
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_home_that_is_written_to_all_the_time_loses_no_task_and_holds_no_half_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let state = home.join("state/busy");
    let stop = AtomicBool::new(false);
    for number in 0..20 {
        let id = format!("T-{number}");
        write_like_contextcore(
            &state.join(format!("{id}.json")),
            &serde_json::to_vec(&task(&id, "todo", None)).unwrap(),
        );
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Tasks are changed, completed, and opened again.
            for turn in 0_u32.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let id = format!("T-{}", turn % 20);
                let (open, done) = (state.join(format!("{id}.json")), state.join(format!("completed/{id}.json")));
                let (to, from, status) = match turn / 20 % 3 {
                    0 => (&open, None, "in_progress"),
                    1 => (&done, Some(&open), "done"),
                    _ => (&open, Some(&done), "todo"),
                };
                write_like_contextcore(to, &serde_json::to_vec_pretty(&task(&id, status, None)).unwrap());
                if let Some(from) = from {
                    fs::remove_file(from).unwrap();
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let ended = Stop(&stop);
        let archive = Archive::capture(&source(&home)).unwrap();
        drop(ended);
        for number in 0..20 {
            let ends = [format!("state/busy/T-{number}.json"), format!("state/busy/completed/T-{number}.json")];
            let held: Vec<_> = archive.paths().into_iter().filter(|path| ends.contains(path)).collect();
            let told = archive.facts.problems.iter().any(|problem| ends.contains(&problem.path));
            assert!(!held.is_empty() || told, "T-{number} is lost");
            for path in held {
                let state: Value =
                    serde_json::from_slice(archive.bytes(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
                assert_eq!(state["task_id"], format!("T-{number}"));
            }
        }
        assert_eq!(archive.facts.facts.get("written_meanwhile").map(String::as_str), Some("yes"));
    });
}

#[test]
fn state_that_lies_elsewhere_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let temporary = dir.path().join("tmp");
    put(&temporary, "contextcore/state/web/LOST-1.json", "{}");
    put(&temporary, "contextcore-0a1b2c3d/web/LOST-2.json", "{}");
    put(&temporary, "contextcore-theirs/web/x.json", "{}");
    put(dir.path(), "elsewhere/default/web/handoffs/h.json", "{}");
    let variables = [("TMPDIR", temporary), ("CONTEXTCORE_STORAGE_DIR", dir.path().join("elsewhere"))];
    let environment = Environment::new(variables.map(|(name, value)| (name.into(), value.into())));
    let run = Run { environment, ..Run::default() };
    let archive = Archive::capture_and(&source(&home), &run, || {}).unwrap();
    let notes = run.monitor.notes.lock().unwrap().join("\n");
    for expected in ["contextcore/state", "contextcore-0a1b2c3d", "CONTEXTCORE_STORAGE_DIR leads to"] {
        assert!(notes.contains(expected), "{notes}");
    }
    assert!(!notes.contains("theirs"));
    assert_eq!(archive.facts.facts["files_elsewhere"], "3");
    assert_eq!(source(&home).probe(&run.context()).unwrap().missing.len(), 3);
}

#[test]
fn a_home_that_is_not_there_is_an_error_and_never_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Archive::capture(&source(&dir.path().join("absent"))).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn links_are_not_followed_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    put(dir.path(), "outside/secret.json", "{}");
    std::os::unix::fs::symlink(dir.path().join("outside"), home.join("state/linked")).unwrap();
    let archive = Archive::capture(&source(&home)).unwrap();
    assert!(archive.paths().iter().all(|path| !path.contains("secret")));
    assert_eq!(archive.facts.problems.len(), 1);
    assert!(archive.facts.problems[0].detail.contains("a link"));
}
