//! What a verb gets besides its arguments: the surroundings, resolved, so that it never looks for them by itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Environment, Global, HostDirs, StopFlag, Terminal, TerminalMonitor};
use crate::config::{self, Config, Lookup, SignerRef};
use crate::error::Result;
use crate::monitor::Monitor as _;
use crate::rate_limit::RateLimit;

/// The folder of the repository when nothing names another, under the current folder.
pub(crate) const DEFAULT_REPOSITORY: &str = "backups";

/// Global flags, environment, folders, terminal and monitor of one run.
#[derive(Debug)]
pub struct Context {
    /// Flags that may stand anywhere.
    pub global: Global,
    /// The environment as it was at the start.
    pub environment: Environment,
    /// Where keys and state of this host live.
    pub dirs: HostDirs,
    /// Where results, warnings and questions go.
    pub terminal: Terminal,
    /// What long work reports to.
    pub monitor: TerminalMonitor,
}

impl Context {
    /// Puts the parts together.
    #[must_use]
    pub fn new(global: Global, environment: Environment, terminal: Terminal, stop: StopFlag) -> Self {
        let rate_limit = global.limit_rate.map(RateLimit::new);
        let monitor = TerminalMonitor::new(terminal.clone(), global.json_progress, global.quiet, stop, rate_limit);
        Self { dirs: HostDirs::new(&environment), global, environment, terminal, monitor }
    }

    /// Whether the result is one JSON document on stdout.
    #[must_use]
    pub fn json(&self) -> bool {
        self.global.json
    }

    /// Prints the result: the JSON document with `--json`, else what `text` prints.
    pub fn result(&self, document: &impl Serialize, text: impl FnOnce(&Terminal) -> Result<()>) -> Result<()> {
        if self.json() { self.terminal.print_json(document) } else { text(&self.terminal) }
    }

    /// A note that only `-v` shows.
    pub fn detail(&self, text: &str) {
        if self.global.verbose > 0 {
            self.monitor.note(text);
        }
    }

    /// Makes a path of the command line absolute.
    #[must_use]
    pub fn absolute(&self, path: &Path) -> PathBuf {
        self.environment.current.join(path)
    }

    /// Where a configuration is looked for.
    #[must_use]
    pub fn lookup(&self) -> Lookup {
        let named = [("--config", &self.global.config), ("CCBACKUP_CONFIG", &self.environment.config)];
        Lookup {
            named: named.into_iter().filter_map(|(origin, file)| Some((origin, file.clone()?))).collect(),
            current: self.environment.current.clone(),
            xdg_config: self.environment.config_folder(),
            system: Some(PathBuf::from("/etc/ccbackup")),
            home: self.environment.home.clone(),
        }
    }

    /// Reads the configuration, again at every call; the default when there is no file.
    pub fn config(&self) -> Result<Config> {
        Ok(config::load(&self.lookup())?.unwrap_or_default())
    }

    /// The folder of the repository: `--repo`, `CCBACKUP_REPO`, the configuration, `./backups`.
    pub fn repository(&self, config: &Config) -> Result<PathBuf> {
        let (current, home) = (&self.environment.current, self.environment.home.as_deref());
        if let Some(named) = self.global.repo.as_ref().or(self.environment.repository.as_ref()) {
            // A name that is not UTF-8 is no URL.
            return named
                .to_str()
                .map_or_else(|| Ok(current.join(named)), |text| config::resolve_location(text, current, home));
        }
        Ok(config.location.clone().unwrap_or_else(|| current.join(DEFAULT_REPOSITORY)))
    }

    /// Key files that were named: by `--identity`, else by `CCBACKUP_IDENTITY`. Empty when none was; then
    /// [`HostDirs::identity`] is the place to look.
    #[must_use]
    pub fn identities(&self) -> Vec<PathBuf> {
        let named = if self.global.identity.is_empty() { &self.environment.identities } else { &self.global.identity };
        named.iter().map(|path| self.absolute(path)).collect()
    }

    /// Signers that were named: by `--signer` and by the configuration. Empty means the pinned one.
    pub fn signers(&self, config: &Config) -> Result<Vec<SignerRef>> {
        let (current, home) = (&self.environment.current, self.environment.home.as_deref());
        // What is not UTF-8 is no key.
        let file = |path: &OsString| Ok(SignerRef::File(current.join(path)));
        let parse = |text: &str| SignerRef::parse(text, current, home);
        let named = self.global.signer.iter().map(|named| named.to_str().map_or_else(|| file(named), parse));
        named.chain(config.signers.iter().cloned().map(Ok)).collect()
    }

    /// Worker threads: `--threads`, the configuration, one a processor.
    #[must_use]
    pub fn threads(&self, config: &Config) -> usize {
        let processors = || crate::threads::available();
        self.global.threads.or(config.defaults.threads).unwrap_or_else(processors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(global: Global, environment: Environment) -> Context {
        let environment = Environment { current: "/cwd".into(), home: Some("/home/me".into()), ..environment };
        Context::new(global, environment, Terminal::captured().0, StopFlag::default())
    }

    #[test]
    fn the_repository_is_named_by_flag_variable_configuration_or_default() {
        let config = Config { location: Some("/configured".into()), ..Config::default() };
        let flag = Global { repo: Some("flag".into()), ..Default::default() };
        let variable = Environment { repository: Some("/variable".into()), ..Default::default() };
        let at = |context: &Context, config: &Config| context.repository(config).unwrap();
        assert_eq!(at(&context(flag, variable.clone()), &config), Path::new("/cwd/flag"));
        assert_eq!(at(&context(Global::default(), variable), &config), Path::new("/variable"));
        let bare = context(Global::default(), Environment::default());
        assert_eq!(at(&bare, &config), Path::new("/configured"));
        assert_eq!(at(&bare, &Config::default()), Path::new("/cwd/backups"));
        let remote = Global { repo: Some("s3://bucket".into()), ..Default::default() };
        assert!(context(remote, Environment::default()).repository(&Config::default()).is_err());
    }

    #[test]
    fn flags_win_over_variables_for_identities() {
        let environment = Environment { identities: vec!["a".into(), "/b".into()], ..Default::default() };
        let identities = context(Global::default(), environment.clone()).identities();
        assert_eq!(identities, [PathBuf::from("/cwd/a"), PathBuf::from("/b")]);
        let global = Global { identity: vec!["c".into()], ..Default::default() };
        assert_eq!(context(global, environment).identities(), [PathBuf::from("/cwd/c")]);
    }

    #[test]
    fn a_configuration_is_named_by_flag_or_variable() {
        let environment = Environment { config: Some("v".into()), ..Default::default() };
        let global = Global { config: Some("f".into()), ..Default::default() };
        let named = context(global, environment.clone()).lookup().named;
        assert_eq!(named, [("--config", PathBuf::from("f")), ("CCBACKUP_CONFIG", PathBuf::from("v"))]);
        assert_eq!(context(Global::default(), environment).lookup().named.len(), 1);
    }

    #[test]
    fn signers_of_flags_and_configuration_are_joined() {
        let mut config = Config::default();
        config.signers.push(SignerRef::File("/etc/signers".into()));
        let global = Global { signer: vec!["ssh-ed25519 AAAA".into(), "here.pub".into()], ..Default::default() };
        let signers = context(global, Environment::default()).signers(&config).unwrap();
        let expected = [
            SignerRef::Key("ssh-ed25519 AAAA".into()),
            SignerRef::File("/cwd/here.pub".into()),
            SignerRef::File("/etc/signers".into()),
        ];
        assert_eq!(signers, expected);
    }
}
