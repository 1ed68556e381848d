//! `eks`: a cluster of EKS. The API of Kubernetes says so in its version, the instance metadata
//! give the rest.
//!
//! The Collector takes the name of the cluster from tags by the EC2 API. Here it is what
//! CloudWatch's agent wrote down, `cluster-info` in the namespace `amazon-cloudwatch`, which SDKs
//! read, too.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde_json::Value;

use super::{
    aws::{Instance, member},
    probe::Probe,
};
use crate::net::{
    client::{Client, Segments, Target, Tuning},
    proxy::{self, Destination},
    tls::{ClientTls, Connector},
};

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VERSION: &str = "/version";
const INFO: &str = "/api/v1/namespaces/amazon-cloudwatch/configmaps/cluster-info";

const REMEDY: &str = "let the pod reach the API of Kubernetes, or remove the detector";

/// The remedy if the cluster's name is not recorded.
const NAME: &str = "let skep's service account read it, or give `k8s.cluster.name` in \
                    OTEL_RESOURCE_ATTRIBUTES and detect `env`";

pub(super) async fn detect(probe: &Probe) {
    let Some(host) = probe.environment.var("KUBERNETES_SERVICE_HOST") else {
        return probe.absent("KUBERNETES_SERVICE_HOST is not set");
    };
    let port = probe.environment.var("KUBERNETES_SERVICE_PORT");
    let port = port.and_then(|port| port.parse().ok()).unwrap_or(443);
    let Some(api) = Api::new(probe, host, port).await else { return };
    let Some(version) = api.get(VERSION, REMEDY).await else { return };
    if !member(&version, "gitVersion").is_some_and(|version| version.contains("-eks-")) {
        return probe.absent("this Kubernetes is not of EKS");
    }
    probe.text("cloud.provider", Some("aws"));
    probe.text("cloud.platform", Some("aws_eks"));
    if probe.wants("k8s.cluster.name")
        && let Some(info) = api.get(INFO, NAME).await
    {
        let name = info.get("data").and_then(|data| member(data, "cluster.name"));
        probe.text("k8s.cluster.name", name);
    }
    let is_of_instance = |name: &str| name.starts_with("host.") || name.starts_with("cloud.");
    let mut names = probe.detector.attributes().iter().map(|(name, _)| *name);
    // The first two are known by now.
    if names.by_ref().skip(2).any(|name| is_of_instance(name) && probe.wants(name)) {
        let settings = &probe.config.eks;
        let pause = settings.max_backoff.0;
        if let Some(instance) = Instance::open(probe, settings.max_attempts, pause).await {
            instance.identity().await;
        }
    }
}

/// The API of the cluster, as the pod's service account.
struct Api<'a> {
    probe: &'a Probe,
    client: Client,
    authority: String,
    token: Option<String>,
}

impl<'a> Api<'a> {
    async fn new(probe: &'a Probe, host: String, port: u16) -> Option<Self> {
        let environment = &probe.environment;
        probe.asking(format!("reading {ACCOUNT}/token"), REMEDY);
        let token = environment.read(&format!("{ACCOUNT}/token")).await.ok();
        let trusted = environment.path(&format!("{ACCOUNT}/ca.crt"));
        let settings = ClientTls {
            ca_file: trusted.is_file().then(|| trusted.display().to_string()),
            ..ClientTls::default()
        };
        // Without the certificate nothing is asked, so that the token goes nowhere else.
        let tls = match environment.kubernetes_tls.then(|| Connector::new(settings, &[b"http/1.1"]))
        {
            Some(Err(wrong)) => {
                probe.warn(format!("{ACCOUNT}/ca.crt: {wrong}; {REMEDY}"));
                return None;
            }
            Some(Ok(tls)) => Some(tls),
            None => None,
        };
        let name = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let destination = Destination { is_https: tls.is_some(), host: &host, port };
        let way = match proxy::way(destination, ("", ""), &ClientTls::default()) {
            Ok(way) => way,
            Err(wrong) => {
                probe.warn(wrong);
                return None;
            }
        };
        let target = Target {
            host,
            port,
            way,
            tls,
            server_name: None,
            http2_only: false,
            tuning: Tuning { max_idle: 0, ..Tuning::default() },
        };
        let token = token.map(|token| token.trim().to_owned());
        let authority = format!("{name}:{port}");
        Some(Api { probe, client: Client::new(target, 1), authority, token })
    }

    async fn get(&self, path: &str, remedy: &'static str) -> Option<Value> {
        let probe = self.probe;
        probe.asking(format!("GET https://{}{path}", self.authority), remedy);
        let mut request = Request::get(path).header(header::HOST, &self.authority);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = match request.body(Segments::new(std::iter::empty::<Bytes>())) {
            Ok(request) => request,
            Err(error) => {
                probe.failed(&error.to_string());
                return None;
            }
        };
        match self.client.call(request).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                let parsed = serde_json::from_slice(&answer.body).ok();
                if parsed.is_none() {
                    probe.failed("the answer is not JSON");
                }
                parsed
            }
            Ok(answer) => {
                probe.failed(&format!("the answer is {}", answer.status));
                None
            }
            Err(error) => {
                probe.failed(&error.to_string());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::mock::{Place, Server, outcome, text},
        *,
    };

    fn cluster(request: &str) -> Option<(u16, String)> {
        let is_known = request.contains("authorization: Bearer t0ken\r\n");
        let found = match request.split(' ').nth(1)? {
            VERSION => r#"{"major":"1","minor":"33","gitVersion":"v1.33.1-eks-1fbb135"}"#,
            INFO if is_known => r#"{"kind":"ConfigMap","data":{"cluster.name":"shop"}}"#,
            "/latest/api/token" => "secret",
            "/latest/dynamic/instance-identity/document" => {
                r#"{"accountId":"123456789012","region":"eu-west-1"}"#
            }
            _ => return Some((403, String::new())),
        };
        Some((200, found.to_owned()))
    }

    fn place(server: &Server, token: &str) -> Place {
        let mut place = Place::with(&[(&format!("{ACCOUNT}/token"), token)]);
        let (host, port) = server.url.split_once("//").unwrap().1.split_once(':').unwrap();
        place.set("KUBERNETES_SERVICE_HOST", host);
        place.set("KUBERNETES_SERVICE_PORT", port);
        place.set("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url);
        place
    }

    const ALL: &str = "{detectors: [eks], eks: {resource_attributes: {k8s.cluster.name: {enabled: \
                       true}, cloud.account.id: {enabled: true}}}}";

    #[test]
    fn a_cluster_is_known_by_its_version() {
        let server = Server::new(cluster);
        let notes = outcome("detectors: [eks]", place(&server, ""));
        let expected = [text("cloud.provider", "aws"), text("cloud.platform", "aws_eks")];
        assert_eq!(notes.attributes, expected);
        assert_eq!(notes.warning, None);
    }

    #[test]
    fn its_name_and_its_account_are_given_where_they_are_wanted() {
        let server = Server::new(cluster);
        let notes = outcome(ALL, place(&server, "t0ken\n"));
        let expected = [text("k8s.cluster.name", "shop"), text("cloud.account.id", "123456789012")];
        assert_eq!(notes.attributes[2..], expected);
        let refused = outcome(ALL, place(&server, "other"));
        assert_eq!(refused.attributes[2..], expected[1..]);
        assert!(refused.warning.unwrap().contains("OTEL_RESOURCE_ATTRIBUTES"));
    }

    #[test]
    fn the_api_is_asked_with_tls_and_its_certificate_judged() {
        let (server, trusted) = Server::with_tls(cluster);
        let (_, other) = Server::with_tls(cluster);
        let config = "{detectors: [eks], timeout: 2s, attributes: [cloud.platform]}";
        for (authority, is_known) in [(trusted, true), (other, false)] {
            let mut place = place(&server, "t0ken");
            std::fs::write(place.path(&format!("{ACCOUNT}/ca.crt")), authority).unwrap();
            place.kubernetes_tls = true;
            let notes = outcome(config, place);
            assert_eq!(!notes.attributes.is_empty(), is_known, "{:?}", notes.warning);
            assert_eq!(notes.warning.is_none(), is_known, "{:?}", notes.warning);
        }
    }

    #[test]
    fn the_token_goes_to_nobody_without_tls() {
        let server = Server::new(|head| panic!("asked in plain text: {head}"));
        for authority in
            ["nonsense", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"]
        {
            let mut place = place(&server, "t0ken");
            std::fs::write(place.path(&format!("{ACCOUNT}/ca.crt")), authority).unwrap();
            place.kubernetes_tls = true;
            let notes = outcome("{detectors: [eks], timeout: 500ms}", place);
            assert!(notes.attributes.is_empty());
            assert!(notes.warning.unwrap().contains("ca.crt"), "{authority}");
        }
    }

    #[test]
    fn other_clusters_and_broken_ones_are_told_apart() {
        let other = Server::new(|_| Some((200, r#"{"gitVersion":"v1.33.1"}"#.to_owned())));
        let notes = outcome("detectors: [eks]", place(&other, "a\nb"));
        assert!(notes.attributes.is_empty() && notes.warning.is_some(), "a token of two lines");
        let notes = outcome("detectors: [eks]", place(&other, ""));
        assert!(notes.attributes.is_empty() && notes.warning.is_none() && notes.absent.is_some());
        let broken = Server::new(|_| Some((200, "{".to_owned())));
        assert!(outcome("detectors: [eks]", place(&broken, "")).warning.is_some());
    }
}
