//! A service that is as simple as can be: a folder of files, which plays the living part in the tests of applying.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ccbackup::error::{Context as _, Kind};
use ccbackup::model::{EntryKind, EntryPath};
use ccbackup::source::{
    Action, ActionKind, ApplyOptions, ApplyPlan, Body, Captured, Checked, Contents, Facts, Object, Objects, Probe,
    Source, SourceContext, UndoLog, UndoStep,
};
use ccbackup::{ComponentConfig, Error, Result};
use serde_json::json;

use crate::contract::{Guard, OpenSource, Subject};
use crate::support::succeed;

/// A folder of files as a service: what lies in it is its data. Files beside it, `<folder>.<word>`, tell it how to behave.
#[derive(Debug)]
pub(crate) struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    pub(crate) fn open(config: &ComponentConfig) -> Box<dyn Source> {
        Box::new(Self { folder: config.paths()[0].clone() })
    }

    fn is(&self, word: &str) -> bool {
        beside(&self.folder, word).exists()
    }

    fn reach(&self) -> Result<()> {
        if self.is("unreachable") { Err(Error::new(Kind::Unreachable, "nobody answers")) } else { Ok(()) }
    }

    /// Names of files here.
    fn living(&self) -> Result<BTreeMap<String, PathBuf>> {
        self.reach()?;
        let items = fs::read_dir(&self.folder).map_err(|e| Error::failed("cannot list").because(e))?;
        Ok(items.flatten().map(|item| (item.file_name().into_string().unwrap(), item.path())).collect())
    }

    /// Names and contents of the files of a backup.
    fn archived(contents: &dyn Contents) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut archived = BTreeMap::new();
        for entry in contents.entries()? {
            let entry = entry?;
            if matches!(entry.kind, EntryKind::File { .. }) {
                let mut bytes = Vec::new();
                contents.open(&entry)?.read_to_end(&mut bytes).doing("cannot read")?;
                assert_eq!(bytes, contents.read(&entry, 1 << 20)?);
                assert_eq!(contents.find(&entry.path)?.as_ref(), Some(&entry));
                archived.insert(String::from_utf8(entry.path.name().to_vec()).unwrap(), bytes);
            }
        }
        Ok(archived)
    }
}

pub(crate) fn beside(folder: &Path, word: &str) -> PathBuf {
    folder.with_extension(word)
}

impl Source for Shelf {
    fn probe(&self, _: &SourceContext<'_>) -> Result<Probe> {
        Ok(Probe::default())
    }

    fn capture<'a>(&'a self, _: &'a SourceContext<'a>) -> Result<Captured<'a>> {
        let books = self.living()?.into_iter().collect::<Vec<_>>().into_iter();
        Ok(Captured::Objects(Box::new(Books { books, breaks: self.is("broken"), taken: 0 })))
    }

    fn plan_apply<'a>(
        &'a self,
        contents: &'a dyn Contents,
        options: &ApplyOptions,
        context: &'a SourceContext<'a>,
    ) -> Result<Box<dyn ApplyPlan + 'a>> {
        assert!(context.scratch.is_dir() && context.component.starts_with("shelf"));
        let (living, archived) = (self.living()?, Self::archived(contents)?);
        let mut actions = Vec::new();
        let names: BTreeSet<_> = living.keys().chain(archived.keys()).collect();
        for name in names {
            let kind = match (living.get(name), archived.get(name)) {
                (None, _) => ActionKind::Create,
                (Some(path), Some(bytes)) if fs::read(path).unwrap() == *bytes => ActionKind::Equal,
                _ if options.overwrite => ActionKind::Replace,
                _ => ActionKind::Conflict,
            };
            actions.push(Action::new(
                kind,
                format!("book {name}"),
                format!("{} bytes", archived.get(name).map_or(0, Vec::len)),
            ));
        }
        if self.is("manual") {
            actions.push(Action::new(ActionKind::Manual, "the key", "nobody but you has it").by_hand("fetch the key"));
        }
        Ok(Box::new(ShelfPlan { shelf: self, archived, actions, context }))
    }

    fn check(&self, contents: &dyn Contents, _: &SourceContext<'_>) -> Result<Checked> {
        let (living, archived) = (self.living()?, Self::archived(contents)?);
        let mut checked = Checked::default();
        let books = contents.facts().counts["books"];
        checked.compare("books", &books, &(living.len() as u64));
        for (name, bytes) in archived {
            match living.get(&name) {
                Some(path) if fs::read(path).unwrap() == bytes => checked.compared += 1,
                _ => checked.differs(format!("book {name}"), "it is another"),
            }
        }
        Ok(checked)
    }

    fn undo(&self, steps: &[UndoStep], folder: &Path, _: &SourceContext<'_>) -> Result<()> {
        if self.is("stubborn") {
            return Err(Error::failed("it does not give it back"));
        }
        for step in steps.iter().rev() {
            let place = self.folder.join(step["name"].as_str().unwrap());
            match step["kept"].as_str() {
                Some(kept) => drop(fs::copy(folder.join(kept), place).unwrap()),
                None if place.exists() => fs::remove_file(place).unwrap(),
                None => {}
            }
        }
        Ok(())
    }

    fn forget(&self, _: &[UndoStep], _: &Path, _: &SourceContext<'_>) -> Result<()> {
        Ok(())
    }
}

/// The books of a shelf while they are captured.
#[derive(Debug)]
struct Books {
    books: std::vec::IntoIter<(String, PathBuf)>,
    /// Large ones end too early.
    breaks: bool,
    taken: u64,
}

impl Objects for Books {
    fn next(&mut self) -> Result<Option<Object<'_>>> {
        let Some((name, place)) = self.books.next() else { return Ok(None) };
        self.taken += 1;
        let content = fs::read(place).map_err(|e| Error::failed("cannot read a book").because(e))?;
        let body = if name == "large" {
            let end = Broken(self.breaks);
            Body::Stream(Box::new(Cursor::new(content).take(if self.breaks { 200_000 } else { u64::MAX }).chain(end)))
        } else {
            Body::Bytes(content)
        };
        Ok(Some(Object::new(EntryPath::new(name.into_bytes())?, body)))
    }

    fn finish(self: Box<Self>) -> Result<Facts> {
        Ok(Facts { counts: [("books".to_owned(), self.taken)].into(), ..Facts::default() })
    }
}

/// The end of a stream, or that there is none.
struct Broken(bool);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        if self.0 { Err(Error::new(Kind::Incomplete, "the book has no last page").into()) } else { Ok(0) }
    }
}

#[derive(Debug)]
struct ShelfPlan<'a> {
    shelf: &'a Shelf,
    archived: BTreeMap<String, Vec<u8>>,
    actions: Vec<Action>,
    context: &'a SourceContext<'a>,
}

impl ApplyPlan for ShelfPlan<'_> {
    fn actions(&self) -> &[Action] {
        &self.actions
    }

    fn apply(self: Box<Self>, undo: &mut UndoLog) -> Result<()> {
        let changes = self.actions.iter().filter(|a| matches!(a.kind, ActionKind::Create | ActionKind::Replace));
        for (number, action) in changes.enumerate() {
            self.context.monitor.check()?;
            let name = action.object.strip_prefix("book ").unwrap();
            let place = self.shelf.folder.join(name);
            let kept = place.exists().then(|| number.to_string());
            if let Some(kept) = &kept {
                fs::copy(&place, undo.folder().join(kept)).unwrap();
            }
            undo.note(json!({ "name": name, "kept": kept }))?;
            self.context.monitor.check()?;
            match self.archived.get(name) {
                Some(bytes) => fs::write(&place, bytes).unwrap(),
                None => fs::remove_file(&place).unwrap(),
            }
            if self.shelf.is("failing") {
                return Err(Error::failed("the shelf fell"));
            }
        }
        if self.shelf.is("lying") {
            fs::write(self.shelf.folder.join("more"), "than was asked for").unwrap();
        }
        Ok(())
    }
}

/// A shelf as the subject of the contract.
pub(crate) struct ShelfSubject {
    dir: tempfile::TempDir,
    changes: u32,
}

impl ShelfSubject {
    pub(crate) fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("shelf")).unwrap();
        Some(Self { dir, changes: 0 })
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.dir.path().join("shelf")
    }
}

/// Stops a thread when it is dropped.
struct Stop(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().map(std::thread::JoinHandle::join);
    }
}

/// Removes a file when it is dropped.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

impl Subject for ShelfSubject {
    fn component(&self) -> ComponentConfig {
        ComponentConfig::of_files("shelf", vec![self.folder()])
    }

    fn open(&self) -> OpenSource {
        Shelf::open
    }

    fn fill(&mut self) {
        for (name, content) in [("a", "one"), ("b", ""), ("c", "three")] {
            fs::write(self.folder().join(name), content).unwrap();
        }
        fs::write(self.folder().join("large"), vec![7; 300_000]).unwrap();
    }

    fn change(&mut self) {
        self.changes += 1;
        fs::write(self.folder().join("a"), format!("changed {}", self.changes)).unwrap();
        fs::write(self.folder().join(format!("new {}", self.changes)), "new").unwrap();
        fs::remove_file(self.folder().join("b")).ok();
    }

    fn wipe(&mut self) {
        fs::remove_dir_all(self.folder()).unwrap();
        fs::create_dir(self.folder()).unwrap();
    }

    fn fingerprint(&self) -> String {
        let script = "find . -type f -print0 | sort -z | xargs -0 -r sha256sum";
        let listed = succeed(Command::new("bash").args(["-c", script]).current_dir(self.folder()));
        String::from_utf8(listed.stdout).unwrap()
    }

    fn churn(&mut self) -> Option<Guard> {
        let (ended, place) = (Arc::new(AtomicBool::new(false)), self.folder().join("c"));
        let stop = Arc::clone(&ended);
        let writing = std::thread::spawn(move || {
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                fs::write(&place, format!("round {round}")).unwrap();
            }
        });
        Some(Box::new(Stop(ended, Some(writing))))
    }

    fn break_half_way(&mut self) -> Option<Guard> {
        let place = beside(&self.folder(), "broken");
        fs::write(&place, "").unwrap();
        Some(Box::new(Remove(place)))
    }
}
