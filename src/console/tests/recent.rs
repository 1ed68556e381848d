//! The calls that tell what came lately.

use serde_json::{Value, json};

use super::*;
use crate::recent;

const ID: &str = "0102030405060708090a0b0c0d0e0f10";

/// A shop with two users: one request is a trace of three spans, one of which failed.
fn shop() -> Arc<Recent> {
    let settings =
        recent::Settings { bytes: recent::Settings::LEAST, ..recent::Settings::default() };
    let store = Recent::new(settings).unwrap();
    let now = recent::now();
    let span = |id: u8, parent: &str, name: &str, user: &str, status: u8| {
        json!({
            "traceId": ID, "spanId": format!("{id:016x}"), "parentSpanId": parent, "name": name,
            "kind": 2, "startTimeUnixNano": now.to_string(),
            "endTimeUnixNano": (now + 1_000_000 * u64::from(id)).to_string(),
            "attributes": [{"key": "user.id", "value": {"stringValue": user}}],
            "status": {"code": status},
        })
    };
    let spans = [
        span(9, "", "GET /cart", "u-17", 0),
        span(2, "0000000000000009", "SELECT items", "u-17", 0),
        span(3, "0000000000000009", "POST /pay", "u-4", 2),
    ];
    let service = json!({"key": "service.name", "value": {"stringValue": "shop"}});
    let request = json!({"resourceSpans": [
        {"resource": {"attributes": [service]}, "scopeSpans": [{"spans": spans}]}
    ]});
    assert_eq!(store.load(request.to_string().as_bytes(), now), Ok(3));
    Arc::new(store)
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn contents_are_told_at_the_level_data_only() {
    let [low, empty] = [
        Running::with(Level::Operation, true, None, Some(shop())),
        Running::with(Level::Data, true, None, None),
    ];
    for route in api::ROUTES.iter().filter(|route| route.level == Level::Data) {
        let path = format!("{}{}", api::ROOT, route.path.replace("{id}", ID).replace("{at}", "0"));
        for (console, expected, words) in
            [(&low, "403", "--console-level data"), (&empty, "501", "keeps no recent data")]
        {
            // Other contents do not come from the store.
            let is_of_store =
                ["traces", "query", "boards"].iter().any(|of| route.path.starts_with(of));
            if !is_of_store && expected == "501" {
                continue;
            }
            let answer = match route.method {
                api::Verb::Get => console.get(&path).await,
                api::Verb::Post => console.post(&path, JSON, "{}").await,
            };
            // Boards are questions, not answers.
            let is_told = path.ends_with("/boards") && expected == "501";
            let expected = if is_told { "200" } else { expected };
            assert_eq!(status(&answer), expected, "{path}: {answer}");
            assert!((is_told || answer.contains(words)) && !answer.contains("u-17"), "{answer}");
        }
    }
    low.stop().await;
    empty.stop().await;
}

#[tokio::test]
async fn a_trace_is_listed_opened_looked_into_and_saved() {
    let console = Running::with(Level::Data, false, None, Some(shop()));
    let list = body(&console.get("/api/v1/traces").await);
    let first = &list["traces"][0];
    assert_eq!((&first["name"], &first["errors"]), (&json!("GET /cart"), &json!(1)), "{list}");
    assert_eq!((&list["matched"], &list["store"]["age_s"]), (&json!(1), &json!(900)), "{list}");
    let filter = "service=shop&errors=true&where=%5B%5B%22user.id%22,%22=%22,%22u-4%22%5D%5D";
    let list = body(&console.get(&format!("/api/v1/traces?{filter}")).await);
    assert_eq!(list["matched"], 1, "{list}");
    let list = body(&console.get("/api/v1/traces?min_ms=10").await);
    assert_eq!(list["matched"], 0, "{list}");
    let wrong = console.get("/api/v1/traces?min_ms=long").await;
    assert!(status(&wrong) == "400" && wrong.contains("`min_ms`"), "{wrong}");

    let path = format!("/api/v1/traces/{ID}");
    let trace = body(&console.get(&path).await);
    assert_eq!((&trace["n"], &trace["parent"]), (&json!(3), &json!([-1, 0, 0])), "{trace}");
    let at = trace["name"].as_array().unwrap().iter().position(|name| {
        trace["names"][usize::try_from(name.as_u64().unwrap()).unwrap()] == "POST /pay"
    });
    let at = &trace["at"][at.unwrap()];
    let span = body(&console.get(&format!("{path}/spans/{at}")).await);
    assert_eq!((&span["name"], &span["status_code"]), (&json!("POST /pay"), &json!(2)), "{span}");
    assert_eq!(span["attributes"]["user.id"], "u-4", "{span}");

    let saved = console.get(&format!("{path}/export")).await;
    let name = format!("content-disposition: attachment; filename=\"trace-{ID}.json\"\r\n");
    assert!(saved.contains(&name), "{saved}");
    let again = Recent::new(recent::Settings::default()).unwrap();
    let text = saved.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(again.load(text.as_bytes(), recent::now()), Ok(3), "{text}");

    let other = format!("/api/v1/traces/{}", ID.replace('1', "2"));
    for (path, expected) in [
        (other.clone(), "404"),
        (format!("{other}/export"), "404"),
        (format!("{other}/spans/{at}"), "404"),
        (format!("{path}/spans/999999999999"), "404"),
        (format!("{path}/spans/x"), "400"),
        ("/api/v1/traces/xyz".to_owned(), "400"),
    ] {
        assert_eq!(status(&console.get(&path).await), expected, "{path}");
    }
    console.stop().await;
}

#[tokio::test]
async fn boards_ask_what_queries_answer() {
    let console = Running::with(Level::Data, false, None, Some(shop()));
    let boards = body(&console.get("/api/v1/boards").await);
    let users = &boards["boards"][0];
    assert_eq!(users["title"], "Users", "{boards}");
    for panel in users["panels"].as_array().unwrap() {
        assert!(panel["honeycomb"]["calculations"].is_array(), "{panel}");
        let answer = console.post("/api/v1/query", JSON, &panel["query"].to_string()).await;
        assert_eq!(status(&answer), "200", "{answer}");
    }
    let query = users["panels"][0]["query"].to_string();
    let answer = body(&console.post("/api/v1/query", JSON, &query).await);
    assert_eq!(answer["rows"][0]["group"], json!(["u-17"]), "the slowest first: {answer}");
    assert_eq!(answer["rows"][0]["traces"], json!([ID]), "{answer}");
    assert_eq!((&answer["one_in"], &answer["scanned"]), (&json!(1), &json!(3)), "{answer}");
    let wrong = console.post("/api/v1/query", JSON, r#"{"select":[{"op":"MODE"}]}"#).await;
    assert!(status(&wrong) == "400" && wrong.contains("`select.0"), "{wrong}");
    assert_eq!(status(&console.get("/api/v1/query").await), "405");
    console.stop().await;
}
