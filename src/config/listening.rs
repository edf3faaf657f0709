//! Which ports somebody listens on, by the tables of the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Ports of TCP that loopback reaches, by the tables `tcp` and `tcp6` of a folder like `/proc/net`; those that cannot be read
/// tell of none.
pub(super) fn listening(folder: &Path) -> BTreeSet<u16> {
    let tables = ["tcp", "tcp6"].iter().filter_map(|name| fs::read_to_string(folder.join(name)).ok());
    tables.flat_map(|table| table.lines().filter_map(port).collect::<Vec<_>>()).collect()
}

/// The port of a line that is one of a listener on loopback or on all addresses.
fn port(line: &str) -> Option<u16> {
    const LISTENS: &str = "0A";
    let mut words = line.split_whitespace().skip(1);
    let (local, _, state) = (words.next()?, words.next()?, words.next()?);
    let (address, port) = local.split_once(':')?;
    // IPv4 is written backwards: 127.0.0.1 is 0100007F. A mapped one stands at the end of an IPv6 address.
    let loopback = address.ends_with("7F") || address == "00000000000000000000000001000000";
    let any = address.bytes().all(|b| b == b'0');
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == LISTENS && (loopback || any)).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_loopback_reaches_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let tcp = "  sl  local_address rem_address   st tx_queue\n\
                   \x20  0: 0100007F:1538 00000000:0000 0A 00000000:00000000\n\
                   \x20  1: 00000000:0BB8 00000000:0000 0A 0\n\
                   \x20  2: 0A0000C0:18EB 00000000:0000 0A 0\n\
                   \x20  3: 0100007F:A0B0 0100007F:1538 01 0\nbroken\n";
        let tcp6 = "   0: 00000000000000000000000001000000:18EB 0:0 0A 0\n   1: 00000000000000000000000000000000:0050 0:0 0A 0\n";
        crate::keys::create_secret_file(&folder.path().join("tcp"), tcp.as_bytes()).unwrap();
        assert_eq!(listening(folder.path()), BTreeSet::from([5432, 3000]));
        crate::keys::create_secret_file(&folder.path().join("tcp6"), tcp6.as_bytes()).unwrap();
        assert_eq!(listening(folder.path()), BTreeSet::from([80, 3000, 5432, 6379]));
        assert_eq!(listening(Path::new("/nowhere")), BTreeSet::new());
    }
}
