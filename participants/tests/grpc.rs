//! The gRPC road against an orchestrator that says what the test tells it, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod scripted;

use std::{sync::Arc, time::Duration};

use saga_participant::{
    Ctx, Handle, Memory, MemoryInbox, Outcome, Participant, Result, Sqlite, SqliteInbox, Undo,
};
use saga_proto::v1::{self, Command, Op, Reply, from_participant::Message as From};
use scripted::{Orchestrator, Serving, command, soon};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
};
use tonic::Status;

async fn double(_: Ctx<Memory>, number: u32) -> Result<u32> {
    Ok(number * 2)
}

async fn halve(_: Ctx<Memory>, undo: Undo<u32, u32>) -> Result<()> {
    assert_eq!(undo.output, Some(undo.input * 2));
    Ok(())
}

fn numbers() -> Participant<Memory> {
    Participant::new("numbers")
        .action("double", double)
        .compensation("halve", halve)
        .undoes("double")
        .inbox(MemoryInbox::new())
}

/// `numbers` with an action that ends only when it is let.
fn gated() -> (Participant<Memory>, Arc<Notify>, Arc<Notify>) {
    let (began, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (beginning, released) = (began.clone(), release.clone());
    let participant = numbers().action("wait", move |_: Ctx<Memory>, (): ()| {
        let (beginning, released) = (beginning.clone(), released.clone());
        async move {
            beginning.notify_one();
            released.notified().await;
            Ok("released".to_owned())
        }
    });
    (participant, began, release)
}

#[tokio::test]
async fn hello_registers_what_the_participant_serves() {
    let mut orchestrator = Orchestrator::start().await;
    let serving = Serving::start(numbers(), orchestrator.address);
    let (_conversation, hello) = orchestrator.welcome().await;
    assert_eq!(hello.participant, "numbers");
    assert_eq!(hello.inbox_kind(), v1::InboxKind::None);
    assert!(hello.sdk.starts_with("rust/"), "{}", hello.sdk);
    let [double, halve] = &hello.actions[..] else {
        panic!("{:?}", hello.actions)
    };
    assert_eq!(
        (&*double.name, double.kind()),
        ("double", v1::ActionKind::Action)
    );
    let schema: serde_json::Value = serde_json::from_str(&double.output_schema).unwrap();
    assert_eq!(schema["type"], "integer");
    assert_eq!(
        (&*halve.name, halve.kind()),
        ("halve", v1::ActionKind::Compensation)
    );
    assert_eq!(halve.undoes, "double");
    let schema: serde_json::Value = serde_json::from_str(&halve.input_schema).unwrap();
    assert_eq!(
        schema["required"],
        serde_json::json!(["input", "action_key"])
    );
    serving.end().await.unwrap();
}

#[tokio::test]
async fn a_batch_is_answered_and_its_redelivery_answered_again() {
    let mut orchestrator = Orchestrator::start().await;
    let serving = Serving::start(numbers(), orchestrator.address);
    let (mut conversation, _) = orchestrator.welcome().await;
    let batch: Vec<_> = (0..20)
        .map(|n| command(&format!("s{n}"), Op::Action, "double", &n.to_string()))
        .collect();
    // Twice: the second time nothing runs, the stored answers come.
    for _ in 0..2 {
        conversation.command(batch.clone()).await;
        let mut replies = conversation.replies().await;
        while replies.len() < batch.len() {
            // On a machine under load the rest of a batch may follow in a second message.
            replies.extend(conversation.replies().await);
        }
        replies.sort_by_key(|reply| reply.step[1..].parse::<u32>().unwrap());
        for (n, reply) in replies.iter().enumerate() {
            assert_eq!(reply.outcome(), v1::Outcome::Succeeded, "{reply:?}");
            assert_eq!(reply.output, (2 * n).to_string());
            assert_eq!((reply.round, reply.attempt, reply.op()), (1, 1, Op::Action));
        }
    }
    conversation
        .command(vec![
            command("s3", Op::Forget, "", ""),
            command("s3", Op::Query, "", ""),
        ])
        .await;
    let reply = conversation.reply().await;
    assert_eq!(
        (reply.op(), reply.outcome()),
        (Op::Query, v1::Outcome::Absent)
    );
    serving.end().await.unwrap();
}

#[tokio::test]
async fn after_a_lost_stream_the_inbox_answers_on_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let inbox = SqliteInbox::open(directory.path().join("count.db"))
        .await
        .unwrap();
    inbox
        .migrate("create table effect (step text)")
        .await
        .unwrap();
    async fn count(ctx: Ctx<Sqlite>, (): ()) -> Result<i64> {
        let mut tx = ctx.tx().await?;
        sqlx::query("insert into effect (step) values (?)")
            .bind(ctx.step())
            .execute(&mut *tx)
            .await?;
        Ok(sqlx::query_scalar("select count(*) from effect")
            .fetch_one(&mut *tx)
            .await?)
    }
    let (committed, mut commits) = mpsc::unbounded_channel();
    let participant = Participant::new("count")
        .action("count", count)
        .inbox(inbox)
        .after_commit(move |key, op| {
            let _ = committed.send((key, op));
            std::future::ready(())
        });
    let mut orchestrator = Orchestrator::start().await;
    let serving = Serving::start(participant, orchestrator.address);
    let (conversation, first) = orchestrator.welcome().await;
    assert_eq!(first.inbox_kind(), v1::InboxKind::Transactional);
    conversation
        .command(vec![command("s", Op::Action, "count", "null")])
        .await;
    soon(commits.recv()).await.expect("the effect is committed");
    drop(conversation);

    let (mut conversation, second) = orchestrator.welcome().await;
    assert_eq!(
        (&second.instance, &second.inbox_id),
        (&first.instance, &first.inbox_id)
    );
    let again = Command {
        attempt: 2,
        ..command("s", Op::Action, "count", "null")
    };
    conversation.command(vec![again]).await;
    let reply = conversation.reply().await;
    assert_eq!(
        (reply.outcome(), reply.attempt, reply.output.as_ref()),
        (v1::Outcome::Succeeded, 2, &b"1"[..])
    );
    serving.end().await.unwrap();
    assert!(commits.try_recv().is_err(), "the redelivery wrote nothing");
}

#[tokio::test]
async fn an_orchestrator_that_is_not_there_yet_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let serving = Serving::start(numbers(), address);
    // Nobody listens for a while; the participant's first dial may fall before or after this.
    tokio::task::yield_now().await;
    let mut orchestrator = Orchestrator::on(TcpListener::bind(address).await.unwrap());
    orchestrator.welcome().await;
    serving.end().await.unwrap();
}

#[tokio::test]
async fn a_refused_registration_is_told_in_the_orchestrators_words() {
    let mut orchestrator = Orchestrator::start().await;
    let serving = Serving::start(numbers(), orchestrator.address);
    let mut conversation = orchestrator.next().await;
    conversation.hello().await;
    let refusal = Status::failed_precondition("participant numbers has another inbox");
    conversation.to.send(Err(refusal)).await.unwrap();
    let error = soon(serving.ended).await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the orchestrator refuses participant numbers: participant numbers has another inbox"
    );
}

#[tokio::test]
async fn an_orchestrator_in_trouble_is_dialed_again() {
    let mut orchestrator = Orchestrator::start().await;
    let serving = Serving::start(numbers(), orchestrator.address);
    let mut conversation = orchestrator.next().await;
    conversation.hello().await;
    conversation
        .to
        .send(Err(Status::unavailable("starting")))
        .await
        .unwrap();
    orchestrator.welcome().await;
    serving.end().await.unwrap();
}

#[tokio::test]
async fn undo_is_served_while_the_forward_road_is_full() {
    let (participant, began, release) = gated();
    let mut orchestrator = Orchestrator::start().await;
    let serving = Serving::start(participant.concurrency(1, 1), orchestrator.address);
    let (mut conversation, _) = orchestrator.welcome().await;
    let action = |step, name, input| command(step, Op::Action, name, input);
    conversation
        .command(vec![
            action("held", "wait", "null"),
            action("queued", "double", "4"),
        ])
        .await;
    soon(began.notified()).await;

    conversation
        .command(vec![
            command("held", Op::Query, "", ""),
            command("other", Op::Seal, "", ""),
        ])
        .await;
    let mut outcomes = Vec::new();
    while outcomes.len() < 2 {
        outcomes.extend(
            conversation
                .replies()
                .await
                .iter()
                .map(|reply| (reply.step.clone(), reply.outcome())),
        );
    }
    outcomes.sort();
    let expected = [
        ("held", v1::Outcome::Running),
        ("other", v1::Outcome::Sealed),
    ];
    assert_eq!(
        outcomes,
        expected.map(|(step, outcome)| (step.to_owned(), outcome))
    );

    release.notify_one();
    let mut replies = conversation.replies().await;
    while replies.len() < 2 {
        replies.extend(conversation.replies().await);
    }
    assert!(
        replies
            .iter()
            .all(|reply| reply.outcome() == v1::Outcome::Succeeded),
        "{replies:?}"
    );
    serving.end().await.unwrap();
}

#[tokio::test]
async fn the_drain_lets_running_handlers_finish_and_answer() {
    let (participant, began, release) = gated();
    let mut orchestrator = Orchestrator::start().await;
    let serving = Serving::start(participant, orchestrator.address);
    let (mut conversation, _) = orchestrator.welcome().await;
    conversation
        .command(vec![command("s", Op::Action, "wait", "null")])
        .await;
    soon(began.notified()).await;
    let ended = tokio::spawn(serving.end());
    assert!(matches!(conversation.hear().await, Some(From::Draining(_))));
    assert!(!ended.is_finished(), "a handler is still at work");

    release.notify_one();
    let reply = conversation.reply().await;
    assert_eq!(
        (reply.outcome(), reply.output.as_ref()),
        (v1::Outcome::Succeeded, &b"\"released\""[..])
    );
    assert_eq!(
        conversation.hear().await,
        None,
        "the participant closes its half"
    );
    drop(conversation);
    soon(ended).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_its_thread_does_not_stop_the_stream() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let participant = numbers().action("block", move |_: Ctx<Memory>, (): ()| {
        let released = released.clone();
        async move {
            // Fails, and ends, when the other half is dropped.
            let _ = released.lock().unwrap().recv();
            Ok(())
        }
    });
    let mut orchestrator = Orchestrator::start().await;
    let serving = Serving::start(participant, orchestrator.address);
    let (mut conversation, _) = orchestrator.welcome().await;
    conversation
        .command(vec![command("blocked", Op::Action, "block", "null")])
        .await;
    for n in 0..20 {
        conversation
            .command(vec![command(
                &format!("step{n}"),
                Op::Action,
                "double",
                "2",
            )])
            .await;
        assert_eq!(conversation.reply().await.output.as_ref(), b"4");
    }
    drop(release);
    assert_eq!(conversation.reply().await.step, "blocked");
    serving.end().await.unwrap();
}

#[tokio::test]
async fn the_drain_is_bounded() {
    let (participant, began, _never) = gated();
    let mut orchestrator = Orchestrator::start().await;
    let serving = Serving::start(
        participant.drain_within(Duration::from_millis(1)),
        orchestrator.address,
    );
    let (mut conversation, _) = orchestrator.welcome().await;
    conversation
        .command(vec![command("s", Op::Action, "wait", "null")])
        .await;
    soon(began.notified()).await;
    let ended = tokio::spawn(serving.end());
    assert!(matches!(conversation.hear().await, Some(From::Draining(_))));
    assert_eq!(conversation.hear().await, None);
    drop(conversation);
    soon(ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn accepted_work_beats_and_ends_over_the_stream() {
    async fn accept(ctx: Ctx<Memory>, (): ()) -> Result<Outcome<u32>> {
        ctx.heartbeat();
        Ok(Outcome::Accepted)
    }
    let participant = numbers().action("accept", accept);
    let handle: Handle<Memory> = participant.handle().unwrap();
    let (keys, mut accepted) = mpsc::unbounded_channel();
    let participant = participant.after_commit(move |key, _| {
        let _ = keys.send(key);
        std::future::ready(())
    });
    let mut orchestrator = Orchestrator::start().await;
    let serving = Serving::start(participant, orchestrator.address);
    let (mut conversation, _) = orchestrator.welcome().await;
    conversation
        .command(vec![command("s", Op::Action, "accept", "null")])
        .await;
    let mut outcomes = Vec::new();
    while outcomes.len() < 2 {
        outcomes.extend(conversation.replies().await.iter().map(Reply::outcome));
    }
    assert_eq!(outcomes, [v1::Outcome::Running, v1::Outcome::Accepted]);

    let key = soon(accepted.recv()).await.unwrap();
    handle.heartbeat(&key, 1);
    assert_eq!(conversation.reply().await.outcome(), v1::Outcome::Running);
    handle.complete(&key, Ok(9_u32)).await.unwrap();
    let reply = conversation.reply().await;
    assert_eq!(
        (reply.outcome(), reply.output.as_ref()),
        (v1::Outcome::Succeeded, &b"9"[..])
    );
    serving.end().await.unwrap();
}

#[tokio::test]
async fn every_orchestrator_that_a_welcome_names_gets_a_stream() {
    let (mut first, mut second) = (Orchestrator::start().await, Orchestrator::start().await);
    let serving = Serving::start(numbers(), first.address);
    let addresses = vec![
        first.address.to_string(),
        format!("grpc://{}", second.address),
    ];
    let (_one, hello) = first.welcome_with(addresses.clone()).await;
    let (mut two, again) = second.welcome_with(addresses).await;
    assert_eq!(hello.instance, again.instance);
    two.command(vec![command("s", Op::Action, "double", "2")])
        .await;
    assert_eq!(two.reply().await.output.as_ref(), b"4");
    drop((_one, two));
    serving.end().await.unwrap();
}
