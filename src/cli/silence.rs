//! What an application is told to find skep, and a warning if no data arrives.

use std::{sync::Arc, time::Duration};

use crate::{component::Listening, telemetry::Telemetry};

/// Time after the start until the warning.
const PATIENCE: Duration = Duration::from_mins(1);

/// Ports for applications: the type of the receiver, and the protocol. The best one comes first.
const PORTS: [(&str, &str); 5] = [
    ("otlp", "http"),
    ("otlp", "grpc"),
    ("awsxray", "udp"),
    ("awscloudwatchlogs", "http"),
    ("rollbar", "http"),
];

/// What to tell an application on this host, for the best port that takes its data; `None` if no
/// port does.
pub(super) fn advice(listening: &[(String, Listening)]) -> Option<Vec<String>> {
    PORTS.iter().find_map(|(kind, protocol)| {
        let is_it =
            |(id, port): &&(String, Listening)| kind_of(id) == *kind && port.protocol == *protocol;
        let (id, port) = listening.iter().find(is_it)?;
        told(id, port)
    })
}

fn kind_of(id: &str) -> &str {
    id.split('/').next().unwrap_or(id)
}

/// The variables, or the option, by which an application finds this port of a receiver.
fn told(receiver: &str, port: &Listening) -> Option<Vec<String>> {
    let scheme = if port.tls { "https" } else { "http" };
    let url = if port.address.starts_with('/') {
        format!("unix://{}", port.address)
    } else {
        format!("{scheme}://{}", local(&port.address))
    };
    let otlp = |protocol: &str| {
        vec![
            format!("OTEL_EXPORTER_OTLP_ENDPOINT={url}"),
            format!("OTEL_EXPORTER_OTLP_PROTOCOL={protocol}"),
            "OTEL_SERVICE_NAME=my-service".to_owned(),
        ]
    };
    match (kind_of(receiver), port.protocol) {
        ("otlp", "http") => Some(otlp("http/protobuf")),
        ("otlp", "grpc") => Some(otlp("grpc")),
        ("awsxray", "udp") => {
            Some(vec![format!("AWS_XRAY_DAEMON_ADDRESS={}", local(&port.address))])
        }
        ("awscloudwatchlogs", "http") => {
            Some(vec![format!("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS={url}")])
        }
        ("rollbar", "http") => Some(vec![format!("rollbar.init(..., endpoint='{url}/api/1/')")]),
        _ => None,
    }
}

/// An address in the form that an application on this host uses.
pub(super) fn local(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    match host {
        "0.0.0.0" | "[::]" | "127.0.0.1" | "[::1]" => format!("localhost:{port}"),
        _ => address.to_owned(),
    }
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

    fn port(id: &str, protocol: &'static str, address: &str) -> (String, Listening) {
        (id.to_owned(), Listening { protocol, address: address.to_owned(), tls: false })
    }

    #[test]
    fn applications_are_told_a_port_that_they_can_reach() {
        let metrics = port("metrics", "prometheus", "127.0.0.1:8888");
        let grpc = port("otlp/in", "grpc", "0.0.0.0:4317");
        let told = advice(&[metrics.clone(), grpc.clone()]).unwrap();
        assert_eq!(told[0], "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317");
        assert_eq!(told[1], "OTEL_EXPORTER_OTLP_PROTOCOL=grpc");
        let http = port("otlp", "http", "10.0.0.7:4318");
        let told = advice(&[grpc, http]).unwrap();
        assert_eq!(told[0], "OTEL_EXPORTER_OTLP_ENDPOINT=http://10.0.0.7:4318");
        let xray = port("awsxray", "udp", "127.0.0.1:2000");
        assert_eq!(advice(&[xray]).unwrap(), ["AWS_XRAY_DAEMON_ADDRESS=localhost:2000"]);
        let logs = port("awscloudwatchlogs", "http", "127.0.0.1:4586");
        let told = advice(&[logs]).unwrap();
        assert_eq!(told, ["AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=http://localhost:4586"]);
        let items = port("rollbar/pages", "http", "127.0.0.1:8090");
        let told = advice(&[items]).unwrap();
        assert_eq!(told, ["rollbar.init(..., endpoint='http://localhost:8090/api/1/')"]);
        assert_eq!(advice(&[metrics]), None);
    }

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
