//! What lies at the repository's place and beside its backups: another repository, none, a lock that is no file, a
//! `latest` that is no link, and what file systems and desktops leave.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{succeed, write};
use crate::trusted::Program;

// The lock.

#[test]
fn a_lock_that_is_no_file_is_refused_and_makes_nothing_elsewhere() {
    let program = Program::new();
    program.create();
    let lock = program.path("backups/.lock");
    let elsewhere = program.path("elsewhere");
    for (about, make) in [
        ("a dangling link", ["ln", "-s", elsewhere.to_str().unwrap(), lock.to_str().unwrap()].as_slice()),
        ("a link to a file", &["ln", "-s", program.path("app/a.yaml").to_str().unwrap(), lock.to_str().unwrap()]),
        ("a pipe", &["mkfifo", lock.to_str().unwrap()]),
        ("a folder", &["mkdir", lock.to_str().unwrap()]),
    ] {
        succeed(Command::new("rm").arg("-rf").arg(&lock));
        succeed(Command::new(make[0]).args(&make[1..]));
        let mut child = program.command("create --cipher none --path app").spawn().unwrap();
        let begun = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if begun.elapsed() > Duration::from_secs(60) => {
                    child.kill().unwrap();
                    panic!("{about}: it hangs");
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        assert_eq!(status.code(), Some(4), "{about}");
        let (_, err) = program.run("create --cipher none --path app", 4);
        assert!(err.contains("is not a regular file") && err.contains("hint"), "{about}: {err}");
        assert!(!elsewhere.exists(), "{about}");
        let notes = program.json("verify", 0)["notes"].clone();
        assert!(notes[0]["path"] == ".lock", "{about}: {notes}");
    }
    // The same where a first run would make the repository.
    fs::create_dir(program.path("first")).unwrap();
    symlink(&elsewhere, program.path("first/.lock")).unwrap();
    program.run("--repo first create --cipher none --path app", 4);
    assert!(!elsewhere.exists());
}

// The record.

#[test]
fn a_damaged_record_hinders_nobody_to_restore_what_is_signed() {
    let program = Program::new();
    program.create();
    let record = program.path("backups/repository.json");
    let good = fs::read(&record).unwrap();
    for (number, bad) in [Some(&b"{"[..]), Some(&[b"x", &good[..]].concat()), None].into_iter().enumerate() {
        match bad {
            Some(bad) => write(&record, bad),
            None => fs::remove_file(&record).unwrap(),
        }
        let (_, err) = program.run("ls", 0);
        assert!(err.contains("repository.json"), "{err}");
        let found = program.json("verify", 4)["findings"].clone();
        assert!(found.as_array().unwrap().len() == 1 && found[0]["kind"] == "repository", "{found}");
        program.run(&format!("restore --target out{number}"), 4);
        assert!(program.path(&format!("out{number}/files/app/a.yaml")).exists());
        program.run("create --cipher none --path app", 4);
    }
    write(&record, b"{\"format\":\"ccbackup\",\"version\":2}");
    program.run("restore --target newer", 1);
}

// The link.

#[test]
fn a_latest_that_cannot_be_moved_makes_no_failure_of_a_backup() {
    let program = Program::new();
    let first = program.create();
    let latest = program.path("backups/latest");
    fs::remove_file(&latest).unwrap();
    write(&latest.join("inside"), b"x");
    let (out, err) = program.run("create --cipher none --path app --json", 0);
    let id = serde_json::from_str::<Value>(&out).unwrap()["id"].as_str().unwrap().to_owned();
    assert!(err.contains("latest") && err.contains("folder"), "{err}");
    assert!(latest.join("inside").exists());
    // The next one is built on it, and every verb knows it for the newest.
    let report = program.json("create --cipher none --path app", 0);
    assert_eq!((&report["kind"], &report["parent"]), (&json!("incremental"), &json!(id)));
    assert_eq!(program.json("show", 0)["manifest"]["id"], report["id"]);
    assert!(program.json("diff", 2)["error"].is_object());
    program.run(&format!("diff {first} latest"), 0);
    fs::remove_dir_all(&latest).unwrap();
    let id = program.create();
    assert_eq!(fs::read_link(&latest).unwrap().to_str(), Some(id.as_str()));
}

#[test]
fn an_odd_latest_and_other_signers_in_the_convenience_copy_are_notes() {
    let program = Program::new();
    let first = program.create();
    program.create();
    let noted = |about: &str| {
        let report = program.json("verify --all", 0);
        let notes = report["notes"].as_array().unwrap().clone();
        assert_eq!(report["ok"], true, "{about}");
        assert!(notes.iter().all(|n| n["detail"].is_string()), "{about}: {notes:?}");
        notes.iter().map(|n| n["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(noted("as it should be"), Vec::<String>::new());
    let latest = program.path("backups/latest");
    let good = fs::read_link(&latest).unwrap();
    for target in [None, Some(first.as_str()), Some("nowhere"), Some("/etc"), Some("../app")] {
        fs::remove_file(&latest).unwrap();
        if let Some(target) = target {
            symlink(target, &latest).unwrap();
        }
        assert_eq!(noted("latest"), ["latest"], "{target:?}");
        if target.is_none() {
            symlink("x", &latest).unwrap();
        }
    }
    fs::remove_file(&latest).unwrap();
    write(&latest, b"a file");
    assert_eq!(noted("a file as latest"), ["latest"]);
    fs::remove_file(&latest).unwrap();
    symlink(good, &latest).unwrap();

    let signers = program.path("backups/allowed_signers");
    let good = fs::read(&signers).unwrap();
    for bad in [b"".to_vec(), b"\xff".to_vec(), good.to_ascii_lowercase(), [&good[..], b"x\n"].concat()] {
        write(&signers, &bad);
        assert_eq!(noted("signers"), ["allowed_signers"]);
    }
    fs::remove_file(&signers).unwrap();
    assert_eq!(noted("no signers"), ["allowed_signers"]);
    let (out, err) = program.run("verify", 0);
    assert!(out.contains("no damage") && err.contains("allowed_signers"), "people are told too: {out}{err}");
}

// Beside the backups.

#[test]
fn what_others_leave_beside_the_backups_is_a_note_and_inside_them_a_finding() {
    let program = Program::new();
    let id = program.create();
    let names =
        ["#recycle", ".DS_Store", ".Trash-1000", ".snapshot", "@eaDir", "System Volume Information", "lost+found"];
    for name in names {
        write(&program.path("backups").join(name).join("x"), b"x");
    }
    write(&program.path("backups/notes\u{1b}.txt"), b"x");
    let report = program.json("verify --all", 0);
    let mut noted: Vec<_> = report["notes"].as_array().unwrap().iter().map(|n| n["path"].as_str().unwrap()).collect();
    noted.sort_unstable();
    assert_eq!(noted.len(), names.len() + 1);
    assert!(noted.contains(&"notes\\033.txt") && names.iter().all(|n| noted.contains(n)), "{noted:?}");
    let (_, err) = program.run("verify", 0);
    assert!(err.contains("lost+found"), "{err}");
    program.create();

    write(&program.path("backups").join(&id).join("@eaDir/x"), b"x");
    let report = program.json("verify --all", 4);
    assert_eq!(report["findings"][0]["kind"], "unexpected");
    fs::remove_dir_all(program.path("backups").join(&id).join("@eaDir")).unwrap();
    // What stands where a backup should is no note.
    for (name, is_link) in [("20990101-000000", true), ("20990101-000001", false)] {
        let path = program.path("backups").join(name);
        if is_link {
            symlink(&id, &path).unwrap();
        } else {
            write(&path, b"x");
        }
        let report = program.json("verify --all", 4);
        assert_eq!(report["findings"][0]["path"], name, "{report:#}");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_new_file_system_is_an_empty_folder_for_a_first_run() {
    let program = Program::new();
    fs::create_dir_all(program.path("backups/lost+found")).unwrap();
    program.create();
}

#[test]
fn a_name_of_an_unfinished_backup_that_is_no_folder_is_left_alone() {
    let program = Program::new();
    program.create();
    write(&program.path("precious/file"), b"x");
    symlink("../precious", program.path("backups/.incomplete-20990101-000000")).unwrap();
    write(&program.path("backups/.incomplete-20990101-000001"), b"x");
    program.create();
    assert!(program.path("precious/file").exists());
}

// The place.

#[test]
fn a_place_where_the_repository_is_gone_is_refused() {
    let program = Program::new();
    program.create();
    fs::rename(program.path("backups"), program.path("unmounted")).unwrap();
    for is_there in [false, true] {
        if is_there {
            fs::create_dir(program.path("backups")).unwrap();
        }
        for line in ["create --cipher none --path app", "create --cipher none --path app --dry-run"] {
            let failed = program.json(line, 5);
            assert_eq!(failed["error"]["kind"], "other-repository", "{line}");
            let hint = failed["error"]["hint"].as_str().unwrap();
            assert!(hint.contains("mount") && hint.contains("--adopt"), "{hint}");
        }
        for line in ["verify", "list", "restore --target out", "show"] {
            let failed = program.json(line, 1);
            assert_eq!(failed["error"]["kind"], "not-found", "{line}");
            assert!(failed["error"]["hint"].as_str().unwrap().contains("mounted"), "{line}: {failed}");
        }
    }
    assert_eq!(fs::read_dir(program.path("backups")).unwrap().count(), 0, "nothing is made there");
    // By another name of the same place, too.
    symlink(program.dir.path(), program.path("here")).unwrap();
    program.run("--repo here/backups create --cipher none --path app", 5);
    // A new place is nobody's, and the repository may move.
    program.run("--repo other create --cipher none --path app", 0);
    program.run("--repo unmounted create --cipher none --path app", 0);
    let report = program.json("create --cipher none --path app --adopt", 0);
    assert_eq!(report["kind"], "full");
    program.create();
}

#[test]
fn another_repository_of_the_same_signer_is_refused_until_it_is_adopted() {
    let program = Program::new();
    program.create();
    program.run("--repo second create --cipher none --path app", 0);
    let swap = || {
        for (from, to) in [("backups", "aside"), ("second", "backups"), ("aside", "second")] {
            fs::rename(program.path(from), program.path(to)).unwrap();
        }
    };
    swap();
    let failed = program.json("create --cipher none --path app", 5);
    assert_eq!(failed["error"]["kind"], "other-repository");
    // Readers say so, and read.
    let (_, err) = program.run("verify", 0);
    assert!(err.contains("this host has written to the repository"), "{err}");
    program.json("create --cipher none --path app --adopt", 0);
    // Disks that take turns are both known from then on.
    program.create();
    swap();
    program.create();
}
