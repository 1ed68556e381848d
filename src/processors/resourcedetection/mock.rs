//! What tests put in the place of the outside: variables, files below a scratch folder, and a
//! server on the loopback interface.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    detect::detect,
    detectors::Detector,
    probe::{Environment, Notes, Probe},
    settings::Config,
};
use crate::{
    config::{self, Problems, Secret, yaml},
    net::tls::{Acceptor, ServerTls},
    processors::editing::value::AttributeValue,
};

/// An environment in the making.
pub(super) struct Place {
    pub(super) kubernetes_tls: bool,
    variables: BTreeMap<String, String>,
    folder: TempDir,
}

impl Place {
    pub(super) fn with(files: &[(&str, &str)]) -> Self {
        let place = variables(&[]);
        for (path, content) in files {
            let path = place.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        place
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    pub(super) fn path(&self, absolute: &str) -> PathBuf {
        self.folder.path().join(absolute.trim_start_matches('/'))
    }

    pub(super) fn environment(&self) -> Environment {
        let variables = self.variables.clone();
        let variables = move |name: &str| variables.get(name).cloned();
        let mut environment = Environment::of(variables, self.folder.path());
        environment.kubernetes_tls = self.kubernetes_tls;
        environment
    }
}

pub(super) fn variables(pairs: &[(&str, &str)]) -> Place {
    let folder = TempDir::new().unwrap();
    let mut place = Place { kubernetes_tls: false, variables: BTreeMap::new(), folder };
    for (name, value) in pairs {
        place.set(name, value);
    }
    place
}

pub(super) fn settings(text: &str) -> Config {
    let mut problems = Problems::default();
    let node = yaml::parse(0, text).unwrap();
    let config = config::decode(&node, &mut problems);
    assert!(!problems.has_errors(), "{problems:?}");
    config.unwrap()
}

/// What the first detector of a configuration says.
#[expect(clippy::needless_pass_by_value, reason = "its folder lives as long as the question")]
pub(super) fn outcome(config: &str, place: Place) -> Notes {
    let (config, environment) = (Arc::new(settings(config)), Arc::new(place.environment()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut notes = runtime.block_on(detect(&config, &environment));
    runtime.shutdown_background();
    notes.swap_remove(0).1
}

#[expect(clippy::needless_pass_by_value, reason = "as `outcome`")]
pub(super) fn probe(config: &str, place: Place) -> Probe {
    let config = Arc::new(settings(config));
    let detector = Detector::named(&config.detectors[0]).unwrap();
    Probe::new(detector, &config, &Arc::new(place.environment()))
}

pub(super) fn text(name: &str, value: &str) -> (String, AttributeValue) {
    (name.to_owned(), AttributeValue::Text(value.to_owned()))
}

/// JSON with the members that documents of ECS have, of whatever type.
pub(super) fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z:/]*|NORMAL|RUNNING|awslogs|arn:aws:ecs:r:1:task/a".prop_map(Value::from),
    ];
    let key = "TaskARN|Cluster|Containers|LogOptions|Type|KnownStatus|LogDriver|DockerId|Image|\
               awslogs-group|awslogs-stream|[a-z]";
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..8).prop_map(|map| json!(map)),
        ]
    })
}

/// Answers each request by its head, or holds its connection open without a word.
pub(super) struct Server {
    pub(super) url: String,
}

type Answering = Arc<dyn Fn(&str) -> Option<(u16, String)> + Send + Sync>;

impl Server {
    pub(super) fn new(
        answer: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer: Answering = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = Arc::clone(&answer);
                thread::spawn(move || serve(stream, &answer));
            }
        });
        Server { url }
    }

    /// One with TLS, and the certificate to trust.
    pub(super) fn with_tls(
        answer: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let trusted = made.cert.pem();
        let acceptor = Acceptor::new(ServerTls {
            cert_pem: Some(trusted.clone()),
            key_pem: Some(Secret::new(made.signing_key.serialize_pem())),
            ..ServerTls::default()
        });
        let acceptor = acceptor.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let Ok(mut stream) = acceptor.accept(stream, || ()).await else { continue };
                    let mut head = vec![0; 4096];
                    let len = stream.read(&mut head).await.unwrap_or_default();
                    let head = String::from_utf8_lossy(&head[..len]);
                    if let Some((status, body)) = answer(&head) {
                        let _ = stream.write_all(response(status, &body).as_bytes()).await;
                        let _ = stream.shutdown().await;
                    }
                }
            });
        });
        (Server { url }, trusted)
    }

    #[cfg(unix)]
    pub(super) fn on_socket(
        path: &Path,
        answer: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        let answer: Answering = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = Arc::clone(&answer);
                thread::spawn(move || serve(stream, &answer));
            }
        });
        Server { url: format!("unix://{}", path.display()) }
    }
}

fn response(status: u16, body: &str) -> String {
    let len = body.len();
    format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n{body}")
}

fn serve(mut stream: impl Read + Write, answer: &Answering) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    match answer(&String::from_utf8_lossy(&head)) {
        Some((status, body)) => {
            let _ = stream.write_all(response(status, &body).as_bytes());
        }
        // Until the client goes away.
        None => while stream.read(&mut byte).is_ok_and(|read| read > 0) {},
    }
}
