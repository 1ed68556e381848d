//! The console from the command line: its flags, the service beside the pipelines, and
//! `skep console`, which prints the link of a running one.

pub(super) mod known;
pub(super) mod recent;

use std::{
    net::{TcpStream, ToSocketAddrs as _},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use self::known::Known;
use super::{OFF, Origin, UNAVAILABLE, chosen, print};
use crate::{
    component::{BoxFuture, Extension, Listening, StartError, Stop},
    console::{self, Console, Level, LinkFile, Settings, Sources, Token},
    net::{
        server::{self, Sockets},
        tls::ServerTls,
    },
};

/// Longest time until a console that runs takes a connection.
const CONNECTING: Duration = Duration::from_secs(2);

/// Flags of the console. Each has a variable: `--console-host` is `SKEP_CONSOLE_HOST`.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Console")]
pub(crate) struct ConsoleFlags {
    /// Address of the console, or `off` [default: 127.0.0.1:8686 with the built-in configuration
    /// outside of containers, else `off`; or `SKEP_CONSOLE_ENDPOINT`].
    #[arg(id = "console_endpoint", long = "console-endpoint", value_name = "HOST:PORT", value_parser = endpoint)]
    address: Option<String>,
    /// What it shows: `operation` is graph, counts, states and configuration; `data` also contents
    /// of telemetry [default: `data` with the built-in configuration, else `operation`].
    #[arg(id = "console_level", long = "console-level", value_name = "LEVEL", value_parser = level)]
    shows: Option<Shows>,
    /// Lets pages change something: reload the configuration.
    #[arg(id = "console_actions", long = "console-actions")]
    has_actions: bool,
    /// What opens it, instead of a new token with each start. Better `SKEP_CONSOLE_TOKEN`, as
    /// other users can read arguments.
    #[arg(id = "console_token", long = "console-token", value_name = "TOKEN")]
    token: Option<String>,
    /// Another name under which browsers reach it, for instance behind a proxy.
    #[arg(id = "console_host", long = "console-host", value_name = "HOST[:PORT]")]
    hosts: Vec<String>,
    /// PEM file of a certificate, for TLS.
    #[arg(id = "console_cert", long = "console-cert", value_name = "FILE")]
    cert: Option<String>,
    /// PEM file of its private key.
    #[arg(id = "console_key", long = "console-key", value_name = "FILE")]
    key: Option<String>,
    /// Serves other machines without TLS.
    #[arg(id = "console_insecure", long = "console-insecure")]
    is_insecure: bool,
}

/// The value of `--console-level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    Nothing,
    Up(Level),
}

fn level(text: &str) -> Result<Shows, String> {
    match text {
        OFF => Ok(Shows::Nothing),
        "operation" => Ok(Shows::Up(Level::Operation)),
        "data" => Ok(Shows::Up(Level::Data)),
        _ => Err("write `off`, `operation` or `data`".to_owned()),
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    if text != OFF {
        server::check_like(text, console::DEFAULT_ENDPOINT)
            .map_err(|(message, remedy)| format!("{message}: {remedy}"))?;
    }
    Ok(text.to_owned())
}

/// A flag without a value, or its variable.
fn is_set(flag: bool, variable: &str) -> Result<bool, String> {
    let parse = |text: &str| match text {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err("write `true` or `false`".to_owned()),
    };
    chosen(flag.then_some(true), variable, "false", parse)
}

/// A flag, or its variable, or nothing.
fn text(flag: Option<String>, variable: &str) -> Option<String> {
    let variable = || std::env::var(variable).ok();
    flag.or_else(variable).filter(|text| !text.is_empty())
}

impl ConsoleFlags {
    /// These, with those of `others` where these are not set.
    pub(super) fn or(self, others: ConsoleFlags) -> ConsoleFlags {
        let hosts = [others.hosts, self.hosts].concat();
        ConsoleFlags {
            address: self.address.or(others.address),
            shows: self.shows.or(others.shows),
            has_actions: self.has_actions || others.has_actions,
            token: self.token.or(others.token),
            hosts,
            cert: self.cert.or(others.cert),
            key: self.key.or(others.key),
            is_insecure: self.is_insecure || others.is_insecure,
        }
    }

    /// The settings for a configuration; `None` if there is to be no console. An error is one of
    /// usage.
    pub(super) fn settings(
        &self,
        origin: &Origin,
        in_container: bool,
    ) -> Result<Option<Settings>, String> {
        let (default, usual) = match origin {
            Origin::BuiltIn if !in_container => (console::DEFAULT_ENDPOINT, "data"),
            Origin::BuiltIn => (OFF, "data"),
            _ => (OFF, "operation"),
        };
        let flag = self.address.clone();
        let is_default = text(flag.clone(), "SKEP_CONSOLE_ENDPOINT").is_none();
        let endpoint = chosen(flag, "SKEP_CONSOLE_ENDPOINT", default, endpoint)?;
        let shows = chosen(self.shows, "SKEP_CONSOLE_LEVEL", usual, level)?;
        let Shows::Up(level) = shows else { return Ok(None) };
        if endpoint == OFF {
            return Ok(None);
        }
        let tls = self.tls()?;
        if !is_default {
            self.check_reach(&endpoint, tls.is_some())?;
        }
        let given = text(self.token.clone(), "SKEP_CONSOLE_TOKEN");
        let token = match &given {
            Some(text) => Token::chosen(text).map_err(|why| format!("console token: {why}"))?,
            None => Token::random()?,
        };
        Ok(Some(Settings {
            endpoint,
            level,
            has_actions: is_set(self.has_actions, "SKEP_CONSOLE_ACTIONS")?,
            token,
            is_token_new: given.is_none(),
            hosts: self.hosts(),
            tls,
        }))
    }

    fn hosts(&self) -> Vec<String> {
        if !self.hosts.is_empty() {
            return self.hosts.clone();
        }
        let listed = text(None, "SKEP_CONSOLE_HOST").unwrap_or_default();
        let names = listed.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(ToOwned::to_owned).collect()
    }

    fn tls(&self) -> Result<Option<ServerTls>, String> {
        let cert_file = text(self.cert.clone(), "SKEP_CONSOLE_CERT");
        let key_file = text(self.key.clone(), "SKEP_CONSOLE_KEY");
        match (&cert_file, &key_file) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                Ok(Some(ServerTls { cert_file, key_file, ..ServerTls::default() }))
            }
            _ => Err("TLS of the console needs both: `--console-cert` and `--console-key`".into()),
        }
    }

    /// Other machines reach the console over TLS only, unless somebody has said otherwise.
    fn check_reach(&self, endpoint: &str, is_tls: bool) -> Result<(), String> {
        let address = server::resolve(endpoint, server::Family::Any)
            .map_err(|error| format!("`{endpoint}` of the console: {error}"))?;
        let is_safe = address.ip().is_loopback() || is_tls;
        if is_safe || is_set(self.is_insecure, "SKEP_CONSOLE_INSECURE")? {
            return Ok(());
        }
        Err(format!(
            "other machines can reach `{endpoint}`, and whoever listens on the way could read the \
             console's token: give `--console-cert` and `--console-key`, or say \
             `--console-insecure` if a proxy has TLS or the network is yours alone"
        ))
    }
}

/// The console as a part of the process. If it cannot be opened, skep logs a warning and goes on.
pub(super) struct ConsoleService {
    settings: Settings,
    sources: Sources,
    known: Arc<Known>,
    open: Option<(Console, Option<LinkFile>)>,
}

impl ConsoleService {
    pub(super) fn new(settings: &Settings, sources: Sources, known: &Arc<Known>) -> Self {
        ConsoleService { settings: settings.clone(), sources, known: Arc::clone(known), open: None }
    }
}

impl Extension for ConsoleService {
    fn bind(&mut self, sockets: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        let (settings, sources) = (self.settings.clone(), self.sources.clone());
        match Console::bind(settings, sources, sockets) {
            Ok(console) => {
                let link = console.link();
                let folder = console::link_folder();
                let file = folder.and_then(|folder| {
                    LinkFile::write(&folder, console.address().port(), &link).ok()
                });
                tell(&self.settings, &link, file.is_some());
                self.known.has_link(&link);
                let listening = console.listening();
                self.open = Some((console, file));
                Ok(vec![listening])
            }
            Err(message) => {
                tracing::warn!(
                    reason = message,
                    "The console is not served; choose another address with `--console-endpoint`"
                );
                Ok(Vec::new())
            }
        }
    }

    fn run(self: Box<Self>, stop: Stop) -> BoxFuture<()> {
        match self.open {
            Some((console, file)) => Box::pin(async move {
                console.run(stop).await;
                drop(file);
            }),
            None => Box::pin(std::future::ready(())),
        }
    }
}

/// Logs the link. The log may be kept and read by others, so the token is in it only if nothing
/// else can tell it; a person at a terminal sees the whole link anyway.
fn tell(settings: &Settings, link: &str, has_file: bool) {
    use std::io::IsTerminal as _;
    let address = link.split('#').next().unwrap_or_default();
    let is_person = std::io::stderr().is_terminal();
    if settings.is_token_new && (is_person || !has_file) {
        tracing::info!(link, "The console is open");
    } else {
        let link = address;
        tracing::info!(link, "The console is open; `skep console` prints the link with its token");
    }
}

/// Prints the links of the consoles of this user that run, or opens one in a browser.
#[expect(clippy::print_stderr, reason = "this is the command line")]
pub(super) fn run(endpoint: Option<&str>, opens: bool) -> u8 {
    let port = endpoint.and_then(|endpoint| endpoint.rsplit_once(':')?.1.parse::<u16>().ok());
    let folder = console::link_folder();
    let mut links = folder.as_deref().map(console::links).unwrap_or_default();
    links.retain(|(own, link)| port.is_none_or(|port| port == *own) && answers(link));
    let Some((_, first)) = links.first() else {
        eprintln!(
            "no console of this user runs here; start skep with `--console-endpoint {}`",
            endpoint.unwrap_or(console::DEFAULT_ENDPOINT)
        );
        return UNAVAILABLE;
    };
    if opens && show(first) {
        return 0;
    }
    let links: Vec<&str> = links.iter().map(|(_, link)| &**link).collect();
    print::output(&format!("{}\n", links.join("\n")))
}

/// Whether something takes connections at the address of a link.
fn answers(link: &str) -> bool {
    let address = link.split_once("://").map_or("", |(_, rest)| rest);
    let address = address.split('/').next().unwrap_or_default();
    let Ok(mut addresses) = address.to_socket_addrs() else { return false };
    addresses.any(|address| TcpStream::connect_timeout(&address, CONNECTING).is_ok())
}

/// Hands a link to the desktop; false if there is none.
fn show(link: &str) -> bool {
    ["xdg-open", "open"].into_iter().any(|program| {
        let mut command = Command::new(program);
        command.arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flags: &ConsoleFlags, origin: &Origin, in_container: bool) -> Option<Settings> {
        flags.settings(origin, in_container).unwrap()
    }

    #[test]
    fn the_console_is_on_for_the_built_in_configuration_only() {
        let (none, given) = (ConsoleFlags::default(), Origin::Given(vec!["skep.yaml".to_owned()]));
        let open = settings(&none, &Origin::BuiltIn, false).unwrap();
        assert_eq!((&*open.endpoint, open.level), (console::DEFAULT_ENDPOINT, Level::Data));
        assert!(open.is_token_new && !open.has_actions);
        assert!(settings(&none, &Origin::BuiltIn, true).is_none(), "not in a container");
        assert!(settings(&none, &given, false).is_none());
        let asked = ConsoleFlags { address: Some("localhost:1".to_owned()), ..none };
        assert_eq!(settings(&asked, &given, true).unwrap().level, Level::Operation);
        let off = ConsoleFlags { shows: Some(Shows::Nothing), ..asked };
        assert!(settings(&off, &given, false).is_none());
    }

    #[test]
    fn other_machines_need_tls_or_a_word() {
        let origin = Origin::BuiltIn;
        let at = |endpoint: &str| ConsoleFlags {
            address: Some(endpoint.to_owned()),
            ..ConsoleFlags::default()
        };
        let refused = at("0.0.0.0:8686").settings(&origin, false).unwrap_err();
        assert!(refused.contains("--console-insecure"), "{refused}");
        let insecure = ConsoleFlags { is_insecure: true, ..at("0.0.0.0:8686") };
        assert!(settings(&insecure, &origin, false).is_some());
        let secure = ConsoleFlags {
            cert: Some("c.pem".to_owned()),
            key: Some("k.pem".to_owned()),
            ..at("0.0.0.0:8686")
        };
        assert!(settings(&secure, &origin, false).unwrap().tls.is_some());
        let half = ConsoleFlags { key: None, ..secure };
        assert!(half.settings(&origin, false).is_err());
        let short = ConsoleFlags { token: Some("short".to_owned()), ..at("127.0.0.1:0") };
        assert!(short.settings(&origin, false).is_err());
    }

    #[test]
    fn flags_after_the_command_win() {
        let before = ConsoleFlags {
            address: Some("a:1".to_owned()),
            hosts: vec!["one".to_owned()],
            has_actions: true,
            ..ConsoleFlags::default()
        };
        let after = ConsoleFlags {
            address: Some("b:2".to_owned()),
            hosts: vec!["two".to_owned()],
            ..ConsoleFlags::default()
        };
        let all = after.or(before);
        assert_eq!(all.address.as_deref(), Some("b:2"));
        assert_eq!(all.hosts, ["one", "two"]);
        assert!(all.has_actions);
    }
}
