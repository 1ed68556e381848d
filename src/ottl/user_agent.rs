//! Browsers, tools and bots by the header `User-Agent`, with the names of the project `uap-core`.
//!
//! The table has those that make nearly all traffic; everything else is `Other`. `docs/ottl.md`
//! lists them. Why not all rules of `uap-core`: they are more than a thousand regular expressions,
//! and take 20 MB of memory; the crate `ua-parser` does not bring them. Why not `woothee`, which
//! has rules in its code: its names are not those of `uap-core`, which queries are written for.

/// What is known of a user agent; empty where nothing is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct UserAgent {
    pub name: String,
    pub version: String,
    pub os: String,
    pub os_version: String,
}

/// The first of these words that occurs decides; its version follows it.
const FAMILIES: [(&str, &str); 46] = [
    ("Googlebot-Image/", "Googlebot-Image"),
    ("Googlebot/", "Googlebot"),
    ("bingbot/", "bingbot"),
    ("YandexBot/", "YandexBot"),
    ("Baiduspider/", "Baiduspider"),
    ("AhrefsBot/", "AhrefsBot"),
    ("SemrushBot/", "SemrushBot"),
    ("DuckDuckBot/", "DuckDuckBot"),
    ("Applebot/", "Applebot"),
    ("GPTBot/", "GPTBot"),
    ("ClaudeBot/", "ClaudeBot"),
    ("facebookexternalhit/", "FacebookBot"),
    ("Twitterbot/", "Twitterbot"),
    ("Slackbot-LinkExpanding ", "Slackbot-LinkExpanding"),
    ("UptimeRobot/", "UptimeRobot"),
    ("Pingdom.com_bot_version_", "PingdomBot"),
    ("kube-probe/", "kube-probe"),
    ("ELB-HealthChecker/", "ELB-HealthChecker"),
    ("Prometheus/", "Prometheus"),
    ("curl/", "curl"),
    ("Wget/", "Wget"),
    ("python-requests/", "Python Requests"),
    ("python-httpx/", "Python HTTPX"),
    ("Python-urllib/", "Python-urllib"),
    ("aiohttp/", "Python aiohttp"),
    ("Go-http-client/", "Go-http-client"),
    ("okhttp/", "okhttp"),
    ("Apache-HttpClient/", "Apache-HttpClient"),
    ("axios/", "axios"),
    ("node-fetch/", "node-fetch"),
    ("PostmanRuntime/", "PostmanRuntime"),
    ("insomnia/", "insomnia"),
    ("EdgA/", "Edge Mobile"),
    ("EdgiOS/", "Edge Mobile"),
    ("Edg/", "Edge"),
    ("Edge/", "Edge"),
    ("OPR/", "Opera"),
    ("Vivaldi/", "Vivaldi"),
    ("YaBrowser/", "Yandex Browser"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("UCBrowser/", "UC Browser"),
    ("CriOS/", "Chrome Mobile iOS"),
    ("FxiOS/", "Firefox iOS"),
    ("Firefox/", "Firefox"),
    ("HeadlessChrome/", "HeadlessChrome"),
    ("Chrome/", "Chrome"),
];

/// Names of Windows by the version of its kernel.
const WINDOWS: [(&str, &str); 6] = [
    ("Windows NT 10.0", "10"),
    ("Windows NT 6.3", "8.1"),
    ("Windows NT 6.2", "8"),
    ("Windows NT 6.1", "7"),
    ("Windows NT 6.0", "Vista"),
    ("Windows NT 5.1", "XP"),
];

/// Reads a header.
pub(crate) fn read(text: &str) -> UserAgent {
    let (name, version) = family(text);
    let (os, os_version) = system(text);
    UserAgent { name: name.to_owned(), version, os: os.to_owned(), os_version }
}

/// Digits with dots or underscores behind a word.
fn version_after(text: &str, word: &str) -> Option<String> {
    let rest = &text[text.find(word)? + word.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '_'));
    let version = rest[..end.unwrap_or(rest.len())].replace('_', ".");
    Some(version.trim_end_matches('.').to_owned())
}

fn family(text: &str) -> (&'static str, String) {
    for (word, name) in FAMILIES {
        if let Some(version) = version_after(text, word) {
            let is_mobile = text.contains("Android");
            let name = match name {
                "Chrome" if text.contains("; wv)") => "Chrome Mobile WebView",
                "Chrome" if is_mobile && text.contains("Mobile") => "Chrome Mobile",
                "Firefox" if is_mobile => "Firefox Mobile",
                "Opera" if is_mobile => "Opera Mobile",
                other => other,
            };
            return (name, version);
        }
    }
    if text.contains("Safari/")
        && let Some(version) = version_after(text, "Version/")
    {
        let is_mobile = text.contains("Mobile/");
        return (if is_mobile { "Mobile Safari" } else { "Safari" }, version);
    }
    if let Some(version) = version_after(text, "MSIE ") {
        return ("IE", version);
    }
    if text.contains("Trident/") {
        return ("IE", version_after(text, "rv:").unwrap_or_default());
    }
    ("Other", String::new())
}

fn system(text: &str) -> (&'static str, String) {
    if let Some((_, version)) = WINDOWS.into_iter().find(|(word, _)| text.contains(word)) {
        return ("Windows", version.to_owned());
    }
    if text.contains("Windows") {
        return ("Windows", String::new());
    }
    if text.contains("iPhone") || text.contains("iPad") || text.contains("iPod") {
        let version =
            version_after(text, "CPU iPhone OS ").or_else(|| version_after(text, "CPU OS "));
        return ("iOS", version.unwrap_or_default());
    }
    if let Some(version) = version_after(text, "Mac OS X ") {
        return ("Mac OS X", version);
    }
    if text.contains("Android") {
        return ("Android", version_after(text, "Android ").unwrap_or_default());
    }
    if text.contains("CrOS") {
        return ("Chrome OS", String::new());
    }
    for (word, name) in [("Ubuntu", "Ubuntu"), ("Fedora", "Fedora"), ("Linux", "Linux")] {
        if text.contains(word) {
            return (name, String::new());
        }
    }
    ("Other", String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_for_users_is_complete() {
        let page = include_str!("../../docs/ottl.md");
        let list = page.split("## User agents").nth(1).and_then(|rest| rest.split("<!--").next());
        let listed = |name: &str| list.is_some_and(|list| list.contains(&format!("`{name}`")));
        let words = FAMILIES.iter().map(|(_, name)| name).chain(WINDOWS.iter().map(|(_, it)| it));
        for name in words {
            assert!(listed(name), "{name}");
        }
    }
}
