//! `ccbackup create`.

use std::path::{Path, PathBuf};

use crate::archive::seal::Sealer;
use crate::cli::ccbackup::args::Create;
use crate::cli::ccbackup::session::{host, make_signer, named_signers, own_recipients, own_signer};
use crate::cli::{Context, DONE_WITH_PROBLEMS, Table, Terminal, document, escaped, human_bytes, shown, why_full};
use crate::config::{Cipher, ComponentConfig, Config, FilesConfig, discover};
use crate::engine::Session;
use crate::engine::create::{self as engine, CreateOptions, CreateReport, Preview, identity_of};
use crate::error::{Error, Result, path_text};
use crate::keys::AesKey;
use crate::model::{BackupKind, Problem};
use crate::monitor::Monitor as _;
use crate::repo::signing::SignerKey;

pub(super) fn create(args: &Create, context: &Context) -> Result<u8> {
    args.check()?;
    let config = &context.config()?;
    let location = context.repository(config)?;
    let wanted = Wanted { args, context, config, cipher: cipher(args, config) };
    let components = wanted.components()?;
    let trusted = named_signers(context, config)?;
    if args.dry_run {
        let mut options = wanted.options(components, wanted.sealer(None)?);
        options.skip_identities.extend(identity_of(&location));
        let host = host(context, own_signer(context)?)?;
        let mut session = Session::look(&location, host.clone(), args.adopt)?;
        session.iter_mut().for_each(|session| session.trust.signers.extend(trusted.clone()));
        let (previews, full_because) = engine::preview(session.as_ref(), &options, &host, &context.monitor)?;
        return show_preview(context, &location, &previews, full_because.as_ref().map(why_full));
    }
    let (signer, new_signer) = make_signer(context)?;
    if new_signer {
        context.detail(&format!("made the signer {}", signer.public().fingerprint()));
    }
    let sealer = wanted.sealer(Some(&signer.public()))?;
    if wanted.cipher == Cipher::None && args.cipher.is_none() {
        context.monitor.note("this backup is not encrypted; --encrypt makes a key and encrypts");
    }
    let options = wanted.options(components, sealer);
    options.check()?;
    let mut session = Session::open_or_create(&location, host(context, Some(signer))?, args.adopt)?;
    session.trust.signers.extend(trusted);
    let report = session.create(&options, &context.monitor)?;
    // Others may write while the report is read.
    drop(session);
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
    for failed in &report.failed {
        let last = match &failed.last_good {
            Some(last) => format!("backup {} holds it", last.id),
            None => "no backup holds it".into(),
        };
        context.terminal.warn(&format!("{}: NOT CAPTURED: {}; {last}", failed.name, failed.detail));
    }
    let (id, failed) = (&report.id, report.failed.len() as u64);
    let entries = problems - failed;
    let what = match (failed, entries) {
        (0, _) => format!("{entries} entries had problems"),
        (_, 0) => format!("{failed} components are missing"),
        _ => format!("{failed} components are missing and {entries} entries had problems"),
    };
    context.terminal.warn(&format!("backup {id} was made, but {what} (listed above)"));
    Ok(DONE_WITH_PROBLEMS)
}

fn warn_problems(context: &Context, component: &str, problems: &[Problem]) {
    for problem in problems {
        context.terminal.warn(&format!("{component}/{}: {}: {}", problem.path, problem.kind, problem.detail));
    }
}

/// What a run is made of: the command line, its surroundings, the configuration.
struct Wanted<'a> {
    args: &'a Create,
    context: &'a Context,
    config: &'a Config,
    cipher: Cipher,
}

impl Wanted<'_> {
    fn options(&self, components: Vec<ComponentConfig>, sealer: Sealer) -> CreateOptions {
        let Self { args, context, config, .. } = self;
        let defaults = CreateOptions::default();
        CreateOptions {
            components,
            full: args.full,
            rehash: args.rehash,
            sealer,
            level: args.level.or(config.encryption.level).unwrap_or(defaults.level),
            threads: context.threads(config),
            is_part: !args.component.is_empty() || (!args.path.is_empty() && !config.components.is_empty()),
            tags: args.tag.iter().map(|t| (t.key.clone(), t.value.clone())).collect(),
            skip_identities: own_files(context).iter().filter_map(|path| identity_of(path).ok()).collect(),
            ..defaults
        }
    }

    /// `--path`, else the configuration, else what is found in the current folder.
    fn components(&self) -> Result<Vec<ComponentConfig>> {
        let Self { args, context, config, .. } = self;
        let with_flags = |mut spec: ComponentConfig| {
            if let Some(FilesConfig { rules, .. }) = spec.files_mut() {
                rules.exclude.extend(args.exclude.iter().cloned());
                rules.exclude_caches |= args.exclude_caches;
                rules.exclude_if_present.extend(args.exclude_if_present.iter().cloned());
                rules.one_file_system |= args.one_file_system;
            }
            spec
        };
        if !args.path.is_empty() {
            let paths = args.path.iter().map(|p| context.absolute(p)).collect();
            let mut spec = ComponentConfig::of_files("files", paths);
            if let Some(FilesConfig { rules, .. }) = spec.files_mut() {
                rules.clone_from(&config.defaults.rules);
            }
            return Ok(vec![with_flags(spec)]);
        }
        let configured = &config.components;
        let found = if configured.is_empty() { discovered(context)? } else { configured.clone() };
        if let Some(unknown) = args.component.iter().find(|name| found.iter().all(|c| c.name != **name)) {
            let names: Vec<_> = found.iter().map(|c| c.name.as_str()).collect();
            return Err(Error::usage(format!("there is no component {unknown:?}"))
                .hint(format!("there are: {}", names.join(", "))));
        }
        let wanted = found.into_iter().filter(|c| args.component.is_empty() || args.component.contains(&c.name));
        Ok(wanted.map(with_flags).collect())
    }

    /// What seals the backup. Keys that are missing are made for a signer; a dry run has none and makes none.
    fn sealer(&self, signer: Option<&SignerKey>) -> Result<Sealer> {
        match self.cipher {
            Cipher::None => Ok(Sealer::none()),
            Cipher::Age => match recipients(self.args, self.config) {
                [] => match own_recipients(self.context, signer)? {
                    own if own.is_empty() && signer.is_none() => Ok(Sealer::none()),
                    own => Sealer::age(&own),
                },
                named => Sealer::age(named),
            },
            Cipher::Aes256Gcm => match aes_key_file(self.context) {
                Ok(path) if path.exists() => Ok(Sealer::aes(&AesKey::load(&path)?)),
                _ if signer.is_none() => Ok(Sealer::none()),
                path => self.new_aes_sealer(&path?),
            },
        }
    }

    fn new_aes_sealer(&self, path: &Path) -> Result<Sealer> {
        let key = AesKey::generate(path)?;
        self.context.terminal.warn(&format!(
            "a new AES key was made in {}\nIt both makes and opens these backups. Copy it to another place now, off this machine.",
            path_text(path)
        ));
        Ok(Sealer::aes(&key))
    }
}

fn cipher(args: &Create, config: &Config) -> Cipher {
    let has_recipients = !recipients(args, config).is_empty();
    match args.cipher.or(config.encryption.cipher) {
        // --encrypt overrules a configuration that says none.
        Some(Cipher::None) if args.encrypt => Cipher::Age,
        Some(cipher) => cipher,
        None if args.encrypt || has_recipients => Cipher::Age,
        None => Cipher::None,
    }
}

fn recipients<'a>(args: &'a Create, config: &'a Config) -> &'a [String] {
    if args.recipient.is_empty() { &config.encryption.recipients } else { &args.recipient }
}

/// What no backup may hold: whoever opens one would open all others too. The keys that this run needs are made by now.
fn own_files(context: &Context) -> Vec<PathBuf> {
    let home = &context.dirs;
    let keys = [home.identity(), home.signer(), home.aes_key()].into_iter().filter_map(Result::ok);
    let named = context.identities().into_iter().chain(context.environment.passphrase_file.clone());
    // A folder that was named by mistake must not be left out.
    keys.chain(named).filter(|path| path.is_file()).chain(home.state_dir()).collect()
}

fn discovered(context: &Context) -> Result<Vec<ComponentConfig>> {
    let found = discover(&context.environment.current, context.environment.home.as_deref())?;
    if found.is_empty() {
        return Err(Error::usage("nothing to back up was found here: no compose file, .env, config or data folder")
            .hint("name a folder with --path, or run `ccbackup init` where the stack is"));
    }
    let names: Vec<_> = found
        .iter()
        .map(|c| format!("{} ({})", c.name, c.paths().iter().map(|p| path_text(p)).collect::<Vec<_>>().join(", ")))
        .collect();
    context.monitor.note(&format!("no configuration; found {}", names.join("; ")));
    Ok(found)
}

/// A key file that was named and is no age identity, else the one of this host.
fn aes_key_file(context: &Context) -> Result<PathBuf> {
    let raw = |path: &PathBuf| path.metadata().is_ok_and(|m| m.len() == 32);
    context.identities().into_iter().find(raw).map_or_else(|| context.dirs.aes_key(), Ok)
}

fn print(terminal: &Terminal, report: &CreateReport, root: &Path) -> Result<()> {
    let kind = report.kind;
    let sealed = if report.encrypted { "encrypted" } else { "not encrypted" };
    let parent = report.parent.as_ref().filter(|_| report.kind == BackupKind::Incremental);
    let parent = parent.map(|p| format!(", on top of {p}")).unwrap_or_default();
    terminal.print(format!("backup {} ({kind}{parent}, {sealed}) in {}", report.id, path_text(root)))?;
    let mut table = Table::new(&["component", ">entries", ">new", ">read", ">stored", ">problems"]);
    for c in &report.components {
        let (read, stored) = (human_bytes(c.bytes_read), human_bytes(c.bytes_stored));
        table.row(&[&c.name, &c.entries, &c.new_entries, &read, &stored, &c.problems.len()]);
    }
    terminal.print_table(&table)?;
    if report.left_out > 0 {
        terminal.print(format!("left out by rules: {}; `ccbackup show` lists them", report.left_out))?;
    }
    terminal.print(format!("stored {} in {:.1} s", human_bytes(report.bytes_stored), report.duration.as_secs_f64()))
}

fn show_preview(context: &Context, root: &Path, previews: &[Preview], full_because: Option<String>) -> Result<u8> {
    context.monitor.finish();
    let problems: usize = previews.iter().map(|p| p.problems.len() + p.missing.len()).sum();
    let document = serde_json::json!({
        "dry_run": true, "repository": escaped(root), "full_because": full_because, "components": previews,
    });
    context.result(&document, |terminal| {
        terminal.print(format!("a backup into {} would hold:", path_text(root)))?;
        let mut table = Table::new(&["component", ">entries", ">to read", ">bytes to read"]);
        for p in previews {
            table.row(&[&p.name, &p.entries, &p.new_entries, &human_bytes(p.bytes_to_read)]);
        }
        terminal.print_table(&table)?;
        let left_out: u64 = previews.iter().map(|p| p.left_out).sum();
        if left_out > 0 {
            terminal.print(format!("left out by rules: {left_out}"))?;
        }
        for preview in previews.iter().filter(|p| !p.finds.is_empty()) {
            let version = preview.version.as_ref().map(|v| format!(" ({v})")).unwrap_or_default();
            terminal.print(shown(&format!("{}{version}: {}", preview.name, preview.finds.join(", "))))?;
        }
        if let Some(why) = &full_because {
            terminal.print(format!("it would be a full backup: {why}"))?;
        }
        terminal.print("nothing was changed (dry run)")
    })?;
    for preview in previews {
        warn_problems(context, &preview.name, &preview.problems);
        for missing in &preview.missing {
            context.terminal.warn(&format!("{}: {missing}", preview.name));
        }
    }
    Ok(if problems > 0 { DONE_WITH_PROBLEMS } else { 0 })
}
