//! Sagas from start to end, keys, restarts, lost links.

use saga_core::{
    ErrorBody, Op, Status,
    input::{Cancel, Outcome},
};
use tokio::sync::oneshot;

use super::{flaky::FlakyStore, *};
use crate::lane::intake::{CancelJob, Cancelled};
use crate::store::Reading;

#[tokio::test]
async fn a_saga_runs_to_completion() {
    let plan = plan();
    let (lane, task) = lane(&Disk::default(), &plan).await;
    let mut commands = connect(&lane, 1, "p").await;
    let (job, started, mut ended) = start(&plan, id(1), None);
    lane.send(Intake::Starts(vec![job])).await.unwrap();
    assert_eq!(started.await, Ok(Started::Created));
    for _ in 0..2 {
        let command = soon("a command", commands.recv()).await;
        let answer = reply(&command, success(&command));
        lane.send(Intake::Replies(vec![answer.clone(), answer]))
            .await
            .unwrap();
    }
    assert_eq!(
        status(&soon("the end", ended.recv()).await),
        Status::Completed
    );
    lane.stop().await;
    task.await.unwrap();
}

#[tokio::test]
async fn a_refusal_undoes_what_was_done() {
    let plan = plan();
    let (lane, _task) = lane(&Disk::default(), &plan).await;
    let mut commands = connect(&lane, 1, "p").await;
    let (job, _, mut ended) = start(&plan, id(1), None);
    lane.send(Intake::Starts(vec![job])).await.unwrap();
    let first = soon("first", commands.recv()).await;
    lane.send(Intake::Replies(vec![reply(&first, success(&first))]))
        .await
        .unwrap();
    let second = soon("second", commands.recv()).await;
    let no = Outcome::Refused(ErrorBody::new("no", "not today"));
    lane.send(Intake::Replies(vec![reply(&second, no)]))
        .await
        .unwrap();
    let undo = soon("undo", commands.recv()).await;
    assert_eq!(
        (undo.command.op, undo.command.step),
        (Op::Compensation, first.command.step)
    );
    lane.send(Intake::Replies(vec![reply(&undo, success(&undo))]))
        .await
        .unwrap();
    assert_eq!(
        status(&soon("the end", ended.recv()).await),
        Status::Compensated
    );
}

#[tokio::test]
async fn the_same_key_and_the_same_id_name_the_first_saga() {
    let plan = plan();
    let (lane, _task) = lane(&Disk::default(), &plan).await;
    let (first, first_started, _e1) = start(&plan, id(1), Some("k"));
    let (second, second_started, _e2) = start(&plan, id(2), Some("k"));
    let (mut other, other_started, _e3) = start(&plan, id(3), Some("k"));
    other.start.input = Payload::from_bytes(br#"{"other":1}"#).expect("JSON");
    other.input_hash = [8; 32];
    let (again, again_started, _e4) = start(&plan, id(1), None);
    lane.send(Intake::Starts(vec![first, second, other, again]))
        .await
        .unwrap();
    assert_eq!(first_started.await, Ok(Started::Created));
    assert!(
        matches!(second_started.await, Ok(Started::Existing { id: existing, .. }) if existing == id(1))
    );
    assert_eq!(other_started.await, Ok(Started::KeyConflict { id: id(1) }));
    assert!(
        matches!(again_started.await, Ok(Started::Existing { id: existing, .. }) if existing == id(1))
    );
}

#[tokio::test]
async fn a_restart_sends_what_was_outstanding_again() {
    let disk = Disk::default();
    let plan = plan();
    let first_command = {
        let (lane, task) = lane(&disk, &plan).await;
        let mut commands = connect(&lane, 1, "p").await;
        let (job, _, _ended) = start(&plan, id(1), None);
        lane.send(Intake::Starts(vec![job])).await.unwrap();
        let command = soon("a command", commands.recv()).await;
        // The process is gone without a word; what it committed is there.
        task.abort();
        task.await.ok();
        command
    };
    let (lane, _task) = lane(&disk, &plan).await;
    let mut commands = connect(&lane, 1, "p").await;
    let again = soon("the command again", commands.recv()).await;
    assert_eq!(again.command, first_command.command);
    lane.send(Intake::Replies(vec![reply(&again, success(&again))]))
        .await
        .unwrap();
    let second = soon("the next command", commands.recv()).await;
    assert_ne!(second.command.step, again.command.step);
}

#[tokio::test]
async fn a_lost_link_makes_the_outcome_unknown_and_the_step_waits_for_the_next_one() {
    let plan = plan();
    let (lane, _task) = lane(&Disk::default(), &plan).await;
    let mut commands = connect(&lane, 1, "p").await;
    let (job, _, mut ended) = start(&plan, id(1), None);
    lane.send(Intake::Starts(vec![job])).await.unwrap();
    let lost = soon("a command", commands.recv()).await;
    lane.send(Intake::Disconnected { link: 1 }).await.unwrap();
    let mut commands = connect(&lane, 2, "p").await;
    let again = soon("the second attempt", commands.recv()).await;
    assert_eq!(
        (again.command.attempt, &again.command.input),
        (2, &lost.command.input)
    );
    // A late answer to the first attempt settles the step all the same.
    lane.send(Intake::Replies(vec![reply(&lost, success(&lost))]))
        .await
        .unwrap();
    let second = soon("the next step", commands.recv()).await;
    lane.send(Intake::Replies(vec![reply(&second, success(&second))]))
        .await
        .unwrap();
    assert_eq!(
        status(&soon("the end", ended.recv()).await),
        Status::Completed
    );
}

#[tokio::test]
async fn a_cancel_is_answered_after_its_commit() {
    let plan = plan();
    let (lane, _task) = lane(&Disk::default(), &plan).await;
    let (job, _, mut ended) = start(&plan, id(1), None);
    lane.send(Intake::Starts(vec![job])).await.unwrap();
    let (answer, answered) = oneshot::channel();
    let cancel = Cancel {
        reason: "changed my mind".into(),
        by: "test".into(),
        act: None,
    };
    lane.send(Intake::Cancel(CancelJob {
        id: id(1),
        cancel,
        answer,
    }))
    .await
    .unwrap();
    // Nobody serves `p`, so nothing was ever sent and there is nothing to undo.
    assert_eq!(answered.await, Ok(Ok(Cancelled::Compensating)));
    assert_eq!(
        status(&soon("the end", ended.recv()).await),
        Status::Compensated
    );
}

#[tokio::test]
async fn a_saga_that_cannot_be_loaded_is_an_incident_and_the_others_go_on() {
    let disk = Disk::default();
    let plan = plan();
    {
        let (lane, task) = lane(&disk, &plan).await;
        let (bad, bad_started, _e1) = start(&plan, id(1), None);
        let (good, good_started, _e2) = start(&plan, id(2), None);
        lane.send(Intake::Starts(vec![bad, good])).await.unwrap();
        assert_eq!(
            (bad_started.await, good_started.await),
            (Ok(Started::Created), Ok(Started::Created))
        );
        lane.stop().await;
        task.await.unwrap();
    }
    let store = FlakyStore {
        damaged: Some(id(1)),
        ..FlakyStore::on(&disk)
    };
    let (lane, _task) =
        crate::lane::spawn(Arc::new(store), definitions(&plan), Settings::default())
            .await
            .unwrap();
    let mut commands = connect(&lane, 1, "p").await;
    let command = soon("the good saga goes on", commands.recv()).await;
    assert_eq!(command.command.saga_id, id(2));
    let (answer, census) = oneshot::channel();
    lane.send(Intake::Census(answer)).await.unwrap();
    let broken = census.await.unwrap().broken;
    assert_eq!(
        broken
            .iter()
            .map(|(id, error)| (*id, error.code.as_str()))
            .collect::<Vec<_>>(),
        [(id(1), "journal_unreadable")]
    );
    lane.stop().await;
    assert!(disk.saga(id(1)).await.unwrap().unwrap().face.incident);
    drop(lane);

    // Mended, it is listed without the mark and goes on.
    let (lane, _task) = super::lane(&disk, &plan).await;
    lane.stop().await;
    assert!(!disk.saga(id(1)).await.unwrap().unwrap().face.incident);
}

#[tokio::test]
async fn a_timer_overtaken_by_a_sign_of_life_is_set_again() {
    let plan = plan();
    let store: Arc<dyn Lanes> = Disk::default() as _;
    let claim = crate::lane::claim(&*store).await.expect("a claim");
    let mut worker =
        crate::lane::worker::Worker::begin(claim, store, definitions(&plan), Settings::default())
            .await
            .unwrap();
    let (job, _started, _ended) = start(&plan, id(1), None);
    worker.queue.push_back(crate::lane::batch::Job::Start(
        crate::lane::starting::Starter::new(job),
    ));
    worker.decide_queue();
    // The timer fires, and before its input is decided the limit has moved.
    assert_eq!(
        worker.timers.pop(saga_core::Timestamp(i64::MAX)),
        Some(id(1))
    );
    worker.sagas.get_mut(&id(1)).unwrap().armed = None;
    worker.queue.push_back(crate::lane::batch::Job::Input {
        id: id(1),
        input: saga_core::Input::Due,
        answer: None,
    });
    worker.decide_queue();
    assert_eq!(worker.timers.next(), worker.sagas[&id(1)].state.next_due());
    assert!(worker.timers.next().is_some());
}

#[tokio::test]
async fn a_draining_instance_gets_no_new_commands() {
    let plan = plan();
    let (lane, _task) = lane(&Disk::default(), &plan).await;
    let mut old = connect(&lane, 1, "p").await;
    lane.send(Intake::Draining { link: 1 }).await.unwrap();
    let (job, started, _ended) = start(&plan, id(1), None);
    lane.send(Intake::Starts(vec![job])).await.unwrap();
    assert_eq!(started.await, Ok(Started::Created));
    let mut new = connect(&lane, 2, "p").await;
    soon("a command for the new instance", new.recv()).await;
    assert!(old.try_recv().is_err());
}
