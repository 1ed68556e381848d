//! The commands that ask a running skep, through its control plane.

use clap::Subcommand;

use super::{Process, budget, control_endpoint, decisions, dlq, reload, status, tap, top, why};

/// The running skep that a command talks to.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// Address of the control plane of the running skep [default: 127.0.0.1:8687, or
    /// `SKEP_CONTROL_ENDPOINT`].
    #[arg(long, value_name = "HOST:PORT", value_parser = control_endpoint, global = true)]
    control_endpoint: Option<String>,
}

impl Target {
    /// The flag after the command, or the flag before it, or the default.
    pub(super) fn endpoint(self, before: &Process) -> Result<String, String> {
        self.control_endpoint.map_or_else(|| before.control_endpoint(), Ok)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Asked {
    /// Shows what a running skep does: the last data of each receiver, who sends, the traffic on
    /// every edge, the state of every exporter.
    Status {
        #[command(flatten)]
        form: status::Form,
        #[command(flatten)]
        target: Target,
    },
    /// Says where data stops in a running skep, step by step from the port to the backends, and
    /// what mends it. Exit code 1 if it stops somewhere, or if nothing has come.
    Why {
        #[command(flatten)]
        question: why::Question,
        #[command(flatten)]
        target: Target,
    },
    /// Shows why the tail sampler of a running skep kept or dropped a trace, and how each policy
    /// voted.
    Explain {
        /// 32 hexadecimal digits; the short form and X-Ray's are accepted, too.
        trace_id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Shows the last decisions of the tail samplers of a running skep.
    Sample {
        /// Keep showing decisions as they are made.
        #[arg(long)]
        watch: bool,
        /// How many of the last decisions to show.
        #[arg(long, value_name = "N", default_value_t = 20)]
        last: u32,
        #[command(flatten)]
        target: Target,
    },
    /// Shows the data of a running skep as it passes: what goes into a component, what comes out,
    /// and what became of each item.
    Tap {
        #[command(flatten)]
        arguments: tap::Arguments,
        #[command(flatten)]
        target: Target,
    },
    /// Shows what passes every component of a running skep, what is dropped and what fails.
    Top {
        #[command(flatten)]
        arguments: top::Arguments,
        #[command(flatten)]
        target: Target,
    },
    /// Shows the monthly budgets of a running skep: what is used, what passes, and who wants it.
    Budget {
        /// Id of an exporter; without it all are shown.
        exporter: Option<String>,
        /// How they are printed; docs/budget.md has the fields of the JSON.
        #[arg(long, value_enum, default_value_t = budget::Format::Text)]
        format: budget::Format,
        #[command(flatten)]
        target: Target,
    },
    /// Makes a running skep read its configuration again, as SIGHUP does, and shows what has
    /// changed, or why nothing has.
    Reload {
        #[command(flatten)]
        target: Target,
    },
    /// Lists, shows, sends again or drops data that backends refused for good (`sending_queue:
    /// dead_letters:`).
    Dlq {
        #[command(subcommand)]
        command: dlq::Dlq,
        #[command(flatten)]
        target: Target,
    },
}

impl Asked {
    /// Runs the command; an error is one of usage.
    pub(super) fn run(self, process: &Process) -> Result<u8, String> {
        Ok(match self {
            Asked::Status { form, target } => status::run(&target.endpoint(process)?, form),
            Asked::Why { question, target } => why::run(&target.endpoint(process)?, &question),
            Asked::Explain { trace_id, target } => {
                decisions::explain(&target.endpoint(process)?, &trace_id)
            }
            Asked::Sample { watch, last, target } => {
                decisions::sample(&target.endpoint(process)?, last, watch)
            }
            Asked::Tap { arguments, target } => tap::run(&target.endpoint(process)?, &arguments),
            Asked::Top { arguments, target } => top::run(&target.endpoint(process)?, &arguments),
            Asked::Budget { exporter, format, target } => {
                budget::run(&target.endpoint(process)?, exporter.as_deref(), format)
            }
            Asked::Reload { target } => reload::run(&target.endpoint(process)?),
            Asked::Dlq { command, target } => dlq::run(&target.endpoint(process)?, command),
        })
    }
}
