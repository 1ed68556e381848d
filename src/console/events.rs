//! The stream of what changes: server-sent events by topic, one stream for a page.
//!
//! Each topic is a state, read once a second for all viewers together, and only while somebody
//! looks. A viewer has one slot for each topic. What a slow reader has not taken by the next
//! reading is replaced by it; `missed` says how many readings that were. So a viewer costs a few
//! pointers, whatever it does, and a page that comes back gets the present state at once.
//!
//! An event has the number of its reading as its `id`, the topic as its name, and the same JSON as
//! the call of that name.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{Settings, Sources, api::Reader};
use crate::{component::Stop, net::server::Reply, sync::lock};

/// Viewers at a time.
pub(super) const VIEWERS: usize = 8;
/// How often the topics are read.
const TICK: Duration = Duration::from_secs(1);
/// A line that keeps proxies from closing the stream, and shows that its reader still reads.
const STILL_HERE: Duration = Duration::from_secs(15);
/// A viewer that has read nothing for so long makes room for another one.
const STUCK: Duration = Duration::from_secs(45);

/// What can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    About,
    Health,
    Topology,
    Problems,
    Budget,
    Backends,
    Senders,
    WhereStopped,
}

impl Topic {
    const ALL: [Topic; 8] = [
        Topic::About,
        Topic::Health,
        Topic::Topology,
        Topic::Problems,
        Topic::Budget,
        Topic::Backends,
        Topic::Senders,
        Topic::WhereStopped,
    ];

    const fn name(self) -> &'static str {
        match self {
            Topic::About => "about",
            Topic::Health => "health",
            Topic::Topology => "topology",
            Topic::Problems => "problems",
            Topic::Budget => "budget",
            Topic::Backends => "backends",
            Topic::Senders => "senders",
            Topic::WhereStopped => "where-stopped",
        }
    }

    /// The topics of a list such as `health,topology`; an error names what is unknown.
    pub(super) fn listed(list: &str) -> Result<Vec<Topic>, String> {
        let mut found = Vec::new();
        for name in list.split(',').filter(|name| !name.is_empty()) {
            let Some(topic) = Topic::ALL.into_iter().find(|topic| topic.name() == name) else {
                return Err(format!("there is no topic `{}`", name.escape_debug()));
            };
            if !found.contains(&topic) {
                found.push(topic);
            }
        }
        if found.is_empty() { Err("no topic is named".to_owned()) } else { Ok(found) }
    }
}

/// A state of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Reading {
    /// Counts the readings of this topic that differed from the one before; 0 before the first.
    number: u64,
    /// Counts those of all topics.
    id: u64,
    data: Bytes,
}

/// Reads the topics for all viewers.
pub(super) struct Hub {
    reader: Reader,
    topics: [watch::Sender<Reading>; Topic::ALL.len()],
    /// Counts readings of all topics.
    ids: AtomicU64,
    /// Changes after each of them, for tasks that wait for the next one.
    last: watch::Sender<u64>,
    viewers: Arc<Viewers>,
}

impl Hub {
    pub(super) fn new(sources: Sources, settings: &Settings) -> Arc<Self> {
        Arc::new(Hub {
            reader: Reader::new(sources, settings),
            topics: std::array::from_fn(|_| watch::Sender::default()),
            ids: AtomicU64::default(),
            last: watch::Sender::default(),
            viewers: Arc::default(),
        })
    }

    /// Reads the watched topics until `stop` is raised.
    pub(super) async fn run(&self, mut stop: Stop) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.raised() => return,
            }
            for topic in Topic::ALL {
                if self.topics[topic as usize].receiver_count() > 0 {
                    self.read(topic).await;
                }
            }
        }
    }

    async fn read(&self, topic: Topic) {
        let data = match topic {
            Topic::About => self.reader.about(),
            Topic::Health => self.reader.health(),
            Topic::Topology => self.reader.topology(),
            Topic::Problems => Reader::problems(),
            Topic::Budget => self.reader.budget().await,
            Topic::Backends => self.reader.backends(),
            Topic::Senders => self.reader.senders(),
            Topic::WhereStopped => self.reader.ladders(),
        };
        let has_changed = self.topics[topic as usize].send_if_modified(|reading| {
            let has_changed = reading.data != data;
            if has_changed {
                let id = self.ids.fetch_add(1, Ordering::Relaxed) + 1;
                *reading = Reading { number: reading.number + 1, id, data };
            }
            has_changed
        });
        if has_changed {
            self.last.send_modify(|last| *last += 1);
        }
    }

    /// A stream for one more viewer; `None` if there are too many.
    pub(super) async fn watch(self: &Arc<Self>, topics: &[Topic], stop: Stop) -> Option<Reply> {
        let seat = Viewers::take(&self.viewers)?;
        let slots = topics.iter().map(|&topic| {
            let readings = self.topics[topic as usize].subscribe();
            Slot { topic, readings, number: 0 }
        });
        let slots: Vec<Slot> = slots.collect();
        for &topic in topics {
            self.read(topic).await;
        }
        let (sender, parts) = mpsc::channel(1);
        let last = self.last.subscribe();
        Some(Reply::streamed(parts, feed(seat, slots, last, sender, stop)))
    }
}

/// What one viewer sees of a topic.
struct Slot {
    topic: Topic,
    readings: watch::Receiver<Reading>,
    /// The number of the reading that was sent last.
    number: u64,
}

impl Slot {
    /// The event of a reading that was not sent yet.
    fn event(&mut self) -> Option<Bytes> {
        let reading = self.readings.borrow_and_update();
        if reading.number == self.number {
            return None;
        }
        let missed = match self.number {
            0 => 0,
            before => reading.number - before - 1,
        };
        self.number = reading.number;
        let mut event = Vec::with_capacity(reading.data.len() + 100);
        if missed > 0 {
            let (name, id) = (self.topic.name(), reading.id);
            let told = format!(
                "id: {id}\nevent: missed\ndata: {{\"topic\":\"{name}\",\"readings\":{missed}}}\n\n"
            );
            event.extend_from_slice(told.as_bytes());
        }
        let head = format!("id: {}\nevent: {}\ndata: ", reading.id, self.topic.name());
        event.extend_from_slice(head.as_bytes());
        // JSON has no line feeds outside of text, where they are escaped.
        event.extend_from_slice(&reading.data);
        event.extend_from_slice(b"\n\n");
        Some(event.into())
    }
}

/// Sends events as they come, until the viewer has gone, has to make room, or the process ends.
async fn feed(
    seat: Seat,
    mut slots: Vec<Slot>,
    mut last: watch::Receiver<u64>,
    sender: mpsc::Sender<Bytes>,
    mut stop: Stop,
) {
    loop {
        last.borrow_and_update();
        for slot in &mut slots {
            let Some(event) = slot.event() else { continue };
            if !seat.is_kept() || sender.send(event).await.is_err() {
                return;
            }
        }
        let waited = tokio::select! {
            waited = tokio::time::timeout(STILL_HERE, last.changed()) => waited,
            () = stop.raised() => return,
        };
        let part = match waited {
            Ok(Ok(())) => continue,
            Ok(Err(_)) => return,
            Err(_) => Bytes::from_static(b": still here\n\n"),
        };
        if !seat.is_kept() || sender.send(part).await.is_err() {
            return;
        }
    }
}

/// Who watches.
#[derive(Debug, Default)]
struct Viewers(Mutex<Vec<Arc<State>>>);

#[derive(Debug)]
struct State {
    /// When the viewer last read something.
    read: Mutex<Instant>,
    is_told_to_go: AtomicBool,
}

/// The place of a viewer; given back when it is dropped.
struct Seat {
    viewers: Arc<Viewers>,
    state: Arc<State>,
}

impl Viewers {
    /// A place, if need be that of a viewer that does not read any more.
    fn take(viewers: &Arc<Self>) -> Option<Seat> {
        let mut all = lock(&viewers.0);
        if all.len() >= VIEWERS {
            let stuck = all.iter().position(|state| lock(&state.read).elapsed() > STUCK)?;
            all.remove(stuck).is_told_to_go.store(true, Ordering::Relaxed);
        }
        let state =
            State { read: Mutex::new(Instant::now()), is_told_to_go: AtomicBool::default() };
        let state = Arc::new(state);
        all.push(Arc::clone(&state));
        drop(all);
        Some(Seat { viewers: Arc::clone(viewers), state })
    }
}

impl Seat {
    /// Notes that the viewer reads; false if its place was given away.
    fn is_kept(&self) -> bool {
        *lock(&self.state.read) = Instant::now();
        !self.state.is_told_to_go.load(Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.viewers.0).retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(number: u64, id: u64) -> Reading {
        Reading { number, id, data: Bytes::from(format!("{{\"n\":{number}}}")) }
    }

    #[test]
    fn topics_are_known_by_name() {
        assert_eq!(Topic::listed("health,topology,health").unwrap().len(), 2);
        assert!(Topic::listed("").is_err() && Topic::listed("health,nothing").is_err());
        for topic in Topic::ALL {
            assert_eq!(Topic::listed(topic.name()), Ok(vec![topic]));
            assert!(Topic::ALL[topic as usize] == topic, "they are in order");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_the_newest_reading_and_is_told_what_it_missed() {
        let viewers = Arc::new(Viewers::default());
        let readings = watch::Sender::new(reading(1, 1));
        let slot = Slot { topic: Topic::Health, readings: readings.subscribe(), number: 0 };
        let (last, (sender, mut parts)) = (watch::Sender::new(1), mpsc::channel(1));
        let (_stop, stopped) = Stop::pair();
        let seat = Viewers::take(&viewers).unwrap();
        let feeding = tokio::spawn(feed(seat, vec![slot], last.subscribe(), sender, stopped));
        let text = |part: Bytes| String::from_utf8(part.to_vec()).unwrap();
        assert_eq!(text(parts.recv().await.unwrap()), "id: 1\nevent: health\ndata: {\"n\":1}\n\n");
        // Nobody reads: the channel holds the second reading, the others replace each other.
        for number in 2..=9 {
            readings.send_replace(reading(number, number));
            last.send_replace(number);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(text(parts.recv().await.unwrap()), "id: 2\nevent: health\ndata: {\"n\":2}\n\n");
        let third = text(parts.recv().await.unwrap());
        assert!(third.starts_with("id: 3\nevent: health\n"), "{third}");
        let newest = text(parts.recv().await.unwrap());
        let missed = "event: missed\ndata: {\"topic\":\"health\",\"readings\":5}\n\n";
        assert!(newest.contains(missed) && newest.ends_with("data: {\"n\":9}\n\n"), "{newest}");
        // Nothing changes.
        assert_eq!(text(parts.recv().await.unwrap()), ": still here\n\n");
        drop(parts);
        readings.send_replace(reading(10, 10));
        last.send_replace(10);
        feeding.await.unwrap();
        assert!(lock(&viewers.0).is_empty(), "its place is free");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_makes_room_for_the_next_one() {
        let viewers = Arc::new(Viewers::default());
        let seats: Vec<Seat> = (0..VIEWERS).map(|_| Viewers::take(&viewers).unwrap()).collect();
        assert!(Viewers::take(&viewers).is_none());
        tokio::time::advance(STUCK + Duration::from_millis(1)).await;
        for seat in &seats[1..] {
            assert!(seat.is_kept());
        }
        let ninth = Viewers::take(&viewers).unwrap();
        assert!(!seats[0].is_kept(), "it had not read for long");
        assert!(Viewers::take(&viewers).is_none());
        drop(seats);
        drop(ninth);
        assert!(lock(&viewers.0).is_empty());
    }
}
