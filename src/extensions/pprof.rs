//! CPU profiles in the format of `go tool pprof`.
//!
//! ```yaml
//! pprof:
//!   endpoint: localhost:1777
//! ```
//!
//! `/debug/pprof/profile?seconds=30` samples the stacks of all threads that run 99 times a second
//! of CPU time and answers with a gzipped `profile.proto`. One profile at a time, at most 300
//! seconds. Names of functions need a build whose symbols are not stripped; addresses are there
//! always. With `save_to_file` the whole run is profiled and written at shutdown. Heap, block and
//! mutex profiles belong to Go's runtime: their keys are accepted with a warning.

mod profile;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::StatusCode;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::pages::{self, Transport};
use crate::{
    component::{
        BoxFuture, BuildContext, Entry, Extension, ExtensionConfig, Listening, Port, Sockets,
        StartError, Stop,
    },
    config::{Ignored, Node, Problems},
    net::pages::{Ask, Page, Pages, Site},
    otlp::Signal,
};

/// Samples a second of CPU time: prime, so that it does not beat with timers.
const FREQUENCY: i32 = 99;
const MAX_SECONDS: u64 = 300;

/// Where the profiles are.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address. Keep it on loopback: anybody who reaches it can slow the process down.
    pub endpoint: String,
    /// `tcp`.
    pub transport: Transport,
    /// Has no effect: it belongs to Go's runtime.
    pub block_profile_fraction: Ignored<i64>,
    /// Has no effect: it belongs to Go's runtime.
    pub mutex_profile_fraction: Ignored<i64>,
    /// File for a CPU profile of the whole run, written at shutdown; empty: none.
    pub save_to_file: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            endpoint: "localhost:1777".to_owned(),
            transport: Transport::Tcp,
            block_profile_fraction: Ignored::default(),
            mutex_profile_fraction: Ignored::default(),
            save_to_file: String::new(),
        }
    }
}

pub(super) const ENTRY: Entry<dyn ExtensionConfig> = Entry::decoded_by::<Config>(
    |node, problems| {
        let body = pages::without_server_keys(node, &[], problems);
        crate::config::decode::<Config>(&body, problems).map(Into::into)
    },
    "pprof",
    &[],
    &Signal::ALL,
    include_str!("pprof.rs"),
);

impl ExtensionConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        pages::validate(&self.endpoint, at, problems);
    }

    fn ports(&self) -> Vec<Port> {
        vec![Port::tcp("endpoint", Some(&self.endpoint), 0)]
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Extension>, StartError> {
        Ok(Box::new(Profiles {
            component: format!("extension \"{}\"", cx.id),
            endpoint: self.endpoint.clone(),
            file: self.save_to_file.clone(),
            pages: None,
        }))
    }
}

struct Profiles {
    component: String,
    endpoint: String,
    file: String,
    pages: Option<Pages>,
}

impl Extension for Profiles {
    fn bind(&mut self, sockets: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        let (pages, listening) = pages::open(&self.component, &self.endpoint, sockets)?;
        self.pages = Some(pages);
        Ok(vec![listening])
    }

    fn run(self: Box<Self>, stop: Stop) -> BoxFuture<()> {
        Box::pin(async move {
            let Some(pages) = self.pages else { return };
            let whole_run = if self.file.is_empty() { None } else { Sampling::start().ok() };
            let site = OnDemand { busy: Arc::new(Mutex::new(())), stop: stop.clone() };
            pages.run(site, stop.subscribe()).await;
            let Some(sampling) = whole_run else { return };
            let saved = match sampling.finish() {
                Ok(profile) => {
                    tokio::fs::write(&self.file, profile).await.map_err(|error| error.to_string())
                }
                Err(error) => Err(error),
            };
            match saved {
                Ok(()) => tracing::info!(file = self.file, "the CPU profile is saved"),
                Err(error) => {
                    tracing::error!(file = self.file, error, "the CPU profile is not saved");
                }
            }
        })
    }
}

/// A profile being taken. The timer signal belongs to the process: there is one at a time.
struct Sampling {
    guard: ProfilerGuard<'static>,
    started: SystemTime,
    clock: Instant,
}

impl Sampling {
    fn start() -> Result<Self, String> {
        // The unwinder of these libraries is not safe within a signal handler.
        let guard = ProfilerGuardBuilder::default()
            .frequency(FREQUENCY)
            .blocklist(&["libc", "libgcc", "pthread", "vdso"])
            .build()
            .map_err(|error| format!("a profile cannot be taken now: {error}"))?;
        Ok(Sampling { guard, started: SystemTime::now(), clock: Instant::now() })
    }

    /// The gzipped profile.
    fn finish(self) -> Result<Vec<u8>, String> {
        let report = self.guard.report().build().map_err(|error| error.to_string())?;
        profile::encode(&report, self.started, self.clock.elapsed(), FREQUENCY)
            .map_err(|error| error.to_string())
    }
}

struct OnDemand {
    busy: Arc<Mutex<()>>,
    stop: Stop,
}

impl Site for OnDemand {
    async fn answer(&self, ask: Ask) -> Page {
        match ask.path.as_str() {
            "/debug/pprof/profile" => self.profile(&ask).await,
            "/debug/pprof" | "/debug/pprof/" => Page::text(
                StatusCode::OK,
                "/debug/pprof/profile?seconds=30: CPU profile, for `go tool pprof`\n",
            ),
            _ => Page::missing("/debug/pprof/profile"),
        }
    }
}

impl OnDemand {
    async fn profile(&self, ask: &Ask) -> Page {
        let seconds = ask.parameter("seconds").map_or(Ok(30), |text| text.parse::<u64>());
        let Some(seconds) = seconds.ok().filter(|s| (1..=MAX_SECONDS).contains(s)) else {
            let words = format!("`seconds` must be from 1 to {MAX_SECONDS}\n");
            return Page::text(StatusCode::BAD_REQUEST, words);
        };
        let Ok(_busy) = self.busy.try_lock() else {
            let words = "a profile is being taken; ask again when it has ended\n";
            return Page::text(StatusCode::CONFLICT, words);
        };
        let sampling = match Sampling::start() {
            Ok(sampling) => sampling,
            Err(error) => return Page::text(StatusCode::CONFLICT, error + "\n"),
        };
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
            () = stop.raised() => {}
        }
        // Names are looked up in the debug information, which takes seconds.
        let finished = tokio::task::spawn_blocking(move || sampling.finish()).await;
        match finished.map_err(|error| error.to_string()).and_then(|profile| profile) {
            Ok(profile) => Page {
                status: StatusCode::OK,
                content_type: "application/octet-stream",
                body: profile.into(),
            },
            Err(error) => Page::text(StatusCode::INTERNAL_SERVER_ERROR, error + "\n"),
        }
    }
}

#[cfg(test)]
mod tests;
