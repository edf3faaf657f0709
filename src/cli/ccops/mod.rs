//! `ccops`: its verbs are listed, and refused until they are built.

use clap::{Parser, Subcommand};

use super::{Global, Program, Rest};

/// Runs and guards the site (not built yet)
#[derive(Clone, Debug, Parser)]
#[command(name = "ccops", version, max_term_width = 110)]
pub struct Ops {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the help text of the program")]
    pub global: Global,
    #[command(subcommand)]
    #[expect(missing_docs, reason = "a doc comment here would replace the help text of the program")]
    pub verb: OpsVerb,
}

/// Verbs of `ccops`.
#[derive(Clone, Debug, Subcommand)]
pub enum OpsVerb {
    /// Check this host for what the stack needs (not built yet)
    Doctor(Rest),
    /// Start the stack (not built yet)
    Up(Rest),
    /// Stop the stack (not built yet)
    Down(Rest),
    /// Remove the stack and its data (not built yet)
    Destroy(Rest),
    /// Ask every service how it is (not built yet)
    Health(Rest),
    /// Try the whole way of the data (not built yet)
    SmokeTest(Rest),
    /// Compare the site with its description (not built yet)
    Verify(Rest),
    /// Show services and backups (not built yet)
    Status(Rest),
    /// Show what takes space (not built yet)
    StorageStatus(Rest),
    /// Free space (not built yet)
    StorageClean(Rest),
    /// Serve /health and /metrics (not built yet)
    Serve(Rest),
    /// Check, quarantine and recover a vectorstore (not built yet)
    Vectorstore(Rest),
}

impl Program for Ops {
    fn global(&self) -> &Global {
        &self.global
    }
}
