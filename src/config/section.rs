//! Typed reading of one TOML table, with errors that name file, line, key and expectation.

use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::near::nearest;
use crate::error::{Error, Result, path_text};

/// The text of a configuration, to turn offsets into lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConfigText<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl ConfigText<'_> {
    /// A usage error at a place of the file.
    pub(super) fn error(&self, span: &Range<usize>, message: &str) -> Error {
        let before = self.text.as_bytes().get(..span.start).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
        Error::usage(format!("{}:{line}: {message}", path_text(self.file)))
    }

    /// Moves an error that knows nothing of files to a place of this one; its hint stays.
    pub(super) fn locate(&self, span: &Range<usize>, error: &Error) -> Error {
        let located = self.error(span, &error.one_line());
        if let Some(hint) = error.advice() { located.hint(hint.clone()) } else { located }
    }

    /// Turns a string into what it means; an error names its place.
    pub(super) fn read<T>(&self, text: &At<&str>, read: impl FnOnce(&str) -> Result<T>) -> Result<T> {
        read(text.value).map_err(|e| self.locate(&text.span, &e))
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// One table, whose keys are all known.
#[derive(Debug)]
pub(super) struct Section<'a> {
    document: ConfigText<'a>,
    title: String,
    /// None where it is absent, which is as if it was empty.
    table: Option<&'a DeTable<'a>>,
    pub(super) span: Range<usize>,
}

impl<'a> Section<'a> {
    /// Takes a table without looking at its keys; see [`Section::only`].
    pub(super) fn new(
        document: ConfigText<'a>,
        title: &str,
        table: Option<&'a DeTable<'a>>,
        span: Range<usize>,
    ) -> Self {
        Self { document, title: title.to_owned(), table, span }
    }

    /// Refuses the first key of the file that is not in `known`.
    pub(super) fn only(self, known: &[&str]) -> Result<Self> {
        let unknown =
            self.table.iter().flat_map(|table| table.keys()).filter(|key| !known.contains(&key.get_ref().as_ref()));
        let Some(key) = unknown.min_by_key(|key| key.span().start) else { return Ok(self) };
        let name = key.get_ref();
        let near = nearest(name, known).unwrap_or_default();
        let title = &self.title;
        let message = format!("unknown key `{name}` in {title}; the nearest known key is `{near}`");
        Err(self.document.error(&key.span(), &message).hint(format!("known keys of {title}: {}", known.join(", "))))
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.and_then(|table| table.get(key))
    }

    /// Whether there is such a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The place of a value, or of the section where it has none.
    pub(super) fn place(&self, key: &str) -> Range<usize> {
        self.get(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// All keys, in the order of their names.
    pub(super) fn keys(&self) -> Vec<At<&'a str>> {
        let keys = self.table.iter().flat_map(|table| table.keys());
        keys.map(|key| At { value: key.get_ref().as_ref(), span: key.span() }).collect()
    }

    /// Whether the value is a list.
    pub(super) fn is_list(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.get_ref().as_array().is_some())
    }

    /// Whether the value is a table.
    pub(super) fn is_table(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.get_ref().as_table().is_some())
    }

    /// A usage error at a place of this section.
    pub(super) fn error(&self, span: &Range<usize>, message: &str) -> Error {
        self.document.error(span, message)
    }

    /// Turns a string of this section into what it means; an error names its place.
    pub(super) fn located<T>(&self, text: &At<&str>, read: impl FnOnce(&str) -> Result<T>) -> Result<T> {
        self.document.read(text, read)
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) -> Error {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(&value.span(), &format!("`{key}` in {} must be {expected}, found {found}", self.title))
    }

    /// A string; may be absent.
    pub(super) fn string(&self, key: &str) -> Result<Option<At<&'a str>>> {
        self.get(key).map(|value| self.as_string(key, value, "a string")).transpose()
    }

    fn as_string(&self, key: &str, value: &'a Spanned<DeValue<'a>>, expected: &str) -> Result<At<&'a str>> {
        let text = value.get_ref().as_str().ok_or_else(|| self.wrong(key, value, expected))?;
        Ok(At { value: text, span: value.span() })
    }

    /// A string that must be there.
    pub(super) fn required(&self, key: &str) -> Result<At<&'a str>> {
        self.string(key)?.ok_or_else(|| self.error(&self.span, &format!("{} has no `{key}`", self.title)))
    }

    /// A list of strings; empty when absent.
    pub(super) fn strings(&self, key: &str) -> Result<Vec<At<&'a str>>> {
        const EXPECTED: &str = "a list of strings";
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let list = value.get_ref().as_array().ok_or_else(|| self.wrong(key, value, EXPECTED))?;
        list.iter().map(|item| self.as_string(key, item, EXPECTED)).collect()
    }

    /// A string, or a list of strings; empty when absent.
    pub(super) fn one_or_more(&self, key: &str) -> Result<Vec<At<&'a str>>> {
        const EXPECTED: &str = "a string or a list of strings";
        match self.get(key) {
            Some(value) if value.get_ref().as_array().is_none() => Ok(vec![self.as_string(key, value, EXPECTED)?]),
            _ => self.strings(key),
        }
    }

    /// `true` or `false`; may be absent.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        let read = |value: &Spanned<DeValue<'_>>| {
            value.get_ref().as_bool().ok_or_else(|| self.wrong(key, value, "true or false"))
        };
        self.get(key).map(read).transpose()
    }

    /// A whole number within `range`; may be absent.
    pub(super) fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let expected = if *range.end() == u64::MAX {
            format!("a whole number of at least {}", range.start())
        } else {
            format!("a whole number from {} to {}", range.start(), range.end())
        };
        let integer = value.get_ref().as_integer().ok_or_else(|| self.wrong(key, value, &expected))?;
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|n| range.contains(n));
        let message = || format!("`{key}` in {} must be {expected}, found {integer}", self.title);
        number.map(Some).ok_or_else(|| self.error(&value.span(), &message()))
    }

    /// A whole number within `range`, which may be below 0; may be absent.
    pub(super) fn signed(&self, key: &str, range: RangeInclusive<i64>) -> Result<Option<i64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let integer = value.get_ref().as_integer().ok_or_else(|| self.wrong(key, value, &expected))?;
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|n| range.contains(n));
        let message = || format!("`{key}` in {} must be {expected}, found {integer}", self.title);
        number.map(Some).ok_or_else(|| self.error(&value.span(), &message()))
    }

    /// A table; empty when absent.
    pub(super) fn table(&self, key: &str, title: &str) -> Result<Self> {
        let Some(value) = self.get(key) else { return Ok(Self::new(self.document, title, None, 0..0)) };
        let table = value.get_ref().as_table().ok_or_else(|| self.wrong(key, value, "a table"))?;
        Ok(Self::new(self.document, title, Some(table), value.span()))
    }

    /// An array of tables, `[[key]]`; empty when absent.
    pub(super) fn tables(&self, key: &str) -> Result<Vec<Self>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let expected = format!("written as [[{key}]]");
        let list = value.get_ref().as_array().ok_or_else(|| self.wrong(key, value, &expected))?;
        list.iter()
            .map(|item| {
                let table = item.get_ref().as_table().ok_or_else(|| self.wrong(key, item, &expected))?;
                Ok(Self::new(self.document, &format!("[[{key}]]"), Some(table), item.span()))
            })
            .collect()
    }
}
