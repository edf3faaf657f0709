//! Redis, alone or as a cluster.
//!
//! ```text
//! capture   PSYNC ─► rdb, to its end ─► canonical: sorted, volatile fields set apart ─► dump.rdb; acl.txt, config.json beside it
//! apply     one server: it is told REPLICAOF us, fetches the RDB, is told REPLICAOF NO ONE
//!           a cluster: RESTORE of each key at the master that has its slot
//! compare   the archive's records with those of a new capture, key by key, both in order
//! ```
//!
//! Invariants: nothing is given to the engine before the transfer ended as it must; equal data give equal bytes, also after a restart of
//! the server; memory is bounded, and what does not fit lies sealed in a file without a name; no secret is in an argument, a message
//! or a file.

mod acl;
mod archive;
mod canonical;
mod capture;
mod check;
mod client;
mod cluster;
mod compare;
mod feed;
mod files;
mod fits;
mod fleet;
mod in_use;
mod link;
mod look;
mod master;
mod plan;
mod psync;
mod put_back;
mod rdb;
mod reply;
mod restore;
mod server;
mod settings;
mod slots;
mod source;
mod undo;

pub use source::RedisSource;
