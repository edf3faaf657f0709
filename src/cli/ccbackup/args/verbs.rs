//! Arguments of the verbs; their comments are the help texts.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueHint};

use super::values::{BackupRef, ComponentPath, Tag, cipher, component_name, component_path, file_name, glob, level};
use crate::config::{Cipher, Percent, check_recipient};
use crate::engine::apply::RunId;
use crate::error::{Error, Result};

/// Look around, write ccbackup.toml, create keys
///
/// Finds compose files, .env, config folders, data folders and vectorstores, writes a commented configuration for them,
/// creates the identity and the signer, and says what must be kept off this machine.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup init --dry-run        show the configuration, write nothing
  ccbackup init --dir /srv/app   look around there")]
pub struct Init {
    /// Folder to look around and to write ccbackup.toml to
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Replace a configuration that is there; keys are never replaced
    #[arg(long)]
    pub force: bool,
    /// Show what would be written, touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Make a backup
///
/// Full the first time, then incremental: what is unchanged is referenced, not read. Exit code 0 means that every
/// expected component is present, complete and checked; 3 that the backup was made with problems, listed at the end.
/// What --exclude and its like leave out, in every component of the run, is counted and listed by `show`; it is no problem.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup create --encrypt                    everything of ccbackup.toml, or what is found here
  ccbackup create --encrypt --path /srv/app    one folder, no configuration needed
  ccbackup create --component configs --full   one component, without earlier backups
  ccbackup create --dry-run                    show what would be done")]
pub struct Create {
    /// Encrypt; makes keys on first use
    #[arg(long)]
    pub encrypt: bool,
    /// Public key that can open the backup: age1…, ssh-ed25519 or ssh-rsa; may be repeated
    #[arg(long, value_name = "AGE")]
    pub recipient: Vec<String>,
    /// How to seal the backup
    #[arg(long, value_name = "CIPHER", value_parser = cipher(Cipher::NAMES))]
    pub cipher: Option<Cipher>,
    /// zstd level, 1 to 19
    #[arg(long, value_name = "N", value_parser = level)]
    pub level: Option<i32>,
    /// Depend on no earlier backup
    #[arg(long)]
    pub full: bool,
    /// Only this component; may be repeated
    #[arg(long, value_name = "NAME", value_parser = component_name)]
    pub component: Vec<String>,
    /// Back up this file or folder as the component `files`, without configuration; may be repeated
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, conflicts_with = "component")]
    pub path: Vec<PathBuf>,
    /// Leave out what matches; may be repeated
    #[arg(long, value_name = "GLOB", value_parser = glob())]
    pub exclude: Vec<String>,
    /// Leave out what is in caches: folders with a CACHEDIR.TAG
    #[arg(long)]
    pub exclude_caches: bool,
    /// Leave out what is in folders that hold a file of this name; may be repeated
    #[arg(long, value_name = "NAME", value_parser = file_name)]
    pub exclude_if_present: Vec<String>,
    /// Leave out what lies on other file systems
    #[arg(long)]
    pub one_file_system: bool,
    /// Read every file again, also those that look unchanged
    #[arg(long)]
    pub rehash: bool,
    /// Label of the backup, kept in clear text; may be repeated
    #[arg(long, value_name = "K=V")]
    pub tag: Vec<Tag>,
    /// Take over a repository that another host wrote, or begin with one that was not at this place before
    #[arg(long)]
    pub adopt: bool,
    /// Show what would be done, touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Create {
    /// Refuses flags that contradict each other, and secret keys among the recipients.
    pub fn check(&self) -> Result<()> {
        self.recipient.iter().try_for_each(|recipient| check_recipient(recipient))?;
        let contradiction = match self.cipher {
            Some(Cipher::None) if self.encrypt => "--encrypt and --cipher none contradict each other",
            Some(Cipher::None | Cipher::Aes256Gcm) if !self.recipient.is_empty() => {
                "--recipient needs the cipher age, another --cipher was given"
            }
            _ => return Ok(()),
        };
        Err(Error::usage(contradiction))
    }
}

/// List all backups, oldest first
///
/// One line a backup: id, kind, parent, components, stored size, whether it is encrypted, when it was last verified.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup list
  ccbackup list --json | jq -r '.[-1].id'")]
pub struct List {}

/// Show what a backup holds
///
/// Kind, parent, what it depends on, sealing, signer, tags, and every component with its sizes. Needs no key.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup show
  ccbackup show 20260117-143000")]
pub struct Show {
    /// Backup: an id, the beginning of one, or `latest`
    #[arg(value_name = "ID", default_value = BackupRef::LATEST)]
    pub id: BackupRef,
}

/// List the entries of a backup
///
/// Prints COMPONENT/PATH for every entry, sorted. Names with unusual bytes are escaped.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup ls -l
  ccbackup ls latest '*.yaml'")]
pub struct Ls {
    /// Backup: an id, the beginning of one, or `latest`
    #[arg(value_name = "ID", default_value = BackupRef::LATEST)]
    pub id: BackupRef,
    /// Only entries that match
    #[arg(value_name = "GLOB", value_parser = glob())]
    pub glob: Option<String>,
    /// With mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,
}

/// Show what differs between two backups
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup diff 20260117 20260118
  ccbackup diff 20260117              against the latest")]
pub struct Diff {
    /// The earlier backup
    #[arg(value_name = "A")]
    pub a: BackupRef,
    /// The later backup
    #[arg(value_name = "B", default_value = BackupRef::LATEST)]
    pub b: BackupRef,
}

/// Find entries in all backups
///
/// Prints each version of a matching entry once, with the first and last backup that hold it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup find '*.env'
  ccbackup find 'grafana/**/*.yaml'")]
pub struct Find {
    /// What to look for
    #[arg(value_name = "GLOB", value_parser = glob())]
    pub glob: String,
}

/// Write the content of one file to stdout
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  ccbackup cat latest configs/configs/app.yaml > app.yaml")]
pub struct Cat {
    /// Backup: an id, the beginning of one, or `latest`
    #[arg(value_name = "ID")]
    pub id: BackupRef,
    /// The file; its path as it is, or escaped as `ls` prints it
    #[arg(value_name = "COMPONENT/PATH", value_parser = component_path())]
    pub path: ComponentPath,
}

/// Check a backup and all it depends on
///
/// Without a key: signature, SHA256SUMS and the whole chain. With --deep every file is decrypted and hashed again.
/// Anything missing, changed, unsigned or wrongly signed is damage: exit code 4, with what to do next.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup verify                   the latest backup, without a key
  ccbackup verify --all --deep      every byte of everything
  ccbackup verify --deep --sample 5%")]
pub struct Verify {
    /// Backup: an id, the beginning of one, or `latest`
    #[arg(value_name = "ID", default_value = BackupRef::LATEST, conflicts_with = "all")]
    pub id: BackupRef,
    /// Every backup of the repository
    #[arg(long)]
    pub all: bool,
    /// Decrypt and hash every file again; needs a key
    #[arg(long)]
    pub deep: bool,
    /// Check only this part, chosen at random
    #[arg(long, value_name = "PERCENT")]
    pub sample: Option<Percent>,
}

/// Restore a backup into a folder, or back into the living services
///
/// With --target: writes to DIR/COMPONENT/…, never outside DIR. A run that was cut short is continued. A folder that
/// holds anything else is refused with exit code 5, unless --overwrite says to rewrite what differs.
///
/// With --apply: puts each component that the configuration has back into its service, and compares it afterwards. What is
/// there and differs is refused with exit code 5 before anything is touched, unless --overwrite says to replace it; what
/// was there is kept until the run is confirmed, and --undo puts it back.
#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("what").required(true).args(["target", "apply", "undo", "confirm", "runs"])))]
#[command(after_help = "\
Examples:
  ccbackup restore --target /tmp/out
  ccbackup restore 20260117 --target /tmp/out --component configs --include '*.yaml'
  ccbackup restore --target /srv/app --overwrite --delete --dry-run
  ccbackup restore --apply --dry-run              what would be done to the living services
  ccbackup restore --apply --component postgres --overwrite
  ccbackup restore --undo 20260118-090000         put back what that run replaced")]
pub struct Restore {
    /// Backup: an id, the beginning of one, or `latest`
    #[arg(value_name = "ID", default_value = BackupRef::LATEST, conflicts_with_all = ["undo", "confirm", "runs"])]
    pub id: BackupRef,
    /// Folder to restore into; it is made when it is not there
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub target: Option<PathBuf>,
    /// Put the components back into the living services
    #[arg(long)]
    pub apply: bool,
    /// Put back what a run of --apply replaced
    #[arg(long, value_name = "RUN")]
    pub undo: Option<RunId>,
    /// Let a run of --apply stand: drop what it replaced
    #[arg(long, value_name = "RUN")]
    pub confirm: Option<RunId>,
    /// List the runs of --apply that this host remembers
    #[arg(long)]
    pub runs: bool,
    /// Only this component; may be repeated
    #[arg(long, value_name = "NAME", value_parser = component_name, conflicts_with_all = ["undo", "confirm", "runs"])]
    pub component: Vec<String>,
    /// Only what matches; may be repeated
    #[arg(long, value_name = "GLOB", value_parser = glob(), conflicts_with_all = ["apply", "undo", "confirm", "runs"])]
    pub include: Vec<String>,
    /// Leave out what matches; may be repeated
    #[arg(long, value_name = "GLOB", value_parser = glob(), conflicts_with_all = ["apply", "undo", "confirm", "runs"])]
    pub exclude: Vec<String>,
    /// Rewrite what differs from the backup
    #[arg(long, conflicts_with_all = ["undo", "confirm", "runs"])]
    pub overwrite: bool,
    /// Delete what the backup does not hold
    #[arg(long, conflicts_with_all = ["apply", "undo", "confirm", "runs"])]
    pub delete: bool,
    /// Answer every question with yes
    #[arg(long)]
    pub yes: bool,
    /// Show what would be done, touch nothing
    #[arg(long, conflicts_with_all = ["undo", "confirm", "runs"])]
    pub dry_run: bool,
}

impl Restore {
    /// Refuses flags that contradict each other.
    pub fn check(&self) -> Result<()> {
        if self.delete && !(self.include.is_empty() && self.exclude.is_empty()) {
            return Err(Error::usage("--delete cannot be combined with --include or --exclude")
                .hint("it would remove what was only not selected"));
        }
        Ok(())
    }
}

/// Compare the living services with a backup
///
/// Object by object and count by count. Exit code 0: all is there as it was captured; 3: something differs, or a
/// component could not be compared because the configuration does not have it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup check
  ccbackup check 20260117 --component postgres")]
pub struct Check {
    /// Backup: an id, the beginning of one, or `latest`
    #[arg(value_name = "ID", default_value = BackupRef::LATEST)]
    pub id: BackupRef,
    /// Only this component; may be repeated
    #[arg(long, value_name = "NAME", value_parser = component_name)]
    pub component: Vec<String>,
}

/// Make, list and export keys
///
/// Keys live in $CCBACKUP_HOME, else in ~/.config/ccbackup: identity.txt opens backups, signer signs them.
#[derive(Args, Clone, Debug)]
pub struct Key {
    #[command(subcommand)]
    #[expect(missing_docs, reason = "a doc comment here would replace the help text of the verb")]
    pub action: KeyAction,
}

/// What to do with keys.
#[derive(Clone, Debug, Subcommand)]
#[expect(missing_docs, reason = "each is documented at its own type, where clap takes its help from")]
pub enum KeyAction {
    Generate(KeyGenerate),
    /// List the keys of this host: kind, public half, file
    List,
    Export(KeyExport),
}

/// Make the keys that are missing; never replaces one
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup key generate
  ccbackup key generate --cipher aes-256-gcm")]
pub struct KeyGenerate {
    /// Cipher the key is for
    #[arg(long, value_name = "CIPHER", default_value = "age", value_parser = cipher(["age", "aes-256-gcm"]))]
    pub cipher: Cipher,
}

/// Print the public keys, or with --secret what must be kept off this machine
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup key export                            recipient and signer, for other hosts
  (umask 077; ccbackup key export --secret > /media/usb/ccbackup-keys.txt)")]
pub struct KeyExport {
    /// Print the secret keys; whoever has them can read every backup
    #[arg(long)]
    pub secret: bool,
}

/// Back up, damage, verify and restore a small sample in a scratch folder
///
/// Shows in a minute what the program does, and removes everything at the end.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  ccbackup demo --keep")]
pub struct Demo {
    /// Keep the scratch folder and say where it is
    #[arg(long)]
    pub keep: bool,
}

/// Print completions for a shell
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  ccbackup completions bash > ~/.local/share/bash-completion/completions/ccbackup")]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// Print the man page, or write one page a verb into a folder
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ccbackup man | man -l -
  ccbackup man --out ~/.local/share/man/man1")]
pub struct Man {
    /// Folder to write the pages to
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
}
