//! `ccbackup init`.

use std::path::Path;

use crate::cli::ccbackup::args::Init;
use crate::cli::ccbackup::session::{make_signer, own_recipients};
use crate::cli::{Context, DEFAULT_REPOSITORY, escaped};
use crate::config::{FILE_NAME, Rendering, Surroundings, render, survey};
use crate::durable::Disk;
use crate::error::{Error, Kind, Result, path_text};

pub(super) fn init(args: &Init, context: &Context) -> Result<u8> {
    let folder = context.absolute(&args.dir);
    let folder = folder
        .canonicalize()
        .map_err(|e| Error::new(Kind::NotFound, format!("there is no folder {}", path_text(&folder))).because(e))?;
    let file = folder.join(FILE_NAME);
    if file.exists() && !args.force && !args.dry_run {
        return Err(Error::new(Kind::WouldOverwrite, format!("{} is already there", path_text(&file)))
            .hint("edit it, or add --force to write it anew"));
    }
    let home = context.environment.home.as_deref();
    let environment = &context.environment.variables;
    let (network, root) = (Path::new("/proc/net"), Path::new("/"));
    let found = survey(&Surroundings { folder: &folder, home, environment, network, root })?;
    let components = &found.components;
    let keys_dir = context.dirs.keys_dir()?;
    let signer = if args.dry_run { None } else { Some(make_signer(context)?.0.public()) };
    let recipients = own_recipients(context, signer.as_ref())?;
    let location = folder.join(DEFAULT_REPOSITORY);
    let text = render(&Rendering {
        folder: &folder,
        home,
        location: &location,
        recipients: &recipients,
        signers: &[],
        components,
        comments: &found.comments,
    })?;
    if !args.dry_run {
        Disk::default().replace(&file, text.as_bytes())?;
    }
    let names: Vec<_> = components.iter().map(|c| c.name.clone()).collect();
    let document = serde_json::json!({
        "dry_run": args.dry_run, "file": escaped(&file), "components": names, "recipients": recipients,
    });
    context.result(&document, |terminal| {
        if args.dry_run {
            terminal.print(text.trim_end())?;
            return terminal.print(format!("\n# nothing was written (dry run); it would go to {}", path_text(&file)));
        }
        terminal.print(format!("wrote {}", path_text(&file)))?;
        if components.is_empty() {
            terminal.print("found no compose file, .env, config or data folder: add a [[component]] by hand")?;
        } else {
            terminal.print(format!("found {}", names.join(", ")))?;
        }
        terminal.print(format!("keys are in {}", path_text(&keys_dir)))?;
        terminal.print(
            "keep off this machine: the output of `ccbackup key export --secret`, and a copy of the repository",
        )?;
        terminal.print("next: `ccbackup create`, `ccbackup verify`, `ccbackup restore --target DIR`")
    })?;
    Ok(0)
}
