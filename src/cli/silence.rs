//! What an application is told to find skep, and a warning if no data arrives.

use std::{sync::Arc, time::Duration};

use crate::{
    admin::advice,
    component::Listening,
    telemetry::{OpenPort, Telemetry},
};

/// Time after the start until the warning.
const PATIENCE: Duration = Duration::from_mins(1);

/// What to tell an application on this host, for the best port that takes its data; `None` if no
/// port does.
pub(super) fn advice(listening: &[(String, Listening)]) -> Option<Vec<String>> {
    let port = |(id, listening): &(String, Listening)| OpenPort {
        component: id.clone(),
        protocol: listening.protocol,
        address: listening.address.clone(),
        tls: listening.tls,
    };
    let ports: Vec<OpenPort> = listening.iter().map(port).collect();
    advice::of_ports(&ports.iter().collect::<Vec<_>>())
}

/// Warns once if no data has arrived a minute after the start. Returns whether it has warned.
pub(super) async fn watch(advice: Option<Vec<String>>, telemetry: Arc<Telemetry>) -> bool {
    let Some(advice) = advice else { return false };
    tokio::time::sleep(PATIENCE).await;
    let has_data = telemetry.receivers().iter().any(|receiver| {
        let numbers = [&receiver.accepted, &receiver.refused, &receiver.rejected_requests];
        numbers.into_iter().any(|number| number.read() > 0)
    });
    if !has_data {
        tracing::warn!(
            tell_your_application = advice.join(" "),
            "No data has arrived in the first minute. In another container, write the name of \
             skep's service instead of localhost."
        );
    }
    !has_data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::Signal;

    #[tokio::test(start_paused = true)]
    async fn a_warning_comes_without_data_only() {
        let told = || Some(vec!["OTEL_SERVICE_NAME=my-service".to_owned()]);
        let telemetry = Arc::new(Telemetry::default());
        assert!(watch(told(), Arc::clone(&telemetry)).await);
        assert!(!watch(None, Arc::clone(&telemetry)).await, "no port takes data");
        telemetry.receiver("otlp", Signal::Logs, "grpc").accepted.add(1);
        assert!(!watch(told(), telemetry).await);
    }
}
