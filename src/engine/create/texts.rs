//! The files of a backup that are for people without this program: `restore.sh` and `README.txt`.

use std::fmt::Write as _;

use crate::model::{BackupKind, Manifest, Sealing};
use crate::repo::signing::SignerKey;

/// Names and contents.
pub(super) fn texts(manifest: &Manifest, signer: &SignerKey) -> [(&'static str, String); 2] {
    [("README.txt", readme(manifest, signer)), ("restore.sh", restore_script(manifest))]
}

/// The script is the same for every backup but for these lines.
fn restore_script(manifest: &Manifest) -> String {
    let components: Vec<_> = manifest.components.iter().map(|c| c.name.as_str()).collect();
    let depends_on: Vec<_> = manifest.depends_on.iter().map(|d| format!("{} {}", d.id, d.sums_sha256)).collect();
    // Ids, component names, digests and extensions hold no character that a shell would take for anything else.
    format!(
        "#!/bin/sh\nID='{}'\nEXT='{}'\nCOMPONENTS='{}'\nDEPENDS_ON='{}'\n{}",
        manifest.id,
        manifest.sealing.extension(),
        components.join(" "),
        depends_on.join("\n"),
        include_str!("restore.sh")
    )
}

fn readme(manifest: &Manifest, signer: &SignerKey) -> String {
    let mut text = String::new();
    let id = &manifest.id;
    let mut put = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    put(&format!("This folder is the backup {id}, made by {} on {}.", manifest.tool, manifest.created_at));
    put("Its files are plain tar, zstd and age: it can be restored without the program that made it.");
    put("");
    match &manifest.sealing {
        Sealing::Age { recipients } => {
            put("KEY: the files ending in .age are encrypted. They open with the age identity that belongs to any of:");
            recipients.iter().for_each(|r| put(&format!("  {r}")));
            put("The identity file is called identity.txt below. It is not in this repository.");
        }
        Sealing::Aes256Gcm { key_id } => {
            put(&format!("KEY: the files ending in .aes are encrypted with the 32-byte key whose id is {key_id}."));
            put("age cannot open them; docs/aes-decrypt.py of ccbackup (40 lines of Python) can.");
        }
        Sealing::None => put("KEY: none. The files are not encrypted."),
    }
    let key = if manifest.sealing.is_encrypted() { " -i identity.txt" } else { "" };
    put("");
    put("CHECK that nothing is damaged, and who made it (no key needed):");
    put("  sha256sum -c SHA256SUMS");
    put("  ssh-keygen -Y verify -f ../allowed_signers -I ccbackup -n ccbackup -s SHA256SUMS.sig < SHA256SUMS");
    put(&format!("  The signer's key is {signer}"));
    put(&format!("  ({}). Compare it with a copy kept elsewhere.", signer.fingerprint()));
    put("");
    put("RESTORE with ccbackup:");
    put(&format!("  ccbackup --repo ..{}{key} restore {id} --target OUT", ""));
    put("");
    put("RESTORE with standard tools (sh, age, zstd, GNU tar, awk, coreutils), as root to get owners back:");
    put(&format!("  sh restore.sh{key} -o OUT"));
    put("It names what did not come back (exit status 3), and with -f goes on in spite of damaged files (4).");
    if manifest.kind == BackupKind::Full {
        put("");
        put(
            "This is a full backup, so each archive can also be unpacked by itself (in a UTF-8 locale: see `locale -a`):",
        );
        for component in &manifest.components {
            for archive in &component.archives {
                let open = match &manifest.sealing {
                    Sealing::Age { .. } => format!("age -d -i identity.txt {} | zstd -d", archive.name),
                    Sealing::Aes256Gcm { .. } => format!("python3 aes-decrypt.py KEY < {} | zstd -d", archive.name),
                    Sealing::None => format!("zstd -dc {}", archive.name),
                };
                put(&format!("  {open} | LC_ALL=C.UTF-8 tar -x --xattrs --xattrs-include='*' -p -C OUT"));
            }
        }
    } else {
        put("");
        put("This is an incremental backup. It needs these folders beside it:");
        manifest.depends_on.iter().for_each(|d| put(&format!("  {}", d.id)));
        put(
            "restore.sh takes from each what it needs, deletions included. It wants room for the largest archive in $TMPDIR.",
        );
    }
    put("");
    put("The index files list every entry as a line of JSON; archives and pieces are named in it.");
    let mut total = String::new();
    for component in &manifest.components {
        writeln!(total, "  {}: {} entries, {} bytes", component.name, component.entries, component.content_bytes)
            .expect("writing to memory does not fail");
    }
    put("");
    put("COMPONENTS:");
    text.push_str(&total);
    text
}
