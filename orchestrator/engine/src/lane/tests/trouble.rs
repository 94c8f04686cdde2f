//! A store that takes no commits: the lane tells why and since when, and stops telling when it is over.

use tokio::sync::watch;

use super::{faults::flaky_lane, flaky::Fate, *};
use crate::store::trouble::{Kind, Trouble};

/// Waits until the lane tells what `wanted` accepts.
async fn told(
    trouble: &mut watch::Receiver<Option<Trouble>>,
    wanted: impl FnMut(&Option<Trouble>) -> bool,
) -> Option<Trouble> {
    soon("the lane to tell", async {
        Some(trouble.wait_for(wanted).await.ok()?.clone())
    })
    .await
}

#[tokio::test]
async fn a_store_that_is_away_is_told_until_it_is_back() {
    let plan = plan();
    let away = [Fate::Unavailable; 4];
    let (lane, _store) = flaky_lane(&Disk::default(), &plan, away, None).await;
    let mut trouble = lane.trouble();
    assert_eq!(*trouble.borrow(), None, "nothing has failed yet");
    let (job, started, _ended) = start(&plan, id(1), None);
    lane.send(Intake::Starts(vec![job])).await.unwrap();
    let first = told(&mut trouble, Option::is_some).await.expect("trouble");
    assert_eq!((first.kind, first.words.as_str()), (Kind::Other, "told so"));
    assert_eq!(told(&mut trouble, Option::is_none).await, None);
    soon("the start", async { started.await.ok() }).await;
}

#[tokio::test]
async fn a_commit_that_is_not_answered_is_told_as_trouble() {
    let plan = plan();
    let (lane, store) = flaky_lane(&Disk::default(), &plan, [Fate::Held], None).await;
    let mut trouble = lane.trouble();
    let (job, started, _ended) = start(&plan, id(1), None);
    lane.send(Intake::Starts(vec![job])).await.unwrap();
    let held = told(&mut trouble, Option::is_some).await.expect("trouble");
    assert_eq!(held.kind, Kind::Unreachable, "{held:?}");
    store.gate.notify_one();
    soon("the start", async { started.await.ok() }).await;
    assert_eq!(told(&mut trouble, Option::is_none).await, None);
}

#[tokio::test]
async fn a_start_that_is_there_already_ends_the_trouble() {
    let plan = plan();
    let fates = [Fate::Good, Fate::LostAndUnknown, Fate::Unavailable];
    let (lane, _store) = flaky_lane(&Disk::default(), &plan, fates, None).await;
    let mut trouble = lane.trouble();
    let (first, started, _first_ended) = start(&plan, id(1), Some("k"));
    lane.send(Intake::Starts(vec![first])).await.unwrap();
    soon("the start", async { started.await.ok() }).await;
    let (again, existing, _again_ended) = start(&plan, id(2), Some("k"));
    lane.send(Intake::Starts(vec![again])).await.unwrap();
    let existing = soon("the answer", async { existing.await.ok() }).await;
    assert!(matches!(existing, Started::Existing { .. }), "{existing:?}");
    assert_eq!(told(&mut trouble, Option::is_none).await, None);
}
