//! Components and pipelines as the engine gets them: ids, configurations, and what they name.

use std::{collections::HashMap, sync::Arc};

use crate::{
    component::{
        ClientAuth, ComponentId, ConnectorConfig, ExporterConfig, Kind, ProcessorConfig,
        ReceiverConfig, ServerAuth, Storage,
    },
    document::{Component, Document},
    otlp::Signal,
};

/// Configurations of components as text.
pub type Texts = HashMap<(Kind, ComponentId), String>;

/// Components and pipelines as the document names them, configurations decoded.
#[derive(Default, Clone)]
pub struct Blueprint {
    /// By id.
    pub receivers: HashMap<ComponentId, Arc<dyn ReceiverConfig>>,
    /// By id.
    pub processors: HashMap<ComponentId, Arc<dyn ProcessorConfig>>,
    /// By id.
    pub exporters: HashMap<ComponentId, Arc<dyn ExporterConfig>>,
    /// By id.
    pub connectors: HashMap<ComponentId, Arc<dyn ConnectorConfig>>,
    /// What exporters' `auth` names, by the exporter's id.
    pub auths: HashMap<ComponentId, Arc<dyn ClientAuth>>,
    /// The server authenticators that receivers' `auth` may name, by the id that the file has.
    pub server_auths: Arc<HashMap<String, Arc<dyn ServerAuth>>>,
    /// What queues and journals name as their storage.
    pub storages: HashMap<String, Storage>,
    /// In the order of the file.
    pub pipelines: Vec<PipelineBlueprint>,
    /// Each component's configuration as one text, by which a reload finds what has changed; where
    /// there is none it counts as changed.
    pub texts: Texts,
}

impl From<Document> for Blueprint {
    fn from(document: Document) -> Self {
        let pipelines = document.pipelines.into_iter().map(|pipeline| PipelineBlueprint {
            id: pipeline.id,
            signal: pipeline.signal,
            receivers: pipeline.receivers,
            processors: pipeline.processors,
            exporters: pipeline.exporters,
        });
        Blueprint {
            receivers: configs(document.receivers),
            processors: configs(document.processors),
            exporters: configs(document.exporters),
            connectors: configs(document.connectors),
            auths: document.auths,
            server_auths: Arc::new(document.server_auths),
            storages: document.storages,
            pipelines: pipelines.collect(),
            texts: Texts::default(),
        }
    }
}

fn configs<C: ?Sized>(
    components: HashMap<ComponentId, Component<C>>,
) -> HashMap<ComponentId, Arc<C>> {
    components.into_iter().map(|(id, component)| (id, component.config)).collect()
}

/// One pipeline of the document. Every id is known to be defined.
#[derive(Debug, Clone)]
pub struct PipelineBlueprint {
    /// `traces/backend`.
    pub id: String,
    /// Before the slash.
    pub signal: Signal,
    /// Receivers, and connectors used as receivers.
    pub receivers: Vec<ComponentId>,
    /// In order.
    pub processors: Vec<ComponentId>,
    /// Exporters, and connectors used as exporters.
    pub exporters: Vec<ComponentId>,
}
