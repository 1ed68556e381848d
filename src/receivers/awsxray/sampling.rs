//! Serves sampling rules without an AWS account, and shares their reservoirs among clients.
//!
//! An SDK asks for the rules every five minutes. Every ten seconds it reports its decisions and
//! asks for its share of each rule's reservoir: how many requests a second it may always sample.
//! The shares in use never add up to more than the reservoir. A new client gets the rest, and its
//! fair share once the others have asked again.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    settings::{DEFAULT, ProxyServer, Rule},
    stats::RuleStats,
};

use crate::sync;

/// When a client should ask again. SDKs do so by default.
const INTERVAL: Duration = Duration::from_secs(10);

/// How long a share is valid: half an interval longer, for clients that are late.
const SHARE: Duration = Duration::from_secs(15);

/// Most clients of a rule that get a share; others use only the rate.
const CLIENTS: usize = 1024;

/// The rules of a receiver and their clients.
#[derive(Debug)]
pub(super) struct Sampling {
    rules: Vec<Rule>,
    since: SystemTime,
    /// Counters of the rules, in the same order; empty if they are not counted.
    stats: Vec<RuleStats>,
    /// By rule, in the order of `rules`.
    shares: Mutex<Vec<HashMap<String, Share>>>,
}

/// A client's share of a reservoir.
#[derive(Debug, Clone, Copy)]
struct Share {
    quota: u32,
    until: SystemTime,
}

/// The configured rules, the most important first, with the default rule.
pub(super) fn rules(proxy: &ProxyServer) -> Result<Vec<Rule>, String> {
    let mut rules = proxy.rules.clone();
    if let Some(path) = &proxy.rules_file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("`rules_file` {path} cannot be read: {error}"))?;
        let read = from_json(&text);
        rules.extend(read.map_err(|text| format!("`rules_file` {path}: {text}"))?);
    }
    let mut names = HashSet::new();
    for rule in &mut rules {
        if rule.rule_name == DEFAULT {
            *rule = Rule {
                fixed_rate: rule.fixed_rate,
                reservoir_size: rule.reservoir_size,
                ..Rule::last()
            };
        }
        if !names.insert(rule.rule_name.clone()) {
            return Err(format!("there are two sampling rules `{}`", rule.rule_name));
        }
    }
    if !names.contains(DEFAULT) {
        rules.push(Rule::last());
    }
    rules.sort_by(|a, b| (a.priority, &a.rule_name).cmp(&(b.priority, &b.rule_name)));
    Ok(rules)
}

/// Rules of AWS in the form in which they are served again; invalid ones are left out.
pub(super) fn of_records(records: &[Value]) -> Vec<Rule> {
    let read = |record: &Value| Record::deserialize(record).ok();
    records.iter().filter_map(read).map(|record| record.rule.into()).collect()
}

impl Sampling {
    /// `stats` has the counters of these rules.
    pub(super) fn new(rules: Vec<Rule>, stats: Vec<RuleStats>, now: SystemTime) -> Self {
        let shares = Mutex::new(rules.iter().map(|_| HashMap::new()).collect());
        Sampling { rules, since: now, stats, shares }
    }

    /// The response to `GetSamplingRules`.
    pub(super) fn records(&self) -> Value {
        let since = seconds(self.since);
        let records = self.rules.iter().map(|rule| {
            json!({
                "SamplingRule": {
                    "RuleName": rule.rule_name,
                    "ResourceARN": "*",
                    "Priority": rule.priority,
                    "FixedRate": rule.fixed_rate,
                    "ReservoirSize": rule.reservoir_size,
                    "ServiceName": rule.service_name,
                    "ServiceType": rule.service_type,
                    "Host": rule.host,
                    "HTTPMethod": rule.http_method,
                    "URLPath": rule.url_path,
                    "Version": 1,
                    "Attributes": {},
                },
                "CreatedAt": since,
                "ModifiedAt": since,
            })
        });
        json!({"SamplingRuleRecords": records.collect::<Vec<_>>(), "NextToken": null})
    }

    /// The response to the reports in `GetSamplingTargets`; `None` if they are not valid.
    pub(super) fn targets(&self, body: &[u8], now: SystemTime) -> Option<Value> {
        let asked: Asked = serde_json::from_slice(body).ok()?;
        let mut all = sync::lock(&self.shares);
        let (mut targets, mut unknown) = (Vec::new(), Vec::new());
        for report in asked.reports {
            let known = self.rules.iter().position(|rule| rule.rule_name == report.rule_name);
            let Some(index) = known else {
                unknown.push(json!({
                    "RuleName": report.rule_name,
                    "ErrorCode": "400",
                    "Message": "Unknown rule",
                }));
                continue;
            };
            let rule = &self.rules[index];
            if let Some(stats) = self.stats.get(index) {
                stats.requests.add(report.requests.into());
                stats.sampled.add(report.sampled.into());
                stats.borrowed.add(report.borrowed.into());
            }
            let mut target = json!({
                "RuleName": rule.rule_name,
                "FixedRate": rule.fixed_rate,
                "Interval": INTERVAL.as_secs(),
            });
            if let Some(share) = share(&mut all[index], report.client, rule.reservoir_size, now) {
                target["ReservoirQuota"] = share.quota.into();
                target["ReservoirQuotaTTL"] = seconds(share.until).into();
            }
            targets.push(target);
        }
        Some(json!({
            "SamplingTargetDocuments": targets,
            "LastRuleModification": seconds(self.since),
            "UnprocessedStatistics": unknown,
        }))
    }
}

/// A client's share of a `reservoir`, given the shares of the others.
fn share(
    clients: &mut HashMap<String, Share>,
    client: String,
    reservoir: u32,
    now: SystemTime,
) -> Option<Share> {
    clients.retain(|id, share| share.until > now || *id == client);
    if clients.len() >= CLIENTS && !clients.contains_key(&client) {
        return None;
    }
    clients.remove(&client);
    let given: u32 = clients.values().map(|share| share.quota).sum();
    // If the reservoir cannot be divided evenly, the first few by name get one more.
    let count = u32::try_from(clients.len()).unwrap_or(u32::MAX).saturating_add(1);
    let before = clients.keys().filter(|id| **id < client).count();
    let has_more = u32::try_from(before).is_ok_and(|before| before < reservoir % count);
    let fair = reservoir / count + u32::from(has_more);
    let share = Share { quota: fair.min(reservoir.saturating_sub(given)), until: now + SHARE };
    clients.insert(client, share);
    Some(share)
}

/// Seconds since 1970 to the millisecond, as times are in the API.
fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(0)).as_secs_f64()
}

/// The request of `GetSamplingTargets`.
#[derive(Deserialize)]
struct Asked {
    #[serde(rename = "SamplingStatisticsDocuments", default)]
    reports: Vec<Report>,
}

/// The report of a client on one rule.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    rule_name: String,
    #[serde(rename = "ClientID", default)]
    client: String,
    #[serde(rename = "RequestCount", default)]
    requests: u32,
    #[serde(rename = "SampledCount", default)]
    sampled: u32,
    #[serde(rename = "BorrowCount", default)]
    borrowed: u32,
}

/// A file of rules, in one of its three forms.
#[derive(Deserialize)]
struct File {
    version: Option<u32>,
    #[serde(default)]
    rules: Vec<LocalRule>,
    default: Option<LocalRule>,
    #[serde(rename = "SamplingRuleRecords", default)]
    records: Vec<Record>,
    #[serde(rename = "SamplingRule")]
    rule: Option<ApiRule>,
}

/// A rule in the local form of the SDKs, version 2 (version 1 has `service_name` for `host`).
#[derive(Deserialize)]
struct LocalRule {
    description: Option<String>,
    host: Option<String>,
    service_name: Option<String>,
    http_method: Option<String>,
    url_path: Option<String>,
    fixed_target: u32,
    rate: f64,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "SamplingRule")]
    rule: ApiRule,
}

/// A rule in the form of the API.
#[derive(Deserialize)]
struct ApiRule {
    #[serde(rename = "RuleName")]
    name: String,
    #[serde(rename = "Priority")]
    priority: u32,
    #[serde(rename = "FixedRate")]
    rate: f64,
    #[serde(rename = "ReservoirSize")]
    reservoir: u32,
    #[serde(rename = "Host", default = "any")]
    host: String,
    #[serde(rename = "ServiceName", default = "any")]
    service_name: String,
    #[serde(rename = "ServiceType", default = "any")]
    service_type: String,
    #[serde(rename = "HTTPMethod", default = "any")]
    http_method: String,
    #[serde(rename = "URLPath", default = "any")]
    url_path: String,
}

impl From<ApiRule> for Rule {
    fn from(rule: ApiRule) -> Self {
        Rule {
            rule_name: rule.name,
            priority: rule.priority,
            fixed_rate: rule.rate,
            reservoir_size: rule.reservoir,
            host: rule.host,
            service_name: rule.service_name,
            service_type: rule.service_type,
            http_method: rule.http_method,
            url_path: rule.url_path,
        }
    }
}

fn any() -> String {
    "*".to_owned()
}

/// The rules of a file.
fn from_json(text: &str) -> Result<Vec<Rule>, String> {
    let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut rules = Vec::new();
    for (rule, index) in file.rules.into_iter().zip(1..) {
        rules.push(local(rule, index));
    }
    if let Some(last) = file.default {
        rules.push(Rule { rule_name: DEFAULT.to_owned(), ..local(last, 0) });
    }
    for rule in file.records.into_iter().map(|record| record.rule).chain(file.rule) {
        rules.push(rule.into());
    }
    if rules.is_empty() && file.version.is_none() {
        return Err(
            "there is neither `version` nor `SamplingRuleRecords` nor `SamplingRule`; give \
                    local rules of an SDK, or what GetSamplingRules answers"
                .to_owned(),
        );
    }
    for rule in &rules {
        if let Some((_, problem)) = rule.problems().first() {
            return Err(format!("rule `{}`: {problem}", rule.rule_name));
        }
    }
    Ok(rules)
}

/// Local rules have no names; their order is their priority.
fn local(rule: LocalRule, index: u32) -> Rule {
    let short = |text: String| text.chars().take(24).collect::<String>();
    let name = rule.description.map_or_else(|| "local".to_owned(), short);
    Rule {
        rule_name: format!("{name} {index}"),
        priority: index.max(1),
        fixed_rate: rule.rate,
        reservoir_size: rule.fixed_target,
        host: rule.host.or(rule.service_name).unwrap_or_else(any),
        http_method: rule.http_method.unwrap_or_else(any),
        url_path: rule.url_path.unwrap_or_else(any),
        ..Rule::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, priority: u32, reservoir_size: u32) -> Rule {
        Rule { rule_name: name.to_owned(), priority, reservoir_size, ..Rule::default() }
    }

    fn sampling(given: Vec<Rule>, now: SystemTime) -> Sampling {
        let rules = rules(&ProxyServer { rules: given, ..ProxyServer::default() }).unwrap();
        let stats = vec![RuleStats::default(); rules.len()];
        Sampling::new(rules, stats, now)
    }

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_760_600_498_250 + millis)
    }

    fn ask(sampling: &Sampling, rule: &str, client: &str, millis: u64) -> Value {
        let body = json!({"SamplingStatisticsDocuments": [{
            "RuleName": rule, "ClientID": client, "RequestCount": 7, "BorrowCount": 1,
            "SampledCount": 2, "Timestamp": 1_760_600_498,
        }]});
        sampling.targets(body.to_string().as_bytes(), at(millis)).unwrap()
    }

    fn quota(sampling: &Sampling, client: &str, millis: u64) -> u64 {
        let answer = ask(sampling, "a", client, millis);
        answer["SamplingTargetDocuments"][0]["ReservoirQuota"].as_u64().unwrap()
    }

    /// S05: the order of the records is that of the decisions.
    #[test]
    fn rules_come_by_priority_and_name_and_the_default_last() {
        let sampling = sampling(vec![rule("A", 10, 1), rule("b", 5, 1), rule("a", 5, 1)], at(0));
        let records = sampling.records();
        let records = records["SamplingRuleRecords"].as_array().unwrap();
        let names: Vec<_> =
            records.iter().map(|one| one["SamplingRule"]["RuleName"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b", "A", "Default"]);
        assert_eq!(records[3]["SamplingRule"]["Priority"], 10_000);
        assert_eq!(records[3]["SamplingRule"]["FixedRate"], 0.05);
        assert_eq!(records[0]["CreatedAt"], 1_760_600_498.25);
    }

    #[test]
    fn a_report_is_answered_with_a_target() {
        let sampling = sampling(vec![rule("a", 5, 8)], at(0));
        let answer = ask(&sampling, "a", "c1", 500);
        assert_eq!(
            answer,
            json!({
                "SamplingTargetDocuments": [{
                    "RuleName": "a", "FixedRate": 0.05, "Interval": 10, "ReservoirQuota": 8,
                    "ReservoirQuotaTTL": 1_760_600_513.75,
                }],
                "LastRuleModification": 1_760_600_498.25,
                "UnprocessedStatistics": [],
            })
        );
        let stats = &sampling.stats[0];
        let counts =
            [&stats.requests, &stats.sampled, &stats.borrowed].map(crate::telemetry::Counter::read);
        assert_eq!(counts, [7, 2, 1]);
        let answer = ask(&sampling, "other", "c1", 500);
        assert_eq!(answer["SamplingTargetDocuments"], json!([]));
        assert_eq!(answer["UnprocessedStatistics"][0]["RuleName"], "other");
        assert!(sampling.targets(b"[", at(0)).is_none());
    }

    #[test]
    fn a_reservoir_is_shared_and_never_exceeded() {
        let sampling = sampling(vec![rule("a", 5, 5)], at(0));
        assert_eq!(quota(&sampling, "c1", 0), 5, "alone");
        assert_eq!(quota(&sampling, "c2", 1000), 0, "the first has all of it");
        assert_eq!(quota(&sampling, "c1", 10_000), 3);
        assert_eq!(quota(&sampling, "c2", 11_000), 2);
        assert_eq!(quota(&sampling, "c3", 12_000), 0);
        assert_eq!(quota(&sampling, "c1", 20_000), 2);
        assert_eq!(quota(&sampling, "c2", 21_000), 2);
        assert_eq!(quota(&sampling, "c3", 22_000), 1);
        // Who does not ask any more has no share after a while.
        assert_eq!(quota(&sampling, "c1", 40_000), 5);
    }

    #[test]
    fn many_clients_do_not_take_memory_without_end() {
        let sampling = sampling(vec![rule("a", 5, 5)], at(0));
        for client in 0..2000 {
            ask(&sampling, "a", &client.to_string(), client);
        }
        assert_eq!(sampling.shares.lock().unwrap()[0].len(), CLIENTS);
    }

    #[test]
    fn rules_of_a_file_join_those_of_the_configuration() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = r#"{"version": 2, "default": {"fixed_target": 2, "rate": 0.5}}"#;
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let mut proxy = ProxyServer {
            rules: vec![rule("a", 5, 1)],
            rules_file: Some(path),
            ..ProxyServer::default()
        };
        let found = rules(&proxy).unwrap();
        let last = Rule { reservoir_size: 2, fixed_rate: 0.5, ..Rule::last() };
        assert_eq!(found, [rule("a", 5, 1), last]);
        proxy.rules.push(rule(DEFAULT, 1, 1));
        assert!(rules(&proxy).unwrap_err().contains("two sampling rules `Default`"));
        proxy.rules_file = Some("/nowhere/rules.json".to_owned());
        assert!(rules(&proxy).unwrap_err().contains("/nowhere/rules.json cannot be read"));
    }

    #[test]
    fn files_of_rules_have_three_forms() {
        let local = r#"{"version": 2, "rules": [{"description": "Player moves.", "host": "*", "http_method": "*", "url_path": "/api/move/*", "fixed_target": 0, "rate": 0.05}], "default": {"fixed_target": 2, "rate": 0.1}}"#;
        let found = from_json(local).unwrap();
        let names: Vec<_> = found.iter().map(|rule| rule.rule_name.as_str()).collect();
        assert_eq!(names, ["Player moves. 1", "Default"]);
        assert_eq!((&*found[0].url_path, found[0].reservoir_size), ("/api/move/*", 0));
        let record = r#"{"SamplingRule": {"RuleName": "Cruddur", "ResourceARN": "*", "Priority": 9000, "FixedRate": 0.1, "ReservoirSize": 5, "ServiceName": "Cruddur", "ServiceType": "*", "Host": "*", "HTTPMethod": "*", "URLPath": "*", "Version": 1}}"#;
        let found = from_json(record).unwrap();
        assert_eq!((&*found[0].rule_name, &*found[0].service_name), ("Cruddur", "Cruddur"));
        let records = format!("{{\"SamplingRuleRecords\": [{record}]}}");
        assert_eq!(from_json(&records).unwrap(), found);
        for wrong in ["", "{}", "[]", r#"{"version":2,"rules":[{"fixed_target":1,"rate":7}]}"#] {
            assert!(from_json(wrong).is_err(), "{wrong}");
        }
    }
}
