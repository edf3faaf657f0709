//! Trees go back to where they came from: restored beside, compared, and swapped in by one rename.

mod compare;
mod mounts;
mod plan;
mod roots;
mod swap;

pub(super) use compare::check;
pub(super) use plan::Plan;
pub(super) use swap::{forget, undo};
