use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::near::nearest;
use super::*;
use crate::error::{Hint, Kind, Result};

pub(super) fn read(text: &str) -> Result<Config> {
    parse(text, Path::new("/site/ccbackup.toml"), Some(Path::new("/home/me")))
}

pub(super) fn refused(text: &str) -> (String, String) {
    let error = read(text).expect_err("the configuration should be refused");
    assert_eq!(error.kind(), Kind::Usage, "{error}");
    let Some(Hint::Words(hint)) = error.advice() else { return (error.one_line(), String::new()) };
    (error.one_line(), hint.clone())
}

pub(super) const COMPONENT: &str = "[[component]]\nname = \"configs\"\nkind = \"files\"\n";

#[test]
fn a_whole_configuration_is_read() {
    let config = read(
        r#"
[repository]
location = "./backups"
[encryption]
recipients = ["age1abc", "ssh-ed25519 AAAA me"]
cipher = "age"
level = 9
[trust]
signers = ["ssh-ed25519 AAAA host", "signers.pub"]
[defaults]
exclude = ["**/*.tmp"]
exclude_caches = true
exclude_if_present = [".nobackup"]
one_file_system = true
threads = 2
[[component]]
name = "configs"
kind = "files"
paths = [".env", "./configs", "~/x", "/etc/hosts"]
exclude = ["**/*.log"]
exclude_if_present = ["skip me", ".nobackup"]
expect = { min_entries = 3, max_shrink = "50%" }
[[component]]
name = "data"
kind = "files"
paths = ["data"]
one_file_system = false
exclude_caches = false
"#,
    )
    .unwrap();
    assert_eq!(config.location, Some(PathBuf::from("/site/backups")));
    assert_eq!(config.encryption.level, Some(9));
    assert_eq!(config.encryption.cipher, Some(Cipher::Age));
    assert_eq!(config.encryption.recipients.len(), 2);
    assert_eq!(
        config.signers,
        [SignerRef::Key("ssh-ed25519 AAAA host".into()), SignerRef::File("/site/signers.pub".into())]
    );
    assert_eq!(config.defaults.threads, Some(2));
    let [configs, data] = &config.components[..] else { panic!("{config:?}") };
    let paths = ["/site/.env", "/site/configs", "/home/me/x", "/etc/hosts"].map(PathBuf::from);
    assert_eq!(configs.paths(), paths);
    assert_eq!(configs.clone().files_mut().unwrap().rules.exclude, ["**/*.log", "**/*.tmp"]);
    assert!(
        configs.clone().files_mut().unwrap().rules.one_file_system
            && configs.clone().files_mut().unwrap().rules.exclude_caches
    );
    assert_eq!(configs.clone().files_mut().unwrap().rules.exclude_if_present, ["skip me", ".nobackup"]);
    assert_eq!(configs.expect.min_entries, Some(3));
    assert_eq!(configs.expect.max_shrink, Some("50%".parse().unwrap()));
    assert!(
        !data.clone().files_mut().unwrap().rules.one_file_system
            && !data.clone().files_mut().unwrap().rules.exclude_caches
    );
    assert_eq!(data.clone().files_mut().unwrap().rules.exclude_if_present, [".nobackup"]);
    assert_eq!(data.clone().files_mut().unwrap().rules.exclude, ["**/*.tmp"]);
}

#[test]
fn an_empty_file_is_the_default() {
    let config = read("# nothing\n").unwrap();
    assert_eq!(Config { file: None, ..config }, Config::default());
}

#[test]
fn an_unknown_key_names_file_line_and_the_nearest_known_key() {
    let (message, hint) = refused("[repository]\nlocation = \"b\"\n[encryption]\nrecipient = []\n");
    assert_eq!(
        message,
        "/site/ccbackup.toml:4: unknown key `recipient` in [encryption]; the nearest known key is `recipients`"
    );
    assert_eq!(hint, "known keys of [encryption]: recipients, cipher, level");
    let (message, _) = refused("[repo]\n");
    assert!(message.contains(":1: unknown key `repo` in the file"), "{message}");
    let (message, _) = refused("[[components]]\nname = \"x\"\n");
    assert!(message.ends_with("the nearest known key is `component`"), "{message}");
    let (message, _) = refused(&format!("{COMPONENT}paths = [\"a\"]\nexclud = []\n"));
    assert!(message.contains(":5: unknown key `exclud` in [[component]]"), "{message}");
    let (message, _) = refused(&format!("{COMPONENT}paths = [\"a\"]\nexpect = {{ min_entires = 1 }}\n"));
    assert!(message.contains(":5: ") && message.ends_with("`min_entries`"), "{message}");
}

#[test]
fn the_first_unknown_key_of_the_file_is_the_one_that_is_named() {
    let (message, _) = refused("[encryption]\nzzz = 1\naaa = 2\n");
    assert!(message.contains(":2: unknown key `zzz`"), "{message}");
}

#[test]
fn a_wrong_type_names_key_and_expectation() {
    for (text, expected) in [
        ("repository = 1\n", ":1: `repository` in the file must be a table, found a whole number"),
        ("[repository]\nlocation = 5\n", ":2: `location` in [repository] must be a string, found a whole number"),
        (
            "[encryption]\nrecipients = \"age1\"\n",
            ":2: `recipients` in [encryption] must be a list of strings, found a string",
        ),
        (
            "[encryption]\nrecipients = [\n\"age1\",\n7]\n",
            ":4: `recipients` in [encryption] must be a list of strings, found a whole number",
        ),
        ("[encryption]\nlevel = 40\n", ":2: `level` in [encryption] must be a whole number from 1 to 19, found 40"),
        (
            "[encryption]\nlevel = \"3\"\n",
            ":2: `level` in [encryption] must be a whole number from 1 to 19, found a string",
        ),
        ("[encryption]\nlevel = -1\n", ":2: `level` in [encryption] must be a whole number from 1 to 19, found -1"),
        ("[encryption]\ncipher = \"rot13\"\n", ":2: \"rot13\" is not a cipher; there are age, aes-256-gcm, none"),
        ("[defaults]\none_file_system = 1\n", "must be true or false, found a whole number"),
        ("[defaults]\nexclude_if_present = [\"a/b\"]\n", ":2: \"a/b\" is not the name of a file"),
        ("[defaults]\nexclude_if_present = \".nobackup\"\n", "must be a list of strings, found a string"),
        ("[defaults]\nexclude = [\"[\"]\n", ":2: \"[\" is not a glob"),
        ("[component]\nname = \"x\"\n", "`component` in the file must be written as [[component]], found a table"),
        ("component = [1]\n", "`component` in the file must be written as [[component]], found a whole number"),
        ("a = = 1\n", "/site/ccbackup.toml:1: not valid TOML: "),
    ] {
        let (message, _) = refused(text);
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn components_must_be_named_well_and_once() {
    let (message, hint) = refused("[[component]]\nname = \"My Data\"\nkind = \"files\"\npaths = [\"x\"]\n");
    assert!(message.contains(":2: `name` is \"My Data\", which is not a component name"), "{message}");
    assert!(hint.contains("lower-case"), "{hint}");
    let twice = format!("{COMPONENT}paths = [\"a\"]\n{COMPONENT}paths = [\"b\"]\n");
    assert!(refused(&twice).0.contains(":6: there are two components named `configs`"));
    assert!(refused("\n[[component]]\nkind = \"files\"\n").0.contains(":2: [[component]] has no `name`"));
    assert!(refused(COMPONENT).0.contains(":1: the component `configs` has no `paths`"));
}

#[test]
fn a_kind_that_is_not_built_is_named_before_its_keys() {
    let (message, _) = refused("[[component]]\nname = \"g\"\nkind = \"grafana\"\nurl = \"http://localhost:3000\"\n");
    assert!(message.contains(":3: kind `grafana` is not built yet; kinds built: files, "), "{message}");
    assert_eq!(refused("[[component]]\nname = \"g\"\nkind = \"file\"\n").1, "did you mean `files`?");
}

#[test]
fn a_secret_key_among_the_recipients_is_refused_and_not_repeated() {
    for key in ["AGE-SECRET-KEY-1QQQ", " age-secret-key-1qqq", "-----BEGIN OPENSSH PRIVATE KEY-----"] {
        let (message, _) = refused(&format!("[encryption]\nrecipients = [\"{key}\"]\n"));
        assert!(message.contains("holds a secret key"), "{message}");
        assert!(!message.to_lowercase().contains("1qqq") && !message.contains("BEGIN"), "{message}");
    }
    let broken = "[encryption]\nrecipients = [\"AGE-SECRET-KEY-1QQQ\n";
    assert!(!refused(broken).0.contains("1QQQ"));
}

#[test]
fn repositories_are_folders() {
    let at = |text: &str| read(&format!("[repository]\nlocation = \"{text}\"\n"));
    assert_eq!(at("file:///mnt/b").unwrap().location, Some("/mnt/b".into()));
    assert_eq!(at("~/b").unwrap().location, Some("/home/me/b".into()));
    let message = at("s3://bucket/x").unwrap_err().to_string();
    assert!(message.ends_with(":2: repositories at `s3://` are not built yet; built: folders"), "{message}");
    assert!(at("").is_err());
}

#[test]
fn a_tilde_without_a_home_is_an_error() {
    let error =
        parse("[repository]\nlocation = \"~/b\"\n", Path::new("/etc/ccbackup/ccbackup.toml"), None).unwrap_err();
    assert!(error.to_string().contains("needs a home folder"), "{error}");
    assert!(matches!(error.advice(), Some(Hint::Words(words)) if words.contains("HOME")));
}

#[test]
fn percentages_are_exact() {
    for (text, of_1000) in [("0%", 0), ("5%", 50), ("0.5%", 5), ("12.34%", 123), ("100%", 1000), ("100.00%", 1000)] {
        let percent: Percent = text.parse().unwrap();
        assert_eq!(percent.of(1000), of_1000, "{text}");
        assert_eq!(percent.to_string().parse::<Percent>().unwrap(), percent);
    }
    assert_eq!("100%".parse::<Percent>().unwrap().of(u64::MAX), u64::MAX);
    for text in ["", "%", "5", "101%", "100.01%", "-1%", "1.234%", "5 %", ".5%", "1.%", "9999999999%", "١%"] {
        assert!(text.parse::<Percent>().is_err(), "{text}");
    }
}

#[test]
fn the_nearest_word_needs_the_fewest_edits() {
    assert_eq!(nearest("recpients", &["recipients", "cipher", "level"]), Some("recipients"));
    assert_eq!(nearest("LEVLE", &["recipients", "cipher", "level"]), Some("level"));
    assert_eq!(nearest("x", &[]), None);
    assert_eq!(near::distance("ab", "ba"), 1);
    assert_eq!(near::distance("", "abc"), 3);
    assert!(near::distance(&"x".repeat(1_000_000), "abc") <= 64);
}

fn lookup(current: &Path) -> Lookup {
    Lookup { current: current.to_owned(), ..Lookup::default() }
}

fn config_at(folder: &Path, location: &str) {
    fs::create_dir_all(folder).unwrap();
    durable_write(&folder.join(FILE_NAME), &format!("[repository]\nlocation = \"{location}\"\n"));
}

fn durable_write(path: &Path, text: &str) {
    use std::io::Write as _;
    fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn the_configuration_is_looked_up_in_order() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for place in ["option", "variable", "current", "xdg/ccbackup", "etc"] {
        config_at(&root.join(place), "here");
    }
    let mut wanted = Lookup {
        named: vec![
            ("an option", "../option/ccbackup.toml".into()),
            ("a variable", root.join("variable").join(FILE_NAME)),
        ],
        xdg_config: Some(root.join("xdg")),
        system: Some(root.join("etc")),
        ..lookup(&root.join("current"))
    };
    let found = |wanted: &Lookup| load(wanted).unwrap().and_then(|c| c.location);
    // `..` is kept: a link on the way may change what it means.
    assert_eq!(found(&wanted), Some(root.join("current/../option/here")));
    wanted.named.remove(0);
    assert_eq!(found(&wanted), Some(root.join("variable/here")));
    wanted.named.clear();
    assert_eq!(found(&wanted), Some(root.join("current/here")));
    wanted.current = root.to_owned();
    assert_eq!(found(&wanted), Some(root.join("xdg/ccbackup/here")));
    wanted.xdg_config = None;
    assert_eq!(found(&wanted), Some(root.join("etc/here")));
    wanted.system = None;
    assert_eq!(found(&wanted), None);
}

#[test]
fn a_configuration_that_was_named_must_be_there() {
    let root = tempfile::tempdir().unwrap();
    config_at(root.path(), "here");
    let wanted = Lookup { named: vec![("--config", "other.toml".into())], ..lookup(root.path()) };
    let error = load(&wanted).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("--config"), "{error}");
}

#[test]
fn a_configuration_that_cannot_be_read_is_not_skipped() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join(FILE_NAME)).unwrap();
    assert!(load(&lookup(root.path())).unwrap_err().to_string().contains("cannot read the configuration"));
    let root = tempfile::tempdir().unwrap();
    durable_write(&root.path().join(FILE_NAME), &"#".repeat(2 << 20));
    assert!(load(&lookup(root.path())).unwrap_err().to_string().contains("is larger than"));
}

fn site() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for folder in ["site/configs", "site/grafana/provisioning", "site/k8s", "site/data", "home/.contextcore"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::create_dir_all(at("home/.config/contextd/vectorstore")).unwrap();
    for file in ["site/docker-compose.yaml", "site/.env", "site/conf"] {
        durable_write(&at(file), "x");
    }
    root
}

#[test]
fn discovery_finds_what_lies_around() {
    let root = site();
    let (folder, home) = (root.path().join("site"), root.path().join("home"));
    let found = discover(&folder, Some(&home)).unwrap();
    let names: Vec<_> = found.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["configs", "data", "contextcore", "vectorstore"]);
    // `conf` is a file here, so it is not a config folder.
    let expected = ["docker-compose.yaml", ".env", "configs", "k8s", "grafana/provisioning"].map(|p| folder.join(p));
    assert_eq!(found[0].paths(), expected);
    assert_eq!(found[3].paths(), [home.join(".config/contextd/vectorstore")]);
    assert_eq!(discover(&folder, None).unwrap().len(), 2);
}

#[test]
fn two_provisioning_folders_do_not_share_a_component() {
    let root = site();
    let folder = root.path().join("site");
    fs::create_dir(folder.join("provisioning")).unwrap();
    let found = discover(&folder, None).unwrap();
    let names: Vec<_> = found.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["configs", "grafana-provisioning", "data"]);
    assert!(found[0].paths().contains(&folder.join("provisioning")));
    assert_eq!(found[1].paths(), [folder.join("grafana/provisioning")]);
}

#[test]
fn an_empty_folder_has_no_components() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(discover(root.path(), Some(root.path())).unwrap(), []);
}

#[test]
fn what_is_rendered_reads_back_as_the_same() {
    let root = site();
    let (folder, home) = (root.path().join("site"), root.path().join("home"));
    let mut components = discover(&folder, Some(&home)).unwrap();
    components[0].files_mut().unwrap().rules.exclude = vec!["**/*.log".into(), "a\"b\\\\c".into()];
    components[1].files_mut().unwrap().rules.one_file_system = true;
    components[1].files_mut().unwrap().rules.exclude_caches = true;
    components[1].files_mut().unwrap().rules.exclude_if_present = vec![".nobackup".into()];
    components[1].expect =
        Expect { min_entries: Some(3), max_shrink: Some("12.5%".parse().unwrap()), ..Expect::default() };
    components[2].files_mut().unwrap().paths.extend(["~odd", "a\tb \u{7f}é", "http://x"].map(|p| folder.join(p)));
    components[3].expect.min_entries = Some(1);
    let location = folder.join("backups");
    let (recipients, signers) = (vec!["age1abc".to_owned()], vec!["ssh-ed25519 AAAA".to_owned()]);
    for (recipients, signers) in [(&recipients[..], &signers[..]), (&[], &[])] {
        for components in [&components[..], &[]] {
            let wanted = Rendering {
                folder: &folder,
                home: Some(&home),
                location: &location,
                recipients,
                signers,
                components,
                comments: &BTreeMap::new(),
            };
            let text = render(&wanted).unwrap();
            let read = parse(&text, &folder.join(FILE_NAME), Some(&home)).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(read.components, components, "{text}");
            assert_eq!(read.location.as_deref(), Some(&*location));
            assert_eq!(read.encryption.recipients, recipients);
            assert_eq!(read.signers.len(), signers.len());
        }
    }
}

#[test]
fn a_rendered_configuration_is_written_for_people() {
    let root = site();
    let (folder, home) = (root.path().join("site"), root.path().join("home"));
    let components = discover(&folder, Some(&home)).unwrap();
    let location = Path::new("/mnt/backups");
    let wanted = Rendering {
        folder: &folder,
        home: Some(&home),
        location,
        recipients: &[],
        signers: &[],
        components: &components,
        comments: &BTreeMap::new(),
    };
    let text = render(&wanted).unwrap();
    for line in [
        "location = \"/mnt/backups\"",
        "# recipients = [\"age1…\"]",
        "paths = [\"docker-compose.yaml\", \".env\", \"configs\", \"k8s\", \"grafana/provisioning\"]",
        "paths = [\"~/.contextcore\"]",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(text.lines().all(|l| l.chars().count() <= 120), "{text}");
}

#[test]
fn a_path_that_toml_cannot_hold_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let bad = PathBuf::from(std::ffi::OsStr::from_bytes(b"/x\xff"));
    let wanted = Rendering {
        folder: Path::new("/site"),
        home: None,
        location: &bad,
        recipients: &[],
        signers: &[],
        components: &[],
        comments: &BTreeMap::new(),
    };
    assert!(render(&wanted).unwrap_err().to_string().contains("is not UTF-8"));
}
