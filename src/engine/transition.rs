//! Replaces the running parts by those of another configuration. The start is the first transition,
//! from workers with an empty graph and no other parts; all others are reloads.
//!
//! ```text
//! plan, build -> open sockets | removed receivers stop -> exchange -> new parts run,
//!      nothing has changed so far     |              (workers are paused)    old ones leave
//! ```
//!
//! Parts that are the same go on as they are: a receiver with its connections, an exporter with its
//! queue and the data that is being sent, a processor with all that it holds. Two parts are the
//! same if they have the same id and the same configuration with all defaults filled in (a receiver
//! also the same signals, a processor the same pipeline and types of exporters behind it, an
//! exporter the same authenticator).
//!
//! A part that has changed is opened beside the old one, on a copy of its socket if the address is
//! the same ([`Sockets`]), and the old one finishes what it has begun. A receiver that is only
//! removed stops before the exchange, so that its last requests still go into the old graph.
//! Requests that it reads later go into those of its pipelines that are left, or are refused for
//! now if there is none.
//!
//! Everything that can fail is done first, so an error changes nothing.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    Running, changes,
    parts::{RunningExporter, RunningReceiver, RunningService, Service, receiver_label},
    plan::{self, Kept, KeptReceiver, Plan, PlannedExporter, PlannedReceiver, Shares},
    signals::Signals,
};
use crate::{
    component::{Listening, Sockets, StartError, reload::Changes},
    document::Document,
    engine::{
        intake::{inlet::InletDeps, route::Routes},
        work::exchange::Next,
    },
    net::server::Held,
    telemetry::OpenPort,
};

/// Longest wait for the last requests of receivers that are removed.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// Another configuration, built and open, with nothing of it running.
pub(super) struct Transition {
    next: Next,
    receivers: Vec<BoundReceiver>,
    services: Vec<(Service, Vec<Arc<Held>>)>,
    exporters: Vec<PlannedExporter>,
    /// Each exporter's part of the byte budget.
    shares: Shares,
    changes: Changes,
    listening: Vec<(String, Listening)>,
}

/// What a transition has done.
pub(super) struct Applied {
    pub(super) changes: Changes,
    /// New listeners, by component.
    pub(super) listening: Vec<(String, Listening)>,
    /// For how long the workers were paused; `None` if one has panicked, and nothing else was done.
    pub(super) pause: Option<Duration>,
    /// Whether a signal has come that ends the process.
    pub(super) has_ended: bool,
}

/// A receiver that is to run.
struct BoundReceiver {
    planned: PlannedReceiver,
    routes: Arc<Routes>,
    /// Empty if it runs already.
    sockets: Vec<Arc<Held>>,
}

/// New parts, each with its sockets.
#[derive(Default)]
struct Opened {
    services: Vec<(Service, Vec<Arc<Held>>)>,
    receivers: Vec<(PlannedReceiver, Vec<Arc<Held>>)>,
    listening: Vec<(String, Listening)>,
}

impl Running {
    /// Does everything that can fail.
    pub(super) fn prepare(
        &self,
        document: &Document,
        services: Vec<Service>,
    ) -> Result<Transition, StartError> {
        let plan = plan::plan(document, &self.site, &self.pool.offload(), &self.kept())?;
        let Plan { graph, exporters, shares, mut receivers, last_routes } = plan;
        let running: HashMap<&str, &Arc<Routes>> =
            self.receivers.iter().map(|one| (&*one.id, &one.routes)).collect();
        let (mut replaced, mut routes) = (Vec::new(), Vec::new());
        for planned in &mut receivers {
            let new = std::mem::take(&mut planned.routes);
            if let Some(running) = running.get(&*planned.id) {
                replaced.push((Arc::clone(running), new));
                routes.push(Arc::clone(running));
            } else {
                routes.push(Routes::new(new));
            }
        }
        for (id, last) in last_routes {
            replaced.extend(running.get(&*id).map(|running| (Arc::clone(running), last)));
        }
        let install = Box::new(move || {
            for (routes, new) in replaced {
                routes.replace(new);
            }
        });
        let old = self.pool.graph();
        let next = Next::prepare(&old, graph, self.site.workers, install)?;
        let mut changes = Changes::default();
        changes::compare_receivers(&self.receivers, &receivers, &mut changes);
        changes::compare_services(&self.services, &services, &mut changes);
        changes::compare_exporters(&self.exporters, &exporters, &mut changes);
        changes::compare_graphs(&old, &next, &mut changes);
        let Opened { services, receivers, listening } = self.open(services, receivers)?;
        let receivers = receivers.into_iter().zip(routes);
        let receivers = receivers
            .map(|((planned, sockets), routes)| BoundReceiver { planned, routes, sockets })
            .collect();
        Ok(Transition { next, receivers, services, exporters, shares, changes, listening })
    }

    /// The running parts, for the plan.
    fn kept(&self) -> Kept {
        let exporters = self.exporters.iter().map(|one| {
            ((one.id.clone(), one.signal), (one.identity.clone(), Arc::clone(&one.queue)))
        });
        let receivers = self.receivers.iter().map(|one| {
            let identity = (!one.serving.has_ended()).then(|| one.identity.clone());
            let (feeds, journal) = (one.feeds.clone(), one.journal.clone());
            (one.id.clone(), KeptReceiver { identity, feeds, journal })
        });
        Kept { exporters: exporters.collect(), receivers: receivers.collect() }
    }

    /// Opens the sockets of parts that do not run yet. An address that a part to be removed listens
    /// on is taken over by a copy of its socket.
    fn open(
        &self,
        services: Vec<Service>,
        receivers: Vec<PlannedReceiver>,
    ) -> Result<Opened, StartError> {
        let is_kept = |one: &&RunningService| services.iter().any(|new| one.is_same_as(new));
        let removed = self.services.iter().filter(|one| !is_kept(one));
        let mut inherited: Vec<Arc<Held>> =
            removed.flat_map(|one| one.serving.sockets.iter().cloned()).collect();
        for running in &self.receivers {
            let is_kept = |new: &PlannedReceiver| new.id == running.id && new.receiver.is_none();
            if !receivers.iter().any(is_kept) {
                inherited.extend(running.serving.sockets.iter().cloned());
            }
        }
        let mut opened = Opened::default();
        for mut service in services {
            let mut held = Vec::new();
            if !self.services.iter().any(|one| one.is_same_as(&service)) {
                let mut sockets = Sockets::with(inherited);
                let open = service.extension.bind(&mut sockets)?;
                opened.listening.extend(open.into_iter().map(|open| (service.id.clone(), open)));
                (held, inherited) = sockets.finish();
            }
            opened.services.push((service, held));
        }
        for mut planned in receivers {
            let mut held = Vec::new();
            if let Some(receiver) = &mut planned.receiver {
                let mut sockets = Sockets::with(inherited);
                let open = receiver.bind(&mut sockets)?;
                opened.listening.extend(open.into_iter().map(|open| (planned.id.clone(), open)));
                (held, inherited) = sockets.finish();
            }
            opened.receivers.push((planned, held));
        }
        Ok(opened)
    }

    /// Replaces the running parts by the new ones.
    pub(super) async fn apply(&mut self, transition: Transition, signals: &mut Signals) -> Applied {
        let Transition { next, receivers, services, exporters, shares, changes, listening } =
            transition;
        let new_sockets: Vec<Arc<Held>> = receivers
            .iter()
            .flat_map(|bound| &bound.sockets)
            .chain(services.iter().flat_map(|(_, held)| held))
            .cloned()
            .collect();
        let has_ended = self.stop_removed(&receivers, &new_sockets, signals).await;
        let pause = self.pool.exchange(next).await;
        if pause.is_some() {
            for held in &new_sockets {
                held.take_over();
            }
            self.exchange_exporters(exporters, shares);
            self.exchange_receivers(receivers);
            self.exchange_services(services);
            self.note_ports(&listening);
        }
        Applied { changes, listening, pause, has_ended }
    }

    /// Tells pages which ports of receivers are open now.
    fn note_ports(&self, new: &[(String, Listening)]) {
        let runs = |id: &str| self.receivers.iter().any(|one| one.id == id);
        let of_receivers = new.iter().filter(|(component, _)| runs(component));
        let port = |(component, listening): &(String, Listening)| OpenPort {
            component: component.clone(),
            protocol: listening.protocol,
            address: listening.address.clone(),
            tls: listening.tls,
        };
        self.site.telemetry.open_ports(of_receivers.map(port).collect(), runs);
    }

    /// Lets receivers finish that are removed and have no successor on their sockets. Returns
    /// whether a signal that ends the process has come meanwhile.
    async fn stop_removed(
        &mut self,
        planned: &[BoundReceiver],
        new_sockets: &[Arc<Held>],
        signals: &mut Signals,
    ) -> bool {
        let (mut kept, mut stopped) = (Vec::new(), Vec::new());
        for running in self.receivers.drain(..) {
            let is_planned = planned.iter().any(|new| new.planned.id == running.id);
            let held = &running.serving.sockets;
            let has_successor =
                held.iter().any(|old| new_sockets.iter().any(|new| new.succeeds(old)));
            if is_planned || has_successor {
                kept.push(running);
            } else {
                let label = receiver_label(&running.id);
                stopped.push(running.leave().watched(label, Arc::clone(&self.site.telemetry)));
            }
        }
        self.receivers = kept;
        if stopped.is_empty() {
            return false;
        }
        let all = async {
            for leaving in &mut stopped {
                leaving.ended().await;
            }
        };
        let patience = LAST_REQUESTS.min(self.drain_timeout / 3);
        let has_ended = tokio::select! {
            _ = tokio::time::timeout(patience, all) => false,
            () = signals.end() => true,
        };
        self.leaving.extend(stopped);
        has_ended
    }

    fn exchange_exporters(&mut self, planned: Vec<PlannedExporter>, shares: Shares) {
        self.site.budget.set_aside(shares.aside);
        let mut running = Vec::with_capacity(planned.len());
        for exporter in planned {
            shares.give(&exporter);
            if let Some(monthly) = &exporter.monthly {
                monthly.allowance.apply(&monthly.budget.settings);
            }
            let same = |one: &RunningExporter| Arc::ptr_eq(&one.queue, &exporter.queue);
            match self.exporters.iter().position(same) {
                Some(index) => running.push(self.exporters.swap_remove(index)),
                None => running.extend(RunningExporter::start(exporter, self.pool.panics())),
            }
        }
        for gone in std::mem::replace(&mut self.exporters, running) {
            let mut others = self.exporters.iter();
            if others.any(|one| one.id == gone.id && one.signal == gone.signal) {
                gone.queue.leave_disk();
            }
            let telemetry = Arc::clone(&self.site.telemetry);
            self.departing.push(gone.depart(self.drain_timeout, telemetry));
        }
    }

    fn exchange_receivers(&mut self, planned: Vec<BoundReceiver>) {
        let deps = InletDeps {
            budget: Arc::clone(&self.site.budget),
            pool: Arc::clone(&self.pool),
            open_requests: Arc::clone(&self.open_requests),
        };
        let mut running = Vec::with_capacity(planned.len());
        for BoundReceiver { planned, routes, sockets } in planned {
            let index = self.receivers.iter().position(|one| one.id == planned.id);
            match index.filter(|_| planned.receiver.is_none()) {
                Some(index) => {
                    let mut kept = self.receivers.swap_remove(index);
                    kept.feeds = planned.feeds;
                    running.push(kept);
                }
                None => running.extend(RunningReceiver::start(planned, sockets, routes, &deps)),
            }
        }
        for gone in std::mem::replace(&mut self.receivers, running) {
            let label = receiver_label(&gone.id);
            let telemetry = Arc::clone(&self.site.telemetry);
            self.leaving.push(gone.leave().watched(label, telemetry));
        }
    }

    fn exchange_services(&mut self, planned: Vec<(Service, Vec<Arc<Held>>)>) {
        let mut running = Vec::with_capacity(planned.len());
        for (service, held) in planned {
            match self.services.iter().position(|one| one.is_same_as(&service)) {
                Some(index) => running.push(self.services.swap_remove(index)),
                None => running.push(RunningService::start(service, held)),
            }
        }
        for gone in std::mem::replace(&mut self.services, running) {
            let (label, telemetry) = (gone.label.clone(), Arc::clone(&self.site.telemetry));
            self.leaving.push(gone.leave().watched(label, telemetry));
        }
    }
}
