use super::*;
use crate::admin::proto::{BudgetClass, BudgetEater, BudgetLeftOut};

fn budget() -> MonthlyBudget {
    let class =
        |name: &str, wanted, passing| BudgetClass { name: name.to_owned(), wanted, passing };
    let eater = |service: &str, name: &str, wanted| BudgetEater {
        service: service.to_owned(),
        name: name.to_owned(),
        wanted,
        error: 0,
    };
    MonthlyBudget {
        exporter: "honeycomb".to_owned(),
        unit: "events".to_owned(),
        mode: "pace".to_owned(),
        limit: 20_000_000,
        share: "1/1".to_owned(),
        start_unix_ms: 1_793_491_200_000,
        end_unix_ms: 1_796_083_200_000,
        used: 8_123_456,
        forecast: 19_104_200,
        unlimited: 84_550_012,
        classes: vec![
            class("error", 0.118, 1.0),
            class("slow", 1.42, 1.0),
            class("rest", 46.6, 0.129),
        ],
        exhausted: false,
        ledger: "/var/lib/skep/exporter_honeycomb_budget".to_owned(),
        trouble: String::new(),
        eaters: vec![
            eater("shop", "GET /cart", 40_112_000),
            eater("pay", "POST /charge", 2_400_512),
            eater("shop", "GET /\u{1b}[2J", 1_000_000),
            eater("", "cron", 512),
        ],
        left_out_paced: 35_001_000,
        left_out_ceiling: 0,
        left_out: vec![
            BudgetLeftOut { service: "shop".to_owned(), units: 35_000_000 },
            BudgetLeftOut { service: String::new(), units: 1_000 },
        ],
    }
}

fn noon() -> Timestamp {
    Timestamp::from_second(1_794_916_800).unwrap()
}

#[test]
fn a_budget_is_told_in_full() {
    insta::assert_snapshot!(story(&budget(), noon()), @r"
    honeycomb: paced, so that the rest lasts to the end of the month
      used      8 123 456 of 20 000 000 events (40.6 %)
      forecast  19 104 200 at the end of the month; 84 550 012 without a budget
      left out  35 001 000 events, so that the rest lasts
      month     2026-11-01T00:00:00Z to 2026-12-01T00:00:00Z, 13 days left
      error     all of 0.12 events a second pass
      slow      all of 1.42 events a second pass
      rest      12.9 % of 46.6 events a second pass
      ledger    /var/lib/skep/exporter_honeycomb_budget
      services       41 112 000   94.4 %  shop
                      2 400 512    5.5 %  pay
                            512  0.001 %  (no service)
      left out       35 000 000   99.9 %  shop
                          1 000  0.003 %  (no service)
      names          40 112 000   92.1 %  shop: GET /cart
                      2 400 512    5.5 %  pay: POST /charge
                      1 000 000    2.2 %  shop: GET /\x1b[2J
                            512  0.001 %  (no service): cron
    ");
}

#[test]
fn a_budget_that_is_used_up_says_so() {
    let full = MonthlyBudget {
        mode: "stop".to_owned(),
        used: 20_000_000,
        forecast: 20_000_000,
        share: "1/3".to_owned(),
        ledger: String::new(),
        trouble: "No space left on device".to_owned(),
        exhausted: true,
        eaters: Vec::new(),
        left_out_ceiling: 7,
        left_out: Vec::new(),
        ..budget()
    };
    insta::assert_snapshot!(story(&full, noon()), @r"
    honeycomb: used up: nothing passes until the month ends
      used      20 000 000 of 20 000 000 events (100.0 %); share 1/3
      forecast  20 000 000 at the end of the month; 84 550 012 without a budget
      left out  35 001 000 events, so that the rest lasts; 7, because nothing was left
      month     2026-11-01T00:00:00Z to 2026-12-01T00:00:00Z, 13 days left
      error     all of 0.12 events a second pass
      slow      all of 1.42 events a second pass
      rest      12.9 % of 46.6 events a second pass
      ledger    in memory only: a restart forgets what is used; set `budget: storage`
                cannot be written: No space left on device
    ");
    let state_of =
        |mode: &str, used| state(&MonthlyBudget { mode: mode.to_owned(), used, ..full.clone() });
    assert!(state_of("warn", 20_000_001).contains("sent nevertheless"));
    assert_eq!(state_of("stop", 7), "everything passes (mode stop)");
}

#[test]
fn programs_get_json() {
    let value = document(&budget());
    assert_eq!(value["start"], "2026-11-01T00:00:00Z");
    assert_eq!(value["classes"]["rest"]["passing"], 0.129);
    assert_eq!(value["eaters"][1]["service"], "pay");
    let services =
        json!([{"service": "shop", "units": 35_000_000}, {"service": "", "units": 1000}]);
    let left_out = json!({"paced": 35_001_000, "ceiling": 0, "services": services});
    assert_eq!(value["left_out"], left_out);
    assert!(value["trouble"].is_null() && value["used"] == 8_123_456);
}

#[test]
fn numbers_are_short_and_all_means_all() {
    assert_eq!(percent(0.9999), "99.9 %");
    assert_eq!(percent(1.0), "100.0 %");
    assert_eq!(percent(0.000_42), "0.042 %");
    assert_eq!(percent(0.0), "0.0 %");
    assert_eq!(grouped(0) + &grouped(999) + &grouped(1000), "09991 000");
}
