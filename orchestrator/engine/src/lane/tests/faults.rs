//! Commits that fail: nothing is lost, nothing is done twice, and one bad saga does not stop the others.

use std::sync::Mutex;

use saga_core::Status;

use super::{
    flaky::{Fate, FlakyStore},
    *,
};
use crate::store::{Journals, Reading};

pub(super) async fn flaky_lane(
    disk: &Disk,
    plan: &Arc<Plan>,
    fates: impl IntoIterator<Item = Fate>,
    poison: Option<&'static str>,
) -> (Handle, Arc<FlakyStore>) {
    let store = Arc::new(FlakyStore {
        fates: Mutex::new(fates.into_iter().collect()),
        poison,
        ..FlakyStore::on(disk)
    });
    let dynamic: Arc<dyn Lanes> = Arc::clone(&store) as _;
    let (lane, _task) = super::super::spawn(dynamic, definitions(plan), Settings::default())
        .await
        .expect("a lane");
    (lane, store)
}

/// Runs sagas over a store with these fates; every one completes and every journal replays without a gap.
async fn all_complete(fates: Vec<Fate>) {
    const SAGAS: u64 = 40;
    let plan = plan();
    let (lane, store) = flaky_lane(&Disk::default(), &plan, fates, None).await;
    let mut commands = connect(&lane, 1, "p").await;
    let replies = lane.clone();
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            let answer = reply(&command, success(&command));
            // Every answer twice: the second changes nothing.
            replies
                .send(Intake::Replies(vec![answer.clone(), answer]))
                .await
                .ok();
        }
    });
    let mut ends = Vec::new();
    for n in 0..SAGAS {
        let (job, _, ended) = start(&plan, id(n), None);
        lane.send(Intake::Starts(vec![job])).await.unwrap();
        ends.push(ended);
    }
    for ended in &mut ends {
        let ended = soon("the end", ended.recv()).await;
        let completed = match &ended.end {
            End::Over { status, .. } => *status == Status::Completed,
            // The commit whose fate was unknown had been written: the start is not new.
            End::NotNew(started) => matches!(started, Started::Existing { .. }),
        };
        assert!(completed, "{ended:?}");
    }
    lane.stop().await;
    for n in 0..SAGAS {
        let rows = store.inner.journal(id(n), 0, 100).await.unwrap();
        let seqs: Vec<u64> = rows.iter().map(|row| row.seq).collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_store_that_is_away_for_a_while_loses_nothing() {
    all_complete(vec![
        Fate::Unavailable,
        Fate::Good,
        Fate::Unavailable,
        Fate::Unavailable,
        Fate::Good,
        Fate::Unavailable,
    ])
    .await;
}

#[tokio::test]
async fn an_unknown_commit_that_was_written_is_not_done_twice() {
    let mut fates = vec![Fate::Good; 3];
    fates.push(Fate::WrittenButUnknown);
    all_complete(fates).await;
}

#[tokio::test]
async fn an_unknown_commit_that_was_lost_is_done_again() {
    let mut fates = vec![Fate::LostAndUnknown, Fate::Good, Fate::LostAndUnknown];
    fates.push(Fate::WrittenButUnknown);
    all_complete(fates).await;
}

#[tokio::test]
async fn a_row_that_the_store_refuses_is_one_sagas_incident() {
    let plan = plan();
    let (lane, store) = flaky_lane(&Disk::default(), &plan, [], Some("p0ison")).await;
    let mut commands = connect(&lane, 1, "p").await;
    let (bad, _, _bad_ended) = start(&plan, id(1), None);
    let (good, _, mut good_ended) = start(&plan, id(2), None);
    lane.send(Intake::Starts(vec![bad, good])).await.unwrap();
    let mut answered = 0;
    while answered < 3 {
        let command = soon("a command", commands.recv()).await;
        let outcome = if command.command.saga_id == id(1) {
            Outcome::Succeeded(Payload::from_bytes(br#""p0ison""#).expect("JSON"))
        } else {
            success(&command)
        };
        lane.send(Intake::Replies(vec![reply(&command, outcome)]))
            .await
            .unwrap();
        answered += 1;
    }
    assert_eq!(
        status(&soon("the good end", good_ended.recv()).await),
        Status::Completed
    );
    lane.stop().await;
    let row = store.inner.saga(id(1)).await.unwrap().expect("it began");
    assert!(row.face.incident, "{row:?}");
}

#[tokio::test]
async fn a_participant_that_connects_while_a_wait_is_being_committed_is_not_missed() {
    let plan = plan();
    let (lane, store) = flaky_lane(&Disk::default(), &plan, [Fate::Unavailable], None).await;
    let (job, mut started, _ended) = start(&plan, id(1), None);
    lane.send(Intake::Starts(vec![job])).await.unwrap();
    // The wait for `p` is decided and its commit failed; it is decided again and stays uncommitted for a while.
    while !store.fates.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(started.try_recv().is_err(), "not committed yet");
    let mut commands = connect(&lane, 1, "p").await;
    soon("the command", commands.recv()).await;
}
