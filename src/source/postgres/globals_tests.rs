#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

fn recorded(name: &str) -> String {
    std::fs::read_to_string(format!("{}/fixtures/postgres/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn every_statement_is_about_something() {
    for file in ["globals-15.sql", "globals-15-no-passwords.sql"] {
        let globals = Globals::parse(&recorded(file)).unwrap();
        let roles: Vec<_> = globals.roles().collect();
        assert_eq!(roles.len(), 8, "{roles:?}");
        assert!(roles.contains(&"\u{fc}n\u{ef} \"r\u{f4}le\" x"));
        assert!(globals.about(&Subject::Other).is_empty());
        assert_eq!(globals.about(&Subject::Role("app_owner".into())).len(), 4);
        assert_eq!(globals.about(&Subject::Membership("app_ro".into(), "app_owner".into())).len(), 1);
        assert_eq!(globals.about(&Subject::Session).len(), 3);
        assert_eq!(globals.about(&Subject::Parameter("log_min_duration_statement".into())).len(), 1);
    }
}

#[test]
fn tablespaces_are_told_from_roles() {
    let script = format!(
        "--\n{BEGIN}\n--\nCREATE TABLESPACE \"t s\" OWNER x LOCATION '/srv/ts';\nGRANT ALL ON TABLESPACE \"t s\" TO x;\n\
         COMMENT ON TABLESPACE \"t s\" IS 'c';\nSECURITY LABEL FOR p ON ROLE x IS 'l';\nDROP ROLE y;\n--\n{END}\n--\n"
    );
    let globals = Globals::parse(&script).unwrap();
    assert_eq!(globals.about(&Subject::Tablespace("t s".into())).len(), 3);
    assert_eq!(globals.about(&Subject::Role("x".into())).len(), 1);
    assert_eq!(globals.about(&Subject::Other).len(), 1);
}

#[test]
fn globals_that_are_cut_at_any_line_are_refused() {
    let script = recorded("globals-15.sql");
    let ends: Vec<_> = script.match_indices('\n').map(|(at, _)| at).collect();
    let mark = script.find(END).unwrap() + END.len();
    for end in ends.into_iter().filter(|end| *end < mark) {
        assert_eq!(settle(&script.as_bytes()[..end]).unwrap_err().kind(), Kind::Incomplete, "{end}");
    }
    assert_eq!(settle(b"").unwrap_err().kind(), Kind::Incomplete);
    assert!(settle(format!("{script}CREATE ROLE late;\n").as_bytes()).is_err());
    assert!(settle(b"\xff").is_err());
}

#[test]
fn the_random_token_becomes_a_digest_of_the_rest() {
    let script = recorded("globals-15.sql");
    let other = script.replace("restrict k\n", "restrict Zufall7\n");
    let settled = settle(script.as_bytes()).unwrap();
    assert_eq!(settled, settle(other.as_bytes()).unwrap());
    assert_eq!(settled, settle(settled.as_bytes()).unwrap(), "again, nothing changes");
    assert!(!settled.contains("restrict k\n"));
    let token = settled.lines().find_map(|line| line.strip_prefix("\\restrict ")).unwrap();
    assert_eq!(token.len(), 64);
    assert!(settled.contains(&format!("\n\\unrestrict {token}\n")));
    let changed = settle(script.replace("app_ro;", "app_rx;").as_bytes()).unwrap();
    assert!(!changed.contains(token), "another content has another token");
    assert_eq!(Globals::parse(&settled).unwrap(), Globals::parse(&script).unwrap());
    let old = script.replace("\\restrict k\n", "").replace("\\unrestrict k\n", "");
    assert_eq!(settle(old.as_bytes()).unwrap(), old);
}

#[test]
fn a_comment_that_holds_a_command_of_psql_stays_a_text() {
    let script = recorded("globals-15.sql").replace("'comment on role'", "'a\n\\unrestrict x\n\\! id\n'");
    let settled = settle(script.as_bytes()).unwrap();
    assert!(settled.contains("\n\\unrestrict x\n"));
    assert_eq!(Globals::parse(&settled).unwrap().about(&Subject::Role("app_ro".into())).len(), 3);
}
