//! Sealed files from anywhere. With the first byte below 64 the input is the stored file itself; otherwise it says what is sealed
//! and how that is damaged afterwards: no byte that was not sealed may come out, and nothing at the wrong place.
#![no_main]

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use ccbackup::archive::seal::{SealedReader, Sealer};
use ccbackup::keys::{AesKey, Keys, generate_identity};
use ccbackup::model::Sealing;
use libfuzzer_sys::fuzz_target;

struct Fixed {
    sealers: [Sealer; 3],
    keys: Keys,
}

/// Keys of this run; they come from files, as for everybody.
fn fixed() -> &'static Fixed {
    static FIXED: OnceLock<Fixed> = OnceLock::new();
    FIXED.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("ccbackup-fuzz-keys-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
        let (identity, raw) = (dir.join("identity.txt"), dir.join("raw.key"));
        let recipient = generate_identity(&identity, None, Default::default()).expect("a new file");
        let aes = AesKey::generate(&raw).expect("a new file");
        let keys = Keys::load(&[identity, raw]).expect("own keys are read");
        std::fs::remove_dir_all(&dir).expect("own files");
        Fixed { sealers: [Sealer::none(), Sealer::age(&[recipient]).expect("own key"), Sealer::aes(&aes)], keys }
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let sealer = &fixed().sealers[usize::from(mode % 3)];
    if *mode < 64 {
        return as_stored(rest, &sealer.sealing());
    }
    let Some((length, damage)) = rest.split_first_chunk::<3>() else { return };
    // Up to four chunks of 64 KiB; every byte depends on its place, so that a swap shows.
    let length = u32::from_le_bytes([length[0], length[1], length[2], 0]) % (4 << 16);
    let content: Vec<u8> = (0..length).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    let mut writer = sealer.start(Vec::new()).expect("memory takes it");
    writer.write_all(&content).expect("memory takes it");
    let intact = writer.finish().expect("memory takes it");
    let mut stored = intact.clone();
    let payload = content.len() + content.len().div_ceil(CONTENT).max(1) * (CHUNK - CONTENT);
    let start = if sealer.sealing().is_encrypted() { intact.len() - payload } else { 0 };
    damage.chunks_exact(5).take(8).for_each(|step| apply(step, start, &mut stored));
    let damaged = stored != intact;
    let opened = SealedReader::open(Arc::new(stored), &sealer.sealing(), &fixed().keys, "input");
    let reader = match opened {
        Ok(reader) if sealer.sealing().is_encrypted() => reader,
        Ok(_) => return,
        Err(_) => return assert!(damaged, "an intact file was refused"),
    };
    assert_eq!(reader.size(), u64::from(length), "a cut or longer file was opened");
    let mut buffer = Vec::new();
    match reader.read_at(0, &mut buffer, content.len()) {
        Ok(()) => assert!(buffer == content && !damaged, "damage was not noticed"),
        Err(_) => assert!(damaged && buffer.is_empty(), "an intact file cannot be read"),
    }
    // Parts that are far from the damage may still be read, and are right.
    for start in (0..content.len()).step_by(30_011) {
        let end = content.len().min(start + 20_000);
        match reader.read_at(start as u64, &mut buffer, end - start) {
            Ok(()) => assert!(buffer == content[start..end], "wrong bytes came out"),
            Err(_) => assert!(damaged && buffer.is_empty()),
        }
    }
});

fn as_stored(stored: &[u8], sealing: &Sealing) {
    let Ok(reader) = SealedReader::open(Arc::new(stored.to_vec()), sealing, &fixed().keys, "input") else { return };
    let size = reader.size();
    assert!(size <= stored.len() as u64);
    let mut buffer = vec![1];
    assert!(reader.read_at(size, &mut buffer, 1).is_err() && buffer.is_empty());
    assert!(reader.read_at(u64::MAX, &mut buffer, usize::MAX).is_err());
    let length = usize::try_from(size).expect("it fits into the input");
    if reader.read_at(0, &mut buffer, length).is_ok() {
        assert_eq!(buffer.len(), length);
    }
}

/// Bytes of a chunk, as they are sealed and with their tag.
const CONTENT: usize = 64 << 10;
const CHUNK: usize = CONTENT + 16;

/// Five bytes say what happens where. The chunks begin at `start`: what is done to whole ones leaves each of them with a
/// tag that fits, so that only its place is wrong.
fn apply(step: &[u8], start: usize, stored: &mut Vec<u8>) {
    if stored.is_empty() {
        return;
    }
    let at = usize::from(u16::from_le_bytes([step[1], step[2]])) * 11 % stored.len();
    let other = usize::from(u16::from_le_bytes([step[3], step[4]])) * 11 % stored.len();
    if step[0] % 12 < 5 {
        return match step[0] % 12 {
            0 => stored[at] ^= step[3].max(1),
            1 => stored.truncate(at),
            2 => stored.extend_from_within(at..),
            3 => stored.swap(at, other),
            _ => drop(stored.drain(at.min(other)..at.max(other))),
        };
    }
    let mut chunks: Vec<Vec<u8>> = stored.get(start..).unwrap_or_default().chunks(CHUNK).map(<[u8]>::to_vec).collect();
    if chunks.is_empty() {
        return;
    }
    let (a, b) = (usize::from(step[1]) % chunks.len(), usize::from(step[3]) % chunks.len());
    match step[0] % 12 {
        5 | 6 => chunks.swap(a, b),
        7 => chunks[b] = chunks[a].clone(),
        8 => drop(chunks.remove(a)),
        9 => chunks.insert(b, chunks[a].clone()),
        10 => chunks.rotate_left(a),
        _ => chunks.reverse(),
    }
    stored.truncate(start);
    stored.extend(chunks.concat());
}
