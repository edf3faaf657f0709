use super::*;

#[test]
fn paths_far_longer_than_a_system_call_takes_work() {
    for known_kernel_call in [true, false] {
        let place = Place::new();
        let target = place.open(true);
        target.shared.descent.openat2.store(known_kernel_call, Ordering::Relaxed);
        let mut deep = "n".repeat(200);
        let mut folders = vec![dir(&deep)];
        while deep.len() < 30_000 {
            deep = format!("{deep}/{}", "n".repeat(200));
            folders.push(dir(&deep));
        }
        for folder in &folders {
            target.make_dir(folder).expect("made");
        }
        let e = file(format!("{deep}/f"), b"deep");
        target.write_file(&e, b"deep").expect("written");
        assert_eq!(target.hash_existing(&e).expect("hashed"), Some(Digest::of(b"deep")));
        for folder in folders.iter().rev() {
            target.finish_dir(folder).expect("finished");
            assert_eq!(target.existing(folder).expect("compared"), Existing::Same);
        }
        let count = sweep(&target, |_| false).len();
        assert_eq!((count, names(&place.at(""))), (folders.len() + 1, Vec::new()));
    }
}

#[test]
fn sweep_removes_only_what_is_not_kept_and_never_through_links() {
    let place = Place::new();
    let target = place.open(false);
    for d in ["keep", "keep/old", "old", "old/d", "half"] {
        target.make_dir(&dir(d)).expect("made");
    }
    for f in ["keep/f", "keep/old/f", "old/d/f", "half/kept", "half/not", "top", "keep/.ccbackup-0123456789abcdef.part"]
    {
        target.write_file(&file(f, b"x"), b"x").expect("written");
    }
    symlink(place.outside(), place.at("keep/out")).expect("made");
    for d in ["keep", "half"] {
        target.finish_dir(&dir(d)).expect("finished");
    }
    let keep = |p: &[u8]| [&b"keep"[..], b"keep/f", b"half/kept"].contains(&p);
    let expected = [
        "half/not",
        "keep/.ccbackup-0123456789abcdef.part",
        "keep/old",
        "keep/old/f",
        "keep/out",
        "old",
        "old/d",
        "old/d/f",
        "top",
    ];
    let listed = |open_closed| target.extras(&keep, open_closed).expect("listed");
    let looks = [listed(false), listed(true)];
    assert!(place.at("old/d/f").exists() && place.at("top").exists(), "a listing removes nothing");
    for swept in looks.into_iter().chain([sweep(&target, keep).into_iter().map(Into::into).collect()]) {
        let mut texts: Vec<String> = Vec::new();
        for path in swept {
            let text = String::from_utf8(path.into()).expect("text");
            assert!(!texts.iter().any(|r| text.starts_with(&format!("{r}/"))), "folders come last");
            texts.push(text);
        }
        texts.sort();
        assert_eq!(texts, expected);
    }
    assert_eq!(
        (names(&place.at("")), names(&place.at("keep"))),
        (vec!["half".into(), "keep".into()], vec!["f".into()])
    );
    assert_eq!((mtime(&place.at("keep")), mtime(&place.at("half"))), (TIME, TIME), "kept folders keep their time");
    place.assert_outside_is_untouched();
    assert_eq!(target.take_problems(), []);
}

#[test]
fn sweep_does_not_enter_another_file_system() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let target = place.open(true);
    target.make_dir(&dir("mnt")).expect("made");
    let at = place.at("mnt");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&at).status();
    assert!(mounted.is_ok_and(|s| s.success()), "mount is needed for this test, and leave to use it");
    put(&at.join("f"), b"x");
    let swept = sweep(&target, |_| false);
    let replaced = target.write_file(&file("mnt", b"x"), b"x");
    let left = names(&at);
    run("umount", &[at.as_os_str()]);
    assert_eq!(swept, [b""; 0]);
    assert!(replaced.is_err());
    assert_eq!(left, ["f"]);
    let problems = target.take_problems();
    assert!(problems.len() == 1 && problems[0].1.contains("another file system"), "{problems:?}");
}

#[test]
fn exactly_what_was_listed_is_removed() {
    let place = Place::new();
    let target = place.open(true);
    for d in ["full", "full/in", "gone", "exchanged", "empty"] {
        target.make_dir(&dir(d)).expect("made");
    }
    for f in ["full/a", "full/in/b", "gone/c", "exchanged/secret"] {
        target.write_file(&file(f, b"x"), b"x").expect("written");
    }
    let listed = target.extras(&|_| false, false).expect("listed");
    assert_eq!(listed.len(), 9);
    put(&place.at("full/in/new"), b"x");
    put(&place.at("new"), b"x");
    fs::remove_dir_all(place.at("gone")).expect("removed");
    fs::remove_dir_all(place.at("exchanged")).expect("removed");
    symlink(place.outside(), place.at("exchanged")).expect("made");
    let mut removed = Vec::new();
    target.remove(&listed, &mut |path| removed.push(path.to_vec()));
    assert_eq!(names(&place.at("")), ["full", "new"]);
    assert_eq!((names(&place.at("full")), names(&place.at("full/in"))), (vec!["in".into()], vec!["new".into()]));
    let (stayed, gone): (Vec<_>, Vec<_>) = listed.iter().partition(|path| !removed.contains(&path.to_vec()));
    assert_eq!((stayed.len(), gone.len()), (2, 7), "full and full/in hold something new");
    let problems = target.take_problems();
    assert!(problems.len() == 2 && problems[0].0 == path("full/in"), "{problems:?}");
    place.assert_outside_is_untouched();
}
