//! The whole program from outside, and what needs more than one module of it: one binary, so that
//! the crate is linked once. `cargo test --test it reload::` runs the tests of one file.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

mod authentication;
mod aws;
mod aws_logs;
mod aws_otlp;
mod bootcamp;
mod browser;
mod budget;
#[cfg(feature = "aws")]
mod budget_units;
mod chaos;
mod clients;
mod cloudwatch_clients;
mod cloudwatch_restarts;
mod command_line;
mod config_errors;
mod conformance;
mod console;
mod dead_letters;
mod differential;
mod docker;
mod doctor;
mod export_client;
mod faults;
mod fuzz_corpus;
mod goodput;
mod handed_on;
mod hangup;
mod hostile_clients;
mod hostile_connections;
mod log_and_secrets;
mod moto;
mod mutual_tls;
mod overload;
mod pipelines;
mod pitfalls;
mod proxies;
mod public_flood;
mod public_port;
mod reload;
mod reload_parts;
mod rollbar;
mod rollbar_round_trip;
mod scenarios;
mod seed;
mod storage;
mod tap;
mod where_stopped;
mod xray_client;
mod xray_proxy;
mod xray_round_trip;
