//! The account under contention, in virtual time.

use super::*;

fn budget(limit: u64) -> Arc<Budget> {
    Budget::new(limit, Arc::default())
}

const PATIENCE: Duration = Duration::from_secs(3);

#[test]
fn a_tiny_body_is_charged_a_kibibyte() {
    let budget = budget(4096);
    let permit = budget.try_acquire(10).unwrap();
    assert_eq!((permit.bytes(), budget.used()), (1024, 1024));
    drop(permit);
    assert_eq!(budget.used(), 0);
}

#[test]
fn clones_share_one_charge() {
    let budget = budget(4096);
    let permit = budget.try_acquire(2000).unwrap();
    let clone = permit.clone();
    drop(permit);
    assert_eq!(budget.used(), 2000);
    drop(clone);
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_above_the_limit_is_refused_at_once() {
    let start = tokio::time::Instant::now();
    assert_eq!(budget(4096).acquire(4097, PATIENCE).await.unwrap_err(), Reason::TooLarge);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_served_when_bytes_come_back() {
    let budget = budget(4096);
    let held = budget.try_acquire(4000).unwrap();
    let waiter = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.acquire(3000, PATIENCE).await }
    });
    tokio::task::yield_now().await;
    assert!(budget.try_acquire(1).is_none());
    drop(held);
    assert_eq!(waiter.await.unwrap().unwrap().bytes(), 3000);
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn patience_ends_and_those_behind_go_on() {
    let budget = budget(10_000);
    let _held = budget.try_acquire(5000).unwrap();
    let large = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.acquire(9000, Duration::from_secs(1)).await.map(drop) }
    });
    tokio::task::yield_now().await;
    let small = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.acquire(2000, PATIENCE).await.map(drop) }
    });
    assert_eq!(large.await.unwrap(), Err(Reason::OverBudget));
    assert_eq!(small.await.unwrap(), Ok(()));
    assert_eq!(budget.used(), 5000);
}

/// Many bodies that are read at the same time under an account that holds a few of them: every
/// one gets its bytes or a refusal in time, whatever the order, and nothing stays charged.
#[test]
fn a_tiny_budget_with_many_readers_never_deadlocks_and_returns_to_zero() {
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let sizes: Vec<usize> = (0..200).map(|_| random.usize(1..6000)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let budget = budget(8192);
        let account = Arc::clone(&budget);
        runtime.block_on(async move {
            let mut readers = tokio::task::JoinSet::new();
            for size in sizes {
                let budget = Arc::clone(&account);
                let pause = Duration::from_millis(random.u64(0..50));
                readers.spawn(async move {
                    let Ok(permit) = budget.acquire(size, Duration::from_millis(500)).await else {
                        return false;
                    };
                    tokio::time::sleep(pause).await;
                    let grown = permit.try_more(1000);
                    assert!(budget.used() <= budget.limit());
                    tokio::task::yield_now().await;
                    drop(grown);
                    true
                });
            }
            let results = readers.join_all().await;
            assert!(results.iter().filter(|served| **served).count() > 10);
        });
        assert_eq!(budget.used(), 0, "seed {seed}");
        assert_eq!(budget.waiting.load(Ordering::SeqCst), 0);
    }
}
