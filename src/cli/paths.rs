//! Where keys and state of this host live.

use std::path::PathBuf;

use super::Environment;
use crate::error::{Error, Result};

/// The folders of keys and state: `$CCBACKUP_HOME`, else the XDG folders, else for root those of the system.
///
/// A folder that cannot be told is an error only when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDirs {
    keys: Option<PathBuf>,
    state: Option<PathBuf>,
}

impl HostDirs {
    /// Chooses the folders; touches no file.
    #[must_use]
    pub fn new(environment: &Environment) -> Self {
        if let Some(home) = &environment.ccbackup_home {
            return Self { keys: Some(home.clone()), state: Some(home.clone()) };
        }
        let under_home = |path: &str| environment.home.as_ref().map(|home| home.join(path));
        let config = environment.config_folder().map(|folder| folder.join("ccbackup"));
        let state = environment.xdg_state.clone().or_else(|| under_home(".local/state"));
        let of_root = |path: &str| environment.is_root.then(|| PathBuf::from(path));
        Self {
            keys: config.or_else(|| of_root("/etc/ccbackup")),
            state: state.map(|folder| folder.join("ccbackup")).or_else(|| of_root("/var/lib/ccbackup")),
        }
    }

    /// The folder of the keys.
    pub fn keys_dir(&self) -> Result<PathBuf> {
        self.keys.clone().ok_or_else(|| no_place("keys"))
    }

    /// The age identity, `identity.txt`.
    pub fn identity(&self) -> Result<PathBuf> {
        Ok(self.keys_dir()?.join("identity.txt"))
    }

    /// The signer's OpenSSH private key, `signer`; its public half is `signer.pub`.
    pub fn signer(&self) -> Result<PathBuf> {
        Ok(self.keys_dir()?.join("signer"))
    }

    /// The raw key of the cipher `aes-256-gcm`, `aes.key`.
    pub fn aes_key(&self) -> Result<PathBuf> {
        Ok(self.keys_dir()?.join("aes.key"))
    }

    /// The folder of the local state, `state`.
    pub fn state_dir(&self) -> Result<PathBuf> {
        Ok(self.state.clone().ok_or_else(|| no_place("state"))?.join("state"))
    }
}

fn no_place(what: &str) -> Error {
    Error::usage(format!("there is no folder for {what}: neither CCBACKUP_HOME nor HOME is set"))
        .hint("set CCBACKUP_HOME to a folder that only you can read")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Option<PathBuf> {
        Some(PathBuf::from(path))
    }

    fn identity_and_state(environment: &Environment) -> (PathBuf, PathBuf) {
        let home = HostDirs::new(environment);
        (home.identity().unwrap(), home.state_dir().unwrap())
    }

    #[test]
    fn ccbackup_home_holds_keys_and_state() {
        let environment =
            Environment { ccbackup_home: at("/k"), home: at("/home/me"), xdg_config: at("/x"), ..Default::default() };
        assert_eq!(identity_and_state(&environment), ("/k/identity.txt".into(), "/k/state".into()));
        assert_eq!(HostDirs::new(&environment).signer().unwrap(), PathBuf::from("/k/signer"));
        assert_eq!(HostDirs::new(&environment).aes_key().unwrap(), PathBuf::from("/k/aes.key"));
    }

    #[test]
    fn xdg_folders_come_next() {
        let mut environment = Environment { home: at("/home/me"), is_root: true, ..Default::default() };
        let expected = ("/home/me/.config/ccbackup/identity.txt".into(), "/home/me/.local/state/ccbackup/state".into());
        assert_eq!(identity_and_state(&environment), expected);
        environment.xdg_config = at("/xc");
        environment.xdg_state = at("/xs");
        assert_eq!(identity_and_state(&environment), ("/xc/ccbackup/identity.txt".into(), "/xs/ccbackup/state".into()));
    }

    #[test]
    fn root_without_a_home_uses_the_system_folders() {
        let environment = Environment { is_root: true, ..Default::default() };
        assert_eq!(
            identity_and_state(&environment),
            ("/etc/ccbackup/identity.txt".into(), "/var/lib/ccbackup/state".into())
        );
    }

    #[test]
    fn anybody_else_without_a_home_is_told_what_to_set() {
        let home = HostDirs::new(&Environment::default());
        for error in [home.identity().unwrap_err(), home.state_dir().unwrap_err()] {
            assert!(error.to_string().contains("CCBACKUP_HOME"), "{error}");
            assert!(error.advice().is_some());
        }
    }
}
