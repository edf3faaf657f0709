use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::near::nearest;
use super::*;
use crate::environment::Environment;
use crate::error::{Hint, Kind, Result};
use crate::secret::SecretRef;

fn read(text: &str) -> Result<Config> {
    parse(text, Path::new("/site/ccbackup.toml"), Some(Path::new("/home/me")))
}

fn refused(text: &str) -> (String, String) {
    let error = read(text).expect_err("the configuration should be refused");
    assert_eq!(error.kind(), Kind::Usage, "{error}");
    let Some(Hint::Words(hint)) = error.advice() else { return (error.one_line(), String::new()) };
    (error.one_line(), hint.clone())
}

const COMPONENT: &str = "[[component]]\nname = \"configs\"\nkind = \"files\"\n";

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

const OTHER: &str = "[[component]]\nname = \"other\"\nkind = \"files\"\npaths = [\"b\"]\n";

#[test]
fn what_every_component_may_say_is_read() {
    let config = read(&format!(
        r#"{COMPONENT}paths = ["a"]
before = ["./hooks/stop", "a b", ""]
after = ["systemctl", "start", "app"]
on_failure = ["~/bin/alarm"]
finally = ["/bin/true"]
timeout = "30m"
retries = 3
priority = -5
needs = ["other"]
expect = {{ min_entries = 1, min_bytes = 4096, max_shrink = "50%", max_age = "36h" }}
{OTHER}"#
    ))
    .unwrap();
    let (configs, other) = (&config.components[0], &config.components[1]);
    assert_eq!(configs.hooks.before, ["/site/hooks/stop", "a b", ""]);
    assert_eq!(configs.hooks.after, ["systemctl", "start", "app"]);
    assert_eq!((&*configs.hooks.on_failure[0], &*configs.hooks.finally[0]), ("/home/me/bin/alarm", "/bin/true"));
    assert_eq!((configs.timeout, configs.retries), (Some(Duration::from_secs(1800)), 3));
    assert_eq!((configs.priority, &*configs.needs), (-5, &["other".to_owned()][..]));
    assert_eq!(configs.expect.min_bytes, Some(4096));
    assert_eq!(configs.expect.max_age, Some(Duration::from_secs(36 * 3600)));
    assert_eq!((&other.hooks, other.timeout, other.priority), (&Hooks::default(), None, 0));
}

#[test]
fn what_every_component_may_say_is_checked() {
    for (line, expected) in [
        ("before = []", "`before` is empty"),
        ("before = [\"\"]", "`before` has no program"),
        ("before = \"sh -c x\"", "must be a list of strings"),
        ("after = [\"a\", \"b\\u0000\"]", "zero byte"),
        ("befor = [\"x\"]", "the nearest known key is `before`"),
        ("timeout = \"30\"", "is not a time"),
        ("timeout = \"0s\"", "is not a time"),
        ("timeout = 30", "must be a string"),
        ("retries = 11", "from 0 to 10"),
        ("retries = -1", "from 0 to 10"),
        ("priority = 1001", "from -1000 to 1000"),
        ("needs = [\"othr\"]", "`othr`, which is no component"),
        ("needs = [\"configs\"]", "`configs` needs itself"),
        ("expect = { max_age = \"x\" }", "is not a time"),
        ("expect = { min_byte = 1 }", "the nearest known key is `min_bytes`"),
    ] {
        let (message, _) = refused(&format!("{COMPONENT}paths = [\"a\"]\n{line}\n{OTHER}"));
        assert!(message.starts_with("/site/ccbackup.toml:5: "), "{line}: {message}");
        assert!(message.contains(expected), "{line}: {message}");
    }
    let (_, hint) = refused(&format!("{COMPONENT}paths = [\"a\"]\nneeds = [\"othr\"]\n{OTHER}"));
    assert_eq!(hint, "the nearest component is `other`");
}

#[test]
fn needs_that_go_in_a_circle_are_refused_by_whatever_detour() {
    let component = |name: &str, needs: &str| {
        format!("[[component]]\nname = \"{name}\"\nkind = \"files\"\npaths = [\"x\"]\nneeds = [{needs}]\n")
    };
    let text = [component("a", "\"b\""), component("b", "\"c\""), component("c", "\"a\"")].concat();
    assert!(refused(&text).0.contains("needs itself"));
    let text = [component("a", "\"b\", \"c\""), component("b", "\"c\""), component("c", "")].concat();
    assert_eq!(read(&text).unwrap().components.len(), 3, "two ways to the same are no circle");
    let text = [component("z", "\"a\""), component("a", "\"b\""), component("b", "\"a\"")].concat();
    assert!(refused(&text).0.contains("needs itself"), "a circle that others lead into ends");
}

const COMMAND: &str = "[[component]]\nname = \"etcd\"\nkind = \"command\"\n";

#[test]
fn a_command_is_read() {
    let config = read(&format!(
        r#"{COMMAND}capture = ["./dump.sh", "--all"]
apply = ["load"]
check = ["/usr/bin/compare", "-"]
silence = "90s"
end_marker = "-- done"
min_bytes = 0
object = "etcd/snapshot.db"
[component.env]
TOKEN = {{ file = "token" }}
OURS = true
"#
    ))
    .unwrap();
    let SourceConfig::Command(command) = &config.components[0].source else { panic!("another kind") };
    assert_eq!(command.capture, ["/site/dump.sh", "--all"]);
    assert_eq!((&*command.apply[0], &*command.check[0]), ("load", "/usr/bin/compare"));
    assert_eq!((command.silence, command.min_bytes), (Duration::from_secs(90), 0));
    assert_eq!((command.end_marker.as_deref(), &*command.object), (Some("-- done"), "etcd/snapshot.db"));
    assert_eq!(command.env["TOKEN"], Some(SecretRef::File("/site/token".into())));
    assert_eq!(command.env["OURS"], None);
}

#[test]
fn a_command_that_cannot_work_or_holds_a_secret_is_refused() {
    for (lines, expected) in [
        ("apply = [\"x\"]", "has no `capture`"),
        ("capture = [\"x\"]\nenv = { TOKEN = \"canary\" }", "must not stand here as text"),
        ("capture = [\"x\"]\nenv = { TOKEN = false }", "true or a reference"),
        ("capture = [\"x\"]\nenv = { TOKEN = 5 }", "must be a table"),
        ("capture = [\"x\"]\nenv = { \"A-B\" = true }", "is not the name of a variable"),
        ("capture = [\"x\"]\nenv = { A = { fil = \"x\" } }", "the nearest known key is `file`"),
        ("capture = [\"x\"]\nenv = { A = {} }", "must have one of"),
        ("capture = [\"x\"]\nend_marker = \"\"", "an end marker has"),
        ("capture = [\"x\"]\nobject = \"../x\"", "../x"),
        ("capture = [\"x\"]\nobject = \"/x\"", "/x"),
        ("capture = [\"x\"]\npaths = [\"x\"]", "unknown key `paths`"),
    ] {
        let error = read(&format!("{COMMAND}{lines}\n")).expect_err(lines);
        assert!(error.one_line().contains(expected), "{lines}: {}", error.one_line());
        assert!(!format!("{error:?}").contains("canary"));
    }
}

#[test]
fn a_component_with_everything_is_rendered_and_reads_back() {
    let command = CommandConfig {
        capture: vec!["dump".into(), "a \"b\"".into()],
        apply: vec!["/usr/bin/load".into()],
        check: vec!["compare".into()],
        env: [
            ("A".to_owned(), Some(SecretRef::Vault { path: "secret/data/x".into(), field: "f".into() })),
            ("B".to_owned(), None),
            ("C".to_owned(), Some(SecretRef::Command(vec!["pass".into(), "x".into()]))),
        ]
        .into_iter()
        .collect(),
        silence: Duration::from_secs(90),
        end_marker: Some("-- done\n".into()),
        min_bytes: 7,
        object: "a/b".into(),
    };
    let component = ComponentConfig {
        name: "etcd".into(),
        source: SourceConfig::Command(command),
        expect: Expect { min_bytes: Some(5), max_age: Some(Duration::from_secs(86_400)), ..Expect::default() },
        hooks: Hooks { before: vec!["/bin/a".into()], finally: vec!["b".into(), "c".into()], ..Hooks::default() },
        timeout: Some(Duration::from_secs(5400)),
        retries: 2,
        priority: -1,
        needs: vec!["other".into()],
    };
    let components = [component, ComponentConfig::of_files("other", vec!["/site/x".into()])];
    let wanted = Rendering {
        folder: Path::new("/site"),
        home: None,
        location: Path::new("/site/backups"),
        recipients: &[],
        signers: &[],
        components: &components,
        comments: &BTreeMap::new(),
    };
    let text = render(&wanted).unwrap();
    assert!(text.contains("timeout = \"90m\"") && text.contains("max_age = \"1d\""), "{text}");
    assert_eq!(read(&text).unwrap_or_else(|e| panic!("{e}\n{text}")).components, components, "{text}");
}

#[test]
fn databases_are_named_by_one_glob_or_several_and_read_in_trees_when_that_is_said() {
    let config = |keys: &str| {
        read(&format!("[[component]]\nname = \"x\"\nkind = {keys}\n")).map(|c| c.components[0].source.clone())
    };
    let sqlite =
        |paths: &[&str]| SourceConfig::Sqlite(SqliteConfig { path: paths.iter().map(PathBuf::from).collect() });
    assert_eq!(config("\"sqlite\"\npath = \"data/*.db\"").unwrap(), sqlite(&["/site/data/*.db"]));
    assert_eq!(
        config("\"sqlite\"\npath = [\"~/a.db\", \"/b/**/*.db\"]").unwrap(),
        sqlite(&["/home/me/a.db", "/b/**/*.db"])
    );
    for wrong in ["\"sqlite\"", "\"sqlite\"\npath = []", "\"sqlite\"\npath = \"a[\"", "\"sqlite\"\npath = 1"] {
        assert_eq!(config(wrong).unwrap_err().kind(), Kind::Usage, "{wrong}");
    }
    let reading = |word: &str| -> Result<_> {
        match config(&format!("\"files\"\npaths = [\"a\"]\n{word}"))? {
            SourceConfig::Files(files) => Ok(files.sqlite),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reading("").unwrap(), SqliteReading::Online);
    assert_eq!(reading("sqlite = \"online\"").unwrap(), SqliteReading::Online);
    assert_eq!(reading("sqlite = \"read\"").unwrap(), SqliteReading::Read);
    assert!(reading("sqlite = \"copy\"").unwrap_err().one_line().contains("\"online\" or \"read\""));
}

/// What is rendered of a survey reads back as the same components.
fn surveyed(folder: &Path, home: Option<&Path>, variables: &[(&str, &str)], root: &Path) -> (Survey, String) {
    let environment = Environment::new(variables.iter().map(|(name, value)| (name.into(), value.into())));
    let network = root.join("net");
    let around = Surroundings { folder, home, environment: &environment, network: &network, root };
    let found = survey(&around).unwrap();
    let wanted = Rendering {
        folder,
        home,
        location: &folder.join("backups"),
        recipients: &[],
        signers: &[],
        components: &found.components,
        comments: &found.comments,
    };
    let text = render(&wanted).unwrap();
    let read = parse(&text, &folder.join(FILE_NAME), home).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(read.components, found.components, "{text}");
    (found, text)
}

fn names(survey: &Survey) -> Vec<(&str, &str)> {
    survey.components.iter().map(|c| (c.name.as_str(), c.source.kind())).collect()
}

#[test]
fn services_are_found_by_compose_file_paths_and_ports_and_secrets_only_referred_to() {
    let root = tempfile::tempdir().unwrap();
    let (folder, home) = (root.path().join("site"), root.path().join("home"));
    for dir in
        ["site/app", "site/data", "home/.contextcore", "home/.config/contextd/vectorstore", "net", "var/lib/grafana"]
    {
        fs::create_dir_all(root.path().join(dir)).unwrap();
    }
    let compose = "services:\n  db:\n    image: postgres:16\n    ports:\n      - \"127.0.0.1:5433:5432\"\n    environment:\n      \
                   POSTGRES_USER: app\n      POSTGRES_PASSWORD: canary\n  cache:\n    image: redis:7\n  m:\n    image: mongo\n";
    let write = |path: &str, bytes: &[u8]| crate::keys::create_secret_file(&root.path().join(path), bytes).unwrap();
    write("site/compose.yaml", compose.as_bytes());
    write("site/app/app.db", b"SQLite format 3\0rest");
    write("site/app/other.db", b"something else");
    write("site/data/held.db", b"SQLite format 3\0rest");
    write("var/lib/grafana/grafana.db", b"SQLite format 3\0rest");
    write("net/tcp", b"head\n 0: 0100007F:18EB 00000000:0000 0A 0\n");
    let (found, text) = surveyed(&folder, Some(&home), &[], root.path());
    let expected = [
        ("configs", "files"),
        ("data", "files"),
        ("contextcore", "contextcore"),
        ("vectorstore", "chromem"),
        ("postgres", "postgres"),
        ("sqlite", "sqlite"),
    ];
    assert_eq!(names(&found), expected, "{text}");
    assert!(text.contains("port = 5433") && text.contains("user = \"app\""), "{text}");
    assert!(text.contains("password = { env = \"POSTGRES_PASSWORD\" }") && !text.contains("canary"), "{text}");
    assert!(text.contains("app/app.db") && text.contains("grafana.db") && !text.contains("other.db"), "{text}");
    assert!(!text.contains("held.db"), "a component of files holds it");
    assert!(text.contains("# The service cache runs Redis, and publishes no port"), "{text}");
    assert!(text.contains("# The service m runs mongo"), "{text}");
    fs::remove_file(folder.join("compose.yaml")).unwrap();
    let (found, text) = surveyed(&folder, None, &[], root.path());
    assert_eq!(names(&found), [("data", "files"), ("redis", "redis"), ("sqlite", "sqlite")]);
    assert!(text.contains("# Found by port 6379") && text.contains("redis://127.0.0.1:6379"), "{text}");
}

#[test]
fn services_are_found_by_variables_without_their_secrets() {
    let root = tempfile::tempdir().unwrap();
    let of = |variables: &[(&str, &str)]| surveyed(root.path(), None, variables, root.path()).1;
    let text = of(&[("DATABASE_URL", "postgres://me:canary@db/shop"), ("REDIS_URL", "redis://me:canary@cache:6380/2")]);
    assert!(text.contains("url = { env = \"DATABASE_URL\" }") && text.contains("redis://cache:6380"), "{text}");
    assert!(!text.contains("canary"), "{text}");
    let text = of(&[("PGHOST", "db"), ("PGPORT", "5444"), ("PGUSER", "me"), ("PGPASSWORD", "canary")]);
    assert!(text.contains("host = \"db\"") && text.contains("port = 5444") && text.contains("env = \"PGPASSWORD\""));
    assert!(!text.contains("canary"), "{text}");
    let text = of(&[("REDIS_URL", "redis://cache"), ("REDIS_PASSWORD", "canary"), ("DATABASE_URL", "mysql://x")]);
    assert!(
        text.contains("env = \"REDIS_PASSWORD\"") && !text.contains("canary") && !text.contains("postgres"),
        "{text}"
    );
}

#[test]
fn what_is_found_cannot_write_lines_of_its_own() {
    let comments = [("".to_owned(), vec!["evil\n[repository]\rlocation = 1".to_owned()])].into_iter().collect();
    let wanted = Rendering {
        folder: Path::new("/site"),
        home: None,
        location: Path::new("/site/backups"),
        recipients: &[],
        signers: &[],
        components: &[],
        comments: &comments,
    };
    assert!(read(&render(&wanted).unwrap()).is_ok());
}
