//! What README and runbooks tell people to type works as written, from an empty folder, on the sample stack.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::succeed;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The `sh` blocks of a document; with a mark, only those right behind it.
fn blocks(document: &str, mark: Option<&str>) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = document.lines();
    let mut marked = mark.is_none();
    while let Some(line) = lines.next() {
        if line == "```sh" {
            let block: Vec<_> = lines.by_ref().take_while(|l| *l != "```").collect();
            if marked {
                found.push(block.join("\n"));
            }
            marked = mark.is_none();
        } else if mark == Some(line) {
            marked = true;
        }
    }
    found
}

/// A folder with the sample stack in it, and keys of its own.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        succeed(
            Command::new("cp").arg("-r").arg(project().join("fixtures/sample-stack/.")).arg(dir.path().join("app")),
        );
        Self { dir }
    }

    fn app(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    fn run(&self, script: &str) {
        let program = Path::new(env!("CARGO_BIN_EXE_ccbackup"));
        let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", script])
            .current_dir(self.app())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.dir.path())
            .env("CCBACKUP_HOME", self.dir.path().join("keys"));
        succeed(&mut bash);
    }
}

#[test]
fn the_commands_of_the_readme_work() {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let blocks = blocks(&readme, Some("<!-- executed by tests/it/readme.rs -->"));
    assert_eq!(blocks.len(), 4, "quick start, a host that cannot decrypt, more, by hand");
    let place = Place::new();
    for block in &blocks {
        place.run(block);
    }
    let original = fs::read(place.app().join("docker-compose.yaml")).unwrap();
    for restored in ["app/restored", "by-hand"] {
        let file = place.dir.path().join(restored).join("configs/docker-compose.yaml");
        let found = fs::read(&file).or_else(|_| fs::read(place.app().join("by-hand/configs/docker-compose.yaml")));
        assert_eq!(found.unwrap_or_else(|e| panic!("{}: {e}", file.display())), original);
    }
}

#[test]
fn the_commands_of_every_runbook_work() {
    let mut runbooks = 0;
    for item in fs::read_dir(project().join("runbooks")).unwrap() {
        let path = item.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let place = Place::new();
        place.run("ccbackup create --encrypt");
        let blocks = blocks(&text, None);
        assert!(!blocks.is_empty(), "{} has no commands", path.display());
        blocks.iter().for_each(|block| place.run(block));
        runbooks += 1;
    }
    assert!(runbooks > 0);
}

#[test]
fn the_readme_tells_the_test_command_that_ci_runs() {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let ci = fs::read_to_string(project().join(".ci/run")).unwrap();
    let set_up: Vec<_> = blocks(&readme, None).into_iter().take(2).collect();
    assert_eq!(set_up, ["scripts/setup.sh && cargo run --release -- demo", "scripts/setup.sh && cargo test --locked"]);
    for part in ["scripts/setup.sh", "cargo test --locked"] {
        assert!(ci.contains(part), ".ci/run does not run {part}");
    }
}

#[test]
fn links_of_the_readme_lead_somewhere() {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    for link in readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        assert!(link.starts_with("https://") || project().join(link).exists(), "README links to {link}");
    }
}
