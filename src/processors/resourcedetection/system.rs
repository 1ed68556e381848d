//! `system`: the machine, as the kernel and a few files describe it. What only Linux tells is left
//! out elsewhere.

use std::{
    env::consts,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::probe::{Probe, texts};
use crate::processors::editing::value::AttributeValue;

const REMEDY: &str = "raise `timeout`";

pub(super) async fn detect(probe: &Probe) {
    probe.asking("reading files of the system".to_owned(), REMEDY);
    if probe.wants("host.name") {
        match host_name(probe).await {
            Some(name) => probe.text("host.name", Some(&name)),
            None => probe.warn(format!(
                "no source of the host name has one, of {}; add `os` to `hostname_sources`, or set \
                 HOSTNAME",
                probe.config.system.hostname_sources.join(", ")
            )),
        }
    }
    probe.text("os.type", Some(os_type(consts::OS)));
    probe.text("host.arch", Some(architecture(consts::ARCH)));
    if probe.wants("host.id") {
        // https://opentelemetry.io/docs/specs/semconv/resource/host/#collecting-hostid-from-non-containerized-systems
        let ids =
            [line(probe, "/etc/machine-id").await, line(probe, "/var/lib/dbus/machine-id").await];
        let id = ids.into_iter().flatten().next();
        if id.is_none() {
            probe.warn("/etc/machine-id has no id of the host; mount that of the host".to_owned());
        }
        probe.text("host.id", id.as_deref());
    }
    network(probe).await;
    processor(probe).await;
    release(probe).await;
}

/// The first line of a file that has one.
async fn line(probe: &Probe, path: &str) -> Option<String> {
    let text = probe.environment.read(path).await.ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The name that the kernel has, or, where it does not tell, the shell.
pub(super) async fn kernel_name(probe: &Probe) -> Option<String> {
    let name = line(probe, "/proc/sys/kernel/hostname").await;
    name.or_else(|| probe.environment.var("HOSTNAME"))
}

async fn host_name(probe: &Probe) -> Option<String> {
    let name = kernel_name(probe).await?;
    for source in &probe.config.system.hostname_sources {
        match source.as_str() {
            "os" => return Some(name),
            "dns" => {
                let hosts = probe.environment.read("/etc/hosts").await.unwrap_or_default();
                if let Some(name) = qualified(&hosts, &name) {
                    return Some(name);
                }
            }
            _ => {}
        }
    }
    None
}

/// The name with a dot of a host, by `/etc/hosts`.
fn qualified(hosts: &str, host: &str) -> Option<String> {
    if host.contains('.') {
        return Some(host.to_owned());
    }
    for line in hosts.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let names = line.split_whitespace().skip(1);
        if names.clone().any(|name| name.eq_ignore_ascii_case(host))
            && let Some(name) = names.into_iter().find(|name| name.contains('.'))
        {
            return Some(name.trim_end_matches('.').to_owned());
        }
    }
    None
}

/// As the conventions write it.
fn os_type(os: &str) -> &str {
    match os {
        "macos" => "darwin",
        "dragonfly" => "dragonflybsd",
        os => os,
    }
}

/// As the conventions write it.
fn architecture(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc" => "ppc32",
        "powerpc64" => "ppc64",
        arch => arch,
    }
}

async fn network(probe: &Probe) {
    let environment = &probe.environment;
    if probe.wants("host.ip") {
        let trie = environment.read("/proc/net/fib_trie").await.unwrap_or_default();
        let six = environment.read("/proc/net/if_inet6").await.unwrap_or_default();
        let mut all: Vec<IpAddr> = addresses(&trie).into_iter().map(IpAddr::V4).collect();
        all.extend(addresses_6(&six).into_iter().map(IpAddr::V6));
        if !all.is_empty() {
            probe.set("host.ip", texts(all.iter().map(ToString::to_string)));
        }
    }
    if !probe.wants("host.mac") && !probe.wants("host.interface") {
        return;
    }
    let (mut names, mut macs) = (Vec::new(), Vec::new());
    for name in environment.list("/sys/class/net").await.unwrap_or_default() {
        if name == "lo" {
            continue;
        }
        let address = line(probe, &format!("/sys/class/net/{name}/address")).await;
        macs.extend(address.and_then(|text| mac(&text)));
        names.push(name);
    }
    for (name, found) in [("host.interface", names), ("host.mac", macs)] {
        if !found.is_empty() {
            probe.set(name, texts(found));
        }
    }
}

/// Local addresses in the routing table, loopback left out: an address has a line, and what it is
/// is on one below.
fn addresses(trie: &str) -> Vec<Ipv4Addr> {
    let mut all = Vec::new();
    let mut last = None;
    for line in trie.lines() {
        if let Some(address) = line.trim_start().strip_prefix("|-- ") {
            last = address.trim().parse::<Ipv4Addr>().ok();
        } else if line.contains("/32 host LOCAL")
            && let Some(address) = last
            && !address.is_loopback()
            && !all.contains(&address)
        {
            all.push(address);
        }
    }
    all
}

/// The addresses of `if_inet6`: 32 hexadecimal digits begin each line.
fn addresses_6(table: &str) -> Vec<Ipv6Addr> {
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let read = |digits: String| u128::from_str_radix(&digits, 16).ok().map(Ipv6Addr::from_bits);
    let all = table.lines().filter_map(first).filter(|digits| digits.len() == 32).filter_map(read);
    all.filter(|address| !address.is_loopback()).collect()
}

/// A hardware address as the conventions write it: `AC-DE-48-23-45-67`. None for that of nothing.
fn mac(text: &str) -> Option<String> {
    let is_hex = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let is_address = text.split(':').count() >= 6 && text.split(':').all(is_hex);
    let is_zero = text.split(':').all(|part| part == "00");
    (is_address && !is_zero).then(|| text.replace(':', "-").to_ascii_uppercase())
}

async fn processor(probe: &Probe) {
    let is_wanted = |(name, _): &(&str, bool)| name.starts_with("host.cpu.") && probe.wants(name);
    if !probe.detector.attributes().iter().any(is_wanted) {
        return;
    }
    let text = probe.environment.read("/proc/cpuinfo").await.unwrap_or_default();
    for (name, key) in [
        ("host.cpu.vendor.id", "vendor_id"),
        ("host.cpu.family", "cpu family"),
        ("host.cpu.model.id", "model"),
        ("host.cpu.model.name", "model name"),
        ("host.cpu.stepping", "stepping"),
    ] {
        probe.text(name, setting(&text, ':', key).as_deref());
    }
    // In bytes, as the conventions say; the kernel writes KiB and calls them KB.
    let cache = setting(&text, ':', "cache size");
    let kib = cache.as_deref().and_then(|text| text.strip_suffix(" KB")?.parse::<i64>().ok());
    if let Some(bytes) = kib.and_then(|kib| kib.checked_mul(1024)) {
        probe.set("host.cpu.cache.l2.size", AttributeValue::Int(bytes));
    }
}

async fn release(probe: &Probe) {
    let names = ["os.name", "os.version", "os.build.id", "os.description"];
    if !names.iter().any(|name| probe.wants(name)) {
        return;
    }
    // The release of the kernel, as the Collector has it.
    let kernel = line(probe, "/proc/sys/kernel/osrelease").await;
    probe.text("os.build.id", kernel.as_deref());
    let read = probe.environment.read("/etc/os-release").await;
    let Ok(text) = (match read {
        Ok(text) => Ok(text),
        Err(_) => probe.environment.read("/usr/lib/os-release").await,
    }) else {
        return;
    };
    probe.text("os.name", setting(&text, '=', "NAME").as_deref());
    probe.text("os.version", setting(&text, '=', "VERSION_ID").as_deref());
    let description = match (setting(&text, '=', "PRETTY_NAME"), kernel) {
        (Some(name), Some(kernel)) => Some(format!("{name} (Linux {kernel})")),
        (name, _) => name,
    };
    probe.text("os.description", description.as_deref());
}

/// The first value of a key, in a file of lines `key=value`; quotes are taken off.
fn setting(text: &str, between: char, key: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(between));
    let (_, value) = pairs.find(|(name, _)| name.trim() == key)?;
    let value = value.trim();
    let bare = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    let value = bare('"').or_else(|| bare('\'')).unwrap_or(value);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::mock::{Place, outcome, text, variables},
        *,
    };

    const TRIE: &str = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                        Local:\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.0.0.7\n        \
                        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
    const SIX: &str = "00000000000000000000000000000001 01 80 10 80       lo\n\
                       fe800000000000000042acfffe110002 04 40 20 80     eth0\n";

    fn machine() -> Place {
        Place::with(&[
            ("/proc/sys/kernel/hostname", "web\n"),
            ("/etc/hosts", "127.0.0.1 localhost\n10.0.0.7 web.shop.example. web # web.no\n"),
            ("/etc/machine-id", "3ab5\n"),
            ("/proc/net/fib_trie", TRIE),
            ("/proc/net/if_inet6", SIX),
            ("/sys/class/net/lo/address", "00:00:00:00:00:00\n"),
            ("/sys/class/net/eth0/address", "ac:de:48:23:45:67\n"),
            (
                "/proc/cpuinfo",
                "processor : 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n\
                 model name\t: EPYC\nstepping\t: 1\ncache size\t: 512 KB\n",
            ),
            (
                "/etc/os-release",
                "PRETTY_NAME=\"Debian 13\"\nNAME='Debian'\nVERSION_ID=13\nBUILD_ID=\n",
            ),
            ("/proc/sys/kernel/osrelease", "6.12.1\n"),
        ])
    }

    #[test]
    fn the_default_is_the_collectors() {
        let notes = outcome("detectors: [system]", machine());
        let os = os_type(consts::OS);
        let expected = [text("host.name", "web.shop.example"), text("os.type", os)];
        assert_eq!(notes.attributes, expected);
        let os_only = "{detectors: [system], system: {hostname_sources: [os]}}";
        assert_eq!(outcome(os_only, machine()).attributes[0], text("host.name", "web"));
    }

    #[test]
    fn everything_is_found_that_is_wanted() {
        let on = |(name, _): &(&str, bool)| format!("{name}: {{enabled: true}}");
        let all: Vec<String> =
            super::super::detectors::Detector::System.attributes().iter().map(on).collect();
        let config = format!(
            "{{detectors: [system], system: {{resource_attributes: {{{}}}}}}}",
            all.join(", ")
        );
        let notes = outcome(&config, machine());
        let list = |name: &str, values: &[&str]| {
            (name.to_owned(), texts(values.iter().map(ToString::to_string)))
        };
        let expected = [
            text("host.name", "web.shop.example"),
            text("os.type", os_type(consts::OS)),
            text("host.arch", architecture(consts::ARCH)),
            text("host.id", "3ab5"),
            list("host.ip", &["10.0.0.7", "fe80::42:acff:fe11:2"]),
            list("host.interface", &["eth0"]),
            list("host.mac", &["AC-DE-48-23-45-67"]),
            text("host.cpu.vendor.id", "AuthenticAMD"),
            text("host.cpu.family", "25"),
            text("host.cpu.model.id", "1"),
            text("host.cpu.model.name", "EPYC"),
            text("host.cpu.stepping", "1"),
            ("host.cpu.cache.l2.size".to_owned(), AttributeValue::Int(524_288)),
            text("os.build.id", "6.12.1"),
            text("os.name", "Debian"),
            text("os.version", "13"),
            text("os.description", "Debian 13 (Linux 6.12.1)"),
        ];
        assert_eq!(notes.attributes, expected);
        assert_eq!(notes.warning, None);
    }

    #[test]
    fn a_host_without_a_name_is_told() {
        let notes = outcome("detectors: [system]", variables(&[]));
        assert!(notes.warning.unwrap().contains("hostname_sources"));
        let named = outcome("detectors: [system]", variables(&[("HOSTNAME", "box")]));
        assert_eq!(named.attributes[0], text("host.name", "box"));
        let only_dns = "{detectors: [system], system: {hostname_sources: [dns]}}";
        let notes = outcome(only_dns, variables(&[("HOSTNAME", "box")]));
        assert!(notes.warning.is_some());
    }

    proptest! {
        #[test]
        fn any_file_is_read(text in "(?s).*|([|/a-f0-9 .:=\"\n-]|host LOCAL|--)*", host in "[a-z.]*") {
            addresses(&text);
            addresses_6(&text);
            mac(&text);
            qualified(&text, &host);
            setting(&text, '=', &host);
        }
    }
}
