//! What a service answered.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Result};
use crate::secret::Hidden;

/// Characters of a body that an error repeats.
const SHOWN: usize = 300;

/// An answer that came whole. It may hold secrets: its body is wiped.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The content type without its parameters, lower case; empty when there is none.
    pub content_type: String,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
    /// What was asked, for errors: method, host and path.
    pub(super) asked: String,
    pub(super) hidden: Hidden,
}

impl Answer {
    /// An error unless the status is one of success.
    pub fn ok(self) -> Result<Self> {
        let kind = match self.status {
            200..=299 => return Ok(self),
            401 | 403 => Kind::Denied,
            404 | 410 => Kind::NotFound,
            408 | 504 => Kind::TimedOut,
            429 | 502 | 503 => Kind::Unreachable,
            _ => Kind::Failed,
        };
        let error = Error::new(kind, format!("{} was answered with status {}", self.asked, self.status));
        let said = self.said();
        Err(if said.is_empty() { error } else { error.because(Error::failed(said)) })
    }

    /// An error unless the body is of that type.
    pub fn of_type(self, content_type: &str) -> Result<Self> {
        if self.content_type == content_type {
            return Ok(self);
        }
        let found = if self.content_type.is_empty() { "no type" } else { &self.content_type };
        let found: String = found.chars().take(100).collect();
        let message = format!("{} should be answered with {content_type}, and came as {found}", self.asked);
        Err(Error::failed(message).hint("look whether a proxy or a login page stands at this address"))
    }

    /// The body as JSON, whose type must be `application/json`.
    pub fn json(self) -> Result<Value> {
        let answer = self.of_type("application/json")?;
        // The parser's message tells a place, and nothing of the text.
        serde_json::from_slice(&answer.body).map_err(|e| {
            Error::new(Kind::Incomplete, format!("the answer to {} is not whole JSON", answer.asked)).because(e)
        })
    }

    /// The beginning of a body that is text, for errors.
    fn said(&self) -> String {
        let start = &self.body[..self.body.len().min(8 * SHOWN)];
        let text = self.hidden.redact(&String::from_utf8_lossy(start));
        if self.content_type == "text/html" {
            return String::new();
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect()
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer {{ {} {} bytes of {:?} }}", self.status, self.body.len(), self.content_type)
    }
}
