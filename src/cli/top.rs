//! `skep top`: what passes every component of a running skep, what is dropped and what fails, from
//! its control plane. On a terminal it is a screen that keys steer; otherwise, and with `--once`,
//! plain tables.

#[cfg(feature = "terminal")]
mod draw;
#[cfg(feature = "terminal")]
mod live;
#[cfg(not(feature = "terminal"))]
#[path = "top/live_absent.rs"]
mod live;
mod plain;
mod rows;
#[cfg(feature = "terminal")]
mod view;

use std::{io::IsTerminal as _, time::Duration};

use tokio::time::Instant;
use tonic::{Status, transport::Channel};

use self::rows::{Reading, rows};
use super::{
    UNAVAILABLE,
    control::{Patience, ask},
    print,
};
use crate::{
    admin::proto::{HealthRequest, TopologyRequest, control_service_client::ControlServiceClient},
    config::units::parse_duration,
};

/// Shortest time between two readings.
const SHORTEST: Duration = Duration::from_millis(200);

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Time between two readings.
    #[arg(long, value_name = "DURATION", value_parser = interval, default_value = "1s")]
    interval: Duration,
    /// Shows only this pipeline.
    #[arg(long, value_name = "PIPELINE")]
    pipeline: Option<String>,
    /// Prints one table and ends.
    #[arg(long)]
    once: bool,
    /// Prints one JSON object for each reading instead of a table.
    #[arg(long)]
    json: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < SHORTEST {
        return Err("it must be at least 200ms".to_owned());
    }
    Ok(interval)
}

/// Shows what passes until somebody ends it.
pub(super) fn run(endpoint: &str, arguments: &Arguments) -> u8 {
    let is_plain = arguments.once || arguments.json || !std::io::stdout().is_terminal();
    ask(endpoint, async |client| {
        let reader = Reader {
            client,
            endpoint,
            pipeline: arguments.pipeline.clone().unwrap_or_default(),
            began: Instant::now(),
        };
        if is_plain { plainly(reader, arguments).await } else { live::run(reader, arguments).await }
    })
}

/// Reads counters.
struct Reader<'e> {
    client: ControlServiceClient<Channel>,
    endpoint: &'e str,
    /// Only of this pipeline; empty: of all.
    pipeline: String,
    began: Instant,
}

impl Reader<'_> {
    /// The counters now.
    async fn read(&mut self) -> Result<Reading, Status> {
        let patience = Patience::short(self.endpoint);
        let at = self.began.elapsed();
        let health = patience.wait(self.client.health(HealthRequest {})).await?.into_inner();
        let request = TopologyRequest { pipeline: self.pipeline.clone() };
        let topology = patience.wait(self.client.topology(request)).await?.into_inner();
        if topology.nodes.is_empty() && !self.pipeline.is_empty() {
            let words = format!("no pipeline `{}` runs", self.pipeline);
            return Err(Status::not_found(words));
        }
        Ok(Reading { at, health, topology })
    }
}

/// Prints tables or objects: one if there is to be one, else for ever.
async fn plainly(mut reader: Reader<'_>, arguments: &Arguments) -> Result<u8, Status> {
    let mut before = reader.read().await?;
    let mut is_first = true;
    loop {
        tokio::select! {
            () = tokio::time::sleep(arguments.interval) => {}
            _ = tokio::signal::ctrl_c() => return Ok(0),
        }
        // A process that is started anew is there again soon.
        let now = match reader.read().await {
            Ok(now) => now,
            Err(status) if arguments.once => return Err(status),
            Err(_) => continue,
        };
        let rows = rows(&now, Some(&before));
        let text = if arguments.json {
            plain::object(&now, &rows)
        } else {
            let gap = if is_first { "" } else { "\n" };
            format!("{gap}{}", plain::table(&now, &rows))
        };
        is_first = false;
        if let Err(error) = print::write(&text) {
            let is_fault = error.kind() != std::io::ErrorKind::BrokenPipe;
            return Ok(if is_fault { UNAVAILABLE } else { 0 });
        }
        if arguments.once {
            return Ok(0);
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_not_too_short() {
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert!(interval("100ms").is_err());
    }
}
