//! A processor on requests in plain JSON, for tests.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::Value;

use crate::{
    component::{BuildContext, Entry, Output, Processor, ProcessorConfig},
    config::{Problems, yaml},
    otlp::{
        Payload, Signal,
        check::{self, Utf8},
        payload::Context,
        plain::{bytes, shown},
        split,
    },
};

/// A processor that runs.
pub(super) struct Trial {
    processor: Box<dyn Processor>,
    signal: Signal,
    cx: BuildContext,
    pub(super) now: Instant,
    /// The request that brings what is sent.
    pub(super) request: Option<Arc<Context>>,
}

/// What came out of it.
#[derive(Debug)]
pub(super) struct Came {
    /// The requests that went on.
    pub(super) requests: Vec<Value>,
    /// Whether the first one is the allocation that was sent.
    pub(super) is_same: bool,
    /// Items of the requests.
    pub(super) items: u64,
    pub(super) filtered: u64,
    pub(super) refused: u64,
}

impl Came {
    /// The only request; null if there is none.
    pub(super) fn only(&self) -> Value {
        assert!(self.requests.len() < 2, "{self:?}");
        self.requests.first().cloned().unwrap_or_default()
    }
}

impl Trial {
    /// Builds a processor of these settings, which have to be right.
    pub(super) fn of(entry: &Entry<dyn ProcessorConfig>, signal: Signal, settings: &str) -> Self {
        let (node, mut problems) = (yaml::parse(0, settings).unwrap(), Problems::default());
        let config = (entry.decode)(&node, &mut problems).expect(settings);
        config.validate(&node, &mut problems);
        assert!(!problems.has_errors(), "{settings}\n{problems:#?}");
        let cx = BuildContext::test(entry.name, signal);
        let processor = config.replicas(&cx, 1).unwrap().remove(0);
        Trial { processor, signal, cx, now: Instant::now(), request: None }
    }

    /// Sends a request.
    pub(super) fn send(&mut self, request: &Value) -> Came {
        let body = Bytes::from(bytes(self.signal, request));
        let items = split::count_items(self.signal, &body);
        let mut payload = Payload::unpaid(self.signal, body.clone(), items);
        payload.context = self.request.clone();
        let mut out = Output::at(self.now);
        self.processor.process(payload, &mut out);
        Self::came(&mut out, &body)
    }

    /// Sends bytes as they are. What comes out, which is valid if they were, and whether it is the
    /// allocation that was sent.
    pub(super) fn send_body(&mut self, body: Vec<u8>) -> (Vec<u8>, bool) {
        let body = Bytes::from(body);
        let is_valid = check::check(self.signal, &body, Utf8::Strict).is_ok();
        let items = split::count_items(self.signal, &body);
        let mut out = Output::at(self.now);
        self.processor.process(Payload::unpaid(self.signal, body.clone(), items), &mut out);
        let (filtered, refused) = out.take_counts();
        let (mut came, mut counted, mut is_same) = (Vec::new(), 0, false);
        for payload in out.take() {
            is_same = payload.body.len() == 1 && payload.body[0].as_ptr() == body.as_ptr();
            counted += payload.items;
            payload.body.iter().for_each(|part| came.extend_from_slice(part));
        }
        if is_valid {
            check::check(self.signal, &came, Utf8::Strict).expect("what comes out is valid");
            assert_eq!(counted, split::count_items(self.signal, &came), "the items are counted");
            assert_eq!(refused, 0, "nothing is refused");
            assert!(filtered <= items, "no more is filtered than there was");
        }
        (came, is_same)
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, time: Duration) -> Came {
        self.now += time;
        let mut out = Output::at(self.now);
        while self.processor.next_tick().is_some_and(|due| due <= self.now) {
            self.processor.tick(&mut out);
        }
        Self::came(&mut out, &Bytes::new())
    }

    /// Ends the processor.
    pub(super) fn drain(&mut self) -> Came {
        let mut out = Output::at(self.now);
        self.processor.drain(&mut out);
        Self::came(&mut out, &Bytes::new())
    }

    fn came(out: &mut Output, sent: &Bytes) -> Came {
        let (filtered, refused) = out.take_counts();
        let payloads = out.take();
        let is_same = payloads
            .first()
            .is_some_and(|one| one.body.len() == 1 && one.body[0].as_ptr() == sent.as_ptr());
        let mut items = 0;
        let mut requests = Vec::new();
        for payload in payloads {
            let body = payload.body.concat();
            check::check(payload.signal, &body, Utf8::Strict).expect("what comes out is valid");
            let counted = split::count_items(payload.signal, &body);
            assert_eq!(payload.items, counted, "the number of items is right");
            items += counted;
            requests.push(shown(payload.signal, &body));
        }
        Came { requests, is_same, items, filtered, refused }
    }

    /// The sum of a metric.
    pub(super) fn sum(&self, metric: &str) -> u64 {
        self.cx.telemetry.registry().sum(metric)
    }
}

/// What is wrong with settings: the text at the place, the message, the remedy.
pub(super) fn problems(entry: &Entry<dyn ProcessorConfig>, settings: &str) -> Vec<[String; 3]> {
    let (node, mut problems) = (yaml::parse(0, settings).unwrap(), Problems::default());
    if let Some(config) = (entry.decode)(&node, &mut problems)
        && !problems.has_errors()
    {
        config.validate(&node, &mut problems);
    }
    let shown = |problem: &crate::config::Problem| {
        let range = problem.place.as_ref().map(|place| place.range.clone()).unwrap_or_default();
        let at = settings.get(range).unwrap_or_default().to_owned();
        [at, problem.message.clone(), problem.help.clone().unwrap_or_default()]
    };
    problems.0.iter().map(shown).collect()
}

/// The settings of the examples in the header of a component.
pub(super) fn examples(entry: &Entry<dyn ProcessorConfig>) -> Vec<String> {
    let header = entry.source.lines().take_while(|line| line.starts_with("//!"));
    let text: Vec<&str> = header.map(|line| line.strip_prefix("//! ").unwrap_or("")).collect();
    let text = text.join("\n");
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let body = |block: &str| {
        let (_, body) = block.split_once(":\n").unwrap_or(("", block));
        body.to_owned()
    };
    blocks.map(body).collect()
}
