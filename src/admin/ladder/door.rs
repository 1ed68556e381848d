//! The rungs before the pipelines: ports, requests, memory.

use std::fmt::Write as _;

use super::{Basis, Ladder, Rung, State, Step, View, Why, facts::Door};
use crate::{
    admin::advice,
    telemetry::{
        OpenPort, Refused,
        senders::{Sighting, nearest},
        words::{ago, counted, grouped, item, percent, time},
    },
};

/// What nobody can change while skep starts or ends.
const NOT_READY: &str = "skep is starting or ending, so nothing is taken";

/// From this part of the byte budget on, memory is worth a word: nineteen twentieths.
fn is_nearly_full(used: u64, limit: u64) -> bool {
    limit > 0 && used >= limit - limit / 20
}

impl View<'_> {
    pub(super) fn door_rungs(&self) -> Vec<Rung> {
        let receivers = self.facts.receivers_of(self.signal);
        let mut rungs: Vec<Rung> = receivers.iter().map(|id| self.port(id)).collect();
        match self.service {
            Some(service) => rungs.push(self.requests_of(service)),
            None => rungs.extend(receivers.iter().map(|id| self.requests(id))),
        }
        // A pipeline that connectors feed has no door.
        if !receivers.is_empty() {
            rungs.push(self.memory());
        }
        rungs
    }

    fn ports_of(&self, receiver: &str) -> Vec<&OpenPort> {
        self.facts.ports.iter().filter(|port| port.component == receiver).collect()
    }

    fn port(&self, receiver: &str) -> Rung {
        let rung = Rung::new(Step::Port, receiver);
        let ports = self.ports_of(receiver);
        if !self.facts.is_ready {
            return Rung { state: State::Stop, sentence: NOT_READY.to_owned(), ..rung };
        }
        if ports.is_empty() {
            let sentence = "it has no port, so no application can send to it".to_owned();
            return Rung { state: State::Nothing, sentence, ..rung };
        }
        let tls = |port: &OpenPort| if port.tls { " (TLS)" } else { "" };
        let shown =
            ports.iter().map(|port| format!("{} {}{}", port.protocol, port.address, tls(port)));
        let sentence = format!("open: {}", shown.collect::<Vec<_>>().join(", "));
        Rung { state: State::Ok, sentence, ..rung }
    }

    fn doors_of(&self, receiver: &str) -> Vec<&Door> {
        let is_its = |door: &&Door| door.id == receiver && door.signal == self.signal;
        self.facts.doors.iter().filter(is_its).collect()
    }

    /// Requests that were refused for some reason, and the last reason of those that were.
    fn refused(&self, doors: &[&Door], why: Refused) -> (u64, Why) {
        let count = |door: &Door| self.basis.of(door.counts).refused(why);
        let all = doors.iter().map(|door| count(door)).sum();
        let most = doors.iter().filter(|door| count(door) > 0).max_by_key(|door| count(door));
        (all, most.map(|door| Why::of(&door.reasons[why as usize])).unwrap_or_default())
    }

    fn requests(&self, receiver: &str) -> Rung {
        let doors = self.doors_of(receiver);
        let counts = |door: &Door| self.basis.of(door.counts);
        let items: u64 = doors.iter().map(|door| counts(door).accepted).sum();
        let requests: u64 = doors.iter().map(|door| counts(door).requests).sum();
        let all: u64 = doors.iter().map(|door| counts(door).all_requests()).sum();
        let rung = Rung { came: items, ..Rung::new(Step::Requests, receiver) };
        if all == 0 {
            return self.nothing_came(rung, receiver, &doors);
        }
        let mut at_fault: Vec<(u64, Why)> = [Refused::Wrong, Refused::Denied, Refused::Failed]
            .map(|why| self.refused(&doors, why))
            .into();
        at_fault.retain(|(count, _)| *count > 0);
        let refused: u64 = at_fault.iter().map(|(count, _)| count).sum();
        let why = at_fault.into_iter().max_by_key(|(count, _)| *count);
        let why = why.map(|(_, why)| why).unwrap_or_default();
        if requests == 0 && refused > 0 {
            let requests = counted(refused, "request");
            let sentence = format!("{requests} came {}, and all were refused", self.basis.text());
            return Rung { state: State::Stop, sentence, stopped: refused, why, ..rung };
        }
        let mut sentence = self.taken(&doors, (items, requests));
        if refused > 0 {
            let _ = write!(sentence, "; {} refused", counted(refused, "request"));
            return Rung { state: State::Partial, sentence, stopped: refused, why, ..rung };
        }
        if let Some(stray) = self.strays(receiver).find(|one| one.recent.refused > 0) {
            let requests = counted(stray.recent.refused, "request");
            let _ = write!(sentence, "; {requests} of {} turned away", name(stray));
            let why = stray.refusal.as_ref().map(|one| Why::of(&one.words)).unwrap_or_default();
            let stopped = stray.recent.refused;
            return Rung { state: State::Partial, sentence, stopped, why, ..rung };
        }
        Rung { state: State::Ok, sentence, ..rung }
    }

    /// How much has come, and by which transports not.
    fn taken(&self, doors: &[&Door], (items, requests): (u64, u64)) -> String {
        let has_come = |door: &&&Door| self.basis.of(door.counts).requests > 0;
        let names = |doors: Vec<&&Door>| {
            doors.iter().map(|door| door.transport).collect::<Vec<_>>().join(" and ")
        };
        let (used, silent): (Vec<_>, Vec<_>) = doors.iter().partition(has_come);
        let last = doors.iter().filter_map(|door| door.last_data).min();
        let last = last.map(|age| format!(", the last {}", ago(age))).unwrap_or_default();
        let mut sentence = format!(
            "{} in {} on {} {}{last}",
            self.items(items),
            counted(requests, "request"),
            names(used),
            self.basis.text()
        );
        if !silent.is_empty() {
            let _ = write!(sentence, "; nothing on {}", names(silent));
        }
        sentence
    }

    /// Senders whose requests never became data.
    fn strays<'v>(&'v self, receiver: &'v str) -> impl Iterator<Item = &'v Sighting> {
        let is_stray = move |one: &&Sighting| {
            one.who.service.is_none() && one.who.receiver == receiver && one.refusal.is_some()
        };
        self.facts.senders.iter().filter(is_stray)
    }

    fn nothing_came(&self, rung: Rung, receiver: &str, doors: &[&Door]) -> Rung {
        let of_receiver = self.facts.doors.iter().filter(|door| door.id == receiver);
        let has_other = of_receiver.clone().any(|door| door.counts.total.requests > 0);
        let items = item(self.signal);
        let transports = doors.iter().map(|door| door.transport).collect::<Vec<_>>().join(" or ");
        let on = if transports.is_empty() { String::new() } else { format!(" on {transports}") };
        let age = time(self.facts.uptime);
        let strays: Vec<&Sighting> = self.strays(receiver).collect();
        if let (Some(last), false) = (strays.first(), has_other) {
            let stopped: u64 = strays.iter().map(|one| one.total.refused).sum();
            let refusal = last.refusal.as_ref();
            let age = refusal.map(|one| ago(one.age)).unwrap_or_default();
            let sentence = format!(
                "no {items} has come, but {} that became no data, the last {age} from {}",
                counted(stopped, "request"),
                name(last)
            );
            let why = refusal.map(|one| Why::of(&one.words)).unwrap_or_default();
            return Rung { state: State::Stop, sentence, stopped, why, ..rung };
        }
        let mut sentence = format!("no {items} has come{on} since the start {age} ago");
        if has_other {
            sentence.push_str(", but other data has: the application may not send them");
            return Rung { state: State::Nothing, sentence, ..rung };
        }
        let advice = advice::of_ports(&self.ports_of(receiver)).unwrap_or_default();
        let remedy = if advice.is_empty() {
            String::new()
        } else {
            format!("tell the application: {}", advice.join(" "))
        };
        let why = Why { reason: self.out_of_reach(receiver), remedy };
        Rung { state: State::Nothing, sentence, why, ..rung }
    }

    /// A reason why no application may find a receiver.
    fn out_of_reach(&self, receiver: &str) -> String {
        let ports = self.ports_of(receiver);
        let is_local = |port: &&OpenPort| {
            ["127.", "[::1]", "/"].iter().any(|start| port.address.starts_with(start))
        };
        if !ports.is_empty() && ports.iter().all(is_local) {
            "only programs on this machine reach it".to_owned()
        } else {
            String::new()
        }
    }

    /// The rung of requests of one service that is known.
    fn requests_of(&self, service: &str) -> Rung {
        let all: Vec<&Sighting> = self.facts.sightings(Some(service)).collect();
        let is_recent = matches!(self.basis, Basis::Recent(_));
        let tally = |one: &Sighting| if is_recent { one.recent } else { one.total };
        let items: u64 = all.iter().map(|one| tally(one).taken[self.signal.index()]).sum();
        let refused: u64 = all.iter().map(|one| tally(one).refused).sum();
        let last = all.iter().map(|one| one.last_age).min().unwrap_or_default();
        let rung = Rung { came: items, ..Rung::new(Step::Requests, service) };
        let refusal = all.iter().filter_map(|one| one.refusal.as_ref()).min_by_key(|one| one.age);
        let why = refusal.filter(|_| refused > 0).map(|one| Why::of(&one.words));
        let why = why.unwrap_or_default();
        if items == 0 {
            let (text, name) = (self.basis.text(), item(self.signal));
            let requests = counted(refused, "request");
            let (state, sentence) = if refused > 0 {
                (State::Stop, format!("no {name} was taken {text}: {requests} refused"))
            } else {
                (
                    State::Nothing,
                    format!("no {name} of it has come {text}; it was seen {}", ago(last)),
                )
            };
            return Rung { state, sentence, stopped: refused, why, ..rung };
        }
        let ways = ways(&all);
        let mut sentence =
            format!("{} {}, the last {}, {ways}", self.items(items), self.basis.text(), ago(last));
        if refused > 0 {
            let _ = write!(sentence, "; {} refused", counted(refused, "request"));
        }
        let state = if refused > 0 { State::Partial } else { State::Ok };
        Rung { state, sentence, stopped: refused, why, ..rung }
    }

    /// The ladder of a service of which nothing has come.
    pub(super) fn of_a_stranger(&self, service: &str) -> Ladder {
        let receivers = self.facts.receivers_of(self.signal);
        let mut rungs: Vec<Rung> = receivers.iter().map(|id| self.port(id)).collect();
        let known = self.facts.senders.iter().filter_map(|one| one.who.service.as_deref());
        let known: Vec<&str> = known.collect();
        let age = time(self.facts.uptime);
        let reason = match nearest(service, known.iter().copied()) {
            Some(near) => format!("`{near}` sends, which may be the same one"),
            None if known.is_empty() => "no service has sent anything".to_owned(),
            None => {
                let count = counted(known.len() as u64, "sender");
                format!(
                    "{count} of other services {} known; `skep status` shows them",
                    if known.len() == 1 { "is" } else { "are" }
                )
            }
        };
        let remedy = format!("set OTEL_SERVICE_NAME={service} in the application");
        rungs.push(Rung {
            state: State::Stop,
            sentence: format!("nothing of this service has come since the start {age} ago"),
            why: Why { reason, remedy },
            ..Rung::new(Step::Requests, service)
        });
        self.of_rungs(rungs)
    }

    fn memory(&self) -> Rung {
        let memory = self.facts.memory;
        let doors: Vec<&Door> =
            self.facts.doors.iter().filter(|door| door.signal == self.signal).collect();
        let (refused, why) = self.refused(&doors, Refused::NoRoom);
        let taken: u64 = doors.iter().map(|door| self.basis.of(door.counts).requests).sum();
        let mut sentence = format!(
            "{} of {} MiB used",
            grouped(memory.used.div_ceil(1 << 20)),
            grouped(memory.limit >> 20)
        );
        if memory.waiting > 0 {
            let _ = write!(sentence, "; {} for room", waits(memory.waiting));
        }
        let rung = Rung::new(Step::Memory, "");
        if refused > 0 {
            let all = percent(refused, refused + taken);
            let sentence = format!(
                "{} ({all}) found no room {}; {sentence}",
                counted(refused, "request"),
                self.basis.text()
            );
            let state = if taken == 0 { State::Stop } else { State::Partial };
            let why = Why { remedy: remedy(&why.reason, why.remedy), ..why };
            return Rung { state, sentence, stopped: refused, why, ..rung };
        }
        let is_full = is_nearly_full(memory.used, memory.limit);
        let state = if is_full { State::Partial } else { State::Ok };
        Rung { state, sentence, ..rung }
    }
}

fn waits(requests: u64) -> String {
    let verb = if requests == 1 { "waits" } else { "wait" };
    format!("{} {verb}", counted(requests, "request"))
}

/// What mends a refusal for lack of room. Its sender is told to come back, which is no remedy for
/// the operator.
fn remedy(reason: &str, told: String) -> String {
    if reason.contains("memory") {
        "raise `limit_mib` of `memory_limiter`, or the memory of the container, or send less".into()
    } else if reason.contains("queue of an exporter") {
        "see the queue below: its backend takes less than comes".into()
    } else if reason.contains("storage") || reason.contains("to disk") {
        "make room on the disk of the storage, or raise its `max_size_mib`".into()
    } else {
        told
    }
}

/// Who sends, for people.
fn name(one: &Sighting) -> String {
    let agent = if one.who.agent.is_empty() { "a client" } else { &one.who.agent };
    match one.who.peer {
        Some(peer) => format!("{agent} at {peer}"),
        None => agent.to_owned(),
    }
}

/// How a service sends: `python 1.29 over grpc from 10.0.0.3`.
fn ways(all: &[&Sighting]) -> String {
    let Some(first) = all.iter().min_by_key(|one| one.last_age) else { return String::new() };
    let who = &first.who;
    let sdk = [&*who.language, &*who.version].join(" ");
    let by = if sdk.trim().is_empty() { String::new() } else { format!("by {} ", sdk.trim()) };
    let from = who.peer.map(|peer| format!(" from {peer}")).unwrap_or_default();
    let more = match all.len() {
        0 | 1 => String::new(),
        n => format!(" and {}", counted(n as u64 - 1, "other way")),
    };
    format!("{by}over {}{from}{more}", who.transport)
}
