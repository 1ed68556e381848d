//! AWS's OTLP endpoints and its STS for tests, on one port: signatures over the body as it came,
//! the clock, sessions that end, the headers of logs. It shares no code with skep.

use std::{
    io::Read as _,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use crate::support::{
    signature::{self, Keys},
    stand_in::{self, header},
};

/// The keys of the user.
pub(crate) const KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
pub(crate) const ROLE: &str = "arn:aws:iam::111122223333:role/writer";

/// What came, and how it answers.
#[derive(Default)]
pub(crate) struct Aws {
    /// Path, access key and plain body of each request that was taken.
    pub(crate) taken: Vec<(String, String, Vec<u8>)>,
    /// Requests that were refused, and why.
    pub(crate) faults: Vec<String>,
    /// Requests of STS: the form.
    pub(crate) asked: Vec<String>,
    /// Sessions up to this one have ended.
    pub(crate) ended: usize,
    /// Seconds that its clock is ahead.
    pub(crate) ahead: i64,
}

/// Starts it; gives its port.
pub(crate) fn aws_otlp_backend() -> (Arc<Mutex<Aws>>, u16) {
    stand_in::start(|aws: &mut Aws, head, body| {
        let (status, kind, answer) = aws.answer(head, body);
        let date = httpdate::fmt_http_date(aws.now());
        let kind =
            if kind.is_empty() { String::new() } else { format!("x-amzn-ErrorType: {kind}\r\n") };
        (status, format!("date: {date}\r\n{kind}"), answer)
    })
}

type Answer = (u16, &'static str, String);

impl Aws {
    fn now(&self) -> SystemTime {
        let by = Duration::from_secs(self.ahead.unsigned_abs());
        if self.ahead < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
    }

    fn answer(&mut self, head: &str, body: &[u8]) -> Answer {
        let said = if head.starts_with("POST / HTTP/1.1\r\n") {
            self.session(head, body)
        } else {
            self.export(head, body)
        };
        said.unwrap_or_else(|(status, kind, fault)| {
            self.faults.push(fault.clone());
            (status, kind, format!("{{\"message\":{fault:?}}}"))
        })
    }

    /// The keys of a user or of a session, by what the request says.
    fn keys(&self, head: &str) -> Result<Keys, Answer> {
        let said = header(head, "authorization").unwrap_or_default();
        let id = said.split_once("Credential=").map_or("", |(_, rest)| rest);
        let id = id.split('/').next().unwrap_or_default();
        if id == KEY {
            return Ok(Keys { id: KEY.to_owned(), secret: SECRET.to_owned(), token: None });
        }
        let number = id.strip_prefix("ASIA").and_then(|number| number.parse::<usize>().ok());
        let unknown = (403, "UnrecognizedClientException", format!("unknown key `{id}`"));
        let number = number.ok_or(unknown)?;
        if number <= self.ended {
            let words = "The security token included in the request is expired".to_owned();
            return Err((403, "ExpiredTokenException", words));
        }
        Ok(Keys {
            id: id.to_owned(),
            secret: format!("secret{number}"),
            token: Some(format!("token{number}")),
        })
    }

    /// Checks the clock and the signature; gives the service.
    fn check(&self, head: &str, body: &[u8]) -> Result<(String, Keys), Answer> {
        let keys = self.keys(head)?;
        let wrong = |fault: String| (403, "InvalidSignatureException", fault);
        let (service, region) = signature::check(head, body, &keys).map_err(wrong)?;
        if region != "ca-central-1" {
            return Err(wrong(format!("signed for {region}")));
        }
        let own = basic_time(self.now());
        let theirs = header(head, "x-amz-date").unwrap_or_default().to_owned();
        // Both to the minute; AWS allows five.
        let minutes = |time: &str| {
            let digits: String = time.chars().filter(char::is_ascii_digit).collect();
            let number = |range| digits.get(range).and_then(|text: &str| text.parse::<i64>().ok());
            Some(number(6..8)? * 1440 + number(8..10)? * 60 + number(10..12)?)
        };
        let is_near = minutes(&own).zip(minutes(&theirs)).is_some_and(|(a, b)| (a - b).abs() <= 5);
        if !is_near {
            return Err(wrong(format!("Signature expired: {theirs} is far from {own}")));
        }
        Ok((service, keys))
    }

    fn export(&mut self, head: &str, body: &[u8]) -> Result<Answer, Answer> {
        let (service, keys) = self.check(head, body)?;
        let path = head.split(' ').nth(1).unwrap_or_default();
        let wrong = |fault: &str| Err((400, "ValidationException", fault.to_owned()));
        if !head.starts_with("POST ")
            || header(head, "content-type") != Some("application/x-protobuf")
        {
            return wrong("not OTLP");
        }
        let expected = match path {
            "/v1/traces" => "xray",
            "/v1/logs" => "logs",
            "/v1/metrics" => "monitoring",
            _ => return wrong("no such path"),
        };
        if service != expected {
            let fault = format!("Credential should be scoped to correct service: '{expected}'");
            return Err((403, "InvalidSignatureException", fault));
        }
        let is_named = ["x-aws-log-group", "x-aws-log-stream"].map(|name| header(head, name));
        if path == "/v1/logs" && is_named != [Some("app"), Some("web")] {
            return wrong("no log stream");
        }
        let mut plain = Vec::new();
        if header(head, "content-encoding") == Some("gzip") {
            flate2::read::MultiGzDecoder::new(body).read_to_end(&mut plain).unwrap();
        } else {
            plain.extend_from_slice(body);
        }
        self.taken.push((path.to_owned(), keys.id, plain));
        Ok((200, "", String::new()))
    }

    fn session(&mut self, head: &str, body: &[u8]) -> Result<Answer, Answer> {
        let form = String::from_utf8_lossy(body).into_owned();
        let has = |pair: &str| form.split('&').any(|own| own == pair);
        let role = ROLE.replace(':', "%3A").replace('/', "%2F");
        let wrong = |fault: &str| Err((400, "ValidationError", format!("{fault}: {form}")));
        if !has(&format!("RoleArn={role}")) {
            return wrong("another role");
        }
        let action = if has("Action=AssumeRole") {
            let (service, _) = self.check(head, body)?;
            if service != "sts" || !has("ExternalId=word") || !has("RoleSessionName=test") {
                return wrong("another session");
            }
            "AssumeRole"
        } else if has("Action=AssumeRoleWithWebIdentity") && has("WebIdentityToken=identity") {
            "AssumeRoleWithWebIdentity"
        } else {
            return wrong("no such action");
        };
        self.asked.push(form);
        let number = self.asked.len();
        let answer = format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
             <Credentials><AccessKeyId>ASIA{number}</AccessKeyId>\
             <SecretAccessKey>secret{number}</SecretAccessKey>\
             <SessionToken>token{number}</SessionToken>\
             <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser>\
             <Arn>arn:aws:sts::111122223333:assumed-role/writer/test</Arn>\
             <AssumedRoleId>AROA:test</AssumedRoleId></AssumedRoleUser>\
             </{action}Result></{action}Response>"
        );
        Ok((200, "", answer))
    }
}

/// `20150830T123600Z`, by the date of HTTP.
fn basic_time(time: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = httpdate::fmt_http_date(time);
    let parts: Vec<&str> = text.split(' ').collect();
    let month = MONTHS.iter().position(|name| *name == parts[2]).unwrap() + 1;
    format!("{}{month:02}{}T{}Z", parts[3], parts[1], parts[4].replace(':', ""))
}
