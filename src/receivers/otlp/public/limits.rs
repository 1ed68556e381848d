//! How much may come: from each client, and from all together.
//!
//! Each limit is a bucket that fills at its rate and holds what comes in [`BURST`]. A client is an
//! IPv4 address or an IPv6 network of 64 bits, because a client that has one address of such a
//! network has all of them. The table has a limit: beyond it new clients share one entry.

use std::{collections::HashMap, net::IpAddr, sync::Mutex, time::Duration};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::sync::lock;

/// A bucket holds what comes in this time.
const BURST: f64 = 10.0;

/// Clients that have their own entry. One takes about 80 bytes, so all of them less than 3 MiB.
const MOST: usize = 16 * 1024;

/// A table that is full is searched for idle clients this often.
const SWEEP: Duration = Duration::from_secs(1);

/// Requests and items in a second; 0: no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rates {
    pub(super) requests_per_client: f64,
    pub(super) items_per_client: f64,
    pub(super) requests: f64,
}

/// Which limit a request is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    OfClient,
    OfAll,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: f64, now: Instant) -> Self {
        Bucket { level: rate * BURST, at: now }
    }

    fn fill(&mut self, rate: f64, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        *self = Bucket { level: (self.level + passed * rate).min(rate * BURST), at: now };
    }

    /// When there is enough for one more. What is taken may exceed what is left, so that a request
    /// that is larger than a bucket gets through at some time; others then wait for longer.
    fn wait(&mut self, rate: f64, now: Instant) -> Option<Duration> {
        self.fill(rate, now);
        let missing = 1.0 - self.level;
        (rate > 0.0 && missing > 0.0).then(|| Duration::from_secs_f64(missing / rate))
    }

    fn take(&mut self, count: f64, rate: f64) {
        if rate > 0.0 {
            self.level -= count;
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Client {
    requests: Bucket,
    items: Bucket,
}

#[derive(Debug)]
struct Table {
    all: Bucket,
    clients: HashMap<u128, Client, RandomState>,
    swept: Instant,
}

/// The limits of a port.
#[derive(Debug)]
pub(super) struct Limits {
    rates: Rates,
    table: Mutex<Table>,
}

/// The key of clients that find the table full. No network has it: it is neither mapped IPv4 nor
/// has it 64 zeros at its end.
const OTHERS: u128 = u128::MAX;

/// The number by which a client is known.
fn number(client: Option<IpAddr>) -> u128 {
    match client.map(|client| client.to_canonical()) {
        None => 0,
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped().to_bits(),
        Some(IpAddr::V6(address)) => address.to_bits() >> 64 << 64,
    }
}

impl Limits {
    pub(super) fn new(rates: Rates) -> Self {
        let now = Instant::now();
        let all = Bucket::full(rates.requests, now);
        let table = Table { all, clients: HashMap::default(), swept: now };
        Limits { rates, table: Mutex::new(table) }
    }

    /// Counts a request, or says which limit it is over and when to come back. What a client is
    /// refused costs the others nothing.
    pub(super) fn take_request(&self, client: Option<IpAddr>) -> Result<(), (Over, Duration)> {
        let (rates, now) = (self.rates, Instant::now());
        let mut table = lock(&self.table);
        let wait = table.all.wait(rates.requests, now);
        let entry = table.client(number(client), rates, now);
        if let Some(wait) = entry.requests.wait(rates.requests_per_client, now) {
            return Err((Over::OfClient, wait));
        }
        if let Some(wait) = wait {
            return Err((Over::OfAll, wait));
        }
        entry.requests.take(1.0, rates.requests_per_client);
        table.all.take(1.0, rates.requests);
        Ok(())
    }

    /// Counts the items of a request, or says when to come back.
    pub(super) fn take_items(&self, client: Option<IpAddr>, items: u64) -> Result<(), Duration> {
        let (rates, now) = (self.rates, Instant::now());
        let mut table = lock(&self.table);
        let entry = table.client(number(client), rates, now);
        if let Some(wait) = entry.items.wait(rates.items_per_client, now) {
            return Err(wait);
        }
        #[expect(clippy::cast_precision_loss, reason = "a request has far fewer items")]
        let items = items as f64;
        entry.items.take(items, rates.items_per_client);
        Ok(())
    }
}

impl Table {
    fn client(&mut self, number: u128, rates: Rates, now: Instant) -> &mut Client {
        let mut number = number;
        if self.clients.len() >= MOST && !self.clients.contains_key(&number) {
            self.sweep(rates, now);
            if self.clients.len() >= MOST {
                number = OTHERS;
            }
        }
        self.clients.entry(number).or_insert_with(|| Client {
            requests: Bucket::full(rates.requests_per_client, now),
            items: Bucket::full(rates.items_per_client, now),
        })
    }

    /// Forgets clients whose buckets are full: a new entry would say the same.
    fn sweep(&mut self, rates: Rates, now: Instant) {
        if now.saturating_duration_since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        self.clients.retain(|_, client| {
            client.requests.fill(rates.requests_per_client, now);
            client.items.fill(rates.items_per_client, now);
            client.requests.level < rates.requests_per_client * BURST
                || client.items.level < rates.items_per_client * BURST
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests_per_client: f64, items_per_client: f64, requests: f64) -> Limits {
        Limits::new(Rates { requests_per_client, items_per_client, requests })
    }

    fn client(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn taken(limits: &Limits, from: Option<IpAddr>, of: u32) -> usize {
        (0..of).filter(|_| limits.take_request(from).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_a_rate_and_a_burst() {
        let limits = limits(2.0, 0.0, 0.0);
        assert_eq!(taken(&limits, Some(client("10.0.0.1")), 30), 20);
        let (over, wait) = limits.take_request(Some(client("10.0.0.1"))).unwrap_err();
        assert_eq!((over, wait), (Over::OfClient, Duration::from_millis(500)));
        assert_eq!(taken(&limits, Some(client("10.0.0.2")), 30), 20, "another one has its own");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(taken(&limits, Some(client("10.0.0.1")), 30), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_network_is_one_client_and_a_mapped_address_is_ipv4() {
        let limits = limits(1.0, 0.0, 0.0);
        assert_eq!(taken(&limits, Some(client("2001:db8:0:1::1")), 10), 10);
        assert_eq!(taken(&limits, Some(client("2001:db8:0:1:ffff::9")), 1), 0);
        assert_eq!(taken(&limits, Some(client("2001:db8:0:2::1")), 1), 1);
        assert_eq!(taken(&limits, Some(client("::ffff:10.0.0.1")), 10), 10);
        assert_eq!(taken(&limits, Some(client("10.0.0.1")), 1), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_have_a_limit_which_refused_requests_do_not_use_up() {
        let limits = limits(1.0, 0.0, 2.0);
        assert_eq!(taken(&limits, Some(client("10.0.0.1")), 5_000), 10);
        assert_eq!(taken(&limits, Some(client("10.0.0.2")), 5), 5);
        assert_eq!(taken(&limits, Some(client("10.0.0.3")), 10), 5);
        let (over, wait) = limits.take_request(Some(client("10.0.0.4"))).unwrap_err();
        assert_eq!((over, wait), (Over::OfAll, Duration::from_millis(500)));
    }

    #[tokio::test(start_paused = true)]
    async fn items_have_a_rate_of_their_own() {
        let limits = limits(0.0, 100.0, 0.0);
        let from = Some(client("10.0.0.1"));
        assert_eq!(limits.take_items(from, 900), Ok(()));
        assert_eq!(limits.take_items(from, 600), Ok(()), "one may exceed what is left");
        let wait = limits.take_items(from, 1).unwrap_err();
        assert_eq!(wait, Duration::from_secs_f64(5.01));
        tokio::time::advance(wait).await;
        assert_eq!(limits.take_items(from, 1), Ok(()));
        assert_eq!(taken(&limits, from, 1000), 1000, "requests have no limit here");
    }

    #[tokio::test(start_paused = true)]
    async fn many_clients_take_no_more_memory() {
        let limits = limits(1.0, 1.0, 0.0);
        let address = |number: u32| Some(IpAddr::from(number.to_be_bytes()));
        for number in 0..100_000 {
            let _ = limits.take_request(address(number));
        }
        let len = || lock(&limits.table).clients.len();
        assert_eq!(len(), MOST + 1);
        assert!(limits.take_request(address(200_000)).is_err(), "it shares the others' entry");
        assert!(limits.take_request(address(1)).is_ok(), "one that is known has its own");
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(limits.take_request(address(200_000)).is_ok());
        assert!(len() < 10, "{}", len());
    }
}
