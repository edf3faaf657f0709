//! `kind = "command"`: whatever a program gives.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::section::KindSection;
use crate::config::text::{duration_text, list, quote, reference_text};
use crate::error::{Error, Result};
use crate::model::EntryPath;
use crate::secret::SecretRef;

/// How long a program may give and take nothing.
const SILENCE: Duration = Duration::from_secs(600);
/// Bytes of an end marker.
const MARKER_MAX: usize = 1024;

/// Keys of `kind = "command"`. Programs are lists of words, the first of which is looked for in `PATH` or an absolute path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommandConfig {
    /// Writes what is captured to its standard output; never empty.
    pub capture: Vec<String>,
    /// Puts back what it reads from its standard input; empty when that is not done by a program.
    pub apply: Vec<String>,
    /// Compares what it reads from its standard input with what is there, exit code 0 for equal; when it is empty, what a
    /// capture gives is compared.
    pub check: Vec<String>,
    /// Variables for all of them: ours of the same name, or secrets.
    #[serde(serialize_with = "serialize_names")]
    pub env: BTreeMap<String, Option<SecretRef>>,
    /// How long a program may give and take nothing before it is stopped.
    pub silence: Duration,
    /// What a whole output has within its last 4 KiB.
    pub end_marker: Option<String>,
    /// Fewer bytes are no capture; 1 for who says nothing.
    pub min_bytes: u64,
    /// The path of the object in the component.
    pub object: String,
}

impl Default for CommandConfig {
    fn default() -> Self {
        Self {
            capture: Vec::new(),
            apply: Vec::new(),
            check: Vec::new(),
            env: BTreeMap::new(),
            silence: SILENCE,
            end_marker: None,
            min_bytes: 1,
            object: "output".to_owned(),
        }
    }
}

impl CommandConfig {
    pub(super) const KEYS: &'static [&'static str] =
        &["capture", "apply", "check", "env", "silence", "end_marker", "min_bytes", "object"];

    pub(super) fn read(section: &KindSection<'_>) -> Result<Self> {
        let usual = Self::default();
        let config = Self {
            capture: section.argv("capture")?,
            apply: section.argv("apply")?,
            check: section.argv("check")?,
            env: section.variables("env")?,
            silence: section.duration("silence")?.unwrap_or(usual.silence),
            end_marker: section.parsed("end_marker", marker)?,
            min_bytes: section.integer("min_bytes", 0..=u64::MAX)?.unwrap_or(usual.min_bytes),
            object: section.parsed("object", object)?.unwrap_or(usual.object),
        };
        if config.capture.is_empty() { Err(section.lacks("capture")) } else { Ok(config) }
    }

    pub(super) fn render(&self) -> Vec<(String, String)> {
        let usual = Self::default();
        let programs = [("capture", &self.capture), ("apply", &self.apply), ("check", &self.check)];
        let programs = programs.into_iter().filter(|(_, argv)| !argv.is_empty());
        let mut lines: Vec<_> =
            programs.map(|(key, argv)| (key.to_owned(), list(argv.iter().map(String::as_str)))).collect();
        let mut line = |key: &str, value: Option<String>| lines.extend(value.map(|value| (key.to_owned(), value)));
        let variable = |(name, value): (&String, &Option<SecretRef>)| {
            format!("{name} = {}", value.as_ref().map_or_else(|| "true".to_owned(), reference_text))
        };
        let env: Vec<_> = self.env.iter().map(variable).collect();
        line("env", (!env.is_empty()).then(|| format!("{{ {} }}", env.join(", "))));
        line("silence", (self.silence != usual.silence).then(|| duration_text(self.silence)));
        line("end_marker", self.end_marker.as_deref().map(quote));
        line("min_bytes", (self.min_bytes != usual.min_bytes).then(|| self.min_bytes.to_string()));
        line("object", (self.object != usual.object).then(|| quote(&self.object)));
        lines
    }
}

fn marker(text: &str) -> Result<String> {
    if text.is_empty() || text.len() > MARKER_MAX {
        return Err(Error::usage(format!("an end marker has 1 to {MARKER_MAX} bytes")));
    }
    Ok(text.to_owned())
}

fn object(text: &str) -> Result<String> {
    EntryPath::new(text.as_bytes())?;
    Ok(text.to_owned())
}

/// Where a secret lies changes nothing that is captured.
fn serialize_names<S: Serializer>(
    variables: &BTreeMap<String, Option<SecretRef>>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(variables.keys())
}
