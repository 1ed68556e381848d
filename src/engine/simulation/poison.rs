//! A request that panics whenever it is processed, in a journal: the process is started again and
//! again, as a supervisor does it, until it goes on. All other requests are delivered, and the one
//! is kept as a file. The panic comes in a processor, behind a batch, or in a timer that fires
//! while no payload is in anybody's hands.

use std::{panic::resume_unwind, path::Path};

use super::*;
use crate::{
    component::{ComponentId, Kind, Stop, Storage},
    engine::{
        disk::storages::{Owner, Storages},
        intake::replay::replay,
    },
    storage::Overflow,
};

/// Where it panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Processor,
    BehindBatch,
    Timer,
}

/// Holds what it gets for a moment, and panics over what is bad.
struct Touchy {
    place: Place,
    held: Vec<Payload>,
}

fn is_bad(payload: &Payload) -> bool {
    payload.body.iter().any(|segment| segment.windows(6).any(|window| window == b"poison"))
}

fn burst() {
    // As `panic!`, without a line on stderr.
    resume_unwind(Box::new("a panic that the test asked for"));
}

impl Processor for Touchy {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        if self.place == Place::Timer {
            return self.held.push(payload);
        }
        if is_bad(&payload) {
            burst();
        }
        out.emit(payload);
    }

    fn next_tick(&self) -> Option<std::time::Instant> {
        let soon = tokio::time::Instant::now().into_std() + Duration::from_millis(5);
        (!self.held.is_empty()).then_some(soon)
    }

    fn tick(&mut self, out: &mut Output) {
        if self.held.iter().any(is_bad) {
            burst();
        }
        self.drain(out);
    }

    fn drain(&mut self, out: &mut Output) {
        self.held.drain(..).for_each(|payload| out.emit(payload));
    }
}

fn start(
    place: Place,
    workers: usize,
    storages: &Arc<Storages>,
    directory: &Path,
) -> (World, Arc<Backend>) {
    let backend = Backend::new(healthy());
    let exporter: Arc<dyn ErasedExporter> = Arc::new(BackendExporter(Arc::clone(&backend)));
    let joins = TestStage {
        name: "joins",
        partition: Partition::Single,
        make: Box::new(|| Box::new(Joiner { limit: 20, held: None })),
    };
    let touchy = TestStage {
        name: "touchy",
        partition: Partition::Any,
        make: Box::new(move || Box::new(Touchy { place, held: Vec::new() })),
    };
    let stages = match place {
        Place::BehindBatch => vec![joins, touchy],
        Place::Processor | Place::Timer => vec![touchy, joins],
    };
    let storage = Storage {
        directory: directory.to_owned(),
        creates_directory: false,
        mode: 0o750,
        timeout: Duration::from_secs(5),
        limit: 1 << 30,
        segment_size: 1 << 20,
        overflow: Overflow::Block,
        fsync: false,
    };
    let storages = Arc::clone(storages);
    let journal = move |panics: &Panics| {
        let id = ComponentId { kind_name: "otlp".to_owned(), name: None };
        let owner = Owner { kind: Kind::Receiver, id: &id, signal: None, part: "journal" };
        storages.store("file_storage", &storage, owner, panics).unwrap().unwrap()
    };
    let world = World::start(Setup {
        workers,
        limit: 1 << 24,
        stages,
        exporters: vec![(exporter, delivery())],
        journal: Some(Box::new(journal)),
    });
    (world, backend)
}

/// One process: it takes `names`, delivers what it can, and ends. Returns whether it has panicked.
async fn process(
    place: Place,
    workers: usize,
    directory: &Path,
    names: &[&str],
    delivered: &mut HashMap<String, u64>,
) -> bool {
    let storages = Arc::new(Storages::live(Arc::default()));
    let (world, backend) = start(place, workers, &storages, directory);
    let World { pool, inlet, graph, store, mut dispatchers, mut ticking, mut panics, .. } = world;
    let store = store.unwrap();
    let (stop, stopped) = Stop::pair();
    let reading = Journal::new(Arc::clone(&store), false);
    let replaying = tokio::spawn(replay(reading, Arc::clone(&inlet), stopped));
    for name in names {
        World::send(&inlet, name, 1, Wait::Acceptance).await.unwrap();
    }
    let settled = async {
        while store.held().records > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let has_panicked = tokio::select! {
        () = settled => false,
        Some(_) = panics.recv() => true,
    };
    drop(stop);
    replaying.await.unwrap();
    drop(world.abandon);
    dispatchers.abort_all();
    while dispatchers.join_next().await.is_some() {}
    ticking.shutdown().await;
    if has_panicked {
        storages.note_panic();
    }
    storages.close().await;
    tokio::task::spawn_blocking(move || pool.stop()).await.unwrap();
    drop((inlet, graph));
    for (name, count) in backend.taken.lock().unwrap().iter() {
        *delivered.entry(name.clone()).or_default() += count;
    }
    // Its directory is locked for as long as a claim on a record lives.
    while Arc::strong_count(&store) > 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    has_panicked
}

async fn goes_on(place: Place, workers: usize) {
    let directory = tempfile::tempdir().unwrap();
    let mut delivered = HashMap::new();
    let names: Vec<String> = (0..40).map(|number| format!("good {number}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.insert(25, "poison");
    let mut panics = 0;
    while process(place, workers, directory.path(), &names, &mut delivered).await {
        names.clear();
        panics += 1;
        assert!(panics < 5, "{place:?}, {workers} workers: it panics again and again");
    }
    let at = format!("{place:?}, {workers} workers");
    assert!(panics >= 2, "{at}: a live request, and a trial");
    assert_eq!(delivered.len(), 40, "{at}: all others are delivered");
    assert!(!delivered.contains_key("poison"));
    let journal = directory.path().join("receiver_otlp_journal");
    let kept = std::fs::read_dir(&journal).unwrap().map(|file| file.unwrap().file_name());
    let mut kept: Vec<String> = kept.map(|name| name.into_string().unwrap()).collect();
    kept.retain(|name| name.starts_with("panicked-"));
    assert!(kept.len() == 1 && kept[0].ends_with("-traces.binpb"), "{at}: {kept:?}");
    let kept = std::fs::read(journal.join(&kept[0])).unwrap();
    assert_eq!(kept, request("poison", 1), "{at}");
}

#[test]
fn a_request_that_always_panics_is_set_aside_and_all_others_are_delivered() {
    for place in [Place::Processor, Place::BehindBatch, Place::Timer] {
        for workers in [1, 3] {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_time()
                .build()
                .unwrap();
            let ended = runtime.block_on(async {
                tokio::time::timeout(Duration::from_mins(1), goes_on(place, workers)).await
            });
            assert!(ended.is_ok(), "{place:?}, {workers} workers: it did not end");
            runtime.shutdown_background();
        }
    }
}
