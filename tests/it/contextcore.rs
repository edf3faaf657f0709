//! The folder of ContextCore, written as ContextCore writes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ccbackup::ComponentConfig;
use ccbackup::config::{ContextcoreConfig, SourceConfig};
use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use crate::chromem::{Restless, Working, digests};
use crate::contract::{Guard, Subject, contract};

contract!(home, Home::start);

struct Home {
    dir: tempfile::TempDir,
    changes: u32,
}

impl Home {
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".contextcore")).unwrap();
        Some(Self { dir, changes: 0 })
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join(".contextcore")
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.folder().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Under the lock, in place, and moved when it is completed.
fn write_task(state: &Path, id: &str, status: &str) {
    let completed = status == "done";
    let [open, done] = ["", "completed"].map(|folder| state.join(folder).join(format!("{id}.json")));
    let (file, other) = if completed { (done, open) } else { (open, done) };
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let lock = fs::File::create(file.with_extension("json.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let end = completed.then_some("2026-01-18T00:00:00+00:00");
    let task = json!({"task_id": id, "span_name": "contextcore.task.task", "start_time": "2026-01-17T14:30:00+00:00",
        "attributes": {"task.status": status, "task.title": "Demo"}, "end_time": end, "schema_version": 2,
        "project_id": "web"});
    fs::write(file, serde_json::to_vec_pretty(&task).unwrap()).unwrap();
    fs::remove_file(other).ok();
}

impl Subject for Home {
    fn component(&self) -> ComponentConfig {
        let source = SourceConfig::Contextcore(ContextcoreConfig { home: self.folder() });
        ComponentConfig { name: "state".to_owned(), source, ..ComponentConfig::default() }
    }

    fn fill(&mut self) {
        let state = self.folder().join("state/web");
        for number in 0..8 {
            write_task(&state, &format!("T-{number}"), if number % 2 == 0 { "todo" } else { "done" });
        }
        self.put("state/old/O-1.json", r#"{"task_id":"O-1","attributes":{"project.id":"old"},"start_time":"2025"}"#);
        self.put("storage/default/web/handoffs/h1.json", r#"{"id":"h1"}"#);
        self.put("storage/default/web/guidance.json", "{}");
        self.put("insights/web_insights.json", "[{},{}]");
        self.put("rbac/roles/admin.yaml", "name: admin\n");
        self.put("install-state.json", r#"{"version":"1.0","steps":{}}"#);
    }

    fn change(&mut self) {
        self.changes += 1;
        let state = self.folder().join("state/web");
        write_task(&state, "T-0", "done");
        write_task(&state, "T-1", "todo");
        write_task(&state, &format!("N-{}", self.changes), "todo");
        self.put("rbac/roles/admin.yaml", &format!("name: admin\nchanged: {}\n", self.changes));
        fs::remove_file(self.folder().join("storage/default/web/handoffs/h1.json")).ok();
    }

    fn wipe(&mut self) {
        fs::remove_dir_all(self.folder()).unwrap();
        fs::create_dir(self.folder()).unwrap();
    }

    fn fingerprint(&self) -> String {
        digests(&self.folder(), "-not -name '*.lock'")
    }

    fn churn(&mut self) -> Option<Guard> {
        let state = self.folder().join("state/web");
        Some(Box::new(Working::start(move |turn| {
            write_task(&state, &format!("T-{}", turn % 8), ["todo", "in_progress", "done"][turn as usize / 8 % 3]);
            std::thread::sleep(Duration::from_millis(3));
        })))
    }

    fn break_half_way(&mut self) -> Option<Guard> {
        Some(Box::new(Restless::start(self.folder().join("restless"))))
    }
}
