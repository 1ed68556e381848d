//! An AWS of our own for tests, stricter than the stand-ins that there are: signatures are checked,
//! and the limits of `PutTraceSegments`. It shares no code with skep.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use crate::support::{
    signature::{self, Keys},
    stand_in::{self, header},
};

/// The keys that it knows.
pub(crate) const KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// What came, and what is answered.
#[derive(Default)]
pub(crate) struct Aws {
    /// Documents of each request that was taken.
    pub(crate) taken: Vec<Vec<Value>>,
    /// Requests that were refused, and why.
    pub(crate) faults: Vec<String>,
    /// Statuses of the next answers instead of 200.
    pub(crate) refuse: VecDeque<u16>,
    /// Pages of sampling rules; if empty, the sampling API is unknown here.
    pub(crate) rules: Vec<Vec<Value>>,
    /// Sampling calls that were answered: path and body.
    pub(crate) asked: Vec<(String, Value)>,
    /// Session tokens that have ended.
    pub(crate) ended: Vec<String>,
    /// Seconds by which its clock is ahead; if `None`, it does not check the time.
    pub(crate) ahead: Option<i64>,
}

/// Starts it; gives its port.
pub(crate) fn aws_backend() -> (Arc<Mutex<Aws>>, u16) {
    stand_in::start(|aws: &mut Aws, head, body| {
        let (status, answer) = aws.answer(head, body);
        let code = answer["__type"].as_str().map(|code| format!("x-amzn-errortype: {code}\r\n"));
        let date = aws.ahead.map(|ahead| format!("date: {}\r\n", date(ahead)));
        let (code, date) = (code.unwrap_or_default(), date.unwrap_or_default());
        (status, format!("content-type: application/json\r\n{code}{date}"), answer.to_string())
    })
}

impl Aws {
    fn answer(&mut self, head: &str, body: &[u8]) -> (u16, Value) {
        if let Err(fault) = check_signature(head, body) {
            self.faults.push(fault);
            return (403, json!({"message": "The request signature does not match"}));
        }
        let token = header(head, "x-amz-security-token");
        if token.is_some_and(|token| self.ended.iter().any(|ended| ended == token)) {
            return (403, json!({"__type": "ExpiredTokenException", "message": "it has ended"}));
        }
        if self.ahead.is_some_and(|ahead| !is_of_now(head, ahead)) {
            let message = "Signature expired";
            return (403, json!({"__type": "InvalidSignatureException", "message": message}));
        }
        if let Some(status) = self.refuse.pop_front() {
            return (status, json!({"__type": "ThrottledException", "message": "Rate exceeded"}));
        }
        if !self.rules.is_empty() && !head.starts_with("POST /TraceSegments ") {
            return self.sampling(head, body);
        }
        match documents(head, body) {
            Err(fault) => {
                self.faults.push(fault.clone());
                (400, json!({"message": fault}))
            }
            Ok(documents) => {
                let refused: Vec<Value> = documents
                    .iter()
                    .filter(|one| one["name"] == "refused")
                    .map(
                        |one| json!({"Id": one["id"], "ErrorCode": "InvalidName", "Message": "no"}),
                    )
                    .collect();
                self.taken.push(documents);
                (200, json!({"UnprocessedTraceSegments": refused}))
            }
        }
    }
}

fn check_signature(head: &str, body: &[u8]) -> Result<(), String> {
    // Any session but those that have ended, which are looked at elsewhere.
    let token = header(head, "x-amz-security-token").map(str::to_owned);
    let keys = Keys { id: KEY.to_owned(), secret: SECRET.to_owned(), token };
    let (service, region) = signature::check(head, body, &keys)?;
    if (&*service, &*region) != ("xray", "ca-central-1") {
        return Err(format!("signed for {service} in {region}"));
    }
    Ok(())
}

impl Aws {
    /// The three calls about sampling, as strictly as SDKs need them.
    fn sampling(&mut self, head: &str, body: &[u8]) -> (u16, Value) {
        let wrong = |aws: &mut Aws, fault: String| {
            aws.faults.push(fault.clone());
            (400, json!({"__type": "InvalidRequestException", "message": fault}))
        };
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let Ok(body @ Value::Object(_)) = serde_json::from_slice::<Value>(body) else {
            return wrong(self, format!("{path}: not an object"));
        };
        self.asked.push((path.clone(), body.clone()));
        match (&*path, head.starts_with("POST ")) {
            ("/GetSamplingRules", true) => {
                let page = match body.get("NextToken").and_then(Value::as_str) {
                    None => 0,
                    Some(token) => token.parse().unwrap_or(usize::MAX),
                };
                let Some(rules) = self.rules.get(page) else {
                    return wrong(self, format!("no page {page}"));
                };
                let next = (page + 1 < self.rules.len()).then(|| (page + 1).to_string());
                let record = |rule: &Value| json!({"SamplingRule": rule, "CreatedAt": 1.5e9, "ModifiedAt": 1.5e9});
                let records: Vec<Value> = rules.iter().map(record).collect();
                (200, json!({"SamplingRuleRecords": records, "NextToken": next}))
            }
            ("/SamplingTargets", true) => {
                let Some(all) = body["SamplingStatisticsDocuments"].as_array() else {
                    return wrong(self, "no statistics".to_owned());
                };
                let mut targets = Vec::new();
                for one in all {
                    let client = one["ClientID"].as_str().unwrap_or_default();
                    let counts = ["RequestCount", "SampledCount", "BorrowCount", "Timestamp"];
                    if all.len() > 25
                        || client.len() != 24
                        || counts.iter().any(|count| !one[count].is_number())
                    {
                        return wrong(self, format!("not a report: {one}"));
                    }
                    targets.push(json!({
                        "RuleName": one["RuleName"], "FixedRate": 1.0, "ReservoirQuota": 7,
                        "ReservoirQuotaTTL": seconds() + 60, "Interval": 10,
                    }));
                }
                let answer = json!({"SamplingTargetDocuments": targets,
                    "LastRuleModification": 1.5e9, "UnprocessedStatistics": []});
                (200, answer)
            }
            ("/SamplingStatisticSummaries", true) => {
                (200, json!({"SamplingStatisticSummaries": [], "NextToken": null}))
            }
            _ => (404, json!({"__type": "UnknownOperationException", "message": path})),
        }
    }
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// A time so many seconds from now, as HTTP has it.
fn date(ahead: i64) -> String {
    let now = u64::try_from(seconds() + ahead).unwrap();
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(now))
}

/// Whether a request was signed within five minutes of the clock here.
fn is_of_now(head: &str, ahead: i64) -> bool {
    let signed = header(head, "x-amz-date").unwrap();
    (-300..=300).any(|by| {
        let date = date(ahead + by);
        let fields: Vec<&str> = date.split([' ', ':']).collect();
        let [_, day, month, year, hour, minute, second, _] = fields[..] else { return false };
        let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let month = months.find(month).unwrap() / 3 + 1;
        signed == format!("{year}{month:02}{day}T{hour}{minute}{second}Z")
    })
}

/// Documents, each within the limits of the API.
fn documents(head: &str, body: &[u8]) -> Result<Vec<Value>, String> {
    if !head.starts_with("POST /TraceSegments ") {
        return Err(format!("no such operation: {}", head.lines().next().unwrap_or_default()));
    }
    let request: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let all = request["TraceSegmentDocuments"].as_array().ok_or("no documents")?;
    if all.is_empty() || all.len() > 50 {
        return Err(format!("{} documents", all.len()));
    }
    all.iter()
        .map(|text| {
            let text = text.as_str().ok_or("a document is no text")?;
            let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
            let is_hex =
                |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
            let id = document["id"].as_str().filter(|id| id.len() == 16 && is_hex(id));
            let trace =
                document["trace_id"].as_str().filter(|id| id.len() == 35 && id.starts_with("1-"));
            let name =
                document["name"].as_str().filter(|name| (1..=200).contains(&name.chars().count()));
            let is_whole = id.is_some() && trace.is_some() && name.is_some();
            if !is_whole || text.len() > 65_536 || document["start_time"].as_f64().is_none() {
                return Err(format!("not a segment: {text}"));
            }
            Ok(document)
        })
        .collect()
}
