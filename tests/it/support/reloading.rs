//! The program with a configuration that changes while it runs.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use skep::admin::proto::{
    ReloadRequest, ReloadResponse, control_service_client::ControlServiceClient,
};
use tonic::transport::Channel;

use crate::support::{Skep, backend::Backend, free_port, wait_for};

/// The program with a configuration that changes.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) skep: Skep,
    control: u16,
}

impl World {
    pub(crate) fn start(config: &str, ports: &[u16]) -> Self {
        Self::start_with(&[], config, ports)
    }

    /// The same with arguments.
    pub(crate) fn start_with(arguments: &[&str], config: &str, ports: &[u16]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let control = free_port();
        fs::write(dir.path().join("skep.yaml"), config).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command
            .args(["--control-endpoint", &format!("127.0.0.1:{control}"), "--config"])
            .arg(dir.path().join("skep.yaml"))
            .args(arguments)
            .env_remove("SKEP_CONFIG")
            .stdout(Stdio::null())
            .stderr(log);
        let mut skep = Skep(command.spawn().unwrap());
        skep.listens(&[ports, &[control]].concat());
        World { dir, skep, control }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("skep.yaml")
    }

    /// Puts another configuration in the place of the file.
    pub(crate) fn write(&self, config: &str) {
        let new = self.dir.path().join("new.yaml");
        fs::write(&new, config).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// The port of its control plane.
    pub(crate) fn control(&self) -> u16 {
        self.control
    }

    pub(crate) fn pid(&self) -> u32 {
        self.skep.0.id()
    }

    /// SIGHUP; waits until the log says what came of it.
    pub(crate) fn hang_up(&self, outcome: &str) {
        let count = || self.log().matches(outcome).count();
        let before = count();
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        wait_for("the reload", || count() > before);
    }

    /// `skep reload`.
    pub(crate) fn ask(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        let endpoint = format!("127.0.0.1:{}", self.control);
        command.args(["reload", "--control-endpoint", &endpoint]).output().unwrap()
    }

    pub(crate) async fn client(&self) -> ControlServiceClient<Channel> {
        ControlServiceClient::connect(format!("http://127.0.0.1:{}", self.control)).await.unwrap()
    }

    /// Ends it, and shows its log where it lost something.
    pub(crate) fn stop(self) {
        let World { dir, skep, .. } = self;
        let is_clean = skep.stop();
        let log = fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(is_clean, "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

pub(crate) const APPLIED: &str = "The configuration was reloaded.";
pub(crate) const REFUSED: &str = "The configuration was not reloaded";

pub(crate) async fn reload(client: &mut ControlServiceClient<Channel>) -> ReloadResponse {
    client.reload(ReloadRequest {}).await.unwrap().into_inner()
}

/// How often each name arrived.
pub(crate) fn names(backend: &Backend) -> HashMap<String, usize> {
    let mut names = HashMap::new();
    for entry in backend.taken().traces.iter().flat_map(|request| &request.resource_spans) {
        for span in entry.scope_spans.iter().flat_map(|scope| &scope.spans) {
            *names.entry(span.name.clone()).or_default() += 1;
        }
    }
    names
}

/// Everything that was accepted arrived, once.
pub(crate) fn assert_arrived(backend: &Backend, accepted: &[String]) {
    let arrived = names(backend);
    let wrong: Vec<_> =
        accepted.iter().filter(|name| arrived.get(*name) != Some(&1)).take(10).collect();
    assert!(wrong.is_empty(), "lost or doubled, of {}: {wrong:?}", accepted.len());
    assert_eq!(arrived.len(), accepted.len());
}
