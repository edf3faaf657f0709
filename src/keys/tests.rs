use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;

/// Runs a tool with `input`; returns whether it succeeded, its output and its messages. Fails if it is not installed.
pub(crate) fn run(program: &str, args: &[&str], input: &[u8]) -> (bool, Vec<u8>, String) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("this test needs the program {program}: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A tool that refuses its input early closes the pipe, which is not what is tested.
        scope.spawn(move || stdin.write_all(input).unwrap_or_default());
        child.wait_with_output().unwrap()
    });
    (output.status.success(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Makes a file in a folder and returns its path as text.
pub(crate) fn put(folder: &TempDir, name: &str, bytes: &[u8]) -> String {
    let path = folder.path().join(name);
    File::create(&path).unwrap().write_all(bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Makes a key with ssh-keygen and returns the path of its private half.
pub(crate) fn ssh_key_file(folder: &TempDir, kind: &str, passphrase: &str) -> String {
    let path = folder.path().join(kind).to_str().unwrap().to_owned();
    let (good, _, message) = run("ssh-keygen", &["-q", "-t", kind, "-N", passphrase, "-C", "a b", "-f", &path], b"");
    assert!(good, "{message}");
    path
}

fn load(path: impl Into<PathBuf>) -> Result<Keys> {
    Keys::load(&[path.into()])
}

fn load_text(text: &[u8]) -> Result<Keys> {
    let folder = TempDir::new().unwrap();
    load(put(&folder, "file", text))
}

const SIGNER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

#[test]
fn a_generated_identity_is_private_and_age_keygen_reads_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("new/deep/identity.txt");
    let recipient = generate_identity(&path, Some(&format!("{SIGNER} me@here")), Moment::default()).unwrap();
    let mode = |p: &Path| fs::metadata(p).unwrap().mode() & 0o7777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "# created: 1970-01-01T00:00:00Z");
    assert_eq!(lines[1], format!("# public key: {recipient}"));
    assert_eq!(lines[2], format!("# ccbackup-signer: {SIGNER}"));
    assert!(lines[3].starts_with("AGE-SECRET-KEY-1") && lines.len() == 4);

    let (good, output, message) = run("age-keygen", &["-y", path.to_str().unwrap()], b"");
    assert!(good, "{message}");
    assert_eq!(String::from_utf8(output).unwrap().trim(), recipient);

    let keys = load(&path).unwrap();
    assert_eq!(keys.signers(), [SIGNER]);
    assert_eq!(keys.recipients().collect::<Vec<_>>(), [recipient.as_str()]);
    assert!(keys.warnings().is_empty() && keys.has_identities());
    assert_eq!(recipients_of(&path).unwrap(), [recipient]);
    assert!(!format!("{keys:?}").contains("SECRET"));
}

#[test]
fn a_key_file_is_never_replaced() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("key");
    AesKey::generate(&path).unwrap();
    let before = fs::read(&path).unwrap();
    assert_eq!(AesKey::generate(&path).unwrap_err().kind(), Kind::WouldOverwrite);
    assert_eq!(generate_identity(&path, None, Moment::default()).unwrap_err().kind(), Kind::WouldOverwrite);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn an_identity_takes_no_second_line_from_its_signer() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("identity");
    assert_eq!(generate_identity(&path, Some("ssh-rsa AAAA"), Moment::default()).unwrap_err().kind(), Kind::Usage);
    assert!(!path.exists());
}

#[test]
fn an_aes_key_is_32_raw_bytes_with_a_stable_id() {
    let folder = TempDir::new().unwrap();
    let path = put(&folder, "key", &[7; 32]);
    let key = AesKey::load(Path::new(&path)).unwrap();
    // printf 'ccbackup aes key id\0\7\7…' | sha256sum
    assert_eq!(key.id(), "4d66ec78587bc6dc");
    assert_eq!(format!("{key:?}"), "AesKey(\"4d66ec78587bc6dc\")");
    let keys = load(&path).unwrap();
    assert!(keys.aes_key("4d66ec78587bc6dc").is_some() && keys.aes_key("0000000000000000").is_none());
    assert_eq!(recipients_of(Path::new(&path)).unwrap_err().kind(), Kind::Usage);
    let short = put(&folder, "short", &[7; 31]);
    assert_eq!(AesKey::load(Path::new(&short)).unwrap_err().kind(), Kind::Usage);
    let made = AesKey::generate(&folder.path().join("made")).unwrap();
    assert_eq!(AesKey::load(&folder.path().join("made")).unwrap().id(), made.id());
}

#[test]
fn ssh_keys_are_identities_unless_they_need_a_passphrase() {
    let folder = TempDir::new().unwrap();
    for kind in ["ed25519", "rsa"] {
        let path = ssh_key_file(&folder, kind, "");
        let public = fs::read_to_string(format!("{path}.pub")).unwrap();
        let recipient = recipients_of(Path::new(&path)).unwrap().remove(0);
        assert_eq!(format!("{recipient} a b\n"), public);
        let error = load(format!("{path}.pub")).unwrap_err();
        assert!(error.to_string().contains("public key"), "{error}");
    }
    let error = load(ssh_key_file(&folder, "ecdsa", "")).unwrap_err();
    assert!(error.to_string().contains("ecdsa"), "{error}");
    let locked = TempDir::new().unwrap();
    let error = load(ssh_key_file(&locked, "ed25519", "secret")).unwrap_err();
    assert!(error.to_string().contains("passphrase"), "{error}");
}

#[test]
fn several_files_add_up_and_a_signer_is_named_once() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let first = generate_identity(&path("first"), Some(SIGNER), Moment::default()).unwrap();
    let second = generate_identity(&path("second"), Some(SIGNER), Moment::default()).unwrap();
    AesKey::generate(&path("aes")).unwrap();
    let trust = put(&folder, "trust", format!("#ccbackup-signer:{SIGNER} again\r\n").as_bytes());
    let files = [path("first"), path("second"), path("aes"), trust.clone().into()];
    let keys = Keys::load(&files).unwrap();
    assert_eq!(keys.recipients().collect::<Vec<_>>(), [first, second]);
    assert_eq!(keys.signers(), [SIGNER]);
    assert!(keys.has_aes_keys());
    assert!(!load(trust).unwrap().has_identities());
    assert!(!Keys::none().has_identities() && !Keys::none().has_aes_keys());
}

#[test]
fn files_that_others_can_read_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("key");
    AesKey::generate(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let keys = load(&path).unwrap();
    assert_eq!(keys.warnings().len(), 1);
    assert!(keys.warnings()[0].contains("mode 0640"), "{:?}", keys.warnings());
}

#[test]
fn what_is_no_key_file_is_refused_and_not_shown() {
    assert_eq!(load("/nowhere/identity.txt").unwrap_err().kind(), Kind::NotFound);
    let secret = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J3X";
    let big = vec![b'#'; 1024 * 1024 + 1];
    let cases: [(&[u8], &str); 10] = [
        (b"", "holds no key"),
        (b"# only a comment\n", "holds no key"),
        (secret.as_bytes(), "line 1 holds no identity"),
        (b"\n# x\npassword\n", "line 3 holds no identity"),
        (b"age1xyz\n", "public key in line 1"),
        (b"AGE-PLUGIN-YUBIKEY-1XYZ\n", "not supported in line 1"),
        (b"# ccbackup-signer: ssh-rsa AAAAB\n", "no ssh-ed25519 signer in line 1"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "OpenSSH private key"),
        (b"age-encryption.org/v1\n-> scrypt", "sealed with age itself"),
        (&big, "longer than"),
    ];
    for (text, expected) in cases {
        let error = load_text(text).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.one_line().contains("GQ9778") && !error.one_line().contains("password"), "{error}");
    }
    assert!(load_text(&[0xff; 40]).unwrap_err().to_string().contains("not text"));
}
