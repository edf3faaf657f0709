//! `ccbackup key generate|list|export`.

use crate::cli::ccbackup::args::{Key, KeyAction, KeyExport, KeyGenerate};
use crate::cli::ccbackup::session::{make_signer, own_recipients, own_signer};
use crate::cli::{Context, Table, escaped};
use crate::config::Cipher;
use crate::error::{Error, Kind, Result, path_text};
use crate::keys::AesKey;
use crate::repo::read_small;

pub(super) fn key(args: &Key, context: &Context) -> Result<u8> {
    match &args.action {
        KeyAction::Generate(args) => generate(args, context),
        KeyAction::List => list(context),
        KeyAction::Export(args) => export(args, context),
    }
}

fn generate(args: &KeyGenerate, context: &Context) -> Result<u8> {
    let (signer, _) = make_signer(context)?;
    if args.cipher == Cipher::Aes256Gcm {
        let path = context.dirs.aes_key()?;
        let key = if path.exists() { AesKey::load(&path)? } else { AesKey::generate(&path)? };
        let document = serde_json::json!({ "aes_key_id": key.id(), "signer": signer.public().to_string() });
        context.result(&document, |t| {
            t.print(format!("AES key  {}  {}", key.id(), path_text(&path)))?;
            t.print(format!("signer   {}", signer.public()))
        })?;
        return Ok(0);
    }
    let recipients = own_recipients(context, Some(&signer.public()))?;
    let document = serde_json::json!({ "recipients": recipients, "signer": signer.public().to_string() });
    context.result(&document, |t| {
        recipients.iter().try_for_each(|r| t.print(format!("recipient  {r}")))?;
        t.print(format!("signer     {}", signer.public()))
    })?;
    Ok(0)
}

fn list(context: &Context) -> Result<u8> {
    let mut rows: Vec<(&str, String, String)> = Vec::new();
    if let Some(signer) = own_signer(context)? {
        rows.push(("signer", signer.public().to_string(), escaped(&context.dirs.signer()?)));
    }
    let path = context.dirs.identity()?;
    for recipient in own_recipients(context, None)? {
        rows.push(("recipient", recipient, escaped(&path)));
    }
    let path = context.dirs.aes_key()?;
    if path.exists() {
        rows.push(("aes-256-gcm", AesKey::load(&path)?.id(), escaped(&path)));
    }
    let document: Vec<_> = rows
        .iter()
        .map(|(kind, public, file)| serde_json::json!({ "kind": kind, "public": public, "file": file }))
        .collect();
    context.result(&document, |terminal| {
        if rows.is_empty() {
            return terminal.print("no keys yet; `ccbackup key generate` makes them");
        }
        let mut table = Table::new(&["kind", "public key or id", "file"]);
        rows.iter().for_each(|(kind, public, file)| table.row(&[kind, public, file]));
        terminal.print_table(&table)
    })?;
    Ok(0)
}

/// What another place needs: without `--secret` the public keys, with it the identity file, which opens backups and
/// names the signer.
fn export(args: &KeyExport, context: &Context) -> Result<u8> {
    let identity = context.dirs.identity()?;
    let signer = own_signer(context)?;
    if args.secret {
        if context.json() {
            return Err(Error::usage("`key export --secret` writes an identity file; it has no --json"));
        }
        if !identity.exists() {
            return Err(Error::new(Kind::NotFound, format!("there is no identity at {}", path_text(&identity)))
                .hint("hosts that only hold a recipient have nothing secret to export"));
        }
        let text =
            String::from_utf8(read_small(&identity)?).map_err(|_| Error::failed("the identity file is not text"))?;
        context.terminal.print_bytes(text.as_bytes())?;
        if let Some(signer) = signer {
            let line = format!("# ccbackup-signer: {}", signer.public());
            if !text.lines().any(|l| l == line) {
                context.terminal.print(line)?;
            }
        }
        return Ok(0);
    }
    let recipients = own_recipients(context, None)?;
    let signer = signer.map(|s| s.public().to_string());
    if recipients.is_empty() && signer.is_none() {
        return Err(Error::new(Kind::NotFound, "there are no keys yet").hint("`ccbackup key generate` makes them"));
    }
    let document = serde_json::json!({ "recipients": recipients, "signer": signer });
    context.result(&document, |t| {
        recipients.iter().try_for_each(|r| t.print(format!("# recipient: give it to hosts that back up\n{r}")))?;
        signer
            .iter()
            .try_for_each(|s| t.print(format!("# signer: give it to hosts that verify and restore (--signer)\n{s}")))
    })?;
    Ok(0)
}
