//! Which passwords are known already, and who waits for a comparison that takes long.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ring::{hmac, rand::SystemRandom};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{User, Users};
use crate::component::Denied;

/// Longest wait for the turn of a comparison: as long as a request waits for memory.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most lanes at a time, each with one comparison that runs or waits for a thread.
const MOST_LANES: usize = 256;
/// Most requests that wait in one lane.
const MOST_WAITING: usize = 32;
/// Passwords of a user that are remembered as right. Usually there is one.
const MOST_RIGHT: usize = 4;
/// The same for wrong ones.
const MOST_WRONG: usize = 16;
/// How long a wrong password is remembered.
const WRONG_FOR: Duration = Duration::from_mins(1);

const BUSY: &str = "too many credentials wait to be checked; send the request again later";

/// A password under a key that only this process has.
type Mark = [u8; 32];

/// What was compared before.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Compared>);

#[derive(Debug, Default)]
struct Compared {
    right: VecDeque<Mark>,
    wrong: VecDeque<(Mark, Instant)>,
}

impl Memory {
    /// Whether a password is right, where that is known.
    fn of(&self, mark: &Mark, now: Instant) -> Option<bool> {
        let mut compared = lock(&self.0);
        if compared.right.contains(mark) {
            return Some(true);
        }
        let is_old = |since: Instant| now.saturating_duration_since(since) >= WRONG_FOR;
        compared.wrong.retain(|(_, since)| !is_old(*since));
        compared.wrong.iter().any(|(wrong, _)| wrong == mark).then_some(false)
    }

    fn note(&self, mark: Mark, is_right: bool, now: Instant) {
        let mut compared = lock(&self.0);
        if is_right {
            if compared.right.len() == MOST_RIGHT {
                compared.right.pop_front();
            }
            compared.right.push_back(mark);
        } else {
            if compared.wrong.len() == MOST_WRONG {
                compared.wrong.pop_front();
            }
            compared.wrong.push_back((mark, now));
        }
    }
}

/// Where a sender waits: its network and the name of the user.
type LaneOf = (Option<IpAddr>, String);

/// One comparison at a time, and how many requests are in the lane.
type Lane = (Arc<Semaphore>, usize);

/// Compares passwords, slow ones on a few threads.
pub(in crate::extensions) struct Checks {
    key: hmac::Key,
    threads: Arc<Semaphore>,
    lanes: Mutex<HashMap<LaneOf, Lane>>,
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
        let Some(user) = users.named(name) else { return Ok(false) };
        if !user.hash.is_slow() {
            return Ok(user.hash.is_of(password));
        }
        let mark = self.mark(password);
        if let Some(is_right) = user.memory.of(&mark, Instant::now()) {
            return Ok(is_right);
        }
        let busy = || Denied::Unavailable(Cow::Borrowed(BUSY));
        let place = self.enter((peer.map(network), name.to_owned())).ok_or_else(busy)?;
        let waited = tokio::time::timeout(PATIENCE, async {
            let turn = place.turns.acquire().await.ok()?;
            // Those before it in the lane mostly have the same password.
            if let Some(is_right) = user.memory.of(&mark, Instant::now()) {
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
        let (user, password) = (Arc::clone(user), password.to_owned());
        let compared = tokio::task::spawn_blocking(move || compare(&user, &password, mark, thread));
        compared.await.map_err(|_| busy())
    }

    fn mark(&self, password: &str) -> Mark {
        let mut mark = Mark::default();
        mark.copy_from_slice(hmac::sign(&self.key, password.as_bytes()).as_ref());
        mark
    }

    fn enter(&self, of: LaneOf) -> Option<Place<'_>> {
        let mut lanes = lock(&self.lanes);
        if lanes.len() >= MOST_LANES && !lanes.contains_key(&of) {
            return None;
        }
        let new = || (Arc::new(Semaphore::new(1)), 0);
        let (turns, waiting) = lanes.entry(of.clone()).or_insert_with(new);
        if *waiting == MOST_WAITING {
            return None;
        }
        *waiting += 1;
        let turns = Arc::clone(turns);
        Some(Place { checks: self, of, turns })
    }
}

/// Compares, and remembers. The thread is free at the end, whether or not somebody still waits.
fn compare(user: &User, password: &str, mark: Mark, thread: OwnedSemaphorePermit) -> bool {
    let is_right = user.hash.is_of(password);
    user.memory.note(mark, is_right, Instant::now());
    drop(thread);
    is_right
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
        if let Some((_, waiting)) = lanes.get_mut(&self.of) {
            *waiting -= 1;
            if *waiting == 0 {
                lanes.remove(&self.of);
            }
        }
    }
}

/// What stands for one sender: an IPv4 address, or the /64 network of an IPv6 address, which one
/// sender usually has as a whole.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The password `myPassword` with bcrypt of the lowest cost that a file has.
    const ANN: &str = "ann:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC";

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn a_password_is_compared_once() {
        let (users, _) = Users::read(ANN);
        let checks = Checks::new().unwrap();
        assert_eq!(checks.is_right(&users, "ann", "myPassword", Some(peer(1))).await, Ok(true));
        assert_eq!(checks.is_right(&users, "ann", "wrong", Some(peer(1))).await, Ok(false));
        // No thread is left: what is known needs none, and what is not has to come again.
        let all = u32::try_from(checks.threads.available_permits()).unwrap();
        let _taken = Arc::clone(&checks.threads).acquire_many_owned(all).await.unwrap();
        assert_eq!(checks.is_right(&users, "ann", "myPassword", Some(peer(2))).await, Ok(true));
        assert_eq!(checks.is_right(&users, "ann", "wrong", Some(peer(2))).await, Ok(false));
        assert_eq!(checks.is_right(&users, "eve", "myPassword", Some(peer(2))).await, Ok(false));
        tokio::time::pause();
        let other = checks.is_right(&users, "ann", "other", Some(peer(2))).await;
        assert_eq!(other, Err(Denied::Unavailable(BUSY.into())));
        assert!(lock(&checks.lanes).is_empty(), "nobody waits any more");
    }

    #[tokio::test]
    async fn wrong_passwords_of_one_sender_do_not_fill_the_lanes_of_others() {
        let (users, _) = Users::read(ANN);
        let checks = Arc::new(Checks::new().unwrap());
        let users = Arc::new(users);
        let mut attack = tokio::task::JoinSet::new();
        for i in 0..500 {
            let (checks, users) = (Arc::clone(&checks), Arc::clone(&users));
            attack.spawn(async move {
                checks.is_right(&users, "ann", &format!("guess {i}"), Some(peer(66))).await
            });
        }
        tokio::task::yield_now().await;
        let before = Instant::now();
        assert_eq!(checks.is_right(&users, "ann", "myPassword", Some(peer(1))).await, Ok(true));
        assert!(before.elapsed() < PATIENCE, "{:?}", before.elapsed());
        let (mut refused, mut busy) = (0, 0);
        while let Some(guess) = attack.join_next().await {
            match guess.unwrap() {
                Ok(is_right) => {
                    assert!(!is_right);
                    refused += 1;
                }
                Err(_) => busy += 1,
            }
        }
        // A few more come in while the first are compared.
        assert!(refused < 2 * MOST_WAITING && refused + busy == 500, "{refused} {busy}");
    }

    #[test]
    fn what_was_compared_is_forgotten_in_time() {
        let memory = Memory::default();
        let start = Instant::now();
        memory.note([1; 32], false, start);
        memory.note([2; 32], true, start);
        assert_eq!(memory.of(&[1; 32], start), Some(false));
        assert_eq!(memory.of(&[1; 32], start + WRONG_FOR), None);
        assert_eq!(memory.of(&[2; 32], start + WRONG_FOR * 1000), Some(true));
        for i in 0..100 {
            memory.note([i; 32], i % 2 == 0, start);
        }
        let compared = lock(&memory.0);
        assert_eq!((compared.right.len(), compared.wrong.len()), (MOST_RIGHT, MOST_WRONG));
    }

    #[test]
    fn a_sender_is_a_network() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
