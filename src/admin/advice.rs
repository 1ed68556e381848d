//! By which variable or option an application finds a receiver.

use crate::telemetry::OpenPort;

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
pub fn of_ports(ports: &[&OpenPort]) -> Option<Vec<String>> {
    PORTS.iter().find_map(|(kind, protocol)| {
        let is_it =
            |port: &&&OpenPort| kind_of(&port.component) == *kind && port.protocol == *protocol;
        ports.iter().find(is_it).and_then(|port| told(port))
    })
}

fn kind_of(id: &str) -> &str {
    id.split('/').next().unwrap_or(id)
}

/// The variables, or the option, by which an application finds this port of a receiver.
fn told(port: &OpenPort) -> Option<Vec<String>> {
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
    match (kind_of(&port.component), port.protocol) {
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
pub fn local(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    match host {
        "0.0.0.0" | "[::]" | "127.0.0.1" | "[::1]" => format!("localhost:{port}"),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(id: &str, protocol: &'static str, address: &str) -> OpenPort {
        let (component, address) = (id.to_owned(), address.to_owned());
        OpenPort { component, protocol, address, tls: false }
    }

    #[test]
    fn applications_are_told_a_port_that_they_can_reach() {
        let metrics = port("metrics", "prometheus", "127.0.0.1:8888");
        let grpc = port("otlp/in", "grpc", "0.0.0.0:4317");
        let told = of_ports(&[&metrics, &grpc]).unwrap();
        assert_eq!(told[0], "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317");
        assert_eq!(told[1], "OTEL_EXPORTER_OTLP_PROTOCOL=grpc");
        let http = port("otlp", "http", "10.0.0.7:4318");
        let told = of_ports(&[&grpc, &http]).unwrap();
        assert_eq!(told[0], "OTEL_EXPORTER_OTLP_ENDPOINT=http://10.0.0.7:4318");
        let xray = port("awsxray", "udp", "127.0.0.1:2000");
        assert_eq!(of_ports(&[&xray]).unwrap(), ["AWS_XRAY_DAEMON_ADDRESS=localhost:2000"]);
        let logs = port("awscloudwatchlogs", "http", "127.0.0.1:4586");
        let told = of_ports(&[&logs]).unwrap();
        assert_eq!(told, ["AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=http://localhost:4586"]);
        let items = port("rollbar/pages", "http", "127.0.0.1:8090");
        let told = of_ports(&[&items]).unwrap();
        assert_eq!(told, ["rollbar.init(..., endpoint='http://localhost:8090/api/1/')"]);
        assert_eq!(of_ports(&[&metrics]), None);
    }
}
