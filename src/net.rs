//! Sockets and their protocols: HTTP, gRPC framing, TLS, compression. Knows nothing of pipelines.
#[cfg(feature = "aws")]
pub mod aws;
pub mod aws_host;
#[cfg(feature = "aws")]
mod aws_http;
pub mod client;
pub mod codec;
pub mod fetch;
pub mod grpc;
pub mod metadata;
pub mod pages;
pub mod proxy;
pub mod rate_limit;
pub mod server;
pub mod tls;
