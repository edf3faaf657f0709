//! What a service gives as documents and streams: it lies in the archive as plain files, costs nothing while it stays equal,
//! and counts only when it came to its end.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ccbackup::config::ComponentConfig;
use ccbackup::engine::Clock;
use ccbackup::engine::create::{CreateReport, Sources};
use ccbackup::engine::verify::Depth;
use ccbackup::model::{EntryPath, Moment, Problem, ProblemKind, Timestamp, Verdict};
use ccbackup::monitor::Recorder;
use ccbackup::source::{
    ApplyOptions, ApplyPlan, Body, Captured, Checked, Contents, Facts, Object, Objects, Probe, Source, SourceContext,
    UndoStep,
};
use ccbackup::{Error, Result};

use crate::support::{Sandbox, component, noise, write};

/// One object of the service.
#[derive(Clone, Debug)]
struct Thing {
    path: &'static str,
    content: Vec<u8>,
    is_stream: bool,
    /// The stream fails after this many bytes.
    breaks_at: Option<usize>,
    modified: Option<i64>,
    /// What the source says of it when all are captured.
    problem: Option<Problem>,
    /// How many facts the source has to tell.
    facts: usize,
}

fn document(path: &'static str, content: &[u8]) -> Thing {
    Thing {
        path,
        content: content.to_vec(),
        is_stream: false,
        breaks_at: None,
        modified: None,
        problem: None,
        facts: 0,
    }
}

fn stream(path: &'static str, content: &[u8]) -> Thing {
    Thing { is_stream: true, ..document(path, content) }
}

/// A service that lives in memory.
#[derive(Clone, Debug, Default)]
struct Service(Arc<Mutex<Vec<Thing>>>);

impl Service {
    fn set(&self, things: &[Thing]) {
        *self.0.lock().unwrap() = things.to_vec();
    }
}

#[derive(Debug)]
struct Capture {
    things: std::vec::IntoIter<Thing>,
    taken: u64,
    problems: Vec<Problem>,
    facts: usize,
}

impl Objects for Capture {
    fn next(&mut self) -> Result<Option<Object<'_>>> {
        let Some(thing) = self.things.next() else { return Ok(None) };
        self.taken += 1;
        self.problems.extend(thing.problem.clone());
        self.facts += thing.facts;
        let body = match thing.is_stream {
            true => Body::Stream(Box::new(Slow { rest: io::Cursor::new(thing.content), breaks_at: thing.breaks_at })),
            false => Body::Bytes(thing.content),
        };
        let path = EntryPath::new(thing.path.as_bytes().to_vec())?;
        let modified = thing.modified.map(|seconds| Timestamp { seconds, nanoseconds: 7 });
        Ok(Some(Object { modified, ..Object::new(path, body) }))
    }

    fn finish(self: Box<Self>) -> Result<Facts> {
        let counts = [("things".to_owned(), self.taken)].into();
        let facts = (0..self.facts).map(|number| (number.to_string(), "fact".to_owned())).collect();
        Ok(Facts { version: Some("1.2".into()), counts, facts, problems: self.problems })
    }
}

/// Gives little at a time, as a pipe does.
struct Slow {
    rest: io::Cursor<Vec<u8>>,
    breaks_at: Option<usize>,
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let position = usize::try_from(self.rest.position()).unwrap();
        if self.breaks_at.is_some_and(|at| position >= at) {
            return Err(io::Error::other(Error::failed("the dump was cut short: exit status 1")));
        }
        let most = buffer.len().min(50_000);
        self.rest.read(&mut buffer[..most])
    }
}

impl Source for Service {
    fn probe(&self, _: &SourceContext<'_>) -> Result<Probe> {
        Ok(Probe::default())
    }

    fn capture<'a>(&'a self, _: &'a SourceContext<'a>) -> Result<Captured<'a>> {
        let things = self.0.lock().unwrap().clone();
        Ok(Captured::Objects(Box::new(Capture {
            things: things.into_iter(),
            taken: 0,
            problems: Vec::new(),
            facts: 0,
        })))
    }

    fn plan_apply<'a>(
        &'a self,
        _: &'a dyn Contents,
        _: &ApplyOptions,
        _: &'a SourceContext<'a>,
    ) -> Result<Box<dyn ApplyPlan + 'a>> {
        Err(Error::failed("not part of these tests"))
    }

    fn check(&self, _: &dyn Contents, _: &SourceContext<'_>) -> Result<Checked> {
        Ok(Checked::default())
    }

    fn undo(&self, _: &[UndoStep], _: &Path, _: &SourceContext<'_>) -> Result<()> {
        Ok(())
    }

    fn forget(&self, _: &[UndoStep], _: &Path, _: &SourceContext<'_>) -> Result<()> {
        Ok(())
    }
}

/// A sandbox with one component `service`.
fn sandbox(service: &Service) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.settings.components = vec![component("service", "/nowhere".into())];
    service.set(&[]);
    sandbox
}

fn try_create(sandbox: &mut Sandbox, service: &Service) -> Result<CreateReport> {
    sandbox.now += 60;
    sandbox.host.clock = Clock::Fixed(Moment::from_unix_seconds(sandbox.now));
    let real = Sources::default();
    let open = |spec: &ComponentConfig| -> Box<dyn Source> {
        if spec.name == "service" { Box::new(service.clone()) } else { (real.open)(spec) }
    };
    sandbox.writer()?.create_from(&sandbox.settings, Sources { open: &open, ..real }, &Recorder::default())
}

/// Makes a backup and compares what it restores, by tool and by hand, with what the service has.
fn create(sandbox: &mut Sandbox, service: &Service) -> CreateReport {
    let report = try_create(sandbox, service).unwrap();
    assert!(report.problems.is_empty() && report.failed.is_empty(), "{report:#?}");
    let verified = sandbox.verify(&report.id, Depth::Deep(100.0));
    assert!(verified.ok, "{:?}", verified.findings);
    let target = top(sandbox.restore(&report.id));
    let things = service.0.lock().unwrap().clone();
    for thing in &things {
        let restored = fs::read(target.join("service").join(thing.path)).unwrap();
        assert!(restored == thing.content, "{} came back as {} bytes", thing.path, restored.len());
    }
    report
}

/// The folder of all components, from that of the tree.
fn top(tree: PathBuf) -> PathBuf {
    tree.ancestors().nth(2).unwrap().to_owned()
}

/// Rows in an order, each with a number that can change.
fn rows(count: u32, changed: impl Fn(u32) -> bool) -> Vec<u8> {
    let mut text = Vec::new();
    for row in 0..count {
        let version = u32::from(changed(row));
        text.extend_from_slice(
            format!("{row:08}\t{:016x}\tsome text of a row\t{version}\n", row.wrapping_mul(2_654_435_761)).as_bytes(),
        );
    }
    text
}

#[test]
fn documents_and_streams_come_back_and_cost_nothing_while_they_are_equal() {
    let service = Service::default();
    let mut sandbox = sandbox(&service);
    let large = noise(3, 21 << 20);
    service.set(&[
        document("empty", b""),
        document("folder/a/one.json", b"{}"),
        document("folder/a/two.json", &noise(1, 9000)),
        document("folder/b.json", &noise(2, 700)),
        stream("folder/dump", &large),
        stream("folder/short", b"a short stream"),
        document("zz", b"last"),
    ]);
    let first = create(&mut sandbox, &service);
    let component = &first.components[0];
    assert_eq!((component.entries, component.new_entries), (9, 9), "7 objects and 2 folders");
    assert_eq!(component.source.as_ref().unwrap().counts["things"], 7);
    for _ in 0..2 {
        let again = create(&mut sandbox, &service);
        let component = &again.components[0];
        assert_eq!((component.entries, component.new_entries), (9, 0), "{again:#?}");
        assert!(component.bytes_stored < 4096, "{again:#?}");
    }
    let by_hand = top(sandbox.restore_by_hand(&first.id));
    assert!(fs::read(by_hand.join("service/folder/dump")).unwrap() == large);
}

#[test]
fn a_stream_of_which_a_little_changed_stores_a_little() {
    let service = Service::default();
    let mut sandbox = sandbox(&service);
    let count = 400_000;
    service.set(&[stream("dump", &rows(count, |_| false))]);
    let full = create(&mut sandbox, &service);
    // Neighbours, appended ones, and some that are gone.
    service.set(&[stream("dump", &rows(count, |row| (100_000..104_000).contains(&row)))]);
    let neighbours = create(&mut sandbox, &service);
    assert!(neighbours.bytes_stored * 10 < full.bytes_stored, "{} of {}", neighbours.bytes_stored, full.bytes_stored);
    service.set(&[stream("dump", &rows(count + 4_000, |row| (100_000..104_000).contains(&row)))]);
    let appended = create(&mut sandbox, &service);
    assert!(appended.bytes_stored * 10 < full.bytes_stored, "{} of {}", appended.bytes_stored, full.bytes_stored);
    let by_hand = top(sandbox.restore_by_hand(&appended.id));
    let expected = rows(count + 4_000, |row| (100_000..104_000).contains(&row));
    assert!(fs::read(by_hand.join("service/dump")).unwrap() == expected);
    // Back to what the first backup holds: everything of it is known.
    service.set(&[stream("dump", &rows(count, |row| (100_000..104_000).contains(&row)))]);
    create(&mut sandbox, &service);
}

#[test]
fn an_object_grows_from_a_document_to_a_stream_and_shrinks_again() {
    let service = Service::default();
    let mut sandbox = sandbox(&service);
    for length in [0, 100, 9 << 20, 10 << 20, 3 << 20, 9 << 20, 1] {
        service.set(&[stream("dump", &noise(5, length)), document("list", &noise(6, length.min(5000)))]);
        create(&mut sandbox, &service);
    }
}

#[test]
fn the_time_of_an_object_is_the_services_own_or_that_of_its_first_capture() {
    let service = Service::default();
    let mut sandbox = sandbox(&service);
    let dated = |modified| Thing { modified: Some(modified), ..document("dated", b"text of a certain age") };
    service.set(&[dated(1_000_000_000), document("undated", b"x")]);
    let first = create(&mut sandbox, &service);
    assert_eq!(create(&mut sandbox, &service).components[0].new_entries, 0);
    service.set(&[dated(1_000_000_001), document("undated", b"x")]);
    assert_eq!(create(&mut sandbox, &service).components[0].new_entries, 1);
    let chain = sandbox.chain(&first.id).unwrap();
    let inventory = chain.inventory("service").unwrap();
    let times: Vec<_> = inventory.readable().unwrap().map(|entry| entry.unwrap().mtime.seconds).collect();
    assert_eq!(times, [1_000_000_000, first.components[0].captured_at.unix_seconds()]);
}

#[test]
fn a_stream_that_breaks_fails_its_component_and_leaves_nothing() {
    for breaks_at in [0, 100_000, 12 << 20] {
        for earlier in [false, true] {
            let service = Service::default();
            let mut sandbox = sandbox(&service);
            let whole = stream("dump", &noise(7, 20 << 20));
            if earlier {
                service.set(std::slice::from_ref(&whole));
                create(&mut sandbox, &service);
            }
            service.set(&[Thing { breaks_at: Some(breaks_at), ..whole.clone() }]);
            let error = try_create(&mut sandbox, &service).unwrap_err().one_line();
            assert!(error.contains("component service") && error.contains("cut short: exit status 1"), "{error}");
            let left = |name: &str| name.starts_with(".incomplete");
            let names = fs::read_dir(sandbox.root()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            assert_eq!(names.filter(|name| left(name)).count(), 0);
            service.set(&[whole]);
            create(&mut sandbox, &service);
        }
    }
}

#[test]
fn objects_out_of_order_or_none_at_all_fail_the_component() {
    let service = Service::default();
    let mut sandbox = sandbox(&service);
    for (things, says) in [
        (vec![document("b", b"1"), document("a", b"2")], "order of a tree"),
        (vec![document("a", b"1"), document("a", b"2")], "order of a tree"),
        (vec![document("a", b"1"), document("a/b", b"2")], "order of a tree"),
        (vec![], "nothing to capture"),
    ] {
        service.set(&things);
        let error = try_create(&mut sandbox, &service).unwrap_err().one_line();
        assert!(error.contains(says), "{error}");
    }
}

/// Two components, of which one can fail.
fn pair(service: &Service) -> Sandbox {
    let mut sandbox = sandbox(service);
    let tree = sandbox.tree();
    write(&tree.join("file"), &noise(8, 5000));
    sandbox.settings.components.push(component("files", tree));
    sandbox
}

#[test]
fn a_component_that_fails_is_named_and_the_next_run_builds_on_its_last_good_capture() {
    let service = Service::default();
    let mut sandbox = pair(&service);
    let whole = stream("dump", &noise(9, 20 << 20));
    service.set(std::slice::from_ref(&whole));
    let good = create(&mut sandbox, &service);
    assert_eq!(good.recovery_point.unwrap().verdict, Verdict::Consistent);
    let link = |sandbox: &Sandbox, name: &str| fs::read_link(sandbox.root().join(name)).unwrap();
    assert_eq!(link(&sandbox, "latest-good"), Path::new(good.id.as_str()));
    // It fails twice in a row.
    service.set(&[Thing { breaks_at: Some(9 << 20), ..whole.clone() }]);
    for _ in 0..2 {
        write(&sandbox.tree().join("more"), &noise(10, 3000));
        let report = try_create(&mut sandbox, &service).unwrap();
        assert_eq!(report.components.len(), 1);
        assert_eq!(report.problem_count, 1);
        let failed = &report.failed[0];
        assert_eq!((failed.name.as_str(), failed.last_good.as_ref().map(|d| &d.id)), ("service", Some(&good.id)));
        assert!(failed.detail.contains("exit status 1"), "{failed:?}");
        assert_eq!(report.recovery_point.unwrap().verdict, Verdict::Partial);
        assert_eq!(link(&sandbox, "latest"), Path::new(report.id.as_str()));
        assert_eq!(link(&sandbox, "latest-good"), Path::new(good.id.as_str()));
        let verified = sandbox.verify(&report.id, Depth::Deep(100.0));
        assert!(verified.ok, "{:?}", verified.findings);
    }
    service.set(&[whole]);
    let again = create(&mut sandbox, &service);
    assert_eq!(again.components[0].new_entries, 0, "{again:#?}");
    assert!(again.bytes_stored < 20_000, "{again:#?}");
    assert_eq!(link(&sandbox, "latest-good"), Path::new(again.id.as_str()));
}

#[test]
fn a_component_that_shrank_beyond_its_bound_is_kept_and_named_and_is_no_measure_for_the_next() {
    let service = Service::default();
    let mut sandbox = pair(&service);
    sandbox.settings.components[0].expect.max_shrink = Some("50%".parse().unwrap());
    sandbox.settings.components[0].expect.min_entries = Some(1);
    service.set(&[document("list", &noise(1, 10_000))]);
    let good = create(&mut sandbox, &service);
    service.set(&[document("list", &noise(1, 4_000))]);
    for _ in 0..2 {
        let report = try_create(&mut sandbox, &service).unwrap();
        assert_eq!(report.problems.len(), 1, "{report:#?}");
        assert_eq!(report.problems[0].kind, ProblemKind::Unexpected);
        assert!(report.problems[0].detail.contains("from 10000 to 4000"), "{report:#?}");
        assert_eq!(report.recovery_point.unwrap().verdict, Verdict::Partial);
        let latest_good = fs::read_link(sandbox.root().join("latest-good")).unwrap();
        assert_eq!(latest_good, Path::new(good.id.as_str()));
    }
    service.set(&[document("list", &noise(1, 5_000))]);
    create(&mut sandbox, &service);
}

#[test]
fn a_component_that_goes_on_failing_does_not_make_the_others_full() {
    let service = Service::default();
    let mut sandbox = pair(&service);
    let whole = stream("dump", &noise(9, 20 << 20));
    service.set(std::slice::from_ref(&whole));
    let good = create(&mut sandbox, &service);
    service.set(&[Thing { breaks_at: Some(9 << 20), ..whole.clone() }]);
    // Nothing is built upon in this run, so nothing of the failed component is kept.
    sandbox.settings.full = true;
    try_create(&mut sandbox, &service).unwrap();
    sandbox.settings.full = false;
    for _ in 0..2 {
        let report = try_create(&mut sandbox, &service).unwrap();
        assert!(report.full_because.is_none(), "{:?}", report.full_because);
        assert_eq!(report.components[0].new_entries, 0, "{report:#?}");
        assert_eq!(report.failed[0].last_good.as_ref().map(|d| &d.id), Some(&good.id));
    }
    // Its last good backup goes away altogether.
    fs::remove_dir_all(sandbox.root().join(good.id.as_str())).unwrap();
    let report = try_create(&mut sandbox, &service).unwrap();
    assert!(report.full_because.is_none(), "{:?}", report.full_because);
    service.set(&[whole]);
    create(&mut sandbox, &service);
}

#[test]
fn what_a_service_did_not_let_us_see_is_published_as_a_problem() {
    let service = Service::default();
    let mut sandbox = sandbox(&service);
    let hidden = Problem { kind: "incomplete".into(), path: "list".into(), detail: "two of it are hidden".into() };
    service.set(&[Thing { problem: Some(hidden.clone()), ..document("list", b"x") }]);
    for _ in 0..2 {
        let report = try_create(&mut sandbox, &service).unwrap();
        assert_eq!(report.problems, std::slice::from_ref(&hidden));
    }
    let other = Problem { kind: ProblemKind::Other("incomplete".into()), ..hidden };
    service.set(&[Thing { problem: Some(other), ..document("list", b"x") }]);
    assert_eq!(try_create(&mut sandbox, &service).unwrap().problems[0].kind, ProblemKind::Incomplete);
}

#[test]
fn facts_beyond_the_limits_fail_the_component_and_not_the_backup() {
    let service = Service::default();
    let mut sandbox = pair(&service);
    service.set(&[Thing { facts: 1001, ..document("list", b"x") }]);
    let report = try_create(&mut sandbox, &service).unwrap();
    assert_eq!(report.failed[0].name, "service");
    assert_eq!(report.components[0].name, "files");
}

#[test]
fn what_is_empty_all_at_once_is_said_until_something_is_there_again() {
    let mut sandbox = Sandbox::new();
    write(&sandbox.tree().join("folder/file"), b"x");
    let good = sandbox.create();
    fs::remove_file(sandbox.tree().join("folder/file")).unwrap();
    for _ in 0..2 {
        let report = sandbox.try_create().unwrap();
        assert_eq!(report.problems[0].detail, "it is empty: 1 bytes were in it before");
        assert_eq!(report.recovery_point.unwrap().verdict, Verdict::Partial);
        assert_eq!(sandbox.reader().unwrap().latest_good().unwrap(), good.id);
    }
    write(&sandbox.tree().join("folder/other"), b"xy");
    let again = sandbox.create();
    assert_eq!(sandbox.reader().unwrap().latest_good().unwrap(), again.id);
    // A backup of chosen components is no recovery point of the whole.
    sandbox.settings.is_part = true;
    sandbox.create();
    assert_eq!(sandbox.reader().unwrap().latest_good().unwrap(), again.id);
}
