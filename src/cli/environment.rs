//! A snapshot of the environment: read once when the program starts, then passed around as a value.
//!
//! Empty variables count as unset. Works when there are none at all (`env -i`).

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::environment::Environment as Variables;

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
    /// All variables, for what the configuration names and for child programs.
    pub variables: Variables,
}

impl Environment {
    /// Reads the environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let current = env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let read = Self::read(current, rustix::process::geteuid().is_root(), |name| env::var_os(name));
        Self { variables: Variables::new(env::vars_os()), ..read }
    }

    /// The same from any set of variables, which are not kept.
    #[must_use]
    pub fn read(current: PathBuf, is_root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
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
            variables: Variables::default(),
        }
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
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        Environment::read(PathBuf::from("/cwd"), false, find)
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
        assert_eq!(environment, read(&[]));
    }

    #[test]
    fn several_identities_are_cut_at_colons() {
        assert_eq!(read(&[("CCBACKUP_IDENTITY", "/a::b")]).identities, [PathBuf::from("/a"), PathBuf::from("b")]);
    }

    #[test]
    fn a_relative_home_of_the_program_lies_under_the_current_folder() {
        assert_eq!(read(&[("CCBACKUP_HOME", "keys")]).ccbackup_home, Some("/cwd/keys".into()));
    }
}
