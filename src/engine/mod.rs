//! The verbs over whole backups. Each verb is one file or folder; what changes something is planned first, then applied.

pub mod chain;
mod content;
pub mod create;
mod finding;
pub mod query;
pub mod restore;
pub mod select;
pub mod verify;

use crate::model::Moment;

/// Tells the time; tests fix it.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// Always this moment.
    Fixed(Moment),
}

impl Clock {
    /// What it shows.
    #[must_use]
    pub fn now(self) -> Moment {
        match self {
            Self::System => Moment::from_unix_seconds(jiff::Timestamp::now().as_second()),
            Self::Fixed(moment) => moment,
        }
    }
}
