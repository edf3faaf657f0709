//! `ccbackup man`: made from the same definitions as `--help`.

use clap::CommandFactory as _;

use crate::cli::Context;
use crate::cli::ccbackup::args::{Cli, Man};
use crate::durable::Disk;
use crate::error::{Context as _, Result, path_text};

pub(super) fn man(args: &Man, context: &Context) -> Result<u8> {
    let page = |command: clap::Command| -> Result<Vec<u8>> {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).render(&mut text).doing("cannot make a man page")?;
        Ok(text)
    };
    let Some(dir) = &args.out else {
        return context.terminal.print_bytes(&page(Cli::command())?).map(|()| 0);
    };
    let (dir, disk) = (context.absolute(dir), Disk::default());
    disk.make_dirs(&dir)?;
    let mut program = Cli::command();
    program.build();
    disk.replace(&dir.join("ccbackup.1"), &page(program.clone())?)?;
    for verb in program.get_subcommands().filter(|c| c.get_name() != "help") {
        let name = format!("ccbackup-{}", verb.get_name());
        disk.replace(&dir.join(format!("{name}.1")), &page(verb.clone())?)?;
    }
    context.terminal.print(format!("wrote man pages into {}", path_text(&dir)))?;
    Ok(0)
}
