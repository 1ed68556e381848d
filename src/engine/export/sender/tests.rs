//! An exporter that encodes once: whatever the backend answers, no item is encoded twice.

use std::{
    collections::VecDeque,
    sync::{Mutex, atomic::AtomicU64},
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};

use super::*;
use crate::{
    budget::{Mode, Settings, Share, Unit},
    component::{Backoff, Count, Encodes, Exporter, Piece, Progress, Sent, Work},
    engine::{
        export::{
            allowance::Allowance,
            meter::Meter,
            offload::{HandOver, Offload},
            outage::Outage,
            partial::Partial,
            state::State,
            workspace::Workspace,
        },
        panics::Panics,
    },
    otlp::{Signal, payload::Body},
};

/// A request with two spans without fields.
const SPANS: &[u8] = &[0x0a, 6, 0x12, 4, 0x12, 0, 0x12, 0];

/// Makes pieces of one item, each the running total of items, as one that adds up does.
struct Total {
    encodes: Encodes,
    encoded: AtomicU64,
    /// The answers to come; then everything is accepted.
    answers: Mutex<VecDeque<Retry>>,
    /// The totals that were sent.
    sent: Mutex<Vec<u64>>,
}

impl Exporter for Total {
    type Encoded = u64;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<u64>, ExportError> {
        let mut walk = work.walk();
        while !matches!(walk.next(), None | Some(crate::otlp::content::Step::Item(_))) {}
        let total = self.encoded.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(work.piece(total, 8, &walk))
    }

    fn encodes(&self) -> Encodes {
        self.encodes
    }

    fn send(&self, total: u64, _: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>> {
        self.sent.lock().unwrap().push(total);
        let answer = match self.answers.lock().unwrap().pop_front() {
            None => Ok(Sent::default()),
            // It comes too late.
            Some(Retry::Unanswered) => return Box::pin(std::future::pending()),
            Some(retry) => Err(ExportError { retry, message: "no".to_owned() }),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// The totals that were sent of a merged payload of four items, and the items that were sent and
/// that failed.
async fn totals(
    encodes: Encodes,
    answers: &[Retry],
    hand_over: Option<HandOver>,
) -> (Vec<u64>, [u64; 2]) {
    let (sender, exporter) = sender(encodes, answers, hand_over, None);
    deliver(&sender).await;
    let (sent, stats) = (exporter.sent.lock().unwrap().clone(), &sender.carrier.stats);
    (sent, [stats.sent.read(), stats.failed.read()])
}

fn sender(
    encodes: Encodes,
    answers: &[Retry],
    hand_over: Option<HandOver>,
    meter: Option<Meter>,
) -> (Arc<Sender>, Arc<Total>) {
    let telemetry = Arc::new(Telemetry::default());
    let exporter = Arc::new(Total {
        encodes,
        encoded: AtomicU64::new(0),
        answers: Mutex::new(answers.iter().copied().collect()),
        sent: Mutex::default(),
    });
    let carrier = Carrier {
        exporter: Arc::<Total>::clone(&exporter),
        retry: Some(Backoff {
            initial_interval: Duration::from_secs(1),
            randomization_factor: 0.0,
            multiplier: 1.0,
            max_interval: Duration::from_secs(1),
            max_elapsed_time: Some(Duration::from_secs(10)),
        }),
        timeout: Some(Duration::from_secs(3)),
        stats: telemetry.exporter("home", Signal::Metrics, "nowhere"),
        offload: Offload::new(hand_over, Panics::channel().0),
        workspace: Arc::new(Workspace::default()),
        is_guarded: false,
        meter,
        state: Arc::<State>::default(),
        outage: Outage::default(),
        partial: Partial::default(),
    };
    let sender = Sender { carrier, queue: None, telemetry, dead_letters: None };
    (Arc::new(sender), exporter)
}

async fn deliver(sender: &Arc<Sender>) {
    let mut payload = Payload::unpaid(Signal::Traces, SPANS.into(), 4);
    payload.body = Body::from_iter([SPANS.into(), SPANS.into()]);
    let (_abandon, abandoned) = watch::channel(false);
    assert_eq!(Arc::clone(sender).deliver(payload, None, abandoned).await, 0);
}

/// Units that are used after each of three payloads of four items, which are sent one by one.
async fn used(answers: &[Retry]) -> [u64; 3] {
    let settings = Settings {
        unit: Unit::Items,
        per_month: 1000,
        share: Share::WHOLE,
        mode: Mode::Stop,
        zone: TimeZone::UTC,
        reset_day: 1,
    };
    let now = Timestamp::from_second(1_793_491_200).unwrap();
    let clock = Arc::new(move || now);
    let meter = Telemetry::default().meter("budget home");
    let allowance = Allowance::open("home", settings, None, clock, &meter).unwrap();
    let meter = Meter::new(Arc::clone(&allowance), Count::Items);
    let (sender, _) = sender(Encodes::OnWorker, answers, None, Some(meter));
    let mut used = [0; 3];
    for after in &mut used {
        deliver(&sender).await;
        *after = allowance.budget().report(0, now).used;
    }
    used
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_taken_counts_once_while_the_exporter_fails() {
    assert_eq!(used(&[]).await, [4, 8, 12]);
    // A payload is given up after three attempts of three seconds, and so is what is left of it.
    let late = [Retry::Unanswered; 6];
    // The first attempt of all counts by itself; those that follow, while the exporter fails, count
    // once for each payload.
    assert_eq!(used(&late).await, [2, 3, 7]);
    assert_eq!(used(&late[..2]).await, [5, 9, 13], "the third attempt is that of the second");
    // What was refused is known not to be taken.
    assert_eq!(used(&[Retry::After(None); 22]).await, [0, 0, 4]);
}

#[tokio::test(start_paused = true)]
async fn what_is_encoded_once_is_kept_for_the_next_attempt() {
    let again = [Retry::After(None), Retry::After(None)];
    let once = totals(Encodes::OrderedOnce, &again, None).await;
    assert_eq!(once, (vec![1, 1, 1, 2, 3, 4], [4, 0]));
    let each_time = totals(Encodes::OnWorker, &again, None).await;
    assert_eq!(each_time, (vec![1, 2, 3, 4, 5, 6], [4, 0]));
}

#[tokio::test(start_paused = true)]
async fn what_is_encoded_once_is_never_encoded_in_parts() {
    for refusal in [Retry::Split, Retry::Never] {
        let once = totals(Encodes::OrderedOnce, &[refusal], None).await;
        assert_eq!(once, (vec![1, 2, 3, 4], [3, 1]), "{refusal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_worker_may_have_encoded_is_not_encoded_again() {
    let encoded = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&encoded);
    // It encodes, and ends before it can tell the result.
    let lost: HandOver = Arc::new(move |work| {
        seen.fetch_add(1, Ordering::SeqCst);
        drop(work);
    });
    let outcome = totals(Encodes::OrderedOnce, &[], Some(Arc::clone(&lost))).await;
    assert_eq!((outcome, encoded.load(Ordering::SeqCst)), ((Vec::new(), [0, 4]), 1));
    totals(Encodes::OnWorker, &[], Some(lost)).await;
    assert!(encoded.load(Ordering::SeqCst) > 2, "others are encoded again");
}
