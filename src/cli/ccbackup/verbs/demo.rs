//! `ccbackup demo`: the main job on embedded sample data, each step with the command that a person would type.
//!
//! The steps are run by the same code as typed commands, in this process, in a scratch folder with keys of its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use walkdir::WalkDir;

use crate::cli::ccbackup::args::{Cli, Demo};
use crate::cli::{Context, DAMAGE_FOUND, DEFAULT_REPOSITORY, Environment, StopFlag, Terminal, escaped, run_in};
use crate::durable::Disk;
use crate::error::{Context as _, Error, Result, path_text};
use crate::monitor::Monitor as _;

/// The sample stack: path and content of every file.
macro_rules! sample {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_bytes!(concat!("../../../../fixtures/sample-stack/", $path)).as_slice())),*]
    };
}

static SAMPLE: [(&str, &[u8]); 11] = sample![
    ".env",
    "configs/dashboards/overview.json",
    "configs/grafana.ini",
    "configs/prometheus.yaml",
    "data/contextcore/projects.json",
    "data/contextcore/tasks.json",
    "data/postgres/app.sql",
    "data/vectorstore/a1ef3a3d/00000000.gob",
    "data/vectorstore/a1ef3a3d/4a43dd17.gob",
    "data/vectorstore/a1ef3a3d/528b4eed.gob",
    "docker-compose.yaml",
];

/// One command of the demo, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Step {
    title: String,
    command: String,
    exit_code: u8,
}

struct Tour<'a> {
    context: &'a Context,
    dispatch: Dispatch,
    environment: Environment,
    steps: Vec<Step>,
}

/// Runs a command line of this program.
type Dispatch = fn(Cli, &Context) -> Result<u8>;

pub(super) fn demo(args: &Demo, context: &Context, dispatch: Dispatch) -> Result<u8> {
    let begun = Instant::now();
    let scratch = tempfile::Builder::new()
        .prefix("ccbackup-demo-")
        .tempdir()
        .doing("cannot make a scratch folder for the demo")?;
    let stack = scratch.path().join("stack");
    let environment = Environment {
        current: stack.clone(),
        ccbackup_home: Some(scratch.path().join("home")),
        can_move_cursor: context.environment.can_move_cursor,
        no_color: context.environment.no_color,
        ..Environment::default()
    };
    let mut tour = Tour { context, dispatch, environment, steps: Vec::new() };
    let outcome = play(&mut tour, &stack, scratch.path());
    let kept = if args.keep {
        Some(scratch.keep())
    } else {
        scratch.close().doing("cannot remove the scratch folder")?;
        None
    };
    let compared = outcome?;
    let seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    let document = serde_json::json!({
        "ok": true, "steps": tour.steps, "files_compared": compared, "duration_seconds": seconds, "kept": kept.as_deref().map(escaped),
    });
    context.result(&document, |terminal| {
        terminal.print(format!("\nDone in {seconds} s: {compared} files came back exactly as they were."))?;
        match &kept {
            Some(path) => terminal.print(format!("Everything is still in {}", path_text(path))),
            None => terminal.print("The scratch folder was removed. Next, where your stack is: ccbackup init"),
        }
    })?;
    Ok(0)
}

fn play(tour: &mut Tour<'_>, stack: &Path, scratch: &Path) -> Result<usize> {
    let disk = Disk::default();
    tour.say(&format!("A sample stack lies in {}", path_text(stack)))?;
    for (path, bytes) in SAMPLE {
        let file = stack.join(path);
        disk.make_dirs(file.parent().unwrap_or(stack))?;
        disk.write_new(&file, bytes)?;
    }
    tour.step("Look around, write a configuration, make keys", "ccbackup init", 0)?;
    tour.step("The first backup is a full one, encrypted", "ccbackup create --encrypt", 0)?;
    tour.say("\n# Work goes on: a file grows, one is new, one is gone\n$ echo '# changed' >> .env; echo new > data/notes; rm configs/grafana.ini")?;
    let mut file =
        std::fs::OpenOptions::new().append(true).open(stack.join(".env")).doing("cannot change the sample")?;
    file.write_all(b"# changed\n").doing("cannot change the sample")?;
    disk.write_new(&stack.join("data/notes"), b"new\n")?;
    disk.remove_file_if_there(&stack.join("configs/grafana.ini"))?;
    tour.step("The second backup stores only what changed", "ccbackup create --encrypt", 0)?;
    tour.step("What is there", "ccbackup list", 0)?;
    tour.step("Check every byte of the chain; this needs no key", "ccbackup verify --all", 0)?;
    let victim = newest_archive(&stack.join(DEFAULT_REPOSITORY))?;
    let shown = path_text(victim.strip_prefix(stack).unwrap_or(&victim)).into_owned();
    tour.say(&format!("\n# One bit of {shown} turns over"))?;
    flip(&victim)?;
    tour.step("The damage is found, without a key: exit code 4", "ccbackup verify", DAMAGE_FOUND)?;
    flip(&victim)?;
    tour.say("\n# The bit is turned back")?;
    tour.step("See what a restore would do", "ccbackup restore --target ../restored --dry-run", 0)?;
    tour.step("Restore", "ccbackup restore --target ../restored", 0)?;
    tour.say("\n# Compare what came back with the stack, file by file")?;
    compare(stack, &scratch.join("restored"))
}

impl Tour<'_> {
    fn say(&self, text: &str) -> Result<()> {
        if self.context.json() { Ok(()) } else { self.context.terminal.print(text) }
    }

    /// Shows and runs a command, which must end with the expected code.
    fn step(&mut self, title: &str, command: &str, expected: u8) -> Result<()> {
        self.context.monitor.check()?;
        self.say(&format!("\n# {title}\n$ {command}"))?;
        let arguments: Vec<OsString> = command.split(' ').map(OsString::from).collect();
        let (silent, _out, errors) = Terminal::captured();
        let terminal = if self.context.json() { &silent } else { &self.context.terminal };
        let exit_code = run_in(&arguments, self.environment.clone(), terminal, StopFlag::default(), self.dispatch);
        self.say(&format!("(exit code {exit_code})"))?;
        if exit_code != expected {
            let ended = format!("it ended with {exit_code} {}", errors.text());
            return Err(Error::failed(format!("the demo expected `{command}` to end with {expected}, {ended}")));
        }
        self.steps.push(Step { title: title.into(), command: command.into(), exit_code });
        Ok(())
    }
}

/// The largest archive of the newest backup.
fn newest_archive(repository: &Path) -> Result<PathBuf> {
    let archives = WalkDir::new(repository).into_iter().filter_map(|item| {
        let item = item.ok()?;
        let (folder, length) = (item.path().parent()?.to_owned(), item.metadata().ok()?.len());
        item.file_name().to_str()?.ends_with(".tar.zst.age").then(|| (folder, length, item.into_path()))
    });
    // Names of backups begin with their time.
    archives.max().map(|(_, _, path)| path).ok_or_else(|| Error::failed("the demo's backups have no archive"))
}

fn flip(path: &Path) -> Result<()> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).at("cannot open", path)?;
    let mut byte = [0];
    let middle = file.metadata().at("cannot stat", path)?.len() / 2;
    file.read_exact_at(&mut byte, middle).at("cannot read", path)?;
    file.write_all_at(&[byte[0] ^ 1], middle).at("cannot write", path)
}

/// Compares every file of every restored component with its original, both ways; returns their number.
fn compare(stack: &Path, restored: &Path) -> Result<usize> {
    let files = |root: &Path| -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut found = BTreeMap::new();
        for item in WalkDir::new(root) {
            let item = item.map_err(|e| Error::failed("cannot walk the demo's folders").because(e))?;
            if item.file_type().is_file() {
                let path = item.path().strip_prefix(root).unwrap_or(item.path()).to_owned();
                found.insert(path, std::fs::read(item.path()).at("cannot read", item.path())?);
            }
        }
        Ok(found)
    };
    let mut originals = files(stack)?;
    // Neither the repository nor the configuration that `init` wrote is part of what was found.
    originals.retain(|path, _| !path.starts_with(DEFAULT_REPOSITORY) && path != Path::new("ccbackup.toml"));
    let inside = |path: PathBuf| path.components().skip(1).collect::<PathBuf>();
    let back: BTreeMap<_, _> = files(restored)?.into_iter().map(|(path, bytes)| (inside(path), bytes)).collect();
    if originals == back {
        return Ok(back.len());
    }
    let differing = originals.keys().chain(back.keys()).find(|path| originals.get(*path) != back.get(*path));
    Err(Error::failed(format!("the demo's restore is not what was backed up: {differing:?} differs")))
}
