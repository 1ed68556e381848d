use super::*;
use crate::{component::Stop, net::pages::tests::get, telemetry::PipelineInfo};

fn context(telemetry: &Arc<Telemetry>) -> BuildContext {
    BuildContext {
        telemetry: Arc::clone(telemetry),
        ..BuildContext::test("health_check", Signal::Traces)
    }
}

struct World {
    telemetry: Arc<Telemetry>,
    address: std::net::SocketAddr,
    stop: tokio::sync::watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

impl World {
    fn start(config: Config) -> Self {
        let telemetry = Arc::new(Telemetry::default());
        let config = Config { endpoint: Some("127.0.0.1:0".to_owned()), ..config };
        let mut extension = config.build(&context(&telemetry)).unwrap();
        let address = extension.bind(&mut Sockets::default()).unwrap()[0].address.parse().unwrap();
        let (stop, stopped) = Stop::pair();
        let serving = tokio::spawn(extension.run(stopped));
        World { telemetry, address, stop, serving }
    }

    async fn status(&self, path: &str) -> u16 {
        get(self.address, path).await[9..12].parse().unwrap()
    }

    async fn end(self) {
        self.stop.send(true).unwrap();
        self.serving.await.unwrap();
    }
}

#[tokio::test]
async fn readiness_follows_the_pipelines_and_liveness_does_not() {
    let world = World::start(Config::default());
    assert_eq!((world.status("/").await, world.status("/readyz").await), (503, 503));
    assert_eq!(world.status("/livez").await, 200);
    world.telemetry.set_ready(true);
    let page = get(world.address, "/").await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("\"Server available\""), "{page}");
    world.telemetry.set_ready(false);
    assert_eq!(world.status("/readyz").await, 503);
    world.end().await;
}

#[tokio::test]
async fn verbose_shows_the_words_of_the_backend() {
    let world = World::start(Config::default());
    world.telemetry.set_ready(true);
    let exporter = world.telemetry.exporter("otlp/hny", Signal::Traces, "api.honeycomb.io");
    exporter.denied(SystemTime::now(), "401 unknown API key \"x\"");
    let page = get(world.address, "/readyz?verbose").await;
    assert!(page.starts_with("HTTP/1.1 200"), "a backend that is down is no reason: {page}");
    assert!(page.contains(r#""lastError":"401 unknown API key \"x\"""#), "{page}");
    assert!(page.contains(r#""state":"denied""#), "{page}");
    world.end().await;
}

#[tokio::test]
async fn component_health_lets_a_backend_fail_the_probe() {
    let health = ComponentHealth { include_permanent_errors: true, ..ComponentHealth::default() };
    let config = Config { use_v2: true, component_health: Some(health), ..Config::default() };
    let world = World::start(config);
    world.telemetry.set_ready(true);
    let pipeline = |id: &str, exporter: &str| PipelineInfo {
        id: id.to_owned(),
        exporters: vec![exporter.to_owned()],
        ..PipelineInfo::default()
    };
    let pipelines = vec![pipeline("traces", "a"), pipeline("traces/2", "b")];
    world.telemetry.set_inventory(crate::telemetry::Inventory { pipelines, extensions: vec![] });
    let exporter = world.telemetry.exporter("a", Signal::Traces, "backend");
    assert_eq!(world.status("/status").await, 200);
    exporter.erred(SystemTime::now(), "503");
    assert_eq!(world.status("/status").await, 200, "a retry may mend it");
    exporter.denied(SystemTime::now(), "401");
    assert_eq!(world.status("/status").await, 500);
    assert_eq!(world.status("/status?pipeline=traces").await, 500);
    assert_eq!(world.status("/status?pipeline=traces/2").await, 200);
    assert_eq!(world.status("/status?pipeline=logs").await, 404);
    assert_eq!(world.status("/other").await, 404);
    exporter.succeeded(SystemTime::now());
    assert_eq!(world.status("/status").await, 200);
    world.end().await;
}

#[tokio::test]
async fn grpc_serves_the_process_and_each_pipeline() {
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };
    let telemetry = Arc::new(Telemetry::default());
    let pipelines = vec![PipelineInfo { id: "traces".to_owned(), ..PipelineInfo::default() }];
    telemetry.set_inventory(crate::telemetry::Inventory { pipelines, extensions: vec![] });
    let grpc = GrpcV2 { endpoint: Some("127.0.0.1:0".to_owned()), transport: None };
    let config = Config { use_v2: true, grpc: Section::On(grpc), ..Config::default() };
    let mut extension = config.build(&context(&telemetry)).unwrap();
    let listening = extension.bind(&mut Sockets::default()).unwrap();
    assert_eq!(listening.len(), 1, "only gRPC where only gRPC is configured: {listening:?}");
    let (stop, stopped) = Stop::pair();
    let running = tokio::spawn(extension.run(stopped));
    let endpoint = format!("http://{}", listening[0].address);
    let channel = tonic::transport::Endpoint::new(endpoint).unwrap().connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };

    let mut watch = client.watch(ask("")).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::NotServing);
    telemetry.set_ready(true);
    let next = watch.message().await.unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::Serving);
    let pipeline = client.check(ask("traces")).await.unwrap().into_inner();
    assert_eq!(pipeline.status(), ServingStatus::Serving);
    let unknown = client.check(ask("logs")).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    let mut unknown = client.watch(ask("logs")).await.unwrap().into_inner();
    let first = unknown.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);

    stop.send(true).unwrap();
    assert!(watch.message().await.unwrap().is_none(), "watchers are let go");
    drop((client, watch, unknown));
    running.await.unwrap();
}

#[tokio::test]
async fn the_bodies_are_yours() {
    let bodies = ResponseBody { healthy: "fine".to_owned(), unhealthy: "ill".to_owned() };
    let world = World::start(Config { response_body: Some(bodies), ..Config::default() });
    assert!(get(world.address, "/").await.ends_with("\r\n\r\nill"));
    world.telemetry.set_ready(true);
    assert!(get(world.address, "/any").await.ends_with("\r\n\r\nfine"));
    world.end().await;
}

#[tokio::test]
async fn the_probe_is_served_over_tls() {
    use std::io::{Read as _, Write as _};

    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = ServerTls {
        cert_pem: Some(key.cert.pem()),
        key_pem: Some(crate::config::Secret::new(key.signing_key.serialize_pem())),
        ..ServerTls::default()
    };
    let world = World::start(Config { tls: Some(tls), ..Config::default() });
    world.telemetry.set_ready(true);
    let address = world.address;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(key.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let answer = tokio::task::spawn_blocking(move || {
        let name = "localhost".try_into().unwrap();
        let session = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
        let socket = std::net::TcpStream::connect(address).unwrap();
        let mut stream = rustls::StreamOwned::new(session, socket);
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // The server may close the connection without a farewell.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    world.end().await;
}

#[test]
fn the_older_port_is_one_on_all_interfaces() {
    let telemetry = Arc::new(Telemetry::default());
    let config = Config { port: Some(0), ..Config::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let mut extension = config.build(&context(&telemetry)).unwrap();
    let listening = extension.bind(&mut Sockets::default()).unwrap();
    assert!(listening[0].address.starts_with("0.0.0.0:"), "{listening:?}");
}
