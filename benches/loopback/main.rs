//! The whole process between a load generator and a counting backend on loopback: CPU seconds per
//! million items, peak memory, loss and latency, for skep, for a bare relay, and for any peer.
//!
//! ```sh
//! cargo bench --bench loopback -- --rounds 3 --seconds 6
//! cargo bench --bench loopback -- --scenario batch --peer 'other=./other --config other.yaml'
//! ```
//!
//! Generator and backend run in processes of their own on the second core, the measured program
//! alone on the first. Rounds alternate between the programs and the scenarios, and medians are
//! reported, since machines are noisy. In a peer's command `{grpc}`, `{http}` and `{sink}` stand
//! for the ports it has to listen on and to send to. Items that the senders were told were taken
//! are compared with those that arrived, by number and by the sum of their ids.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "its report")]
#![expect(clippy::cast_precision_loss, reason = "figures of a report")]

mod generate;
mod payload;
mod program;
mod relay;
mod report;
mod scenario;
mod sink;

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};

use program::Program;
use report::{Measured, Report};
use scenario::Scenario;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Only these scenarios; all without it.
    #[arg(long = "scenario")]
    scenarios: Vec<String>,
    /// Rounds of each program in each scenario; medians are reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of load a round.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Another program to measure: a name and its command.
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    peers: Vec<String>,
    /// The binary to measure instead of the one that was built with the bench.
    #[arg(long)]
    skep: Option<PathBuf>,
    /// Write everything that was measured into a file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the table into docs/performance.md. `UPDATE=1 cargo test --test generated` then
    /// repeats some of its rows in README.md.
    #[arg(long)]
    readme: bool,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a process of the bench is.
#[derive(Subcommand)]
enum Role {
    /// Sends load and prints what was taken.
    #[command(hide = true)]
    Generate(generate::Load),
    /// Counts what arrives.
    #[command(hide = true)]
    Sink(sink::Settings),
    /// Forwards without looking: the floor.
    #[command(hide = true)]
    Relay(relay::Settings),
}

fn main() {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Generate(load)) => generate::main(load),
        Some(Role::Sink(settings)) => sink::main(settings),
        Some(Role::Relay(settings)) => relay::main(settings),
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) {
    let skep = arguments.skep.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_skep").into());
    let mut report = Report::default();
    let wanted = |name: &str| {
        arguments.scenarios.is_empty() || arguments.scenarios.iter().any(|wanted| wanted == name)
    };
    if wanted("start-up") {
        report.start_up = Some(program::start_up(&skep, arguments.rounds * 7));
    }
    let runs: Vec<_> = scenario::ALL
        .iter()
        .filter(|scenario| wanted(scenario.name))
        .flat_map(|scenario| {
            programs(arguments, scenario, &skep).into_iter().map(move |program| (scenario, program))
        })
        .collect();
    let mut measured = vec![Vec::new(); runs.len()];
    // Scenarios in turn, too: what is next to each other in a report was measured side by side.
    for round in 0..arguments.rounds {
        for ((scenario, program), rounds) in runs.iter().zip(&mut measured) {
            let seconds = Duration::from_secs(scenario.seconds.unwrap_or(arguments.seconds));
            let figures = program.measure(scenario, seconds);
            println!("{:<22} {:<10} round {round}: {figures}", scenario.name, program.name);
            rounds.push(figures);
        }
    }
    for ((scenario, program), rounds) in runs.into_iter().zip(&measured) {
        report.rows.push((scenario, program.name, Measured::median(rounds)));
    }
    println!("\n{report}");
    if let Some(path) = &arguments.json {
        std::fs::write(path, report.json()).unwrap();
    }
    if arguments.readme {
        report.write_readme();
    }
}

fn programs(arguments: &Arguments, scenario: &Scenario, skep: &std::path::Path) -> Vec<Program> {
    let mut programs = vec![Program::skep(skep)];
    if scenario.has_floor() {
        programs.push(Program::relay());
    }
    for peer in &arguments.peers {
        let (name, command) = peer.split_once('=').expect("a peer is NAME=COMMAND");
        programs.push(Program::peer(name, command));
    }
    programs
}
