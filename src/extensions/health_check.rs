//! Tells probes whether the process takes data.
//!
//! ```yaml
//! health_check:
//!   endpoint: localhost:13133
//!   path: /
//! ```
//!
//! `path` answers 200 once the pipelines run, and 503 before that and from the start of the drain,
//! as the Collector does. Two more paths tell liveness and readiness apart: `/livez` answers 200 as
//! long as the process answers at all, `/readyz` as `path`. `?verbose` shows every exporter with
//! the age of its last success and the backend's own words for its last failure, and every monthly
//! budget: `state` is `open`, `paced` while a part is left out so that the rest lasts, or `spent`.
//! `warnings` has the budgets of which 80 or 95 % are used and those whose ledger cannot be
//! written; they do not change the status. `skep health` shows all of this.
//!
//! If the directory of a storage is gone while skep runs, `path` and `/readyz` answer 503, because
//! skep refuses the data that belongs there, and `warnings` names it.
//!
//! `tls` serves the probe over TLS; `skep health` asks without. `port: 13133`, the older form of
//! `endpoint`, works with a warning.
//!
//! A backend that is down makes the process no less able to take data, so it does not change the
//! answer unless `component_health` asks for that. `use_v2: true`, or the type `healthcheckv2`,
//! takes the keys `http` and `grpc` of the newer extension: the path of the one is `/status`, the
//! other serves `grpc.health.v1`, whose services are the pipelines and, without a name, the
//! process.

mod grpc;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use self::grpc::GrpcServer;
use super::pages::{self, SiteServer, Transport};
use crate::{
    component::{
        BoxFuture, BuildContext, Entry, Extension, ExtensionConfig, Listening, Port, Sockets,
        StartError, Stop, default_address,
    },
    config::{Ignored, Interval, Node, Problems, Section},
    net::{
        pages::{Ask, Page, Site},
        tls::ServerTls,
    },
    otlp::Signal,
    telemetry::{
        Telemetry,
        calendar::timestamp,
        verdict::{self, BudgetVerdict, ExporterVerdict, State},
    },
};

/// Settings of both generations of the extension.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Take the keys of the newer extension: `http`, `grpc`, `component_health`.
    pub use_v2: bool,
    /// Address; default `localhost:13133`, in a container `0.0.0.0:13133`.
    pub endpoint: Option<String>,
    /// Older form of `endpoint`: a port on all interfaces.
    pub port: Option<u16>,
    /// `tcp`.
    pub transport: Transport,
    /// TLS; plaintext without it.
    pub tls: Option<ServerTls>,
    /// Path of the probe.
    pub path: String,
    /// Bodies to answer with instead of JSON.
    pub response_body: Option<ResponseBody>,
    /// Has no effect: it has none in the Collector, either. Instead: use `component_health` with
    /// `use_v2: true`.
    pub check_collector_pipeline: Ignored<CheckPipeline>,
    /// When a failing exporter makes the probe fail.
    pub component_health: Option<ComponentHealth>,
    /// HTTP, with `use_v2`.
    pub http: Section<HttpV2>,
    /// gRPC, with `use_v2`.
    pub grpc: Section<GrpcV2>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            use_v2: false,
            endpoint: None,
            port: None,
            transport: Transport::Tcp,
            tls: None,
            path: "/".to_owned(),
            response_body: None,
            check_collector_pipeline: Ignored::default(),
            component_health: None,
            http: Section::Off,
            grpc: Section::Off,
        }
    }
}

/// Bodies of the answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseBody {
    /// With 200.
    pub healthy: String,
    /// With 503.
    pub unhealthy: String,
}

/// The keys of `check_collector_pipeline`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CheckPipeline {
    pub enabled: bool,
    pub interval: Option<Interval>,
    pub exporter_failure_threshold: u32,
}

/// When a failing exporter makes the probe fail with 500.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ComponentHealth {
    /// At once, where no retry can mend the failure.
    pub include_permanent_errors: bool,
    /// After `recovery_duration` without a success, where a retry may mend it.
    pub include_recoverable_errors: bool,
    /// See `include_recoverable_errors`.
    pub recovery_duration: Interval,
}

impl Default for ComponentHealth {
    fn default() -> Self {
        ComponentHealth {
            include_permanent_errors: false,
            include_recoverable_errors: false,
            recovery_duration: Interval(Duration::from_mins(5)),
        }
    }
}

/// HTTP part of the newer extension.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpV2 {
    /// Address; default `localhost:13133`, in a container `0.0.0.0:13133`.
    pub endpoint: Option<String>,
    /// `tcp`.
    pub transport: Transport,
    /// TLS; plaintext without it.
    pub tls: Option<ServerTls>,
    /// The probe.
    pub status: StatusPath,
    /// The running configuration: not offered, since it may hold secrets.
    pub config: ConfigPath,
}

/// Path of the probe.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatusPath {
    /// Whether it is there.
    pub enabled: bool,
    /// Where.
    pub path: String,
}

impl Default for StatusPath {
    fn default() -> Self {
        StatusPath { enabled: true, path: "/status".to_owned() }
    }
}

/// Path of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigPath {
    /// Refused.
    pub enabled: bool,
    /// Where.
    pub path: String,
}

impl Default for ConfigPath {
    fn default() -> Self {
        ConfigPath { enabled: false, path: "/config".to_owned() }
    }
}

/// gRPC part of the newer extension.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcV2 {
    /// Address; default `localhost:13132`, in a container `0.0.0.0:13132`.
    pub endpoint: Option<String>,
    /// `tcp`.
    pub transport: Option<String>,
}

fn decode(node: &Node, problems: &mut Problems) -> Option<Config> {
    let body = pages::without_server_keys(node, &["tls"], problems);
    crate::config::decode::<Config>(&body, problems)
}

const GRPC_PORT: u16 = 13132;
const HTTP_PORT: u16 = 13133;

impl Config {
    /// Whether the probe over HTTP is served, which is so if nothing else is.
    fn has_http(&self) -> bool {
        !self.use_v2 || self.http.on().is_some() || self.grpc.on().is_none()
    }

    /// The section of the newer extension, if that is used.
    fn http_v2(&self) -> Option<&HttpV2> {
        self.http.on().filter(|_| self.use_v2)
    }

    /// Where the probe over HTTP is served; `None` by default.
    fn endpoint(&self) -> Option<String> {
        let own = self.http_v2().map_or(&self.endpoint, |http| &http.endpoint).clone();
        own.or_else(|| self.port.map(|port| format!("0.0.0.0:{port}")))
    }
}

pub(super) const ENTRY: Entry<dyn ExtensionConfig> = Entry::decoded_by::<Config>(
    |node, problems| decode(node, problems).map(Into::into),
    "health_check",
    &[],
    &Signal::ALL,
    include_str!("health_check.rs"),
);

pub(super) const ENTRY_V2: Entry<dyn ExtensionConfig> = Entry::decoded_by::<Config>(
    |node, problems| decode(node, problems).map(|config| Config { use_v2: true, ..config }.into()),
    "healthcheckv2",
    &["healthcheck_v2"],
    &Signal::ALL,
    include_str!("health_check.rs"),
);

impl ExtensionConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        let http = self.http.on();
        for (key, is_on) in [("http", http.is_some()), ("grpc", self.grpc.on().is_some())] {
            if is_on && !self.use_v2 {
                problems
                    .error(at.at(key), format!("`{key}` needs `use_v2: true`"))
                    .help("add `use_v2: true`");
            }
        }
        let endpoints = [
            (at, self.endpoint.as_deref()),
            (at.at("http"), http.and_then(|http| http.endpoint.as_deref())),
            (at.at("grpc"), self.grpc.on().and_then(|grpc| grpc.endpoint.as_deref())),
        ];
        for (at, endpoint) in endpoints {
            if let Some(endpoint) = endpoint {
                pages::validate(endpoint, at, problems);
            }
        }
        if let Some(tls) = &self.tls {
            tls.validate(at.at("tls"), problems);
        }
        if let Some(tls) = http.and_then(|http| http.tls.as_ref()) {
            tls.validate(at.at("http::tls"), problems);
        }
        if let Some(port) = self.port {
            let place = at.at("port");
            if self.endpoint.is_some() {
                let message = "`port` has no effect: `endpoint` takes precedence";
                problems.warning(place, message).help("remove `port`");
            } else {
                problems
                    .warning(place, "`port` is now part of `endpoint`")
                    .help(format!("write `endpoint: 0.0.0.0:{port}`"));
            }
        }
        let transport = self.grpc.on().and_then(|grpc| grpc.transport.as_deref());
        if transport.is_some_and(|transport| transport != "tcp") {
            problems
                .error(at.at("grpc::transport"), "the health check is served over TCP only")
                .help("remove `transport`");
        }
        if http.is_some_and(|http| http.config.enabled) {
            problems
                .error(at.at("http::config::enabled"), "the configuration is not served")
                .help("it may hold secrets; remove the key");
        }
        if !self.path.starts_with('/') {
            problems.error(at.at("path"), "`path` must begin with `/`");
        }
        if http.is_some_and(|http| !http.status.path.starts_with('/')) {
            problems.error(at.at("http::status::path"), "`path` must begin with `/`");
        }
    }

    fn ports(&self) -> Vec<Port> {
        let grpc = self.grpc.on().filter(|_| self.use_v2);
        let grpc = grpc.map(|grpc| Port::tcp("grpc::endpoint", grpc.endpoint.as_ref(), GRPC_PORT));
        let key = if self.http_v2().is_some() { "http::endpoint" } else { "endpoint" };
        let http = self.has_http().then(|| Port::tcp(key, self.endpoint().as_ref(), HTTP_PORT));
        grpc.into_iter().chain(http).collect()
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Extension>, StartError> {
        let judge = Arc::new(Judge {
            health: self.component_health.unwrap_or_default(),
            telemetry: Arc::clone(&cx.telemetry),
        });
        let grpc = self.grpc.on().filter(|_| self.use_v2).map(|grpc| {
            let component = format!("extension \"{}\"", cx.id);
            let default = || default_address(cx.in_container, GRPC_PORT).to_string();
            let endpoint = grpc.endpoint.clone().unwrap_or_else(default);
            GrpcServer::new(component, endpoint, Arc::clone(&judge))
        });
        let http = self.http.on().cloned().unwrap_or_default();
        let path = match (self.use_v2, http.status.enabled) {
            (true, true) => Some(http.status.path),
            (true, false) => None,
            (false, _) => Some(self.path.clone()),
        };
        let tls = if self.use_v2 && self.http.on().is_some() { http.tls } else { self.tls.clone() };
        let endpoint = self
            .endpoint()
            .unwrap_or_else(|| default_address(cx.in_container, HTTP_PORT).to_string());
        let probe = Probe { path, bodies: self.response_body.clone(), judge };
        let http = self.has_http().then(|| SiteServer::new(cx, endpoint, probe).over(tls.as_ref()));
        let http = http.transpose()?;
        Ok(Box::new(Servers { http, grpc }))
    }
}

/// What the configuration asks for: one of them, or both.
struct Servers {
    http: Option<SiteServer<Probe>>,
    grpc: Option<GrpcServer>,
}

impl Extension for Servers {
    fn bind(&mut self, sockets: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        let mut open = Vec::new();
        if let Some(http) = &mut self.http {
            open.extend(http.bind(sockets)?);
        }
        if let Some(grpc) = &mut self.grpc {
            open.extend(grpc.bind(sockets)?);
        }
        Ok(open)
    }

    fn run(self: Box<Self>, stop: Stop) -> BoxFuture<()> {
        Box::pin(async move {
            let http = self.http.map(|http| Box::new(http).run(stop.clone()));
            let grpc = self.grpc.map(|grpc| Box::new(grpc).run(stop));
            let end = |server: Option<BoxFuture<()>>| async move {
                if let Some(server) = server {
                    server.await;
                }
            };
            tokio::join!(end(http), end(grpc));
        })
    }
}

struct Probe {
    /// Path of the Collector's probe; `None` if it is turned off.
    path: Option<String>,
    bodies: Option<ResponseBody>,
    judge: Arc<Judge>,
}

impl Site for Probe {
    async fn answer(&self, ask: Ask) -> Page {
        self.page(&ask, SystemTime::now())
    }
}

impl Probe {
    fn page(&self, ask: &Ask, now: SystemTime) -> Page {
        match ask.path.as_str() {
            "/livez" => return Page::json(StatusCode::OK, "{\"status\":\"alive\"}\n"),
            "/readyz" => {}
            path => {
                let matches = self.path.as_deref().is_some_and(|own| own == "/" || own == path);
                if !matches {
                    return Page::missing("/livez, /readyz and the path that is configured");
                }
            }
        }
        let exporters = verdict::exporters(&self.judge.telemetry, now);
        let status = self.judge.status(&exporters, ask.parameter("pipeline").as_deref());
        let bodies = self.bodies.as_ref().filter(|_| !ask.has("verbose"));
        if let Some(bodies) = bodies {
            let is_healthy = status == StatusCode::OK;
            let body = if is_healthy { &bodies.healthy } else { &bodies.unhealthy };
            return Page::text(status, body.clone());
        }
        let mut body = self.summary(status);
        let budgets = verdict::budgets(&self.judge.telemetry, now);
        let mut warnings = verdict::missing_storages(&self.judge.telemetry);
        warnings.extend(budgets.iter().flat_map(BudgetVerdict::warnings));
        if !warnings.is_empty() {
            body["warnings"] = warnings.into();
        }
        if ask.has("verbose") {
            body["exporters"] = exporters.iter().map(describe).collect();
            body["budgets"] = budgets.iter().map(describe_budget).collect();
        }
        Page::json(status, format!("{body}\n"))
    }

    fn summary(&self, status: StatusCode) -> serde_json::Value {
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return serde_json::json!({ "status": "Server not available" });
        }
        let process = &self.judge.telemetry.process;
        let words = match status {
            StatusCode::OK => "Server available",
            StatusCode::NOT_FOUND => "no such pipeline",
            _ => "an exporter fails",
        };
        serde_json::json!({
            "status": words,
            "upSince": timestamp(process.started),
            "uptime": format!("{}s", process.uptime().as_secs()),
        })
    }
}

/// Says how the process or a pipeline is, in HTTP statuses: 200, 503 before the start, from the
/// drain on and while a storage is gone, 500 where a failing exporter counts, 404 for no such
/// pipeline.
struct Judge {
    health: ComponentHealth,
    telemetry: Arc<Telemetry>,
}

impl Judge {
    fn now(&self, now: SystemTime, pipeline: Option<&str>) -> StatusCode {
        self.status(&verdict::exporters(&self.telemetry, now), pipeline)
    }

    fn status(&self, exporters: &[ExporterVerdict], pipeline: Option<&str>) -> StatusCode {
        let is_whole = verdict::missing_storages(&self.telemetry).is_empty();
        if !verdict::is_ready(&self.telemetry) || !is_whole {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let inventory = self.telemetry.inventory();
        let wanted = match pipeline {
            None => None,
            Some(id) => match inventory.pipelines.iter().find(|p| p.id == id) {
                Some(pipeline) => Some(pipeline),
                None => return StatusCode::NOT_FOUND,
            },
        };
        let fails = exporters
            .iter()
            .filter(|e| {
                wanted.is_none_or(|p| {
                    p.exporters.contains(&e.id) && p.id.split('/').next() == Some(e.signal)
                })
            })
            .any(|e| self.counts_as_failed(e));
        if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    }

    fn counts_as_failed(&self, exporter: &ExporterVerdict) -> bool {
        match exporter.state {
            State::Idle | State::Ok => false,
            State::Denied => self.health.include_permanent_errors,
            State::Failing => {
                let uptime = self.telemetry.process.uptime();
                let since_success = exporter.success_age.unwrap_or(uptime);
                self.health.include_recoverable_errors
                    && since_success >= self.health.recovery_duration.0
            }
        }
    }
}

fn describe_budget(budget: &BudgetVerdict) -> serde_json::Value {
    serde_json::json!({
        "exporter": budget.exporter,
        "unit": budget.unit,
        "used": budget.used,
        "limit": budget.limit,
        "percent": budget.percent,
        "state": budget.state.name(),
        "forecast": budget.forecast,
        "leftOut": budget.left_out,
    })
}

fn describe(exporter: &ExporterVerdict) -> serde_json::Value {
    let error = exporter.error.as_ref();
    serde_json::json!({
        "id": exporter.id,
        "signal": exporter.signal,
        "destination": exporter.destination,
        "state": exporter.state.name(),
        "lastSuccessAgeSeconds": exporter.success_age.map(|age| age.as_secs()),
        "lastError": error.map(|(_, words)| words),
        "lastErrorAgeSeconds": error.map(|(age, _)| age.as_secs()),
    })
}

#[cfg(test)]
mod tests;
