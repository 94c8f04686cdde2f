//! Starts that share a name: one of them begins a saga, and the others wait for its commit without costing one.

use std::collections::VecDeque;

use super::{faults::flaky_lane, flaky::Fate, *};
use crate::{
    lane::{
        batch::Job,
        starting::{Owner, Starter, Starting},
        worker::Worker,
    },
    store::record::RowStatus,
};

#[tokio::test]
async fn duplicates_are_answered_by_the_commit_of_the_first() {
    const DUPLICATES: u64 = 5_000;
    const FATES: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let plan = plan();
    let fates = std::iter::once(Fate::Held).chain(std::iter::repeat_n(Fate::Good, FATES));
    let (lane, store) = flaky_lane(&dir.path().join("s.db"), &plan, fates, None).await;
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
                status: RowStatus::Running,
            }
        };
        assert_eq!(started.await, Ok(expected));
    }
    assert_eq!(other_started.await, Ok(Started::Created));
    let commits = FATES + 1 - store.fates.lock().unwrap().len();
    assert!(commits <= 3, "{commits} commits for two sagas");
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
    let dir = tempfile::tempdir().unwrap();
    let plan = plan();
    let store: Arc<dyn Lanes> = Arc::new(SqliteStore::open(&dir.path().join("s.db")).unwrap());
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
            status: RowStatus::Running
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
    let owner = Owner::begun(&by_key.job, RowStatus::Running);
    starting.finish(&by_key, Some(&owner), Some(&owner), &mut queue);
    assert_eq!(
        answers[2].try_recv(),
        Ok(Started::KeyConflict { id: id(2) })
    );
    assert_eq!(
        answers[3].try_recv(),
        Ok(Started::Existing {
            id: id(2),
            status: RowStatus::Running
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
