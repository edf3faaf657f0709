//! What PostgreSQL's tools say when they fail: made free of secrets, and turned into a kind of error.

use crate::error::{Error, Kind};

/// Texts of the tools and the server in English (`LC_ALL=C`), and what they mean. The first that is found counts.
const MEANINGS: &[(&str, Kind)] = &[
    ("server version mismatch", Kind::Version),
    ("incompatible server version", Kind::Version),
    ("unsupported version (", Kind::Version),
    ("unrecognized configuration parameter", Kind::Version),
    ("password authentication failed", Kind::Denied),
    ("no password supplied", Kind::Denied),
    ("authentication failed", Kind::Denied),
    ("no pg_hba.conf entry", Kind::Denied),
    ("pg_hba.conf rejects", Kind::Denied),
    ("permission denied", Kind::Denied),
    ("must be superuser", Kind::Denied),
    ("must be member of role", Kind::Denied),
    ("must be owner of", Kind::Denied),
    ("row-level security policy", Kind::Denied),
    ("canceling statement due to statement timeout", Kind::TimedOut),
    ("canceling statement due to lock timeout", Kind::TimedOut),
    ("timeout expired", Kind::TimedOut),
    ("not dumped because", Kind::Incomplete),
    ("not currently accepting connections", Kind::Denied),
    ("Is the server running", Kind::Unreachable),
    ("Connection refused", Kind::Unreachable),
    ("could not translate host name", Kind::Unreachable),
    ("could not connect to server", Kind::Unreachable),
    ("server closed the connection", Kind::Unreachable),
    ("terminating connection", Kind::Unreachable),
    ("too many clients", Kind::Unreachable),
    ("remaining connection slots", Kind::Unreachable),
    ("the database system is", Kind::Unreachable),
    ("does not exist", Kind::NotFound),
    ("could not find block ID", Kind::Damage),
    ("could not read from input file: end of file", Kind::Damage),
];

/// What to do about a text.
const ADVICE: &[(&str, &str)] = &[
    (
        "canceling statement due to statement timeout",
        "another session holds a lock on a table; capture when it has ended, or set a larger `lock_timeout`",
    ),
    ("out of shared memory", "raise max_locks_per_transaction of the server: a dump locks every table"),
    (
        "row-level security policy",
        "give the role BYPASSRLS: with row security on, a dump would leave rows out without a word",
    ),
    ("large object", "ALTER ROLE … SET lo_compat_privileges = on lets the role read all large objects"),
    (
        "no password supplied",
        "give `password` as a reference: { file = … }, { env = … }, { vault = … } or { command = … }",
    ),
    ("too many clients", "the server has no free connection; raise max_connections or capture at another time"),
    ("recovery", "raise max_standby_streaming_delay of the standby, or capture from the primary"),
];

/// The kind of a failure by what was said.
pub(super) fn kind_of(stderr: &str) -> Kind {
    MEANINGS.iter().find(|(text, _)| stderr.contains(text)).map_or(Kind::Failed, |(_, kind)| *kind)
}

/// The error of a tool that failed, with the end of what it said.
pub(super) fn failure(what: &str, stderr: &str, secrets: &[&[u8]]) -> Error {
    let clean = redact(stderr, secrets);
    let said = said(&clean);
    let message = if said.is_empty() { format!("{what} and said nothing") } else { format!("{what}: {said}") };
    let error = Error::new(kind_of(stderr), message);
    match ADVICE.iter().find(|(text, _)| stderr.contains(text)) {
        Some((_, advice)) => error.hint(*advice),
        None => error,
    }
}

/// Lines that make a success none: errors, and warnings that something was left out.
pub(super) fn spoils(line: &str) -> bool {
    ["error: ", "ERROR: ", "FATAL: ", "PANIC: ", "not dumped"].iter().any(|mark| line.contains(mark))
}

/// One line of at most a few hundred characters; the failing statement is left out.
fn said(stderr: &str) -> String {
    const MOST: usize = 600;
    let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut text = String::new();
    for line in lines.take_while(|line| !line.starts_with("Command was:")) {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(line);
    }
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Puts `***` where a password or a verifier stands, and for each of `secrets`.
pub(super) fn redact(text: &str, secrets: &[&[u8]]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter_map(|secret| std::str::from_utf8(secret).ok()).filter(|s| !s.is_empty()) {
        text = text.replace(secret, "***");
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, skipped, after)) = first_secret(rest) {
        clean.push_str(before);
        clean.push_str("***");
        rest = after;
        debug_assert!(skipped > 0, "it goes on");
    }
    clean.push_str(rest);
    clean
}

/// The first secret of a text: what is before it, its length, what is behind it.
fn first_secret(text: &str) -> Option<(&str, usize, &str)> {
    let lower = text.to_ascii_lowercase();
    let mut best: Option<(usize, usize)> = None;
    let mut found = |begin: usize, end: usize| {
        if end > begin && text.get(begin..end) != Some("***") && best.is_none_or(|(b, _)| begin < b) {
            best = Some((begin, end));
        }
    };
    for (at, word) in lower.match_indices("password") {
        let after = at + word.len();
        let gap = lower[after..].len() - lower[after..].trim_start_matches([' ', '=', '\t']).len();
        let begin = after + gap;
        match lower.as_bytes().get(begin) {
            Some(b'\'') if gap > 0 => found(begin + 1, quoted_end(&lower, begin + 1)),
            Some(b'\\') if gap > 0 => {}
            Some(_) if lower[after..begin].contains('=') => {
                let end =
                    lower[begin..].find([' ', '\n', '\t', '\'', '"', '&', ';']).map_or(lower.len(), |n| begin + n);
                found(begin, end);
            }
            _ => {}
        }
    }
    for (at, _) in lower.match_indices("scram-sha-256$") {
        let end = lower[at..].find(['\'', ' ', '\n', '"']).map_or(lower.len(), |n| at + n);
        found(at, end);
    }
    for (at, _) in lower.match_indices("'md5") {
        let hex = lower[at + 4..].bytes().take_while(u8::is_ascii_hexdigit).count();
        if hex == 32 {
            found(at + 1, at + 4 + hex);
        }
    }
    for (at, mark) in lower.match_indices("://") {
        let begin = at + mark.len();
        let end = lower[begin..].find(['/', ' ', '\n', '\'', '"']).map_or(lower.len(), |n| begin + n);
        if let (Some(colon), Some(sign)) = (lower[begin..end].find(':'), lower[begin..end].rfind('@'))
            && colon < sign
        {
            found(begin + colon + 1, begin + sign);
        }
    }
    best.map(|(begin, end)| (&text[..begin], end - begin, &text[end..]))
}

fn quoted_end(text: &str, begin: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = begin;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return at,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        command: String,
        rc: i32,
        stderr: Vec<String>,
    }

    fn recorded() -> Vec<Case> {
        let path = format!("{}/fixtures/postgres/stderr-and-exit-codes.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn kind(command: &str) -> Kind {
        let cases = recorded();
        let case = cases.iter().find(|case| case.command.contains(command)).unwrap_or_else(|| panic!("{command}"));
        kind_of(&case.stderr.join("\n"))
    }

    #[test]
    fn every_recorded_failure_has_the_kind_that_a_script_expects() {
        for (command, expected) in [
            ("pg_dump (client 15.18, server 16.14)", Kind::Version),
            ("pg_dumpall --globals-only (client 15.18", Kind::Version),
            ("pg_basebackup (client 15.18", Kind::Version),
            ("pg_restore 15.18 of an archive 1.15", Kind::Version),
            ("pg_restore 18.6 -d on server", Kind::Version),
            ("pg_dump -w, no password", Kind::Denied),
            ("pg_dump, wrong password", Kind::Denied),
            ("password file 0644", Kind::Denied),
            ("no CONNECT privilege", Kind::Denied),
            ("SELECT missing", Kind::Denied),
            ("row security, no BYPASSRLS", Kind::Denied),
            ("large object not readable", Kind::Denied),
            ("no REPLICATION attribute", Kind::Denied),
            ("server down", Kind::Unreachable),
            ("too many connections", Kind::Unreachable),
            ("backend terminated or server stopped", Kind::Unreachable),
            ("unescaped @", Kind::Unreachable),
            ("--lock-wait-timeout=1s", Kind::TimedOut),
            ("not superuser, subscription exists", Kind::Incomplete),
            ("cut at a block border", Kind::Damage),
        ] {
            assert_eq!(kind(command), expected, "{command}");
        }
    }

    #[test]
    fn whatever_a_failing_tool_said_spoils_it_or_is_a_warning() {
        for case in recorded() {
            let text = case.stderr.join("\n");
            let terminated = text.contains("terminated by user");
            if case.rc != 0 && !terminated {
                assert!(text.lines().any(spoils) || text.contains("warning"), "{}: {text}", case.command);
            }
            assert!(!failure("x failed", &text, &[]).to_string().contains("canary"), "{}", case.command);
        }
        assert!(!spoils("WARNING:  database \"x\" has a collation version mismatch"));
    }

    #[test]
    fn secrets_are_not_repeated() {
        for text in [
            "CREATE USER MAPPING OPTIONS (password 'canary', \"user\" 'u')",
            "ALTER ROLE x PASSWORD 'canary''canary' VALID",
            "CONNECTION 'host=x password=canary dbname=y'",
            "ALTER ROLE x PASSWORD 'SCRAM-SHA-256$4096:canary=$x:y'",
            "postgres://u:canary@h:5432/db and postgres://u:canary@h/",
            "PASSWORD = 'canary",
            "password=canary",
            "it is canary",
        ] {
            let clean = redact(text, &[b"it is canary"]);
            assert!(!clean.contains("canary"), "{clean}");
            assert!(clean.contains("***"), "{clean}");
        }
        for harmless in ["fe_sendauth: no password supplied", "password authentication failed for user \"x\"", "md5 x"]
        {
            assert_eq!(redact(harmless, &[]), harmless);
        }
        let md5 = format!("PASSWORD 'md5{}'", "0".repeat(32));
        assert_eq!(redact(&md5, &[]), "PASSWORD '***'");
    }
}
