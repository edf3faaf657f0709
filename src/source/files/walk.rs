//! The walk itself: roots, and the order in which everything comes out.
//!
//! Invariant: entries come in strictly increasing tree order (FORMAT.md §6), a folder before all it holds, so that the
//! walk can be joined with an inventory in one pass.

use std::collections::VecDeque;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::database::in_use;
use super::exclude::Exclude;
use super::folder::{Folder, OpenFolders};
use super::left_out::LeftOut;
use super::list::{Block, Listed, Rules, WalkTask, What, judge, run};
use super::ordered_queue::OrderedQueue;
use super::part::Part;
use super::stat::{FileKind, Stat};
use crate::error::{Context as _, Error, Kind, Result, path_text};
use crate::model::{EntryPath, MAX_PATH_BYTES, Problem, ProblemKind, escape_path};

/// How to walk.
#[derive(Debug, Default)]
pub struct WalkOptions {
    /// What to leave out. Roots themselves are never left out: they were asked for by name.
    pub exclude: Exclude,
    /// Of folders that are caches by their `CACHEDIR.TAG`, keep only this and the folder itself.
    pub exclude_caches: bool,
    /// Keep nothing that is in a folder that holds one of these names; the folder itself stays.
    pub exclude_if_present: Vec<String>,
    /// Keep folders on which something is mounted, but not what is in them.
    pub one_file_system: bool,
    /// Device and inode of what is left out: our own repository and state with all they hold, and our own keys.
    pub skip_identities: Vec<(u64, u64)>,
    /// Tell databases of SQLite that are in use, and the files that belong to them, from others.
    pub databases: bool,
    /// Threads that list ahead; 0 leaves all the work to the consumer.
    pub threads: usize,
}

/// One entry of the walk. It stays usable after the walk has gone on or ended.
#[derive(Clone, Debug)]
pub struct Found {
    /// Path inside the component.
    pub path: EntryPath,
    /// Metadata at the time it was found.
    pub stat: Stat,
    /// Its part in a database of SQLite that is in use.
    pub part: Option<Box<Part>>,
    pub(super) folder: Arc<Folder>,
    pub(super) name: CString,
}

/// What the walk comes across.
#[derive(Debug)]
pub enum Step {
    /// An entry, in order.
    Entry(Found),
    /// Something that could not be read. For a folder that could not be listed it comes after its entry.
    Problem(Problem),
    /// What rules left out of the whole tree; comes last.
    LeftOut(LeftOut),
    /// Something that is never kept.
    Note {
        /// What it is.
        path: EntryPath,
        /// Why.
        reason: &'static str,
    },
}

/// A running walk. Dropping it ends its threads after the listing they are at.
#[derive(Debug)]
pub struct Walk {
    line: Arc<OrderedQueue<WalkTask, Block>>,
    rules: Arc<Rules>,
    threads: Vec<JoinHandle<()>>,
    buffer: Vec<u8>,
    roots: std::vec::IntoIter<Root>,
    levels: Vec<Level>,
    /// Path of the last item.
    path: Vec<u8>,
    /// The last item is a folder whose contents come next.
    enter: bool,
    steps: VecDeque<Step>,
    left_out: LeftOut,
}

#[derive(Debug)]
struct Root {
    shown: EntryPath,
    anchor: Arc<Folder>,
    item: Listed,
}

/// A folder on the way from a root to the last item.
#[derive(Debug)]
struct Level {
    folder: Arc<Folder>,
    items: std::vec::IntoIter<Listed>,
    more: usize,
    path_bytes: usize,
}

/// The name under which a root's entries lie: its last component as it was given, that of the real path where it ends
/// in `.` or `..`, and `root` for `/`.
pub fn root_name(root: &Path) -> Result<EntryPath> {
    let name = match root.components().next_back() {
        // `components` drops a trailing `/.`, which means the same folder.
        Some(Component::Normal(name)) => name.to_owned(),
        _ => canonical(root)?.file_name().unwrap_or(OsStr::new("root")).to_owned(),
    };
    EntryPath::new(name.into_vec()).map_err(|e| Error::usage(format!("{root:?} cannot be a root")).because(e))
}

fn canonical(root: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(root).map_err(|e| {
        let kind = if e.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
        Error::new(kind, format!("cannot find the real path of {}", path_text(root))).because(e)
    })
}

/// Starts a walk over `roots`, each a folder or a single file; links are followed in the paths of roots only.
///
/// Fails before anything starts when a root is missing or two roots have the same last name.
pub fn walk(roots: &[PathBuf], options: WalkOptions) -> Result<Walk> {
    let no_nul = |name: String| CString::new(name).map_err(|e| Error::usage("a file name has a NUL byte").because(e));
    let rules = Arc::new(Rules {
        exclude: options.exclude,
        exclude_caches: options.exclude_caches,
        exclude_if_present: options.exclude_if_present.into_iter().map(no_nul).collect::<Result<_>>()?,
        one_file_system: options.one_file_system,
        skip: options.skip_identities.into_iter().collect(),
        databases: options.databases,
    });
    let open_folders = Arc::new(OpenFolders::default());
    let mut found = Vec::with_capacity(roots.len());
    for path in roots {
        let shown = root_name(path)?;
        let real = canonical(path)?;
        let (parent, name) = match (real.parent(), real.file_name()) {
            (Some(parent), Some(name)) => (parent.to_owned(), name.to_owned()),
            _ => (real, ".".into()),
        };
        let anchor = Folder::anchor(parent, Arc::clone(&open_folders)).at("cannot open the folder of", path)?;
        let name = CString::new(name.as_bytes()).map_err(|_| Error::usage(format!("{path:?} has a NUL byte")))?;
        let handle = anchor.handle().at("cannot open the folder of", path)?;
        // Something may be mounted on a root itself.
        let stat = Stat::at_mounting(&*handle, name.as_c_str()).at("cannot stat", path)?;
        let (device, stat) = (stat.device, Stat { mounted: false, ..stat });
        let part = (rules.databases && stat.kind == FileKind::File).then(|| in_use(&anchor, &*handle, &name)).flatten();
        let item = Listed { what: judge(stat, device, &rules), name, part: part.map(Box::new) };
        found.push((path, Root { shown, anchor, item }));
    }
    found.sort_by(|a, b| a.1.shown.cmp(&b.1.shown));
    if let Some(pair) = found.windows(2).find(|pair| pair[0].1.shown == pair[1].1.shown) {
        let (first, second, name) = (pair[0].0.display(), pair[1].0.display(), &pair[0].1.shown);
        return Err(Error::usage(format!("the roots {first} and {second} would both be stored as {name}"))
            .hint("put them into two components"));
    }
    let work = found
        .iter()
        .filter_map(|(_, root)| match &root.item.what {
            What::Entry { stat, enter: true, .. } => {
                Some(WalkTask::List(Folder::root(&root.anchor, &root.item.name, root.shown.as_bytes(), stat)))
            }
            _ => None,
        })
        .collect();
    let roots: Vec<_> = found.into_iter().map(|(_, root)| root).collect();
    let line = Arc::new(OrderedQueue::new(work));
    let threads = (0..options.threads).map_while(|_| {
        let (line, rules) = (Arc::clone(&line), Arc::clone(&rules));
        let serve = move || {
            let mut buffer = Vec::new();
            line.serve(|work| run(work, &rules, &mut buffer));
        };
        // Fewer threads than wished only cost time.
        thread::Builder::new().name("walk".to_owned()).spawn(serve).ok()
    });
    Ok(Walk {
        threads: threads.collect(),
        line,
        rules,
        buffer: Vec::new(),
        roots: roots.into_iter(),
        levels: Vec::new(),
        path: Vec::new(),
        enter: false,
        steps: VecDeque::new(),
        left_out: LeftOut::default(),
    })
}

impl Walk {
    /// The next block in the line.
    fn block(&mut self) -> Option<Block> {
        let block = self.line.next(|work| run(work, &self.rules, &mut self.buffer));
        if block.is_none() {
            // Only a thread that panicked leaves the line short. An inventory without the rest would look complete.
            self.line.close();
            for thread in self.threads.drain(..) {
                if let Err(panic) = thread.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
        block
    }

    fn descend(&mut self) {
        let Some(block) = self.block() else { return };
        if let Some(reason) = block.left_out {
            self.left_out.add(&self.path, &reason);
        }
        if let Some((kind, detail)) = block.problem {
            self.problem(kind, detail);
        }
        let (folder, items) = (block.folder, block.items.into_iter());
        self.levels.push(Level { folder, items, more: block.more, path_bytes: self.path.len() });
    }

    fn note(&mut self, reason: &'static str) {
        match EntryPath::new(&self.path[..]) {
            Ok(path) => self.steps.push_back(Step::Note { path, reason }),
            Err(e) => self.problem(ProblemKind::Unsupported, e.to_string()),
        }
    }

    fn problem(&mut self, kind: ProblemKind, detail: String) {
        // What has a problem may be no valid path, and too long to be shown.
        let path = escape_path(&self.path[..self.path.len().min(MAX_PATH_BYTES)]).into_owned();
        self.steps.push_back(Step::Problem(Problem { kind, path, detail }));
    }

    /// Queues what an item stands for; its path is in `self.path`.
    fn show(&mut self, item: Listed, folder: Arc<Folder>) {
        match item.what {
            What::Note(reason) => self.note(reason),
            What::LeftOut(reason) => self.left_out.add(&self.path, reason),
            What::Problem(kind, detail) => self.problem(kind, detail),
            What::Entry { stat, enter, left_out } => {
                self.enter = enter;
                match EntryPath::new(&self.path[..]) {
                    Ok(path) => self.steps.push_back(Step::Entry(Found {
                        path,
                        stat,
                        part: item.part,
                        folder,
                        name: item.name,
                    })),
                    Err(e) => self.problem(ProblemKind::Unsupported, e.to_string()),
                }
                if let Some(reason) = left_out {
                    self.left_out.add(&self.path, reason);
                }
            }
        }
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.steps.pop_front() {
                return Some(step);
            }
            if std::mem::take(&mut self.enter) {
                // Folders whose last item this was are done; a deep tree need not keep them.
                while self.levels.last().is_some_and(|f| f.items.len() == 0 && f.more == 0) {
                    self.levels.pop();
                }
                self.descend();
                continue;
            }
            let Some(level) = self.levels.last_mut() else {
                let Some(root) = self.roots.next() else {
                    let left_out = std::mem::take(&mut self.left_out);
                    return (left_out.count > 0).then_some(Step::LeftOut(left_out));
                };
                self.path.clear();
                self.path.extend_from_slice(root.shown.as_bytes());
                self.show(root.item, root.anchor);
                continue;
            };
            if let Some(item) = level.items.next() {
                self.path.truncate(level.path_bytes);
                self.path.push(b'/');
                self.path.extend_from_slice(item.name.to_bytes());
                let folder = Arc::clone(&level.folder);
                self.show(item, folder);
            } else if level.more > 0 {
                level.more -= 1;
                let items = self.block().map(|block| block.items).unwrap_or_default();
                if let Some(level) = self.levels.last_mut() {
                    level.items = items.into_iter();
                }
            } else {
                self.levels.pop();
            }
        }
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.line.close();
        for thread in self.threads.drain(..) {
            // A panic of a thread was passed on where its result was missed.
            drop(thread.join());
        }
    }
}
