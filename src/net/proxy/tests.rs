use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    let find = |name: &str| variables.iter().find(|(own, _)| *own == name);
    Environment::read(|name| find(name).map(|(_, text)| (*text).to_owned()))
}

fn chosen(environment: &Environment, is_https: bool, host: &str, port: u16) -> Option<String> {
    let (_, url) = environment.choose(Destination { is_https, host, port })?;
    Some(url.as_ref().map_or_else(Clone::clone, |url| url.host.clone()))
}

#[test]
fn the_scheme_chooses_the_variable() {
    let both = environment(&[("HTTP_PROXY", "http://plain:1"), ("https_proxy", "secure:2")]);
    assert_eq!(chosen(&both, false, "a", 80).as_deref(), Some("plain"));
    assert_eq!(chosen(&both, true, "a", 443).as_deref(), Some("secure"));
    let only_http = environment(&[("http_proxy", "http://plain:1")]);
    assert_eq!(chosen(&only_http, true, "a", 443), None);
    assert_eq!(chosen(&environment(&[]), false, "a", 80), None);
    let cgi = [("HTTP_PROXY", "x"), ("HTTPS_PROXY", "y"), ("REQUEST_METHOD", "GET")];
    let cgi = environment(&cgi);
    assert_eq!(chosen(&cgi, false, "a", 80), None);
    assert_eq!(chosen(&cgi, true, "a", 443).as_deref(), Some("y"));
    let wins = environment(&[("HTTPS_PROXY", "upper"), ("https_proxy", "lower")]);
    assert_eq!(chosen(&wins, true, "a", 443).as_deref(), Some("upper"));
}

/// The table of Go's `httpproxy` (`UseProxyTests`), and what it says of ports.
#[test]
fn no_proxy_is_read_as_go_reads_it() {
    let list = "foobar.com, .barbaz.net, *.quux.org, 192.168.1.1, 192.168.1.2:81, 192.168.1.3:80, \
                10.0.0.0/30, 2001:db8::52:0:1, [2001:db8::52:0:2]:443, [2001:db8::52:0:3]:80, \
                2002:db8:a::45/64, port.com:80, :80, /8, [::1, ,";
    let mixed = environment(&[("HTTP_PROXY", "p"), ("NO_PROXY", list)]);
    for (host, port, is_proxied) in [
        ("localhost", 80, false),
        ("127.0.0.1", 80, false),
        ("127.0.0.2", 80, false),
        ("::1", 80, false),
        ("::ffff:127.0.0.1", 80, false),
        ("::2", 80, true),
        ("192.168.1.1", 80, false),
        ("192.168.1.2", 80, true),
        ("192.168.1.2", 81, false),
        ("192.168.1.3", 80, false),
        ("192.168.1.4", 80, true),
        ("10.0.0.2", 80, false),
        ("10.0.0.4", 80, true),
        ("2001:db8::52:0:1", 80, false),
        ("2001:db8::52:0:2", 80, true),
        ("2001:db8::52:0:2", 443, false),
        ("2001:db8::52:0:3", 80, false),
        ("2002:db8:a::123", 80, false),
        ("2002:db8:a:1::123", 80, true),
        ("fe80::424b:c8be:1643:a1b6", 80, false),
        ("barbaz.net", 80, true),
        ("www.barbaz.net", 80, false),
        ("quux.org", 80, true),
        ("www.quux.org", 80, false),
        ("foobar.com", 80, false),
        ("FooBar.com", 80, false),
        ("www.foobar.com", 80, false),
        ("foofoobar.com", 80, true),
        ("baz.com", 80, true),
        ("localhost.net", 80, true),
        ("local.localhost", 80, true),
        ("barbarbaz.net", 80, true),
        ("port.com", 80, false),
        ("port.com", 81, true),
        ("a.port.com", 80, false),
        ("169.254.169.254", 80, false),
        ("fd00:ec2::254", 80, false),
    ] {
        let found = chosen(&mixed, false, host, port).is_some();
        assert_eq!(found, is_proxied, "{host} {port}");
    }
    for all in ["*", "x.com, *"] {
        let none = environment(&[("HTTP_PROXY", "p"), ("no_proxy", all)]);
        assert_eq!(chosen(&none, false, "a", 80), None, "{all}");
    }
}

#[test]
fn urls_of_proxies_are_read_and_errors_keep_their_password() {
    let url = |text| Url::parse(text).unwrap();
    let (host, port) = ("p".to_owned(), 3128);
    assert_eq!(url("p:3128"), Url { is_https: false, host, port, authorization: None });
    assert_eq!(url("http://[::1]").host, "::1");
    assert_eq!((url("https://p").port, url("HTTP://p/").port), (443, 80));
    // `ann:p@ss`.
    let basic = url("http://ann:p%40ss@p").authorization.unwrap();
    assert!(basic.is_sensitive());
    assert_eq!(basic, "Basic YW5uOnBAc3M=");
    for wrong in ["socks5://ann:pa55@p", "pa55://p", "http://ann:pa55@", "http://ann:pa55@p:pa55"] {
        let error = Url::parse(wrong).unwrap_err();
        assert!(!error.contains("pa55"), "{error}");
    }
}

#[test]
fn a_configured_proxy_wins_and_is_shown_without_its_credentials() {
    let to = |host| Destination { is_https: true, host, port: 443 };
    let url = "http://ann:pa55@proxy.example:3128";
    let through = |host| way(to(host), ("proxy_url", url), &ClientTls::default());
    let shown = " through the proxy http://[REDACTED]@proxy.example:3128 (proxy_url)";
    assert_eq!(in_words(through("backend.example")), shown);
    assert_eq!(in_words(through("localhost")), shown);
    assert!(matches!(through("169.254.170.2"), Ok(Way::Direct)));
    let Ok(Way::Proxy(proxy)) = through("a") else { panic!("it goes through the proxy") };
    assert!(!format!("{proxy:?}").contains("YW5u"));
}
