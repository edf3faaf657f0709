use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

use super::*;

#[test]
fn a_tree_of_all_types_is_made_and_found_equal() {
    let place = Place::new();
    let target = place.open(false);
    let mut fifo = entry("d/pipe", EntryKind::Fifo);
    fifo.mode = 0o622;
    let entries = [dir("d"), file("d/f", b"content"), link("d/l", "../../outside"), hardlink("d/m", "d/f"), fifo];
    for e in &entries {
        assert_eq!(target.existing(e).expect("compared"), Existing::Absent);
    }
    target.make_dir(&entries[0]).expect("made");
    target.write_file(&entries[1], b"content").expect("made");
    target.make_symlink(&entries[2]).expect("made");
    target.make_hardlink(&entries[3]).expect("made");
    target.make_hardlink(&entries[3]).expect("made again is the same");
    target.make_node(&entries[4]).expect("made");
    assert_eq!(mode(&place.at("d")), 0o700);
    target.finish_dir(&entries[0]).expect("finished");
    assert_eq!(mode(&place.at("d")), 0o755);
    assert_eq!(mode(&place.at("d/pipe")), 0o622);
    assert_eq!(fs::read(place.at("d/m")).expect("there"), b"content");
    for name in ["d", "d/f", "d/l", "d/pipe"] {
        assert_eq!(mtime(&place.at(name)), TIME, "{name}");
    }
    for (i, e) in entries.iter().enumerate().filter(|(i, _)| *i != 1) {
        assert_eq!(target.existing(e).expect("compared"), Existing::Same, "{i}");
    }
    assert!(same_shape(&target, &entries[1]).metadata_equal);
    let there = fs::symlink_metadata(place.at("d/f")).expect("there");
    assert_eq!((there.len(), there.nlink()), (7, 2));
    assert_eq!(target.hash_existing(&entries[1]).expect("hashed"), Some(Digest::of(b"content")));
    assert_eq!(target.take_problems(), []);
    target.sync().expect("synced");
}

#[test]
fn a_name_with_any_bytes_is_kept() {
    let place = Place::new();
    let target = place.open(false);
    let name = b"\xff\n \\\"-";
    target.write_file(&file(name, b"x"), b"x").expect("written");
    assert_eq!(fs::read(place.at("").join(OsStr::from_bytes(name))).expect("there"), b"x");
}

#[test]
fn holes_stay_holes_in_a_file_of_a_tebibyte() {
    const TIB: u64 = 1 << 40;
    let place = Place::new();
    let target = place.open(true);
    let stored: Vec<u8> = (0..12_288_u32).map(|i| (i % 251) as u8 + 1).collect();
    let regions = vec![(0, 4096), (TIB / 2, 0), (TIB - 8192, 8192)];
    for (name, size, regions) in
        [("small", TIB, regions.clone()), ("large", TIB + 5, regions.clone()), ("empty", TIB, Vec::new())]
    {
        let stored = if name == "empty" { &[][..] } else { &stored };
        let e = sparse(name, size, Some(regions), stored);
        if name == "small" {
            target.write_file(&e, stored).expect("written");
        } else {
            let pending = target.begin_file(&e).expect("begun");
            for (i, piece) in stored.chunks(1000).enumerate().collect::<Vec<_>>().into_iter().rev() {
                pending.write_at(i as u64 * 1000, piece).expect("written");
            }
            pending.commit().expect("committed");
        }
        let meta = fs::metadata(place.at(name)).expect("there");
        assert_eq!(meta.len(), size);
        assert!(meta.blocks() * 512 < 1 << 20, "{name} takes {} blocks", meta.blocks());
        assert_eq!(target.hash_existing(&e).expect("hashed"), Some(Digest::of(stored)), "{name}");
        assert!(same_shape(&target, &e).metadata_equal);
    }
    let mut tail = vec![0; 8192];
    let made = fs::OpenOptions::new().read(true).write(true).open(place.at("small")).expect("opened");
    made.read_exact_at(&mut tail, TIB - 8192).expect("read");
    assert_eq!(tail, stored[4096..]);
    let e = sparse("small", TIB, Some(regions), &stored);
    made.write_all_at(&[0; 100], TIB / 4).expect("written");
    assert_eq!(target.hash_existing(&e).expect("hashed"), Some(Digest::of(&stored)), "zeros in a hole are equal");
    made.write_all_at(&[7], TIB / 4 + 4095).expect("written");
    assert_eq!(target.hash_existing(&e).expect("hashed"), None, "data in a hole is not");
}

#[test]
fn content_that_does_not_fit_its_entry_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let target = place.open(false);
    let e = file("f", b"12345");
    assert_eq!(target.write_file(&e, b"1234").expect_err("refused").kind(), Kind::Damage);
    let pending = target.begin_file(&e).expect("begun");
    assert!(is_part_name(names(&place.at(""))[0].as_bytes()));
    assert_eq!(mode(&place.at(&names(&place.at(""))[0])), 0o600);
    for (offset, bytes) in [(3, &b"456"[..]), (u64::MAX, b"x"), (6, b"")] {
        assert_eq!(pending.write_at(offset, bytes).expect_err("refused").kind(), Kind::Damage);
    }
    pending.write_at(0, b"1234").expect("written");
    assert!(pending.commit().is_err(), "a byte is missing");
    target.begin_file(&e).expect("begun").discard();
    drop(target.begin_file(&e).expect("begun"));
    for regions in [vec![(0, 6)], vec![(u64::MAX, 2)], vec![(2, 2), (1, 1)]] {
        assert_eq!(target.begin_file(&sparse("f", 5, Some(regions), b"")).expect_err("bad").kind(), Kind::Damage);
    }
    // One more byte than any file system has.
    assert!(target.write_file(&sparse("f", 1 << 60, Some(vec![((1 << 60) - 1, 1)]), b"x"), b"x").is_err());
    assert_eq!(names(&place.at("")), [""; 0]);
}

#[test]
fn a_file_that_appears_meanwhile_is_not_overwritten_without_leave() {
    let place = Place::new();
    let target = place.open(false);
    let begun = file("f", b"new");
    let pending = target.begin_file(&begun).expect("begun");
    pending.write_at(0, b"new").expect("written");
    put(&place.at("f"), b"mine");
    assert_eq!(pending.commit().expect_err("refused").kind(), Kind::WouldOverwrite);
    assert_eq!(fs::read(place.at("f")).expect("there"), b"mine");
    assert_eq!(names(&place.at("")), ["f"]);
}

#[test]
fn eight_threads_write_five_thousand_files() {
    let place = Place::new();
    let target = place.open(false);
    for d in 0..50 {
        target.make_dir(&dir(format!("d{d}"))).expect("made");
    }
    std::thread::scope(|scope| {
        for t in 0..8 {
            let target = &target;
            scope.spawn(move || {
                for i in (t..5000).step_by(8) {
                    let content = format!("content {i}");
                    let e = file(format!("d{}/f{i}", i % 50), content.as_bytes());
                    target.write_file(&e, content.as_bytes()).expect("written");
                    assert!(same_shape(target, &e).metadata_equal);
                }
            });
        }
    });
    for i in 0..5000 {
        let content = fs::read(place.at(&format!("d{}/f{i}", i % 50))).expect("there");
        assert_eq!(content, format!("content {i}").as_bytes());
    }
    assert_eq!(target.take_problems(), []);
}

#[test]
fn a_missing_folder_is_an_error_that_names_the_entry() {
    let place = Place::new();
    let error = place.open(true).write_file(&file("a/b/c", b"x"), b"x").expect_err("refused");
    assert!(error.to_string().contains("a/b/c"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn pieces_in_any_order_make_the_same_file(
        runs in proptest::collection::vec((0_u64..9000, 0_u64..9000), 0..8),
        tail in 0_u64..9000,
        piece in 1_usize..5000,
        seed in any::<u8>(),
    ) {
        let place = Place::new();
        let target = place.open(true);
        let (mut at, mut regions, mut whole) = (0, Vec::new(), Vec::new());
        let mut stored: Vec<u8> = Vec::new();
        for (gap, length) in runs {
            at += gap;
            regions.push((at, length));
            let bytes: Vec<u8> = (0..length).map(|i| (i % 255) as u8 ^ seed).collect();
            whole.resize(usize::try_from(at).expect("small"), 0);
            whole.extend_from_slice(&bytes);
            stored.extend_from_slice(&bytes);
            at += length;
        }
        whole.resize(whole.len() + usize::try_from(tail).expect("small"), 0);
        let one = sparse("one", whole.len() as u64, Some(regions.clone()), &stored);
        target.write_file(&one, &stored).expect("written");
        let two = sparse("two", whole.len() as u64, Some(regions), &stored);
        let pending = target.begin_file(&two).expect("begun");
        for start in (0..stored.len()).step_by(piece).rev() {
            pending.write_at(start as u64, &stored[start..stored.len().min(start + piece)]).expect("written");
        }
        pending.commit().expect("committed");
        for e in [&one, &two] {
            prop_assert_eq!(&fs::read(place.at(&e.path.to_string())).expect("there"), &whole);
            prop_assert_eq!(target.hash_existing(e).expect("hashed"), Some(Digest::of(&stored)));
        }
    }
}
