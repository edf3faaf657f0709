//! The programs of a component, as they are run.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use super::output::Output;
use crate::config::CommandConfig;
use crate::error::{Context as _, Error, Result};
use crate::model::{Digest, Hasher};
use crate::process::Command;
use crate::source::SourceContext;

/// Bytes that a program that is fed may write itself.
const TALK_MAX: u64 = 1 << 20;
/// Bytes that are copied at a time.
const PART: usize = 256 * 1024;

/// What a comparing program found.
#[derive(Debug)]
pub(super) enum Compared {
    Equal,
    /// With what it said.
    Different(String),
}

/// A program with what all programs of the component get. Secrets are had now.
pub(super) fn command<'a>(
    argv: &[String],
    config: &CommandConfig,
    context: &'a SourceContext<'a>,
) -> Result<Command<'a>> {
    let (program, arguments) = argv.split_first().ok_or_else(|| Error::usage("a program of no words"))?;
    let mut command = Command::new(program, context.environment).args(arguments);
    for (name, reference) in &config.env {
        command = match (reference, context.environment.get(name)) {
            (Some(reference), _) => command.secret_env(name, &reference.resolve(context.environment)?),
            (None, Some(ours)) => command.env(name, ours),
            (None, None) => command,
        };
    }
    // The component has a limit of time as a whole, which the monitor keeps.
    Ok(command.timeout(None).silence(config.silence).stopped_by(context.monitor))
}

/// The output of `capture`, whose end is its check.
pub(super) fn capture<'a>(config: &CommandConfig, context: &'a SourceContext<'a>) -> Result<Output<'a>> {
    let stream = command(&config.capture, config, context)?.stream(&[])?;
    Ok(Output::new(stream, config))
}

/// Digest and bytes of what `capture` gives now.
pub(super) fn digest<'a>(config: &CommandConfig, context: &'a SourceContext<'a>) -> Result<(Digest, u64)> {
    let mut output = capture(config, context)?;
    let (mut hasher, mut bytes) = (Hasher::default(), 0);
    let mut part = vec![0; PART];
    loop {
        let length = output.read(&mut part).doing("cannot capture what is there now")?;
        if length == 0 {
            return Ok((hasher.finish(), bytes));
        }
        hasher.update(&part[..length]);
        bytes += length as u64;
    }
}

/// Gives all of `content` to a program, which must end well.
pub(super) fn feed(
    argv: &[String],
    config: &CommandConfig,
    content: &mut dyn Read,
    context: &SourceContext<'_>,
) -> Result<()> {
    let mut feed = command(argv, config, context)?.feed(TALK_MAX)?;
    copy(content, &mut feed)?;
    feed.finish().map(drop)
}

/// Gives `content` to a program that compares; one that ends with a code other than 0 found a difference, and need not have
/// read all.
pub(super) fn compare(
    argv: &[String],
    config: &CommandConfig,
    content: &mut dyn Read,
    context: &SourceContext<'_>,
) -> Result<Compared> {
    let code = Arc::new(AtomicI32::new(0));
    let seen = Arc::clone(&code);
    let command = command(argv, config, context)?.judge(move |ended| {
        seen.store(ended.code.unwrap_or(0), Ordering::Relaxed);
        Ok(())
    });
    let mut feed = command.feed(TALK_MAX)?;
    let fed = copy(content, &mut feed).and_then(|()| feed.finish().map(drop));
    match fed {
        Ok(()) => Ok(Compared::Equal),
        Err(error) if code.load(Ordering::Relaxed) != 0 => Ok(Compared::Different(error.one_line())),
        Err(error) => Err(error),
    }
}

fn copy(content: &mut dyn Read, to: &mut dyn io::Write) -> Result<()> {
    let mut part = vec![0; PART];
    loop {
        let length = match content.read(&mut part) {
            Ok(0) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read.doing("cannot read the backup")?,
        };
        to.write_all(&part[..length]).doing("cannot give it to the program")?;
    }
}
