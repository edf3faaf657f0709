//! The replication protocol, as far as a capture needs it: from `PSYNC` to the byte after the RDB.
//!
//! Invariant: where the RDB ends is known by reading it. The mark that follows it is the same for many transfers of one process of
//! the server, and whoever can write a key can put it into the data: it is demanded at the end and searched for nowhere.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use super::canonical::Gathered;
use super::client::Client;
use super::link::Link;
use super::rdb::{Input, RdbReader};
use super::reply::{Refusal, Reply, line, not_redis};
use crate::error::{Error, Kind, Result};

/// Bytes of the mark.
const MARK: usize = 40;
/// How long the server may keep us waiting for a child that it cannot start, or that another transfer has.
const MAX_WAIT: Duration = Duration::from_secs(15 * 60);

/// A transfer whose header was read.
#[derive(Debug)]
pub(super) struct Transfer<R> {
    input: Input<R>,
    end: End,
    /// The server ends the connection after the RDB.
    closes: bool,
    /// The id of the replication history.
    pub(super) id: String,
    /// The position in it at which the RDB was taken.
    pub(super) offset: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Mark([u8; MARK]),
    Length(u64),
}

/// Only the path and the rights are tried: nothing but the head is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All.
    Everything,
    /// An RDB without data. Servers before 7.0 cannot; then none is begun.
    Nothing,
}

/// Asks for an RDB of this very moment. None when `wanted` is nothing and the server is too old for that.
pub(super) fn begin<'a>(mut client: Client<'a>, wanted: Wanted) -> Result<Option<Transfer<Link<'a>>>> {
    client.call(&[b"REPLCONF", b"listening-port", b"0"])?;
    client.call(&[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"])?;
    // Servers before 7.0 do not know these.
    let knows = |reply: Reply, what: &str| match reply {
        Reply::Refused(refusal) if refusal.code() == "ERR" && refusal.is_unknown() => Ok(false),
        Reply::Refused(refusal) => Err(refusal.into_error(what)),
        _ => Ok(true),
    };
    let closes = knows(client.ask(&[b"REPLCONF", b"rdb-only", b"1"])?, "REPLCONF rdb-only")?;
    if wanted == Wanted::Nothing {
        let filters =
            closes && knows(client.ask(&[b"REPLCONF", b"rdb-filter-only", b""])?, "REPLCONF rdb-filter-only")?;
        if !filters {
            return Ok(None);
        }
    }
    client.send(&super::reply::command(&[b"PSYNC", b"?", b"-1"]))?;
    header(client.into_input(), closes).map(Some)
}

/// Lines that are empty keep the connection alive while the server waits for its child.
fn said<R: Read>(input: &mut Input<R>, what: &'static str) -> Result<String> {
    input.restart(what);
    let until = Instant::now() + MAX_WAIT;
    loop {
        if Instant::now() > until {
            let message = format!("the server did not begin the transfer within {} minutes", MAX_WAIT.as_secs() / 60);
            return Err(
                Error::new(Kind::TimedOut, message).hint("it may not be able to start a child: its log says why")
            );
        }
        let line = line(input).map_err(|error| match error.kind() {
            Kind::Incomplete => error.hint("the server ended the transfer before it began: its log says why"),
            _ => error,
        })?;
        if !line.is_empty() {
            return String::from_utf8(line).map_err(|e| not_redis(e.as_bytes()));
        }
    }
}

fn header<R: Read>(mut input: Input<R>, closes: bool) -> Result<Transfer<R>> {
    let answer = said(&mut input, "the answer to PSYNC")?;
    if let Some(text) = answer.strip_prefix('-') {
        return Err(Refusal(text.to_owned()).into_error("PSYNC"));
    }
    let mut words = answer.split(' ');
    let (Some("+FULLRESYNC"), Some(id), Some(offset)) = (words.next(), words.next(), words.next()) else {
        return Err(Error::failed(format!(
            "the server answers to PSYNC {:?}",
            answer.chars().take(80).collect::<String>()
        )));
    };
    let offset = offset.parse().map_err(|_| Error::failed("the server gives no position in its replication"))?;
    let id = id.to_owned();
    let header = said(&mut input, "the head of the transfer")?;
    let end = if let Some(mark) = header.strip_prefix("$EOF:") {
        let mark = mark.as_bytes().try_into().map_err(|_| not_redis(header.as_bytes()))?;
        End::Mark(mark)
    } else if let Some(length) = header.strip_prefix('$').and_then(|length| length.parse().ok()) {
        End::Length(length)
    } else if let Some(text) = header.strip_prefix('-') {
        return Err(Refusal(text.to_owned()).into_error("PSYNC"));
    } else {
        return Err(not_redis(header.as_bytes()));
    };
    Ok(Transfer { input, end, closes, id, offset })
}

impl<R: Read> Transfer<R> {
    /// Reads the RDB to its end, and demands that the transfer ends there, too.
    pub(super) fn gather(
        self,
        scratch: &Path,
        memory: usize,
        step: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Gathered> {
        let mut reader = RdbReader::new(self.input)?;
        let gathered = Gathered::read(&mut reader, scratch, memory, step).map_err(|error| match error.kind() {
            Kind::Incomplete => error.hint(
                "the server ended the transfer: its child died, or this host read too slowly for \
                 client-output-buffer-limit; its log says which",
            ),
            _ => error,
        })?;
        after(reader.into_rest(), &self.end, self.closes)?;
        Ok(gathered)
    }
}

/// What follows an RDB must be its end.
fn after<R: Read>(mut input: Input<R>, end: &End, closes: bool) -> Result<()> {
    match end {
        End::Length(length) if input.position() != *length => {
            let message = format!("the RDB ended after {} bytes, and {length} were announced", input.position());
            return Err(Error::new(Kind::Incomplete, message));
        }
        End::Length(_) => {}
        End::Mark(mark) => {
            input.restart("the mark after the RDB");
            if input.array::<MARK>()? != *mark {
                return Err(Error::new(Kind::Incomplete, "the mark that ends the transfer does not follow the RDB"));
            }
        }
    }
    if closes && !input.peek()?.is_empty() {
        return Err(Error::new(Kind::Incomplete, "something follows the RDB although nothing else was asked for"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::rdb::tests::fixture;

    /// Reads a recorded transfer from `+FULLRESYNC` on.
    fn read(bytes: &[u8], closes: bool) -> Result<(Gathered, String, u64)> {
        let folder = tempfile::tempdir().unwrap();
        let transfer = header(Input::new(bytes), closes)?;
        let (id, offset) = (transfer.id.clone(), transfer.offset);
        Ok((transfer.gather(folder.path(), 1 << 20, &mut |_| Ok(()))?, id, offset))
    }

    fn recorded(name: &str) -> Vec<u8> {
        let bytes = fixture(name);
        let start = bytes.windows(3).position(|w| w == b"\n\n+").or(bytes.windows(2).position(|w| w == b"\n+"));
        // What was answered before is of no interest; the newlines that keep alive are.
        let start = bytes.windows(11).position(|w| w == b"+FULLRESYNC").map_or(start, |at| Some(at - 2)).unwrap();
        bytes[start..].to_vec()
    }

    #[test]
    fn both_forms_of_a_transfer_are_read_to_their_end() {
        let (gathered, id, offset) = read(&recorded("psync-eof-rdbonly.bin"), true).unwrap();
        assert_eq!((id.as_str(), offset), ("23f17dc9c26165377bb28d4766c6c41601bba4cf", 46369));
        assert_eq!(gathered.volatile["repl-id"], id);
        assert!(gathered.keys() > 20 && gathered.functions.len() == 1);
        let (other, ..) = read(&recorded("psync-length-form.bin"), false).unwrap();
        assert_eq!(other.databases, gathered.databases);
    }

    #[test]
    fn a_transfer_cut_anywhere_is_refused() {
        for name in ["psync-eof-rdbonly.bin", "psync-length-form.bin"] {
            let bytes = recorded(name);
            for length in (0..bytes.len()).step_by(37).chain(bytes.len() - 50..bytes.len()) {
                let error = read(&bytes[..length], true).unwrap_err();
                assert_eq!(error.kind(), Kind::Incomplete, "{name} cut at {length}: {error}");
            }
        }
    }

    #[test]
    fn what_does_not_end_where_it_said_is_refused() {
        let bytes = recorded("psync-eof-rdbonly.bin");
        let mut more = bytes.clone();
        more.push(b'x');
        assert!(read(&more, true).unwrap_err().to_string().contains("something follows"));
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(read(&other, true).unwrap_err().to_string().contains("does not follow the RDB"));
        let short = String::from_utf8_lossy(&recorded("psync-length-form.bin")[..90]).contains("$22126");
        assert!(short);
        let mut bytes = recorded("psync-length-form.bin");
        let at = bytes.windows(6).position(|w| w == b"$22126").unwrap();
        bytes[at + 5] = b'7';
        bytes.push(0);
        assert!(read(&bytes, false).unwrap_err().to_string().contains("22127 were announced"));
    }

    #[test]
    fn a_key_that_holds_the_mark_ends_nothing() {
        let mark = [b'f'; MARK];
        let mut bytes = b"+FULLRESYNC 0123456789012345678901234567890123456789 1\r\n\n\n$EOF:".to_vec();
        bytes.extend_from_slice(&mark);
        bytes.extend_from_slice(b"\r\nREDIS0010\xfe\x00");
        for key in [b'a', b'b'] {
            bytes.extend_from_slice(&[0, 1, key, MARK as u8]);
            bytes.extend_from_slice(&mark);
        }
        bytes.extend_from_slice(&[255, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&mark);
        assert_eq!(read(&bytes, true).unwrap().0.keys(), 2);
    }

    #[test]
    fn refusals_and_other_protocols_are_told_apart() {
        let error = |bytes: &[u8]| read(bytes, true).unwrap_err();
        assert_eq!(error(b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n").kind(), Kind::Unreachable);
        assert_eq!(error(b"-NOPERM this user has no permissions\r\n").kind(), Kind::Denied);
        assert_eq!(error(b"\n\n\n").kind(), Kind::Incomplete);
        assert_eq!(error(b"+CONTINUE\r\n").kind(), Kind::Failed);
    }
}
