//! SIGHUP in a real terminal. One that is closed ends skep, since nobody could see or end it there
//! any more; in one that is open it reloads.

#![cfg(target_os = "linux")]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::support::{free_port, reloading::APPLIED, wait_for};

/// A terminal, made by util-linux's `script`. Its shell ends with it, as that of a person does, and
/// the kernel tells those in the foreground: skep, and another shell, which outlives the terminal
/// and writes skep's process id, log and exit code to files.
struct Terminal {
    script: Child,
    folder: tempfile::TempDir,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
        if fs::read_to_string(self.folder.path().join("code")).is_err() {
            self.signal("-KILL");
        }
    }
}

impl Terminal {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let config = format!(
            "receivers:\n  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{}'}}}}}}\nexporters:\n  nop:\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
             traces: {{receivers: [otlp], exporters: [nop]}}\n",
            free_port()
        );
        fs::write(folder.path().join("config.yaml"), config).unwrap();
        let skep = env!("CARGO_BIN_EXE_skep");
        // A trap that does something is not inherited. `wait` ends with each signal.
        let commands = format!(
            "trap : HUP; '{skep}' --control-endpoint off --config '{path}/config.yaml' 2>'{path}/log' & \
             pid=$!; echo $pid >'{path}/pid'; \
             while :; do wait $pid; code=$?; kill -0 $pid 2>'{path}/gone' || break; done; \
             echo $code >'{path}/code'"
        );
        fs::write(folder.path().join("run.sh"), commands).unwrap();
        let script = Command::new("script")
            // With a command after it, the first shell stays.
            .args(["-q", "-f", "-c", &format!("sh '{path}/run.sh'; true"), "/dev/null"])
            .env_remove("SKEP_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("`script` of util-linux");
        let terminal = Terminal { script, folder };
        terminal.logs("Listening");
        terminal
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(Path::new(name))).unwrap_or_default()
    }

    fn logs(&self, words: &str) {
        wait_for(words, || self.read("log").contains(words));
    }

    fn signal(&self, signal: &str) {
        let _ = Command::new("kill").args([signal, self.read("pid").trim()]).status();
    }
}

#[test]
fn a_terminal_that_is_closed_ends_skep_in_good_order() {
    let mut terminal = Terminal::start();
    terminal.script.kill().unwrap();
    terminal.script.wait().unwrap();
    wait_for("the end", || terminal.read("code").ends_with('\n'));
    let log = terminal.read("log");
    assert_eq!(terminal.read("code"), "0\n", "{log}");
    assert!(log.contains("Shutdown complete") && !log.contains(APPLIED), "{log}");
}

#[test]
fn in_a_terminal_that_is_open_sighup_reloads() {
    let terminal = Terminal::start();
    terminal.signal("-HUP");
    terminal.logs(APPLIED);
    terminal.signal("-TERM");
    wait_for("the end", || terminal.read("code") == "0\n");
}
