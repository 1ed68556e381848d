//! What runs beside the pipelines: extensions, the metrics page, the control plane, the console.

use std::sync::Arc;

use super::{
    OFF,
    console::{ConsoleService, known::Known},
};
use crate::{
    admin::{Admin, metrics::MetricsPage},
    component::{
        BoxFuture, BuildContext, ComponentId, Extension, Listening, StartError, Stop,
        reload::Reloads,
    },
    console::{Settings, Sources},
    document::Document,
    engine::{Service, identity::Identity},
    net::server::Sockets,
    otlp::Signal,
    recent::Recent,
    storage::letters::Letterboxes,
    telemetry::{Detail, Inventory, PipelineInfo, Telemetry},
};

/// What services need of the process.
#[derive(Clone)]
pub(super) struct Deps {
    pub(super) control_endpoint: String,
    pub(super) in_container: bool,
    pub(super) telemetry: Arc<Telemetry>,
    /// How the control plane requests a reload; `None` if reloading is disabled.
    pub(super) reloads: Option<Reloads>,
    /// The dead letters of the process.
    pub(super) letterboxes: Arc<Letterboxes>,
    /// Settings of the console; `None` if there is to be none.
    pub(super) console: Option<Settings>,
    /// What the console is told of the program.
    pub(super) known: Arc<Known>,
    /// What came lately, for the console; `None` if nothing is kept.
    pub(super) recent: Option<Arc<Recent>>,
}

/// Builds all services of a document. Nothing is opened yet.
pub(super) fn build(document: &Document, deps: &Deps) -> Result<Vec<Service>, StartError> {
    let Deps { control_endpoint, in_container, telemetry, reloads, letterboxes, .. } = deps;
    let mut services: Vec<Service> = Vec::new();
    for id in &document.enabled_extensions {
        let Some(extension) = document.extensions.get(id) else { continue };
        let cx = BuildContext {
            in_container: *in_container,
            ..BuildContext::new(id.clone(), Signal::Traces, Arc::clone(telemetry))
        };
        services.push(Service {
            id: id.to_string(),
            label: format!("extension {id}"),
            identity: Some(Identity::of_config(Arc::clone(&extension.config) as _)),
            extension: extension.config.build(&cx)?,
        });
    }
    if let Some(endpoint) = document.telemetry.metrics.endpoint() {
        let level = document.telemetry.metrics.level.as_deref();
        let detail = level.map(Detail::named).unwrap_or_default();
        let identity = Some(Identity::of((endpoint.clone(), detail)));
        let page = Metrics { endpoint, detail, telemetry: Arc::clone(telemetry), page: None };
        services.push(Service {
            id: "metrics".to_owned(),
            label: "metrics page".to_owned(),
            identity,
            extension: Box::new(page),
        });
    }
    if control_endpoint != OFF {
        let endpoint = control_endpoint.to_owned();
        let control = Control {
            endpoint,
            telemetry: Arc::clone(telemetry),
            reloads: reloads.clone(),
            letterboxes: Arc::clone(letterboxes),
            admin: None,
        };
        services.push(Service {
            id: "control".to_owned(),
            label: "control plane".to_owned(),
            // Its endpoint is an argument of the process, so it never changes.
            identity: Some(Identity::of(())),
            extension: Box::new(control),
        });
    }
    services.extend(deps.console.as_ref().map(|settings| console(settings, deps)));
    Ok(services)
}

fn console(settings: &Settings, deps: &Deps) -> Service {
    let sources = Sources {
        telemetry: Arc::clone(&deps.telemetry),
        reloads: deps.reloads.clone(),
        program: Arc::clone(&deps.known) as _,
        recent: deps.recent.clone(),
    };
    let console = ConsoleService::new(settings, sources, &deps.known);
    Service {
        id: "console".to_owned(),
        label: "console".to_owned(),
        // Its settings are arguments of the process, too.
        identity: Some(Identity::of(())),
        extension: Box::new(console),
    }
}

/// What the pages show of the document.
pub(super) fn inventory(document: &Document) -> Inventory {
    let names = |ids: &[ComponentId]| ids.iter().map(ToString::to_string).collect();
    let pipelines = document.pipelines.iter().map(|pipeline| PipelineInfo {
        id: pipeline.id.clone(),
        receivers: names(&pipeline.receivers),
        processors: names(&pipeline.processors),
        exporters: names(&pipeline.exporters),
    });
    Inventory { pipelines: pipelines.collect(), extensions: names(&document.enabled_extensions) }
}

/// The metrics page. Any Collector on the same host uses the same port, and data matters more than
/// metrics: if the page cannot be opened, skep logs a warning and goes on.
struct Metrics {
    endpoint: String,
    detail: Detail,
    telemetry: Arc<Telemetry>,
    page: Option<MetricsPage>,
}

impl Extension for Metrics {
    fn bind(&mut self, sockets: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        match MetricsPage::bind(&self.endpoint, Arc::clone(&self.telemetry), self.detail, sockets) {
            Ok(page) => {
                let address = page.address().to_string();
                self.page = Some(page);
                Ok(vec![Listening { protocol: "prometheus", address, tls: false }])
            }
            Err(message) => {
                tracing::warn!(
                    reason = message,
                    "The metrics page is not served; choose another address with \
                     `service::telemetry::metrics::readers`"
                );
                Ok(Vec::new())
            }
        }
    }

    fn run(self: Box<Self>, stop: Stop) -> BoxFuture<()> {
        match self.page {
            Some(page) => Box::pin(page.run(stop.subscribe())),
            None => Box::pin(std::future::ready(())),
        }
    }
}

/// The control plane. If it cannot be opened, skep logs a warning and goes on.
struct Control {
    endpoint: String,
    telemetry: Arc<Telemetry>,
    reloads: Option<Reloads>,
    letterboxes: Arc<Letterboxes>,
    admin: Option<Admin>,
}

impl Extension for Control {
    fn bind(&mut self, _: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        match Admin::bind(&self.endpoint, Arc::clone(&self.telemetry)) {
            Ok(admin) => {
                let admin = admin.with_letterboxes(Arc::clone(&self.letterboxes));
                let listening = admin.listening();
                self.admin = Some(admin.with_reloads(self.reloads.take()));
                Ok(vec![listening])
            }
            Err(message) => {
                tracing::warn!(
                    reason = message,
                    "The control plane is not served; choose another address with \
                     `--control-endpoint`"
                );
                Ok(Vec::new())
            }
        }
    }

    fn run(self: Box<Self>, stop: Stop) -> BoxFuture<()> {
        match self.admin {
            Some(admin) => admin.run(stop),
            None => Box::pin(std::future::ready(())),
        }
    }
}

#[cfg(all(test, feature = "aws"))]
mod tests;
