//! `kind = "contextcore"`: the state of ContextCore.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::section::KindSection;
use crate::config::text::quote;
use crate::error::Result;

/// Where ContextCore keeps it; most of it knows no other place.
const DEFAULT_HOME: &str = "~/.contextcore";

/// Keys of `kind = "contextcore"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContextcoreConfig {
    /// The folder of ContextCore, absolute.
    pub home: PathBuf,
}

impl ContextcoreConfig {
    pub(super) const KEYS: &'static [&'static str] = &["home"];

    pub(super) fn read(section: &KindSection<'_>) -> Result<Self> {
        Ok(Self { home: section.path_or("home", DEFAULT_HOME)? })
    }

    pub(super) fn render(&self, path: &dyn Fn(&Path) -> Result<String>) -> Result<Vec<(String, String)>> {
        Ok(vec![("home".to_owned(), quote(&path(&self.home)?))])
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{ChromemConfig, Config, ContextcoreConfig, SourceConfig, parse};
    use crate::error::Result;

    fn read(kind: &str, keys: &str, home: Option<&Path>) -> Result<Config> {
        let text = format!("[[component]]\nname = \"x\"\nkind = \"{kind}\"\n{keys}\n");
        parse(&text, Path::new("/etc/ccbackup/ccbackup.toml"), home)
    }

    #[test]
    fn both_services_of_a_home_are_found_where_they_usually_are() {
        let home = Some(Path::new("/home/me"));
        let source = |kind, keys| read(kind, keys, home).unwrap().components.remove(0).source;
        let store = |path: &str| SourceConfig::Chromem(ChromemConfig { path: path.into() });
        assert_eq!(source("chromem", ""), store("/home/me/.config/contextd/vectorstore"));
        assert_eq!(source("chromem", "path = \"/data/chromem\""), store("/data/chromem"));
        assert_eq!(source("chromem", "path = \"store\""), store("/etc/ccbackup/store"));
        let state = |home: &str| SourceConfig::Contextcore(ContextcoreConfig { home: home.into() });
        assert_eq!(source("contextcore", ""), state("/home/me/.contextcore"));
        assert_eq!(source("contextcore", "home = \"~/other\""), state("/home/me/other"));
        let error = read("contextcore", "", None).unwrap_err().one_line();
        assert!(error.contains(":1: `home` is absent"), "{error}");
        let error = read("chromem", "home = \"x\"", home).unwrap_err().one_line();
        assert!(error.contains("unknown key `home`"), "{error}");
    }
}
