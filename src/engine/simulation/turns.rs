//! A worker that has a large request takes turns with other requests.

use super::*;
use crate::engine::work::worker;

/// Passes payloads on, and notes how many items each had.
struct Notes(&'static str, Arc<Mutex<Vec<String>>>);

impl Processor for Notes {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        self.1.lock().unwrap().push(format!("{} {}", self.0, payload.items));
        out.emit(payload);
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_request_leaves_its_worker_to_others_between_two_processors() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let stage = |name: &'static str| {
        let seen = Arc::clone(&seen);
        let make = move || Box::new(Notes(name, Arc::clone(&seen))) as Box<dyn Processor>;
        TestStage { name, partition: Partition::Any, make: Box::new(make) }
    };
    let exporter: Arc<dyn ErasedExporter> = Arc::new(BackendExporter(Backend::new(healthy())));
    let world = World::start(Setup {
        workers: 1,
        limit: 64 << 20,
        stages: vec![stage("first"), stage("second")],
        exporters: vec![(exporter, delivery())],
        journal: None,
    });
    let large = usize::try_from(worker::LARGE).unwrap() + 1;
    let (one, other) = tokio::join!(
        World::send(&world.inlet, "large", large, Wait::Acceptance),
        World::send(&world.inlet, "small", 1, Wait::Acceptance),
    );
    assert_eq!((one, other), (Ok(()), Ok(())));
    assert_eq!(
        *seen.lock().unwrap(),
        [
            format!("first {large}"),
            "first 1".to_owned(),
            "second 1".to_owned(),
            format!("second {large}")
        ]
    );
    assert_eq!(world.drain(Duration::from_secs(9)).await, 0);
}
