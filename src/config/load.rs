//! Finds and reads `ccbackup.toml`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::kinds::{KindSection, SourceConfig, argv, exclude_rules};
use super::near;
use super::rules::{Defaults, ExcludeRules};
use super::section::{At, ConfigText, Section};
use super::types::{ComponentConfig, Config, EncryptionConfig, Expect, Hooks};
use super::values::{Cipher, Percent, SignerRef, check_recipient, parse_duration, resolve_location};
use crate::error::{Context as _, Error, Hint, Kind, Result, path_text};
use crate::model::is_component_name;

/// Name of the configuration file.
pub const FILE_NAME: &str = "ccbackup.toml";
/// Longest configuration that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Keys of every component, whatever its kind.
const COMPONENT_KEYS: &[&str] =
    &["name", "kind", "expect", "before", "after", "on_failure", "finally", "timeout", "retries", "priority", "needs"];
/// Most that `retries` can be.
const MAX_RETRIES: u64 = 10;
/// `priority` lies between this below and above 0.
const MAX_PRIORITY: i64 = 1000;

/// Where a configuration is looked for, in this order; the caller reads the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Files that were named, each with what named it; the first counts.
    pub named: Vec<(&'static str, PathBuf)>,
    /// The current folder; relative paths above are relative to it.
    pub current: PathBuf,
    /// `$XDG_CONFIG_HOME`, or `.config` of the home folder.
    pub xdg_config: Option<PathBuf>,
    /// The folder of the whole system, `/etc/ccbackup`.
    pub system: Option<PathBuf>,
    /// The home folder, for `~/`.
    pub home: Option<PathBuf>,
}

/// Reads the first configuration there is; none when there is no file. A file that was named must be there.
pub fn load(lookup: &Lookup) -> Result<Option<Config>> {
    if let Some((origin, file)) = lookup.named.first() {
        let file = lookup.current.join(file);
        let text = read(&file)?.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("the configuration {} of {origin} is not there", path_text(&file)))
                .hint(Hint::WriteConfig)
        })?;
        return parse(&text, &file, lookup.home.as_deref()).map(Some);
    }
    let xdg_config = lookup.xdg_config.as_ref().map(|folder| folder.join("ccbackup"));
    for folder in [Some(lookup.current.clone()), xdg_config, lookup.system.clone()].into_iter().flatten() {
        let file = folder.join(FILE_NAME);
        if let Some(text) = read(&file)? {
            return parse(&text, &file, lookup.home.as_deref()).map(Some);
        }
    }
    Ok(None)
}

fn read(file: &Path) -> Result<Option<String>> {
    let absent = |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let open = match File::open(file) {
        Err(error) if absent(&error) => return Ok(None),
        opened => opened.at("cannot open the configuration", file)?,
    };
    let mut bytes = Vec::new();
    open.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes).at("cannot read the configuration", file)?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(Error::usage(format!("{} is larger than {MAX_CONFIG_BYTES} bytes", path_text(file))));
    }
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|_| Error::usage(format!("{} is not UTF-8, TOML must be", path_text(file))))
}

/// Reads a configuration's text. `file` must be absolute: relative paths are relative to its folder.
pub fn parse(text: &str, file: &Path, home: Option<&Path>) -> Result<Config> {
    let document = ConfigText { file, text };
    let table = DeTable::parse(text).map_err(|e| {
        // Only the parser's sentence: its long form repeats the line, which may hold a secret.
        document.error(&e.span().unwrap_or_default(), &format!("not valid TOML: {}", e.message()))
    })?;
    let reader = Reader { document, folder: file.parent().unwrap_or(Path::new("/")), home };
    let top = Section::new(document, "the file", Some(table.get_ref()), 0..0);
    let top = top.only(&["repository", "encryption", "trust", "defaults", "component"])?;
    let defaults = reader.defaults(&top)?;
    Ok(Config {
        file: Some(file.to_owned()),
        location: reader.location(&top)?,
        encryption: reader.encryption(&top)?,
        signers: reader.signers(&top)?,
        components: reader.components(&top, &defaults)?,
        defaults,
    })
}

struct Reader<'a> {
    document: ConfigText<'a>,
    folder: &'a Path,
    home: Option<&'a Path>,
}

impl Reader<'_> {
    fn located<T>(&self, text: &At<&str>, read: impl FnOnce(&str) -> Result<T>) -> Result<T> {
        self.document.read(text, read)
    }

    fn location(&self, top: &Section<'_>) -> Result<Option<PathBuf>> {
        let location = top.table("repository", "[repository]")?.only(&["location"])?.string("location")?;
        location.map(|text| self.located(&text, |t| resolve_location(t, self.folder, self.home))).transpose()
    }

    fn encryption(&self, top: &Section<'_>) -> Result<EncryptionConfig> {
        let section = top.table("encryption", "[encryption]")?.only(&["recipients", "cipher", "level"])?;
        let recipients = section.strings("recipients")?;
        for recipient in &recipients {
            self.located(recipient, check_recipient)?;
        }
        let cipher = section.string("cipher")?.map(|text| self.located(&text, str::parse::<Cipher>)).transpose()?;
        let level = section.integer("level", 1..=19)?.and_then(|n| i32::try_from(n).ok());
        Ok(EncryptionConfig { recipients: recipients.iter().map(|r| r.value.to_owned()).collect(), cipher, level })
    }

    fn signers(&self, top: &Section<'_>) -> Result<Vec<SignerRef>> {
        let signers = top.table("trust", "[trust]")?.only(&["signers"])?.strings("signers")?;
        signers.iter().map(|text| self.located(text, |t| SignerRef::parse(t, self.folder, self.home))).collect()
    }

    fn defaults(&self, top: &Section<'_>) -> Result<Defaults> {
        let known = ["exclude", "exclude_caches", "exclude_if_present", "one_file_system", "threads"];
        let section = top.table("defaults", "[defaults]")?.only(&known)?;
        Ok(Defaults {
            rules: exclude_rules(&section, &ExcludeRules::default())?,
            threads: section.integer("threads", 1..=256)?.and_then(|n| usize::try_from(n).ok()),
        })
    }

    fn components(&self, top: &Section<'_>, defaults: &Defaults) -> Result<Vec<ComponentConfig>> {
        let mut components: Vec<ComponentConfig> = Vec::new();
        let mut all_needs = Vec::new();
        for section in top.tables("component")? {
            let name = section.required("name")?;
            if !is_component_name(name.value) {
                let message = format!("`name` is {:?}, which is not a component name", name.value);
                return Err(section
                    .error(&name.span, &message)
                    .hint("1 to 64 lower-case letters, digits, `-` and `_`, starting with a letter or digit"));
            }
            if components.iter().any(|c| c.name == name.value) {
                return Err(section.error(&name.span, &format!("there are two components named `{}`", name.value)));
            }
            let (component, needs) = self.component(section, name.value, defaults)?;
            components.push(component);
            all_needs.extend(needs);
        }
        for need in all_needs {
            self.check_need(&need, &components)?;
        }
        Ok(components)
    }

    /// A need must be a component, and must not lead back to who has it.
    fn check_need(&self, need: &At<&str>, components: &[ComponentConfig]) -> Result<()> {
        let names: Vec<&str> = components.iter().map(|c| c.name.as_str()).collect();
        if !names.contains(&need.value) {
            let error =
                self.document.error(&need.span, &format!("`needs` names `{}`, which is no component", need.value));
            return Err(match near::nearest(need.value, &names) {
                Some(word) => error.hint(format!("the nearest component is `{word}`")),
                None => error,
            });
        }
        // All that is needed for this, each once.
        let mut reached: Vec<&str> = vec![need.value];
        let mut at = 0;
        while let Some(name) = reached.get(at).copied() {
            for next in components.iter().filter(|c| c.name == name).flat_map(|c| &c.needs) {
                if next == need.value {
                    let message = format!("`{next}` needs itself, directly or by what it needs");
                    return Err(self.document.error(&need.span, &message));
                }
                if !reached.contains(&next.as_str()) {
                    reached.push(next);
                }
            }
            at += 1;
        }
        Ok(())
    }

    /// A component, and what it needs with its place.
    fn component<'t>(
        &self,
        section: Section<'t>,
        name: &str,
        defaults: &Defaults,
    ) -> Result<(ComponentConfig, Vec<At<&'t str>>)> {
        // The kind comes before the keys: another kind has other keys, and they are not what is wrong.
        let kind = self.located(&section.required("kind")?, component_kind)?;
        let section = section.only(&[COMPONENT_KEYS, SourceConfig::keys(kind)].concat())?;
        let own = KindSection { section: &section, name, folder: self.folder, home: self.home, defaults };
        let source = SourceConfig::read(kind, &own)?;
        let known = ["min_entries", "min_bytes", "max_shrink", "max_age"];
        let expect = section.table("expect", "`expect`")?.only(&known)?;
        let shrink = expect.string("max_shrink")?;
        let duration = |section: &Section<'_>, key| {
            section.string(key)?.map(|text| self.located(&text, parse_duration)).transpose()
        };
        let expect = Expect {
            min_entries: expect.integer("min_entries", 0..=u64::MAX)?,
            min_bytes: expect.integer("min_bytes", 0..=u64::MAX)?,
            max_shrink: shrink.map(|text| self.located(&text, str::parse::<Percent>)).transpose()?,
            max_age: duration(&expect, "max_age")?,
        };
        let hook = |key| argv(&section, key, self.folder, self.home);
        let hooks = Hooks {
            before: hook("before")?,
            after: hook("after")?,
            on_failure: hook("on_failure")?,
            finally: hook("finally")?,
        };
        let needs = section.strings("needs")?;
        let component = ComponentConfig {
            name: name.to_owned(),
            source,
            expect,
            hooks,
            timeout: duration(&section, "timeout")?,
            retries: section.integer("retries", 0..=MAX_RETRIES)?.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
            priority: section.signed("priority", -MAX_PRIORITY..=MAX_PRIORITY)?.unwrap_or(0),
            needs: needs.iter().map(|need| need.value.to_owned()).collect(),
        };
        Ok((component, needs))
    }
}

fn component_kind(text: &str) -> Result<&'static str> {
    let built = SourceConfig::KINDS;
    built.into_iter().find(|kind| *kind == text).ok_or_else(|| {
        let error = Error::usage(format!("kind `{text}` is not built yet; kinds built: {}", built.join(", ")));
        match near::nearest(text, &built) {
            Some(word) if near::distance(text, word) <= 2 => error.hint(format!("did you mean `{word}`?")),
            _ => error,
        }
    })
}
