//! A cluster: who its masters are, which slots each has, and whether that holds still.

use serde::{Deserialize, Serialize};

use super::client::Login;
use super::server::Server;
use super::slots::SLOTS;
use crate::config::RedisAddress as Address;
use crate::error::{Error, Kind, Result};
use crate::monitor::Monitor;

/// Slots from the first to the last of each range.
pub(super) type Ranges = Vec<(u16, u16)>;

/// One master with its slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shard {
    /// The folder of its objects in the backup.
    pub(super) folder: String,
    /// Its slots, ascending.
    pub(super) slots: Ranges,
    /// The node's id.
    pub(super) id: String,
    /// Where it listens.
    pub(super) address: String,
    /// The epoch of its claim to the slots.
    pub(super) epoch: u64,
    /// How many replicas it has.
    pub(super) replicas: usize,
}

/// The masters that have slots, by their first slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Topology {
    pub(super) masters: Vec<Shard>,
}

impl Topology {
    /// Asks the first of `nodes` that answers, and then every master whether it sees itself so, too.
    pub(super) fn of(nodes: &[Address], login: &Login, monitor: &dyn Monitor) -> Result<Self> {
        let mut last = Error::usage("a cluster without nodes");
        for address in nodes {
            let server = Server { address: address.clone(), login: login.clone() };
            match server.connect(monitor) {
                Ok(mut client) => {
                    let text = client.text(&[b"CLUSTER", b"NODES"])?;
                    let topology = Self::parse(&text, address)?;
                    topology.confirm(login, monitor)?;
                    return Ok(topology);
                }
                Err(error @ Error { .. }) if matches!(error.kind(), Kind::Denied | Kind::Interrupted(_)) => {
                    return Err(error);
                }
                Err(error) => last = error,
            }
        }
        Err(last.within("no node of the cluster answers"))
    }

    /// Reads what `CLUSTER NODES` says; `asked` is where that node was found.
    fn parse(text: &str, asked: &Address) -> Result<Self> {
        let mut masters = Vec::new();
        let mut replicas: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let unclear = || Error::new(Kind::Incomplete, "the list of the nodes of the cluster cannot be read");
            let words: Vec<&str> = line.split(' ').collect();
            let [id, address, flags, master, _, _, epoch, _, slots @ ..] = words.as_slice() else {
                return Err(unclear());
            };
            let flags: Vec<&str> = flags.split(',').collect();
            if flags.contains(&"slave") {
                replicas.push((*master).to_owned());
                continue;
            }
            if slots.is_empty() {
                continue;
            }
            if flags.contains(&"fail") || flags.contains(&"fail?") {
                let error = Error::new(Kind::Unreachable, format!("the master {address} of the cluster has failed"));
                return Err(error.hint("once a replica has taken over, or it is back, the cluster is whole again"));
            }
            let ranges =
                slots.iter().map(|slots| range(slots).ok_or_else(|| open_slot(slots))).collect::<Result<Ranges>>()?;
            masters.push(Shard {
                folder: String::new(),
                slots: ranges,
                id: (*id).to_owned(),
                address: address_of(address, asked).ok_or_else(unclear)?,
                epoch: epoch.parse().map_err(|_| unclear())?,
                replicas: 0,
            });
        }
        masters.sort_by_key(|shard| shard.slots.first().copied());
        for shard in &mut masters {
            shard.slots.sort_unstable();
            shard.folder = folder(&shard.slots);
            shard.replicas = replicas.iter().filter(|master| **master == shard.id).count();
        }
        let mut assigned: Vec<_> = masters.iter().flat_map(|shard| shard.slots.iter().copied()).collect();
        assigned.sort_unstable();
        let whole = assigned
            .iter()
            .try_fold(0_u32, |next, (first, last)| (u32::from(*first) == next).then_some(u32::from(*last) + 1));
        if whole != Some(u32::from(SLOTS)) {
            let error = Error::new(Kind::Unreachable, "the cluster is not whole: not every slot belongs to one master");
            return Err(error.hint("`redis-cli --cluster check` says which; `--cluster create` or `fix` assigns them"));
        }
        Ok(Self { masters })
    }

    /// Every master must see its own slots in the same way, and none of them on the move.
    fn confirm(&self, login: &Login, monitor: &dyn Monitor) -> Result<()> {
        for shard in &self.masters {
            let address = Address::parse_host(&shard.address)?;
            let server = Server { address: address.clone(), login: login.clone() };
            let text = server.connect(monitor)?.text(&[b"CLUSTER", b"NODES"])?;
            if Self::parse(&text, &address)?.claims() != self.claims() {
                let message = format!("the master {} sees the cluster in another way than others do", shard.address);
                return Err(Error::new(Kind::Unreachable, message));
            }
        }
        Ok(())
    }

    /// Who has which slots since when: what must not change while the masters are captured.
    pub(super) fn claims(&self) -> Vec<(&str, u64, &Ranges)> {
        self.masters.iter().map(|shard| (shard.id.as_str(), shard.epoch, &shard.slots)).collect()
    }

    /// The number of the master that has a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<usize> {
        self.masters.iter().position(|shard| has(&shard.slots, slot))
    }
}

/// Whether a slot is in one of the ranges.
pub(super) fn has(ranges: &Ranges, slot: u16) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&slot))
}

/// `0-5460` or `7`.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < SLOTS).then_some((first, last))
}

/// `[12706->-id]`: a slot on its way to another master.
fn open_slot(text: &str) -> Error {
    let what = if text.starts_with('[') {
        "a slot of the cluster is on its way from one master to another"
    } else {
        "a slot cannot be read"
    };
    Error::new(Kind::Unreachable, format!("{what}: {text}")).hint("`redis-cli --cluster fix` brings it to its end")
}

/// `ip:port@bus,name`; the node that was asked may not know its own ip.
fn address_of(text: &str, asked: &Address) -> Option<String> {
    let (address, _) = text.split_once('@').unwrap_or((text, ""));
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    match (host, asked) {
        ("", Address::Tcp(asked, _)) => Some(Address::Tcp(asked.clone(), port).to_string()),
        ("", Address::Unix(_)) => None,
        _ => Some(Address::Tcp(host.to_owned(), port).to_string()),
    }
}

/// `nodes/00000-05460`: by the slots, which stay when a replica takes over; more ranges are counted.
fn folder(slots: &Ranges) -> String {
    let (first, last) = slots.first().copied().unwrap_or_default();
    match slots.len() {
        0 | 1 => format!("nodes/{first:05}-{last:05}"),
        more => format!("nodes/{first:05}-{last:05}+{}", more - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
aa 127.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-5460\n\
bb 127.0.0.1:7002@17002,host master - 0 1 2 connected 5461-10922\n\
cc 127.0.0.1:7003@17003 master - 0 1 3 connected 10923-16382 16383\n\
dd 127.0.0.1:7004@17004 slave aa 0 1 1 connected\n\
ee 127.0.0.1:7005@17005 master - 0 1 4 connected\n";

    fn parse(text: &str) -> Result<Topology> {
        Topology::parse(text, &Address::Tcp("10.0.0.9".into(), 7001))
    }

    #[test]
    fn masters_are_known_by_their_slots() {
        let topology = parse(NODES).unwrap();
        let folders: Vec<_> = topology.masters.iter().map(|shard| shard.folder.as_str()).collect();
        assert_eq!(folders, ["nodes/00000-05460", "nodes/05461-10922", "nodes/10923-16382+1"]);
        assert_eq!(topology.masters[0].replicas, 1);
        assert_eq!([0, 5460, 5461, 16383].map(|slot| topology.owner(slot).unwrap()), [0, 0, 1, 2]);
        let unnamed = parse(&NODES.replace("127.0.0.1:7001", ":7001")).unwrap();
        assert_eq!(unnamed.masters[0].address, "10.0.0.9:7001");
    }

    #[test]
    fn a_cluster_that_is_not_whole_or_moves_is_refused() {
        let moving = NODES.replace("0-5460", "0-5460 [5460->-bb]");
        assert!(parse(&moving).unwrap_err().to_string().contains("on its way"));
        assert!(parse(&NODES.replace(" 16383\n", "\n")).unwrap_err().to_string().contains("not whole"));
        assert!(parse(&NODES.replace("0-5460", "1-5460")).unwrap_err().to_string().contains("not whole"));
        let failed = NODES.replace("host master", "host master,fail");
        assert!(parse(&failed).unwrap_err().to_string().contains("has failed"));
        assert!(parse("nonsense").is_err());
    }
}
