//! `skep xray`: the X-Ray daemon's command line, on a pipeline of skep.
//!
//! The flags and the daemon's configuration file become values that are set in an embedded
//! configuration, `xray/daemon.yaml`, which is then loaded like any other.

mod file;
mod flags;

use std::{ffi::OsString, io::IsTerminal as _, net::TcpListener};

use clap::Parser;

use super::{CONFIG, Origin, Process, USAGE, machine, run, show};
use crate::{
    component::default_address,
    config::{Problems, excerpt, source},
    telemetry::logs::LogFile,
};
use file::File;

/// The configuration that the values are set in.
const TEMPLATE: &str = include_str!("xray/daemon.yaml");

/// Port of the daemon.
const PORT: u16 = 2000;

/// Port of `health_check`.
const HEALTH_PORT: u16 = 13133;

/// Smallest buffer in MB; the same as in the daemon.
const LEAST_BUFFER: u64 = 3;

/// The daemon's levels, the most verbose first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Level {
    Dev,
    Debug,
    Info,
    Warn,
    Error,
    Prod,
}

impl Level {
    /// `prod` is the daemon's word for `info`.
    fn name(self) -> &'static str {
        match self {
            Level::Dev | Level::Debug => "debug",
            Level::Info | Level::Prod => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

const AFTER: &str = "\
Long flags may have one dash or two. The configuration file is that of the daemon. Without --config,
skep looks for /etc/amazon/xray/cfg.yaml and then cfg.yaml. Flags override the file.

Differences from the daemon:
  NoVerifySSL       certificates are always checked; SSL_CERT_FILE names others to trust
  -r                the session of the role is named skep, not xray-daemon
  telemetry         the daemon's telemetry records are not sent to X-Ray; localhost:8888/metrics has
                    the same numbers and more

Applications find it by AWS_XRAY_DAEMON_ADDRESS=host:2000, which means UDP and TCP: publish both.";

const REGION: &str =
    "Region [default: AWS_REGION, AWS_DEFAULT_REGION, the profile, the ECS task, the EC2 instance]";

const PROXY: &str =
    "Proxy of the requests to AWS [default: HTTPS_PROXY, with the exceptions of NO_PROXY]";

#[derive(Debug, Parser)]
#[command(
    name = "skep xray",
    bin_name = "skep xray",
    version,
    max_term_width = 80,
    about = "Takes the place of the AWS X-Ray daemon: segments over UDP go to X-Ray, sampling calls over TCP are signed and forwarded",
    after_help = AFTER,
    disable_version_flag = true,
    args_override_self = true
)]
struct Flags {
    /// Address for segments over UDP [default: 127.0.0.1:2000, in a container 0.0.0.0:2000]
    #[arg(short, long, value_name = "HOST:PORT", value_parser = address)]
    bind: Option<String>,
    /// Address for sampling calls over TCP [default: 127.0.0.1:2000, in a container 0.0.0.0:2000]
    #[arg(short = 't', long, value_name = "HOST:PORT", value_parser = address)]
    bind_tcp: Option<String>,
    #[arg(short = 'n', long, value_name = "REGION", help = REGION)]
    region: Option<String>,
    /// Role to assume, which may belong to another account
    #[arg(short, long, value_name = "ARN")]
    role_arn: Option<String>,
    /// Do not ask the metadata of the EC2 instance for the region of sampling calls
    #[arg(short = 'o', long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", hide_possible_values = true)]
    local_mode: Option<bool>,
    /// Limit of memory for segments in MB, at least 3 [default: by the memory there is]
    #[arg(short = 'm', long, value_name = "MB")]
    buffer_memory: Option<u64>,
    /// The daemon's configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<String>,
    /// Write the log into a file instead of standard error
    #[arg(short = 'f', long, value_name = "FILE")]
    log_file: Option<String>,
    /// Least severe level that is logged; prod is info
    #[arg(short, long, value_name = "LEVEL", value_enum, ignore_case = true)]
    log_level: Option<Level>,
    #[arg(short, long, value_name = "URL", help = PROXY)]
    proxy_address: Option<String>,
    /// ARN of the resource that runs the application
    #[arg(short = 'a', long, value_name = "ARN")]
    resource_arn: Option<String>,
    /// Print the version
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    process: Process,
}

fn address(text: &str) -> Result<String, String> {
    crate::net::server::check(text)
        .map(|()| text.to_owned())
        .map_err(|(message, remedy)| format!("{message}: {}", remedy.replace("4317", "2000")))
}

/// Runs as the daemon; `arguments` are those after the name.
#[expect(clippy::print_stderr, reason = "this is the command line")]
pub(super) fn main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let arguments = flags::normalized(arguments);
    let name = OsString::from("skep xray");
    let flags = match Flags::try_parse_from(std::iter::once(name).chain(arguments)) {
        Ok(flags) => flags,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { 0 };
        }
    };
    let (found, file) = match File::find(flags.config.as_deref()) {
        Ok(found) => found,
        Err(shown) => {
            eprint!("{shown}");
            return CONFIG;
        }
    };
    let settings = match Settings::of(&flags, file) {
        Ok(settings) => settings,
        Err(message) => {
            eprintln!("error: {message}");
            return USAGE;
        }
    };
    let mut problems = Problems::default();
    let in_container = machine::in_container();
    // The image asks itself for its health. Segments matter more, so the health check is not served
    // if another program has its port, nor outside of a container, where a Collector may want it.
    let health = default_address(in_container, HEALTH_PORT);
    let serves_health = in_container && TcpListener::bind(health).is_ok();
    let sets = settings.sets(in_container, serves_health);
    let uris = [format!("yaml:{TEMPLATE}")];
    let loaded = source::load(&uris, &sets, &|_| None, &mut problems);
    if loaded.root.is_none() {
        show(&problems, &loaded);
        return CONFIG;
    }
    let origin = Origin::Daemon(found);
    let mode = run::Mode::Daemon(settings.log_file);
    run::start(&origin, &loaded, problems, &flags.process, mode).unwrap_or_else(|message| {
        eprintln!("error: {message}");
        USAGE
    })
}

/// The settings: flags override the file, and the file overrides the defaults.
#[derive(Debug, Default, PartialEq)]
struct Settings {
    bind: String,
    bind_tcp: String,
    region: String,
    role_arn: String,
    resource_arn: String,
    endpoint: String,
    proxy_address: String,
    local_mode: bool,
    /// 0 lets skep decide.
    buffer: u64,
    /// 0 lets the exporter decide.
    concurrency: u64,
    level: &'static str,
    log_file: Option<LogFile>,
}

impl Settings {
    fn of(flags: &Flags, file: File) -> Result<Self, String> {
        // An empty value counts as unset: the daemon's own file has all keys with empty values.
        let text = |flag: &Option<String>, own: String| flag.clone().unwrap_or(own);
        let path = text(&flags.log_file, file.logging.path);
        let level = flags.log_level.or(file.logging.level).unwrap_or(Level::Info);
        let settings = Settings {
            bind: text(&flags.bind, file.socket.udp),
            bind_tcp: text(&flags.bind_tcp, file.socket.tcp),
            region: text(&flags.region, file.region),
            role_arn: text(&flags.role_arn, file.role_arn),
            resource_arn: text(&flags.resource_arn, file.resource_arn),
            endpoint: file.endpoint,
            proxy_address: text(&flags.proxy_address, file.proxy_address),
            local_mode: flags.local_mode.unwrap_or(file.local_mode),
            buffer: flags.buffer_memory.unwrap_or(file.buffer),
            concurrency: file.concurrency,
            level: level.name(),
            log_file: (!path.is_empty())
                .then(|| LogFile { path, rotates: file.logging.rotates.unwrap_or(true) }),
        };
        let proxy = &settings.proxy_address;
        if let Err(message) = crate::net::proxy::check(proxy)
            && !proxy.is_empty()
        {
            return Err(format!(
                "--proxy-address cannot be used: {message}; write http://host:port"
            ));
        }
        if (1..LEAST_BUFFER).contains(&settings.buffer) {
            return Err(format!(
                "--buffer-memory {} is too small; give at least {LEAST_BUFFER} MB, or 0 to let \
                 skep decide",
                settings.buffer
            ));
        }
        Ok(settings)
    }

    /// The values to set in the template, in the form of `--set`.
    fn sets(&self, in_container: bool, serves_health: bool) -> Vec<String> {
        let default = default_address(in_container, PORT).to_string();
        let or_default =
            |given: &str| if given.is_empty() { default.clone() } else { given.to_owned() };
        let mut sets = vec![
            text("receivers.awsxray.endpoint", &or_default(&self.bind)),
            text("receivers.awsxray.proxy_server.endpoint", &or_default(&self.bind_tcp)),
            text("service.telemetry.logs.level", self.level),
        ];
        for (value, keys) in [
            (
                &self.region,
                &["receivers.awsxray.proxy_server.region", "exporters.awsxray.region"][..],
            ),
            (
                &self.role_arn,
                &["receivers.awsxray.proxy_server.role_arn", "exporters.awsxray.role_arn"],
            ),
            (
                &self.endpoint,
                &["receivers.awsxray.proxy_server.aws_endpoint", "exporters.awsxray.endpoint"],
            ),
            (
                &self.proxy_address,
                &[
                    "receivers.awsxray.proxy_server.proxy_address",
                    "exporters.awsxray.proxy_address",
                ],
            ),
            (&self.resource_arn, &["exporters.awsxray.resource_arn"]),
        ] {
            if !value.is_empty() {
                sets.extend(keys.iter().map(|key| text(key, value)));
            }
        }
        if self.local_mode {
            sets.push("receivers.awsxray.proxy_server.local_mode=true".to_owned());
            sets.push("exporters.awsxray.local_mode=true".to_owned());
        }
        if self.concurrency > 0 {
            sets.push(format!("exporters.awsxray.num_workers={}", self.concurrency));
        }
        if self.buffer > 0 {
            sets.push(format!("processors.memory_limiter.limit_mib={}", self.buffer));
            sets.push("processors.memory_limiter.check_interval=1s".to_owned());
            sets.push("service.pipelines.traces.processors=[memory_limiter, batch]".to_owned());
        }
        if serves_health {
            sets.push("extensions.health_check={}".to_owned());
            sets.push("service.extensions=[health_check]".to_owned());
        }
        sets
    }
}

/// Sets a key to a text, which is quoted, and in which nothing is replaced.
fn text(key: &str, value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    format!("{key}={}", quoted.replace('$', "$$"))
}

/// Problems of the daemon's file as text.
fn rendered(problems: &Problems, sources: &[excerpt::Source]) -> String {
    let is_plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stderr().is_terminal();
    excerpt::render(problems, sources, !is_plain)
}

#[cfg(test)]
mod tests;
