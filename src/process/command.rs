//! What is to be run, and under which limits.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use zeroize::Zeroizing;

use super::child::Running;
use super::ended::{Ended, Judge, Output};
use super::find::{DEFAULT_PATH, find};
use super::private_file::PrivateFile;
use super::stream::{Feed, Stream};
use super::watch::{Feeding, Limits, Watched};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Result, path_text};
use crate::monitor::Monitor;
use crate::secret::{Hidden, Secret};

/// Every program ends some day; callers choose what is long for theirs.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);
/// Variables of our environment that every child gets. `LC_ALL=C` and `LANG=C` come with them: messages are read.
const PASSED_ON: [&str; 4] = ["HOME", "PATH", "TMPDIR", "TZ"];

/// A program, its arguments, its environment and its limits. Runs as often as it is told to.
#[derive(Clone)]
pub struct Command<'a> {
    program: PathBuf,
    package: Option<String>,
    arguments: Vec<OsString>,
    environment: &'a Environment,
    variables: BTreeMap<OsString, OsString>,
    secret_variables: BTreeMap<OsString, Secret>,
    folder: Option<PathBuf>,
    files: Vec<Arc<PrivateFile>>,
    hidden: Hidden,
    limits: Limits,
    monitor: Option<&'a dyn Monitor>,
    judge: Option<Arc<Judge>>,
    discards: bool,
}

impl<'a> Command<'a> {
    /// `program` is a name that is looked for in `PATH`, or a path, better an absolute one. It may run for an hour, and be silent.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, environment: &'a Environment) -> Self {
        Self {
            program: program.into(),
            package: None,
            arguments: Vec::new(),
            environment,
            variables: BTreeMap::new(),
            secret_variables: BTreeMap::new(),
            folder: None,
            files: Vec::new(),
            hidden: Hidden::default(),
            limits: Limits { timeout: Some(DEFAULT_TIMEOUT), silence: None },
            monitor: None,
            judge: None,
            discards: false,
        }
    }

    /// The package that brings the program, for the hint when it is missing.
    #[must_use]
    pub fn package(mut self, name: &str) -> Self {
        self.package = Some(name.to_owned());
        self
    }

    /// Adds an argument. Everybody on the host can read it: never a secret.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable of its environment, which has `HOME`, `PATH`, `TMPDIR`, `TZ`, `LANG=C` and `LC_ALL=C` of its own.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Sets a variable to a secret, and hides it. Only the same user and root can read the environment of a process.
    #[must_use]
    pub fn secret_env(mut self, name: impl AsRef<OsStr>, secret: &Secret) -> Self {
        self.secret_variables.insert(name.as_ref().to_owned(), secret.clone());
        self.hide(secret)
    }

    /// Makes a file in memory, of mode 0600, that holds the secret and can be opened by its path, by the same user only, as
    /// long as this command or something that it started lives; and hides the secret. Hide its parts too, if it has some:
    /// the password in a line of a password file.
    pub fn secret_file(&mut self, content: &Secret) -> Result<PathBuf> {
        let file = PrivateFile::new(content)?;
        let path = file.path();
        self.files.push(Arc::new(file));
        self.hidden.add(content);
        Ok(path)
    }

    /// Takes the secret out of what is shown of its standard error.
    #[must_use]
    pub fn hide(mut self, secret: &Secret) -> Self {
        self.hidden.add(secret);
        self
    }

    /// The folder it runs in; without it, ours.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// It is stopped after so long, whatever it does; an hour without this, forever with none.
    #[must_use]
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.timeout = limit.into();
        self
    }

    /// It is stopped when it wrote nothing to its standard output and took nothing from its standard input for so long,
    /// and we were not what it waited for.
    #[must_use]
    pub fn silence(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.silence = limit.into();
        self
    }

    /// Whose wish to stop ends it; looked at five times a second.
    #[must_use]
    pub fn stopped_by(mut self, monitor: &'a dyn Monitor) -> Self {
        self.monitor = Some(monitor);
        self
    }

    /// Looks at every end that the program made by itself, whatever its exit status, before that is judged: an error of it
    /// stands. Its text must come from what it is given, where secrets are hidden.
    #[must_use]
    pub fn judge(mut self, judge: impl Fn(&Ended<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        self.judge = Some(Arc::new(judge));
        self
    }

    /// Its standard output goes nowhere.
    #[must_use]
    pub fn discard(mut self) -> Self {
        self.discards = true;
        self
    }

    /// Where the program is; an error of the kind `tool-missing` when it is not there.
    pub fn find(&self) -> Result<PathBuf> {
        find(&self.program, self.package.as_deref(), self.environment)
    }

    /// Runs it to its end with `input` on its standard input, which it need not read; it may write up to `max` bytes.
    pub fn run(&self, input: &[u8], max: u64) -> Result<Output> {
        self.stream(input)?.into_output(max)
    }

    /// Starts it with `input` on its standard input, and gives its output as it comes.
    pub fn stream(&self, input: &[u8]) -> Result<Stream<'a>> {
        Ok(Stream::new(self.start(!input.is_empty())?, Zeroizing::new(input.to_vec())))
    }

    /// Starts it for somebody who writes to its standard input; to end before all was taken is an error. It may write up to `max` bytes itself.
    pub fn feed(&self, max: u64) -> Result<Feed<'a>> {
        Ok(Feed::new(self.start(true)?, max))
    }

    fn start(&self, has_input: bool) -> Result<Running<'a>> {
        let program = self.find()?;
        let mut command = std::process::Command::new(&program);
        command.args(&self.arguments).env_clear().env("PATH", DEFAULT_PATH);
        let passed_on = PASSED_ON.iter().filter_map(|name| Some((name, self.environment.get(name)?)));
        command.envs(passed_on).env("LANG", "C").env("LC_ALL", "C").envs(&self.variables);
        command.envs(self.secret_variables.iter().map(|(name, value)| (name, OsStr::from_bytes(value.expose()))));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.process_group(0);
        command.stdin(if has_input { Stdio::piped() } else { Stdio::null() });
        command.stdout(if self.discards { Stdio::null() } else { Stdio::piped() }).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| cannot_start(&program, self.folder.as_deref(), e))?;
        drop(command);
        let stdin = child.stdin.take().map(|stdin| File::from(OwnedFd::from(stdin)));
        let stdout = child.stdout.take().map(|stdout| Arc::new(File::from(OwnedFd::from(stdout))));
        let watched = Watched::start(child, stdout.clone(), self.limits)?;
        if let Some(stdin) = &stdin {
            const DOING: &str = "cannot prepare the standard input of a child process";
            watched.shared.set_feeding(Feeding::WaitsForUs);
            fcntl_setfl(stdin, fcntl_getfl(stdin).doing(DOING)? | OFlags::NONBLOCK).doing(DOING)?;
        }
        Ok(Running {
            name: program.file_name().map_or_else(String::new, |name| path_text(name.as_ref()).into_owned()),
            stdin,
            stdout,
            watched,
            monitor: self.monitor,
            hidden: self.hidden.clone(),
            judge: self.judge.clone(),
            _files: self.files.clone(),
        })
    }
}

/// Shows no argument and no value: callers should keep secrets out of them, and this does not rely on it.
impl fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("program", &self.program).finish_non_exhaustive()
    }
}

fn cannot_start(program: &Path, folder: Option<&Path>, cause: io::Error) -> Error {
    let shown = path_text(program);
    let message = match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => format!("cannot run {shown}: its folder {} is not there", path_text(folder)),
        None if cause.kind() == io::ErrorKind::NotFound => {
            format!("cannot run {shown}: the interpreter in its first line, or the loader it needs, is missing")
        }
        None => format!("cannot run {shown}"),
    };
    Error::failed(message).because(cause)
}
