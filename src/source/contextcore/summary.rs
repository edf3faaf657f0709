//! `state/tasks.json` and `state/projects.json`: what the state files say, in two documents that are read at a glance.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ours::WRITTEN_BY;
use super::reader::{HomeFacts, Sort, Stored, Task};
use crate::error::Result;
use crate::model::{EntryPath, Timestamp, pretty_json};
use crate::source::Counts;
use crate::source::settled::Settled;

/// What the files of a home folder say together. Equal files give equal bytes.
#[derive(Debug, Default)]
pub(super) struct Summary {
    tasks: Vec<TaskLine>,
    projects: BTreeMap<String, ProjectLine>,
    roles: u64,
    bindings: u64,
    broken: u64,
    files: u64,
    /// The schema of the state of the installation.
    pub(super) install: Option<&'static str>,
    /// Last change of any file that is told of.
    pub(super) newest: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct TaskLine {
    task_id: String,
    project: String,
    title: Option<String>,
    #[serde(rename = "type")]
    sort: Option<String>,
    status: Option<String>,
    percent_complete: Option<f64>,
    completed: bool,
    span_name: Option<String>,
    parent_span_id: Option<String>,
    created_at: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
    schema_version: u64,
    file: String,
}

#[derive(Debug, Default, Serialize)]
struct ProjectLine {
    tasks: u64,
    completed_tasks: u64,
    statuses: BTreeMap<String, u64>,
    handoffs: u64,
    sessions: u64,
    insights: u64,
    guidance: bool,
}

#[derive(Serialize)]
struct Document<'a, T> {
    written_by: &'static str,
    version: u32,
    #[serde(flatten)]
    list: BTreeMap<&'static str, &'a T>,
}

impl Summary {
    pub(super) fn of(settled: &Settled<HomeFacts>) -> Self {
        let mut summary = Self::default();
        for (path, known) in &settled.files {
            if known.facts == HomeFacts::OurSummary {
                continue;
            }
            summary.files += 1;
            summary.newest = summary.newest.max(known.stamp.map(|stamp| stamp.mtime));
            summary.add(path, &known.facts);
        }
        summary
    }

    fn add(&mut self, path: &EntryPath, facts: &HomeFacts) {
        self.broken += u64::from(matches!(facts, HomeFacts::Broken(_)));
        match (Sort::of(path), facts) {
            (Sort::Task { project, completed }, HomeFacts::Task(task)) => self.add_task(path, project, completed, task),
            (Sort::Stored { project, what }, _) => {
                let line = self.projects.entry(project).or_default();
                match what {
                    Stored::Handoff => line.handoffs += 1,
                    Stored::Session => line.sessions += 1,
                    Stored::Insight => line.insights += 1,
                    Stored::Guidance => line.guidance = true,
                }
            }
            (Sort::Insights { project }, HomeFacts::Insights(number)) => {
                self.projects.entry(project).or_default().insights += number;
            }
            (Sort::Install, HomeFacts::Install(schema)) => self.install = Some(schema),
            (Sort::Role, _) => self.roles += 1,
            (Sort::Binding, _) => self.bindings += 1,
            _ => {}
        }
    }

    fn add_task(&mut self, path: &EntryPath, folder: String, completed: bool, task: &Task) {
        let task = task.clone();
        let line = self.projects.entry(folder.clone()).or_default();
        *(if completed { &mut line.completed_tasks } else { &mut line.tasks }) += 1;
        *line.statuses.entry(task.status.clone().unwrap_or_else(|| "unknown".to_owned())).or_default() += 1;
        self.tasks.push(TaskLine {
            task_id: task.id,
            project: task.project.unwrap_or(folder),
            title: task.title,
            sort: task.sort,
            status: task.status,
            percent_complete: task.percent,
            completed,
            span_name: task.name,
            parent_span_id: task.parent,
            created_at: task.created,
            start_time: task.started,
            end_time: task.ended,
            schema_version: task.schema,
            file: path.escaped().into_owned(),
        });
    }

    /// The bytes of `state/tasks.json`.
    pub(super) fn tasks(&self) -> Result<Vec<u8>> {
        pretty_json(&Document { written_by: WRITTEN_BY, version: 1, list: [("tasks", &self.tasks)].into() })
    }

    /// The bytes of `state/projects.json`.
    pub(super) fn projects(&self) -> Result<Vec<u8>> {
        pretty_json(&Document { written_by: WRITTEN_BY, version: 1, list: [("projects", &self.projects)].into() })
    }

    /// What was counted.
    pub(super) fn counts(&self) -> Counts {
        let sum = |of: fn(&ProjectLine) -> u64| self.projects.values().map(of).sum();
        let schema_1 = self.tasks.iter().filter(|task| task.schema_version < 2).count() as u64;
        let counts = [
            ("tasks", sum(|project| project.tasks)),
            ("completed_tasks", sum(|project| project.completed_tasks)),
            ("tasks_of_schema_1", schema_1),
            ("projects", self.projects.len() as u64),
            ("handoffs", sum(|project| project.handoffs)),
            ("sessions", sum(|project| project.sessions)),
            ("insights", sum(|project| project.insights)),
            ("roles", self.roles),
            ("bindings", self.bindings),
            ("unreadable", self.broken),
            ("files", self.files),
        ];
        counts.into_iter().map(|(name, number)| (name.to_owned(), number)).collect()
    }
}
