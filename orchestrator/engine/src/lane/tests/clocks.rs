//! The lane while the clocks of its host jump.

use std::cell::Cell;

use saga_core::Timestamp;

use super::*;
use crate::lane::{batch::Job, starting::Starter, worker::Worker};

const HOUR: i64 = 3_600_000_000;
const BEGIN: i64 = 1_800_000_000_000_000;

thread_local! {
    static WALL: Cell<i64> = const { Cell::new(BEGIN) };
    static BOOT: Cell<i64> = const { Cell::new(0) };
}

fn pass(wall: i64, boot: i64) {
    WALL.set(WALL.get() + wall);
    BOOT.set(BOOT.get() + boot);
}

/// A lane on clocks that the test moves, with a saga whose first command is not answered.
async fn worker(disk: &Disk, plan: &Arc<Plan>) -> (Worker, mpsc::UnboundedReceiver<Outgoing>) {
    let store: Arc<dyn Lanes> = Arc::clone(disk) as _;
    let settings = Settings {
        wall: || Timestamp(WALL.get()),
        boot: || BOOT.get(),
        ..Settings::default()
    };
    let claim = crate::lane::claim(&*store).await.unwrap();
    let mut worker = Worker::begin(claim, store, definitions(plan), settings)
        .await
        .unwrap();
    let (sent, commands) = mpsc::unbounded_channel();
    let actions = ["a", "b", "undo_a", "undo_b"].map(str::to_owned).to_vec();
    worker.take(Intake::Connected(Arc::new(TestLink {
        number: 1,
        participant: "p".into(),
        actions,
        sent,
    })));
    (worker, commands)
}

async fn begin(worker: &mut Worker, plan: &Arc<Plan>, n: u64) {
    worker
        .queue
        .push_back(Job::Start(Starter::new(start(plan, id(n), None).0)));
    worker.decide_queue();
    worker.submit();
    let outcome = (&mut worker.writing.as_mut().expect("a start to write").outcome).await;
    worker.written(outcome).await;
}

fn dues(worker: &mut Worker) -> usize {
    worker.fire_timers();
    worker.queue.iter().filter(|job| job.is_due()).count()
}

#[tokio::test]
async fn a_suspension_of_three_hours_fires_timers_at_once() {
    let plan = plan();
    let (mut worker, mut commands) = worker(&Disk::default(), &plan).await;
    begin(&mut worker, &plan, 1).await;
    soon("a command", commands.recv()).await;
    assert_eq!(dues(&mut worker), 0);
    pass(3 * HOUR, 3 * HOUR);
    assert_eq!(dues(&mut worker), 1);
}

#[tokio::test]
async fn a_command_lives_long_enough_for_the_later_of_two_clocks() {
    let plan = plan();
    let lifetime = plan.steps[0].lifetime_ms.expect("a lifetime");
    let (mut worker, mut commands) = worker(&Disk::default(), &plan).await;
    // The clock was two hours behind when the process began, and is right now.
    pass(2 * HOUR, 0);
    begin(&mut worker, &plan, 1).await;
    let command = soon("a command", commands.recv()).await.command;
    assert_eq!(
        command.not_after,
        Some(Timestamp(WALL.get()).plus_ms(lifetime))
    );
    assert_eq!(worker.clock.now(), Timestamp(BEGIN));
}

#[tokio::test]
async fn ten_years_for_two_seconds_fire_nothing() {
    const YEARS: i64 = 10 * 365 * 24 * HOUR;
    let plan = plan();
    let (mut worker, mut commands) = worker(&Disk::default(), &plan).await;
    begin(&mut worker, &plan, 1).await;
    let before = soon("a command", commands.recv()).await.command;
    pass(YEARS, 0);
    for _ in 0..2 {
        pass(1_000_000, 1_000_000);
        assert_eq!(dues(&mut worker), 0);
    }
    begin(&mut worker, &plan, 2).await;
    let meanwhile = soon("a command", commands.recv()).await.command;
    let later = meanwhile.not_after.unwrap().0 - before.not_after.unwrap().0;
    assert_eq!(later, 2_000_000, "an undo would wait for it");
    pass(-YEARS, 0);
    pass(1_000_000, 1_000_000);
    assert_eq!(dues(&mut worker), 0);
    assert_eq!(worker.clock.now(), Timestamp(BEGIN + 3_000_000));
}
