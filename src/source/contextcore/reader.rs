//! What the files of ContextCore must look like, and which are none of a backup.

use std::fs::File;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::lock;
use super::ours::is_ours;
use crate::error::Result;
use crate::model::{EntryPath, Problem, ProblemKind};
use crate::source::settled::{Fault, Judged, Reader, Root, Settled};

/// Largest file that is read into memory, in bytes; files of ContextCore have some KiB.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 20;

/// What a file is, by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// The state of a task.
    Task {
        /// The folder of its project.
        project: String,
        /// Whether it lies among those that were completed.
        completed: bool,
    },
    /// Below `storage/`: handoffs, sessions, insights and guidance of a project.
    Stored {
        /// The project.
        project: String,
        /// Which of them.
        what: Stored,
    },
    /// `insights/<project>_insights.json`.
    Insights {
        /// The project.
        project: String,
    },
    /// `install-state.json`.
    Install,
    /// `rbac/roles/*.yaml`.
    Role,
    /// `rbac/bindings/*.yaml`.
    Binding,
    /// Anything else.
    Other,
}

/// What is kept of a project below `storage/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Handoff,
    Session,
    Insight,
    Guidance,
}

impl Sort {
    /// By the path below the home folder.
    pub(super) fn of(path: &EntryPath) -> Self {
        let text = path.escaped();
        let parts: Vec<&str> = text.split('/').collect();
        let json = parts.last().is_some_and(|name| name.ends_with(".json"));
        let named = |part: &str| part.to_owned();
        match parts.as_slice() {
            ["state", project, "completed", _, ..] if json => Self::Task { project: named(project), completed: true },
            ["state", project, _, ..] if json => Self::Task { project: named(project), completed: false },
            ["storage", _, project, "guidance.json"] => {
                Self::Stored { project: named(project), what: Stored::Guidance }
            }
            ["storage", _, project, what @ ("handoffs" | "sessions" | "insights"), _] if json => {
                let what = match *what {
                    "handoffs" => Stored::Handoff,
                    "sessions" => Stored::Session,
                    _ => Stored::Insight,
                };
                Self::Stored { project: named(project), what }
            }
            ["insights", name] => match name.strip_suffix("_insights.json") {
                Some(project) => Self::Insights { project: named(project) },
                None => Self::Other,
            },
            ["install-state.json"] => Self::Install,
            ["rbac", "roles", name] if name.ends_with(".yaml") => Self::Role,
            ["rbac", "bindings", name] if name.ends_with(".yaml") => Self::Binding,
            _ => Self::Other,
        }
    }
}

/// What is remembered of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum HomeFacts {
    /// A task, with what its state says.
    Task(Box<Task>),
    /// How many insights a list has.
    Insights(u64),
    /// The schema of the state of the installation.
    Install(&'static str),
    /// A summary that a backup wrote and somebody brought here by hand.
    OurSummary,
    /// Nothing of it matters here.
    Plain,
    /// It should be JSON and is not, or not of its sort; why.
    Broken(String),
    /// Nobody could read it.
    Unread,
}

/// What the state of a task says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) project: Option<String>,
    pub(super) title: Option<String>,
    pub(super) sort: Option<String>,
    pub(super) status: Option<String>,
    pub(super) percent: Option<f64>,
    pub(super) started: Option<String>,
    pub(super) ended: Option<String>,
    pub(super) created: Option<String>,
    pub(super) parent: Option<String>,
    pub(super) schema: u64,
}

impl Task {
    /// Reads a state of schema 2, or of schema 1, which does not name its schema and keeps the project among the attributes.
    fn of(state: &Map<String, Value>) -> std::result::Result<Self, String> {
        let text = |object: &Map<String, Value>, key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        let id = text(state, "task_id").ok_or("it has no task_id")?;
        let none = Map::new();
        let attributes = state.get("attributes").and_then(Value::as_object).unwrap_or(&none);
        let schema =
            state.get("schema_version").map_or(Some(1), Value::as_u64).ok_or("its schema_version is no number")?;
        let started = text(state, "start_time");
        let by_attributes = || text(attributes, "project.id").or_else(|| text(attributes, "project.name"));
        let (project, created) = if schema < 2 {
            (by_attributes(), started.clone())
        } else {
            (text(state, "project_id"), text(state, "created_at"))
        };
        Ok(Self {
            id,
            name: text(state, "span_name"),
            project,
            title: text(attributes, "task.title"),
            sort: text(attributes, "task.type"),
            status: text(attributes, "task.status"),
            percent: attributes.get("task.percent_complete").and_then(Value::as_f64),
            started,
            ended: text(state, "end_time"),
            created,
            parent: text(state, "parent_span_id"),
            schema,
        })
    }
}

/// Reads the files of a home folder.
#[derive(Debug)]
pub(super) struct HomeReader;

impl Reader for HomeReader {
    type Facts = HomeFacts;

    const MAX_BYTES: u64 = MAX_FILE_BYTES;

    fn wanted(&self, path: &EntryPath, folder: bool) -> bool {
        let name = path.name();
        folder || !(name.ends_with(b".lock") || name == b".write_test" || name.starts_with(b".staged-"))
    }

    fn guard(&self, root: &Root, path: &EntryPath) -> Result<Option<File>> {
        if matches!(Sort::of(path), Sort::Task { .. }) { Ok(lock::shared(root, path)) } else { Ok(None) }
    }

    fn judge(&self, path: &EntryPath, bytes: &[u8]) -> Judged<HomeFacts> {
        let facts = facts(path, bytes).unwrap_or_else(HomeFacts::Broken);
        Judged { whole: !matches!(facts, HomeFacts::Broken(_)), facts }
    }

    fn unread(&self, _: &EntryPath, _: Fault) -> HomeFacts {
        HomeFacts::Unread
    }
}

fn facts(path: &EntryPath, bytes: &[u8]) -> std::result::Result<HomeFacts, String> {
    let no_json = |e: serde_json::Error| {
        if bytes.is_empty() { "it is empty and should be JSON".to_owned() } else { format!("it is no JSON: {e}") }
    };
    if is_ours(path, bytes) {
        return Ok(HomeFacts::OurSummary);
    }
    Ok(match Sort::of(path) {
        Sort::Task { .. } => {
            let state: Map<String, Value> = serde_json::from_slice(bytes).map_err(no_json)?;
            HomeFacts::Task(Box::new(Task::of(&state)?))
        }
        Sort::Insights { .. } => {
            let list: Vec<IgnoredAny> = serde_json::from_slice(bytes).map_err(no_json)?;
            HomeFacts::Insights(list.len() as u64)
        }
        Sort::Install => {
            let state: Map<String, Value> = serde_json::from_slice(bytes).map_err(no_json)?;
            // Two programs keep different things at the same place.
            HomeFacts::Install(match state.get("version") {
                Some(Value::Number(_)) => "python",
                Some(Value::String(_)) => "shell",
                _ => "unknown",
            })
        }
        _ if path.name().ends_with(b".json") => {
            let _: IgnoredAny = serde_json::from_slice(bytes).map_err(no_json)?;
            HomeFacts::Plain
        }
        _ => HomeFacts::Plain,
    })
}

/// Files that are not what they should be, as problems: they are captured as they are.
pub(super) fn broken(settled: &Settled<HomeFacts>) -> Vec<Problem> {
    let problem = |path: &EntryPath, why: &str| Problem {
        kind: ProblemKind::Incomplete,
        path: path.escaped().into_owned(),
        detail: format!("{why}; it is captured as it is"),
    };
    let files = settled.files.iter();
    files
        .filter_map(|(path, known)| match &known.facts {
            HomeFacts::Broken(why) if known.is_settled() => Some(problem(path, why)),
            _ => None,
        })
        .collect()
}
