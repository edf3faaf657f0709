use super::*;

#[test]
fn times_before_1970_and_modes_that_the_umask_forbids_are_exact() {
    let place = Place::new();
    let target = place.open(false);
    for (i, (seconds, nanoseconds, bits)) in
        [(-2, 750_000_000, 0o777), (-86_400 * 365 * 10, 1, 0o666), (0, 0, 0o000), (4_000_000_000, 999_999_999, 0o4755)]
            .into_iter()
            .enumerate()
    {
        let mut e = file(format!("f{i}"), b"x");
        e.mtime = Timestamp { seconds, nanoseconds };
        e.mode = bits;
        target.write_file(&e, b"x").expect("written");
        assert_eq!((mtime(&place.at(&format!("f{i}"))), mode(&place.at(&format!("f{i}")))), (e.mtime, bits));
        assert!(same_shape(&target, &e).metadata_equal);
    }
    let mut sticky = dir("tmp");
    sticky.mode = 0o3777;
    target.make_dir(&sticky).expect("made");
    target.finish_dir(&sticky).expect("finished");
    assert_eq!(mode(&place.at("tmp")), 0o3777);
}

#[test]
fn attributes_and_acls_are_set_read_by_the_tools_and_removed_again() {
    let place = Place::new();
    let target = place.open(true);
    fs::create_dir_all(place.at("model")).expect("made");
    put(&place.at("model/f"), b"x");
    run("setfacl", &["-m".as_ref(), "u:12345:rw,g:54321:r".as_ref(), place.at("model/f").as_os_str()]);
    run("setfacl", &["-d".as_ref(), "-m".as_ref(), "u:12345:rwx".as_ref(), place.at("model").as_os_str()]);
    let read = |at: &str, name: &str| {
        let (_, handle) =
            (0, handle::Handle::open(rustix::fs::CWD, place.at(at).as_os_str().as_bytes()).expect("open"));
        handle.0.xattrs().value(name.as_bytes()).expect("read")
    };
    let acl = read("model/f", "system.posix_acl_access").expect("set by setfacl");
    let default = read("model", "system.posix_acl_default").expect("set by setfacl");

    let mut e = file("f", b"content");
    e.mode = mode(&place.at("model/f"));
    e.xattrs = vec![xattr("system.posix_acl_access", &acl), xattr("user.bytes", b"\0\xff\n"), xattr("user.empty", b"")];
    target.write_file(&e, b"content").expect("written");
    assert!(same_shape(&target, &e).metadata_equal, "{:?}", target.take_problems());
    let shown = run("getfacl", &["-pn".as_ref(), place.at("f").as_os_str()]);
    assert!(shown.contains("user:12345:rw-") && shown.contains("group:54321:r--"), "{shown}");
    assert_eq!(read("f", "user.bytes").as_deref(), Some(&b"\0\xff\n"[..]));

    let mut plain = file("f", b"content");
    plain.xattrs = vec![xattr("user.bytes", b"other")];
    assert!(!same_shape(&target, &plain).metadata_equal);
    target.fix_metadata(&plain).expect("fixed");
    assert_eq!((mode(&place.at("f")), read("f", "user.bytes").as_deref()), (0o644, Some(&b"other"[..])));
    assert_eq!((read("f", "user.empty"), read("f", "system.posix_acl_access")), (None, None));

    // What is made in a folder with a default ACL inherits it, and must not keep it.
    let mut d = dir("d");
    d.xattrs = vec![xattr("system.posix_acl_default", &default)];
    target.make_dir(&d).expect("made");
    target.finish_dir(&d).expect("finished");
    let heir = file("d/f", b"content");
    target.write_file(&heir, b"content").expect("written");
    let begun = file("d/large", b"content");
    let pending = target.begin_file(&begun).expect("begun");
    pending.write_at(0, b"content").expect("written");
    pending.commit().expect("committed");
    target.make_node(&entry("d/pipe", EntryKind::Fifo)).expect("made");
    target.make_dir(&dir("d/d")).expect("made");
    target.finish_dir(&dir("d/d")).expect("finished");
    target.finish_dir(&d).expect("finished");
    for name in ["d/f", "d/large", "d/pipe", "d/d"] {
        assert_eq!(read(name, "system.posix_acl_access"), None, "{name}");
        assert_eq!(read(name, "system.posix_acl_default"), None, "{name}");
    }
    assert_eq!((mode(&place.at("d/f")), mode(&place.at("d/pipe"))), (0o644, 0o644));
    assert!(same_shape(&target, &heir).metadata_equal);
    assert_eq!(target.existing(&d).expect("compared"), Existing::Same);
    assert_eq!(target.take_problems(), []);
}

#[test]
fn an_attribute_that_is_not_possible_is_a_problem_and_the_file_is_there() {
    let place = Place::new();
    let target = place.open(false);
    let mut e = file("f", b"x");
    e.xattrs = vec![xattr("nonsense", b"x"), xattr("user.huge", &vec![1; 1 << 19]), xattr("user.good", b"x")];
    target.write_file(&e, b"x").expect("written");
    let problems = target.take_problems();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].0 == e.path && problems[0].1.contains("nonsense"), "{problems:?}");
    assert_eq!(mtime(&place.at("f")), TIME);
    let without =
        Destination::made_at(&place.at(""), DestinationOptions { xattrs: false, ..target.options() }).expect("opens");
    assert!(same_shape(&without, &e).metadata_equal);
}

#[test]
fn root_restores_owners_capabilities_devices_and_attributes_of_links() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let target = place.open(true);
    put(&place.outside().join("ping"), b"x");
    run("setcap", &["cap_net_raw+ep".as_ref(), place.outside().join("ping").as_os_str()]);
    let model = handle::Handle::open(rustix::fs::CWD, place.outside().join("ping").as_os_str().as_bytes());
    let capability =
        model.expect("opened").0.xattrs().value(b"security.capability").expect("read").expect("set by setcap");
    fs::remove_file(place.outside().join("ping")).expect("removed");

    let mut e = file("ping", b"content");
    (e.uid, e.gid, e.mode) = (1234, 5678, 0o6755);
    e.xattrs = vec![xattr("security.capability", &capability)];
    target.write_file(&e, b"content").expect("written");
    assert!(same_shape(&target, &e).metadata_equal, "{:?}", target.take_problems());
    assert!(run("getcap", &[place.at("ping").as_os_str()]).contains("cap_net_raw"));
    let mut other = e.clone();
    (other.uid, other.gid, other.mode) = (1, 2, 0o4711);
    target.fix_metadata(&other).expect("fixed");
    assert!(same_shape(&target, &other).metadata_equal, "a new owner clears neither setuid nor the capability");

    let mut l = link("l", "/nowhere");
    (l.uid, l.gid) = (7, 8);
    l.xattrs = vec![xattr("trusted.note", b"on the link")];
    target.make_symlink(&l).expect("made");
    assert_eq!(target.existing(&l).expect("compared"), Existing::Same, "{:?}", target.take_problems());
    l.uid = 9;
    target.fix_metadata(&l).expect("fixed");
    assert_eq!(fs::symlink_metadata(place.at("l")).expect("there").uid(), 9);

    for kind in [EntryKind::CharDevice { major: 1, minor: 3 }, EntryKind::BlockDevice { major: 7, minor: 300 }] {
        let mut node = entry(format!("dev-{}", kind.name()), kind);
        (node.mode, node.gid) = (0o620, 5);
        target.make_node(&node).expect("made");
        target.make_node(&node).expect("replaced");
        assert_eq!(target.existing(&node).expect("compared"), Existing::Same, "{:?}", target.take_problems());
        node.path = path("no-device");
        let careful = Destination::made_at(&place.at(""), DestinationOptions { devices: false, ..target.options() })
            .expect("opens");
        careful.make_node(&node).expect("left out");
        assert_eq!(careful.take_problems().len(), 1);
        assert_eq!(careful.existing(&node).expect("compared"), Existing::Absent);
    }
    assert!(target.make_node(&entry("big", EntryKind::CharDevice { major: 1 << 12, minor: 0 })).is_err());
    let mut nobody = file("largest", b"x");
    nobody.uid = u32::MAX;
    target.write_file(&nobody, b"x").expect("written");
    assert_eq!(target.take_problems().len(), 1);
    place.assert_outside_is_untouched();
}

/// Runs as somebody without rights; see below.
#[test]
#[ignore = "run by everything_works_without_root"]
fn without_root() {
    let base = PathBuf::from(std::env::var_os("CCBACKUP_TEST_BASE").expect("set by the other test"));
    assert!(!is_root());
    let at = |name: &str| base.join("t").join(name);
    let options = DestinationOptions { overwrite: true, ..DestinationOptions::default() };
    assert!(!options.owners && !options.devices);
    let target = Destination::made_at(&at(""), options).expect("opens");
    let mut closed = dir("closed");
    closed.mode = 0o555;
    let mut secret = file("closed/f", b"x");
    (secret.uid, secret.mode) = (0, 0o4000);
    for _ in 0..2 {
        target.make_dir(&closed).expect("made");
        target.write_file(&secret, b"x").expect("written");
        target.finish_dir(&closed).expect("finished");
        assert_eq!((mode(&at("closed")), mtime(&at("closed"))), (0o555, TIME));
        assert_eq!(mode(&at("closed/f")), 0, "setuid of root does not become ours");
        assert!(same_shape(&target, &secret).metadata_equal);
        assert_eq!(target.hash_existing(&secret).expect("asked"), None, "it cannot be read");
        assert_eq!(target.take_problems().len(), 1);
    }
    sweep(&target, |p| p == b"closed");
    assert_eq!(names(&at("closed")), [""; 0]);
    assert_eq!((mode(&at("closed")), mtime(&at("closed"))), (0o555, TIME));

    // What is removed lies below a kept folder and another one, both closed to us.
    target.make_dir(&dir("closed")).expect("opened");
    target.make_dir(&dir("closed/old")).expect("made");
    target.write_file(&file("closed/old/f", b"x"), b"x").expect("written");
    for name in ["closed/old", "closed"] {
        target.finish_dir(&Entry { mode: 0, ..dir(name) }).expect("finished");
    }
    assert!(target.extras(&|p| p == b"closed", false).expect("listed").is_empty());
    assert_eq!(target.take_problems().len(), 1, "it cannot be listed without being opened");
    assert_eq!(sweep(&target, |p| p == b"closed").len(), 2);
    assert_eq!((mode(&at("closed")), mtime(&at("closed"))), (0, TIME));
    assert_eq!(target.take_problems(), []);
    target.make_dir(&dir("closed")).expect("opened");
    target.make_dir(&dir("closed/deep")).expect("made");
    closed.path = path("closed/deep");
    target.finish_dir(&closed).expect("finished");
    target.write_file(&file("closed", b"x"), b"x").expect("read-only folders are replaced");

    let stubborn =
        Destination::made_at(&at(""), DestinationOptions { owners: true, devices: true, ..options }).expect("opens");
    let mut e = file("owned", b"x");
    (e.uid, e.gid, e.mode) = (0, 0, 0o4755);
    e.xattrs = vec![xattr("trusted.x", b"x"), xattr("user.x", b"x")];
    stubborn.write_file(&e, b"x").expect("written");
    assert_eq!(mode(&at("owned")), 0o755);
    let mut l = link("l", "x");
    l.xattrs = vec![xattr("user.x", b"x")];
    stubborn.make_symlink(&l).expect("made");
    let problems: Vec<_> = stubborn.take_problems().into_iter().map(|(p, text)| format!("{p}: {text}")).collect();
    assert_eq!(problems.len(), 4, "owner, setuid, two attributes: {problems:?}");
    assert!(!stubborn.make_node(&entry("dev", EntryKind::BlockDevice { major: 8, minor: 0 })).expect("left out"));
    assert_eq!(stubborn.take_problems().len(), 1, "not even root of a container may make devices");
}

#[test]
fn everything_works_without_root() {
    let place = Place::new();
    let base = place.base.path();
    let mut command = if is_root() {
        let exe = base.join("tests");
        fs::copy(std::env::current_exe().expect("known"), &exe).expect("copied to where others can run it");
        fs::set_permissions(base, fs::Permissions::from_mode(0o755)).expect("set");
        std::os::unix::fs::chown(base, Some(65_534), Some(65_534)).expect("set");
        let mut command = Command::new(exe);
        command.uid(65_534).gid(65_534);
        command
    } else {
        Command::new(std::env::current_exe().expect("known"))
    };
    let output = command
        .args(["--exact", "source::files::destination::tests::attributes::without_root", "--ignored", "--nocapture"])
        .env("CCBACKUP_TEST_BASE", base)
        .current_dir("/")
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
