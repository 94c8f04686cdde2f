//! Starts that share a name: one of them begins a saga, and the others wait for its commit without costing one.

use saga_core::Status;
use std::collections::VecDeque;

use futures_util::FutureExt;

use super::{faults::flaky_lane, flaky::Fate, *};
use crate::lane::{
    batch::Job,
    starting::{Owner, Starter, Starting},
    worker::Worker,
};

#[tokio::test]
async fn duplicates_are_answered_by_the_commit_of_the_first() {
    const DUPLICATES: u64 = 5_000;
    const FATES: usize = 100;
    let plan = plan();
    let fates = std::iter::once(Fate::Held).chain(std::iter::repeat_n(Fate::Good, FATES));
    let (lane, store) = flaky_lane(&Disk::default(), &plan, fates, None).await;
    let (first, first_started, _e) = start(&plan, id(0), Some("k"));
    lane.send(Intake::Starts(vec![first])).await.unwrap();
    let mut answers = Vec::new();
    for n in 1..=DUPLICATES {
        let (mut job, started, _) = start(&plan, id(n), Some("k"));
        if n.is_multiple_of(2) {
            job.input_hash = [8; 32];
            job.start.input = Payload::from_bytes(br#"{"other":1}"#).expect("JSON");
        }
        lane.send(Intake::Starts(vec![job])).await.unwrap();
        answers.push((n, started));
    }
    let (other, other_started, _e) = start(&plan, id(DUPLICATES + 1), Some("another"));
    lane.send(Intake::Starts(vec![other])).await.unwrap();
    store.gate.notify_one();
    assert_eq!(first_started.await, Ok(Started::Created));
    for (n, started) in answers {
        let expected = if n.is_multiple_of(2) {
            Started::KeyConflict { id: id(0) }
        } else {
            Started::Existing {
                id: id(0),
                status: Status::Running,
            }
        };
        assert_eq!(started.await, Ok(expected));
    }
    assert_eq!(other_started.await, Ok(Started::Created));
    let commits = FATES + 1 - store.fates.lock().unwrap().len();
    assert!(commits <= 3, "{commits} commits for two sagas");
}

/// A handle, and the lane's ends of what it works with: a test plays the lane.
fn played_lane(places: usize) -> (Handle, mpsc::Receiver<Intake>, Starting) {
    let (sender, intake) = mpsc::channel(places);
    let starting = Starting::default();
    let mut handle = Handle::new(sender, 32);
    handle.lines = Some(starting.lines());
    (handle, intake, starting)
}

/// The only start in the next message.
fn next_start(intake: &mut mpsc::Receiver<Intake>) -> Box<Starter> {
    match intake.try_recv() {
        Ok(Intake::Starts(mut jobs)) if jobs.len() == 1 => Starter::new(jobs.remove(0)),
        Ok(_) => panic!("not one start"),
        Err(error) => panic!("no start: {error}"),
    }
}

#[tokio::test]
async fn a_duplicate_takes_no_place_in_the_intake() {
    let plan = plan();
    let (lane, mut intake, mut starting) = played_lane(1);
    let mut answers = Vec::new();
    for n in 0..1_000 {
        let (job, started, _) = start(&plan, id(n), Some("k"));
        let sent = lane.send(Intake::Starts(vec![job])).now_or_never();
        assert!(matches!(sent, Some(Ok(()))), "start {n} waits");
        answers.push(started);
    }
    let (other, mut other_started, _e) = start(&plan, id(1_000), Some("another"));
    let mut other = Box::pin(lane.send(Intake::Starts(vec![other])));
    assert!((&mut other).now_or_never().is_none(), "the intake is full");
    let first = next_start(&mut intake);
    other.await.expect("a place");
    let other = next_start(&mut intake);
    assert_eq!((first.job.id, other.job.id), (id(0), id(1_000)));
    let owner = Owner::begun(&first.job, Status::Running);
    starting.finish(&first, Some(&owner), Some(&owner), &mut VecDeque::new());
    let existing = Started::Existing {
        id: id(0),
        status: Status::Running,
    };
    for started in answers.drain(1..) {
        assert_eq!(started.await, Ok(existing.clone()));
    }
    assert!(other_started.try_recv().is_err());
    assert_eq!(starting.bytes(), 0);
}

#[tokio::test]
async fn a_line_without_room_holds_up_no_other_start() {
    let plan = plan();
    let (lane, mut intake, mut starting) = played_lane(8);
    let (first, _, _e) = start(&plan, id(0), Some("k"));
    lane.send(Intake::Starts(vec![first])).await.unwrap();
    let large = |n: u64| {
        let (mut job, started, _) = start(&plan, id(n), Some("k"));
        job.input_hash = [8; 32];
        job.start.input = Payload::from_value(serde_json::json!({ "x": "x".repeat(1 << 20) }));
        (job, started)
    };
    let (mut answers, mut n) = (Vec::new(), 0);
    let waits_outside = loop {
        n += 1;
        assert!(n < 100, "no bound");
        let (job, started) = large(n);
        answers.push(started);
        let mut sent = Box::pin(lane.send(Intake::Starts(vec![job])));
        if (&mut sent).now_or_never().is_none() {
            break sent;
        }
    };
    let (other, _, _e) = start(&plan, id(1_000), Some("another"));
    lane.send(Intake::Starts(vec![other])).await.unwrap();
    let first = next_start(&mut intake);
    assert_eq!(next_start(&mut intake).job.id, id(1_000));
    let owner = Owner::begun(&first.job, Status::Running);
    starting.finish(&first, Some(&owner), Some(&owner), &mut VecDeque::new());
    waits_outside.await.expect("room");
    assert_eq!(next_start(&mut intake).job.id, id(n), "it has the key now");
    for started in answers.drain(..answers.len() - 1) {
        assert_eq!(started.await, Ok(Started::KeyConflict { id: id(0) }));
    }
}

#[tokio::test]
async fn starts_that_wait_end_with_their_lane() {
    let plan = plan();
    let (lane, _intake, starting) = played_lane(8);
    let (first, _, _e) = start(&plan, id(0), Some("k"));
    let (again, started, _f) = start(&plan, id(1), Some("k"));
    lane.send(Intake::Starts(vec![first])).await.unwrap();
    lane.send(Intake::Starts(vec![again])).await.unwrap();
    drop(starting);
    assert!(started.await.is_err(), "no answer");
    let (late, _, _e) = start(&plan, id(2), Some("k"));
    assert!(lane.send(Intake::Starts(vec![late])).await.is_err());
}

/// Hands what is decided to the store, and takes its answer.
async fn commit(worker: &mut Worker) {
    worker.decide_queue();
    worker.submit();
    let outcome = (&mut worker.writing.as_mut().expect("something to write").outcome).await;
    worker.written(outcome).await;
}

#[tokio::test]
async fn a_stream_of_duplicates_holds_up_no_other_start() {
    let plan = plan();
    let store: Arc<dyn Lanes> = Disk::default() as _;
    let claim = crate::lane::claim(&*store).await.unwrap();
    let mut worker = Worker::begin(claim, store, definitions(&plan), Settings::default())
        .await
        .unwrap();
    let begin = |worker: &mut Worker, n, key| {
        let (job, started, _) = start(&plan, id(n), key);
        worker.queue.push_back(Job::Start(Starter::new(job)));
        started
    };
    let mut first = begin(&mut worker, 1, Some("k"));
    commit(&mut worker).await;
    assert_eq!(first.try_recv(), Ok(Started::Created));
    let (mut again, mut other) = (
        begin(&mut worker, 2, Some("k")),
        begin(&mut worker, 3, None),
    );
    commit(&mut worker).await;
    assert_eq!(
        again.try_recv(),
        Ok(Started::Existing {
            id: id(1),
            status: Status::Running
        })
    );
    // The batch was refused for a start whose key is taken. The next one does not take another of these along.
    let mut and_again = begin(&mut worker, 4, Some("k"));
    commit(&mut worker).await;
    assert_eq!(other.try_recv(), Ok(Started::Created));
    commit(&mut worker).await;
    assert!(matches!(and_again.try_recv(), Ok(Started::Existing { .. })));
}

#[test]
fn the_next_takes_the_place_of_a_start_that_comes_to_nothing() {
    let plan = plan();
    let (mut starting, mut queue) = (Starting::default(), VecDeque::new());
    let mut answers = VecDeque::new();
    let mut starter = |n, key, hash| {
        let (mut job, started, _) = start(&plan, id(n), key);
        job.input_hash = [hash; 32];
        job.start.input = Payload::from_value(serde_json::json!({ "hash": hash }));
        answers.push_back(started);
        Starter::new(job)
    };
    let first = starting
        .admit(starter(1, Some("k"), 1))
        .expect("nobody has the key");
    for (n, hash) in [(2, 2), (3, 1), (4, 2)] {
        assert!(starting.admit(starter(n, Some("k"), hash)).is_none());
    }
    // Same id, no key: it waits for the id.
    assert!(starting.admit(starter(1, None, 1)).is_none());
    assert!(starting.bytes() > 0);
    starting.finish(&first, None, None, &mut queue);
    let next: Vec<SagaId> = queue.iter().map(Job::id).collect();
    assert_eq!(
        next,
        [id(1), id(2)],
        "the one that waited for the id, and the one that waited for the key"
    );
    let by_key = match queue.pop_back() {
        Some(Job::Start(starter)) => starting.admit(starter).expect("it holds the key"),
        Some(Job::Input { .. }) | None => panic!("a start waits"),
    };
    let owner = Owner::begun(&by_key.job, Status::Running);
    starting.finish(&by_key, Some(&owner), Some(&owner), &mut queue);
    assert_eq!(
        answers[2].try_recv(),
        Ok(Started::KeyConflict { id: id(2) })
    );
    assert_eq!(
        answers[3].try_recv(),
        Ok(Started::Existing {
            id: id(2),
            status: Status::Running
        })
    );
    assert_eq!((starting.bytes(), queue.len()), (0, 1));
}

#[test]
fn what_the_store_refuses_is_not_tried_again_for_each_duplicate() {
    let plan = plan();
    let (mut starting, mut queue) = (Starting::default(), VecDeque::new());
    let (first, _, _e) = start(&plan, id(1), Some("k"));
    let first = starting
        .admit(Starter::new(first))
        .expect("nobody has the key");
    let (same, mut same_answer, _e) = start(&plan, id(2), Some("k"));
    let (mut other, mut other_answer, _e) = start(&plan, id(3), Some("k"));
    other.input_hash = [8; 32];
    assert!(
        starting.admit(Starter::new(same)).is_none()
            && starting.admit(Starter::new(other)).is_none()
    );
    starting.refuse(&first, &mut queue);
    assert_eq!(same_answer.try_recv(), Ok(Started::Unavailable));
    assert!(other_answer.try_recv().is_err());
    assert_eq!(queue.iter().map(Job::id).collect::<Vec<_>>(), [id(3)]);
}
