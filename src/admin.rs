//! The control plane: what a running process does, for programs, over gRPC.
//!
//! `skep.control.v1.ControlService` (see `proto/`), `grpc.health.v1` and reflection on one
//! listener, by default [`DEFAULT_ENDPOINT`]. All calls only read, except `Reload`, which applies
//! what is in the configuration files, and those on dead letters, which can be sent again and
//! dropped. It listens on loopback, unless `--control-endpoint` names another address; then `Tap`,
//! which shows what telemetry says, is refused.

pub mod advice;
pub mod budgets;
pub(crate) mod dead_letters;
mod decisions;
pub mod ladder;
pub mod metrics;
pub(crate) mod senders;
mod service;
pub(crate) mod tap;
mod topology;
pub(crate) mod where_stopped;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    component::{BoxFuture, Listening, Stop, reload::Reloads},
    net::server,
    storage::letters::Letterboxes,
    telemetry::{Telemetry, history, verdict},
};
use proto::control_service_server::ControlServiceServer;
pub(crate) use service::{health, problem, reloaded};
pub(crate) use topology::topology;

/// Where the control plane listens by default.
pub const DEFAULT_ENDPOINT: &str = "127.0.0.1:8687";

/// The control plane, open but not answering yet.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    telemetry: Arc<Telemetry>,
    reloads: Option<Reloads>,
    letterboxes: Arc<Letterboxes>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admin({})", self.address)
    }
}

impl Admin {
    /// Opens the listener; the error has the remedy in it. Call within a tokio runtime.
    pub fn bind(endpoint: &str, telemetry: Arc<Telemetry>) -> Result<Self, String> {
        let explain = |error| server::explain_bind(&error, endpoint);
        let listener = server::resolve(endpoint, server::Family::Any)
            .and_then(server::listen)
            .map_err(explain)?;
        let address = listener.local_addr().map_err(explain)?;
        Ok(Admin { listener, address, telemetry, reloads: None, letterboxes: Arc::default() })
    }

    /// The same with a way to ask for a reload.
    #[must_use]
    pub fn with_reloads(self, reloads: Option<Reloads>) -> Self {
        Admin { reloads, ..self }
    }

    /// The same with the dead letters of the process.
    #[must_use]
    pub fn with_letterboxes(self, letterboxes: Arc<Letterboxes>) -> Self {
        Admin { letterboxes, ..self }
    }

    /// The address that was opened.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same for the start-up report.
    pub fn listening(&self) -> Listening {
        Listening { protocol: "grpc", address: self.address.to_string(), tls: false }
    }

    /// Serves until `stop` is raised.
    pub fn run(self, stop: Stop) -> BoxFuture<()> {
        Box::pin(self.serve(stop))
    }

    async fn serve(self, mut stop: Stop) {
        let (reporter, health) = tonic_health::server::health_reporter();
        let reflection = match tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
        {
            Ok(reflection) => Some(reflection),
            Err(error) => {
                tracing::error!(%error, "the control plane has no reflection");
                None
            }
        };
        let control = service::Control {
            telemetry: Arc::clone(&self.telemetry),
            reloads: self.reloads,
            letterboxes: self.letterboxes,
            is_loopback: self.address.ip().is_loopback(),
            stop: stop.clone(),
        };
        let serving = tonic::transport::Server::builder()
            .concurrency_limit_per_connection(16)
            .max_concurrent_streams(Some(32))
            .add_service(ControlServiceServer::new(control))
            .add_service(health)
            .add_optional_service(reflection)
            .serve_with_incoming_shutdown(TcpIncoming::from(self.listener), {
                let mut stop = stop.clone();
                async move { stop.raised().await }
            });
        let reporting = report(reporter, Arc::clone(&self.telemetry));
        tokio::select! {
            result = serving => {
                if let Err(error) = result {
                    tracing::error!(%error, "the control plane has ended");
                }
            }
            () = reporting => {}
            () = history::keep(&self.telemetry) => {}
            // Watchers of the health service never hang up on their own.
            () = async { stop.raised().await; tokio::time::sleep(GRACE).await } => {}
        }
    }
}

/// How long open calls may go on after the stop.
const GRACE: Duration = Duration::from_secs(1);

/// Serves the control plane on an endpoint: [`Admin::bind`] and [`Admin::run`] in one.
pub fn serve(
    endpoint: &str,
    telemetry: Arc<Telemetry>,
    stop: Stop,
) -> Result<BoxFuture<()>, String> {
    Ok(Admin::bind(endpoint, telemetry)?.run(stop))
}

/// The state of a component in JSON: `ok`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
pub(crate) fn state_name<S: serde::Serializer>(
    state: &i32,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match proto::State::try_from(*state).unwrap_or_default() {
        proto::State::Unspecified => "unknown",
        proto::State::Stopped => "stopped",
        proto::State::Idle => "idle",
        proto::State::Ok => "ok",
        proto::State::Error => "error",
    })
}

/// The state of a rung in JSON: `partial`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
pub(crate) fn rung_state_name<S: serde::Serializer>(
    state: &i32,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match proto::RungState::try_from(*state).unwrap_or_default() {
        proto::RungState::Unspecified => "unknown",
        proto::RungState::Ok => "ok",
        proto::RungState::Nothing => "nothing",
        proto::RungState::Partial => "partial",
        proto::RungState::Stop => "stop",
    })
}

/// Keeps `grpc.health.v1` at the state of the process, for the process (empty name) and the
/// control service.
async fn report(reporter: HealthReporter, telemetry: Arc<Telemetry>) {
    loop {
        // Made before the state is read, so that no change falls between the two.
        let changed = telemetry.ready_changed.notified();
        let mut changed = std::pin::pin!(changed);
        changed.as_mut().enable();
        let is_ready = verdict::is_ready(&telemetry);
        let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status("", status).await;
        reporter.set_service_status("skep.control.v1.ControlService", status).await;
        changed.await;
    }
}

/// Messages and services of `proto/skep/control/v1/control.proto`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::pedantic,
    clippy::allow_attributes,
    reason = "generated by tonic-prost-build"
)]
pub mod proto {
    tonic::include_proto!("skep.control.v1");

    /// The compiled `.proto` files, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/control.bin"));
}

#[cfg(test)]
mod tests;
