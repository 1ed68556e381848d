//! URLs of signals, and connections that wait.

use super::*;

#[test]
fn the_path_of_the_signal_is_appended_to_the_base_only() {
    let config = Config {
        endpoint: "https://a/otlp/".to_owned(),
        logs_endpoint: "https://b/custom".to_owned(),
        ..Config::default()
    };
    assert_eq!(config.url(Signal::Traces), "https://a/otlp/v1/traces");
    assert_eq!(with_path("https://a/b/?key=c/d", "/v1/logs"), "https://a/b/v1/logs?key=c/d");
    assert_eq!(config.url(Signal::Logs), "https://b/custom");
}

#[test]
fn keepalive_replaces_the_older_keys() {
    let read = |settings: &str| {
        let body = format!("{{endpoint: 'https://a', {settings}}}");
        let node = crate::config::yaml::parse(0, &body).unwrap();
        let mut problems = Problems::default();
        let config = crate::config::decode::<Config>(&node, &mut problems).unwrap();
        config.validate(&node, &mut problems);
        let Tuning { max_idle, idle_timeout, .. } = config.tuning();
        let messages = problems.0.into_iter().map(|problem| problem.message);
        (max_idle, idle_timeout.map(|time| time.as_secs()), messages.collect::<Vec<_>>())
    };
    let none = Vec::new;
    assert_eq!(read(""), (100, Some(90), none()));
    assert_eq!(read("keepalive: {idle_conn_timeout: 9s}"), (100, Some(9), none()));
    let all = "keepalive: {max_idle_conns: 5, max_idle_conns_per_host: 3, idle_conn_timeout: 0}";
    assert_eq!(read(all), (3, None, none()));
    assert_eq!(read("keepalive: {enabled: false}"), (0, Some(90), none()));
    assert_eq!(read("max_idle_conns: 7"), (7, Some(90), none()));
    let (.., problems) = read("keepalive: {}, disable_keep_alives: true");
    assert_eq!(problems, ["`disable_keep_alives` and `keepalive` cannot be used together"]);
}
