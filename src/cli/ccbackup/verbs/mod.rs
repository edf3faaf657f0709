//! The verbs of `ccbackup`: each turns its arguments into calls of `engine` and prints what comes back.

mod cat;
mod completions;
mod create;
mod demo;
mod diff;
mod dispatch;
mod entries;
mod find;
mod init;
mod key;
mod list;
mod ls;
mod man;
mod priority;
mod restore;
mod show;
mod site;
mod verify;

pub use dispatch::dispatch;
