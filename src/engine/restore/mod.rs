//! `restore`: brings the entries of a backup back into a folder.
//!
//! Every byte is compared with the digest in the signed inventory before it counts: small files before they are written,
//! large ones before they get their name. What is damaged is reported and left out; the rest is restored. A run that was
//! cut short leaves its marker in the target and is continued; what matches already is not written again.

mod apply;
mod chosen;
mod compare;
mod extras;
mod marker;
mod options;
mod plan;
mod whole;

pub use options::{RestoreOptions, RestoreReport, UNSETTLED};
pub use plan::RestorePlan;
pub(super) use whole::restore_whole;
