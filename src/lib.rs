//! skep: a telemetry pipeline. OTLP comes in, is processed as bytes, and goes out, as an
//! OpenTelemetry Collector YAML file says.
//!
//! ```text
//!  receivers --> engine: permit, queue, workers --> processors --> exporter queues --> backends
//!   (tokio)        (checks, inflates, edits: plain synchronous Rust)        (tokio)
//! ```
//!
//! Layers, each using only those above it in this list, and [`sync`]:
//! - [`otlp`]: the bytes. Checks, views, splices, splits; knows nothing else of ours.
//! - [`config`]: the YAML tree with positions, units, problems.
//! - [`ottl`]: the language of conditions and statements, on those bytes.
//! - [`net`]: sockets, HTTP, gRPC framing, TLS, compression.
//! - [`budget`]: monthly ceilings of exporters, in the units that vendors bill.
//! - [`recent`]: the last minutes of telemetry in memory, and questions about them.
//! - [`telemetry`]: metrics and state that pages and probes read.
//! - [`storage`]: logs of OTLP bytes on disk.
//! - [`component`]: the traits that components implement.
//! - [`statements`]: OTTL in the configurations of components.
//! - [`tap`]: what a person sees of the data on an edge.
//! - [`receivers`], [`processors`], [`exporters`], [`connectors`], [`extensions`]: one file each.
//! - [`document`]: a whole configuration file, decoded against the registries.
//! - [`engine`]: plan, workers, budget, queues: the only place that spawns.
//! - [`admin`]: the control plane and the metrics page.
//! - [`console`]: the pages for people who want to see what it does.
//! - [`cli`]: arguments to exit code.

pub mod admin;
pub mod budget;
pub mod cli;
pub mod component;
pub mod config;
pub mod connectors;
pub mod console;
pub mod document;
pub mod engine;
pub mod exporters;
pub mod extensions;
pub mod net;
pub mod otlp;
pub mod ottl;
pub mod processors;
pub mod receivers;
pub mod recent;
pub mod statements;
pub mod storage;
pub mod sync;
pub mod tap;
pub mod telemetry;
