//! The commands that print something, and what the flags do.

use std::{
    net::TcpStream,
    process::{Command, Output, Stdio},
};

use crate::support::{Skep, free_port, wait_for};

fn skep() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.env_remove("HONEYCOMB_API_KEY").env_remove("SKEP_CONFIG").env("NO_COLOR", "1");
    command.env_remove("AOT_CONFIG_CONTENT");
    command
}

fn run(arguments: &[&str]) -> (Output, String, String) {
    let output = skep().args(arguments).output().unwrap();
    let out = String::from_utf8(output.stdout.clone()).unwrap();
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    (output, out, errors)
}

const SMALL: &str = "yaml:{receivers: {otlp: {protocols: {grpc: }}}, exporters: {otlp_http: \
    {endpoint: 'http://a', headers: {x-key: very-secret}}}, service: {pipelines: {traces: \
    {receivers: [otlp], exporters: [otlp_http]}}}}";

#[test]
fn the_configuration_is_printed_without_its_secrets() {
    let (output, out, errors) = run(&["print-config", "--config", SMALL]);
    assert!(output.status.success(), "{errors}");
    assert!(out.contains("x-key: \"[REDACTED]\"\n") && !out.contains("very-secret"), "{out}");
    assert!(out.contains("timeout: 30s\n"), "{out}");
    assert!(out.contains("grpc:\n        endpoint: ") && out.contains(":4317\n"), "{out}");
    assert!(!out.contains("read_buffer_size"), "a key without effect is not added: {out}");
    let (_, out, _) = run(&["print-config", "--mode", "unredacted", "--config", SMALL]);
    assert!(out.contains("x-key: very-secret\n"), "{out}");
    let (_, out, _) = run(&["print-config", "--format", "json", "--config", SMALL]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["exporters"]["otlp_http"]["headers"]["x-key"], "[REDACTED]");
}

#[test]
fn references_that_cannot_be_replaced_here_are_printed_as_they_are() {
    let text = SMALL.replace("http://a", "${env:UNSET}:4318");
    let (output, out, errors) = run(&["print-config", "--config", &text]);
    assert!(output.status.success(), "{errors}");
    assert!(out.contains("endpoint: \"${env:UNSET}:4318\"\n"), "{out}");
    let (output, valid, _) = run(&["validate", "--config", &format!("yaml:{out}")]);
    assert!(output.status.success() && valid.contains("with 2 warnings"), "{valid}");
}

#[test]
fn the_schema_is_printed() {
    let (output, out, _) = run(&["schema"]);
    assert!(output.status.success());
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(json["properties"]["receivers"].is_object());
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    for command in ["components", "schema", "print-config"] {
        let mut child =
            skep().arg(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !errors.contains("panicked"), "{command}: {errors}");
    }
}

#[test]
fn feature_gates_are_taken_with_a_note() {
    let (output, _, errors) = run(&["--feature-gates=a,-b", "validate", "--config", SMALL]);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("no feature gates"), "{errors}");
}

#[test]
fn flags_are_quoted_as_they_were_written() {
    let set = "exporters.otlp_http.tiemout=1s";
    let (output, _, errors) = run(&["validate", "--config", SMALL, "--set", set]);
    assert_eq!(output.status.code(), Some(78));
    assert!(errors.contains(set) && errors.contains("did you mean `timeout`?"), "{errors}");
}

#[test]
fn everything_that_cannot_be_built_is_reported_at_once() {
    let text = "yaml:{receivers: {otlp: {protocols: {grpc: }}}, exporters: {otlp_http: {endpoint: \
        'https://a', tls: {ca_file: /no/one.pem}}, otlp_http/2: {endpoint: 'https://a', tls: \
        {ca_file: /no/two.pem}}}, service: {pipelines: {traces: {receivers: [otlp], exporters: \
        [otlp_http, otlp_http/2]}}}}";
    let (output, _, errors) = run(&["validate", "--strict", "--config", text]);
    assert_eq!(output.status.code(), Some(78), "{errors}");
    assert!(errors.contains("error: cannot read `/no/one.pem`"), "{errors}");
    assert!(errors.contains("error: cannot read `/no/two.pem`"), "{errors}");
    // They may exist where skep will run.
    let (output, out, errors) = run(&["validate", "--config", text]);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("warning: cannot read `/no/one.pem`"), "{errors}");
    assert!(out.contains("is valid, with 2 warnings: 1 pipeline (traces), 1 receiver"), "{out}");
    let (output, _, errors) = run(&["validate", "--deny-warnings", "-c", text]);
    assert_eq!(output.status.code(), Some(78));
    assert!(errors.contains("is refused for 2 warnings (--deny-warnings)"), "{errors}");
}

/// What compose makes of `${AWS_REGION:-}` is empty, not unset.
#[test]
fn an_empty_variable_is_no_unset_one() {
    let text = SMALL.replace("x-key: very-secret", "x-key: '${env:AWS_REGION}'");
    let validate = |value: Option<&str>| {
        let mut command = skep();
        command.args(["validate", "--config", &text]).env_remove("AWS_REGION");
        if let Some(value) = value {
            command.env("AWS_REGION", value);
        }
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    assert_eq!(validate(Some("")), "");
    assert!(validate(None).contains("the environment variable `AWS_REGION` is not set"));
}

#[test]
fn each_file_is_validated_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.yaml", &SMALL["yaml:".len()..]);
    let bad = file("bad.yaml", "receivers: {otpl: }\n");
    let (output, out, errors) = run(&["validate", &good, &bad, &good]);
    assert_eq!(output.status.code(), Some(78), "{errors}");
    assert_eq!(out.matches("good.yaml is valid: 1 pipeline").count(), 2, "{out}");
    assert!(errors.contains("bad.yaml is not valid: "), "{errors}");
    assert!(
        errors.contains("bad.yaml:1:13") && errors.contains("did you mean `otlp`?"),
        "{errors}"
    );
    assert_eq!(run(&["validate", &good, "-c", &bad]).0.status.code(), Some(64));
}

#[test]
fn flags_work_before_and_after_the_command_that_has_them() {
    let (output, out, _) = run(&["version"]);
    assert!(output.status.success() && out == concat!("skep ", env!("CARGO_PKG_VERSION"), "\n"));
    for arguments in [&["-c", SMALL, "validate"][..], &["validate", "-c", SMALL]] {
        assert!(run(arguments).1.contains("is valid"), "{arguments:?}");
    }
    let help = run(&["reload", "--help"]).1;
    assert!(help.contains("--control-endpoint") && !help.contains("--set"), "{help}");
    let (output, _, errors) = run(&["-v", "--log-level", "info"]);
    assert_eq!(output.status.code(), Some(64), "{errors}");
    for before in [true, false] {
        let endpoint = ["--control-endpoint", "127.0.0.1:9"];
        let arguments: Vec<&str> = if before {
            endpoint.into_iter().chain(["reload"]).collect()
        } else {
            ["reload"].into_iter().chain(endpoint).collect()
        };
        let errors = run(&arguments).2;
        assert!(errors.contains("127.0.0.1:9"), "{errors}");
    }
}

#[test]
fn secrets_are_covered_in_excerpts() {
    let text = "yaml:exporters:\n  otlp_http: {headers: {x-key: very-secret}, tiemout: 1s}\n";
    let (_, _, errors) = run(&["validate", "--config", text]);
    assert!(errors.contains("tiemout") && !errors.contains("very-secret"), "{errors}");
}

#[test]
fn the_control_plane_goes_where_it_is_told() {
    let (port, otlp) = (free_port(), free_port());
    let config = format!(
        "{{receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{otlp}'}}}}}}}}, exporters: \
         {{nop: }}, service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: \
         {{receivers: [otlp], exporters: [nop]}}}}}}}}"
    );
    let mut command = skep();
    command.args(["--config", &format!("yaml:{config}"), "--drain-timeout", "20s"]);
    command.env("SKEP_CONTROL_ENDPOINT", format!("127.0.0.1:{port}"));
    assert!(Skep::run(command, &[otlp, port]).stop());
    // `off`.
    let skep = Skep::start(&config, &[otlp]);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(skep.stop());
}

#[test]
fn wrong_settings_of_the_process_are_wrong_usage() {
    for (flag, value, words) in [
        ("--control-endpoint", "8687", "host"),
        ("--control-endpoint", "localhost:99999", "is not a port"),
        ("--drain-timeout", "10", "write a unit, for instance `10s`"),
    ] {
        let variable = match flag {
            "--control-endpoint" => "SKEP_CONTROL_ENDPOINT",
            _ => "SKEP_DRAIN_TIMEOUT",
        };
        let by_flag = skep().args(["run", flag, value, "--config", SMALL]).output().unwrap();
        let by_variable = skep().args(["--config", SMALL]).env(variable, value).output().unwrap();
        for output in [by_flag, by_variable] {
            let errors = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(64), "{errors}");
            assert!(errors.contains(words), "{errors}");
        }
    }
}

/// As the Collector's distribution of AWS: the variable holds the whole file and wins.
#[test]
fn the_variable_of_adot_wins_over_files_and_says_so() {
    let whole = SMALL.strip_prefix("yaml:").unwrap();
    let with = |content: &str, arguments: &[&str]| {
        let mut command = skep();
        let output = command.env("AOT_CONFIG_CONTENT", content).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(with(whole, &["validate"]), (Some(0), String::new()));
    let (code, errors) = with(whole, &["validate", "--config", "/no/such/file"]);
    assert_eq!(code, Some(0));
    assert!(errors.contains("`--config` is not read: AOT_CONFIG_CONTENT"), "{errors}");
    let (code, errors) = with("receivers: {otlpp: }", &["validate"]);
    assert_eq!(code, Some(78));
    assert!(errors.contains("env:AOT_CONFIG_CONTENT:1"), "{errors}");
    // Empty is unset.
    let (code, errors) = with("", &["validate", "--config", "/no/such/file"]);
    assert_eq!(code, Some(78), "{errors}");
}

#[test]
fn the_log_says_where_the_configuration_came_from() {
    let otlp = free_port();
    let config = format!(
        "{{receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{otlp}'}}}}}}}}, exporters: \
         {{nop: }}, service: {{telemetry: {{logs: {{encoding: json}}, metrics: {{level: none}}}}, \
         pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}}}}}}}"
    );
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = skep();
    command.env("AOT_CONFIG_CONTENT", config).args(["--control-endpoint", "off"]);
    command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
    let skep = Skep(command.spawn().unwrap());
    wait_for("the start", || TcpStream::connect(("127.0.0.1", otlp)).is_ok());
    assert!(skep.stop());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("\"source\":\"env:AOT_CONFIG_CONTENT\""), "{log}");
}

/// `${AWS_ENDPOINT_URL:-}` of a compose file.
#[cfg(feature = "aws")]
#[test]
fn empty_variables_of_aws_are_unset() {
    let text = "yaml:{receivers: {nop: }, exporters: {awsxray: {region: us-east-1}, \
        awscloudwatchlogs: {region: us-east-1, log_group_name: a, log_stream_name: b}}, service: \
        {pipelines: {traces: {receivers: [nop], exporters: [awsxray]}, logs: {receivers: [nop], \
        exporters: [awscloudwatchlogs]}}}}";
    let mut command = skep();
    command.args(["doctor", "--config", text]).env("HTTPS_PROXY", "http://127.0.0.1:9");
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "x");
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_XRAY", "AWS_PROFILE", "AWS_SESSION_TOKEN"] {
        command.env(name, "");
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(!errors.contains("panicked"), "{errors}");
    assert_eq!(
        (output.status.code(), out.matches("127.0.0.1:9").count() >= 2),
        (Some(74), true),
        "{out}"
    );
}

#[cfg(feature = "aws")]
#[test]
fn the_flags_of_the_x_ray_daemon_are_explained() {
    let (output, out, errors) = run(&["xray", "--help"]);
    assert!(output.status.success(), "{errors}");
    for words in ["-b, --bind <HOST:PORT>", "-n, --region", "-o, --local-mode", "NoVerifySSL"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(out.lines().all(|line| line.len() <= 110), "{out}");
    let (output, out, _) = run(&["xray", "xray", "-v"]);
    assert_eq!((output.status.code(), out.starts_with("skep xray 0.")), (Some(0), true), "{out}");
    for (flags, words) in [
        (&["-bind", "localhost"][..], "has no port"),
        (&["-m", "1"], "at least 3 MB"),
        (&["--proxy-address=socks5://ann@a"], "SOCKS"),
        (&["-bindd", "a:1"], "'--bind'"),
    ] {
        let (output, _, errors) = run(&[&["xray"], flags].concat());
        assert_eq!(output.status.code(), Some(64), "{errors}");
        assert!(errors.contains(words), "{errors}");
    }
    // As the image has it, under the name of the daemon.
    let folder = tempfile::tempdir().unwrap();
    let daemon = folder.path().join("xray");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_skep"), &daemon).unwrap();
    let output = Command::new(daemon).args(["-t", "0.0.0.0:2000", "xray", "-version"]).output();
    assert!(String::from_utf8(output.unwrap().stdout).unwrap().starts_with("skep xray 0."));
    let file = folder.path().join("cfg.yaml");
    std::fs::write(&file, "Version: 2\nSocket:\n  UDPAdress: \"127.0.0.1:2000\"\n").unwrap();
    let (output, _, errors) = run(&["xray", "-c", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78), "{errors}");
    assert!(
        errors.contains("cfg.yaml:3:3") && errors.contains("did you mean `UDPAddress`?"),
        "{errors}"
    );
}

#[test]
fn pipelines_of_profiles_are_left_out_where_their_gate_is_given() {
    let config = "yaml:{receivers: {otlp: {protocols: {grpc: }}}, exporters: {nop: }, service: \
                  {pipelines: {traces: {receivers: [otlp], exporters: [nop]}, profiles: \
                  {receivers: [otlp], exporters: [nop]}}}}";
    let (output, _, errors) = run(&["validate", "--config", config]);
    assert!(!output.status.success());
    assert!(errors.contains("--feature-gates=service.profilesSupport"), "{errors}");
    let gate = "--feature-gates=service.profilesSupport";
    let (output, _, errors) = run(&["validate", "--config", config, gate]);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("`profiles` is left out"), "{errors}");
    assert!(!errors.contains("has no effect"), "{errors}");
}

#[test]
fn the_paths_of_a_statement_say_what_the_document_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("span.json");
    std::fs::write(&file, r#"{"name": "ac", "attributes": []}"#).unwrap();
    let file = file.to_str().unwrap();
    let (output, out, errors) = run(&["ottl", r#"replace_pattern(span.name, "a", "b")"#, file]);
    assert!(output.status.success() && out.contains(r#""name": "bc""#), "{out}{errors}");
    let (output, _, errors) = run(&["ottl", "set(log.body, Foo(1))", file]);
    assert_eq!(output.status.code(), Some(78));
    assert!(errors.starts_with("error: ") && errors.contains("Foo"), "{errors}");
    let (_, _, errors) = run(&["ottl", r#"resource.attributes["a"] == 1"#, file]);
    assert!(errors.starts_with("error: ") && errors.contains("`--context span`"), "{errors}");
    let (output, _, errors) = run(&["ottl", "--context", "spn", "true", file]);
    assert_eq!(output.status.code(), Some(64));
    assert!(errors.contains("did you mean `span`? valid: resource, scope, span,"), "{errors}");
}

#[test]
fn a_file_in_place_of_a_command_is_a_file_to_run() {
    let (output, _, errors) = run(&["my.yaml"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(errors.contains("write `skep --config my.yaml`"), "{errors}");
    let (_, _, errors) = run(&["validat"]);
    assert!(!errors.contains("--config validat"), "{errors}");
    let (_, _, errors) = run(&["--control-endpoint", "28687"]);
    assert!(errors.contains("for instance `127.0.0.1:8687`"), "{errors}");
}

#[test]
fn help_fits_into_a_terminal() {
    let mut asked = vec![Vec::new()];
    let mut seen = 0;
    while let Some(command) = asked.pop() {
        seen += 1;
        let words: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let (output, out, _) = run(&words);
        assert!(output.status.success() && !out.is_empty(), "{words:?}");
        let too_long = out.lines().find(|line| line.chars().count() > 80);
        assert_eq!(too_long, None, "{words:?}");
        let rest = out.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
        let commands = rest.lines().take_while(|line| !line.is_empty());
        // Lines with more than two spaces before them go on with the words of the line before.
        let names = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        for name in names.filter(|name| !name.is_empty() && *name != "help") {
            asked.push([&command[..], &[name.to_owned()]].concat());
        }
    }
    assert!(seen >= 20, "{seen} commands, and those of `dlq`");
}

#[test]
fn the_formats_of_a_printed_configuration_are_explained() {
    let (_, out, _) = run(&["print-config", "--help"]);
    for words in ["- yaml: ", "- json: ", "as a configuration file", "one JSON object"] {
        assert!(out.to_lowercase().contains(&words.to_lowercase()), "{out}");
    }
}
