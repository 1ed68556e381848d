//! How subcommands ask a running skep: by its control plane.

use tonic::{Code, Status, transport::Channel};

use super::{OFF, UNAVAILABLE, USAGE};
use crate::{admin::proto::control_service_client::ControlServiceClient, config::shown::escaped};

/// Nothing is known of what was asked for.
pub(super) const NOT_FOUND: u8 = 1;

/// Asks, and gives the exit code.
#[expect(clippy::print_stderr, reason = "this is the command line")]
pub(super) fn ask(
    endpoint: &str,
    question: impl AsyncFnOnce(ControlServiceClient<Channel>) -> Result<u8, Status>,
) -> u8 {
    if endpoint == OFF {
        eprintln!("`--control-endpoint off` leaves nobody to ask");
        return USAGE;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return UNAVAILABLE;
        }
    };
    runtime.block_on(async {
        let Ok(client) = ControlServiceClient::connect(format!("http://{endpoint}")).await else {
            eprintln!(
                "no skep answers at {endpoint}; `--control-endpoint` says where its control plane is"
            );
            return UNAVAILABLE;
        };
        match question(client).await {
            Ok(code) => code,
            Err(status) => {
                eprintln!("{}", escaped(status.message()));
                match status.code() {
                    Code::InvalidArgument => USAGE,
                    Code::NotFound => NOT_FOUND,
                    _ => UNAVAILABLE,
                }
            }
        }
    })
}
