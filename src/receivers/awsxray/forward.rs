//! Calls to AWS, signed as Signature Version 4 with the credentials of skep.
//!
//! Region and credentials are looked up in the background: neither the start nor a datagram waits
//! for them. Until they are found, each call gets an error at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use tokio::sync::{Notify, watch};

use super::{
    answer::{Answer, Failure},
    settings::{ProxyServer, ProxyTls},
};
use crate::net::{
    aws::{Access, Found, Role, Signer},
    aws_host::endpoint_url,
    client::{Client, Segments, Target, Tuning},
    proxy::{self, Destination},
    rate_limit::RateLimit,
    tls::{ClientTls, Connector},
};

/// Whether calls to AWS are compiled in.
pub(super) const IS_BUILT_IN: bool = true;

/// Longest time for one call with its credentials; SDKs give up after 60 s at the earliest.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the first calls wait for the lookup.
const FIRST: Duration = Duration::from_secs(3);
/// Credentials that were not found are not looked up again before this time.
const AGAIN: Duration = Duration::from_secs(10);
/// Largest response. A rule has 400 bytes.
const ANSWER_LIMIT: usize = 4 << 20;
/// A clock that differs by less cannot be the reason for a refusal; AWS allows five minutes.
const SKEW: i64 = 60;

/// Calls to AWS.
pub(super) struct Forward {
    receiver: String,
    access: Access,
    service: String,
    tls: ProxyTls,
    state: watch::Sender<State>,
    wanted: Notify,
    limit: RateLimit,
}

/// What has been found out about AWS.
enum State {
    Looking,
    Ready(Arc<Open>),
    Missing(Arc<str>),
}

/// Everything that a call to AWS needs.
struct Open {
    signer: Signer,
    client: Client,
    base: String,
    host: HeaderValue,
    /// Seconds by which the clock of AWS is ahead.
    ahead: AtomicI64,
}

/// Checks a URL. The error says what is wrong with it.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    Place::parse(url).map(drop)
}

/// The parts of a base URL.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    has_tls: bool,
    host: String,
    port: u16,
    authority: String,
    base: String,
}

impl Place {
    fn parse(url: &str) -> Result<Self, String> {
        if url.contains('@') {
            return Err("do not put user and password into the URL".to_owned());
        }
        let no_url = || format!("`{url}` is not a URL");
        let uri: Uri = url.parse().map_err(|_| no_url())?;
        let (has_tls, port) = match uri.scheme_str() {
            Some("https") => (true, 443),
            Some("http") => (false, 80),
            _ => return Err(no_url()),
        };
        let authority = uri.authority().ok_or_else(no_url)?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let is_whole = authority.port_u16().is_some() || authority.as_str() == authority.host();
        if host.is_empty() || !is_whole || uri.query().is_some() {
            return Err(no_url());
        }
        Ok(Place {
            has_tls,
            host,
            port: authority.port_u16().unwrap_or(port),
            authority: authority.to_string(),
            base: url.trim_end_matches('/').to_owned(),
        })
    }
}

/// The URL of a service in a region; partitions have domains of their own.
fn url(service: &str, region: &str) -> String {
    let domain = match region {
        _ if region.starts_with("cn-") => "amazonaws.com.cn",
        _ if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ => "amazonaws.com",
    };
    format!("https://{service}.{region}.{domain}")
}

impl Forward {
    /// Calls for the receiver of this id. Nothing is looked up yet.
    pub(super) fn new(settings: &ProxyServer, receiver: &str) -> Self {
        let text = |given: &Option<String>| given.clone().unwrap_or_default();
        let role = Some(text(&settings.role_arn)).filter(|arn| !arn.is_empty());
        let service = Some(text(&settings.service_name)).filter(|name| !name.is_empty());
        Forward {
            receiver: receiver.to_owned(),
            access: Access {
                region: text(&settings.region),
                endpoint: endpoint_url(&text(&settings.aws_endpoint)).into_owned(),
                role: role.map(|arn| Role { arn, ..Role::default() }),
                proxy: settings.proxy_address.expose().to_owned(),
                skips_instance: settings.local_mode,
                ..Access::default()
            },
            service: service.unwrap_or_else(|| "xray".to_owned()),
            tls: settings.tls.clone().unwrap_or_default(),
            state: watch::Sender::new(State::Looking),
            wanted: Notify::new(),
            limit: RateLimit::default(),
        }
    }

    /// Looks up region and credentials until they are found or `stop` is raised; after the first
    /// time only when a call needs them.
    pub(super) async fn prepare(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let looking = async {
            loop {
                match self.open().await {
                    Ok(open) => {
                        self.state.send_replace(State::Ready(Arc::new(open)));
                        return;
                    }
                    Err(error) => {
                        if self.limit.is_due() {
                            tracing::warn!(
                                receiver = self.receiver,
                                %error,
                                "AWS is not set up, so it is not asked for sampling rules"
                            );
                        }
                        self.state.send_replace(State::Missing(error.into()));
                    }
                }
                tokio::time::sleep(AGAIN).await;
                self.wanted.notified().await;
            }
        };
        tokio::select! {
            () = looking => {}
            _ = stop.wait_for(|raised| *raised) => {}
        }
    }

    async fn open(&self) -> Result<Open, String> {
        let found = self.access.find().await?;
        tracing::info!(receiver = self.receiver, "Using region: {}", found.region);
        let base = self.url(&found);
        let (region, region_source) = (found.region.clone(), found.region_source);
        let credentials = found.credentials().await;
        let (_, source) = credentials
            .map_err(|error| format!("region {region} (from {region_source}): {error}"))?;
        let place = Place::parse(&base)?;
        tracing::info!(
            receiver = self.receiver,
            region,
            region_from = region_source,
            credentials_from = source,
            role = self.access.role.as_ref().map(|role| role.arn.as_str()),
            endpoint = place.base,
            proxy = self.access.proxy_of(place.has_tls, &place.host, place.port),
            "AWS is set up"
        );
        let settings =
            ClientTls { insecure_skip_verify: self.tls.insecure, ..ClientTls::default() };
        let Place { has_tls, ref host, port, .. } = place;
        let destination = Destination { is_https: has_tls, host, port };
        let way = proxy::way(destination, ("proxy_address", &self.access.proxy), &settings)?;
        let tls = place.has_tls.then(|| Connector::new(settings, &[b"http/1.1"])).transpose()?;
        let target = Target {
            host: place.host,
            port: place.port,
            way,
            tls,
            server_name: self.tls.server_name_override.clone(),
            http2_only: false,
            tuning: Tuning { idle_timeout: Some(Duration::from_secs(30)), ..Tuning::default() },
        };
        Ok(Open {
            signer: found.signer(&self.service),
            client: Client::new(target, 1).keeping(ANSWER_LIMIT),
            base: place.base,
            host: HeaderValue::try_from(place.authority).map_err(|error| error.to_string())?,
            ahead: AtomicI64::new(0),
        })
    }

    /// The URL from the configuration, else from the environment, the profile, or the region.
    fn url(&self, found: &Found) -> String {
        let is_ignored = std::env::var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            .is_ok_and(|text| text.eq_ignore_ascii_case("true"));
        let own = Some(&self.access.endpoint).filter(|url| !url.is_empty()).cloned();
        let of_xray = || {
            let is_asked = !is_ignored && self.service == "xray";
            let given = is_asked.then(|| std::env::var("AWS_ENDPOINT_URL_XRAY").ok()).flatten();
            given.filter(|url| !url.is_empty())
        };
        own.or_else(of_xray)
            .or_else(|| found.config.endpoint_url().map(str::to_owned))
            .unwrap_or_else(|| url(&self.service, &found.region))
    }

    /// Returns what a call needs, or why it is missing.
    async fn ready(&self) -> Result<Arc<Open>, Failure> {
        let mut state = self.state.subscribe();
        let known = state.wait_for(|state| !matches!(state, State::Looking));
        let Ok(Ok(known)) = tokio::time::timeout(FIRST, known).await else {
            return Err(not_ready("AWS credentials are still looked for"));
        };
        match &*known {
            State::Ready(open) => Ok(Arc::clone(open)),
            State::Missing(reason) => {
                self.wanted.notify_one();
                Err(not_ready(&**reason))
            }
            State::Looking => Err(not_ready("AWS credentials are still looked for")),
        }
    }

    /// Sends a call to AWS. Expired credentials are replaced and a wrong clock is corrected, once
    /// each.
    pub(super) async fn call(
        &self,
        method: &Method,
        path: &str,
        content_type: Option<&HeaderValue>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let open = self.ready().await?;
        let calling = async {
            let (mut may_renew, mut may_correct) = (true, true);
            loop {
                let answer = open.send(method, path, content_type, body.clone()).await?;
                if may_renew && says_expired(&answer) {
                    may_renew = false;
                    open.signer.forget().await;
                } else if may_correct && open.corrects_clock(&answer, SystemTime::now()) {
                    may_correct = false;
                } else {
                    return Ok(answer);
                }
            }
        };
        let late = || Failure::broken(format!("{} did not answer within 10 s", open.base));
        tokio::time::timeout(PATIENCE, calling).await.unwrap_or_else(|_| Err(late()))
    }
}

impl Open {
    async fn send(
        &self,
        method: &Method,
        path: &str,
        content_type: Option<&HeaderValue>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let uri: Uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|_| Failure::broken(format!("`{path}` is no path")))?;
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, content_type.cloned().unwrap_or(json));
        headers.insert(header::HOST, self.host.clone());
        let agent = concat!("skep/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        let now = ahead_of(SystemTime::now(), self.ahead.load(Ordering::Relaxed));
        self.signer.sign(method, &uri, &mut headers, &body, now).await.map_err(not_ready)?;
        let mut request = Request::new(Segments::new([body]));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let answer =
            self.client.call(request).await.map_err(|error| Failure::broken(error.to_string()))?;
        if answer.body.len() >= ANSWER_LIMIT {
            return Err(Failure::broken(format!(
                "the answer of {} has more than 4 MiB",
                self.base
            )));
        }
        Ok(Answer { status: answer.status, headers: answer.headers, body: answer.body })
    }

    /// Adopts the clock of AWS if AWS refuses a signature because of its time.
    fn corrects_clock(&self, answer: &Answer, now: SystemTime) -> bool {
        if !answer.doubts_signature() {
            return false;
        }
        let date = answer.headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
            return false;
        };
        let ahead = seconds(theirs) - seconds(now);
        let is_other = (ahead - self.ahead.load(Ordering::Relaxed)).abs() > SKEW;
        if is_other {
            tracing::warn!(
                seconds = -ahead,
                "the clock of this machine is ahead of that of AWS; signatures go by AWS's"
            );
            self.ahead.store(ahead, Ordering::Relaxed);
        }
        is_other
    }
}

/// The error if region or credentials are missing.
fn not_ready(reason: impl Into<String>) -> Failure {
    Failure { status: StatusCode::SERVICE_UNAVAILABLE, reason: reason.into() }
}

/// Whether the session of the credentials has expired.
fn says_expired(answer: &Answer) -> bool {
    answer.status.is_client_error() && answer.said().0.starts_with("ExpiredToken")
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn ahead_of(now: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    let moved = if seconds < 0 { now.checked_sub(by) } else { now.checked_add(by) };
    moved.unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_read() {
        let place = Place::parse("http://127.0.0.1:4000/base/").unwrap();
        assert_eq!((place.has_tls, &*place.host, place.port), (false, "127.0.0.1", 4000));
        assert_eq!(
            (&*place.authority, &*place.base),
            ("127.0.0.1:4000", "http://127.0.0.1:4000/base")
        );
        let place = Place::parse(&url("xray", "cn-north-1")).unwrap();
        assert_eq!((place.has_tls, place.port), (true, 443));
        assert_eq!(place.host, "xray.cn-north-1.amazonaws.com.cn");
        assert_eq!(Place::parse("https://[::1]:1").unwrap().host, "::1");
        for wrong in ["", "xray.example.test", "ftp://a", "https://", "https://a?b", "http://a:b"] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
        let said = Place::parse("https://ann:pa55@a").unwrap_err();
        assert!(!said.contains("pa55"), "{said}");
    }

    #[test]
    fn a_clock_is_moved_in_either_direction() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(seconds(ahead_of(now, 30)), 1030);
        assert_eq!(seconds(ahead_of(now, -30)), 970);
    }
}
