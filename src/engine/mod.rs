//! The verbs over whole backups. Each verb is one file or folder; what changes something is planned first, then applied.

pub mod chain;
mod content;
pub mod create;
pub mod query;
pub mod restore;
pub mod select;
pub mod target;
pub mod verify;

/// Tells the time; tests fix it.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// Always this many Unix seconds.
    Fixed(i64),
}

impl Clock {
    /// Unix seconds.
    #[must_use]
    pub fn now_seconds(self) -> i64 {
        match self {
            Self::System => jiff::Timestamp::now().as_second(),
            Self::Fixed(seconds) => seconds,
        }
    }
}

/// Unix seconds as RFC 3339 in UTC, `2026-01-17T14:30:00Z`.
#[must_use]
pub fn rfc3339(unix_seconds: i64) -> String {
    jiff::Timestamp::from_second(unix_seconds).map_or_else(|_| unix_seconds.to_string(), |t| t.to_string())
}
