//! One `[[component]]` while the keys of its kind are read: values of every type that kinds need, with errors that name file,
//! line and key.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::rules::{Defaults, ExcludeRules};
use crate::config::section::{At, Section};
use crate::config::values::{check_file_name, check_glob, parse_duration, resolve_path};
use crate::error::{Error, Result};
use crate::secret::SecretRef;

/// Reads the keys of one component.
#[derive(Debug)]
pub(in crate::config) struct KindSection<'a> {
    /// Its table; unknown keys were refused already.
    pub(in crate::config) section: &'a Section<'a>,
    /// The component's name.
    pub(in crate::config) name: &'a str,
    /// The folder of the configuration, for relative paths.
    pub(in crate::config) folder: &'a Path,
    /// The home folder, for `~/`.
    pub(in crate::config) home: Option<&'a Path>,
    /// What holds for every component.
    pub(in crate::config) defaults: &'a Defaults,
}

impl KindSection<'_> {
    /// The error that a key is absent.
    pub(super) fn lacks(&self, key: &str) -> Error {
        self.section.error(&self.section.span, &format!("the component `{}` has no `{key}`", self.name))
    }

    /// A string, checked and turned into what it means.
    pub(super) fn parsed<T>(&self, key: &str, read: impl FnOnce(&str) -> Result<T>) -> Result<Option<T>> {
        self.section.string(key)?.map(|text| self.section.located(&text, read)).transpose()
    }

    /// A string as it stands.
    pub(super) fn string(&self, key: &str) -> Result<Option<String>> {
        Ok(self.section.string(key)?.map(|text| text.value.to_owned()))
    }

    /// A list of strings; empty when absent.
    pub(super) fn strings(&self, key: &str) -> Result<Vec<String>> {
        Ok(self.section.strings(key)?.iter().map(|text| text.value.to_owned()).collect())
    }

    /// A path, absolute.
    pub(super) fn path(&self, key: &str) -> Result<Option<PathBuf>> {
        self.parsed(key, |text| resolve_path(text, self.folder, self.home))
    }

    /// A path, absolute, which is `usual` where the key is absent.
    pub(super) fn path_or(&self, key: &str, usual: &str) -> Result<PathBuf> {
        let usual = || {
            resolve_path(usual, self.folder, self.home)
                .map_err(|e| self.section.error(&self.section.span, &format!("`{key}` is absent: {}", e.one_line())))
        };
        self.path(key)?.map_or_else(usual, Ok)
    }

    /// A list of paths, absolute.
    pub(super) fn paths(&self, key: &str) -> Result<Vec<PathBuf>> {
        let resolve = |text: &At<&str>| self.section.located(text, |t| resolve_path(t, self.folder, self.home));
        self.section.strings(key)?.iter().map(resolve).collect()
    }

    /// A glob or a list of them, each absolute.
    pub(super) fn globs(&self, key: &str) -> Result<Vec<PathBuf>> {
        let resolve = |text: &At<&str>| {
            self.section.located(text, |t| {
                check_glob(t)?;
                resolve_path(t, self.folder, self.home)
            })
        };
        self.section.one_or_more(key)?.iter().map(resolve).collect()
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.section.boolean(key)
    }

    /// A whole number within `range`.
    pub(super) fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        self.section.integer(key, range)
    }

    /// A time like `90s`, `30m`, `2h`, `1d`.
    pub(super) fn duration(&self, key: &str) -> Result<Option<Duration>> {
        self.parsed(key, parse_duration)
    }

    /// Whether the value is a list.
    pub(super) fn is_list(&self, key: &str) -> bool {
        self.section.is_list(key)
    }

    /// Whether the value is a table.
    pub(super) fn is_table(&self, key: &str) -> bool {
        self.section.is_table(key)
    }

    /// A reference to a secret, `{ file = … }`, `{ env = … }`, `{ vault = … }` or `{ command = [..] }`; may be absent.
    pub(super) fn secret(&self, key: &str) -> Result<Option<SecretRef>> {
        if self.section.string(key).is_ok_and(|text| text.is_some()) {
            let message = format!("`{key}` of the component `{}` must not stand here as text (not shown)", self.name);
            return Err(self
                .section
                .error(&self.section.span, &message)
                .hint("{ file = … }, { env = … }, { vault = … } or { command = [..] }"));
        }
        if !self.section.has(key) {
            return Ok(None);
        }
        let table = self.section.table(key, &format!("`{key}`"))?.only(&SecretRef::KEYS)?;
        let file = table.string("file")?;
        let file = file.map(|text| table.located(&text, |t| resolve_path(t, self.folder, self.home))).transpose()?;
        let vault = table.string("vault")?;
        let vault = vault.map(|text| {
            let parse = |t: &str| SecretRef::vault(t).ok_or_else(|| Error::usage("a vault reference is path#field"));
            table.located(&text, parse)
        });
        let command: Vec<_> = table.strings("command")?.iter().map(|word| word.value.to_owned()).collect();
        let found = [
            file.map(SecretRef::File),
            table.string("env")?.map(|name| SecretRef::Env(name.value.to_owned())),
            vault.transpose()?,
            (!command.is_empty()).then_some(SecretRef::Command(command)),
        ];
        let mut found = found.into_iter().flatten();
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(Some(one)),
            _ => Err(table.error(&table.span, &format!("`{key}` must have one of {}", SecretRef::KEYS.join(", ")))),
        }
    }

    /// A program and its arguments; empty when absent. A program with a `/` in its name is absolute then.
    pub(super) fn argv(&self, key: &str) -> Result<Vec<String>> {
        argv(self.section, key, self.folder, self.home)
    }

    /// A table of variables for child programs, each `true` for ours of that name, or a reference to a secret.
    pub(super) fn variables(&self, key: &str) -> Result<BTreeMap<String, Option<SecretRef>>> {
        let table = self.section.table(key, &format!("`{key}`"))?;
        let values = KindSection { section: &table, ..*self };
        let mut variables = BTreeMap::new();
        for name in table.keys() {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.value.is_empty() || !name.value.chars().all(plain) {
                return Err(table.error(&name.span, &format!("{:?} is not the name of a variable", name.value)));
            }
            let ours = table.boolean(name.value).ok().flatten();
            let value = match ours {
                Some(true) => None,
                Some(false) => {
                    return Err(table.error(&name.span, &format!("`{}` must be true or a reference", name.value)));
                }
                None => values.secret(name.value)?,
            };
            variables.insert(name.value.to_owned(), value);
        }
        Ok(variables)
    }

    /// What the component leaves out, in addition to what holds for all.
    pub(super) fn rules(&self) -> Result<ExcludeRules> {
        exclude_rules(self.section, &self.defaults.rules)
    }
}

/// A program and its arguments; empty when absent. A program with a `/` in its name is made absolute.
pub(in crate::config) fn argv(
    section: &Section<'_>,
    key: &str,
    folder: &Path,
    home: Option<&Path>,
) -> Result<Vec<String>> {
    let words = section.strings(key)?;
    let Some(program) = words.first() else {
        return match section.has(key) {
            true => Err(section.error(&section.place(key), &format!("`{key}` is empty, a program is expected"))),
            false => Ok(Vec::new()),
        };
    };
    let resolve = |text: &str| match text {
        "" => Err(Error::usage(format!("`{key}` has no program"))),
        text if text.contains('/') => {
            let path = resolve_path(text, folder, home)?;
            path.to_str().map(str::to_owned).ok_or_else(|| Error::usage("the path of the program is not UTF-8"))
        }
        text => Ok(text.to_owned()),
    };
    let program = section.located(program, resolve)?;
    if let Some(bad) = words.iter().find(|word| word.value.contains('\0')) {
        return Err(section.error(&bad.span, &format!("`{key}` has an argument with a zero byte")));
    }
    Ok([program].into_iter().chain(words.iter().skip(1).map(|word| word.value.to_owned())).collect())
}

/// What a section leaves out, in addition to what holds for all.
pub(in crate::config) fn exclude_rules(section: &Section<'_>, defaults: &ExcludeRules) -> Result<ExcludeRules> {
    let checked = |key, check: fn(&str) -> Result<()>, defaults: &[String]| -> Result<Vec<String>> {
        let own = section.strings(key)?;
        let own = own.iter().map(|text| section.located(text, |t| check(t).map(|()| t.to_owned())));
        let mut own = own.collect::<Result<Vec<_>>>()?;
        let more: Vec<_> = defaults.iter().filter(|item| !own.contains(item)).cloned().collect();
        own.extend(more);
        Ok(own)
    };
    Ok(ExcludeRules {
        exclude: checked("exclude", check_glob, &defaults.exclude)?,
        exclude_caches: section.boolean("exclude_caches")?.unwrap_or(defaults.exclude_caches),
        exclude_if_present: checked("exclude_if_present", check_file_name, &defaults.exclude_if_present)?,
        one_file_system: section.boolean("one_file_system")?.unwrap_or(defaults.one_file_system),
    })
}
