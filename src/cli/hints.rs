//! The advice of the library in words: only here are commands and flags of the programs named.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use crate::engine::create::FullBecause;
use crate::engine::verify::Finding;
use crate::error::{Error, Hint, Result};

/// What the reader can do.
#[must_use]
pub fn worded(hint: &Hint) -> Cow<'_, str> {
    Cow::Borrowed(match hint {
        Hint::Words(words) => words,
        Hint::AllowUnsigned => {
            "--allow-unsigned goes on without a trusted signature; then nothing proves who made this backup"
        }
        Hint::BringBack { file } => {
            return format!("bring {file} back from another copy of the repository, or run `ccbackup create --full`")
                .into();
        }
        Hint::BringBackPart { backup, file, component } => {
            let text = format!(
                "bring {file} back from another copy of the repository; `ccbackup verify {backup} --deep` then tells \
                 which files of {component} are affected; the next `ccbackup create --full` does not depend on it"
            );
            return text.into();
        }
        Hint::FewerThreads => {
            "raise the limit (ulimit -u, pids of the container or of the systemd unit), or use fewer with --threads"
        }
        Hint::FindEarlier { what } => return format!("`ccbackup find` shows earlier versions of {what}").into(),
        Hint::FindElsewhere => "`ccbackup find` looks through all backups",
        Hint::FolderWithPath => "name a folder with --path, or run `ccbackup init` to write a ccbackup.toml",
        Hint::GiveAesKey => "give the file with the 32-byte key with --identity",
        Hint::GiveIdentity => "give the identity file with --identity",
        Hint::ListBackups => "`ccbackup list` shows all",
        Hint::ListEntries => "patterns are about paths inside a component; `ccbackup ls` lists them",
        Hint::ListIds => "ids look like 20260117-143000; see `ccbackup list`",
        Hint::ListRuns => "`ccbackup restore --runs` lists them",
        Hint::MakeBackup => "`ccbackup create` makes one",
        Hint::MakeRepository => "`ccbackup create` makes one; --repo names another place",
        Hint::NameSigner => {
            "give the signer's public key with --signer, or an identity file that names it; the key must not come from the \
             repository itself. --allow-unsigned goes on without"
        }
        Hint::NameSignerToVerify => {
            "give the signer's public key with --signer, or an identity file that names it with --identity; \
             --allow-unsigned checks digests only"
        }
        Hint::NewRepository => "no backup can follow it here; begin a new repository with --repo",
        Hint::OtherFolder => "name an empty or new folder with --repo",
        Hint::OtherRepository => {
            "mount the disk that belongs there, or name its place with --repo; --adopt accepts what is there now, and \
             makes a new repository where none is"
        }
        Hint::OtherTarget => "name a new folder, or add --overwrite",
        Hint::OverwriteLink => "nothing is written through links in a target; --overwrite replaces it",
        Hint::OverwriteLiving => {
            "--overwrite replaces what differs; what was there is kept, and `ccbackup restore --undo RUN` puts it back"
        }
        Hint::OverwriteWhatDiffers => "--overwrite replaces what differs",
        Hint::ReplaceLost => "find out who removed it; bring it back from another copy, or run `ccbackup create`",
        Hint::SameBackup => "go on with that backup, name a new folder, or add --overwrite",
        Hint::TakeOver => "give every host a repository of its own; --adopt takes this one over",
        Hint::TargetInUse => {
            "name a new folder, or add --overwrite: it rewrites what differs and keeps what the backup does not have"
        }
        Hint::UndoRun(run) => return format!("`ccbackup restore --undo {run}` puts back what it replaced").into(),
        Hint::Verify => "run `ccbackup verify`",
        Hint::VerifyAll => "run `ccbackup verify --all`",
        Hint::WriteConfig => "`ccbackup init` writes one",
    })
}

/// Why a backup is full, with what to do about it.
pub(crate) fn why_full(full: &FullBecause) -> String {
    full.hint.as_ref().map_or_else(|| full.why.clone(), |hint| format!("{}; {}", full.why, worded(hint)))
}

/// A report as a document in which every finding says what next.
pub fn with_next(report: &impl Serialize, findings: &[Finding]) -> Result<Value> {
    let mut document = document(report)?;
    if let Some(shown) = document["findings"].as_array_mut() {
        shown.iter_mut().zip(findings).for_each(|(shown, finding)| shown["next"] = worded(&finding.next).into());
    }
    Ok(document)
}

/// A report as a document that can be added to.
pub(crate) fn document(report: &impl Serialize) -> Result<Value> {
    serde_json::to_value(report).map_err(|e| Error::failed("the result cannot be written as JSON").because(e))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::ccbackup::args::Cli;
    use super::*;

    #[test]
    fn hints_name_only_verbs_and_flags_that_there_are() {
        let text = || "x".to_owned();
        let hints = [
            Hint::AllowUnsigned,
            Hint::BringBack { file: text() },
            Hint::BringBackPart { backup: text(), file: text(), component: text() },
            Hint::FewerThreads,
            Hint::FindEarlier { what: text() },
            Hint::FindElsewhere,
            Hint::FolderWithPath,
            Hint::GiveAesKey,
            Hint::GiveIdentity,
            Hint::ListBackups,
            Hint::ListEntries,
            Hint::ListIds,
            Hint::ListRuns,
            Hint::MakeBackup,
            Hint::MakeRepository,
            Hint::NameSigner,
            Hint::NameSignerToVerify,
            Hint::NewRepository,
            Hint::OtherFolder,
            Hint::OtherRepository,
            Hint::OtherTarget,
            Hint::OverwriteLink,
            Hint::OverwriteLiving,
            Hint::OverwriteWhatDiffers,
            Hint::ReplaceLost,
            Hint::SameBackup,
            Hint::TakeOver,
            Hint::TargetInUse,
            Hint::UndoRun(text()),
            Hint::Verify,
            Hint::VerifyAll,
            Hint::WriteConfig,
        ];
        let mut program = Cli::command();
        program.build();
        let commands: Vec<_> = std::iter::once(&program).chain(program.get_subcommands()).collect();
        let flags: Vec<_> = commands.iter().flat_map(|c| c.get_arguments().filter_map(clap::Arg::get_long)).collect();
        for hint in hints {
            let words = worded(&hint);
            let named = words.split(|c: char| !c.is_alphanumeric() && c != '-').collect::<Vec<_>>();
            assert!(named.iter().any(|w| w.starts_with("--") || *w == "ccbackup"), "{words} takes no command");
            for flag in named.iter().filter_map(|word| word.strip_prefix("--")) {
                assert!(flags.contains(&flag), "{words}");
            }
            for pair in named.windows(2).filter(|pair| pair[0] == "ccbackup" && pair[1] != "toml") {
                assert!(commands.iter().any(|c| c.get_name() == pair[1]), "{words}");
            }
        }
    }

    #[test]
    fn a_finding_says_last_what_next() {
        let finding = |next: Hint| Finding {
            kind: crate::engine::verify::FindingKind::Missing,
            backup: String::new(),
            component: None,
            path: "a".into(),
            detail: "b".into(),
            next,
        };
        let findings = [finding(Hint::Verify), finding("c".into())];
        let document = with_next(&serde_json::json!({ "findings": findings, "ok": false }), &findings).unwrap();
        let last = |at: usize| document["findings"][at].as_object().unwrap().iter().next_back().unwrap();
        assert_eq!(last(0), (&"next".to_owned(), &"run `ccbackup verify`".into()));
        assert_eq!(last(1), (&"next".to_owned(), &"c".into()));
    }
}
