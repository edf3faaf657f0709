//! What the threads of a walk do: list a folder, and stat its entries in blocks.
//!
//! A folder's names are held packed while it is walked; metadata only of a block of them, so a folder of millions of
//! files costs little more than its names, and several threads work on its blocks.

use std::borrow::Cow;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::database::{is_journal, parts_of};
use super::exclude::Exclude;
use super::folder::{Folder, problem_kind};
use super::listing::Listing;
use super::ordered_queue::Done;
use super::part::Part;
use super::stat::{FileKind, Stat, UNKNOWN_TYPE};
use crate::model::{MAX_PATH_BYTES, ProblemKind, escape_path};

/// Entries whose metadata is held at once, by block.
const BLOCK: usize = 512;

/// Memory of a listing that counts as one unit ahead of the consumer, in bytes.
const UNIT_BYTES: usize = 64 << 10;

/// First bytes of a `CACHEDIR.TAG`, as <https://bford.info/cachedir/> defines them.
const CACHE_SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What a glob of the user matches.
const EXCLUDED: What = What::LeftOut("excluded by a glob");

/// What holds for the whole walk.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) exclude: Exclude,
    pub(super) exclude_caches: bool,
    pub(super) exclude_if_present: Vec<CString>,
    pub(super) one_file_system: bool,
    /// A handful, searched for every entry.
    pub(super) skip: Vec<(u64, u64)>,
    /// Whether databases that are in use are told from other files.
    pub(super) databases: bool,
}

/// A piece of work.
#[derive(Debug)]
pub(super) enum WalkTask {
    /// List a folder and stat its first block.
    List(Arc<Folder>),
    /// Stat another block of it.
    Stat(Arc<Folder>, Arc<Listing>, Range<usize>),
}

/// Some entries of a folder.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) folder: Arc<Folder>,
    /// In order.
    pub(super) items: Vec<Listed>,
    /// Blocks of the same folder that follow.
    pub(super) more: usize,
    /// Why contents were left out.
    pub(super) left_out: Option<Cow<'static, str>>,
    /// Why the list is empty or short.
    pub(super) problem: Option<(ProblemKind, String)>,
}

/// One name in a folder.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: CString,
    pub(super) what: What,
    /// Its part in a database that is in use.
    pub(super) part: Option<Box<Part>>,
}

#[derive(Debug)]
pub(super) enum What {
    /// An entry; one to enter has its own [`WalkTask::List`] in the line.
    Entry {
        stat: Stat,
        enter: bool,
        /// Why contents are left out.
        left_out: Option<&'static str>,
    },
    /// Left out by a rule.
    LeftOut(&'static str),
    /// Nothing that can be kept.
    Note(&'static str),
    Problem(ProblemKind, String),
}

/// Does a piece of work. `buffer` is scratch memory of the thread.
pub(super) fn run(work: WalkTask, rules: &Rules, buffer: &mut Vec<u8>) -> Done<WalkTask, Block> {
    match work {
        WalkTask::List(folder) => list(folder, rules, buffer),
        WalkTask::Stat(folder, listing, range) => {
            let mut more = Vec::new();
            let items = match folder.handle() {
                Ok(fd) => stat_names(&folder, &fd, &listing, range, rules, &mut more),
                Err(e) => {
                    // The folder went away in the middle: each name that was seen is reported.
                    let fault = || What::Problem(problem_kind(&e), e.to_string());
                    range.map(|i| Listed { name: listing.name(i).to_owned(), what: fault(), part: None }).collect()
                }
            };
            Done { result: Block { folder, items, more: 0, left_out: None, problem: None }, cost: 1, more }
        }
    }
}

fn list(folder: Arc<Folder>, rules: &Rules, buffer: &mut Vec<u8>) -> Done<WalkTask, Block> {
    let mut block = Block { folder: Arc::clone(&folder), items: Vec::new(), more: 0, left_out: None, problem: None };
    let fd = match folder.open_to_list() {
        Ok(fd) => fd,
        Err(e) => {
            block.problem = Some((folder_problem_kind(&e), format!("the folder cannot be opened: {e}")));
            return Done { result: block, cost: 1, more: Vec::new() };
        }
    };
    let (mut listing, result) = Listing::read(&fd, buffer);
    if let Err(e) = result {
        let error = io::Error::from(e);
        block.problem = Some((folder_problem_kind(&error), format!("the folder cannot be listed to its end: {error}")));
    }
    if let Some(name) = rules.exclude_if_present.iter().find(|name| listing.find(name).is_some()) {
        block.left_out = Some(format!("the folder holds {}", escape_path(name.to_bytes())).into());
        listing.keep_only(None);
    } else if rules.exclude_caches
        && let Some(tag) = listing.find(c"CACHEDIR.TAG")
        && is_cache_tag(&folder, &fd)
    {
        block.left_out = Some("the folder is a cache (CACHEDIR.TAG)".into());
        listing.keep_only(Some(tag));
    }
    if rules.databases && listing.may_have_databases {
        listing.parts = parts_of(&folder, &fd, &listing);
    }
    let (count, held) = (listing.len(), listing.held_bytes());
    let listing = Arc::new(listing);
    let mut more = Vec::new();
    block.items = stat_names(&folder, &fd, &listing, 0..count.min(BLOCK), rules, &mut more);
    let starts = (BLOCK..count).step_by(BLOCK);
    block.more = starts.len();
    more.extend(starts.map(|start| {
        WalkTask::Stat(Arc::clone(&folder), Arc::clone(&listing), start..count.min(start.saturating_add(BLOCK)))
    }));
    Done { result: block, cost: 1 + held / UNIT_BYTES, more }
}

/// The folder itself is an entry all the same, with what the walk saw of it.
fn folder_problem_kind(error: &io::Error) -> ProblemKind {
    match problem_kind(error) {
        ProblemKind::Vanished => ProblemKind::Changed,
        kind => kind,
    }
}

/// Stats some names; folders that are to be entered are added to `more`.
fn stat_names(
    folder: &Arc<Folder>,
    fd: &OwnedFd,
    listing: &Listing,
    range: Range<usize>,
    rules: &Rules,
    more: &mut Vec<WalkTask>,
) -> Vec<Listed> {
    let mut path = if rules.exclude.is_empty() { Vec::new() } else { folder.path_prefix() };
    let prefix = path.len();
    let mut items = Vec::with_capacity(range.len());
    // Without the limit to one file system, an automatic mount point is to be mounted and walked.
    let stat = if rules.one_file_system { Stat::at } else { Stat::at_mounting };
    for index in range {
        let name = listing.name(index);
        let mut excluded = |kind: FileKind| {
            !rules.exclude.is_empty() && {
                path.truncate(prefix);
                path.extend_from_slice(name.to_bytes());
                rules.exclude.matches_bytes(&path, kind == FileKind::Dir)
            }
        };
        // Where the folder tells types, what is excluded needs no stat.
        if listing.kind(index).is_some_and(&mut excluded) {
            items.push(Listed { name: name.to_owned(), what: EXCLUDED, part: None });
            continue;
        }
        let length = folder.path_bytes.saturating_add(1 + name.count_bytes());
        let what = if length > MAX_PATH_BYTES || name.count_bytes() > 255 {
            let detail = format!("a path of {length} bytes is longer than {MAX_PATH_BYTES}, or its name than 255");
            What::Problem(ProblemKind::TooLong, detail)
        } else {
            match stat(fd, name) {
                Err(Errno::NOENT) if rules.databases && is_journal(folder, fd, name) => {
                    What::Note("journal of a SQLite database, gone with its transaction")
                }
                // It may be there all the time, by another name.
                Err(Errno::NOENT) => {
                    What::Problem(ProblemKind::Vanished, "it was listed, and gone a moment later".to_owned())
                }
                Err(UNKNOWN_TYPE) => {
                    What::Problem(ProblemKind::Unsupported, "a type of file that is not known".to_owned())
                }
                Err(e) => {
                    let e = io::Error::from(e);
                    What::Problem(problem_kind(&e), e.to_string())
                }
                Ok(stat) if excluded(stat.kind) => EXCLUDED,
                Ok(stat) => {
                    let what = judge(stat, folder.root_device, rules);
                    if let What::Entry { stat, enter: true, .. } = &what {
                        more.push(WalkTask::List(folder.child(name, stat)));
                    }
                    what
                }
            }
        };
        let part = if listing.parts.is_empty() { None } else { listing.part(index) };
        items.push(Listed { name: name.to_owned(), what, part });
    }
    items
}

/// What becomes of a file with this metadata.
pub(super) fn judge(stat: Stat, root_device: u64, rules: &Rules) -> What {
    match stat.kind {
        FileKind::Socket => What::Note("socket"),
        FileKind::Dir if rules.skip.contains(&stat.identity()) => What::LeftOut("own data of the backup"),
        FileKind::File if rules.skip.contains(&stat.identity()) => What::LeftOut("a key of this host"),
        FileKind::Dir if rules.one_file_system && (stat.mounted || stat.device != root_device) => {
            What::Entry { stat, enter: false, left_out: Some("what is in it lies on another file system") }
        }
        kind => What::Entry { stat, enter: kind == FileKind::Dir, left_out: None },
    }
}

fn is_cache_tag(folder: &Folder, fd: &OwnedFd) -> bool {
    let Ok(tag) = folder.open_inside(fd, c"CACHEDIR.TAG", OFlags::empty()).map(File::from) else { return false };
    let mut start = [0; CACHE_SIGNATURE.len()];
    Stat::of(&tag).is_ok_and(|stat| stat.kind == FileKind::File)
        && (&tag).read_exact(&mut start).is_ok()
        && &start == CACHE_SIGNATURE
}
