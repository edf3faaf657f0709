//! docs/OUTPUT.md, ARCHITECTURE.md, RECOVERY.md and THREAT_MODEL.md keep what they promise.

use std::fs;
use std::path::Path;
use std::process::Command;

use ccbackup::cli::with_next;
use ccbackup::engine::query;
use ccbackup::engine::verify::{Depth, Finding};
use ccbackup::error::{Error, Kind};

use ccbackup::model::{BackupKind, Dependency, Digest, FailedComponent, Problem};
use ccbackup::repo::catalog::Catalog;

use crate::format_doc::{blocks, doc, example_of};
use crate::support::{Sandbox, noise, succeed, write};

/// Same keys in the same order, same types; null stands for any value.
fn assert_shape(documented: &serde_json::Value, real: &serde_json::Value, at: &str) {
    use serde_json::Value::{Array, Bool, Null, Number, Object, String};
    match (documented, real) {
        (Object(d), Object(r)) => {
            assert_eq!(d.keys().collect::<Vec<_>>(), r.keys().collect::<Vec<_>>(), "keys of {at}");
            d.iter().for_each(|(key, value)| assert_shape(value, &r[key], &format!("{at}.{key}")));
        }
        (Array(d), Array(r)) => {
            assert!(!d.is_empty() && !r.is_empty(), "{at} should show an element");
            assert_shape(&d[0], &r[0], &format!("{at}[0]"));
        }
        (Null, _) | (_, Null) | (String(_), String(_)) | (Number(_), Number(_)) | (Bool(_), Bool(_)) => {}
        _ => panic!("{at} is {documented} in the document and {real} in the code"),
    }
}

pub(crate) fn check_output(name: &str, real: &impl serde::Serialize) {
    let documented = serde_json::from_str(&example_of("OUTPUT.md", name)).unwrap();
    assert_shape(&documented, &serde_json::to_value(real).unwrap(), name);
}

#[test]
fn json_documents_are_those_that_are_promised() {
    let mut sandbox = Sandbox::new();
    write(&sandbox.tree().join("f"), b"x");
    sandbox.create();
    write(&sandbox.tree().join("g"), b"y");
    let mut created = sandbox.create();
    let problem = Problem { kind: "changed".into(), path: "p".into(), detail: "d".into() };
    created.problems.push(problem.clone());
    created.components[0].problems.push(problem.clone());
    let last_good = Some(Dependency { id: created.id.clone(), sums_sha256: Digest::of(b"") });
    let text = String::new;
    let failed = FailedComponent { name: text(), kind: text(), reason: text(), detail: text(), last_good };
    created.failed.push(failed);
    check_output("create", &created);
    let mut listed = query::list(&sandbox.repo(), &sandbox.state(), &sandbox.trust()).unwrap();
    listed[0].failed.push("postgres".into());
    listed[0].unexpected.push("configs".into());
    check_output("list", &listed);

    let target = sandbox.scratch("out");
    let mut restored = sandbox.try_restore(&created.id, &target, |_| {}).unwrap();
    fs::remove_file(sandbox.root().join(created.id.as_str()).join("README.txt")).unwrap();
    write(&sandbox.root().join("lost+found/x"), b"x");
    let report = sandbox.verify_with(&created.id, Depth::Deep(100.0), false).unwrap();
    let finding: Finding = report.findings[0].clone();
    check_output("verify", &with_next(&report, &report.findings).unwrap());
    restored.findings.push(finding);
    restored.problems.push(problem);
    restored.deleted.push("files/tree/old".into());
    check_output("restore", &with_next(&restored, &restored.findings).unwrap());

    let (terminal, out, _) = ccbackup::cli::Terminal::captured();
    let error = Error::failed("message").because(Error::failed("cause")).hint("hint");
    ccbackup::cli::report(&terminal, &error, true);
    check_output("error", &serde_json::from_str::<serde_json::Value>(&out.text()).unwrap());
}

#[test]
fn exit_codes_are_those_that_are_promised() {
    let text = doc("OUTPUT.md");
    use Kind::{
        ClockBack, Damage, Denied, Failed, Incomplete, Interrupted, Locked, NewerFormat, NoKey, NotConfirmed, NotFound,
        OtherHost, OtherRepository, TimedOut, ToolMissing, Unreachable, Unreadable, Unsigned, Usage, Version,
        WouldOverwrite, WrongKey, WrongSigner,
    };
    let kinds = [
        Failed,
        NotFound,
        NewerFormat,
        NoKey,
        WrongKey,
        Unreachable,
        Denied,
        ToolMissing,
        TimedOut,
        Version,
        Incomplete,
        Usage,
        Damage,
        Unreadable,
        Locked,
        Unsigned,
        WrongSigner,
        OtherHost,
        OtherRepository,
        ClockBack,
        WouldOverwrite,
        NotConfirmed,
        Interrupted(2),
        Interrupted(15),
    ];
    for kind in kinds {
        let row = format!("| `{}` | {} |", kind.name(), kind.exit_code());
        assert!(text.contains(&row), "OUTPUT.md should have the row {row}");
    }
}

#[test]
fn the_map_names_only_what_is_there() {
    let text = doc("ARCHITECTURE.md");
    let named: Vec<_> = text.split('`').skip(1).step_by(2).filter(|name| name.starts_with("src/")).collect();
    assert!(named.len() > 30, "{}", named.len());
    for name in named {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(name).exists(), "ARCHITECTURE.md names {name}");
    }
}

/// The commands of the worst day, in the order of the page, on a machine that knows nothing but the identity.
#[test]
fn the_commands_of_recovery_work_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let tool = Path::new(env!("CARGO_BIN_EXE_ccbackup"));
    let at = |name: &str| dir.path().join(name);
    let on_host = |arguments: &[&str]| {
        let mut command = Command::new(tool);
        command.args(arguments).current_dir(dir.path()).env_clear().env("CCBACKUP_HOME", at("host"));
        succeed(&mut command)
    };
    write(&at("app/settings.yaml"), b"first");
    write(&at("app/data"), &noise(1, 100_000));
    on_host(&["--repo", "rescue/backups", "create", "--encrypt", "--path", "app"]);
    write(&at("app/settings.yaml"), b"second");
    on_host(&["--repo", "rescue/backups", "create", "--encrypt", "--path", "app"]);
    write(&at("rescue/identity.txt"), &on_host(&["key", "export", "--secret"]).stdout);

    let script: String =
        blocks(&doc("RECOVERY.md")).into_iter().filter(|(i, _)| i == "sh run").map(|(_, t)| t).collect();
    assert!(script.matches("ccbackup").count() > 5 && script.contains("restore.sh"));
    let path = format!("{}:{}", tool.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-euxo", "pipefail", "-c", &script]).current_dir(at("rescue"));
    succeed(shell.env("CCBACKUP_HOME", at("new host")).env("PATH", path));
    let read = |name: &str| fs::read(at("rescue").join(name)).unwrap();
    for restored in ["out/files/app/settings.yaml", "out-by-hand/files/app/settings.yaml", "settings.yaml"] {
        assert_eq!(read(restored), b"second", "{restored}");
    }
    assert_eq!(read("out-one/app/settings.yaml"), b"first");
}

/// A host signs what its new backup depends on. Somebody who can write to the repository must not choose what that is.
#[test]
fn a_manifest_that_was_changed_in_the_repository_is_not_built_upon() {
    let mut sandbox = Sandbox::plain();
    write(&sandbox.tree().join("f"), &noise(1, 10_000));
    let full = sandbox.create().id;
    write(&sandbox.tree().join("g"), b"new");
    let newest = sandbox.create().id;
    // The full backup is replaced, and the newest manifest made to name the replacement.
    let sums = sandbox.root().join(full.as_str()).join("SHA256SUMS");
    let old = fs::read(&sums).unwrap();
    let forged = [&old[..], format!("{}  extra\n", Digest::of(b"extra")).as_bytes()].concat();
    write(&sums, &forged);
    let manifest = sandbox.root().join(newest.as_str()).join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let text = text.replace(&Digest::of(&old).to_string(), &Digest::of(&forged).to_string());
    write(&manifest, text.as_bytes());

    let next = sandbox.create();
    assert_eq!(next.kind, BackupKind::Full);
    assert!(next.full_because.unwrap().why.contains("manifest"));
}

#[test]
fn numbers_in_a_forged_manifest_are_no_reason_to_panic() {
    let mut sandbox = Sandbox::plain();
    write(&sandbox.tree().join("f"), b"x");
    let id = sandbox.create().id;
    let manifest = sandbox.root().join(id.as_str()).join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let largest = u64::MAX;
    let mut forged: serde_json::Value = serde_json::from_str(&text).unwrap();
    forged["sequence"] = largest.into();
    let component = forged["components"][0].clone();
    forged["components"].as_array_mut().unwrap().push(component);
    for (component, name) in forged["components"].as_array_mut().unwrap().iter_mut().zip(["files", "more"]) {
        component["name"] = name.into();
        component["archives"] = serde_json::json!([]);
        component["index"]["name"] = format!("{name}.index.zst").into();
        component["bytes_stored"] = largest.into();
        component["problems"] = serde_json::json!([{"kind": "changed", "count": largest}]);
    }
    write(&manifest, forged.to_string().as_bytes());
    let listed = &Catalog::load(&sandbox.repo()).unwrap().backups[0].manifest;
    assert_eq!(listed.as_ref().unwrap_err().kind(), Kind::Damage);
    query::list(&sandbox.repo(), &sandbox.state(), &sandbox.trust()).unwrap();
    assert!(sandbox.create().full_because.is_some(), "nothing is built on a forged manifest");
}

#[test]
fn the_examples_of_the_configuration_are_read() {
    let text = doc("CONFIGURATION.md");
    let examples: Vec<_> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let file = Path::new("/site/ccbackup.toml");
        let config = ccbackup::config::parse(example, file, None).unwrap_or_else(|e| panic!("{e}\n{example}"));
        assert!(!config.components.is_empty());
    }
}
