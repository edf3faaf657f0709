//! `ccbackup`: makes, checks, lists and restores backups.

pub mod args;
mod entries;
mod priority;
mod session;
mod verbs;

pub use verbs::dispatch;
