//! By hand in any locale: names that GNU tar would change, paths that are too long for the system, index lines of later writers.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ccbackup::model::BackupId;

use crate::support::{Sandbox, assert_same, is_root, look, noise, shell, succeed, write};

/// Runs the script of a backup with an environment of its own; gives what it said and where it restored to.
pub(crate) fn by_hand(sandbox: &Sandbox, id: &BackupId, env: &[(&str, String)], args: &[&str]) -> (Output, PathBuf) {
    let target = sandbox.scratch("by-hand");
    let mut script = Command::new("sh");
    script.arg(sandbox.root().join(id.as_str()).join("restore.sh")).arg("-o").arg(&target).args(args);
    for name in ["LC_ALL", "LC_CTYPE", "LANG"] {
        script.env_remove(name);
    }
    script.envs(env.iter().map(|(name, value)| (name, value)));
    if sandbox.identity().exists() {
        script.arg("-i").arg(sandbox.identity());
    }
    (script.output().unwrap(), target)
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A folder of programs that stand before all others: an awk, and a wc that finds no UTF-8 locale.
fn programs(sandbox: &Sandbox, name: &str, awk: &str, utf8: bool) -> (&'static str, String) {
    let folder = sandbox.dir.path().join(name);
    let found = Path::new("/usr/bin").join(awk);
    assert!(found.exists(), "this test needs {awk}; scripts/setup.sh installs it");
    fs::create_dir_all(&folder).unwrap();
    symlink(found, folder.join("awk")).unwrap();
    if !utf8 {
        write(&folder.join("wc"), b"#!/bin/sh\necho 0\n");
        fs::set_permissions(folder.join("wc"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    ("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()))
}

fn hard_names(root: &Path) {
    let at = |name: &[u8]| root.join(OsStr::from_bytes(name));
    for (n, name) in [
        &b"x"[..],
        "x\u{e0041}".as_bytes(),
        "x\u{e0042}".as_bytes(),
        "gr\u{fc}n".as_bytes(),
        b"gr\xfcn",
        "\u{65e5}\u{672c}".as_bytes(),
        "\u{feff}mark".as_bytes(),
        b"cut \xe2\x82",
        b"surrogate \xed\xa0\x80",
        b"beyond \xf4\x90\x80\x80",
        b"new\nline\n",
        b"-dash",
        b"100%s &,\\,e",
        "\u{e0041}&,\\1,;%\n".as_bytes(),
    ]
    .into_iter()
    .enumerate()
    {
        write(&at(name), format!("file {n}").as_bytes());
    }
    symlink("to \u{e0041}&,\\n", at(b"link")).unwrap();
    symlink(OsStr::from_bytes(b"to \xff\xe0"), at("link \u{fc}".as_bytes())).unwrap();
    write(&at("folder \u{e0043}/inner \u{e0043}".as_bytes()), b"inner");
    fs::hard_link(at("x\u{e0041}".as_bytes()), at("zz \u{e0041}".as_bytes())).unwrap();
    fs::hard_link(at(b"x"), at(b"zz")).unwrap();
    for name in ["hollow \u{e0041}", "hollow \u{e0042}"] {
        let file = File::create(root.join(name)).unwrap();
        file.write_all_at(name.as_bytes(), 1 << 20).unwrap();
    }
    write(&at("large \u{e0041}".as_bytes()), &noise(4, 9 << 20));
    succeed(Command::new("touch").args(["-d", "@-1.5"]).arg(at("folder \u{e0043}".as_bytes())));
}

#[test]
fn hard_names_come_back_by_hand_in_every_locale_and_with_every_awk() {
    let mut sandbox = Sandbox::plain();
    hard_names(&sandbox.tree());
    let full = sandbox.create().id;
    let large = File::options().write(true).open(sandbox.tree().join("large \u{e0041}")).unwrap();
    large.write_all_at(b"changed", 5 << 20).unwrap();
    write(&sandbox.tree().join("x\u{e0042}"), b"changed");
    let incremental = sandbox.create().id;
    let tree = look(&sandbox.tree());

    let locales = sandbox.dir.path().join("locales");
    fs::create_dir(&locales).unwrap();
    let made = Command::new("localedef")
        .args(["-i", "de_DE", "-f", "ISO-8859-1"])
        .arg(locales.join("de_DE.ISO-8859-1"))
        .output()
        .is_ok_and(|o| o.status.success());
    let mut environments = vec![];
    for (n, locale) in ["C", "POSIX", "C.UTF-8", "de_DE.ISO-8859-1"].into_iter().enumerate() {
        if locale.starts_with("de") && !made {
            eprintln!("SKIPPED: no Latin-1 locale can be made here; scripts/setup.sh installs the package locales");
            continue;
        }
        for (awk, utf8) in [("mawk", true), ("gawk", false)] {
            let path = programs(&sandbox, &format!("{awk}-{n}"), awk, utf8);
            let locpath = ("LOCPATH", locales.display().to_string());
            environments.push((vec![path, locpath, ("LC_ALL", locale.to_string())], utf8));
        }
    }
    for (env, utf8) in &environments {
        let (output, target) = by_hand(&sandbox, &incremental, env, &[]);
        assert!(output.status.success(), "{env:?}: {}", said(&output));
        assert_eq!(said(&output).contains("no UTF-8 locale"), !utf8, "{}", said(&output));
        assert_same(&tree, &look(&target.join("files/tree")), &format!("{env:?}"));
    }
    let (output, _) = by_hand(&sandbox, &full, &environments[0].0, &["-c", "files"]);
    assert!(output.status.success(), "{}", said(&output));
}

/// The listing of a tree whose paths are too long for most programs, and the digests of its files.
const LIST: &str =
    "find . -printf '%y %m %U %G %T@ %n %l %P\\n' | sed 's/^d \\([^ ]* [^ ]* [^ ]* [^ ]*\\) [0-9]*/d \\1/' | sort
    find . -type f -execdir sha256sum {} + | sort";

#[test]
fn paths_that_are_too_long_for_the_system_come_back_by_hand() {
    let mut sandbox = Sandbox::plain();
    shell(
        "n=$(printf 'd%.0s' {1..200}); for i in {1..24}; do mkdir $n-$i; cd -P ./$n-$i 2>/dev/null; done
         echo deep > bottom; ln bottom again; ln -s bottom link; mkfifo pipe; mkdir -m 1751 folder; echo x > 'folder/-x'
         truncate -s 1M hollow; printf end >> hollow; head -c 9M /dev/urandom > large; chmod 640 large
         touch -d @-1.5 folder; touch -d @77.25 bottom .; touch -h -d @1 link",
        &sandbox.tree(),
    );
    write(&sandbox.tree().join("zz short"), b"short");
    sandbox.create();
    let change = "cd -P ./d* 2>/dev/null; ";
    shell(
        &format!(
            "set +e; for i in {{1..24}}; do {change} done; printf changed | dd of=large seek=4M oflag=seek_bytes conv=notrunc status=none"
        ),
        &sandbox.tree(),
    );
    let id = sandbox.create().id;
    let tree = shell(LIST, &sandbox.tree()).stdout;
    for utf8 in [true, false] {
        let path = programs(&sandbox, &format!("programs-{utf8}"), "mawk", utf8);
        let (output, target) = by_hand(&sandbox, &id, &[path], &[]);
        assert!(output.status.success(), "{}", said(&output));
        let restored = shell(LIST, &target.join("files/tree")).stdout;
        assert_eq!(String::from_utf8_lossy(&restored), String::from_utf8_lossy(&tree));
    }
}

#[test]
fn roots_with_a_dash_and_hollow_ones_come_back_by_hand() {
    let mut sandbox = Sandbox::plain();
    let (dash, hollow) = (sandbox.tree().join("-dash"), sandbox.tree().join("-hollow"));
    write(&dash.join("-n"), b"x");
    File::create(&hollow).unwrap().set_len(3 << 20).unwrap();
    sandbox.settings.components[0].files_mut().unwrap().paths = vec![dash, hollow];
    let id = sandbox.create().id;
    let (output, target) = by_hand(&sandbox, &id, &[], &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read(target.join("files/-dash/-n")).unwrap(), b"x");
    assert_eq!(fs::metadata(target.join("files/-hollow")).unwrap().len(), 3 << 20);
}

#[test]
fn without_root_a_device_costs_itself_and_closed_folders_come_back() {
    if !is_root() {
        eprintln!("SKIPPED: this test makes devices, so it needs root");
        return;
    }
    let mut sandbox = Sandbox::plain();
    let tree = sandbox.tree();
    write(&tree.join("closed/inner/file"), b"x");
    succeed(Command::new("mknod").arg(tree.join("null")).args(["c", "1", "3"]));
    fs::hard_link(tree.join("null"), tree.join("null again")).unwrap();
    fs::set_permissions(tree.join("closed/inner"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    let id = sandbox.create().id;
    let output = Command::new("bash")
        .arg("-c")
        .arg(format!(
            "chmod -R a+rX . && mkdir -m 777 free && \
             setpriv --reuid=65534 --regid=65534 --clear-groups sh backups/{id}/restore.sh -o free/out"
        ))
        .current_dir(sandbox.dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    for name in ["null", "null again"] {
        assert!(said(&output).contains(&format!("files: not restored: tree/{name}\n")), "{}", said(&output));
    }
    let out = sandbox.dir.path().join("free/out/files/tree");
    assert_eq!(fs::read(out.join("closed/inner/file")).unwrap(), b"x");
    assert_eq!(fs::metadata(out.join("closed")).unwrap().permissions().mode() & 0o7777, 0o500);
}

/// Writes the index of a backup that is not encrypted anew, from other entries and lines behind them.
fn forge_index(sandbox: &Sandbox, id: &BackupId, change: impl FnOnce(&str) -> (String, String)) {
    let folder = sandbox.root().join(id.as_str());
    let text = String::from_utf8(shell("zstd -dcq files.index.zst", &folder).stdout).unwrap();
    let (entries, behind) = change(&text[..text.find("{\"segment\"").unwrap()]);
    let table = if entries.is_empty() {
        String::new()
    } else {
        format!(
            "{{\"segment\":[\"{id}\",0,{},\"{}\",{},\"tree\"]}}\n",
            entries.len(),
            "0".repeat(64),
            entries.lines().count()
        )
    };
    write(&folder.join("index"), format!("{entries}{behind}{table}{{\"end\":{{}}}}\n").as_bytes());
    shell(
        "zstd -qf index -o files.index.zst && rm index && sha256sum $(ls | grep -v SHA256SUMS) > SHA256SUMS",
        &folder,
    );
}

#[test]
fn the_script_reads_unknown_keys_and_problems_and_loses_only_a_link_to_nothing() {
    let mut sandbox = Sandbox::plain();
    write(&sandbox.tree().join("empty"), b"");
    write(&sandbox.tree().join("file"), b"content");
    let id = sandbox.create().id;
    forge_index(&sandbox, &id, |entries| {
        let mut changed = String::new();
        for line in entries.lines() {
            let line = if line.contains("tree/empty") {
                let (front, rest) = line.split_once("\"content\":").unwrap();
                format!("{front}\"pieces\":[]{}", rest.split_once("]]").unwrap().1)
            } else {
                line.to_string()
            };
            let future = r#","future":{"pieces":[["x",0,1,2]],"path":"else","target":["]]"]},"unsettled_since":null}"#;
            changed += &format!("{}{future}\n", line.strip_suffix('}').unwrap());
        }
        let link = r#""mode":"0644","uid":0,"gid":0,"mtime":"1","ctime":"1","inode":1,"home":["20260117-143000",0,0],"target":"#;
        changed += &format!("{{\"path\":\"tree/zz\",\"type\":\"hardlink\",{link}\"tree/none\"}}\n");
        changed += &format!("{{\"path\":\"tree/../../out\",\"type\":\"hardlink\",{link}\"tree/file\"}}\n");
        (changed, "{\"problem\":{\"kind\":\"of-the-future\",\"path\":\"a\",\"detail\":\"{\\\\\"}}\n".into())
    });
    let (output, target) = by_hand(&sandbox, &id, &[], &[]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("not restored: tree/zz\n"), "{}", said(&output));
    assert!(said(&output).contains("restored files: 3 of 5 entries"), "{}", said(&output));
    assert_same(&look(&sandbox.tree()), &look(&target.join("files/tree")), "all but the links");

    forge_index(&sandbox, &id, |_| (String::new(), String::new()));
    shell("rm files.tar.zst && sed -i /files.tar.zst/d SHA256SUMS", &sandbox.root().join(id.as_str()));
    let (output, target) = by_hand(&sandbox, &id, &[], &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read_dir(target.join("files")).unwrap().count(), 0);
}
