//! A backend that waits before it answers.

use std::{net::TcpListener, sync::Arc, thread, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// Told the spans of each request before it is answered.
pub(crate) type Taken = Arc<dyn Fn(Vec<Span>) + Send + Sync>;

struct SlowBackend {
    delay: Duration,
    taken: Taken,
}

#[tonic::async_trait]
impl TraceService for SlowBackend {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        tokio::time::sleep(self.delay).await;
        let resources = request.into_inner().resource_spans;
        let spans = resources.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        (self.taken)(spans.collect());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Starts it on a port of its own, for as long as the test runs.
pub(crate) fn start(delay: Duration, taken: Taken) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let service =
        TraceServiceServer::new(SlowBackend { delay, taken }).max_decoding_message_size(usize::MAX);
    thread::spawn(move || {
        runtime().block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let serving = Server::builder().add_service(service);
            serving.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
    });
    port
}

/// A runtime of one thread.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
