use super::*;

#[test]
fn a_folder_that_is_a_link_to_outside_is_refused_by_every_call() {
    for known_kernel_call in [true, false] {
        let place = Place::new();
        let target = place.open(true);
        target.shared.descent.step_by_step.store(!known_kernel_call, Ordering::Relaxed);
        symlink(place.outside(), place.at("a")).expect("made");
        put(&place.at("real"), b"x");
        let inner = file("a/secret", b"attack");
        let refused = |result: Result<()>| {
            let text = result.expect_err("refused").one_line();
            assert!(text.contains("symbolic link"), "{text}");
        };
        refused(target.write_file(&inner, b"attack"));
        refused(target.begin_file(&inner).map(|_| ()));
        refused(target.make_dir(&dir("a/new")));
        refused(target.make_symlink(&link("a/new", "x")));
        refused(target.make_hardlink(&hardlink("stolen", "a/secret")));
        refused(target.make_hardlink(&hardlink("a/new", "real")));
        refused(target.make_node(&entry("a/new", EntryKind::Fifo)).map(drop));
        refused(target.fix_metadata(&inner));
        refused(target.finish_dir(&dir("a/x")));
        assert!(target.finish_dir(&dir("a")).is_err());
        assert_eq!(target.existing(&file("a/secret", b"secret")).expect("compared"), Existing::Absent);
        assert_eq!(target.hash_existing(&file("a/secret", b"secret")).expect("hashed"), None);
        place.assert_outside_is_untouched();
        // With leave to overwrite, the link itself gives way to the folder.
        target.make_dir(&dir("a")).expect("replaced");
        target.write_file(&file("a/secret", b"attack"), b"attack").expect("written");
        place.assert_outside_is_untouched();
        assert_eq!(target.shared.descent.step_by_step.load(Ordering::Relaxed), !known_kernel_call);
    }
}

#[test]
fn a_folder_that_becomes_a_link_while_a_file_is_written_leads_nowhere_else() {
    let place = Place::new();
    let target = place.open(true);
    target.make_dir(&dir("a")).expect("made");
    let begun = file("a/secret", b"attack");
    let pending = target.begin_file(&begun).expect("begun");
    run("mv", &[place.at("a").as_os_str(), place.at("moved").as_os_str()]);
    symlink(place.outside(), place.at("a")).expect("made");
    pending.write_at(0, b"attack").expect("written");
    pending.commit().expect("committed");
    target.write_file(&file("a/other", b"attack"), b"attack").expect("written into the folder that was made");
    place.assert_outside_is_untouched();
    assert_eq!(names(&place.at("moved")), ["other", "secret"]);
}

#[test]
fn a_link_at_the_place_of_a_file_is_replaced_and_not_followed() {
    let place = Place::new();
    for name in ["small", "large", "link", "pipe", "dangling"] {
        let to = if name == "dangling" { place.outside().join("new") } else { place.outside().join("secret") };
        fs::create_dir_all(place.at("")).expect("made");
        symlink(to, place.at(name)).expect("made");
    }
    let careful = place.open(false);
    let e = file("small", b"attack");
    assert_eq!(careful.existing(&e).expect("compared"), Existing::Other);
    assert_eq!(careful.hash_existing(&e).expect("hashed"), None);
    for result in [
        careful.write_file(&e, b"attack"),
        careful.write_file(&file("dangling", b"x"), b"x"),
        careful.begin_file(&e).map(|_| ()),
        careful.make_symlink(&link("small", "x")),
        careful.make_dir(&dir("small")),
        careful.make_node(&entry("small", EntryKind::Fifo)).map(drop),
    ] {
        let error = result.expect_err("refused");
        assert_eq!(error.kind(), Kind::WouldOverwrite);
        assert!(error.to_string().contains("/t/"), "{error}");
    }
    let target = place.open(true);
    assert!(target.fix_metadata(&e).is_err());
    target.write_file(&e, b"attack").expect("written");
    target.write_file(&file("dangling", b"x"), b"x").expect("written");
    let begun = file("large", b"attack");
    let pending = target.begin_file(&begun).expect("begun");
    pending.write_at(3, b"ack").expect("written");
    pending.write_at(0, b"att").expect("written");
    pending.commit().expect("committed");
    target.make_symlink(&link("link", "elsewhere")).expect("made");
    target.make_node(&entry("pipe", EntryKind::Fifo)).expect("made");
    place.assert_outside_is_untouched();
    assert_eq!(fs::read(place.at("large")).expect("there"), b"attack");
    assert_eq!(fs::read_link(place.at("link")).expect("a link"), Path::new("elsewhere"));
    assert_eq!(names(&place.at("")), ["dangling", "large", "link", "pipe", "small"]);
}

#[test]
fn a_hard_link_to_outside_is_never_written_through_nor_changed() {
    let place = Place::new();
    let target = place.open(true);
    let secret = place.outside().join("secret");
    let before = (mode(&secret), mtime(&secret));
    for name in ["content", "metadata"] {
        fs::hard_link(&secret, place.at(name)).expect("linked");
    }
    target.write_file(&file("content", b"attack"), b"attack").expect("written");
    let mut e = file("metadata", b"secret");
    e.mode = 0o4777;
    assert!(!same_shape(&target, &e).metadata_equal);
    target.fix_metadata(&e).expect("fixed");
    place.assert_outside_is_untouched();
    assert_eq!((mode(&secret), mtime(&secret)), before);
    assert_eq!(fs::metadata(&secret).expect("there").nlink(), 1);
    assert_eq!((mode(&place.at("metadata")), mtime(&place.at("metadata"))), (0o4777, TIME));
    assert_eq!(fs::read(place.at("metadata")).expect("there"), b"secret");

    fs::hard_link(&secret, place.at("wrong")).expect("linked");
    assert!(target.fix_metadata(&file("wrong", b"others")).is_err(), "a copy of other content is refused");
    place.assert_outside_is_untouched();
    assert_eq!(names(&place.at("")), ["content", "metadata", "wrong"]);
}

#[test]
fn a_hard_link_needs_its_first_name_and_does_not_follow_it() {
    let place = Place::new();
    let target = place.open(true);
    assert!(target.make_hardlink(&hardlink("b", "absent")).is_err());
    target.make_dir(&dir("d")).expect("made");
    assert!(target.make_hardlink(&hardlink("b", "d")).is_err());
    symlink(place.outside().join("secret"), place.at("l")).expect("made");
    target.make_hardlink(&hardlink("b", "l")).expect("made");
    assert!(fs::symlink_metadata(place.at("b")).expect("there").is_symlink());
    target.write_file(&file("f", b"x"), b"x").expect("written");
    target.make_hardlink(&hardlink("b", "f")).expect("replaced");
    assert_eq!(target.existing(&hardlink("b", "f")).expect("compared"), Existing::Same);
    assert_eq!(names(&place.at("")), ["b", "d", "f", "l"]);
}

#[test]
fn folder_and_file_change_places_only_with_leave_to_overwrite() {
    let place = Place::new();
    for folder in ["x/deep/er", "y/deep"] {
        fs::create_dir_all(place.at(folder)).expect("made");
    }
    put(&place.at("x/deep/er/f"), b"old");
    put(&place.at("z"), b"old");
    symlink(place.outside(), place.at("x/deep/out")).expect("made");
    let careful = place.open(false);
    for result in [careful.write_file(&file("x", b"new"), b"new"), careful.make_dir(&dir("z"))] {
        assert_eq!(result.expect_err("refused").kind(), Kind::WouldOverwrite);
    }
    let target = place.open(true);
    target.write_file(&file("x/deep/er/f", b"xx"), b"xx").expect("known folder");
    target.write_file(&file("x", b"new"), b"new").expect("replaced");
    assert!(target.write_file(&file("x/deep/er/f", b"xx"), b"xx").is_err(), "the removed folder is not known any more");
    target.make_symlink(&link("y", "x")).expect("replaced");
    target.make_dir(&dir("z")).expect("replaced");
    target.write_file(&file("z/f", b"new"), b"new").expect("written");
    assert_eq!(fs::read(place.at("y")).expect("a link to the file"), b"new");
    assert_eq!(names(&place.at("")), ["x", "y", "z"]);
    place.assert_outside_is_untouched();
}

#[test]
fn a_link_or_file_in_the_place_of_a_components_folder_is_replaced_or_refused_and_never_followed() {
    let place = Place::new();
    let base = place.base.path().join("base");
    fs::create_dir(&base).expect("made");
    symlink(place.outside(), base.join("link")).expect("made");
    put(&base.join("file"), b"x");
    let options = DestinationOptions::default();
    for name in ["link", "file"] {
        assert!(Destination::look_in(&base, name, options).expect("looked").is_none());
        let error = Destination::open_in(&base, name, false, options).expect_err("refused");
        assert_eq!(error.kind(), Kind::WouldOverwrite, "{}", error.one_line());
        let target = Destination::open_in(&base, name, true, options).expect("replaced");
        assert!(target.is_empty().expect("listed"));
        target.write_file(&file("f", b"x"), b"x").expect("written");
        assert!(!target.is_empty().expect("listed"));
        assert!(Destination::look_in(&base, name, options).expect("looked").is_some());
        assert_eq!(mode(&base.join(name)), 0o700);
    }
    place.assert_outside_is_untouched();
    symlink(&base, place.base.path().join("way")).expect("made");
    Destination::open_in(&place.base.path().join("way"), "new", false, options).expect("the base may be a link");
    assert!(base.join("new").is_dir());
}

#[test]
fn the_target_itself_may_be_reached_through_a_link_and_is_made_private() {
    let place = Place::new();
    symlink(place.outside(), place.base.path().join("way")).expect("made");
    let target =
        Destination::made_at(&place.base.path().join("way/new/er"), DestinationOptions::default()).expect("opens");
    target.write_file(&file("f", b"x"), b"x").expect("written");
    assert_eq!(fs::read(place.outside().join("new/er/f")).expect("there"), b"x");
    assert_eq!((mode(&place.outside().join("new")), mode(&place.outside().join("new/er"))), (0o700, 0o700));
    assert!(Destination::made_at(&place.outside().join("secret"), DestinationOptions::default()).is_err());
}
