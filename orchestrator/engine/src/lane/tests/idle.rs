//! A lane that cannot commit sleeps: however many timers are due, it tries again now and then and does nothing else.

use std::{
    collections::HashSet,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use super::{
    flaky::{Fate, FlakyStore},
    *,
};
use crate::lane::{batch::Job, worker::Worker};

/// More than any of these tests needs; a loop that spins is there in a second.
const POLLS_MAX: u64 = 3_000;

/// The lane's loop, and how often it was woken.
struct Counted<F> {
    lane: Pin<Box<F>>,
    polls: Arc<AtomicU64>,
}

impl<F: Future<Output = ()>> Future for Counted<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polls = self.polls.fetch_add(1, Ordering::Relaxed);
        assert!(polls < POLLS_MAX, "the lane spins");
        self.lane.as_mut().poll(cx)
    }
}

/// Later than the alarm of whatever waits for its participant.
fn tomorrow() -> saga_core::Timestamp {
    crate::lane::clock::system().plus_ms(24 * 3_600 * 1_000)
}

/// A store with sagas that wait for their participant, and a worker in whose eyes the alarm of each is due.
async fn all_are_due(disk: &Disk, plan: &Arc<Plan>, sagas: u64) -> (Arc<FlakyStore>, Worker) {
    let (today, task) = lane(disk, plan).await;
    let ids: Vec<u64> = (0..sagas).collect();
    for some in ids.chunks(500) {
        let jobs = some.iter().map(|&n| start(plan, id(n), None).0).collect();
        today.send(Intake::Starts(jobs)).await.unwrap();
    }
    today.stop().await;
    task.await.unwrap();
    let store = Arc::new(FlakyStore::on(disk));
    let settings = Settings {
        wall: tomorrow,
        ..Settings::default()
    };
    let claim = crate::lane::claim(&*store).await.unwrap();
    let worker = Worker::begin(claim, Arc::clone(&store) as _, definitions(plan), settings)
        .await
        .unwrap();
    assert_eq!(worker.sagas.len(), ids.len());
    (store, worker)
}

async fn sleeps_with_due_timers(sagas: u64) {
    const REFUSED: usize = 1_000;
    let plan = plan();
    let (store, worker) = all_are_due(&Disk::default(), &plan, sagas).await;
    store
        .fates
        .lock()
        .unwrap()
        .extend(std::iter::repeat_n(Fate::Unavailable, REFUSED));
    let (sender, intake) = mpsc::channel(256);
    let lane = Handle::new(sender, worker.partitions());
    let polls = Arc::new(AtomicU64::new(0));
    let mut running = tokio::spawn(Counted {
        lane: Box::pin(worker.run(intake)),
        polls: Arc::clone(&polls),
    });

    // The waits between the tries double: seven of them take a few seconds.
    let tried = || REFUSED - store.fates.lock().unwrap().len();
    while tried() < 7 {
        let a_little = Duration::from_millis(20);
        assert!(
            tokio::time::timeout(a_little, &mut running).await.is_err(),
            "the lane has ended"
        );
    }
    assert!(
        polls.load(Ordering::Relaxed) < 100,
        "{polls:?} for {} tries",
        tried()
    );

    // Nothing was lost on the way: the store is back, and so is the participant.
    store.fates.lock().unwrap().clear();
    let mut commands = connect(&lane, 1, "p").await;
    let mut asked = HashSet::new();
    while asked.len() < usize::try_from(sagas).unwrap() {
        asked.insert(
            soon("a command of each", commands.recv())
                .await
                .command
                .saga_id,
        );
    }
}

#[tokio::test]
async fn with_3_000_due_timers_a_lane_that_cannot_commit_sleeps() {
    sleeps_with_due_timers(3_000).await;
}

#[tokio::test]
async fn with_12_000_due_timers_a_lane_that_cannot_commit_sleeps() {
    sleeps_with_due_timers(12_000).await;
}

#[tokio::test]
async fn one_due_of_a_saga_waits_however_often_commits_fail() {
    let plan = plan();
    let (_store, mut worker) = all_are_due(&Disk::default(), &plan, 20).await;
    // The looks at what was loaded come first.
    worker.decide_queue();
    worker.batch_inputs = 7;
    for _ in 0..5 {
        worker.fire_timers();
        worker.decide_queue();
        let decided = std::mem::take(&mut worker.pending);
        worker.take_back(decided);
        let dues: Vec<SagaId> = worker
            .queue
            .iter()
            .filter(|job| job.is_due())
            .map(Job::id)
            .collect();
        let distinct: HashSet<SagaId> = dues.iter().copied().collect();
        assert_eq!((dues.len(), distinct.len()), (20, 20));
        worker.fire_timers();
        assert_eq!(worker.queue.iter().filter(|job| job.is_due()).count(), 20);
    }
}
