//! `skep tap`: shows the data of a running skep as it goes into a component, out of it, or both
//! with the difference, from its control plane.
//!
//! What is printed on standard output is data, one item a line, or a block with `--format diff`;
//! everything else is on standard error.

mod point;
mod text;

#[cfg(feature = "terminal")]
pub(super) use self::text::plain_line;

use std::{fmt::Write as _, io::IsTerminal as _, time::Duration};

use tonic::{Code, Status, Streaming, transport::Channel};

use self::{
    point::{Place, listing, resolve},
    text::Printer,
};
use super::{
    IO, UNAVAILABLE, USAGE,
    control::{Patience, ask},
    print,
};
use crate::{
    admin::proto::{
        TapCounts, TapEnd, TapRequest, TapResponse, TapSide, TopologyRequest,
        control_service_client::ControlServiceClient,
    },
    config::{shown::escaped, units::parse_duration},
    otlp::Signal,
    tap::Condition,
};

/// Longest time of a tap.
const LONGEST: Duration = Duration::from_hours(1);

/// Most items a second.
const RATE: i64 = 10_000;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What is looked at: a component of a pipeline, such as `traces/batch` or
    /// `traces/otlp_http:in`; what a pipeline gets, such as `traces`. Without it, all components
    /// are listed.
    #[arg(value_name = "PIPELINE/COMPONENT[:in|:out]")]
    point: Option<String>,
    /// Shows only items for which a condition in OTTL holds, such as `name == "GET /cart"` or
    /// `resource.attributes["service.name"] == "shop"`.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Most items a second, on average. If there are more, whole traces are left out.
    #[arg(long, value_name = "N", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=RATE))]
    rate: u32,
    /// Ends after this time, an hour at most.
    #[arg(long = "for", value_name = "DURATION", value_parser = time, default_value = "10m")]
    time: Duration,
    /// Ends after so many items.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// How items are printed.
    #[arg(long, value_enum, default_value_t = Format::Line)]
    format: Format,
    /// Masks the values of more keys: those in which this regular expression is found. The values
    /// of keys that look like secrets are always masked. Can be repeated.
    #[arg(long, value_name = "KEY")]
    redact: Vec<String>,
    /// Shows names and counts, and the type of each value in its place.
    #[arg(long)]
    names_only: bool,
}

/// How items are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// One line for each.
    Line,
    /// What has changed in each, or all of its fields if nothing was to compare.
    Diff,
    /// One JSON object for each, with all fields before and after.
    Json,
    /// One OTLP/JSON request for each, which can be sent again: the item as it went in, or as it
    /// came out where that is not known.
    Otlp,
}

fn time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time.is_zero() || time > LONGEST {
        return Err("it must be longer than nothing and at most an hour".to_owned());
    }
    Ok(time)
}

/// Why nothing can be tapped: the words, and the exit code.
struct Wrong(u8, String);

/// Shows the data at a point.
#[expect(clippy::print_stderr, reason = "this is the command line")]
pub(super) fn run(endpoint: &str, arguments: &Arguments) -> u8 {
    ask(endpoint, async |mut client| {
        let patience = Patience::short(endpoint);
        let topology = patience.wait(client.topology(TopologyRequest::default())).await?;
        let topology = topology.into_inner();
        let Some(point) = &arguments.point else {
            return Ok(print::output(&listing(&topology)));
        };
        let request = match resolve(point, &topology).and_then(|place| request(arguments, place)) {
            Ok(request) => request,
            Err(Wrong(code, words)) => {
                eprintln!("{words}");
                return Ok(code);
            }
        };
        show(client, patience, arguments, request).await
    })
}

/// The request for a place, whose condition is checked here, so that a mistake is shown in full.
fn request(arguments: &Arguments, place: Place) -> Result<TapRequest, Wrong> {
    let Place { pipeline, component, side } = place;
    let signal = Signal::ALL.into_iter().find(|signal| pipeline.starts_with(signal.name()));
    if let (Some(text), Some(signal)) = (&arguments.condition, signal) {
        Condition::compile(signal, text)
            .map_err(|words| Wrong(USAGE, format!("error in `--where`: {words}")))?;
    }
    Ok(TapRequest {
        pipeline,
        component,
        side: side.into(),
        r#where: arguments.condition.clone().unwrap_or_default(),
        rate: arguments.rate,
        limit: arguments.limit.unwrap_or_default(),
        for_ms: u64::try_from(arguments.time.as_millis()).unwrap_or(u64::MAX),
        redact: arguments.redact.clone(),
        names_only: arguments.names_only,
    })
}

/// Prints what is shown until the end, or until somebody presses Ctrl-C.
#[expect(clippy::print_stderr, reason = "this is the command line")]
async fn show(
    mut client: ControlServiceClient<Channel>,
    patience: Patience<'_>,
    arguments: &Arguments,
    request: TapRequest,
) -> Result<u8, Status> {
    let (name, side) = (format!("{}/{}", request.pipeline, request.component), request.side());
    let component = request.component.clone();
    let pipeline = request.pipeline.clone();
    let mut stream = patience.wait(client.tap(request)).await?.into_inner();
    if std::io::stderr().is_terminal() {
        let side = if side == TapSide::Unspecified { "" } else { side_name(side) };
        let Arguments { rate, .. } = arguments;
        eprintln!(
            "Tapping {}{side}, at most {rate} items a second. Ctrl-C ends it.",
            escaped(&name)
        );
    }
    let mut printer = Printer::new(arguments.format, pipeline, component);
    let mut watched = Watched::default();
    let code = tokio::select! {
        code = follow(&mut stream, &mut printer, &mut watched) => code?,
        _ = tokio::signal::ctrl_c() => 0,
    };
    if code != IO {
        eprintln!("{}", watched.summary());
    }
    Ok(code)
}

fn side_name(side: TapSide) -> &'static str {
    match side {
        TapSide::In => ":in",
        TapSide::Out => ":out",
        TapSide::Unspecified | TapSide::Both => "",
    }
}

/// Prints each message as it comes; returns the exit code.
async fn follow(
    stream: &mut Streaming<TapResponse>,
    printer: &mut Printer,
    watched: &mut Watched,
) -> Result<u8, Status> {
    loop {
        let message = match stream.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(watched.lost()),
            // The process was killed, or the connection was cut.
            Err(status) if matches!(status.code(), Code::Unknown | Code::Unavailable) => {
                return Ok(watched.lost());
            }
            Err(status) => return Err(status),
        };
        let text: String = message.items.iter().map(|item| printer.text(item)).collect();
        if let Err(error) = print::write(&text) {
            // A reader that has seen enough, such as `head`, is no fault.
            let is_fault = error.kind() != std::io::ErrorKind::BrokenPipe;
            return Ok(if is_fault { IO } else { 0 });
        }
        watched.note(message.counts.unwrap_or_default());
        if message.end() != TapEnd::Unspecified {
            return Ok(watched.ended(message.end()));
        }
    }
}

/// What was counted so far, and why it is over.
#[derive(Debug, Default)]
pub(super) struct Watched {
    counts: TapCounts,
    /// The most traces of which one was shown.
    one_in: u64,
    end: &'static str,
}

impl Watched {
    pub(super) fn note(&mut self, counts: TapCounts) {
        self.one_in = self.one_in.max(counts.one_in);
        self.counts = counts;
    }

    pub(super) fn lost(&mut self) -> u8 {
        self.end = "skep does not answer any more";
        UNAVAILABLE
    }

    pub(super) fn ended(&mut self, end: TapEnd) -> u8 {
        let (words, code) = match end {
            TapEnd::Unspecified => ("", 0),
            TapEnd::Time => ("the time is over", 0),
            TapEnd::Limit => ("as many were shown as were asked for", 0),
            TapEnd::Gone => ("the component is gone: the configuration was reloaded", UNAVAILABLE),
            TapEnd::Shutdown => ("skep ends", UNAVAILABLE),
            TapEnd::Fault => ("skep could not read an item", UNAVAILABLE),
        };
        self.end = words;
        code
    }

    /// How much was shown of how much.
    pub(super) fn summary(&self) -> String {
        let TapCounts { seen, shown, missed, forgotten, .. } = self.counts;
        // Writing to a string cannot fail.
        let mut text = format!("{shown} of {seen} items shown");
        if self.one_in > 1 {
            let _ = write!(text, ", at times 1 trace in {}", self.one_in);
        }
        if missed > 0 {
            let _ = write!(text, ", {missed} missed");
        }
        if forgotten > 0 {
            let _ = write!(text, ", {forgotten} lost sight of inside");
        }
        if !self.end.is_empty() {
            let _ = write!(text, "; ended: {}", self.end);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_was_not_shown() {
        let mut watched = Watched::default();
        watched.note(TapCounts { seen: 412, shown: 50, one_in: 8, ..TapCounts::default() });
        watched.note(TapCounts { seen: 500, shown: 60, one_in: 1, missed: 3, forgotten: 2 });
        assert_eq!(watched.ended(TapEnd::Time), 0);
        assert_eq!(
            watched.summary(),
            "60 of 500 items shown, at times 1 trace in 8, 3 missed, 2 lost sight of inside; \
             ended: the time is over"
        );
        assert_eq!(Watched::default().summary(), "0 of 0 items shown");
    }

    #[test]
    fn a_tap_has_a_time() {
        assert_eq!(time("30s"), Ok(Duration::from_secs(30)));
        for wrong in ["0s", "2h", "soon"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
