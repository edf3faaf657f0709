//! Reads the header blocks of members (FORMAT.md §5), ours and those of other tar programs.
//!
//! Invariant: bytes are untrusted. What two readers could understand in two ways is damage: doubled headers and
//! records, wrong checksums, sizes that do not fit, names that could leave the target.

use tar::Header;

use crate::error::{Error, Result};
use crate::model::{EntryPath, MAX_OFFSET, MAX_PAX_BYTES, MAX_TARGET_BYTES, Timestamp};

use super::block::{BLOCK, END, shown};
use super::field;
use super::member::{Member, MemberKind};
use super::pax::{Records, check_global};
use super::sparse::{Parsed, parse_map};

/// Longest name in the old GNU form.
const MAX_LONG_NAME_BYTES: usize = 64 << 10;

/// What [`scan_member`] found at the start of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scan {
    /// A member.
    Member(Box<Member>),
    /// The blocks that end the stream.
    End,
    /// The headers go on after the bytes: try again with so many bytes from the member's start. That is always more than
    /// were given, and at most about 64 MiB.
    More(u64),
}

/// Parses the member that starts at the first byte; none at the blocks that end the stream.
///
/// Only the header blocks, and the map of a sparse file, must be there. Everything else is damage, cut headers too.
pub fn parse_member(bytes: &[u8]) -> Result<Option<Member>> {
    match scan_member(bytes)? {
        Scan::Member(member) => Ok(Some(*member)),
        Scan::End => Ok(None),
        Scan::More(wanted) => Err(Error::damage(format!(
            "the headers of a tar member are cut: {} bytes are there, {wanted} are wanted",
            bytes.len()
        ))),
    }
}

/// Like [`parse_member`] for bytes that may end too early: cut headers are not damage but [`Scan::More`].
pub fn scan_member(bytes: &[u8]) -> Result<Scan> {
    match member(bytes) {
        Ok(member) => Ok(Scan::Member(Box::new(member))),
        Err(Stop::End) => Ok(Scan::End),
        Err(Stop::More(wanted)) => Ok(Scan::More(wanted)),
        Err(Stop::Bad(error)) => Err(error),
    }
}

/// Why there is no member.
enum Stop {
    End,
    More(u64),
    Bad(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Bad(error)
    }
}

fn bad(what: impl Into<String>) -> Stop {
    Stop::Bad(Error::damage(what))
}

/// Bytes that are consumed from the front.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn block(&mut self) -> Result<&'a [u8; BLOCK], Stop> {
        let block = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk);
        let block = block.ok_or(Stop::More((self.at + BLOCK) as u64))?;
        self.at += BLOCK;
        Ok(block)
    }

    /// The data of an extension header, up to `most` bytes.
    fn data(&mut self, header: &Header, most: usize) -> Result<&'a [u8], Stop> {
        let size = usize::try_from(size_field(header)?).ok().filter(|&size| size <= most);
        let size = size.ok_or_else(|| bad(format!("an extension header of a tar member exceeds {most} bytes")))?;
        let end = self.at + size.next_multiple_of(BLOCK);
        let data = self.bytes.get(self.at..end).ok_or(Stop::More(end as u64))?;
        self.at = end;
        Ok(&data[..size])
    }
}

/// What the headers before the ustar header say.
#[derive(Default)]
struct Extensions<'a> {
    global: bool,
    pax: Option<Records<'a>>,
    long_name: Option<&'a [u8]>,
    long_link: Option<&'a [u8]>,
}

fn member(bytes: &[u8]) -> Result<Member, Stop> {
    let mut input = Input { bytes, at: 0 };
    let mut before = Extensions::default();
    loop {
        let block = input.block()?;
        if *block == END[..BLOCK] {
            if input.at > BLOCK {
                return Err(bad("a tar stream ends after an extension header"));
            }
            let is_end = *input.block()? == END[..BLOCK];
            return Err(if is_end { Stop::End } else { bad("a tar stream has a lone empty block") });
        }
        let header = field::header(block);
        if !field::checksum_matches(header) {
            return Err(bad("a tar header has a wrong checksum"));
        }
        let once =
            |free: bool| if free { Ok(()) } else { Err(bad("a tar member has the same extension header twice")) };
        match header.as_old().linkflag[0] {
            b'x' => {
                once(before.pax.is_none())?;
                before.pax = Some(Records::parse(input.data(header, MAX_PAX_BYTES)?)?);
            }
            b'g' => {
                once(!before.global)?;
                before.global = true;
                check_global(input.data(header, MAX_PAX_BYTES)?)?;
            }
            b'L' => {
                once(before.long_name.is_none())?;
                before.long_name = Some(long_text(input.data(header, MAX_LONG_NAME_BYTES)?));
            }
            b'K' => {
                once(before.long_link.is_none())?;
                before.long_link = Some(long_text(input.data(header, MAX_LONG_NAME_BYTES)?));
            }
            kind => return finish(&input, header, kind, before),
        }
    }
}

/// The name in an `L` or `K` header, without the NUL that ends it.
fn long_text(data: &[u8]) -> &[u8] {
    data.strip_suffix(b"\0").unwrap_or(data)
}

fn number_field(field: &[u8], what: &str) -> Result<u64, Stop> {
    let number = field::number(field).and_then(|n| u64::try_from(n).ok());
    number.ok_or_else(|| bad(format!("a tar header has the {what} {}", shown(field))))
}

fn size_field(header: &Header) -> Result<u64, Stop> {
    number_field(&header.as_old().size, "size")
}

/// Puts header and extensions together; the input stands after the header.
fn finish(input: &Input<'_>, header: &Header, kind: u8, before: Extensions<'_>) -> Result<Member, Stop> {
    let old = header.as_old();
    let ustar = header.as_ustar();
    let pax = before.pax.unwrap_or_default();
    if (pax.path.is_some() && before.long_name.is_some()) || (pax.linkpath.is_some() && before.long_link.is_some()) {
        return Err(bad("a tar member has a long name in two forms"));
    }
    let short_name = match ustar.map(|h| field::text(&h.prefix)) {
        Some(prefix) if !prefix.is_empty() => [prefix, b"/", field::text(&old.name)].concat(),
        _ => field::text(&old.name).to_vec(),
    };
    let sparse = pax.sparse()?;
    let raw_name = pax.sparse_name.or(pax.path).or(before.long_name).unwrap_or(&short_name);
    let raw_target = pax.linkpath.or(before.long_link).unwrap_or_else(|| field::text(&old.linkname));

    let stored = pax.size.map_or_else(|| size_field(header), Ok)?;
    let kind = member_kind(header, kind, raw_name, raw_target)?;
    let is_file = kind == MemberKind::File;
    let in_pieces = pax.in_pieces()?;
    if stored > MAX_OFFSET || sparse.is_some_and(|size| size > MAX_OFFSET) {
        return Err(bad("a tar member claims more than 2^60 bytes"));
    }
    if (!is_file && stored > 0)
        || (in_pieces && (stored > 0 || !is_file))
        || (sparse.is_some() && (!is_file || in_pieces))
    {
        let what = if in_pieces { "file in pieces" } else { kind.name() };
        return Err(bad(format!("a tar member of type {what} must not have content")));
    }
    let (regions, map_bytes) = match sparse {
        None => (None, 0),
        Some(size) => match parse_map(&input.bytes[input.at..], stored, size)? {
            Parsed::Map(regions, map_bytes) => (Some(regions), map_bytes),
            Parsed::More(wanted) => return Err(Stop::More(input.at as u64 + wanted)),
        },
    };

    // Old headers end after the link name; GNU's have the names at the same place as ustar's.
    let named = ustar.map(|h| (&h.uname, &h.gname)).or_else(|| header.as_gnu().map(|h| (&h.uname, &h.gname)));
    let (uname, gname) = named.map_or((&b""[..], &b""[..]), |(u, g)| (field::text(u), field::text(g)));
    let owner_name = |record: Option<&[u8]>, field: &[u8]| match record.unwrap_or(field) {
        name if name.contains(&0) => Err(bad(format!("a tar member has the owner's name {}", shown(name)))),
        name => Ok(name.to_vec()),
    };
    Ok(Member {
        path: clean_path(raw_name, kind == MemberKind::Dir)?,
        kind,
        mode: (number_field(&old.mode, "mode")? & 0o7777) as u32,
        uid: pax.uid.map_or_else(|| number_field(&old.uid, "uid"), Ok)?,
        gid: pax.gid.map_or_else(|| number_field(&old.gid, "gid"), Ok)?,
        user: owner_name(pax.uname, uname)?,
        group: owner_name(pax.gname, gname)?,
        mtime: pax.mtime.map_or_else(|| mtime_field(&old.mtime), Ok)?,
        xattrs: pax.xattrs,
        header_bytes: input.at as u64 + map_bytes,
        content_bytes: stored - map_bytes,
        regions,
        real_size: sparse.unwrap_or(stored),
        in_pieces,
    })
}

fn mtime_field(raw: &[u8]) -> Result<Timestamp, Stop> {
    let seconds = field::number(raw).and_then(|n| i64::try_from(n).ok());
    let seconds = seconds.ok_or_else(|| bad(format!("a tar header has the time {}", shown(raw))))?;
    Ok(Timestamp { seconds, nanoseconds: 0 })
}

fn member_kind(header: &Header, kind: u8, name: &[u8], target: &[u8]) -> Result<MemberKind, Stop> {
    let device = || -> Result<(u32, u32), Stop> {
        // GNU headers have the device numbers at the same place.
        let block = header.as_bytes();
        let part = |field: &[u8]| {
            let number = u32::try_from(number_field(field, "device number")?);
            number.map_err(|_| bad("a tar member has a device number of more than 32 bits"))
        };
        Ok((part(&block[329..337])?, part(&block[337..345])?))
    };
    Ok(match kind {
        // Before ustar, a slash at the end was all that told a folder.
        b'0' | 0 if name.ends_with(b"/") => MemberKind::Dir,
        b'0' | b'7' | 0 => MemberKind::File,
        b'1' => MemberKind::Hardlink(clean_path(target, false)?),
        b'2' => {
            if target.is_empty() || target.len() > MAX_TARGET_BYTES || target.contains(&0) {
                return Err(bad(format!("a symbolic link has the target {}", shown(target))));
            }
            MemberKind::Symlink(target.to_vec())
        }
        b'3' => device().map(|(major, minor)| MemberKind::CharDevice(major, minor))?,
        b'4' => device().map(|(major, minor)| MemberKind::BlockDevice(major, minor))?,
        b'5' => MemberKind::Dir,
        b'6' => MemberKind::Fifo,
        b'S' => return Err(bad("a sparse file has a map of an old form, only GNU.sparse 1.0 can be read")),
        other => return Err(bad(format!("a tar member has the unknown type '{}'", other.escape_ascii()))),
    })
}

/// Strips what other programs put around names, then checks: nothing that could leave the target gets through.
fn clean_path(raw: &[u8], is_dir: bool) -> Result<Vec<u8>, Stop> {
    let mut name = raw;
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest;
    }
    while let Some(rest) = name.strip_suffix(b"/").filter(|rest| is_dir && !rest.is_empty()) {
        name = rest;
    }
    if is_dir && raw.starts_with(b".") && matches!(name, b"" | b".") {
        return Ok(b".".to_vec());
    }
    Ok(EntryPath::new(name)?.as_bytes().to_vec())
}
