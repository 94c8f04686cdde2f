//! What a wire with a memory of its own is told, and what it may tell.

use saga_core::{ErrorBody, Status};

use super::{
    flaky::{Fate, FlakyStore},
    *,
};
use crate::lane::intake::{LostCommand, Receipt};
use crate::store::Journals;

async fn lane_on(disk: &Disk, plan: &Arc<Plan>) -> (Handle, Arc<FlakyStore>) {
    let store = Arc::new(FlakyStore::on(disk));
    let dynamic: Arc<dyn Lanes> = Arc::clone(&store) as _;
    let (lane, _task) = super::super::spawn(dynamic, definitions(plan), Settings::default())
        .await
        .expect("a lane");
    (lane, store)
}

#[tokio::test]
async fn a_message_is_done_with_when_what_came_of_it_is_committed_and_not_before() {
    let plan = plan();
    for fate in [
        Fate::Good,
        Fate::Unavailable,
        Fate::WrittenButUnknown,
        Fate::LostAndUnknown,
    ] {
        let (lane, store) = lane_on(&Disk::default(), &plan).await;
        let mut commands = connect(&lane, 1, "p").await;
        let (job, started, _ended) = start(&plan, id(1), None);
        lane.send(Intake::Starts(vec![job])).await.unwrap();
        assert_eq!(started.await, Ok(Started::Created));
        let first = soon("first", commands.recv()).await;
        store.fates.lock().unwrap().push_back(fate);
        let answer = reply(&first, success(&first));
        let stranger = Incoming {
            saga_id: id(9),
            ..answer.clone()
        };
        let (done, mut finished) = mpsc::unbounded_channel();
        let replies = vec![stranger, answer.clone(), answer];
        let receipt = Receipt::new(7, replies.len(), done);
        lane.send(Intake::Delivery { replies, receipt })
            .await
            .unwrap();
        assert_eq!(soon("the receipt", finished.recv()).await, 7);
        let journal = store.journal(id(1), 0, usize::MAX).await.unwrap();
        let told = |row: &crate::store::record::JournalRow| {
            String::from_utf8_lossy(&row.body).contains("ok")
        };
        assert!(
            journal.iter().any(told),
            "{fate:?}: the receipt came before the commit"
        );
    }
}

#[tokio::test]
async fn a_link_that_takes_the_place_of_another_loses_nothing() {
    let plan = plan();
    let (lane, _store) = lane_on(&Disk::default(), &plan).await;
    let mut old = connect(&lane, 1, "p").await;
    let (job, _, mut ended) = start(&plan, id(1), None);
    lane.send(Intake::Starts(vec![job])).await.unwrap();
    let first = soon("first", old.recv()).await;
    lane.send(Intake::Draining { link: 1 }).await.unwrap();
    let (sent, mut new) = mpsc::unbounded_channel();
    let actions = ["a", "b", "undo_a", "undo_b"].map(str::to_owned).to_vec();
    let by = Arc::new(TestLink {
        number: 2,
        participant: "p".into(),
        actions,
        sent,
    });
    lane.send(Intake::Replaced { link: 1, by }).await.unwrap();
    // Nothing hangs on the old one any more.
    lane.send(Intake::Disconnected { link: 1 }).await.unwrap();
    lane.send(Intake::Replies(vec![reply(&first, success(&first))]))
        .await
        .unwrap();
    let second = soon("second", new.recv()).await;
    assert_eq!(second.command.attempt, 1);
    // Certainly not sent: the same attempt again, and no other.
    let command = &second.command;
    let lost = LostCommand {
        saga_id: command.saga_id,
        step: "second".to_owned(),
        round: command.round,
        op: command.op,
        attempt: command.attempt,
        unsent: true,
        error: ErrorBody::new("unroutable", "there is no queue"),
    };
    lane.send(Intake::Lost {
        lost: vec![lost],
        receipt: None,
    })
    .await
    .unwrap();
    let again = soon("second again", new.recv()).await;
    assert_eq!(again.command.attempt, 1);
    lane.send(Intake::Replies(vec![reply(&again, success(&again))]))
        .await
        .unwrap();
    assert_eq!(
        status(&soon("the end", ended.recv()).await),
        Status::Completed
    );
}
