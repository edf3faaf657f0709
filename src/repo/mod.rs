//! A repository.

pub mod signing;
