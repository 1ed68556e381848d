use super::*;
use crate::document;

fn settings(flags: &[&str], file: &str) -> Result<Settings, String> {
    let mut problems = Problems::default();
    let file = File::read(file, &mut problems).unwrap_or_default();
    if let Some(problem) = problems.0.first() {
        return Err(problem.message.clone());
    }
    let words = flags.iter().map(OsString::from);
    let words = std::iter::once(OsString::from("xray")).chain(flags::normalized(words));
    Settings::of(&Flags::try_parse_from(words).map_err(|error| error.to_string())?, file)
}

/// As the daemon's package has it.
const SHIPPED: &str = "# Maximum buffer size in MB
TotalBufferSizeMB: 0
Concurrency: 8
Region: \"\"
Endpoint: \"\"
Socket:
  UDPAddress: \"127.0.0.1:2000\"
  TCPAddress: \"127.0.0.1:2000\"
Logging:
  LogRotation: true
  LogLevel: prod
  LogPath: \"\"
LocalMode: false
ResourceARN: \"\"
RoleARN: \"\"
NoVerifySSL: false
ProxyAddress: \"\"
Version: 2
";

#[test]
fn the_file_of_the_daemon_is_read_and_flags_win() {
    let found = settings(&[], SHIPPED).unwrap();
    let expected = Settings {
        bind: "127.0.0.1:2000".to_owned(),
        bind_tcp: "127.0.0.1:2000".to_owned(),
        concurrency: 8,
        level: "info",
        ..Settings::default()
    };
    assert_eq!(found, expected);
    let flags = [
        "-b",
        "0.0.0.0:3000",
        "-n",
        "eu-west-1",
        "-o",
        "-m",
        "16",
        "-l",
        "DEV",
        "-f",
        "/tmp/x.log",
    ];
    let found = settings(&flags, SHIPPED).unwrap();
    assert_eq!(
        found,
        Settings {
            bind: "0.0.0.0:3000".to_owned(),
            region: "eu-west-1".to_owned(),
            local_mode: true,
            buffer: 16,
            level: "debug",
            log_file: Some(LogFile { path: "/tmp/x.log".to_owned(), rotates: true }),
            ..expected
        }
    );
    let found = settings(&["-o=false"], "LocalMode: true\nRegion: us-east-1\n").unwrap();
    assert_eq!((found.local_mode, &*found.region), (false, "us-east-1"));
    let found = settings(&["-p", "http://flag:1"], "ProxyAddress: http://file:1").unwrap();
    assert_eq!(found.proxy_address, "http://flag:1");
    let found = settings(&[], "ProxyAddress: http://file:1").unwrap();
    assert_eq!(found.proxy_address, "http://file:1");
}

#[test]
fn what_cannot_be_done_is_refused() {
    for (flags, file, words) in [
        (&["-m", "2"][..], "", "at least 3"),
        (&["-b", "localhost"], "", "has no port"),
        (&["-l", "loud"], "", "possible values"),
        (&["--no-such-flag"], "", "--no-such-flag"),
        (&[], "Regoin: eu-west-1", "unknown key `Regoin`"),
        (&[], "Version: 3", "versions 1 and 2"),
        (&[], "NoVerifySSL: true", "always checked"),
        (&[], "TotalBufferSizeMB: 1", "too small"),
        (&[], "Socket: {UDPAddress: here}", "has no port"),
        (&[], "Logging: {LogLevel: loud}", "unknown level"),
        (&[], "Region: [", ""),
    ] {
        let said = settings(flags, file).unwrap_err();
        assert!(said.contains(words), "{flags:?} {file}: {said}");
    }
}

/// Whatever is set, the document is one that runs, and the value is what was given.
#[test]
fn the_template_takes_every_setting() {
    let all = Settings {
        bind: "0.0.0.0:2001".to_owned(),
        bind_tcp: "0.0.0.0:2002".to_owned(),
        region: "a\"b${HOME}: {c}".to_owned(),
        role_arn: "arn:aws:iam::111122223333:role/x".to_owned(),
        resource_arn: "arn:aws:ec2:x".to_owned(),
        endpoint: "http://127.0.0.1:1".to_owned(),
        proxy_address: "http://ann:pa55@proxy:3128".to_owned(),
        local_mode: true,
        buffer: 16,
        concurrency: 3,
        level: "warn",
        log_file: None,
    };
    let none = Settings { level: "info", ..Settings::default() };
    for (settings, in_container) in [(&all, false), (&all, true), (&none, false), (&none, true)] {
        let mut problems = Problems::default();
        let uris = [format!("yaml:{TEMPLATE}")];
        let env = |_: &str| panic!("nothing is replaced");
        let loaded =
            source::load(&uris, &settings.sets(in_container, in_container), &env, &mut problems);
        let root = loaded.root.unwrap();
        let document = document::load(&root, &mut problems);
        assert_eq!(problems, Problems::default());
        assert_eq!(document.enabled_extensions.len(), usize::from(in_container));
        let text = |path: &str| match &root.at(path).value {
            crate::config::Value::String(text) => text.clone(),
            other => panic!("{path}: {other:?}"),
        };
        let host = if in_container { "0.0.0.0" } else { "127.0.0.1" };
        if *settings == all {
            assert_eq!(text("exporters::awsxray::region"), all.region);
            assert_eq!(text("receivers::awsxray::proxy_server::endpoint"), "0.0.0.0:2002");
            assert_eq!(text("exporters::awsxray::proxy_address"), all.proxy_address);
            assert_eq!(text("receivers::awsxray::proxy_server::proxy_address"), all.proxy_address);
        } else {
            assert_eq!(text("receivers::awsxray::endpoint"), format!("{host}:2000"));
        }
    }
}
