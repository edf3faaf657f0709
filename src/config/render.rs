//! Writes a commented `ccbackup.toml`; `config::parse` reads the same configuration back.

use std::collections::BTreeMap;
use std::path::Path;

use super::text::{duration_text, list, quote};
use super::types::{ComponentConfig, Expect};
use crate::error::{Error, Result, path_text};

/// What a new configuration says.
#[derive(Clone, Copy, Debug)]
pub struct Rendering<'a> {
    /// Folder the file will lie in, absolute; paths under it are written relative.
    pub folder: &'a Path,
    /// Home folder; other paths under it are written with `~/`.
    pub home: Option<&'a Path>,
    /// `repository.location`, absolute.
    pub location: &'a Path,
    /// Public keys; none leaves a commented example.
    pub recipients: &'a [String],
    /// Public keys of trusted signers; none leaves the pinned signer of this host in force.
    pub signers: &'a [String],
    /// `[[component]]`s.
    pub components: &'a [ComponentConfig],
    /// Comments before a component, by its name; those of no component stand at the end.
    pub comments: &'a BTreeMap<String, Vec<String>>,
}

/// The text of a configuration. Fails when a path is not UTF-8, which TOML cannot hold.
pub fn render(wanted: &Rendering<'_>) -> Result<String> {
    let mut text = String::from(
        "# Configuration of ccbackup. Relative paths are relative to the folder of this file, `~/` is your home.\n\
         # Unknown keys are errors. `ccbackup create --dry-run` shows what a backup would hold.\n\n\
         [repository]\n\
         # Where backups are kept. A copy must live on another machine.\n",
    );
    line(&mut text, "location", &quote(&written(wanted, wanted.location)?));
    text.push_str(
        "\n[encryption]\n# Public keys (age, ssh-ed25519, ssh-rsa) that can open new backups. This host needs no secret key.\n",
    );
    if wanted.recipients.is_empty() {
        text.push_str("# recipients = [\"age1…\"]\n");
    } else {
        line(&mut text, "recipients", &list(wanted.recipients.iter().map(String::as_str)));
    }
    text.push_str(
        "# cipher = \"age\"        # or \"aes-256-gcm\", \"none\"\n# level = 3             # zstd, 1 to 19\n",
    );
    text.push_str("\n[trust]\n# Signers whose backups are accepted: public keys or files of them. Without any, the one pinned on first use.\n");
    if wanted.signers.is_empty() {
        text.push_str("# signers = [\"ssh-ed25519 AAAA…\"]\n");
    } else {
        line(&mut text, "signers", &list(wanted.signers.iter().map(String::as_str)));
    }
    text.push_str(
        "\n[defaults]\n# exclude = [\"**/*.log\"]   # for every component\n\
         # exclude_caches = true                # not what is in folders with a CACHEDIR.TAG\n\
         # exclude_if_present = [\".nobackup\"]   # nor in folders that hold such a file\n\
         # one_file_system = true\n",
    );
    if wanted.components.is_empty() {
        text.push_str(
            "\n# Nothing was found here; name what to back up.\n# [[component]]\n# name = \"configs\"\n# kind = \"files\"\n\
             # paths = [\"configs\"]\n",
        );
    }
    for component in wanted.components {
        self::component(&mut text, wanted, component)?;
    }
    if wanted.comments.contains_key("") {
        text.push('\n');
        comments(&mut text, wanted, "");
    }
    Ok(text)
}

fn component(text: &mut String, wanted: &Rendering<'_>, component: &ComponentConfig) -> Result<()> {
    text.push('\n');
    comments(text, wanted, &component.name);
    text.push_str("[[component]]\n");
    line(text, "name", &quote(&component.name));
    line(text, "kind", &quote(component.source.kind()));
    for (key, value) in component.source.render(&|path| written(wanted, path))? {
        line(text, &key, &value);
    }
    for (key, argv) in component.hooks.all().into_iter().filter(|(_, argv)| !argv.is_empty()) {
        line(text, key, &list(argv.iter().map(String::as_str)));
    }
    if let Some(time) = component.timeout {
        line(text, "timeout", &duration_text(time));
    }
    for (key, value) in [("retries", i64::from(component.retries)), ("priority", component.priority)] {
        if value != 0 {
            line(text, key, &value.to_string());
        }
    }
    if !component.needs.is_empty() {
        line(text, "needs", &list(component.needs.iter().map(String::as_str)));
    }
    let Expect { min_entries, min_bytes, max_shrink, max_age } = component.expect;
    let expect = [
        min_entries.map(|n| format!("min_entries = {n}")),
        min_bytes.map(|n| format!("min_bytes = {n}")),
        max_shrink.map(|p| format!("max_shrink = {}", quote(&p.to_string()))),
        max_age.map(|time| format!("max_age = {}", duration_text(time))),
    ];
    let expect: Vec<String> = expect.into_iter().flatten().collect();
    if expect.is_empty() {
        text.push_str("# expect = { min_entries = 1, max_shrink = \"50%\" }   # fail when less is found\n");
    } else {
        line(text, "expect", &format!("{{ {} }}", expect.join(", ")));
    }
    Ok(())
}

fn comments(text: &mut String, wanted: &Rendering<'_>, name: &str) {
    for comment in wanted.comments.get(name).into_iter().flatten() {
        // Names come from files: nothing of them may end the comment.
        let comment: String = comment.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        *text += &format!("# {comment}\n");
    }
}

fn line(text: &mut String, key: &str, value: &str) {
    *text += &format!("{key} = {value}\n");
}

/// The shortest way to write a path that reads back as the same.
fn written(wanted: &Rendering<'_>, path: &Path) -> Result<String> {
    let utf8 = |p: &Path| {
        let text = p.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::usage(format!("the path {} is not UTF-8, TOML cannot hold it", path_text(path))))
    };
    if let Ok(inside) = path.strip_prefix(wanted.folder) {
        let inside = utf8(inside)?;
        // A leading `./` keeps `~`, URLs and the folder itself from being read as something else.
        let plain = !inside.is_empty() && !inside.starts_with('~') && !inside.contains("://");
        return Ok(if plain { inside } else { format!("./{inside}") });
    }
    match wanted.home.map(|home| path.strip_prefix(home)) {
        Some(Ok(inside)) => Ok(format!("~/{}", utf8(inside)?)),
        _ => utf8(path),
    }
}
