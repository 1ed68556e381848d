use std::time::Duration;

use super::*;
use crate::otlp::Signal;

fn caller(peer: [u8; 4]) -> Caller {
    Caller { transport: "grpc", peer: Some((peer, 50_000).into()), ..Caller::default() }
}

fn origin(caller: &Caller) -> Origin<'_> {
    Origin { receiver: "otlp", caller, encoding: "proto", compression: "gzip" }
}

fn named(service: &str) -> Named<'_> {
    let python: &[u8] = b"python";
    Named { service: service.as_bytes(), language: python, version: b"1.29", ..Named::default() }
}

#[tokio::test(start_paused = true)]
async fn a_sender_is_known_by_its_service_sdk_address_and_form() {
    let senders = Senders::default();
    let (near, far) = (caller([10, 0, 0, 1]), caller([10, 0, 0, 2]));
    let now = Instant::now();
    let shop = senders.of_data(&origin(&near), &named("shop"), now);
    assert!(shop.count_request(Signal::Traces));
    shop.count_taken(Signal::Traces, 100);
    assert!(!shop.count_request(Signal::Traces), "it is the first one only once");
    assert!(shop.count_request(Signal::Logs));
    let same = senders.of_data(&origin(&near), &named("shop"), now);
    assert!(Arc::ptr_eq(&shop, &same));
    let json = Origin { encoding: "json", ..origin(&near) };
    for other in [
        senders.of_data(&origin(&far), &named("shop"), now),
        senders.of_data(&json, &named("shop"), now),
        senders.of_data(&origin(&near), &named("cart"), now),
        senders.of_data(&origin(&near), &Named { version: b"2", ..named("shop") }, now),
    ] {
        assert!(!Arc::ptr_eq(&shop, &other));
    }
    tokio::time::advance(Duration::from_secs(3)).await;
    let all = senders.sightings(Instant::now());
    assert_eq!(all.len(), 5);
    // Of equal age, the one with the most items comes first.
    let Sighting { who, total, last_age, .. } = &all[0];
    assert_eq!(
        (who.service.as_deref(), &*who.language, &*who.version),
        (Some("shop"), "python", "1.29")
    );
    assert_eq!((who.encoding, who.compression, who.receiver.as_str()), ("proto", "gzip", "otlp"));
    assert_eq!((total.requests, total.items(), total.refused), (3, 100, 0));
    assert_eq!(*last_age, Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_turned_away_are_known_by_their_agent() {
    let senders = Senders::default();
    let curl = Caller { agent: Some(HeaderValue::from_static("curl/8")), ..caller([10, 0, 0, 1]) };
    for _ in 0..7 {
        senders.turned_away("otlp", &curl, "there is no OTLP endpoint at /");
    }
    senders.turned_away("otlp", &Caller::default(), "TLS on a plain port");
    let all = senders.sightings(Instant::now());
    let of_curl = all.iter().find(|one| one.who.agent == "curl/8").unwrap();
    assert_eq!(of_curl.who.service, None);
    assert_eq!((of_curl.total.requests, of_curl.total.refused), (7, 7));
    assert_eq!(of_curl.refusal.as_ref().unwrap().words, "there is no OTLP endpoint at /");
    assert_eq!(all.len(), 2);
    // Pages in browsers are all one sender, whose address is not shown.
    for peer in 1..9 {
        let page =
            Caller { is_stranger: true, agent: curl.agent.clone(), ..caller([9, 9, 9, peer]) };
        senders.turned_away("otlp/pages", &page, "too many");
    }
    let all = senders.sightings(Instant::now());
    let mut pages = all.iter().filter(|one| one.who.receiver == "otlp/pages");
    let page = pages.next().unwrap();
    assert_eq!((page.who.peer, &*page.who.agent, page.total.refused), (None, "", 8));
    assert_eq!(pages.next(), None);
    // A client may send any text.
    let long = "\u{1F41D}".repeat(1000);
    senders.turned_away("otlp", &curl, &long);
    let all = senders.sightings(Instant::now());
    let words = all.iter().filter_map(|one| one.refusal.as_ref()).map(|one| one.words.len());
    assert_eq!(words.max(), Some(500));
}

#[tokio::test(start_paused = true)]
async fn the_one_that_was_seen_least_recently_goes() {
    let senders = Senders::default();
    let caller = caller([10, 0, 0, 1]);
    let see = |service: &str| senders.of_data(&origin(&caller), &named(service), Instant::now());
    for number in 0..MOST {
        see(&format!("s{number}"));
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    see("s0");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(senders.forgotten(), 0);
    see("new");
    let all = senders.sightings(Instant::now());
    let has = |name: &str| all.iter().any(|one| one.who.service.as_deref() == Some(name));
    assert_eq!((all.len(), senders.forgotten()), (MOST, 1));
    assert!(has("s0") && has("new") && !has("s1") && has("s2"));
}

#[tokio::test(start_paused = true)]
async fn rates_are_those_of_the_last_minute() {
    let senders = Senders::default();
    let caller = caller([10, 0, 0, 1]);
    let shop = senders.of_data(&origin(&caller), &named("shop"), Instant::now());
    for second in 1..=120 {
        tokio::time::advance(Duration::from_secs(1)).await;
        shop.count_taken(Signal::Traces, if second <= 60 { 1000 } else { 2 });
        if second % 5 == 0 {
            senders.note_counters(Instant::now());
        }
        let seen = senders.sightings(Instant::now()).remove(0);
        if second == 10 {
            assert_eq!((seen.recent.items(), seen.span), (10_000, Duration::from_secs(10)));
        }
    }
    let seen = senders.sightings(Instant::now()).remove(0);
    assert_eq!(seen.span, Duration::from_mins(1));
    assert_eq!((seen.recent.items(), seen.total.items()), (120, 60_120));
}
