//! moto, the stand-in for AWS that others test with: X-Ray and CloudWatch Logs are of use here. It
//! checks less than AWS does (no signatures, no limits; `aws_backend.rs` does), but shares no
//! code with skep: what it took is read back by the AWS SDK for Python.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command},
};

use serde_json::Value;

use crate::support::{free_port, sdk, wait_for};

/// The region of what it is asked for; it keeps what has come apart by region.
pub(crate) const REGION: &str = "us-east-1";

/// A running `moto_server`, ended with the test.
pub(crate) struct Moto {
    child: Child,
    /// Where it listens, on the loopback address.
    pub(crate) port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    /// Starts it and waits until it answers.
    pub(crate) fn start() -> Self {
        let port = free_port();
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("moto-{port}.log"));
        let output = File::create(&log).unwrap();
        let mut command = alone(Command::new(sdk::python().join("python")));
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let mut moto = Self { child: command.spawn().unwrap(), port };
        wait_for("the start of moto", || {
            let ended = moto.child.try_wait().unwrap();
            assert!(ended.is_none(), "moto ended, see {}: {ended:?}", log.display());
            answers(port).is_some()
        });
        moto
    }

    /// What to give as `endpoint`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Calls `operation` (in the words of boto3) of `service` by the AWS SDK.
    pub(crate) fn call(&self, service: &str, operation: &str, arguments: &Value) -> Value {
        let mut command = alone(Command::new(sdk::python().join("python")));
        command.arg(sdk::sources().join("aws_call.py")).arg(self.endpoint());
        command.args([service, operation, &arguments.to_string()]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Removes the AWS settings of the environment, and the search for instance metadata.
pub(crate) fn alone(mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Whether the server behind the port is ready.
fn answers(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /moto-api/data.json HTTP/1.0\r\nhost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1).filter(|status| *status == "200").map(|_| ())
}
