//! Which passwords are known already, and which requests wait for a comparison that takes long.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ring::{hmac, rand::SystemRandom};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{User, Users};
use crate::{component::Denied, sync::lock};

/// Longest wait for the turn of a comparison: as long as a request waits for memory.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most lanes at a time, each with one comparison that runs or waits for a thread.
const MOST_LANES: usize = 256;
/// Most requests that wait in one lane.
const MOST_WAITING: usize = 32;
/// Most requests that wait in all lanes.
const MOST_WAITING_IN_ALL: usize = 1024;
/// Longest name and password that are hashed slowly, in bytes. bcrypt takes 72 of a password, and
/// the time of SHA-crypt grows with it: 0.6 s for 47 KB.
const LONGEST: usize = 256;
/// Passwords of a user that are remembered as right. Usually there is one.
const MOST_RIGHT: usize = 4;
/// Passwords of all names that are remembered as wrong.
const MOST_WRONG: usize = 256;
/// How long a wrong password is remembered.
const WRONG_FOR: Duration = Duration::from_mins(1);

const BUSY: &str = "too many credentials wait to be checked; send the request again later";

/// A name and a password under a key that only this process has.
type Mark = [u8; 32];

/// Passwords of one user that were right.
#[derive(Debug, Default)]
pub(super) struct Right(Mutex<VecDeque<Mark>>);

/// Passwords that were wrong, and when. One memory for all names, those that are no user's
/// included: with a memory each, its size would tell which names are users.
#[derive(Debug, Default)]
pub(super) struct Wrong(Mutex<VecDeque<(Mark, Instant)>>);

impl Right {
    fn has(&self, mark: &Mark) -> bool {
        lock(&self.0).contains(mark)
    }

    fn note(&self, mark: Mark) {
        let mut right = lock(&self.0);
        if right.len() == MOST_RIGHT {
            right.pop_front();
        }
        right.push_back(mark);
    }
}

impl Wrong {
    fn has(&self, mark: &Mark, now: Instant) -> bool {
        let mut wrong = lock(&self.0);
        let is_old = |since: Instant| now.saturating_duration_since(since) >= WRONG_FOR;
        wrong.retain(|(_, since)| !is_old(*since));
        wrong.iter().any(|(wrong, _)| wrong == mark)
    }

    fn note(&self, mark: Mark, now: Instant) {
        let mut wrong = lock(&self.0);
        if wrong.len() == MOST_WRONG {
            wrong.pop_front();
        }
        wrong.push_back((mark, now));
    }
}

/// One password that has to be compared.
#[derive(Clone)]
struct Question {
    mark: Mark,
    /// Whose hash it is compared with.
    user: Arc<User>,
    /// The name is no user's: whatever the comparison says, the password is wrong.
    is_stranger: bool,
    wrong: Arc<Wrong>,
}

impl Question {
    /// Whether the password is right, where that is known.
    fn known(&self, now: Instant) -> Option<bool> {
        if !self.is_stranger && self.user.right.has(&self.mark) {
            return Some(true);
        }
        self.wrong.has(&self.mark, now).then_some(false)
    }

    /// Compares, and remembers. Frees the thread at the end, even if the request waits no longer.
    fn compare(&self, password: &str, thread: OwnedSemaphorePermit) -> bool {
        let is_right = self.user.hash.is_of(password) && !self.is_stranger;
        if is_right {
            self.user.right.note(self.mark);
        } else {
            self.wrong.note(self.mark, Instant::now());
        }
        drop(thread);
        is_right
    }
}

/// Where a sender waits: its network. Not the user, too: one sender would have as many lanes as
/// there are names.
type LaneOf = Option<IpAddr>;

/// One comparison at a time, and how many requests are in the lane.
type Lane = (Arc<Semaphore>, usize);

/// The lanes, and how many requests are in all of them.
#[derive(Debug, Default)]
struct Lanes {
    by_sender: HashMap<LaneOf, Lane>,
    waiting: usize,
}

/// Compares passwords, slow ones on a few threads.
pub(in crate::extensions) struct Checks {
    key: hmac::Key,
    threads: Arc<Semaphore>,
    lanes: Mutex<Lanes>,
}

impl Checks {
    /// Fails where the system has no random numbers.
    pub(in crate::extensions) fn new() -> Result<Self, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| "the system has no random numbers".to_owned())?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = Arc::new(Semaphore::new((cores / 2).max(1)));
        Ok(Checks { key, threads, lanes: Mutex::default() })
    }

    /// Whether a password is that of a user. An error: that could not be found out in time.
    pub(in crate::extensions) async fn is_right(
        &self,
        users: &Users,
        name: &str,
        password: &str,
        peer: Option<IpAddr>,
    ) -> Result<bool, Denied> {
        let known = users.named(name);
        let Some(user) = known.or(users.stand_in.as_ref()) else { return Ok(false) };
        if !user.hash.is_slow() {
            return Ok(user.hash.is_of(password));
        }
        if password.len() > LONGEST || name.len() > LONGEST {
            return Ok(false);
        }
        let question = Question {
            mark: self.mark(name, password),
            user: Arc::clone(user),
            is_stranger: known.is_none(),
            wrong: Arc::clone(&users.wrong),
        };
        match question.known(Instant::now()) {
            Some(is_right) => Ok(is_right),
            None => self.compared(question, password, peer).await,
        }
    }

    /// Compares when the sender has its turn.
    async fn compared(
        &self,
        question: Question,
        password: &str,
        peer: Option<IpAddr>,
    ) -> Result<bool, Denied> {
        let busy = || Denied::Unavailable(Cow::Borrowed(BUSY));
        let place = self.enter(peer.map(network)).ok_or_else(busy)?;
        let waited = tokio::time::timeout(PATIENCE, async {
            let turn = place.turns.acquire().await.ok()?;
            // Those before it in the lane mostly have the same password.
            if let Some(is_right) = question.known(Instant::now()) {
                return Some((turn, Err(is_right)));
            }
            let thread = Arc::clone(&self.threads).acquire_owned().await.ok()?;
            Some((turn, Ok(thread)))
        });
        let (_turn, thread) = waited.await.ok().flatten().ok_or_else(busy)?;
        let thread = match thread {
            Ok(thread) => thread,
            Err(is_right) => return Ok(is_right),
        };
        let password = password.to_owned();
        let compared = tokio::task::spawn_blocking(move || question.compare(&password, thread));
        compared.await.map_err(|_| busy())
    }

    fn mark(&self, name: &str, password: &str) -> Mark {
        let mut signed = hmac::Context::with_key(&self.key);
        // A name has no colon.
        for part in [name, ":", password] {
            signed.update(part.as_bytes());
        }
        let mut mark = Mark::default();
        mark.copy_from_slice(signed.sign().as_ref());
        mark
    }

    fn enter(&self, of: LaneOf) -> Option<Place<'_>> {
        let mut lanes = lock(&self.lanes);
        let is_new = !lanes.by_sender.contains_key(&of);
        if lanes.waiting == MOST_WAITING_IN_ALL || is_new && lanes.by_sender.len() >= MOST_LANES {
            return None;
        }
        let new = || (Arc::new(Semaphore::new(1)), 0);
        let (turns, waiting) = lanes.by_sender.entry(of).or_insert_with(new);
        if *waiting == MOST_WAITING {
            return None;
        }
        *waiting += 1;
        let turns = Arc::clone(turns);
        lanes.waiting += 1;
        Some(Place { checks: self, of, turns })
    }
}

/// A place in a lane; the lane ends with its last one.
struct Place<'a> {
    checks: &'a Checks,
    of: LaneOf,
    turns: Arc<Semaphore>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lanes = lock(&self.checks.lanes);
        lanes.waiting -= 1;
        if let Some((_, waiting)) = lanes.by_sender.get_mut(&self.of) {
            *waiting -= 1;
            if *waiting == 0 {
                lanes.by_sender.remove(&self.of);
            }
        }
    }
}

/// What identifies one sender: an IPv4 address, or the /64 network of an IPv6 address, which one
/// sender usually has as a whole.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests;
