//! `skep explain` and `skep sample`: the decisions of the tail samplers of a running skep, from its
//! control plane.

use std::fmt::Write as _;

use super::{
    control::{Patience, ask},
    print,
};
use crate::{
    admin::proto::{Decision, ExplainRequest, WatchDecisionsRequest, WatchDecisionsResponse},
    config::shown::escaped,
};

/// Prints why a trace was kept or not.
pub(super) fn explain(endpoint: &str, trace_id: &str) -> u8 {
    ask(endpoint, async |mut client| {
        let request = ExplainRequest { trace_id: trace_id.to_owned() };
        let answer = Patience::short(endpoint).wait(client.explain(request)).await?;
        let decisions = answer.into_inner().decisions;
        let texts: Vec<String> = decisions.iter().map(story).collect();
        Ok(print::output(&texts.join("\n")))
    })
}

/// Prints the last decisions, and with `follow` also new ones as they are made.
pub(super) fn sample(endpoint: &str, last: u32, follow: bool) -> u8 {
    ask(endpoint, async |mut client| {
        let request = WatchDecisionsRequest { last, follow };
        let patience = Patience::short(endpoint);
        let mut stream = patience.wait(client.watch_decisions(request)).await?.into_inner();
        let mut is_first = true;
        loop {
            // It may take for ever until the next decision.
            let message = if follow {
                stream.message().await?
            } else {
                patience.wait(stream.message()).await?
            };
            let Some(message) = message else { return Ok(0) };
            let mut text = if is_first { heading() } else { String::new() };
            is_first = false;
            text.push_str(&lines(&message));
            if print::write(&text).is_err() {
                // The reader has closed the pipe, or the disk is full.
                return Ok(print::output(""));
            }
        }
    })
}

/// A decision in full.
fn story(one: &Decision) -> String {
    let mut text = format!("trace {}\n", one.trace_id);
    // Names come from applications.
    let mut row = |name: &str, words: String| {
        let _ = writeln!(text, "  {name:<12}{}", escaped(&words));
    };
    let outcome = match (one.kept, one.dry_run) {
        (true, false) => "kept",
        (false, false) => "not kept",
        (true, true) => "would have been kept (dry run)",
        (false, true) => "would not have been kept (dry run)",
    };
    let by = if one.policy.is_empty() {
        "no policy sampled it".to_owned()
    } else {
        format!("by policy {}", one.policy)
    };
    row("outcome", format!("{outcome}, {by}"));
    if one.kept {
        let rate = rounded(one.rate);
        row("stands for", if rate == "1" { "itself".to_owned() } else { format!("{rate} traces") });
    }
    let root = if one.root.is_empty() { "(no root span arrived)" } else { &*one.root };
    row("root", root.to_owned());
    row("service", one.service.clone());
    let plural = if one.spans == 1 { "" } else { "s" };
    let size = format!("{} span{plural}, {} bytes, {}", one.spans, one.bytes, duration(one));
    row("size", size);
    row("decided", format!("{} UTC, {}", time(one), reason(one)));
    row("where", format!("{} in pipeline {}", one.processor, one.pipeline));
    let width = one.votes.iter().map(|vote| vote.policy.chars().count()).max().unwrap_or(0);
    for (i, vote) in one.votes.iter().enumerate() {
        let title = if i == 0 { "votes" } else { "" };
        let words = vote.vote.replace('_', " ");
        row(title, format!("{:<width$}  {words}", vote.policy));
    }
    text
}

fn reason(one: &Decision) -> &'static str {
    match one.reason.as_str() {
        "wait_elapsed" => "after decision_wait",
        "root_received" => "after its root had arrived",
        "certain" => "as soon as it was certain",
        "too_large" => "because it was too large",
        "too_many_traces" => "early, because more than num_traces were waiting",
        "out_of_memory" => "early, because memory was used up",
        "shutdown" => "when skep ended",
        _ => "for a reason that this skep does not know",
    }
}

fn heading() -> String {
    format!(
        "{:<12}  {:<4}  {:<20}  {:>6}  {:<32}  {:>5}  {:>10}  {}\n",
        "time (UTC)", "kept", "policy", "rate", "trace", "spans", "duration", "service: root"
    )
}

/// One line for each decision.
fn lines(message: &WatchDecisionsResponse) -> String {
    let mut text = String::new();
    if message.missed > 0 {
        let _ = writeln!(text, "... {} more, which were too many to be shown", message.missed);
    }
    for one in &message.decisions {
        let kept = if one.kept { "yes" } else { "no" };
        let policy = if one.policy.is_empty() { "-" } else { &one.policy };
        let early = match one.reason.as_str() {
            "too_large" | "too_many_traces" | "out_of_memory" => format!(" ({})", one.reason),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "{:<12}  {kept:<4}  {policy:<20}  {:>6}  {:<32}  {:>5}  {:>10}  {}: {}{early}",
            time(one),
            rounded(one.rate),
            one.trace_id,
            one.spans,
            duration(one),
            escaped(&one.service),
            escaped(&one.root),
        );
    }
    text
}

fn time(one: &Decision) -> String {
    let (millis, seconds) = (one.at_unix_ms % 1000, one.at_unix_ms / 1000 % 86_400);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}")
}

#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
fn duration(one: &Decision) -> String {
    match one.duration_us {
        micros @ ..1_000 => format!("{micros} us"),
        micros @ ..10_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// A rate without digits that say nothing.
fn rounded(rate: f64) -> String {
    let text = format!("{rate:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::proto::PolicyVote;

    fn decision() -> Decision {
        let vote = |policy: &str, vote: &str| PolicyVote {
            policy: policy.to_owned(),
            vote: vote.to_owned(),
        };
        Decision {
            processor: "tail_sampling".to_owned(),
            pipeline: "traces".to_owned(),
            trace_id: "5b8efff798038103d269b633813fc60c".to_owned(),
            at_unix_ms: 1_763_726_401_234,
            kept: true,
            dry_run: false,
            reason: "wait_elapsed".to_owned(),
            policy: "rest".to_owned(),
            votes: vec![vote("errors", "not_sampled"), vote("rest", "sampled")],
            rate: 20.0,
            root: "GET /cart".to_owned(),
            service: "shop".to_owned(),
            spans: 8,
            bytes: 5920,
            duration_us: 1_203_400,
        }
    }

    #[test]
    fn a_decision_is_told_in_full() {
        insta::assert_snapshot!(story(&decision()), @r"
        trace 5b8efff798038103d269b633813fc60c
          outcome     kept, by policy rest
          stands for  20 traces
          root        GET /cart
          service     shop
          size        8 spans, 5920 bytes, 1203.4 ms
          decided     12:00:01.234 UTC, after decision_wait
          where       tail_sampling in pipeline traces
          votes       errors  not sampled
                      rest    sampled
        ");
    }

    #[test]
    fn decisions_are_told_in_a_line_each() {
        let dropped = Decision {
            kept: false,
            policy: String::new(),
            rate: 0.0,
            reason: "out_of_memory".to_owned(),
            root: "GET \u{1b}[2J/cart\n".to_owned(),
            ..decision()
        };
        let message = WatchDecisionsResponse { decisions: vec![decision(), dropped], missed: 3 };
        insta::assert_snapshot!(heading() + &lines(&message), @r"
        time (UTC)    kept  policy                  rate  trace                             spans    duration  service: root
        ... 3 more, which were too many to be shown
        12:00:01.234  yes   rest                      20  5b8efff798038103d269b633813fc60c      8   1203.4 ms  shop: GET /cart
        12:00:01.234  no    -                          0  5b8efff798038103d269b633813fc60c      8   1203.4 ms  shop: GET \x1b[2J/cart\n (out_of_memory)
        ");
    }
}
