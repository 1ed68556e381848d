//! The gRPC side of the newer health check: `grpc.health.v1` on a port of its own.
//!
//! The empty service name asks for the process, the id of a pipeline (`traces/backend`) for that
//! pipeline. `Check` of an unknown name ends with `NOT_FOUND`, `Watch` says
//! `SERVICE_UNKNOWN`, as the protocol demands.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use http::StatusCode;
use tokio::{net::TcpListener, time::Interval};
use tonic::{
    Request, Response, Status, codegen::tokio_stream::Stream, transport::server::TcpIncoming,
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};

use super::Judge;
use crate::{
    component::{BoxFuture, Extension, Listening, StartError, Stop},
    net::server::{self, Sockets},
};

/// How often the state is read for a watcher.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for open calls after the stop.
const GRACE: Duration = Duration::from_secs(1);

/// The server.
pub(super) struct GrpcServer {
    pub(super) component: String,
    pub(super) endpoint: String,
    pub(super) judge: Arc<Judge>,
    listener: Option<TcpListener>,
}

impl GrpcServer {
    pub(super) fn new(component: String, endpoint: String, judge: Arc<Judge>) -> Self {
        GrpcServer { component, endpoint, judge, listener: None }
    }
}

impl Extension for GrpcServer {
    fn bind(&mut self, sockets: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        let mut open = || {
            let address = server::resolve(&self.endpoint, server::Family::Any)?;
            let (listener, _) = sockets.tcp_listener(address)?;
            let address = listener.local_addr()?.to_string();
            Ok((listener, Listening { protocol: "grpc", address, tls: false }))
        };
        let (listener, listening) = open().map_err(|error| StartError {
            component: self.component.clone(),
            message: server::explain_bind(&error, &self.endpoint),
        })?;
        self.listener = Some(listener);
        Ok(vec![listening])
    }

    fn run(self: Box<Self>, mut stop: Stop) -> BoxFuture<()> {
        Box::pin(async move {
            let Some(listener) = self.listener else { return };
            let service = Service { judge: self.judge, stop: stop.clone() };
            let serving = tonic::transport::Server::builder()
                .max_concurrent_streams(Some(32))
                .add_service(HealthServer::new(service))
                .serve_with_incoming_shutdown(TcpIncoming::from(listener), {
                    let mut stop = stop.clone();
                    async move { stop.raised().await }
                });
            let late = async {
                stop.raised().await;
                tokio::time::sleep(GRACE).await;
            };
            tokio::select! {
                ended = serving => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the health check has ended");
                    }
                }
                () = late => {}
            }
        })
    }
}

struct Service {
    judge: Arc<Judge>,
    stop: Stop,
}

fn serving(judge: &Judge, service: &str) -> ServingStatus {
    let pipeline = (!service.is_empty()).then_some(service);
    match judge.now(SystemTime::now(), pipeline) {
        StatusCode::OK => ServingStatus::Serving,
        StatusCode::NOT_FOUND => ServingStatus::ServiceUnknown,
        _ => ServingStatus::NotServing,
    }
}

const fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status as i32 }
}

#[tonic::async_trait]
impl Health for Service {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match serving(&self.judge, &service) {
            ServingStatus::ServiceUnknown => {
                let message = format!(
                    "`{service}` is not a pipeline; an empty name asks about skep as a whole"
                );
                Err(Status::not_found(message))
            }
            status => Ok(Response::new(answer(status))),
        }
    }

    type WatchStream = Watch;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        let mut stop = self.stop.clone();
        Ok(Response::new(Watch {
            judge: Arc::clone(&self.judge),
            service: request.into_inner().service,
            told: None,
            ticks: tokio::time::interval(INTERVAL),
            stopped: Box::pin(async move { stop.raised().await }),
        }))
    }
}

/// Tells the state at once and then every change, until the process stops.
struct Watch {
    judge: Arc<Judge>,
    service: String,
    told: Option<ServingStatus>,
    ticks: Interval,
    stopped: BoxFuture<()>,
}

impl Stream for Watch {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        loop {
            ready!(self.ticks.poll_tick(cx));
            let status = serving(&self.judge, &self.service);
            if self.told.replace(status) != Some(status) {
                return Poll::Ready(Some(Ok(answer(status))));
            }
        }
    }
}
