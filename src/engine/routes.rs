//! The ways of one receiver into the graph. A reload exchanges them, while the workers stand still, so a
//! worker that takes up a body always finds a way that belongs to the graph it runs.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use crate::otlp::Signal;

use super::{admission::Route, door::SignalRoutes};

/// None where no pipeline of that signal lists the receiver.
pub type BySignal = [Option<SignalRoutes>; 3];

/// The ways of the day. Shared by the doors of a receiver and of the one that takes its place.
pub struct Routes {
    now: RwLock<[Option<Arc<SignalRoutes>>; 3]>,
    was_exchanged: AtomicBool,
}

impl Routes {
    /// The first ones.
    pub fn new(routes: BySignal) -> Arc<Self> {
        let now = RwLock::new(routes.map(|routes| routes.map(Arc::new)));
        Arc::new(Routes { now, was_exchanged: AtomicBool::new(false) })
    }

    /// Those of a signal now.
    pub fn of(&self, signal: Signal) -> Option<Arc<SignalRoutes>> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)[signal.index()].clone()
    }

    /// Puts others in their place. Only while no worker runs.
    pub fn exchange(&self, routes: BySignal) {
        self.was_exchanged.store(true, Ordering::SeqCst);
        let routes = routes.map(|routes| routes.map(Arc::new));
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = routes;
    }

    /// Whether they were others once, so that who finds no way may have had one.
    pub fn were_exchanged(&self) -> bool {
        self.was_exchanged.load(Ordering::SeqCst)
    }

    /// The way of what has no transport any more.
    pub fn first(&self, signal: Signal) -> Option<Arc<Route>> {
        self.route(signal, "")
    }

    /// The way of a body.
    pub fn route(&self, signal: Signal, transport: &str) -> Option<Arc<Route>> {
        let routes = self.of(signal)?;
        let same = routes.by_transport.iter().find(|(label, _)| *label == transport);
        same.or(routes.by_transport.first()).map(|(_, route)| Arc::clone(route))
    }
}
