//! The error of this crate: what failed, why, and what the reader can do about it.
//!
//! A message names the object, the expectation and the fact. The cause stays in `source()` and is printed once, by
//! `cli`. Hints are given only where the reader can act. [`Kind`] is the only thing that decides an exit code.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure an [`Error`] is; callers match on this, never on text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Anything that has no kind of its own: input and output above all.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// Something that was asked for is not there.
    NotFound,
    /// Bytes in a repository are not what was signed, or contradict each other.
    Damage,
    /// The system cannot read a file of a repository.
    Unreadable,
    /// The repository was written by a newer version of the format.
    NewerFormat,
    /// Another run holds the repository.
    Locked,
    /// A backup has no signature, or no trusted signer is known.
    Unsigned,
    /// A backup was signed by somebody who is not trusted.
    WrongSigner,
    /// Reading needs a key and none was given.
    NoKey,
    /// None of the given keys opens the file.
    WrongKey,
    /// The repository belongs to another host.
    OtherHost,
    /// At this place lies another repository than before, or none.
    OtherRepository,
    /// The clock stands before the newest backup.
    ClockBack,
    /// Something is there already and would be overwritten.
    WouldOverwrite,
    /// A question was not answered with yes.
    NotConfirmed,
    /// A service does not answer.
    Unreachable,
    /// A service refuses: the credentials are wrong, or what they allow is too little.
    Denied,
    /// A program that is needed is not installed.
    ToolMissing,
    /// A program or service took longer than it may.
    TimedOut,
    /// A program and a service are of versions that do not fit.
    Version,
    /// A dump or a listing is not whole.
    Incomplete,
    /// SIGINT or SIGTERM; holds the signal's number.
    Interrupted(i32),
}

impl Kind {
    /// The exit code that docs/OUTPUT.md promises for this kind.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed
            | Self::NotFound
            | Self::NewerFormat
            | Self::NoKey
            | Self::WrongKey
            | Self::Unreachable
            | Self::Denied
            | Self::ToolMissing
            | Self::TimedOut
            | Self::Version
            | Self::Incomplete => 1,
            Self::Usage => 2,
            Self::Damage | Self::Unreadable => 4,
            Self::Locked
            | Self::Unsigned
            | Self::WrongSigner
            | Self::OtherHost
            | Self::OtherRepository
            | Self::ClockBack
            | Self::WouldOverwrite
            | Self::NotConfirmed => 5,
            Self::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(130),
        }
    }

    /// A stable name for `--json` output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotFound => "not-found",
            Self::Damage => "damage",
            Self::Unreadable => "unreadable",
            Self::NewerFormat => "newer-format",
            Self::Locked => "locked",
            Self::Unsigned => "unsigned",
            Self::WrongSigner => "wrong-signer",
            Self::NoKey => "no-key",
            Self::WrongKey => "wrong-key",
            Self::OtherHost => "other-host",
            Self::OtherRepository => "other-repository",
            Self::ClockBack => "clock-back",
            Self::WouldOverwrite => "would-overwrite",
            Self::NotConfirmed => "not-confirmed",
            Self::Unreachable => "unreachable",
            Self::Denied => "denied",
            Self::ToolMissing => "tool-missing",
            Self::TimedOut => "timed-out",
            Self::Version => "version",
            Self::Incomplete => "incomplete",
            Self::Interrupted(_) => "interrupted",
        }
    }
}

/// Advice on which the reader can act. What takes a command or a flag is named here and worded by `cli`, which alone
/// knows the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "src/cli/hints.rs says each in words")]
pub enum Hint {
    /// Takes no command.
    Words(String),
    AllowUnsigned,
    BringBack {
        file: String,
    },
    BringBackPart {
        backup: String,
        file: String,
        component: String,
    },
    FewerThreads,
    FindEarlier {
        what: String,
    },
    FindElsewhere,
    FolderWithPath,
    GiveAesKey,
    GiveIdentity,
    ListBackups,
    ListEntries,
    ListIds,
    ListRuns,
    MakeBackup,
    MakeRepository,
    NameSigner,
    NameSignerToVerify,
    NewRepository,
    OtherFolder,
    OtherRepository,
    OtherTarget,
    OverwriteLink,
    OverwriteLiving,
    OverwriteWhatDiffers,
    ReplaceLost,
    SameBackup,
    TakeOver,
    TargetInUse,
    UndoRun(String),
    Verify,
    VerifyAll,
    WriteConfig,
}

impl<T: Into<String>> From<T> for Hint {
    fn from(words: T) -> Self {
        Self::Words(words.into())
    }
}

/// A failure: kind, message, cause and hint. A copy shares the cause, so that whoever meets it again knows as much.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<Hint>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` is lower case, without a full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Shorthand for [`Kind::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Shorthand for [`Kind::Damage`].
    pub fn damage(message: impl Into<String>) -> Self {
        Self::new(Kind::Damage, message)
    }

    /// Shorthand for [`Kind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The same failure, of another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds advice on which the reader can act.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it costs only what needs the object, so that a reader goes on with the rest.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self.kind, Kind::Damage | Kind::Unreadable)
    }

    /// Its cause, the cause of that, and so on.
    pub fn causes(&self) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
        std::iter::successors(std::error::Error::source(self), |cause| cause.source())
    }

    /// What the system said, if it was the cause.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        let number = self.causes().find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())?;
        Some(Errno::from_raw_os_error(number))
    }

    /// The advice, if there is any, of this error or of the nearest cause that has one.
    #[must_use]
    pub fn advice(&self) -> Option<&Hint> {
        self.hint.as_ref().or_else(|| self.causes().find_map(|cause| cause.downcast_ref::<Self>()?.hint.as_ref()))
    }

    /// A new error about a larger object, of the same kind, with this one as its cause.
    #[must_use]
    pub fn within(self, message: impl Into<String>) -> Self {
        Self { kind: self.kind, message: message.into(), hint: None, source: Some(Arc::new(self)) }
    }

    /// Message and causes on one line, for findings and problems.
    #[must_use]
    pub fn one_line(&self) -> String {
        self.causes().fold(self.message.clone(), |text, cause| format!("{text}: {cause}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

/// Turns a bare I/O error into one that names what was being done to which object.
pub trait Context<T> {
    /// `what` is a phrase like `cannot read`; the path follows it.
    fn at(self, what: &str, path: impl AsRef<Path>) -> Result<T>;
    /// For objects without a path.
    fn doing(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn at(self, what: &str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| io_error(format!("{what} {}", path_text(path.as_ref())), e.into()))
    }

    fn doing(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|e| io_error(what.into(), e.into()))
    }
}

/// A path in a message: as it is where it is UTF-8, else with its other bytes as octal escapes, so that it still names
/// the very file.
#[must_use]
pub fn path_text(path: &Path) -> Cow<'_, str> {
    let mut text = String::new();
    for piece in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        if piece.invalid().is_empty() && text.is_empty() {
            return Cow::Borrowed(piece.valid());
        }
        text.push_str(piece.valid());
        piece.invalid().iter().for_each(|b| text.push_str(&format!("\\{b:03o}")));
    }
    Cow::Owned(text)
}

/// So that a stream of ours can end with an error of ours: whoever gets it back by [`Context`] or [`From`] has kind and
/// hint again.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

fn io_error(message: String, cause: io::Error) -> Error {
    let cause = match cause.downcast::<Error>() {
        Ok(ours) => return ours.within(message),
        Err(cause) => cause,
    };
    let hint = match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space and run it again; what was not finished is taken over or removed by the next run")
        }
        io::ErrorKind::ReadOnlyFilesystem => Some("the file system is mounted read-only"),
        _ => None,
    };
    let error = Error::failed(message).because(cause);
    if let Some(hint) = hint { error.hint(hint) } else { error }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn an_error_that_went_through_a_stream_keeps_kind_and_hint() {
        let ended: io::Result<()> = Err(Error::new(Kind::TimedOut, "too slow").hint("wait").into());
        let error = ended.doing("cannot read the dump").unwrap_err();
        assert_eq!((error.kind(), error.one_line()), (Kind::TimedOut, "cannot read the dump: too slow".to_owned()));
        assert_eq!(error.advice(), Some(&Hint::Words("wait".to_owned())));
    }

    #[test]
    fn a_path_in_a_message_names_the_very_file() {
        let text = |bytes: &'static [u8]| path_text(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(text(b""), "");
        assert!(matches!(text("/gr\u{fc}n/ x".as_bytes()), Cow::Borrowed("/gr\u{fc}n/ x")));
        assert_eq!(text(b"/a\xff\xfe/b"), "/a\\377\\376/b");
        assert_eq!(text(b"\xff"), "\\377");
    }
}
