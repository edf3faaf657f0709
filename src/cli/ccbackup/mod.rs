//! `ccbackup`: makes, checks, lists and restores backups.

pub mod args;
mod verbs;

pub use verbs::dispatch;
