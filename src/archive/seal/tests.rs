use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;

use super::stream::SEALED_CHUNK;
use super::*;
use crate::error::{Error, Kind};
use crate::keys::tests::{put, run, ssh_key_file};
use crate::keys::{AesKey, Keys, generate_identity};
use crate::model::{Moment, Sealing};

const SIZES: [usize; 7] = [0, 1, 65_535, 65_536, 65_537, 131_072, 3_420_160];

/// Keys of every sort, made once.
struct Kit {
    folder: TempDir,
    keys: Keys,
    recipients: Vec<String>,
    identities: Vec<String>,
    aes: AesKey,
}

static KIT: LazyLock<Kit> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    generate_identity(Path::new(&path("x25519")), None, Moment::default()).unwrap();
    let identities = vec![path("x25519"), ssh_key_file(&folder, "ed25519", ""), ssh_key_file(&folder, "rsa", "")];
    let aes = AesKey::generate(Path::new(&path("aes"))).unwrap();
    let files: Vec<_> = identities.iter().map(Into::into).chain([path("aes").into()]).collect();
    let keys = Keys::load(&files).unwrap();
    let recipients = keys.recipients().map(str::to_owned).collect();
    Kit { folder, keys, recipients, identities, aes }
});

fn sealers() -> [Sealer; 3] {
    [Sealer::age(&KIT.recipients).unwrap(), Sealer::aes(&KIT.aes), Sealer::none()]
}

fn ciphers() -> [Sealer; 2] {
    let [age, aes, _] = sealers();
    [age, aes]
}

fn plain(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..size).map(next).collect()
}

fn seal(sealer: &Sealer, data: &[u8], piece: usize) -> Vec<u8> {
    let mut writer = sealer.start(Vec::new()).unwrap();
    for piece in data.chunks(piece) {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

fn open(stored: Vec<u8>, sealing: &Sealing) -> Result<SealedReader, Error> {
    SealedReader::open(Arc::new(stored), sealing, &KIT.keys, "the file")
}

fn read_all(stored: Vec<u8>, sealing: &Sealing) -> Result<Vec<u8>, Error> {
    let reader = open(stored, sealing)?;
    let mut buffer = Vec::new();
    reader.read_at(0, &mut buffer, usize::try_from(reader.size()).unwrap())?;
    Ok(buffer)
}

fn assert_damage(stored: Vec<u8>, sealing: &Sealing, what: &str) {
    match read_all(stored, sealing) {
        Ok(_) => panic!("{what} was not noticed in {sealing:?}"),
        Err(error) => {
            assert_eq!(error.kind(), Kind::Damage, "{what}: {}", error.one_line());
            assert!(error.to_string().contains("the file"), "{what}: {error}");
        }
    }
}

#[test]
fn every_size_comes_back_through_every_seal() {
    for sealer in sealers() {
        for size in SIZES {
            let data = plain(size);
            for piece in [size.max(1), 70_001] {
                assert!(read_all(seal(&sealer, &data, piece), &sealer.sealing()).unwrap() == data, "{sealer:?} {size}");
            }
        }
        let data = plain(70_000);
        assert!(read_all(seal(&sealer, &data, 7), &sealer.sealing()).unwrap() == data);
    }
}

#[test]
fn age_opens_what_we_seal_with_each_identity() {
    let sealer = Sealer::age(&KIT.recipients).unwrap();
    for size in SIZES {
        let data = plain(size);
        let stored = seal(&sealer, &data, 100_000);
        for identity in &KIT.identities {
            let (good, opened, message) = run("age", &["-d", "-i", identity], &stored);
            assert!(good && opened == data, "{identity} {size}: {message}");
        }
    }
}

#[test]
fn we_open_what_age_seals_with_each_identity() {
    for (recipient, identity) in KIT.recipients.iter().zip(&KIT.identities) {
        let keys = Keys::load(&[identity.into()]).unwrap();
        let sealing = Sealing::Age { recipients: vec![recipient.clone()] };
        for size in SIZES {
            let data = plain(size);
            let (good, stored, message) = run("age", &["-r", recipient], &data);
            assert!(good, "{message}");
            let reader = SealedReader::open(Arc::new(stored), &sealing, &keys, "the file").unwrap();
            let mut buffer = Vec::new();
            reader.read_at(0, &mut buffer, size).unwrap();
            assert!(reader.size() == size as u64 && buffer == data, "{recipient} {size}");
        }
    }
}

#[test]
fn the_script_in_docs_opens_aes_and_refuses_what_was_cut() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/aes-decrypt.py");
    let key = KIT.folder.path().join("aes");
    let decrypt = |key: &str, stored: &[u8]| run("python3", &[script, key], stored);
    let key = key.to_str().unwrap();
    let sealer = Sealer::aes(&KIT.aes);
    for size in SIZES {
        let data = plain(size);
        let (good, opened, message) = decrypt(key, &seal(&sealer, &data, 100_000));
        assert!(good && opened == data, "{size}: {message}");
    }
    let stored = seal(&sealer, &plain(131_072), 100_000);
    for end in [0, 40, 73, 80, 73 + SEALED_CHUNK, 73 + SEALED_CHUNK + 16, stored.len() - 1] {
        let (good, _, message) = decrypt(key, &stored[..end]);
        assert!(!good && !message.contains("Traceback"), "cut at {end}: {message}");
    }
    let mut longer = stored.clone();
    longer.extend([0; 40]);
    assert!(!decrypt(key, &longer).0);
    let (good, _, message) = decrypt(&put(&KIT.folder, "other", &[1; 32]), &stored);
    assert!(!good && message.contains(&KIT.aes.id()), "{message}");
}

#[test]
fn a_cut_file_is_refused() {
    for sealer in ciphers() {
        for size in [0, 1, 65_536, 3 * 65_536, 3 * 65_536 + 5] {
            let stored = seal(&sealer, &plain(size), 100_000);
            let start = stored.len() - size - 16 * size.div_ceil(65_536).max(1);
            let boundaries = (0..=size / 65_536 + 1).map(|chunk| start + chunk * SEALED_CHUNK);
            let cuts = boundaries.flat_map(|at| [at - 1, at, at + 1, at + 16, at + 17]).chain([0, 1, 40, start / 2]);
            for cut in cuts.filter(|cut| *cut < stored.len()) {
                let opened = open(stored[..cut].to_vec(), &sealer.sealing());
                assert_eq!(opened.unwrap_err().kind(), Kind::Damage, "{size} bytes cut at {cut}");
            }
            for more in [1, 16, 17, SEALED_CHUNK] {
                let longer = [&stored[..], &vec![0; more]].concat();
                assert_damage(longer, &sealer.sealing(), "what was appended");
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_found() {
    for sealer in ciphers() {
        let size = 3 * 65_536 + 100;
        let stored = seal(&sealer, &plain(size), 100_000);
        let header = stored.len() - size - 4 * 16;
        for at in (0..header).chain((header..stored.len()).step_by(997)).chain(stored.len() - 20..stored.len()) {
            let mut changed = stored.clone();
            changed[at] ^= 1 << (at % 8);
            assert_damage(changed, &sealer.sealing(), &format!("a flip at {at}, header {header}"));
        }
    }
}

#[test]
fn chunks_that_changed_places_are_found() {
    for sealer in ciphers() {
        let size = 3 * 65_536;
        let stored = seal(&sealer, &plain(size), 100_000);
        let start = stored.len() - 3 * SEALED_CHUNK;
        for (a, b) in [(0, 1), (1, 2)] {
            let mut changed = stored.clone();
            let (left, right) = changed[start + a * SEALED_CHUNK..].split_at_mut((b - a) * SEALED_CHUNK);
            left[..SEALED_CHUNK].swap_with_slice(&mut right[..SEALED_CHUNK]);
            assert_damage(changed, &sealer.sealing(), "a swap");
        }
        let without_second = [&stored[..start + SEALED_CHUNK], &stored[start + 2 * SEALED_CHUNK..]].concat();
        assert_damage(without_second, &sealer.sealing(), "a missing chunk");
        let other = seal(&sealer, &plain(size), 100_000);
        let mixed = [&stored[..stored.len() - SEALED_CHUNK], &other[other.len() - SEALED_CHUNK..]].concat();
        assert_damage(mixed, &sealer.sealing(), "a chunk of another file");
    }
}

#[test]
fn no_key_and_a_wrong_key_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let other = folder.path().join("identity");
    generate_identity(&other, None, Moment::default()).unwrap();
    let other_aes = folder.path().join("aes");
    AesKey::generate(&other_aes).unwrap();
    let load = |path: &Path| Keys::load(&[path.to_owned()]).unwrap();
    for (sealer, wrong, unfit) in ciphers()
        .into_iter()
        .zip([(load(&other), load(&other_aes)), (load(&other_aes), load(&other))])
        .map(|(s, k)| (s, k.0, k.1))
    {
        let stored: Arc<dyn crate::archive::ReadAt> = Arc::new(seal(&sealer, b"secret", 10));
        let kind = |keys: &Keys| {
            let error = SealedReader::open(stored.clone(), &sealer.sealing(), keys, "the file").unwrap_err();
            assert!(error.to_string().contains("the file") && error.advice().is_some(), "{error}");
            error.kind()
        };
        assert_eq!(kind(&Keys::none()), Kind::NoKey);
        assert_eq!(kind(&unfit), Kind::NoKey);
        assert_eq!(kind(&wrong), Kind::WrongKey);
    }
}

#[test]
fn a_file_that_was_sealed_otherwise_than_the_manifest_says_is_damage() {
    let [age, aes, none] = sealers();
    let data = plain(1000);
    for (sealer, sealing) in
        [(&age, aes.sealing()), (&aes, age.sealing()), (&none, age.sealing()), (&none, aes.sealing())]
    {
        assert_damage(seal(sealer, &data, 1000), &sealing, "another seal");
    }
}

#[test]
fn a_range_beyond_the_end_is_refused_before_anything_is_allocated() {
    for sealer in sealers() {
        let reader = open(seal(&sealer, &plain(100_000), 100_000), &sealer.sealing()).unwrap();
        for (offset, length) in [(0, 100_001), (100_000, 1), (u64::MAX, 1), (1, usize::MAX), (100_001, 0)] {
            let mut buffer = vec![1, 2, 3];
            assert_eq!(reader.read_at(offset, &mut buffer, length).unwrap_err().kind(), Kind::Damage);
            assert!(buffer.is_empty() && buffer.capacity() < 100);
        }
        let mut buffer = vec![1, 2, 3];
        reader.read_at(100_000, &mut buffer, 0).unwrap();
        assert!(buffer.is_empty());
    }
}

#[test]
fn a_failed_read_leaves_no_bytes_behind() {
    for sealer in ciphers() {
        let mut stored = seal(&sealer, &plain(200_000), 100_000);
        let at = stored.len() - 150_000;
        stored[at] ^= 1;
        let reader = open(stored, &sealer.sealing()).unwrap();
        let mut buffer = Vec::new();
        let error = reader.read_at(0, &mut buffer, 200_000).unwrap_err();
        assert!(buffer.is_empty() && error.to_string().contains("chunk 0 of 4"), "{error}");
        reader.read_at(140_000, &mut buffer, 1000).unwrap();
        assert!(buffer == plain(200_000)[140_000..141_000]);
    }
}

#[test]
fn many_threads_read_at_once() {
    fn shared<T: Send + Sync>(_: &T) {}
    for sealer in sealers() {
        let data = plain(1_000_000);
        let reader = open(seal(&sealer, &data, 100_000), &sealer.sealing()).unwrap();
        shared(&sealer);
        shared(&reader);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (reader, data) = (&reader, &data);
                scope.spawn(move || {
                    let mut buffer = Vec::new();
                    for offset in (thread * 1000..900_000).step_by(90_001) {
                        reader.read_at(offset, &mut buffer, 77_777).unwrap();
                        let offset = usize::try_from(offset).unwrap();
                        assert!(buffer == data[offset..offset + 77_777]);
                    }
                });
            }
        });
    }
}

#[test]
fn every_file_has_a_key_of_its_own() {
    for sealer in ciphers() {
        let (first, second) = (seal(&sealer, &[0; 100], 100), seal(&sealer, &[0; 100], 100));
        assert_ne!(first[first.len() - 116..], second[second.len() - 116..]);
    }
}

#[test]
fn recipients_are_checked_sorted_and_named_once() {
    let [x25519, ed25519, rsa] = &KIT.recipients[..] else { panic!("three recipients") };
    let given = [format!("{rsa} me@here"), ed25519.clone(), x25519.to_uppercase(), format!(" {rsa} "), x25519.clone()];
    let sealer = Sealer::age(&given).unwrap();
    let mut expected = KIT.recipients.clone();
    expected.sort();
    assert_eq!(sealer.sealing(), Sealing::Age { recipients: expected });

    let fails = |texts: &[&str]| {
        let error = Sealer::age(&texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>()).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        error.one_line()
    };
    assert!(fails(&[]).contains("at least one"));
    for bad in ["", "bob", "age1xyz", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-dss AAAA", "ssh-rsa AAAA", &x25519[..61]]
    {
        assert!(fails(&[x25519, bad]).contains(&format!("{bad:?}")), "{bad}");
    }
    let secret = "age-secret-key-1gq9778vqxmmjve8sk7j6vt8uj4hdqajuvsfcwcm02d8gewq72pvq2y5j33";
    assert!(!fails(&[secret]).contains("gq9778"));
}

#[test]
fn nothing_is_written_after_a_failed_write() {
    /// Takes so many bytes, then fails once, then would take more.
    #[derive(Debug)]
    struct Full(usize, Vec<u8>);
    impl Write for Full {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let taken = data.len().min(self.0);
            if taken == 0 {
                self.0 = usize::MAX;
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            self.0 -= taken;
            self.1.extend_from_slice(&data[..taken]);
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let data = plain(3_000_000);
    for sealer in sealers() {
        let mut full = Full(1_100_000, Vec::new());
        let mut writer = sealer.start(&mut full).unwrap();
        assert_eq!(writer.write_all(&data).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(writer.write_all(&data).is_err() && writer.flush().is_err());
        assert_eq!(writer.finish().unwrap_err().kind(), Kind::Failed);
        assert_eq!(full.1.len(), 1_100_000);
    }
}

#[test]
fn a_flush_in_between_changes_nothing() {
    for sealer in sealers() {
        let data = plain(300_000);
        let mut writer = sealer.start(Vec::new()).unwrap();
        for piece in data.chunks(50_000) {
            writer.write_all(piece).unwrap();
            writer.flush().unwrap();
        }
        assert!(read_all(writer.finish().unwrap(), &sealer.sealing()).unwrap() == data);
    }
}

#[test]
fn a_hostile_header_costs_little() {
    let began = Instant::now();
    let sealing = Sealer::age(&KIT.recipients).unwrap().sealing();
    let line = "A".repeat(64);
    let share = "A".repeat(43);
    for repeated in
        [format!("{line}\n"), format!("-> X25519 {share}\n{share}\n"), "x".to_owned(), "-> x\n\n".to_owned()]
    {
        let mut text = b"age-encryption.org/v1\n-> x\n".to_vec();
        text.extend(repeated.bytes().cycle().take(2_000_000));
        for end in [&text[..], &text[..100_000], &text[..10_000]] {
            let text = [end, format!("\n--- {share}\n").as_bytes(), &[0; 100]].concat();
            assert_damage(text, &sealing, "a long header");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn debug_output_holds_no_secrets() {
    let text = format!("{:?} {:?}", sealers(), sealers()[1].start(Vec::new()).unwrap());
    assert!(text.contains(&KIT.aes.id()) && !text.contains("SECRET"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn any_range_equals_the_slice(size in 0_usize..300_000, ranges in prop::collection::vec((0.0..=1.0, 0.0..=1.0), 1..8)) {
        let data = plain(size);
        for sealer in sealers() {
            let reader = open(seal(&sealer, &data, 99_999), &sealer.sealing()).unwrap();
            prop_assert_eq!(reader.size(), size as u64);
            let mut buffer = Vec::new();
            for (from, share) in &ranges {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shares of a small size")]
                let part = |share: f64, of: usize| (share * of as f64) as usize;
                let from = part(*from, size);
                let length = part(*share, size - from);
                reader.read_at(from as u64, &mut buffer, length).unwrap();
                prop_assert!(buffer == data[from..from + length]);
            }
        }
    }
}
