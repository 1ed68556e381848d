//! Ports that two components want: only one of them could have it, and skep would not start.

use super::{Document, components::Bodies};
use crate::{
    component::{ComponentId, Kind, Port},
    config::{Node, Problem, Problems, Severity},
};

/// A port that a component which runs wants to open.
struct Wanted<'a> {
    kind: Kind,
    id: &'a ComponentId,
    /// The key of the address, or what is there of the way to it.
    at: &'a Node,
    is_udp: bool,
    host: Host,
    port: u16,
    /// As it is configured.
    address: String,
}

/// Interfaces of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// All, IPv4 and IPv6.
    Every,
    /// All with IPv4.
    EveryIpv4,
    /// The one with this address or name.
    One(String),
}

impl Host {
    fn of(text: &str) -> Self {
        match text {
            "" | "[::]" => Host::Every,
            "0.0.0.0" => Host::EveryIpv4,
            // See `server::Family::Any`.
            "localhost" => Host::One("127.0.0.1".to_owned()),
            other => Host::One(other.to_ascii_lowercase()),
        }
    }

    /// Whether one interface belongs to both. Names are not looked up: they may mean something
    /// else where skep will run.
    fn overlaps(&self, other: &Host) -> bool {
        match (self, other) {
            (Host::Every, _) | (_, Host::Every) | (Host::EveryIpv4, Host::EveryIpv4) => true,
            (Host::EveryIpv4, Host::One(one)) | (Host::One(one), Host::EveryIpv4) => {
                one.parse::<std::net::Ipv4Addr>().is_ok()
            }
            (Host::One(one), Host::One(other)) => one == other,
        }
    }
}

/// Reports a port of a receiver or an extension that another one wants, too, and warns of one that
/// the metrics page wants.
pub(super) fn check(root: &Node, document: &Document, problems: &mut Problems) {
    let all = wanted(root, document, problems);
    for (i, second) in all.iter().enumerate() {
        let conflicts = |first: &&Wanted<'_>| {
            first.is_udp == second.is_udp
                && first.port == second.port
                && first.host.overlaps(&second.host)
        };
        let Some(first) = all[..i].iter().find(conflicts) else { continue };
        let message = format!(
            "`{}` is taken: {} `{}` listens on `{}`",
            second.address,
            first.kind.name(),
            first.id,
            first.address
        );
        let problem = problems.error(second.at, message);
        problem.help("choose another port for one of them").relate(first.at.spot(), "here first");
    }
    let Some(page) = document.telemetry.metrics.endpoint() else { return };
    let Some((host, port)) = parts(&page) else { return };
    for one in all.iter().filter(|one| !one.is_udp && one.port == port) {
        if one.host.overlaps(&host) {
            let message = format!("`{}` is the address of the metrics page, too", one.address);
            let path = &*one.at.path;
            let mut problem = Problem::at(one.at.spot(), path, message);
            problem.severity = Severity::Warning;
            problem.help(
                "choose another port, or another one for the page with \
                 `service: telemetry: metrics: readers`",
            );
            problems.0.push(problem);
        }
    }
}

/// The ports of the components that run, in the order of the file.
fn wanted<'a>(root: &'a Node, document: &'a Document, problems: &Problems) -> Vec<Wanted<'a>> {
    let bodies = Bodies::new(root, problems);
    let mut all = Vec::new();
    let mut add = |kind: Kind, id: &'a ComponentId, ports: Vec<Port>| {
        let Some(body) = bodies.get(kind, id) else { return };
        for port in ports {
            let at = body.at(port.key);
            let address = port.address();
            let Some((host, number)) = parts(&address) else { continue };
            // With port 0 the system chooses one that is free.
            if number != 0 && !bodies.is_broken(at) {
                all.push(Wanted { kind, id, at, is_udp: port.is_udp, host, port: number, address });
            }
        }
    };
    for receiver in document.receivers.values() {
        let is_used = |pipeline: &super::Pipeline| pipeline.receivers.contains(&receiver.id);
        if document.pipelines.iter().any(is_used) {
            add(Kind::Receiver, &receiver.id, receiver.config.ports());
        }
    }
    for id in &document.enabled_extensions {
        if let Some(extension) = document.extensions.get(id) {
            add(Kind::Extension, &extension.id, extension.config.ports());
        }
    }
    all.sort_by_key(|one| (one.at.spot().source, one.at.spot().range.start));
    all
}

fn parts(address: &str) -> Option<(Host, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((Host::of(host), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_overlap_if_they_share_an_interface() {
        let overlap = |one: &str, other: &str| {
            let (one, other) = (Host::of(one), Host::of(other));
            assert_eq!(one.overlaps(&other), other.overlaps(&one));
            one.overlaps(&other)
        };
        assert!(overlap("localhost", "127.0.0.1"));
        assert!(overlap("0.0.0.0", "127.0.0.1"));
        assert!(overlap("0.0.0.0", "[::]"));
        assert!(overlap("", "[::1]"));
        assert!(overlap("skep", "Skep"));
        assert!(!overlap("0.0.0.0", "[::1]"));
        assert!(!overlap("127.0.0.1", "127.0.0.2"));
        assert!(!overlap("localhost", "skep"));
    }
}
