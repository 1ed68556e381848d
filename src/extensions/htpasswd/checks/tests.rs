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
    tokio::time::pause();
    let other = checks.is_right(&users, "ann", "other", Some(peer(2))).await;
    assert_eq!(other, Err(Denied::Unavailable(BUSY.into())));
    let lanes = lock(&checks.lanes);
    assert!(lanes.by_sender.is_empty() && lanes.waiting == 0, "nobody waits any more");
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
    let (right, wrong) = (Right::default(), Wrong::default());
    let start = Instant::now();
    wrong.note([1; 32], start);
    right.note([2; 32]);
    assert!(wrong.has(&[1; 32], start) && !wrong.has(&[2; 32], start));
    assert!(!wrong.has(&[1; 32], start + WRONG_FOR));
    assert!(right.has(&[2; 32]));
    for _ in 0..2 {
        for i in 0..=u8::MAX {
            wrong.note([i; 32], start);
            right.note([i; 32]);
        }
    }
    assert_eq!((lock(&right.0).len(), lock(&wrong.0).len()), (MOST_RIGHT, MOST_WRONG));
}

/// While no thread is free, only what needs no comparison is answered.
#[tokio::test(start_paused = true)]
async fn an_unknown_name_is_compared_as_a_known_one_is() {
    let (users, _) = Users::read(ANN);
    let checks = Checks::new().unwrap();
    let ask = |name: &'static str, password: &'static str| {
        checks.is_right(&users, name, password, Some(peer(1)))
    };
    // The password of the stand-in lets nobody else in.
    assert_eq!(ask("eve", "myPassword").await, Ok(false));
    let all = u32::try_from(checks.threads.available_permits()).unwrap();
    let taken = Arc::clone(&checks.threads).acquire_many_owned(all).await.unwrap();
    let busy = Err(Denied::Unavailable(BUSY.into()));
    assert_eq!(ask("eve", "myPassword").await, Ok(false), "it is remembered");
    assert_eq!(ask("bob", "myPassword").await, busy, "for this name it is not");
    assert_eq!(ask("ann", "myPassword").await, busy);
    drop(taken);
    assert_eq!(ask("ann", "myPassword").await, Ok(true));
    assert_eq!(ask("eve", "myPassword").await, Ok(false));

    let (plain, _) = Users::read("ann:in clear");
    assert_eq!(checks.is_right(&plain, "eve", "in clear", None).await, Ok(false));
}

#[tokio::test]
async fn what_is_too_long_is_never_hashed_slowly() {
    let (users, _) = Users::read(&format!("{ANN}\nbob:{}", "p".repeat(LONGEST + 1)));
    let checks = Checks::new().unwrap();
    let all = u32::try_from(checks.threads.available_permits()).unwrap();
    let _taken = Arc::clone(&checks.threads).acquire_many_owned(all).await.unwrap();
    let long = "p".repeat(LONGEST + 1);
    for name in ["ann", "eve", &long] {
        assert_eq!(checks.is_right(&users, name, &long, None).await, Ok(false), "{name}");
    }
    assert_eq!(checks.is_right(&users, &long, "p", None).await, Ok(false));
    let plain = checks.is_right(&users, "bob", &long, None).await;
    assert_eq!(plain, Ok(true), "text is compared whatever its length");
}

#[tokio::test]
async fn a_sender_has_one_lane_and_all_lanes_have_a_limit() {
    let checks = Checks::new().unwrap();
    let places: Vec<_> = (0..MOST_WAITING).map(|_| checks.enter(Some(peer(1))).unwrap()).collect();
    assert!(checks.enter(Some(peer(1))).is_none());
    assert_eq!(lock(&checks.lanes).by_sender.len(), 1);
    let others: Vec<_> = (0..MOST_WAITING_IN_ALL - MOST_WAITING)
        .map(|i| checks.enter(Some(peer(u8::try_from(2 + i / MOST_WAITING).unwrap()))).unwrap())
        .collect();
    assert!(checks.enter(Some(peer(200))).is_none());
    drop(places);
    assert!(checks.enter(Some(peer(200))).is_some());
    drop(others);
    assert_eq!(lock(&checks.lanes).waiting, 0);
}

#[test]
fn a_sender_is_a_network() {
    let of = |text: &str| network(text.parse().unwrap());
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
}
