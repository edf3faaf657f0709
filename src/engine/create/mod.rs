//! `create`: captures components into a new backup and publishes it in one step.
//!
//! Whether a backup is full or incremental follows from what is there: with the local copy of the last index a host makes
//! incrementals without being able to decrypt anything; without it the run is a full backup and says why.

mod attempt;
mod base;
mod capture;
mod collect;
mod component;
mod database;
mod failure;
mod frames;
mod input;
mod join;
mod known;
mod large;
mod links;
mod objects;
mod options;
mod pack;
mod parent;
mod preview;
mod previous;
mod problems;
mod report;
mod resume;
mod run;
mod stream;
mod texts;
mod work;

pub use component::{Sources, Walks};
pub use options::CreateOptions;
pub use preview::{Preview, preview};
pub use report::{ComponentReport, CreateReport, FullBecause};
pub use run::identity_of;
