//! A base backup on its way: one tar stream, whose last member is the manifest of all others. It ends well only if the
//! manifest is there, is what it says of itself, and every file of it came with its size and sum.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use super::crc32c::Crc32c;
use crate::error::{Error, Kind, Result};
use crate::model::Digest;

const BLOCK: usize = 512;
const MANIFEST: &str = "backup_manifest";
/// Largest manifest that is read: some 200 bytes a file.
const MAX_MANIFEST_BYTES: u64 = 1 << 30;
/// Most files of a cluster.
const MAX_FILES: usize = 20_000_000;

/// What a base backup holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Base {
    /// Files that the manifest names.
    pub(super) files: u64,
    /// Where the write-ahead log that it needs begins and ends.
    pub(super) log: Vec<(String, String)>,
}

/// Where the summary lies once the stream has ended well.
pub(super) type SharedBase = Arc<Mutex<Option<Base>>>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    files: Vec<File>,
    #[serde(rename = "WAL-Ranges")]
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "Path")]
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded: Option<String>,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    #[serde(rename = "Checksum")]
    sum: Option<String>,
}

#[derive(Deserialize)]
struct Range {
    #[serde(rename = "Start-LSN")]
    start: String,
    #[serde(rename = "End-LSN")]
    end: String,
}

/// Looks at a tar stream that is fed to it.
#[derive(Debug, Default)]
struct Watcher {
    header: Vec<u8>,
    /// Name and bytes left of the member that is being read, and the zeros behind it.
    name: Vec<u8>,
    size: u64,
    left: u64,
    padding: u64,
    sum: Crc32c,
    seen: BTreeMap<Vec<u8>, (u64, Crc32c)>,
    manifest: Option<Vec<u8>>,
    /// Blocks of zeros at the end.
    zeros: u32,
}

impl Watcher {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let used = if self.left > 0 {
                let used = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let piece = bytes.get(..used).unwrap_or_default();
                match &mut self.manifest {
                    Some(manifest) => manifest.extend_from_slice(piece),
                    None => self.sum.update(piece),
                }
                self.left -= used as u64;
                if self.left == 0 {
                    self.member_ends()?;
                }
                used
            } else if self.padding > 0 {
                let used = usize::try_from(self.padding).unwrap_or(usize::MAX).min(bytes.len());
                self.padding -= used as u64;
                used
            } else {
                let used = (BLOCK - self.header.len()).min(bytes.len());
                self.header.extend_from_slice(bytes.get(..used).unwrap_or_default());
                if self.header.len() == BLOCK {
                    let header = std::mem::take(&mut self.header);
                    self.member_begins(&header)?;
                }
                used
            };
            bytes = bytes.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    fn member_begins(&mut self, header: &[u8]) -> Result<()> {
        if header.iter().all(|byte| *byte == 0) {
            self.zeros += 1;
            return Ok(());
        }
        if self.zeros > 0 || self.manifest.is_some() {
            return Err(Error::damage("members come behind the end of the base backup"));
        }
        let text = |from: usize, length: usize| {
            let field = header.get(from..from + length).unwrap_or_default();
            field.split(|byte| *byte == 0).next().unwrap_or_default()
        };
        let prefix = text(345, 155);
        self.name = if prefix.is_empty() { Vec::new() } else { [prefix, b"/"].concat() };
        self.name.extend_from_slice(text(0, 100));
        self.size = number(header.get(124..136).unwrap_or_default())
            .ok_or_else(|| Error::damage("a member of the base backup has no size"))?;
        let is_file = matches!(header.get(156), Some(b'0' | 0));
        self.left = if is_file { self.size } else { 0 };
        self.padding = self.left.next_multiple_of(BLOCK as u64) - self.left;
        self.sum = Crc32c::default();
        if is_file && self.name == MANIFEST.as_bytes() {
            if self.size > MAX_MANIFEST_BYTES {
                return Err(Error::damage(format!("a manifest of {} bytes", self.size)));
            }
            self.manifest = Some(Vec::new());
        } else if is_file && self.left == 0 {
            self.member_ends()?;
        }
        Ok(())
    }

    fn member_ends(&mut self) -> Result<()> {
        if self.manifest.is_some() {
            return Ok(());
        }
        if self.seen.len() >= MAX_FILES {
            return Err(Error::damage(format!("a base backup of more than {MAX_FILES} files")));
        }
        self.seen.insert(std::mem::take(&mut self.name), (self.size, self.sum));
        Ok(())
    }

    fn finish(self) -> Result<Base> {
        let incomplete = |what: &str| Error::new(Kind::Incomplete, format!("the base backup is cut: {what}"));
        if self.left > 0 || !self.header.is_empty() || self.padding > 0 {
            return Err(incomplete("it ends in the middle of a file"));
        }
        let manifest = self.manifest.ok_or_else(|| incomplete("its manifest, which comes last, is missing"))?;
        if self.zeros < 2 {
            return Err(incomplete("the end of the tar stream is missing"));
        }
        check_own_sum(&manifest)?;
        let manifest: Manifest = serde_json::from_slice(&manifest)
            .map_err(|e| Error::damage("the manifest of the base backup cannot be read").because(e))?;
        for file in &manifest.files {
            let name = file_name(file)?;
            let shown = String::from_utf8_lossy(&name);
            let (size, sum) = self.seen.get(&name).ok_or_else(|| incomplete(&format!("it lacks {shown}")))?;
            let same_sum = match (file.algorithm.as_deref(), &file.sum) {
                (Some("CRC32C"), Some(expected)) => *expected == sum.hex(),
                _ => return Err(Error::damage(format!("the manifest has no CRC32C of {shown}"))),
            };
            if *size != file.size || !same_sum {
                return Err(Error::damage(format!("{shown} of the base backup is not what its manifest says")));
            }
        }
        let log = manifest.ranges.into_iter().map(|range| (range.start, range.end)).collect();
        Ok(Base { files: manifest.files.len() as u64, log })
    }
}

/// The last line has the digest of all before it.
fn check_own_sum(manifest: &[u8]) -> Result<()> {
    let bad = || Error::damage("the manifest of the base backup is not what it says of itself");
    let text = std::str::from_utf8(manifest).map_err(|_| bad())?;
    let at = text.rfind("\"Manifest-Checksum\"").ok_or_else(bad)?;
    let expected = text.get(at..).and_then(|line| line.split('"').nth(3)).ok_or_else(bad)?;
    let found = Digest::of(text.get(..at).unwrap_or_default().as_bytes()).to_string();
    if found == expected { Ok(()) } else { Err(bad()) }
}

fn file_name(file: &File) -> Result<Vec<u8>> {
    let bad = || Error::damage("the manifest of the base backup has a file without a name");
    match (&file.path, &file.encoded) {
        (Some(path), _) => Ok(path.clone().into_bytes()),
        (None, Some(hex)) => {
            let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
            let pairs = pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
            pairs.collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty()).ok_or_else(bad)
        }
        (None, None) => Err(bad()),
    }
}

/// Octal digits, or for large files 256 as the base, marked by the highest bit.
fn number(field: &[u8]) -> Option<u64> {
    match field.split_first()? {
        (0x80, rest) => rest.iter().try_fold(0_u64, |n, byte| n.checked_mul(256)?.checked_add(u64::from(*byte))),
        _ => {
            let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
            u64::from_str_radix(text, 8).ok()
        }
    }
}

/// Passes a base backup on. Its end is an error unless it is whole.
#[derive(Debug)]
pub(super) struct BaseReader<R> {
    from: R,
    watcher: Option<Watcher>,
    base: SharedBase,
    failed: Option<Error>,
}

impl<R: Read> BaseReader<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, watcher: Some(Watcher::default()), base: SharedBase::default(), failed: None }
    }

    pub(super) fn base(&self) -> SharedBase {
        Arc::clone(&self.base)
    }

    fn fail(&mut self, error: Error) -> io::Error {
        self.watcher = None;
        self.failed = Some(error.clone());
        io::Error::other(error)
    }
}

impl<R: Read> Read for BaseReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(io::Error::other(error.clone()));
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some(watcher) = &mut self.watcher else { return Ok(0) };
        let n = self.from.read(buffer)?;
        if let Err(error) = watcher.feed(buffer.get(..n).unwrap_or_default()) {
            return Err(self.fail(error));
        }
        if n == 0 {
            match self.watcher.take().unwrap_or_default().finish() {
                Ok(base) => *self.base.lock().unwrap_or_else(PoisonError::into_inner) = Some(base),
                Err(error) => return Err(self.fail(error)),
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, content: &[u8]) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[156] = b'0';
        block.extend_from_slice(content);
        block.resize(block.len().next_multiple_of(BLOCK), 0);
        block
    }

    fn backup(files: &[(&str, &[u8])], promised: &[(&str, &[u8])]) -> Vec<u8> {
        let mut stream: Vec<u8> = files.iter().flat_map(|(name, content)| member(name, content)).collect();
        let lines: Vec<String> = promised
            .iter()
            .map(|(name, content)| {
                let mut sum = Crc32c::default();
                sum.update(content);
                format!(
                    "{{ \"Path\": \"{name}\", \"Size\": {}, \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{}\" }}",
                    content.len(),
                    sum.hex()
                )
            })
            .collect();
        let text = format!(
            "{{ \"Files\": [\n{}],\n\"WAL-Ranges\": [{{ \"Timeline\": 1, \"Start-LSN\": \"0/2\", \"End-LSN\": \"0/3\" }}],\n",
            lines.join(",\n")
        );
        let digest = Digest::of(text.as_bytes());
        stream.extend(member(MANIFEST, format!("{text}\"Manifest-Checksum\": \"{digest}\"}}\n").as_bytes()));
        stream.extend([0; 2 * BLOCK]);
        stream
    }

    fn read(stream: &[u8]) -> io::Result<Option<Base>> {
        let mut reader = BaseReader::new(stream);
        io::copy(&mut reader, &mut io::sink())?;
        let base = reader.base().lock().unwrap().clone();
        Ok(base)
    }

    const FILES: &[(&str, &[u8])] = &[("PG_VERSION", b"15\n"), ("base/1/empty", b""), ("base/1/1259", &[7; 9000])];

    #[test]
    fn a_whole_base_backup_is_taken() {
        let base = read(&backup(FILES, FILES)).unwrap().unwrap();
        assert_eq!((base.files, base.log), (3, vec![("0/2".to_owned(), "0/3".to_owned())]));
    }

    #[test]
    fn a_cut_at_any_block_and_any_flipped_byte_of_content_are_found() {
        let stream = backup(FILES, FILES);
        for end in (0..stream.len()).step_by(256) {
            assert!(read(&stream[..end]).is_err(), "cut at {end}");
        }
        let at = stream.len() / 2;
        for at in [3 * BLOCK, BLOCK, at] {
            let mut other = stream.clone();
            other[at] ^= 1;
            assert!(read(&other).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn a_file_that_the_manifest_promises_must_come_as_it_says() {
        assert!(read(&backup(&FILES[1..], FILES)).is_err());
        assert!(read(&backup(&[("PG_VERSION", b"16\n")], &FILES[..1])).is_err());
        assert!(read(&backup(FILES, &FILES[..1])).is_ok(), "the log of the server is in no manifest");
        let mut behind = backup(FILES, FILES);
        behind.extend(member("late", b"x"));
        assert!(read(&behind).is_err());
    }
}
