use tempfile::TempDir;

use super::*;
use crate::keys::tests::{put, run, ssh_key_file};

const MESSAGE: &[u8] = b"0123  manifest.json\n";

fn signer(folder: &TempDir) -> (Signer, String) {
    let path = folder.path().join("signer");
    (Signer::generate(&path).unwrap(), path.to_str().unwrap().to_owned())
}

fn ssh_sign(key: &str, namespace: &str, message: &[u8]) -> String {
    let (good, signature, error) = run("ssh-keygen", &["-Y", "sign", "-f", key, "-n", namespace], message);
    assert!(good, "{error}");
    String::from_utf8(signature).unwrap()
}

fn kind_of(message: &[u8], signature: &str, trusted: &[SignerKey]) -> Kind {
    verify(message, signature, trusted).unwrap_err().kind()
}

#[test]
fn ssh_keygen_accepts_our_signature_and_allowed_signers() {
    let folder = TempDir::new().unwrap();
    let (signer, path) = signer(&folder);
    let other = Signer::generate(&folder.path().join("other")).unwrap();
    let allowed = put(&folder, "allowed", allowed_signers(&[other.public(), signer.public()]).as_bytes());
    let signature = put(&folder, "sig", signer.sign(MESSAGE).unwrap().as_bytes());
    let check = |principal, namespace, message| {
        run(
            "ssh-keygen",
            &["-Y", "verify", "-f", &allowed, "-I", principal, "-n", namespace, "-s", &signature],
            message,
        )
    };
    let (good, _, error) = check("ccbackup", "ccbackup", MESSAGE);
    assert!(good, "{error}");
    assert!(!check("ccbackup", "file", MESSAGE).0);
    assert!(!check("root", "ccbackup", MESSAGE).0);
    assert!(!check("ccbackup", "ccbackup", b"other").0);

    let (good, listed, error) = run("ssh-keygen", &["-l", "-f", &path], b"");
    assert!(good, "{error}");
    let listed = String::from_utf8(listed).unwrap();
    assert!(listed.contains(&signer.public().fingerprint()) && listed.contains(" ccbackup "), "{listed}");
}

#[test]
fn we_accept_what_ssh_keygen_signs() {
    let folder = TempDir::new().unwrap();
    let path = ssh_key_file(&folder, "ed25519", "");
    let signer = Signer::load(Path::new(&path)).unwrap();
    let public: SignerKey = std::fs::read_to_string(format!("{path}.pub")).unwrap().parse().unwrap();
    assert_eq!(signer.public(), public);
    for message in [MESSAGE, b"", &[0xff; 100_000]] {
        let signature = ssh_sign(&path, "ccbackup", message);
        assert_eq!(verify(message, &signature, std::slice::from_ref(&public)).unwrap(), public);
    }
    let sha256 = run("ssh-keygen", &["-Y", "sign", "-f", &path, "-n", "ccbackup", "-O", "hashalg=sha256"], MESSAGE);
    assert!(sha256.0, "{}", sha256.2);
    assert_eq!(verify(MESSAGE, &String::from_utf8(sha256.1).unwrap(), std::slice::from_ref(&public)).unwrap(), public);

    let signature = ssh_sign(&path, "file", MESSAGE);
    let error = verify(MESSAGE, &signature, &[public]).unwrap_err();
    assert_eq!(error.kind(), Kind::Damage);
    assert!(error.to_string().contains("namespace \"file\""), "{error}");
}

#[test]
fn a_signature_by_somebody_else_names_both() {
    let folder = TempDir::new().unwrap();
    let (signer, _) = signer(&folder);
    let other = Signer::generate(&folder.path().join("other")).unwrap().public();
    let signature = signer.sign(MESSAGE).unwrap();
    let error = verify(MESSAGE, &signature, std::slice::from_ref(&other)).unwrap_err();
    assert_eq!(error.kind(), Kind::WrongSigner);
    let text = error.to_string();
    assert!(text.contains(&signer.public().fingerprint()) && text.contains(&other.fingerprint()), "{text}");
    assert_eq!(kind_of(MESSAGE, &signature, &[]), Kind::Unsigned);
    assert_eq!(verify(MESSAGE, &signature, &[other, signer.public()]).unwrap(), signer.public());
}

#[test]
fn a_changed_message_or_signature_is_damage() {
    let folder = TempDir::new().unwrap();
    let (signer, _) = signer(&folder);
    let trusted = [signer.public()];
    let signature = signer.sign(MESSAGE).unwrap();
    assert_eq!(kind_of(b"other", &signature, &trusted), Kind::Damage);
    for text in ["", "hello", "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"] {
        assert_eq!(kind_of(MESSAGE, text, &trusted), Kind::Damage);
    }
    assert_eq!(kind_of(MESSAGE, &" ".repeat(64 * 1024 + 1), &trusted), Kind::Damage);
    for end in 0..signature.len() {
        assert_eq!(kind_of(MESSAGE, &signature[..end], &trusted), Kind::Damage, "cut at {end}");
    }
    for at in 0..signature.len() {
        for bit in 0..8 {
            let mut changed = signature.clone().into_bytes();
            changed[at] ^= 1 << bit;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            assert_eq!(kind_of(MESSAGE, &changed, &trusted), Kind::Damage, "bit {bit} of byte {at}");
        }
    }
    for end in ["\n", " ", "x"] {
        assert_eq!(kind_of(MESSAGE, &format!("{signature}{end}"), &trusted), Kind::Damage, "{end:?} appended");
    }
}

#[test]
fn a_signing_key_survives_being_saved_and_is_never_replaced() {
    let folder = TempDir::new().unwrap();
    let (signer, path) = signer(&folder);
    let loaded = Signer::load(Path::new(&path)).unwrap();
    assert_eq!(loaded.public(), signer.public());
    assert_eq!(loaded.sign(MESSAGE).unwrap(), signer.sign(MESSAGE).unwrap());
    assert_eq!(Signer::generate(Path::new(&path)).unwrap_err().kind(), Kind::WouldOverwrite);
    assert_eq!(Signer::load(&folder.path().join("none")).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(format!("{signer:?}"), format!("Signer({:?})", signer.public().fingerprint()));
}

#[test]
fn only_ed25519_without_passphrase_is_accepted() {
    let folder = TempDir::new().unwrap();
    for kind in ["rsa", "ecdsa"] {
        let path = ssh_key_file(&folder, kind, "");
        let error = Signer::load(Path::new(&path)).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        let public = std::fs::read_to_string(format!("{path}.pub")).unwrap();
        let error = public.parse::<SignerKey>().unwrap_err();
        assert!(error.to_string().contains(kind), "{error}");
        let error = verify(MESSAGE, &ssh_sign(&path, "ccbackup", MESSAGE), &[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Damage);
        assert!(error.to_string().contains("only ssh-ed25519"), "{error}");
    }
    let path = ssh_key_file(&folder, "ed25519", "secret");
    let error = Signer::load(Path::new(&path)).unwrap_err();
    assert!(error.to_string().contains("passphrase"), "{error}");
    for text in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----"] {
        assert_eq!(text.parse::<SignerKey>().unwrap_err().kind(), Kind::Usage);
    }
}

#[test]
fn a_public_key_is_written_without_its_comment() {
    let text = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    let key: SignerKey = format!(" {text} user@example.com and more\n").parse().unwrap();
    assert_eq!(key.to_string(), text);
    assert_eq!(allowed_signers(&[key]), format!("ccbackup namespaces=\"ccbackup\" {text}\n"));
}
