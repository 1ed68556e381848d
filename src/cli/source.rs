//! The configuration of a running skep, read again for a reload.

use std::sync::Arc;

use super::{
    console::known::Candidate as Applied,
    findings::{Reread, findings},
    run::{budget, log_settings},
    services::{self, Deps},
};
use crate::{
    component::{Listening, reload::Finding},
    config::{Problems, Severity},
    document,
    engine::reload::{Candidate, Source},
    net::tls,
    telemetry::logs,
};

/// The source of configurations for reloads. `budget` is the byte budget of the process.
pub(super) fn source(reread: Reread, deps: Deps, budget: u64) -> Arc<dyn Source> {
    Arc::new(Files { reread, deps, budget })
}

struct Files {
    reread: Reread,
    deps: Deps,
    budget: u64,
}

impl Source for Files {
    fn read(&self) -> Result<Candidate, Vec<Finding>> {
        let mut problems = Problems::default();
        let loaded = (self.reread)(&mut problems);
        let document = loaded.root.as_ref().map(|root| document::load(root, &mut problems));
        let mut findings = findings(&problems, &loaded);
        let Some(document) = document.filter(|_| !problems.has_errors()) else {
            return Err(findings);
        };
        let logs = log_settings(&document, false);
        if budget(&document) != self.budget {
            findings.push(needs_restart(
                "processors::memory_limiter",
                format!(
                    "the byte budget stays at {} MiB; the limits in the configuration ask for {} MiB",
                    self.budget >> 20,
                    budget(&document) >> 20
                ),
            ));
        }
        if logs.has_other_format() {
            let message = "the encoding of the log stays as it is".to_owned();
            findings.push(needs_restart("service::telemetry::logs::encoding", message));
        }
        let services = match services::build(&document, &self.deps) {
            Ok(services) => services,
            Err(error) => {
                findings.push(Finding::new(Severity::Error, error.to_string()));
                return Err(findings);
            }
        };
        let inventory = services::inventory(&document);
        let telemetry = Arc::clone(&self.deps.telemetry);
        let known = Arc::clone(&self.deps.known);
        let applied = Applied::new(&loaded, &document, &findings, self.deps.in_container);
        let on_applied = move |listening: &[(String, Listening)]| {
            known.opened(listening, &inventory);
            known.applied(applied);
            telemetry.set_inventory(inventory);
            logs::change(&logs);
            tls::look_again();
        };
        Ok(Candidate { document, services, findings, on_applied: Box::new(on_applied) })
    }
}

/// A warning about a setting that a reload cannot change.
fn needs_restart(path: &str, message: String) -> Finding {
    let help = "restart skep to apply it".to_owned();
    let path = path.to_owned();
    Finding { severity: Severity::Warning, place: None, path, message, help }
}
