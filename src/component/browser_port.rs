//! Ports that pages in browsers send to, as commands tell of them.

/// What a page needs to know of a port, and what is to be mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserPort {
    /// `host:port`.
    pub endpoint: String,
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// Path of its URL, such as `/v1/traces`.
    pub path: String,
    /// Origins that may send; `*` stands for any characters.
    pub origins: Vec<String>,
    /// Header that a page sends beside `content-type`.
    pub header: Option<String>,
    /// A line of the page's code, with `{url}` for the URL.
    pub code: String,
    /// Whether the port is for pages alone.
    pub is_for_pages: bool,
    /// What should be mended, each with its remedy.
    pub doubts: Vec<(String, String)>,
}

impl BrowserPort {
    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        is_of_this_machine(&self.endpoint)
    }

    /// Whether pages of other machines may send.
    pub fn takes_strangers(&self) -> bool {
        takes_strangers(&self.origins)
    }
}

/// Whether one of these origins is of another machine.
pub fn takes_strangers(origins: &[String]) -> bool {
    let host = |origin: &str| origin.split_once("://").map_or(origin, |(_, host)| host).to_owned();
    origins.iter().any(|origin| !is_of_this_machine(&host(origin)))
}

/// Whether `host:port` is an address of this machine alone.
fn is_of_this_machine(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = if address == "[::1]" { address } else { host };
    let is_v4 = host.strip_prefix("127.").is_some_and(|rest| rest.split('.').count() == 3);
    is_v4 || host == "[::1]" || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_from_others() {
        for address in ["localhost:1", "localhost", "127.0.0.1:80", "127.1.2.3", "[::1]:1", "[::1]"]
        {
            assert!(is_of_this_machine(address), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "*", "127.example:1", "shop.example", "10.0.0.7:1"] {
            assert!(!is_of_this_machine(address), "{address}");
        }
        let takes = |origins: &[&str]| {
            let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
            takes_strangers(&origins)
        };
        assert!(!takes(&["http://localhost:*", "http://127.0.0.1:*"]));
        assert!(takes(&["http://localhost:*", "https://shop.example"]) && takes(&["*"]));
    }
}
