//! Recent data in the console: a request that comes in is found, opened, looked into and saved.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::{Console, TOKEN, ask};
use crate::support::{page::Browser, rollbar_backend::call};

const ID: &str = "0102030405060708090a0b0c0d0e0f10";

/// A cart that cannot be paid: seven spans of two services and three users.
fn cart() -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let span = |(at, parent, name, user, ms): (u32, u32, &str, &str, u128)| {
        let parent = if parent == 0 { String::new() } else { format!("{parent:016x}") };
        let status = if name == "charge card" {
            json!({"code": 2, "message": "declined"})
        } else {
            json!({})
        };
        json!({
            "traceId": ID, "spanId": format!("{at:016x}"), "parentSpanId": parent, "name": name,
            "kind": 2, "startTimeUnixNano": (now + u128::from(at) * 1_000_000).to_string(),
            "endTimeUnixNano": (now + (u128::from(at) + ms) * 1_000_000).to_string(),
            "attributes": [{"key": "user.id", "value": {"stringValue": user}}], "status": status,
        })
    };
    let of = |service: &str, spans: &[(u32, u32, &str, &str, u128)]| {
        let name = json!({"key": "service.name", "value": {"stringValue": service}});
        let spans: Vec<Value> = spans.iter().map(|one| span(*one)).collect();
        json!({"resource": {"attributes": [name]}, "scopeSpans": [{"spans": spans}]})
    };
    let shop = of(
        "shop",
        &[
            (1, 0, "GET /cart", "u-17", 400),
            (2, 1, "SELECT items", "u-17", 20),
            (3, 1, "SELECT prices", "u-4", 30),
            (4, 1, "POST /pay", "u-17", 250),
        ],
    );
    let pay = of(
        "pay",
        &[
            (5, 4, "charge card", "u-17", 200),
            (6, 5, "connect", "u-23", 100),
            (7, 99, "late", "u-23", 10),
        ],
    );
    json!({"resourceSpans": [shop, pay]})
}

fn send(console: &Console, request: &Value) {
    let json = "content-type: application/json\r\n";
    let (status, ..) = call(console.otlp, "POST", "/v1/traces", json, &request.to_string());
    assert_eq!(status, 200);
}

#[test]
fn what_comes_in_is_kept_at_the_level_data_only() {
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let flags = ["--console-token", TOKEN, "--console-level"];
    let mut low = Console::start("{nop: {}}", &[&flags[..], &["operation"]].concat());
    let (status, body) = ask(low.port, "/api/v1/traces", &bearer);
    assert!(status == 403 && body.contains("--console-level data"), "{body}");
    low.stop();
    let mut console = Console::start("{nop: {}}", &[&flags[..], &["data"]].concat());
    send(&console, &cart());
    let begun = Instant::now();
    let list = loop {
        let (status, body) = ask(console.port, "/api/v1/traces?service=pay", &bearer);
        assert_eq!(status, 200, "{body}");
        let list: Value = serde_json::from_str(&body).unwrap();
        // A thread of low priority digests it.
        if list["matched"] == 1 || begun.elapsed() > Duration::from_secs(20) {
            break list;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let first = &list["traces"][0];
    assert_eq!((&first["name"], &first["spans"]), (&json!("GET /cart"), &json!(7)), "{list}");
    assert_eq!((&first["errors"], &list["one_in"]), (&json!(1), &json!(1)), "{list}");
    let (status, saved) = ask(console.port, &format!("/api/v1/traces/{ID}/export"), &bearer);
    assert!(status == 200 && saved.contains("charge card"), "{saved}");
    console.stop();
}

/// From the list to the span that failed, by keys, and a file of the whole.
#[test]
#[ignore = "needs SDKs of other languages"]
fn a_trace_is_found_opened_searched_and_saved() {
    let mut console =
        Console::start("{nop: {}}", &["--console-token", TOKEN, "--console-level", "data"]);
    let mut browser = Browser::start();
    browser.open(&console.url(&format!("/traces#t={TOKEN}")));
    browser.see("No span has come since the start.");
    browser.is_sound();
    send(&console, &cart());
    browser.see("GET /cart");
    browser.see("shop, pay");
    browser.is_sound();
    browser.evaluate("document.querySelector('#condition').focus()");
    browser.step(&json!(["fill", "#condition", "user.id = nobody"]));
    browser.key("Enter");
    browser.see("No trace meets the filter.");
    browser.click("Take away all conditions");
    browser.see("GET /cart");
    browser.evaluate("document.querySelector('.root a').click()");
    browser.see("1 parent did not come.");
    browser.see("charge card");
    assert_eq!(browser.url(), console.url(&format!("/traces?trace={ID}")));
    browser.is_sound();
    browser.key("e");
    browser.step(&json!([
        "until",
        "document.querySelector('.picked .wf-text').textContent.includes('charge card')"
    ]));
    browser.evaluate("document.querySelector('.wf-scroll').focus()");
    browser.key("Enter");
    browser.see("error: declined");
    browser.is_sound();
    browser.key("ArrowLeft");
    browser.miss("connect");
    browser.step(&json!(["fill", "[data-search]", "connect"]));
    browser.see("1 span");
    browser.key("Escape");
    browser.key("n");
    browser.step(&json!(["until", "document.querySelector('.picked.hit') !== null"]));
    browser.step(&json!(["reload"]));
    browser.step(&json!(["until", "document.querySelector('.picked.hit') !== null"]));
    let saved = browser.evaluate(
        "fetch(document.querySelector('a[download]').href).then(answer => answer.text())",
    );
    assert!(saved.as_str().unwrap().contains("charge card"), "{saved}");
    browser.key("Escape");
    browser.miss("error: declined");
    browser.key("Escape");
    browser.see("Recent traces");
    let mut next = cart().to_string();
    next = next.replace(ID, &ID.replace('1', "2"));
    send(&console, &serde_json::from_str(&next).unwrap());
    browser.see("1 new");
    browser.click("1 new");
    browser.see("2 of 2 traces");
    browser.is_sound();
    console.stop();
}

#[test]
#[ignore = "needs SDKs of other languages"]
fn a_board_leads_from_a_user_to_the_traces() {
    let mut console =
        Console::start("{nop: {}}", &["--console-token", TOKEN, "--console-level", "data"]);
    send(&console, &cart());
    let mut browser = Browser::start();
    browser.open(&console.url(&format!("/boards#t={TOKEN}")));
    browser.see("Average latency by user");
    browser.see("u-23");
    browser.is_sound();
    browser.evaluate("document.querySelector('[aria-label=\"Traces of u-17\"]').click()");
    browser.see("user.id = u-17");
    browser.see("GET /cart");
    // One page, as a browser has six connections and each page holds one for events.
    browser.step(&json!(["back"]));
    browser.see("Average latency by user");
    for (board, words) in [
        ("Service", "Spans per second"),
        ("Errors", "declined"),
        ("Volume", "Spans by library"),
        ("Recent traces", "GET /cart"),
    ] {
        browser.evaluate(&format!(
            "[...document.querySelectorAll('[role=tab]')].find(tab => tab.textContent === '{board}').click()"
        ));
        browser.see(words);
        browser.is_sound();
    }
    browser.evaluate(
        "[...document.querySelectorAll('[role=tab]')].find(tab => tab.textContent === 'Service').click()",
    );
    browser.see("Spans per second");
    browser.key("t");
    browser.step(&json!(["until", "document.querySelector('.chart') === null"]));
    browser.is_sound();
    console.stop();
}
