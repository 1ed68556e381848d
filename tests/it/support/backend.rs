//! A backend made of tonic and the generated OTLP services, which share no code with skep.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use opentelemetry_proto::tonic::collector::{
    logs::v1::{
        ExportLogsServiceRequest, ExportLogsServiceResponse,
        logs_service_server::{LogsService, LogsServiceServer},
    },
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
};
use tonic::{
    Request, Response, Status,
    codec::CompressionEncoding::{Gzip, Zstd},
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

/// Everything that arrived, or was sent.
#[derive(Default, Debug)]
pub(crate) struct Telemetry {
    pub(crate) traces: Vec<ExportTraceServiceRequest>,
    pub(crate) metrics: Vec<ExportMetricsServiceRequest>,
    pub(crate) logs: Vec<ExportLogsServiceRequest>,
}

/// What a backend took so far; clones are the same backend.
#[derive(Clone, Default)]
pub(crate) struct Backend(Arc<Mutex<Telemetry>>);

impl Backend {
    pub(crate) fn taken(&self) -> MutexGuard<'_, Telemetry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves OTLP/gRPC, over TLS where it has a certificate, until the test process ends.
    pub(crate) fn start(identity: Option<Identity>) -> (Self, u16) {
        let backend = Backend::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let served = backend.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(served.serve(listener, identity));
        });
        (backend, port)
    }

    async fn serve(self, listener: TcpListener, identity: Option<Identity>) {
        let traces = TraceServiceServer::new(self.clone());
        let metrics = MetricsServiceServer::new(self.clone());
        let logs = LogsServiceServer::new(self);
        let mut server = Server::builder();
        if let Some(identity) = identity {
            server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        }
        server
            .add_service(traces.accept_compressed(Gzip).accept_compressed(Zstd))
            .add_service(metrics.accept_compressed(Gzip).accept_compressed(Zstd))
            .add_service(logs.accept_compressed(Gzip).accept_compressed(Zstd))
            .serve_with_incoming(TcpIncoming::from(
                tokio::net::TcpListener::from_std(listener).unwrap(),
            ))
            .await
            .unwrap();
    }
}

#[tonic::async_trait]
impl TraceService for Backend {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.taken().traces.push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Backend {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.taken().metrics.push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Backend {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.taken().logs.push(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}
