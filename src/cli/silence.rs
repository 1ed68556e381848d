//! The variables that an application needs, and a warning if no data arrives.

use std::{sync::Arc, time::Duration};

use crate::{component::Listening, telemetry::Telemetry};

/// Time after the start until the warning.
const PATIENCE: Duration = Duration::from_mins(1);

/// Variables for an application on this host, for the first port that takes its data; `None` if no
/// port does.
pub(super) fn advice(listening: &[(String, Listening)]) -> Option<Vec<String>> {
    let find = |kind: &str, protocol: &str| {
        let is_of_kind = |id: &str| id.split('/').next() == Some(kind);
        listening.iter().find(|(id, port)| is_of_kind(id) && port.protocol == protocol)
    };
    let (listening, protocol) = match (find("otlp", "http"), find("otlp", "grpc")) {
        (Some((_, http)), _) => (http, "http/protobuf"),
        (None, Some((_, grpc))) => (grpc, "grpc"),
        (None, None) => {
            if let Some((_, port)) = find("awsxray", "udp") {
                return Some(vec![format!("AWS_XRAY_DAEMON_ADDRESS={}", local(&port.address))]);
            }
            let (_, port) = find("awscloudwatchlogs", "http")?;
            let scheme = if port.tls { "https" } else { "http" };
            let url = format!("{scheme}://{}", local(&port.address));
            return Some(vec![format!("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS={url}")]);
        }
    };
    let scheme = if listening.tls { "https" } else { "http" };
    let endpoint = if listening.address.starts_with('/') {
        format!("unix://{}", listening.address)
    } else {
        format!("{scheme}://{}", local(&listening.address))
    };
    Some(vec![
        format!("OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}"),
        format!("OTEL_EXPORTER_OTLP_PROTOCOL={protocol}"),
        "OTEL_SERVICE_NAME=my-service".to_owned(),
    ])
}

/// An address in the form that an application on this host uses.
fn local(address: &str) -> String {
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
