//! The verbs over whole backups. Each verb is one file or folder; what changes something is planned first, then applied.

pub mod apply;
pub mod chain;
mod content;
pub mod create;
mod finding;
mod host;
pub mod query;
pub mod restore;
pub mod select;
mod session;
pub mod verify;

pub use host::{Clock, Host};
pub use session::Session;
