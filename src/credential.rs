//! Gets secrets from where they are kept, at the moment they are used.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result, path_text};
use crate::http::{Client, Options};
use crate::process::Command;
use crate::secret::{SECRET_MAX, Secret, SecretRef};

/// How long a program may take to print a secret.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

impl SecretRef {
    /// The secret. Line ends at its end do not belong to it.
    ///
    /// A file must not be readable by others; a variable must be set; a program must end well. A Vault server is that of
    /// `VAULT_ADDR`, the token is `VAULT_TOKEN` or in `~/.vault-token`; `VAULT_NAMESPACE` and `VAULT_CACERT` are heeded. What
    /// is empty or longer than [`SECRET_MAX`] is an error. No error repeats anything of a secret.
    pub fn resolve(&self, environment: &Environment) -> Result<Secret> {
        let bytes = match self {
            Self::File(path) => read_file(path)?,
            Self::Env(name) => {
                let missing =
                    || Error::new(Kind::NotFound, format!("the variable {name} is not set, a secret should be in it"));
                environment.get(name).ok_or_else(missing)?.as_bytes().to_vec()
            }
            Self::Vault { path, field } => read_vault(path, field, environment)?,
            Self::Command(argv) => {
                let (program, arguments) = argv.split_first().ok_or_else(|| Error::usage("a command of no words"))?;
                let command = Command::new(program, environment).args(arguments).timeout(COMMAND_TIMEOUT);
                let run = command.run(&[], SECRET_MAX as u64 + 2);
                run.map_err(|e| e.within("cannot get a secret from a program"))?.stdout
            }
        };
        let mut bytes = Zeroizing::new(bytes);
        let length = bytes.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |last| last + 1);
        bytes.truncate(length);
        match length {
            0 => Err(Error::failed(format!("{self} should hold a secret, and is empty"))),
            n if n > SECRET_MAX => Err(too_long(self)),
            _ => Ok(Secret::new(std::mem::take(&mut *bytes))),
        }
    }
}

fn too_long(what: &impl std::fmt::Display) -> Error {
    Error::failed(format!("{what} holds more than {SECRET_MAX} bytes, so it is no secret"))
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    // Not blocking: a pipe without a writer would hold us for ever.
    let mut options = File::options();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let mut file = options.open(path).at("cannot open the secret in", path)?;
    let data = file.metadata().at("cannot stat", path)?;
    if !data.is_file() {
        return Err(Error::failed(format!("{} should hold a secret, and is no plain file", path_text(path))));
    }
    // That a group of its own may read it is usual for services.
    if data.mode() & 0o027 != 0 {
        return Err(open_to_others(path, data.mode()));
    }
    let mut bytes = Vec::with_capacity(SECRET_MAX + 3);
    let read = file.by_ref().take(SECRET_MAX as u64 + 3).read_to_end(&mut bytes);
    read.at("cannot read the secret in", path)?;
    Ok(bytes)
}

fn read_vault(path: &str, field: &str, environment: &Environment) -> Result<Vec<u8>> {
    let text = |name: &str| environment.get(name).and_then(|value| value.to_str());
    let address = text("VAULT_ADDR").ok_or_else(|| {
        Error::new(Kind::NotFound, "the variable VAULT_ADDR is not set, it should name the vault that keeps a secret")
    })?;
    let token = match environment.get("VAULT_TOKEN") {
        Some(_) => SecretRef::Env("VAULT_TOKEN".to_owned()).resolve(environment)?,
        None => {
            let home = environment.get("HOME").map(Path::new).filter(|home| home.is_absolute());
            let file = home.map(|home| home.join(".vault-token")).filter(|file| file.exists());
            let missing =
                || Error::new(Kind::Denied, "there is no token for the vault").hint("set the variable VAULT_TOKEN");
            SecretRef::File(file.ok_or_else(missing)?).resolve(environment)?
        }
    };
    let options = Options { ca_file: environment.get("VAULT_CACERT").map(Into::into), ..Options::default() };
    let client = Client::new(address, &options).map_err(|e| e.within("VAULT_ADDR cannot be used"))?;
    let client = client.secret_header("x-vault-token", &token)?;
    let mut request = client.get(&format!("v1/{path}")).header("x-vault-request", "true").max(4 * SECRET_MAX as u64);
    if let Some(namespace) = text("VAULT_NAMESPACE") {
        request = request.header("x-vault-namespace", namespace);
    }
    let mut answer = request.json().map_err(|e| e.within("cannot get a secret from the vault"))?;
    // The second version of the key-value engine puts the fields one level deeper, beside what it knows of them.
    let mut fields = take(&mut answer, "data");
    if fields.get("data").is_some_and(Value::is_object) && fields.get("metadata").is_some_and(Value::is_object) {
        fields = take(&mut fields, "data");
    }
    match take(&mut fields, field) {
        Value::String(text) => Ok(text.into_bytes()),
        Value::Null => Err(Error::new(Kind::NotFound, format!("the secret {path} in the vault has no field {field}"))),
        _ => Err(Error::failed(format!("the field {field} of {path} in the vault is no text"))),
    }
}

/// Takes a member out of what should be an object; null when it has none, or is none.
fn take(value: &mut Value, name: &str) -> Value {
    value.get_mut(name).map(Value::take).unwrap_or_default()
}

fn open_to_others(path: &Path, mode: u32) -> Error {
    let shown = path_text(path);
    let message = format!("{shown} holds a secret, and others may read it (mode {:04o})", mode & 0o7777);
    Error::new(Kind::Denied, message).hint(format!("chmod 600 {shown}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::error::Hint;
    use crate::http::tests::{Server, json};

    fn environment() -> Environment {
        let path = std::env::var_os("PATH").unwrap();
        Environment::new([("PATH".into(), path), ("TOKEN".into(), "from-env\n".into())])
    }

    fn command(script: &str) -> SecretRef {
        SecretRef::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    fn text(reference: &SecretRef) -> Result<String> {
        reference.resolve(&environment()).map(|secret| secret.text().unwrap().to_owned())
    }

    #[test]
    fn a_secret_comes_without_the_line_end_of_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let reference = SecretRef::File(file.path().to_owned());
        for (content, secret) in [("x", "x"), ("x\n", "x"), (" x y \r\n\n", " x y "), ("a\nb\n", "a\nb")] {
            fs::OpenOptions::new().write(true).truncate(true).open(&file).unwrap();
            std::io::Write::write_all(&mut file.as_file(), content.as_bytes()).unwrap();
            std::io::Seek::rewind(&mut file.as_file()).unwrap();
            assert_eq!(text(&reference).unwrap(), secret, "{content:?}");
        }
        assert_eq!(text(&SecretRef::Env("TOKEN".into())).unwrap(), "from-env");
        assert_eq!(text(&command("echo printed")).unwrap(), "printed");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file.as_file(), b"canary").unwrap();
        let reference = SecretRef::File(file.path().to_owned());
        for (mode, good) in
            [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o604, false), (0o660, false)]
        {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let result = text(&reference);
            assert_eq!(result.is_ok(), good, "{mode:o}");
            if let Err(error) = result {
                assert_eq!(error.kind(), Kind::Denied);
                assert!(matches!(error.advice(), Some(Hint::Words(words)) if words.starts_with("chmod 600 /")));
                assert!(!format!("{error:?}").contains("canary"));
            }
        }
    }

    #[test]
    fn what_is_missing_empty_too_long_or_no_file_is_an_error_that_names_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let cases = [
            (SecretRef::Env("NOT_SET".into()), "NOT_SET"),
            (SecretRef::File("/nowhere/x".into()), "/nowhere/x"),
            (SecretRef::File(folder.path().to_owned()), "no plain file"),
            (SecretRef::File(pipe), "no plain file"),
            (command("true"), "is empty"),
            (command("head -c 65537 /dev/zero"), "more than 65536 bytes"),
            (command("head -c 1000000 /dev/zero"), "more than"),
            (command("echo canary; echo no vault here >&2; exit 1"), "no vault here"),
            (SecretRef::Command(vec!["/nowhere/pass".into()]), "/nowhere/pass"),
        ];
        for (reference, named) in cases {
            let error = text(&reference).unwrap_err().one_line();
            assert!(error.contains(named) && !error.contains("canary"), "{error}");
        }
    }

    fn vault(server: &Server, more: &[(&str, &str)], reference: &str) -> Result<String> {
        let given = [("VAULT_ADDR", &*server.url)].into_iter().chain(more.iter().copied());
        let environment = Environment::new(given.map(|(name, value)| (name.into(), value.into())));
        let secret = SecretRef::vault(reference).unwrap().resolve(&environment)?;
        Ok(secret.text().unwrap().to_owned())
    }

    #[test]
    fn a_vault_gives_a_field_of_either_version_of_its_engine() {
        let token = ("VAULT_TOKEN", "canary-token");
        let second = r#"{"data": {"data": {"grafana": "two"}, "metadata": {"version": 3}}}"#;
        let server = Server::new([json(200, second)]);
        let text = vault(&server, &[token, ("VAULT_NAMESPACE", "team/a")], "secret/data/ccbackup#grafana").unwrap();
        assert_eq!(text, "two");
        let asked = server.asked().remove(0).to_ascii_lowercase();
        assert!(asked.starts_with("get /v1/secret/data/ccbackup http"), "{asked}");
        for header in ["x-vault-token: canary-token", "x-vault-request: true", "x-vault-namespace: team/a"] {
            assert!(asked.contains(header), "{asked}");
        }
        let server = Server::new([json(200, r#"{"data": {"grafana": "one", "data": "x"}}"#)]);
        assert_eq!(vault(&server, &[token], "kv/ccbackup#grafana").unwrap(), "one");
    }

    #[test]
    fn a_vault_that_gives_nothing_says_why_without_a_secret() {
        let token = ("VAULT_TOKEN", "canary-token");
        let deleted = r#"{"data": {"data": null, "metadata": {"destroyed": true}}}"#;
        for (status, body, kind, said) in [
            (403, r#"{"errors": ["permission denied"]}"#, Kind::Denied, "permission denied"),
            (404, r#"{"errors": []}"#, Kind::NotFound, "v1/secret/data/x"),
            (404, deleted, Kind::NotFound, "404"),
            (200, deleted, Kind::NotFound, "has no field f"),
            (200, r#"{"data": {"f": ["canary"]}}"#, Kind::Failed, "is no text"),
            (200, r#"{"data": {"other": "canary"}}"#, Kind::NotFound, "has no field f"),
            (200, r#"[]"#, Kind::NotFound, "has no field f"),
            (200, r#"{"data": {"f": "canary"#, Kind::Incomplete, "not whole"),
        ] {
            let error = vault(&Server::new([json(status, body)]), &[token], "secret/data/x#f").unwrap_err();
            assert_eq!(error.kind(), kind, "{}", error.one_line());
            assert!(error.one_line().contains(said) && !format!("{error:?}").contains("canary"), "{error:?}");
        }
        let server = Server::new([json(200, "{}")]);
        assert_eq!(vault(&server, &[], "secret/data/x#f").unwrap_err().kind(), Kind::Denied);
        let nowhere = SecretRef::vault("secret/data/x#f").unwrap().resolve(&environment()).unwrap_err();
        assert!(nowhere.to_string().contains("VAULT_ADDR"));
    }

    #[test]
    fn the_token_may_lie_where_the_vault_client_puts_it() {
        let home = tempfile::tempdir().unwrap();
        let server = Server::new([json(200, r#"{"data": {"f": "x"}}"#)]);
        crate::keys::create_secret_file(&home.path().join(".vault-token"), b"canary-token\n").unwrap();
        assert_eq!(vault(&server, &[("HOME", home.path().to_str().unwrap())], "secret/x#f").unwrap(), "x");
        assert!(server.asked()[0].contains("canary-token"));
    }
}
