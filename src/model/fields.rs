//! The fields of an index line, read but not yet checked (FORMAT.md §7).
//!
//! A line is JSON with any keys in any order, and is read as such. Nearly every line is one that [`Entry::write_line`]
//! wrote, key by key; such a line is read without a JSON parser, an entry in half the time. Both ways give the same fields.
//!
//! [`Entry::write_line`]: super::Entry::write_line

use std::borrow::Cow;

use serde::Deserialize;

use super::{BackupId, Digest};

/// Backup, volume, offset and length.
pub(crate) type RawExtent = (BackupId, u32, u64, u64);

/// What a line says. Texts are still escaped.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Fields<'a> {
    #[serde(borrow)]
    pub(crate) path: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) mode: Cow<'a, str>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    #[serde(borrow)]
    pub(crate) user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) group: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) mtime: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) ctime: Cow<'a, str>,
    pub(crate) inode: u64,
    pub(crate) home: (BackupId, u32, u64),
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<Digest>,
    pub(crate) content: Option<Vec<RawExtent>>,
    pub(crate) pieces: Option<Vec<RawExtent>>,
    pub(crate) regions: Option<Vec<(u64, u64)>>,
    pub(crate) chunks: Option<Vec<(u64, Digest)>>,
    pub(crate) unsettled: Option<bool>,
    #[serde(borrow)]
    pub(crate) target: Option<Cow<'a, str>>,
    pub(crate) device: Option<(u32, u32)>,
    #[serde(borrow)]
    pub(crate) xattrs: Option<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
}

impl<'a> Fields<'a> {
    /// Reads a line, with or without its newline.
    pub(crate) fn read(line: &'a [u8]) -> serde_json::Result<Self> {
        Self::as_written(line).map_or_else(|| serde_json::from_slice(line), Ok)
    }

    /// Reads a line that has the keys and the form of our own; none for any other.
    pub(crate) fn as_written(line: &'a [u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let mut rest = Rest(line.strip_suffix('\n').unwrap_or(line));
        rest.expect("{\"path\":\"")?;
        let path = rest.text()?;
        rest.expect(",\"type\":\"")?;
        let kind = rest.text()?;
        rest.expect(",\"mode\":\"")?;
        let mode = rest.text()?;
        rest.expect(",\"uid\":")?;
        let uid = rest.number()?;
        rest.expect(",\"gid\":")?;
        let gid = rest.number()?;
        let user = rest.optional(",\"user\":\"", Rest::text)?;
        let group = rest.optional(",\"group\":\"", Rest::text)?;
        rest.expect(",\"mtime\":\"")?;
        let mtime = rest.text()?;
        rest.expect(",\"ctime\":\"")?;
        let ctime = rest.text()?;
        rest.expect(",\"inode\":")?;
        let inode = rest.number()?;
        rest.expect(",\"home\":")?;
        let home = rest.home()?;
        let size = rest.optional(",\"size\":", Rest::number)?;
        let sha256 = rest.optional(",\"sha256\":\"", Rest::parsed)?;
        let content = rest.optional(",\"content\":", |r| r.list(Rest::extent))?;
        let pieces = rest.optional(",\"pieces\":", |r| r.list(Rest::extent))?;
        let regions = rest.optional(",\"regions\":", |r| r.list(|r| r.pair(Rest::number, Rest::number)))?;
        let chunks = rest.optional(",\"chunks\":", |r| r.list(|r| r.pair(Rest::number, Rest::quoted)))?;
        let unsettled = rest.optional(",\"unsettled\":true", |_| Some(true))?;
        let target = rest.optional(",\"target\":\"", Rest::text)?;
        let device = rest.optional(",\"device\":", |r| r.pair(Rest::number, Rest::number))?;
        let xattrs = rest.optional(",\"xattrs\":", |r| r.list(|r| r.pair(Rest::quoted_text, Rest::quoted_text)))?;
        (rest.0 == "}").then_some(Self {
            path,
            kind,
            mode,
            uid,
            gid,
            user,
            group,
            mtime,
            ctime,
            inode,
            home,
            size,
            sha256,
            content,
            pieces,
            regions,
            chunks,
            unsettled,
            target,
            device,
            xattrs,
        })
    }
}

/// What is left of a line.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn expect(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// A value behind `key`, if that comes next.
    fn optional<T>(&mut self, key: &str, value: impl Fn(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.expect(key).is_none() { Some(None) } else { value(self).map(Some) }
    }

    /// Text up to the quote that ends it.
    fn text(&mut self) -> Option<Cow<'a, str>> {
        let (text, rest) = self.0.split_once('"')?;
        self.0 = rest;
        let plain = text.bytes().fold(true, |plain, b| plain & (b >= 0x20) & (b != b'\\'));
        if plain { Some(Cow::Borrowed(text)) } else { single_backslashes(text).map(Cow::Owned) }
    }

    fn quoted_text(&mut self) -> Option<Cow<'a, str>> {
        self.expect("\"")?;
        self.text()
    }

    fn parsed<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }

    fn quoted<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.expect("\"")?;
        self.parsed()
    }

    fn number<T: TryFrom<u64>>(&mut self) -> Option<T> {
        let mut value = 0_u64;
        let mut digits = 0;
        for b in self.0.bytes().take_while(u8::is_ascii_digit) {
            value = value.checked_mul(10)?.checked_add(u64::from(b - b'0'))?;
            digits += 1;
        }
        let (number, rest) = self.0.split_at(digits);
        // JSON knows no leading zeros.
        if number.is_empty() || (number.starts_with('0') && digits > 1) {
            return None;
        }
        self.0 = rest;
        T::try_from(value).ok()
    }

    fn home(&mut self) -> Option<(BackupId, u32, u64)> {
        self.expect("[")?;
        let backup = self.quoted()?;
        self.expect(",")?;
        let volume = self.number()?;
        self.expect(",")?;
        let offset = self.number()?;
        self.expect("]")?;
        Some((backup, volume, offset))
    }

    fn extent(&mut self) -> Option<RawExtent> {
        self.expect("[")?;
        let backup = self.quoted()?;
        self.expect(",")?;
        let volume = self.number()?;
        self.expect(",")?;
        let offset = self.number()?;
        self.expect(",")?;
        let length = self.number()?;
        self.expect("]")?;
        Some((backup, volume, offset, length))
    }

    fn pair<A, B>(
        &mut self,
        first: impl Fn(&mut Self) -> Option<A>,
        second: impl Fn(&mut Self) -> Option<B>,
    ) -> Option<(A, B)> {
        self.expect("[")?;
        let a = first(self)?;
        self.expect(",")?;
        let b = second(self)?;
        self.expect("]")?;
        Some((a, b))
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.expect("[")?;
        let mut items = Vec::new();
        if self.expect("]").is_some() {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            if self.expect("]").is_some() {
                return Some(items);
            }
            self.expect(",")?;
        }
    }
}

/// Undoes the doubling of backslashes. None where there is another JSON escape, or a control character.
fn single_backslashes(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c < ' ' || (c == '\\' && chars.next() != Some('\\')) {
            return None;
        }
        out.push(c);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = r#"{"path":"a/b \\042","type":"file","mode":"0644","uid":0,"gid":7,"user":"u","group":"g","mtime":"1.5","ctime":"-2","inode":9,"home":["20260117-143000",0,512],"size":9,"sha256":"3549b0028b75d981cdda2e573e9cb49dedc200185876df299f912b79f69dabd8","pieces":[["20260117-143000",0,1024,4],["20260118-143000-2",1,0,5]],"regions":[[0,9]],"chunks":[[9,"1993a3c633cf3e4fd898beaccbf56c1544235cd8f97396e3cbe30952502a5167"]],"unsettled":true,"xattrs":[["user.a","AP8="],["user.\\001",""]]}"#;
    const DEVICE: &str = r#"{"path":"d","type":"char","mode":"0600","uid":4294967295,"gid":0,"mtime":"0","ctime":"0","inode":18446744073709551615,"home":["20260117-143000",0,0],"device":[4,64]}"#;
    const LINK: &str = r#"{"path":"l","type":"symlink","mode":"0777","uid":1,"gid":1,"mtime":"0","ctime":"0","inode":1,"home":["20260117-143000",0,0],"target":"x\\\\y"}"#;

    #[test]
    fn own_lines_are_read_without_a_json_parser_and_give_what_that_gives() {
        for line in [FILE, DEVICE, LINK] {
            let quick = Fields::as_written(line.as_bytes()).expect("our own form");
            assert_eq!(quick, serde_json::from_str(line).unwrap());
        }
        let file = Fields::as_written(FILE.as_bytes()).unwrap();
        assert_eq!((&*file.path, file.pieces.map(|p| p.len())), ("a/b \\042", Some(2)));
    }

    #[test]
    fn other_forms_are_left_to_the_json_parser() {
        for (from, to) in [
            ("\"type\"", " \"type\""),
            ("\"uid\":0", "\"uid\":00"),
            ("\"uid\":0", "\"uid\":-1"),
            ("\"inode\":9", "\"inode\":18446744073709551616"),
            ("\"inode\":9", "\"future\":1,\"inode\":9"),
            ("a/b", "a\\u002fb"),
            ("a/b", "a\u{1}b"),
            ("\\\\042", "\\\""),
            ("}", "}}"),
        ] {
            let line = FILE.replacen(from, to, 1);
            assert_ne!(line, FILE);
            assert_eq!(Fields::as_written(line.as_bytes()), None, "{line}");
        }
        assert_eq!(&*Fields::read(FILE.replacen("a/b", "a\\u002fb", 1).as_bytes()).unwrap().path, "a/b \\042");
    }

    proptest! {
        #[test]
        fn what_the_quick_way_reads_the_json_parser_reads_alike(
            which in 0..3_usize,
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4),
        ) {
            let mut line = [FILE, DEVICE, LINK][which].as_bytes().to_vec();
            for (at, byte, how) in edits {
                let at = at.index(line.len());
                match how {
                    0 => line[at] = byte,
                    1 => line.insert(at, byte),
                    _ => drop(line.remove(at)),
                }
            }
            if let Some(quick) = Fields::as_written(&line) {
                prop_assert_eq!(Some(quick), serde_json::from_slice(&line).ok());
            }
        }
    }
}
