//! Requests of subcommands to the control plane of a running skep.

use std::{future::Future, time::Duration};

use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::{OFF, UNAVAILABLE, USAGE};
use crate::{
    admin::proto::{HealthRequest, control_service_client::ControlServiceClient},
    config::shown::escaped,
};

/// The exit code if the requested thing is not known.
pub(super) const NOT_FOUND: u8 = 1;

/// Longest time for connecting.
const CONNECTING: Duration = Duration::from_secs(5);
/// Longest wait for an answer that needs no work, and for each part of a longer answer.
const QUICK: Duration = Duration::from_secs(10);
/// Longest wait for an answer that needs work.
const WORK: Duration = Duration::from_mins(1);

/// How long a subcommand waits for an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience<'a> {
    endpoint: &'a str,
    limit: Duration,
}

impl<'a> Patience<'a> {
    /// For an answer that needs no work.
    pub(super) fn short(endpoint: &'a str) -> Self {
        Patience { endpoint, limit: QUICK }
    }

    /// For an answer that needs work.
    pub(super) fn long(endpoint: &'a str) -> Self {
        Patience { endpoint, limit: WORK }
    }

    /// Waits for an answer, or for the next part of one.
    pub(super) async fn wait<T>(
        self,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        tokio::time::timeout(self.limit, answer).await.unwrap_or_else(|_| {
            let Patience { endpoint, limit } = self;
            let seconds = limit.as_secs();
            Err(Status::unavailable(format!(
                "no answer from {endpoint} within {seconds} s: something other than skep may \
                 listen there, or skep is stuck; set `--control-endpoint` to the address of its \
                 control plane"
            )))
        })
    }
}

/// Sends a request and returns the exit code.
#[expect(clippy::print_stderr, reason = "this is the command line")]
pub(super) fn ask(
    endpoint: &str,
    question: impl AsyncFnOnce(ControlServiceClient<Channel>) -> Result<u8, Status>,
) -> u8 {
    if endpoint == OFF {
        eprintln!("this command needs a control plane; `--control-endpoint off` turns it off");
        return USAGE;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return UNAVAILABLE;
        }
    };
    let code = runtime.block_on(async {
        let Some(channel) = connect(endpoint).await else {
            eprintln!(
                "no skep answers at {endpoint}; set `--control-endpoint` to the address of its control \
                 plane"
            );
            return UNAVAILABLE;
        };
        match question(ControlServiceClient::new(channel)).await {
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
    });
    // The lookup of a name cannot be interrupted, so this does not wait for it.
    runtime.shutdown_background();
    code
}

/// Whether a skep answers at an endpoint.
pub(super) async fn is_running(endpoint: &str) -> bool {
    let Some(channel) = connect(endpoint).await else { return false };
    let mut client = ControlServiceClient::new(channel);
    Patience::short(endpoint).wait(client.health(HealthRequest {})).await.is_ok()
}

/// Connects; `None` if that fails or takes too long.
async fn connect(endpoint: &str) -> Option<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{endpoint}")).ok()?;
    tokio::time::timeout(CONNECTING, endpoint.connect()).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_does_not_answer_is_named() {
        let never = std::future::pending::<Result<(), Status>>();
        let error = Patience::short("127.0.0.1:9").wait(never).await.unwrap_err();
        let text = error.message();
        for words in ["127.0.0.1:9", "10 s", "something other than skep", "--control-endpoint"] {
            assert!(text.contains(words), "{text}");
        }
        let begin = tokio::time::Instant::now();
        let late = async {
            tokio::time::sleep(Duration::from_secs(59)).await;
            Ok(7)
        };
        assert_eq!(Patience::long("x").wait(late).await.unwrap(), 7);
        assert_eq!(begin.elapsed(), Duration::from_secs(59));
    }
}
