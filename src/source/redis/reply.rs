//! RESP2: what is sent to a server and what it answers, both bounded.

use std::io::Read;

use super::rdb::Input;
use crate::error::{Error, Kind, Result};

/// The longest line of an answer.
const MAX_LINE: usize = 64 << 10;
/// How deep answers may be nested.
const MAX_DEPTH: u32 = 8;

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR …`
    Refused(Refusal),
    /// `:1`
    Integer(i64),
    /// `$2…`
    Bulk(Vec<u8>),
    /// Nothing.
    Nil,
    /// `*2…`
    Array(Vec<Self>),
}

/// An error line of a server: a word in capitals, and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) String);

impl Refusal {
    /// The word: `ERR`, `NOAUTH`, `MOVED`, …
    pub(super) fn code(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }

    /// Whether the command, or one of its words, is not known.
    pub(super) fn is_unknown(&self) -> bool {
        let text = self.0.to_ascii_lowercase();
        ["unknown command", "unknown subcommand", "unrecognized replconf option"]
            .iter()
            .any(|words| text.contains(words))
    }

    /// As an error: what was asked, and what the server said.
    pub(super) fn into_error(self, asked: &str) -> Error {
        let (kind, hint) = match self.code() {
            "NOAUTH" => (
                Kind::Denied,
                Some("the server wants a password: give `password`, and `user` if it is not the default one"),
            ),
            "WRONGPASS" => (Kind::Denied, Some("user and password are not those of the server")),
            "NOPERM" => (
                Kind::Denied,
                Some(
                    "a capture needs a user with +psync +replconf +ping, and for all it records +info +dbsize +time +acl|list +acl|whoami +function|list +config|get +module|list +cluster",
                ),
            ),
            "LOADING" => (Kind::Unreachable, Some("the server is reading its data; it answers when it has them")),
            "NOMASTERLINK" | "MASTERDOWN" => (
                Kind::Unreachable,
                Some("this server is a replica without its master: name the master, or wait until they are connected"),
            ),
            "CLUSTERDOWN" | "TRYAGAIN" => {
                (Kind::Unreachable, Some("the cluster is not whole: `redis-cli --cluster check` says why"))
            }
            "MISCONF" => (Kind::Failed, Some("the server cannot write its own RDB; its log says why")),
            _ if self.is_unknown() => (Kind::Version, None),
            _ => (Kind::Failed, None),
        };
        let text: String = self.0.chars().take(300).collect();
        let error = Error::new(kind, format!("the server refuses {asked}: {text}"));
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl Reply {
    /// Reads an answer of at most `limit` bytes.
    pub(super) fn read<R: Read>(input: &mut Input<R>, limit: usize) -> Result<Self> {
        input.restart("an answer of the server");
        let mut left = limit;
        Self::nested(input, &mut left, 0)
    }

    fn nested<R: Read>(input: &mut Input<R>, left: &mut usize, depth: u32) -> Result<Self> {
        let line = line(input)?;
        let mut spend = |bytes: usize| {
            *left = left
                .checked_sub(bytes)
                .ok_or_else(|| Error::new(Kind::Incomplete, "an answer of the server is too long"))?;
            Ok::<_, Error>(())
        };
        spend(line.len() + 32)?;
        let (sort, rest) = line.split_at_checked(1).ok_or_else(|| not_redis(&line))?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        let number =
            || str::from_utf8(rest).ok().and_then(|text| text.parse::<i64>().ok()).ok_or_else(|| not_redis(&line));
        Ok(match sort {
            b"+" => Self::Simple(text()),
            b"-" => Self::Refused(Refusal(text())),
            b":" => Self::Integer(number()?),
            b"$" => match number()? {
                -1 => Self::Nil,
                length => {
                    let length = usize::try_from(length).map_err(|_| not_redis(&line))?;
                    spend(length)?;
                    let mut bytes = Vec::new();
                    input.copy(length as u64, &mut bytes)?;
                    if input.array()? != *b"\r\n" {
                        return Err(not_redis(&line));
                    }
                    Self::Bulk(bytes)
                }
            },
            b"*" => match number()? {
                -1 => Self::Nil,
                length if depth < MAX_DEPTH => {
                    let mut items = Vec::new();
                    for _ in 0..length {
                        items.push(Self::nested(input, left, depth + 1)?);
                    }
                    Self::Array(items)
                }
                _ => return Err(not_redis(&line)),
            },
            _ => return Err(not_redis(&line)),
        })
    }

    /// The text of a string, simple or not.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Simple(text) => Some(text.clone()),
            Self::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Integer(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The items of an array.
    pub(super) fn items(&self) -> &[Self] {
        if let Self::Array(items) = self { items } else { &[] }
    }
}

/// A line without its end.
pub(super) fn line<R: Read>(input: &mut Input<R>) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        match input.byte()? {
            b'\n' => {
                line.pop_if(|last| *last == b'\r');
                return Ok(line);
            }
            byte if line.len() < MAX_LINE => line.push(byte),
            _ => return Err(not_redis(&line)),
        }
    }
}

pub(super) fn not_redis(line: &[u8]) -> Error {
    let shown: String = String::from_utf8_lossy(line).chars().take(60).collect();
    Error::new(Kind::Unreachable, format!("what answers there is no Redis server: it said {shown:?}"))
}

/// The bytes of a command.
pub(super) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + words.iter().map(|word| word.len() + 16).sum::<usize>());
    bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Reply> {
        Reply::read(&mut Input::new(bytes), 10_000)
    }

    #[test]
    fn answers_of_every_sort_are_read() {
        assert_eq!(read(b"+OK\r\n").unwrap(), Reply::Simple("OK".into()));
        assert_eq!(read(b":-7\r\n").unwrap(), Reply::Integer(-7));
        assert_eq!(read(b"$-1\r\n").unwrap(), Reply::Nil);
        let nested = read(b"*2\r\n$3\r\na\r\n\r\n*1\r\n-ERR x\r\n").unwrap();
        let expected = [Reply::Bulk(b"a\r\n".to_vec()), Reply::Array(vec![Reply::Refused(Refusal("ERR x".into()))])];
        assert_eq!(nested.items(), expected);
    }

    #[test]
    fn answers_that_are_cut_endless_or_of_others_are_errors() {
        for bytes in [&b"+O"[..], b"$5\r\nab", b"*3\r\n+a\r\n", b""] {
            assert_eq!(read(bytes).unwrap_err().kind(), Kind::Incomplete, "{bytes:?}");
        }
        assert_eq!(read(b"$99999999999\r\n").unwrap_err().kind(), Kind::Incomplete);
        assert_eq!(read(&b"*1\r\n".repeat(50)).unwrap_err().kind(), Kind::Unreachable);
        assert_eq!(read(&b"*1000000\r\n".repeat(2)).unwrap_err().kind(), Kind::Incomplete);
        let http = read(b"HTTP/1.1 400 Bad Request\r\n").unwrap_err();
        assert_eq!(http.to_string(), "what answers there is no Redis server: it said \"HTTP/1.1 400 Bad Request\"");
    }

    #[test]
    fn each_refusal_of_a_server_has_its_kind() {
        let recorded = crate::source::redis::rdb::tests::fixture("errors.txt");
        let kind = |code: &str| {
            let text = String::from_utf8_lossy(&recorded).into_owned();
            let line = text.lines().find(|line| line[1..].starts_with(code)).unwrap().to_owned();
            Refusal(line[1..].to_owned()).into_error("it").kind()
        };
        for code in ["NOAUTH", "WRONGPASS", "NOPERM"] {
            assert_eq!(kind(code), Kind::Denied, "{code}");
        }
        for code in ["NOMASTERLINK", "MASTERDOWN", "LOADING", "CLUSTERDOWN"] {
            assert_eq!(kind(code), Kind::Unreachable, "{code}");
        }
        assert_eq!(kind("MISCONF"), Kind::Failed);
        assert_eq!(kind("ERR Unrecognized"), Kind::Version);
    }
}
