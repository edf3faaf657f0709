//! Gives the files of the home folder to the engine, and the two summaries in their places.

use std::collections::BTreeMap;

use super::elsewhere::Elsewhere;
use super::ours::{PROJECTS, TASKS};
use super::reader::{HomeFacts, HomeReader, broken};
use super::summary::Summary;
use crate::error::Result;
use crate::model::{EntryPath, Problem, ProblemKind};
use crate::source::settled::Settled;
use crate::source::{Body, Facts, Object, Objects, SourceContext};

/// A capture that has begun.
#[derive(Debug)]
pub(super) struct Capture<'a> {
    settled: Settled<HomeFacts>,
    elsewhere: Vec<Elsewhere>,
    /// What is still to be given, in tree order, with its bytes where it is a summary.
    left: std::collections::btree_map::IntoIter<EntryPath, Option<Vec<u8>>>,
    summary: Summary,
    problems: Vec<Problem>,
    context: &'a SourceContext<'a>,
}

impl<'a> Capture<'a> {
    pub(super) fn new(
        settled: Settled<HomeFacts>,
        elsewhere: Vec<Elsewhere>,
        context: &'a SourceContext<'a>,
    ) -> Result<Self> {
        let summary = Summary::of(&settled);
        let theirs = settled.files.iter().filter(|(_, known)| known.facts != HomeFacts::OurSummary);
        let mut left: BTreeMap<_, _> = theirs.map(|(path, _)| (path.clone(), None)).collect();
        let mut problems = Vec::new();
        for (path, bytes) in [(TASKS, summary.tasks()?), (PROJECTS, summary.projects()?)] {
            let path = EntryPath::new(path.as_bytes())?;
            if left.contains_key(&path) || settled.folders.contains(&path) {
                problems.push(Problem {
                    kind: ProblemKind::Unsupported,
                    path: path.escaped().into_owned(),
                    detail: "something of that name is there, so the backup has no summary".to_owned(),
                });
            } else {
                left.insert(path, Some(bytes));
            }
        }
        let note = |text: &str| context.monitor.note(&format!("{}: {text}", context.component));
        elsewhere.iter().for_each(|found| note(&found.told));
        if !settled.still {
            note("was written to all the time; each file is whole, but not all are of the same moment");
        }
        Ok(Self { settled, elsewhere, left: left.into_iter(), summary, problems, context })
    }
}

impl Objects for Capture<'_> {
    fn next(&mut self) -> Result<Option<Object<'_>>> {
        for (path, summary) in self.left.by_ref() {
            self.context.monitor.check()?;
            if let Some(bytes) = summary {
                return Ok(Some(Object { modified: self.summary.newest, ..Object::new(path, Body::Bytes(bytes)) }));
            }
            let object = self.settled.object(&path, &HomeReader, self.context.monitor)?;
            if object.is_some() {
                return Ok(object);
            }
        }
        Ok(None)
    }

    fn finish(mut self: Box<Self>) -> Result<Facts> {
        let summary = Summary::of(&self.settled);
        let mut facts = Facts { counts: summary.counts(), ..Facts::default() };
        let mut fact = |name: &str, value: &str| {
            facts.facts.insert(name.to_owned(), value.to_owned());
        };
        if let Some(schema) = summary.install {
            fact("install_state", schema);
        }
        if !self.settled.still {
            fact("written_meanwhile", "yes");
        }
        if !self.elsewhere.is_empty() {
            let files: u64 = self.elsewhere.iter().map(|found| found.files).sum();
            fact("files_elsewhere", &files.to_string());
        }
        facts.problems = std::mem::take(&mut self.problems);
        facts.problems.extend(broken(&self.settled));
        facts.problems.append(&mut self.settled.problems);
        Ok(facts)
    }
}
