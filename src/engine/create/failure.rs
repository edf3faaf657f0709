//! Why a component was not captured, and whom that concerns.

use std::io;

use crate::error::{Error, Kind};

/// Why a component was not captured.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing can be captured: the run fails.
    Run(Error),
    /// Its source failed; other components are not concerned.
    Component(Error),
    /// Whoever takes what is captured has stopped, and knows why.
    GivenUp,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Run(error)
    }
}

impl Failure {
    /// What a source said; a signal ends the run all the same.
    pub(super) fn of_source(error: Error) -> Self {
        if let Kind::Interrupted(_) = error.kind() { Self::Run(error) } else { Self::Component(error) }
    }

    /// What a stream of a source said.
    pub(super) fn of_stream(error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => Self::of_source(error),
            Err(error) => Self::Component(Error::failed("the stream failed").because(error)),
        }
    }

    pub(super) fn given_up() -> Self {
        Self::GivenUp
    }

    /// The same about a larger object.
    pub(super) fn within(self, what: &str) -> Self {
        match self {
            Self::Component(error) => Self::Component(error.within(what)),
            other => other,
        }
    }
}
