//! The variables of the environment as a value: read once when a program starts, then passed to whoever needs one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Variables by name. Empty ones count as unset.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// From names and values.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    /// These, and others in place of those of the same names.
    #[must_use]
    pub fn with(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.0.extend(Self::new(variables).0);
        self
    }

    /// The value of a variable that is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }
}

/// Names alone: values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
