//! Reads service and region from the host names of AWS, without the SDK.

use std::borrow::Cow;

/// The URL that an `endpoint` of AWS means: without a scheme it is a host with TLS, as in the SDKs
/// of AWS. Empty text stays empty.
pub fn endpoint_url(endpoint: &str) -> Cow<'_, str> {
    if endpoint.is_empty() || endpoint.contains("://") {
        return Cow::Borrowed(endpoint);
    }
    Cow::Owned(format!("https://{endpoint}"))
}

/// A service of AWS, read from its host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwsHost<'a> {
    /// Name in signatures: `xray`, `logs`, `monitoring`, `aps`, `es`.
    pub service: &'static str,
    /// `ca-central-1`.
    pub region: &'a str,
}

/// Names of hosts and of the services in signatures.
const SERVICES: [(&str, &str); 4] =
    [("xray", "xray"), ("logs", "logs"), ("monitoring", "monitoring"), ("aps-workspaces", "aps")];

/// Suffixes of the host names of AWS.
const DOMAINS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu"];

impl<'a> AwsHost<'a> {
    /// Reads `xray.ca-central-1.amazonaws.com`, `search-logs-x.us-east-1.es.amazonaws.com`,
    /// `vpce-0a-1b.logs.eu-west-1.vpce.amazonaws.com` and the like; `None` for any other name.
    pub fn parse(host: &'a str) -> Option<Self> {
        let host = host.trim_end_matches('.');
        let name = DOMAINS.iter().find_map(|domain| host.strip_suffix(domain))?;
        let labels: Vec<&str> = name.split('.').collect();
        let named = |label: &str| {
            // A FIPS endpoint signs with the name of the service.
            let label = label.strip_suffix("-fips").unwrap_or(label);
            SERVICES.iter().find(|(host, _)| *host == label).map(|(_, service)| *service)
        };
        match labels[..] {
            [_, region, "es"] => Some(AwsHost { service: "es", region }),
            [service, region] | [_, service, region, "vpce"] => {
                Some(AwsHost { service: named(service)?, region })
            }
            _ => None,
        }
    }

    /// The host of a URL.
    pub fn of_url(url: &'a str) -> Option<Self> {
        Self::parse(host_of(url))
    }
}

/// The host of a URL, without port, user and path.
pub fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, own)| own);
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_url_with_tls() {
        assert_eq!(
            endpoint_url("xray.eu-west-1.amazonaws.com"),
            "https://xray.eu-west-1.amazonaws.com"
        );
        assert_eq!(endpoint_url("localhost:4566/base"), "https://localhost:4566/base");
        assert_eq!(endpoint_url("http://localhost:4566"), "http://localhost:4566");
        assert_eq!(endpoint_url(""), "");
    }

    #[test]
    fn hosts_say_their_service_and_region() {
        for (host, service, region) in [
            ("xray.ca-central-1.amazonaws.com", "xray", "ca-central-1"),
            ("logs.us-east-1.amazonaws.com", "logs", "us-east-1"),
            ("logs-fips.us-gov-west-1.amazonaws.com", "logs", "us-gov-west-1"),
            ("monitoring.cn-north-1.amazonaws.com.cn", "monitoring", "cn-north-1"),
            ("aps-workspaces.eu-west-1.amazonaws.com", "aps", "eu-west-1"),
            ("search-app-x2y.us-east-1.es.amazonaws.com", "es", "us-east-1"),
            ("vpce-0a-1b.xray.eu-west-1.vpce.amazonaws.com", "xray", "eu-west-1"),
        ] {
            assert_eq!(AwsHost::parse(host), Some(AwsHost { service, region }), "{host}");
        }
        for other in [
            "",
            "amazonaws.com",
            "xray.amazonaws.com",
            "xray.us-east-1.example.com",
            "s3.us-east-1.amazonaws.com",
            "xray.us-east-1.amazonaws.com.example.com",
            "127.0.0.1",
        ] {
            assert_eq!(AwsHost::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_url_is_looked_at_for_its_host_only() {
        let host = AwsHost { service: "xray", region: "us-east-1" };
        for url in [
            "https://xray.us-east-1.amazonaws.com",
            "https://xray.us-east-1.amazonaws.com:443/v1/traces",
            "xray.us-east-1.amazonaws.com?x=1",
        ] {
            assert_eq!(AwsHost::of_url(url), Some(host), "{url}");
        }
        assert_eq!(AwsHost::of_url("https://proxy/xray.us-east-1.amazonaws.com"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,60}") {
            let _ = AwsHost::of_url(&text);
        }
    }
}
