use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::environment::Environment;
use crate::error::{Kind, Result};
use crate::secret::SecretRef;

use super::tests::{COMPONENT, read, refused};

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
