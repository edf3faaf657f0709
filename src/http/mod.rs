//! The one HTTP client.
//!
//! Invariants:
//! * Every request ends: connecting and the whole of it, all tries together, have a limit of time, and the answer one of bytes.
//! * A request goes to the host of its client and to no other: a redirect elsewhere is an error, so no credential leaves.
//! * Only what may be done twice is tried again.
//! * Status and content type are checked before a body is believed.
//!
//! There is no proxy, and no compression. Nothing here reads the environment.

mod answer;
mod client;
mod origin;
#[cfg(test)]
pub(crate) mod tests;

pub use answer::Answer;
pub use client::{Client, Options, Request};
