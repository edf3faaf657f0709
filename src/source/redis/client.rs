//! A client: logs in, asks, and takes the first refusal as an error.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use zeroize::Zeroizing;

use super::link::{Link, Patience};
use super::rdb::Input;
use super::reply::{Refusal, Reply, command};
use crate::config::RedisAddress as Address;
use crate::error::{Error, Kind, Result};
use crate::monitor::Monitor;
use crate::secret::Secret;

/// The longest answer that is kept.
const MAX_ANSWER: usize = 64 << 20;

/// Who asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Login {
    /// None for the default user.
    pub(super) user: Option<String>,
    /// None where the server wants none.
    pub(super) password: Option<Secret>,
}

/// A connection that is logged in.
#[derive(Debug)]
pub(super) struct Client<'a> {
    input: Input<Link<'a>>,
    address: Address,
}

impl<'a> Client<'a> {
    /// Connects, logs in, and asks whether it is there.
    pub(super) fn open(address: &Address, login: &Login, patience: Patience, monitor: &'a dyn Monitor) -> Result<Self> {
        let link = Link::open(address, patience, monitor)?;
        let mut client = Self { input: Input::new(link), address: address.clone() };
        client.begin(login).map_err(|error| {
            let about = format!("the Redis server at {address} cannot be used");
            match error.kind() {
                // A port of something else ends the connection, or says nothing at all.
                Kind::Incomplete => {
                    let hint = "it may be no Redis server, or one that wants TLS, which this program does not speak";
                    error.of_kind(Kind::Unreachable).within(about).hint(hint)
                }
                Kind::TimedOut => {
                    let hint = "it may want TLS, which this program does not speak, or hang";
                    error.within(about).hint(hint)
                }
                _ => error.within(about),
            }
        })?;
        Ok(client)
    }

    fn begin(&mut self, login: &Login) -> Result<()> {
        if let Some(password) = &login.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(login.user.as_deref().map(str::as_bytes));
            words.push(password.expose());
            let bytes = Zeroizing::new(command(&words));
            self.send(&bytes)?;
            if let Reply::Refused(refusal) = self.answer()? {
                // The text may repeat what was sent.
                let code = refusal.code().to_owned();
                let known = matches!(code.as_str(), "WRONGPASS" | "NOPERM" | "LOADING" | "NOAUTH");
                let refusal = if known { refusal } else { Refusal(format!("{code} (its text is not shown)")) };
                return Err(refusal.into_error("the login").of_login());
            }
        }
        self.call(&[b"PING"]).map(|_| ())
    }

    /// How long it may be silent from now on.
    pub(super) fn set_silence(&mut self, silence: Duration) {
        self.input.inner().set_silence(silence);
    }

    /// Where it is connected to.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The addresses of both ends; none of a socket.
    pub(super) fn ends(&mut self) -> Option<(IpAddr, IpAddr)> {
        self.input.inner().ends()
    }

    /// Bytes leave this host in clear.
    pub(super) fn is_exposed(&mut self) -> bool {
        self.input.inner().is_exposed()
    }

    /// Sends bytes of commands.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.input.inner().write_all(bytes).map_err(|e| match e.downcast::<Error>() {
            Ok(error) => error,
            Err(e) => Error::new(Kind::Unreachable, format!("the Redis server at {} hung up", self.address)).because(e),
        })
    }

    /// The next answer, a refusal too.
    pub(super) fn answer(&mut self) -> Result<Reply> {
        Reply::read(&mut self.input, MAX_ANSWER)
    }

    /// Asks, and takes a refusal as an answer.
    pub(super) fn ask(&mut self, words: &[&[u8]]) -> Result<Reply> {
        self.send(&command(words))?;
        self.answer()
    }

    /// Asks; a refusal is an error, which names the command but not its arguments.
    pub(super) fn call(&mut self, words: &[&[u8]]) -> Result<Reply> {
        match self.ask(words)? {
            Reply::Refused(refusal) => {
                let name = words.iter().take(2).map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>();
                let name =
                    if name.len() == 2 && takes_subcommand(&name[0]) { name.join(" ") } else { name[0].to_string() };
                Err(refusal.into_error(&name))
            }
            reply => Ok(reply),
        }
    }

    /// Asks for a text.
    pub(super) fn text(&mut self, words: &[&[u8]]) -> Result<String> {
        let reply = self.call(words)?;
        reply.text().ok_or_else(|| Error::failed("the server answered with something that is no text"))
    }

    /// The connection for a protocol of its own.
    pub(super) fn into_input(self) -> Input<Link<'a>> {
        self.input
    }
}

fn takes_subcommand(name: &str) -> bool {
    matches!(name, "CONFIG" | "ACL" | "FUNCTION" | "CLUSTER" | "MODULE" | "REPLCONF" | "DEBUG")
}

trait OfLogin {
    fn of_login(self) -> Self;
}

impl OfLogin for Error {
    /// Whatever a login fails of, nothing may go on as somebody else.
    fn of_login(self) -> Self {
        if self.kind() == Kind::Failed { self.of_kind(Kind::Denied) } else { self }
    }
}
