//! Sources: the code that captures a component of one kind.

pub mod files;
