use super::*;

#[test]
fn paths_far_longer_than_a_system_call_takes_work() {
    for known_kernel_call in [true, false] {
        let place = Place::new();
        let target = place.open(true);
        target.shared.folders.openat2.store(known_kernel_call, Ordering::Relaxed);
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
        let mut count = 0;
        target.sweep(&|_| false, false, &mut |_| count += 1).expect("swept");
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
    for dry_run in [true, false] {
        let mut removed = Vec::new();
        target
            .sweep(&keep, dry_run, &mut |p| {
                let text = String::from_utf8(p.to_vec()).expect("text");
                assert!(!removed.iter().any(|r: &String| text.starts_with(&format!("{r}/"))), "folders come last");
                removed.push(text);
            })
            .expect("swept");
        removed.sort();
        assert_eq!(removed, expected);
        assert_eq!(place.at("old/d/f").exists(), dry_run);
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
    let swept = target.sweep(&|_| false, false, &mut |_| {});
    let replaced = target.write_file(&file("mnt", b"x"), b"x");
    let left = names(&at);
    run("umount", &[at.as_os_str()]);
    swept.expect("swept");
    assert!(replaced.is_err());
    assert_eq!(left, ["f"]);
    let problems = target.take_problems();
    assert!(problems.len() == 1 && problems[0].1.contains("another file system"), "{problems:?}");
}
