use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::CommandSource;
use crate::config::CommandConfig;
use crate::environment::Environment;
use crate::error::{Context as _, Kind, Result};
use crate::model::Moment;
use crate::monitor::Recorder;
use crate::secret::SecretRef;
use crate::source::{Body, Captured, Facts, Source as _, SourceContext};

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

fn config(script: &str) -> CommandConfig {
    CommandConfig { capture: shell(script), ..CommandConfig::default() }
}

/// What a capture gives: path, bytes and facts of the one object.
fn capture(config: CommandConfig) -> Result<(String, Vec<u8>, Facts)> {
    let path = std::env::var_os("PATH").unwrap();
    let environment =
        Environment::new([("PATH".into(), path), ("OURS".into(), "ours".into()), ("KEY".into(), "canary".into())]);
    let monitor = Recorder::default();
    let now = Moment::from_unix_seconds(0);
    let context =
        SourceContext { component: "x", environment: &environment, monitor: &monitor, scratch: Path::new("/"), now };
    let source = CommandSource::new(config);
    let Captured::Objects(mut objects) = source.capture(&context)? else { panic!("a tree") };
    let (path, bytes) = {
        let object = objects.next()?.unwrap();
        let Body::Stream(mut stream) = object.body else { panic!("a document") };
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).doing("cannot capture")?;
        (object.path.to_string(), bytes)
    };
    assert!(objects.next()?.is_none());
    Ok((path, bytes, objects.finish()?))
}

#[test]
fn the_output_of_a_program_is_one_object() {
    let (path, bytes, facts) = capture(config("printf 'a\\nb'")).unwrap();
    assert_eq!((&*path, &*bytes, facts.counts["bytes"]), ("output", &b"a\nb"[..], 3));
    let named = CommandConfig { object: "etcd/snapshot.db".into(), ..config("echo x") };
    assert_eq!(capture(named).unwrap().0, "etcd/snapshot.db");
}

#[test]
fn a_dump_that_is_not_whole_fails_and_says_why() {
    let whole = CommandConfig { end_marker: Some("-- complete".into()), ..CommandConfig::default() };
    let quick = CommandConfig { silence: Duration::from_secs(1), ..CommandConfig::default() };
    let at_least = CommandConfig { min_bytes: 100, ..CommandConfig::default() };
    let cases = [
        ("seq 90000; echo disk gone >&2; exit 1", CommandConfig::default(), Kind::Failed, "disk gone"),
        ("true", CommandConfig::default(), Kind::Incomplete, "after 0 bytes, at least 1"),
        ("echo short", at_least, Kind::Incomplete, "after 6 bytes, at least 100"),
        ("echo data; sleep 100", quick, Kind::TimedOut, "no sign of life for 1 s"),
        ("seq 90000; kill -9 $$", CommandConfig::default(), Kind::Failed, "SIGKILL"),
        ("seq 90000", whole.clone(), Kind::Incomplete, "end marker"),
        ("echo '-- complete'; head -c 5000 /dev/zero", whole, Kind::Incomplete, "end marker"),
    ];
    for (script, config, kind, said) in cases {
        let begun = Instant::now();
        let error = capture(CommandConfig { capture: shell(script), ..config }).unwrap_err();
        assert_eq!(error.kind(), kind, "{script}: {}", error.one_line());
        assert!(error.one_line().contains(said), "{script}: {}", error.one_line());
        assert!(begun.elapsed() < Duration::from_secs(10), "{script}");
    }
}

#[test]
fn an_end_marker_is_found_wherever_reads_cut_it() {
    for behind in [0, 1, 100, 4084] {
        let script = format!("seq 3000; printf 'complete'; sleep 0.05; printf ' end'; head -c {behind} /dev/zero");
        let marked = CommandConfig { end_marker: Some("complete end".into()), ..config(&script) };
        assert!(capture(marked).is_ok(), "{behind}");
    }
}

#[test]
fn programs_get_what_is_named_and_nothing_else_and_errors_hide_it() {
    let env = [
        ("SECRET".to_owned(), Some(SecretRef::Env("KEY".into()))),
        ("OURS".to_owned(), None),
        ("UNSET".to_owned(), None),
    ];
    let show = "echo $SECRET ${OURS-} ${UNSET-unset} ${KEY-hidden}";
    let with = |script: &str| CommandConfig { env: env.clone().into_iter().collect(), ..config(script) };
    assert_eq!(capture(with(show)).unwrap().1, b"canary ours unset hidden\n");
    let error = capture(with("echo wrong password $SECRET >&2; exit 1")).unwrap_err();
    assert!(error.one_line().contains("wrong password ***") && !format!("{error:?}").contains("canary"), "{error:?}");
    let missing = CommandConfig {
        env: [("SECRET".to_owned(), Some(SecretRef::Env("NOT_SET".into())))].into_iter().collect(),
        ..config("true")
    };
    assert!(capture(missing).unwrap_err().one_line().contains("NOT_SET"));
}

#[test]
fn a_missing_program_is_told_before_anything_runs() {
    let nowhere = CommandConfig { capture: vec!["ccbackup-is-not-there".into()], ..CommandConfig::default() };
    assert_eq!(capture(nowhere.clone()).unwrap_err().kind(), Kind::ToolMissing);
    let environment = Environment::default();
    let monitor = Recorder::default();
    let now = Moment::from_unix_seconds(0);
    let context =
        SourceContext { component: "x", environment: &environment, monitor: &monitor, scratch: Path::new("/"), now };
    let probe = CommandSource::new(CommandConfig { apply: shell("cat"), ..nowhere }).probe(&context).unwrap();
    assert_eq!(probe.missing.len(), 1, "{probe:?}");
    assert!(probe.missing[0].contains("ccbackup-is-not-there") && probe.finds[0].starts_with("apply: /"), "{probe:?}");
}
