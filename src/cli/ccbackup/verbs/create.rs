//! `ccbackup create`.

use std::path::{Path, PathBuf};

use super::entries::kind_name;
use super::site::{host, make_identity, make_signer, named_signers, own_signer};
use crate::archive::seal::Sealer;
use crate::cli::ccbackup::args::Create;
use crate::cli::{Align, Context, DONE_WITH_PROBLEMS, Table, Terminal, document, escaped, human_bytes, why_full};
use crate::config::{Cipher, ComponentConfig, Config, discover};
use crate::engine::Session;
use crate::engine::create::{self as engine, CreateOptions, CreateReport, Preview, identity_of};
use crate::error::{Error, Result, path_text};
use crate::keys::{AesKey, recipients_of};
use crate::model::BackupKind;
use crate::model::Problem;
use crate::monitor::Monitor as _;
use crate::repo::signing::SignerKey;

pub(super) fn create(args: &Create, context: &Context) -> Result<u8> {
    args.check()?;
    let config = context.config()?;
    let location = context.repository(config.as_ref())?;
    let components = components(args, context, config.as_ref())?;
    let cipher = cipher(args, config.as_ref());
    let trusted = named_signers(context, config.as_ref())?;
    if args.dry_run {
        let sealer = existing_sealer(args, context, config.as_ref(), cipher)?;
        let mut options = options(args, context, config.as_ref(), components, sealer);
        options.skip_identities.extend(identity_of(&location));
        let mut session = Session::look(&location, host(context, own_signer(context)?)?, args.adopt)?;
        session.iter_mut().for_each(|session| session.trust.signers.extend(trusted.clone()));
        let (previews, full_because) = engine::preview(session.as_ref(), &options)?;
        return show_preview(context, &location, &previews, full_because.as_ref().map(why_full));
    }
    let (signer, new_signer) = make_signer(context)?;
    if new_signer {
        context.detail(&format!("made the signer {}", signer.public().fingerprint()));
    }
    let sealer = make_sealer(args, context, config.as_ref(), cipher, &signer.public())?;
    if cipher == Cipher::None && args.cipher.is_none() {
        context.monitor.note("this backup is not encrypted; --encrypt makes a key and encrypts");
    }
    let options = options(args, context, config.as_ref(), components, sealer);
    options.check()?;
    let mut session = Session::open_or_create(&location, host(context, Some(signer))?, args.adopt)?;
    session.trust.signers.extend(trusted);
    let report = session.create(&options, &context.monitor)?;
    context.monitor.finish();
    let mut shown = document(&report)?;
    if let Some(full) = &report.full_because {
        shown["full_because"] = why_full(full).into();
    }
    context.result(&shown, |terminal| print(terminal, &report, &location))?;
    let problems = report.problem_count;
    if problems == 0 {
        return Ok(0);
    }
    for component in &report.components {
        warn_problems(context, &component.name, &component.problems);
    }
    context
        .terminal
        .warn(&format!("backup {} was made, but {problems} entries had problems (listed above)", report.id));
    Ok(DONE_WITH_PROBLEMS)
}

fn warn_problems(context: &Context, component: &str, problems: &[Problem]) {
    for problem in problems {
        context.terminal.warn(&format!("{component}/{}: {}: {}", problem.path, problem.kind, problem.detail));
    }
}

fn options(
    args: &Create,
    context: &Context,
    config: Option<&Config>,
    components: Vec<ComponentConfig>,
    sealer: Sealer,
) -> CreateOptions {
    let defaults = CreateOptions::default();
    CreateOptions {
        components,
        full: args.full,
        rehash: args.rehash,
        sealer,
        level: args.level.or_else(|| config.and_then(|c| c.encryption.level)).unwrap_or(defaults.level),
        threads: context.threads(config),
        tags: args.tag.iter().map(|t| (t.key.clone(), t.value.clone())).collect(),
        skip_identities: own_files(context).iter().filter_map(|path| identity_of(path).ok()).collect(),
        ..defaults
    }
}

/// What no backup may hold: whoever opens one would open all others too. The keys that this run needs are made by now.
fn own_files(context: &Context) -> Vec<PathBuf> {
    let home = &context.home;
    let keys = [home.identity(), home.signer(), home.aes_key()].into_iter().filter_map(Result::ok);
    let named = context.identities().into_iter().chain(context.environment.passphrase_file.clone());
    // A folder that was named by mistake must not be left out.
    keys.chain(named).filter(|path| path.is_file()).chain(home.state_dir()).collect()
}

/// `--path`, else the configuration, else what is found in the current folder.
fn components(args: &Create, context: &Context, config: Option<&Config>) -> Result<Vec<ComponentConfig>> {
    let with_flags = |mut spec: ComponentConfig| {
        let rules = &mut spec.rules;
        rules.exclude.extend(args.exclude.iter().cloned());
        rules.exclude_caches |= args.exclude_caches;
        rules.exclude_if_present.extend(args.exclude_if_present.iter().cloned());
        rules.one_file_system |= args.one_file_system;
        spec
    };
    if !args.path.is_empty() {
        let paths = args.path.iter().map(|p| context.absolute(p)).collect();
        let rules = config.map(|c| c.defaults.rules.clone()).unwrap_or_default();
        let spec = ComponentConfig { name: "files".into(), paths, rules, ..ComponentConfig::default() };
        return Ok(vec![with_flags(spec)]);
    }
    let found = match config {
        Some(config) if !config.components.is_empty() => config.components.clone(),
        _ => discovered(context)?,
    };
    if let Some(unknown) = args.component.iter().find(|name| found.iter().all(|c| c.name != **name)) {
        let names: Vec<_> = found.iter().map(|c| c.name.as_str()).collect();
        return Err(
            Error::usage(format!("there is no component {unknown:?}")).hint(format!("there are: {}", names.join(", ")))
        );
    }
    let wanted = found.into_iter().filter(|c| args.component.is_empty() || args.component.contains(&c.name));
    Ok(wanted.map(with_flags).collect())
}

fn discovered(context: &Context) -> Result<Vec<ComponentConfig>> {
    let found = discover(&context.environment.current, context.environment.home.as_deref())?;
    if found.is_empty() {
        return Err(Error::usage("nothing to back up was found here: no compose file, .env, config or data folder")
            .hint("name a folder with --path, or run `ccbackup init` where the stack is"));
    }
    let names: Vec<_> = found
        .iter()
        .map(|c| format!("{} ({})", c.name, c.paths.iter().map(|p| path_text(p)).collect::<Vec<_>>().join(", ")))
        .collect();
    context.monitor.note(&format!("no configuration; found {}", names.join("; ")));
    Ok(found)
}

fn cipher(args: &Create, config: Option<&Config>) -> Cipher {
    let configured = config.map(|c| &c.encryption);
    let has_recipients = !args.recipient.is_empty() || configured.is_some_and(|e| !e.recipients.is_empty());
    let wanted = if args.encrypt || has_recipients { Cipher::Age } else { Cipher::None };
    match args.cipher.or_else(|| configured.and_then(|e| e.cipher)) {
        // --encrypt overrules a configuration that says none.
        Some(Cipher::None) if args.encrypt => Cipher::Age,
        Some(cipher) => cipher,
        None => wanted,
    }
}

fn recipients<'a>(args: &'a Create, config: Option<&'a Config>) -> &'a [String] {
    let configured = config.map_or(&[][..], |c| &c.encryption.recipients);
    if args.recipient.is_empty() { configured } else { &args.recipient }
}

fn make_sealer(
    args: &Create,
    context: &Context,
    config: Option<&Config>,
    cipher: Cipher,
    signer: &SignerKey,
) -> Result<Sealer> {
    match cipher {
        Cipher::None => Ok(Sealer::none()),
        Cipher::Age => match recipients(args, config) {
            [] => {
                let path = context.home.identity()?;
                let own = if path.exists() { recipients_of(&path)? } else { vec![make_identity(context, signer)?] };
                Sealer::age(&own)
            }
            named => Sealer::age(named),
        },
        Cipher::Aes256Gcm => {
            let path = aes_key_file(context)?;
            if path.exists() {
                return Ok(Sealer::aes(&AesKey::load(&path)?));
            }
            let key = AesKey::generate(&path)?;
            context.terminal.warn(&format!(
                "a new AES key was made in {}\nIt both makes and opens these backups. Copy it to another place now, off this machine.",
                path_text(&path)
            ));
            Ok(Sealer::aes(&key))
        }
    }
}

/// For a dry run, which makes no key.
fn existing_sealer(args: &Create, context: &Context, config: Option<&Config>, cipher: Cipher) -> Result<Sealer> {
    let own = |path: Result<PathBuf>| path.ok().filter(|p| p.exists());
    match cipher {
        Cipher::None => Ok(Sealer::none()),
        Cipher::Age if !recipients(args, config).is_empty() => Sealer::age(recipients(args, config)),
        Cipher::Age => own(context.home.identity()).map_or(Ok(Sealer::none()), |p| Sealer::age(&recipients_of(&p)?)),
        Cipher::Aes256Gcm => {
            own(aes_key_file(context)).map_or(Ok(Sealer::none()), |p| Ok(Sealer::aes(&AesKey::load(&p)?)))
        }
    }
}

/// A key file that was named and is no age identity, else the one of this host.
fn aes_key_file(context: &Context) -> Result<PathBuf> {
    let raw = |path: &PathBuf| path.metadata().is_ok_and(|m| m.len() == 32);
    context.identities().into_iter().find(raw).map_or_else(|| context.home.aes_key(), Ok)
}

fn print(terminal: &Terminal, report: &CreateReport, root: &Path) -> Result<()> {
    let kind = kind_name(report.kind);
    let sealed = if report.encrypted { "encrypted" } else { "not encrypted" };
    let parent = report.parent.as_ref().filter(|_| report.kind == BackupKind::Incremental);
    let parent = parent.map(|p| format!(", on top of {p}")).unwrap_or_default();
    terminal.print(format!("backup {} ({kind}{parent}, {sealed}) in {}", report.id, path_text(root)))?;
    let columns = [
        ("component", Align::Left),
        ("entries", Align::Right),
        ("new", Align::Right),
        ("read", Align::Right),
        ("stored", Align::Right),
        ("problems", Align::Right),
    ];
    let mut table = Table::new(&columns);
    for c in &report.components {
        table.row([
            c.name.clone(),
            c.entries.to_string(),
            c.new_entries.to_string(),
            human_bytes(c.bytes_read),
            human_bytes(c.bytes_stored),
            c.problems.len().to_string(),
        ]);
    }
    terminal.print_table(&table)?;
    if report.left_out > 0 {
        terminal.print(format!("left out by rules: {}; `ccbackup show` lists them", report.left_out))?;
    }
    terminal.print(format!("stored {} in {:.1} s", human_bytes(report.bytes_stored), report.duration_seconds))
}

fn show_preview(context: &Context, root: &Path, previews: &[Preview], full_because: Option<String>) -> Result<u8> {
    context.monitor.finish();
    let problems: usize = previews.iter().map(|p| p.problems.len()).sum();
    let document = serde_json::json!({
        "dry_run": true, "repository": escaped(root), "full_because": full_because, "components": previews,
    });
    context.result(&document, |terminal| {
        terminal.print(format!("a backup into {} would hold:", path_text(root)))?;
        let columns = [
            ("component", Align::Left),
            ("entries", Align::Right),
            ("to read", Align::Right),
            ("bytes to read", Align::Right),
        ];
        let mut table = Table::new(&columns);
        for p in previews {
            table.row([p.name.clone(), p.entries.to_string(), p.new_entries.to_string(), human_bytes(p.bytes_to_read)]);
        }
        terminal.print_table(&table)?;
        let left_out: u64 = previews.iter().map(|p| p.left_out).sum();
        if left_out > 0 {
            terminal.print(format!("left out by rules: {left_out}"))?;
        }
        if let Some(why) = &full_because {
            terminal.print(format!("it would be a full backup: {why}"))?;
        }
        terminal.print("nothing was changed (dry run)")
    })?;
    for preview in previews {
        warn_problems(context, &preview.name, &preview.problems);
    }
    Ok(if problems > 0 { DONE_WITH_PROBLEMS } else { 0 })
}
