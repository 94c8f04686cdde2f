//! What a broker may do to commands: give them up, take none, be away.

use saga_core::{ErrorBody, Status, Wait};

use super::*;
use crate::lane::{
    intake::{GivenUp, LostCommand, Receipt, WatchJob},
    worker::Worker,
};
use crate::store::Journals;

/// A lane with one saga whose first command was sent.
async fn begun(
    disk: &Disk,
) -> (
    Handle,
    Arc<Plan>,
    Outgoing,
    Commands,
    mpsc::UnboundedReceiver<Ended>,
) {
    let plan = plan();
    let (lane, _task) = lane(disk, &plan).await;
    let mut commands = connect(&lane, 1, "p").await;
    let (job, _, ended) = start(&plan, id(1), None);
    lane.send(Intake::Starts(vec![job])).await.unwrap();
    let first = soon("first", commands.recv()).await;
    (lane, plan, first, commands, ended)
}

type Commands = mpsc::UnboundedReceiver<Outgoing>;

/// Gives a command up that was in a batch and came back, and waits until the lane has dealt with it.
async fn give_up(lane: &Handle, of: &Outgoing) {
    give_up_as(
        lane,
        of,
        GivenUp {
            packed: true,
            deliveries: None,
        },
    )
    .await;
}

/// Gives a command up, and waits until the lane has dealt with it.
async fn give_up_as(lane: &Handle, of: &Outgoing, given_up: GivenUp) {
    let planned = of.plan.step(of.command.step).expect("a step of the plan");
    let dead = LostCommand {
        saga_id: of.command.saga_id,
        step: planned.id.clone(),
        round: of.command.round,
        op: of.command.op,
        attempt: of.command.attempt,
        unsent: false,
        error: ErrorBody::new("dead_letter", "given up"),
    };
    let (done, mut finished) = mpsc::unbounded_channel();
    let receipt = Receipt::new(1, 1, done);
    lane.send(Intake::DeadLetters {
        dead: vec![dead],
        given_up,
        receipt,
    })
    .await
    .unwrap();
    soon("the receipt", finished.recv()).await;
}

async fn replace(lane: &Handle, old: u64, new: u64) -> Commands {
    let (sent, commands) = mpsc::unbounded_channel();
    let actions = ["a", "b", "undo_a", "undo_b"].map(str::to_owned).to_vec();
    let by = Arc::new(TestLink {
        number: new,
        participant: "p".into(),
        actions,
        sent,
    });
    lane.send(Intake::Replaced { link: old, by }).await.unwrap();
    commands
}

/// The journal as it stands once the lane has dealt with all that was sent to it.
async fn journal(lane: &Handle, store: &Disk) -> Vec<String> {
    let (answer, counted) = oneshot::channel();
    lane.send(Intake::Census(answer)).await.unwrap();
    counted.await.unwrap();
    lane.stop().await;
    let sagas = store.open_sagas(None, usize::MAX).await.expect("a list");
    let ids = sagas.iter().map(|saga| saga.id).collect();
    let journals = store.journals(ids).await.expect("journals");
    let rows = journals.into_iter().flatten();
    rows.map(|row| String::from_utf8(row.body).expect("JSON"))
        .collect()
}

#[tokio::test]
async fn a_first_dead_letter_is_sent_again_alone_and_the_second_is_an_unknown_outcome() {
    let disk = Disk::default();
    let (lane, _, first, mut commands, _ended) = begun(&disk).await;
    assert!(!first.alone);
    give_up(&lane, &first).await;
    let again = soon("again", commands.recv()).await;
    assert!(again.alone);
    assert_eq!(again.command, first.command, "another command than before");
    give_up(&lane, &again).await;
    let journal = journal(&lane, &disk).await;
    assert_eq!(journal.len(), 2, "{journal:?}");
    assert!(
        journal[1].contains("step_unknown") && journal[1].contains("dead_letter"),
        "{journal:?}"
    );
}

/// How the broker gives up what its readers die of.
const KILLED: GivenUp = GivenUp {
    packed: true,
    deliveries: Some(2),
};

#[tokio::test]
async fn a_command_that_kills_whoever_takes_it_is_reported_as_that() {
    let disk = Disk::default();
    let (lane, _, first, mut commands, _ended) = begun(&disk).await;
    give_up_as(&lane, &first, KILLED).await;
    let again = soon("again", commands.recv()).await;
    assert!(again.alone);
    // Sent back by a participant that counts: the broker does not know that it was taken once more.
    give_up(&lane, &again).await;
    let journal = journal(&lane, &disk).await;
    assert_eq!(journal.len(), 2, "{journal:?}");
    assert!(
        journal[1].contains("step_unknown") && journal[1].contains("instances_lost"),
        "{journal:?}"
    );
    assert!(
        journal[1].contains("taken 3 times within 1s, and each time gone"),
        "{journal:?}"
    );
}

#[tokio::test]
async fn a_command_in_the_plain_form_that_kills_is_not_sent_again_for_the_same_attempt() {
    let disk = Disk::default();
    let (lane, _, first, _commands, _ended) = begun(&disk).await;
    give_up_as(
        &lane,
        &first,
        GivenUp {
            packed: false,
            ..KILLED
        },
    )
    .await;
    let journal = journal(&lane, &disk).await;
    assert!(
        journal[1].contains("step_unknown") && journal[1].contains("taken 2 times"),
        "{journal:?}"
    );
}

#[tokio::test]
async fn suspects_of_one_participant_are_sent_one_at_a_time() {
    let plan = plan();
    let (lane, _task) = lane(&Disk::default(), &plan).await;
    let mut commands = connect(&lane, 1, "p").await;
    let mut sent = Vec::new();
    let mut listening = Vec::new();
    for n in 1..=3 {
        let (job, _, ended) = start(&plan, id(n), None);
        lane.send(Intake::Starts(vec![job])).await.unwrap();
        listening.push(ended);
        sent.push(soon("a command", commands.recv()).await);
    }
    for command in &sent {
        give_up_as(&lane, command, KILLED).await;
    }
    let culprit = soon("the first, alone", commands.recv()).await;
    assert!(
        culprit.alone && commands.try_recv().is_err(),
        "another suspect is beside it"
    );
    give_up(&lane, &culprit).await;
    // The others are not charged for it: each comes in its turn, as the same attempt.
    let mut went_on = 0;
    while went_on < 2 {
        let next = soon("the next", commands.recv()).await;
        if next.command.saga_id == culprit.command.saga_id {
            if next.command.step != culprit.command.step {
                continue;
            }
            assert!(
                next.alone && next.command.attempt == 2,
                "further attempts of the culprit keep apart, too"
            );
            lane.send(Intake::Replies(vec![reply(&next, success(&next))]))
                .await
                .unwrap();
        } else if next.alone {
            assert_eq!(next.command.attempt, 1);
            lane.send(Intake::Replies(vec![reply(&next, success(&next))]))
                .await
                .unwrap();
        } else {
            went_on += 1;
        }
    }
}

#[tokio::test]
async fn what_shared_a_message_with_the_culprit_goes_on_as_if_nothing_had_been() {
    let (lane, _, first, mut commands, mut ended) = begun(&Disk::default()).await;
    give_up(&lane, &first).await;
    let again = soon("again", commands.recv()).await;
    lane.send(Intake::Replies(vec![reply(&again, success(&again))]))
        .await
        .unwrap();
    let second = soon("second", commands.recv()).await;
    assert!(!second.alone);
    // Of a command that was answered a late dead letter tells nothing.
    give_up(&lane, &first).await;
    lane.send(Intake::Replies(vec![reply(&second, success(&second))]))
        .await
        .unwrap();
    assert_eq!(
        status(&soon("the end", ended.recv()).await),
        Status::Completed
    );
}

#[tokio::test]
async fn a_dead_letter_that_outlives_the_process_charges_nothing_either() {
    let disk = Disk::default();
    let (lane, plan, first, _commands, _ended) = begun(&disk).await;
    lane.stop().await;
    drop(lane);
    // The letter was not acknowledged, so it comes to the next process, before or after the participant does.
    let (next, _task) = super::lane(&disk, &plan).await;
    give_up(&next, &first).await;
    let mut commands = connect(&next, 2, "p").await;
    let resent = soon("sent again", commands.recv()).await;
    give_up(&next, &first).await;
    let again = soon("alone", commands.recv()).await;
    assert!(again.alone && !resent.alone);
    assert_eq!(
        (&again.command, &resent.command),
        (&first.command, &first.command)
    );
    let journal = journal(&next, &disk).await;
    assert_eq!(journal.len(), 1, "{journal:?}");
}

#[tokio::test]
async fn a_dead_letter_that_nobody_could_take_waits_for_somebody() {
    let (lane, _, first, _old, mut ended) = begun(&Disk::default()).await;
    lane.send(Intake::Suspended { link: 1 }).await.unwrap();
    give_up(&lane, &first).await;
    let mut commands = replace(&lane, 1, 2).await;
    let again = soon("again", commands.recv()).await;
    assert_eq!(again.command, first.command);
    lane.send(Intake::Replies(vec![reply(&again, success(&again))]))
        .await
        .unwrap();
    let second = soon("second", commands.recv()).await;
    lane.send(Intake::Replies(vec![reply(&second, success(&second))]))
        .await
        .unwrap();
    assert_eq!(
        status(&soon("the end", ended.recv()).await),
        Status::Completed
    );
}

#[tokio::test]
async fn who_waits_says_whether_the_broker_or_the_participant_is_missed() {
    let disk = Disk::default();
    let plan = plan();
    let (lane, _task) = lane(&disk, &plan).await;
    let (job, started, _ended) = start(&plan, id(1), None);
    lane.send(Intake::Starts(vec![job])).await.unwrap();
    assert_eq!(started.await, Ok(Started::Created));
    let (answer, followed) = oneshot::channel();
    lane.send(Intake::Watch(WatchJob { id: id(1), answer }))
        .await
        .unwrap();
    let mut committed = followed.await.unwrap().expect("an open saga");
    for unheard in [Some(Wait::BrokerAway), Some(Wait::BrokerBlocked), None] {
        for _ in 0..2 {
            lane.send(Intake::Broker(unheard)).await.unwrap();
        }
        soon("another reason", async { committed.changed().await.ok() }).await;
    }
    let mut commands = connect(&lane, 1, "p").await;
    let first = soon("first", commands.recv()).await;
    assert_eq!(first.command.attempt, 1);
    let journal = journal(&lane, &disk).await.join("\n");
    let at = |word: &str| {
        journal
            .find(word)
            .unwrap_or_else(|| panic!("{word} is not in {journal}"))
    };
    assert!(
        at("no_participant") < at("broker_away") && at("broker_away") < at("broker_blocked"),
        "{journal}"
    );
    assert_eq!(journal.matches("no_participant").count(), 2, "{journal}");
    assert_eq!(journal.matches("broker_away").count(), 1, "{journal}");
}

#[tokio::test]
async fn a_limit_rests_while_nothing_travels() {
    let plan = plan();
    let store: Arc<dyn Lanes> = Disk::default() as _;
    let claim = crate::lane::claim(&*store).await.expect("a claim");
    let mut worker = Worker::begin(claim, store, definitions(&plan), Settings::default())
        .await
        .expect("a lane");
    let link = |number| {
        let (sent, _) = mpsc::unbounded_channel();
        let actions = ["a", "b", "undo_a", "undo_b"].map(str::to_owned).to_vec();
        Arc::new(TestLink {
            number,
            participant: "p".into(),
            actions,
            sent,
        })
    };
    worker.take(Intake::Connected(link(1)));
    let (job, ..) = start(&plan, id(1), None);
    worker.take(Intake::Starts(vec![job]));
    worker.decide_queue();
    worker.submit();
    let outcome = (&mut worker.writing.as_mut().expect("a commit").outcome).await;
    worker.written(outcome).await;
    let next = |worker: &Worker| {
        worker.sagas[&id(1)]
            .due()
            .expect("the step's alarm at least")
    };
    let running = next(&worker);
    worker.take(Intake::Suspended { link: 1 });
    let resting = next(&worker);
    assert!(resting > running, "the limit still runs");
    worker.take(Intake::Replaced {
        link: 1,
        by: link(2),
    });
    let anew = next(&worker);
    assert!(
        running <= anew && anew < resting,
        "the limit does not run anew"
    );
}

#[tokio::test]
async fn an_answer_to_nothing_that_was_sent_does_not_take_a_command_off_its_wire() {
    let disk = Disk::default();
    let (lane, _plan, first, mut commands, _ended) = begun(&disk).await;
    lane.send(Intake::Suspended { link: 1 }).await.unwrap();
    let late = reply(&first, success(&first));
    let of_a_stranger = Incoming {
        participant: "mallory".into(),
        ..late.clone()
    };
    let of_the_future = [
        Incoming {
            round: late.round + 1,
            ..late.clone()
        },
        Incoming {
            attempt: late.attempt + 1,
            outcome: Outcome::Failed(ErrorBody::new("x", "")),
            ..late
        },
    ];
    let (done, mut finished) = mpsc::unbounded_channel();
    let replies = [&[of_a_stranger][..], &of_the_future].concat();
    let receipt = Receipt::new(1, replies.len(), done);
    lane.send(Intake::Delivery { replies, receipt })
        .await
        .unwrap();
    soon("the receipt", finished.recv()).await;
    // Its limit rests, so the end of the link is all that tells of the loss.
    lane.send(Intake::Disconnected { link: 1 }).await.unwrap();
    assert!(commands.try_recv().is_err());
    let mut commands = connect(&lane, 2, "p").await;
    assert_eq!(
        soon("the second attempt", commands.recv())
            .await
            .command
            .attempt,
        2
    );
    assert!(
        journal(&lane, &disk)
            .await
            .join("\n")
            .contains("connection_lost")
    );
}
