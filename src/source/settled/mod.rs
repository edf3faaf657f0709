//! Files of a folder whose service may be writing to them, each read as a whole.
//!
//! Services like these write in place: a file that is looked at may be cut or half old and half new. So all are read, judged
//! by whoever knows what they must look like, and the folder is listed again until nothing changed; what was read within
//! moments of its last change is read once more. What keeps moving is told, and never taken for good.

mod file;
mod list;
mod rounds;

pub(super) use file::{Root, Stamp};
pub(super) use rounds::{Fault, Judged, Known, Reader, Settled, look_once, settle};
