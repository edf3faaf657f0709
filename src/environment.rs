//! A snapshot of the environment: taken once by `cli` when the program starts, then passed around as a value.
//!
//! Empty variables count as unset. Works when there are none at all (`env -i`). Variables hold secrets: `Debug` shows
//! their names only.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// What the program takes from its surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The current folder; `.` when it is gone.
    pub current: PathBuf,
    /// `HOME`, when it is an absolute path.
    pub home: Option<PathBuf>,
    /// `CCBACKUP_HOME`, made absolute.
    pub ccbackup_home: Option<PathBuf>,
    /// `CCBACKUP_CONFIG`
    pub config: Option<PathBuf>,
    /// `CCBACKUP_REPO`
    pub repository: Option<OsString>,
    /// `CCBACKUP_IDENTITY`, cut at each `:`.
    pub identities: Vec<PathBuf>,
    /// `CCBACKUP_PASSPHRASE_FILE`
    pub passphrase_file: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`, when absolute; relative ones are void by its specification.
    pub xdg_config: Option<PathBuf>,
    /// `XDG_STATE_HOME`, when absolute.
    pub xdg_state: Option<PathBuf>,
    /// Whether the process acts as root.
    pub is_root: bool,
    /// `NO_COLOR` is set.
    pub no_color: bool,
    /// `TERM` is set and not `dumb`.
    pub can_move_cursor: bool,
    /// All variables that are set, for what the configuration names: secrets, addresses, where programs are.
    pub variables: Variables,
}

/// Names and values; those that are empty are left out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<OsString, OsString>);

impl Variables {
    /// The value of `name`, if it is set and not empty.
    #[must_use]
    pub fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let pairs = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(pairs.filter(|(_, value): &(OsString, OsString)| !value.is_empty()).collect())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// What follows from a set of variables.
    #[must_use]
    pub fn new(current: PathBuf, is_root: bool, variables: Variables) -> Self {
        let set = |name: &str| variables.get(name).map(OsStr::to_owned);
        let absolute = |name: &str| set(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            home: absolute("HOME"),
            ccbackup_home: set("CCBACKUP_HOME").map(|path| current.join(path)),
            config: set("CCBACKUP_CONFIG").map(PathBuf::from),
            repository: set("CCBACKUP_REPO"),
            identities: set("CCBACKUP_IDENTITY")
                .map(|list| env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect())
                .unwrap_or_default(),
            passphrase_file: set("CCBACKUP_PASSPHRASE_FILE").map(PathBuf::from),
            xdg_config: absolute("XDG_CONFIG_HOME"),
            xdg_state: absolute("XDG_STATE_HOME"),
            is_root,
            no_color: set("NO_COLOR").is_some(),
            can_move_cursor: set("TERM").is_some_and(|term| term != "dumb"),
            current,
            variables,
        }
    }

    /// The value of a variable, if it is set and not empty.
    #[must_use]
    pub fn variable(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.variables.get(name)
    }

    /// `$XDG_CONFIG_HOME`, or `.config` of the home folder.
    #[must_use]
    pub fn config_folder(&self) -> Option<PathBuf> {
        self.xdg_config.clone().or_else(|| self.home.as_ref().map(|home| home.join(".config")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        Environment::new(PathBuf::from("/cwd"), false, variables.iter().copied().collect())
    }

    #[test]
    fn an_empty_environment_is_enough() {
        let environment = read(&[]);
        assert_eq!(environment, Environment { current: "/cwd".into(), ..Environment::default() });
        assert_eq!(environment.config_folder(), None);
    }

    #[test]
    fn empty_and_relative_values_count_as_unset_where_they_make_no_sense() {
        let environment =
            read(&[("HOME", "x"), ("XDG_CONFIG_HOME", "y"), ("CCBACKUP_REPO", ""), ("NO_COLOR", ""), ("TERM", "dumb")]);
        assert_eq!(Environment { variables: Variables::default(), ..environment }, read(&[]));
    }

    #[test]
    fn several_identities_are_cut_at_colons() {
        assert_eq!(read(&[("CCBACKUP_IDENTITY", "/a::b")]).identities, [PathBuf::from("/a"), PathBuf::from("b")]);
    }

    #[test]
    fn a_relative_home_of_the_program_lies_under_the_current_folder() {
        assert_eq!(read(&[("CCBACKUP_HOME", "keys")]).ccbackup_home, Some("/cwd/keys".into()));
    }

    #[test]
    fn variables_are_there_by_name_and_their_values_are_never_shown() {
        let environment = read(&[("PGPASSWORD", "hunter2"), ("EMPTY", "")]);
        assert_eq!(environment.variable("PGPASSWORD"), Some(OsStr::new("hunter2")));
        assert_eq!(environment.variable("EMPTY"), None);
        let shown = format!("{environment:?}");
        assert!(shown.contains("PGPASSWORD") && !shown.contains("hunter2"), "{shown}");
    }
}
