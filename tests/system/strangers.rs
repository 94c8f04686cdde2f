//! Participants that do not keep to the rules, spoken by hand.

use saga_proto::v1::{
    Action, ActionKind, Command, FromParticipant, Hello, InboxKind, Op, Outcome, Reply, ReplyBatch,
    ToParticipant, from_participant::Message as Say,
    participant_service_client::ParticipantServiceClient, to_participant::Message as Hear,
};
use saga_tests::{
    Rig,
    client::{code, json, status, step},
    eventually,
    served::Served,
    within,
};
use serde_json::json;
use tokio::sync::mpsc;
use tonic::{Status, Streaming, transport::Channel};

use crate::files::{PAIR, SINGLE};

/// A stream to the server, with nothing but the wire in between.
struct Stranger {
    say: mpsc::Sender<FromParticipant>,
    hear: Streaming<ToParticipant>,
}

impl Stranger {
    async fn connect(rig: &Rig, first: Say) -> Result<Self, Status> {
        Self::dial(rig.clients.channel.clone(), first).await
    }

    async fn dial(channel: Channel, first: Say) -> Result<Self, Status> {
        let (say, said) = mpsc::channel(16);
        say.send(FromParticipant {
            message: Some(first),
        })
        .await
        .expect("room");
        let outbound =
            futures_util::stream::unfold(said, async |mut said| Some((said.recv().await?, said)));
        let mut client = ParticipantServiceClient::new(channel);
        let mut hear = client.connect(outbound).await?.into_inner();
        let welcome = within("a welcome", hear.message())
            .await?
            .expect("a welcome")
            .message;
        assert!(matches!(welcome, Some(Hear::Welcome(_))), "{welcome:?}");
        Ok(Self { say, hear })
    }

    async fn reply(&self, replies: Vec<Reply>) {
        let message = Some(Say::Replies(ReplyBatch { replies }));
        self.say
            .send(FromParticipant { message })
            .await
            .expect("the stream is open");
    }

    async fn command(&mut self) -> Command {
        let message = within("a command", self.hear.message())
            .await
            .expect("a command")
            .expect("a command");
        let Some(Hear::Commands(mut batch)) = message.message else {
            panic!("no commands")
        };
        assert_eq!(batch.commands.len(), 1);
        batch.commands.remove(0)
    }
}

fn hello(participant: &str) -> Hello {
    let action = |name: &str, kind: ActionKind| Action {
        name: name.to_owned(),
        kind: kind.into(),
        ..Default::default()
    };
    Hello {
        participant: participant.to_owned(),
        instance: format!("{participant}-1"),
        inbox_id: "inbox".to_owned(),
        inbox_kind: InboxKind::Transactional.into(),
        actions: vec![
            action("act", ActionKind::Action),
            action("undo", ActionKind::Compensation),
        ],
        ..Default::default()
    }
}

fn answer(command: &Command, outcome: Outcome, output: &str) -> Reply {
    Reply {
        saga_id: command.saga_id.clone(),
        step: command.step.clone(),
        round: command.round,
        op: command.op,
        attempt: command.attempt,
        outcome: outcome.into(),
        output: output.to_owned().into(),
        error: None,
    }
}

#[tokio::test]
async fn who_does_not_say_hello_rightly_is_told_why() {
    let rig = Rig::start().await;
    let refusals = [
        (Say::Replies(ReplyBatch::default()), "hello"),
        (Say::Hello(hello("Left")), "participant"),
        (
            Say::Hello(Hello {
                inbox_kind: 0,
                ..hello("left")
            }),
            "inbox_kind",
        ),
        (
            Say::Hello(Hello {
                inbox_id: String::new(),
                ..hello("left")
            }),
            "inbox_id",
        ),
        (
            Say::Hello(Hello {
                instance: "a\0".to_owned(),
                ..hello("left")
            }),
            "instance",
        ),
    ];
    for (first, word) in refusals {
        let refusal = Stranger::connect(&rig, first)
            .await
            .err()
            .expect("must be refused");
        assert_eq!(code(&refusal), "A0424");
        assert!(refusal.message().contains(word), "{refusal}");
    }
    let mut twice = Stranger::connect(&rig, Say::Hello(hello("left")))
        .await
        .expect("a welcome");
    let again = FromParticipant {
        message: Some(Say::Hello(hello("left"))),
    };
    twice.say.send(again).await.expect("the stream is open");
    let refusal = within("a refusal", twice.hear.message())
        .await
        .expect_err("said twice");
    assert_eq!(code(&refusal), "A0424");
}

#[tokio::test]
async fn answers_without_sense_change_nothing_and_the_right_one_counts_once() {
    let rig = Rig::start().await;
    let mut left = Stranger::connect(&rig, Say::Hello(hello("left")))
        .await
        .expect("a welcome");
    let mut right = Stranger::connect(&rig, Say::Hello(hello("right")))
        .await
        .expect("a welcome");
    rig.clients.deploy(PAIR).await;
    let id = rig.clients.begin("pair", json!({"n": 1})).await;
    let command = left.command().await;
    assert_eq!(
        (command.step.as_str(), command.op(), json(&command.input)),
        ("first", Op::Action, json!({"n": 1}))
    );
    let good = answer(&command, Outcome::Succeeded, "{}");
    // Another participant cannot answer for this one, whatever it writes.
    right
        .reply(vec![good.clone(), answer(&command, Outcome::Refused, "")])
        .await;
    let unknown = Reply {
        saga_id: uuid::Uuid::now_v7().as_bytes().to_vec().into(),
        ..good.clone()
    };
    left.reply(vec![
        Reply {
            saga_id: vec![1, 2, 3].into(),
            ..good.clone()
        },
        unknown,
        Reply {
            step: "nowhere".to_owned(),
            ..good.clone()
        },
        Reply {
            step: "second".to_owned(),
            ..good.clone()
        },
        Reply {
            round: 7,
            ..good.clone()
        },
        Reply {
            attempt: 0,
            ..good.clone()
        },
        Reply {
            attempt: 9,
            ..good.clone()
        },
        Reply {
            op: 99,
            ..good.clone()
        },
        Reply {
            op: Op::Compensation.into(),
            ..good.clone()
        },
        Reply {
            op: Op::Seal.into(),
            outcome: Outcome::Sealed.into(),
            ..good.clone()
        },
        Reply {
            outcome: 0,
            ..good.clone()
        },
        Reply {
            outcome: Outcome::Compensated.into(),
            ..good.clone()
        },
        answer(&command, Outcome::Succeeded, "{not json"),
    ])
    .await;
    // What is no output is a failed attempt; the next one comes with the same key and content.
    let again = left.command().await;
    assert_eq!(
        (again.attempt, again.fingerprint, &again.input),
        (2, command.fingerprint, &command.input)
    );
    let seen = rig.clients.get(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "second").status.as_str()),
        ("running", "pending")
    );
    let good = answer(&again, Outcome::Succeeded, "{}");
    left.reply(vec![
        good.clone(),
        good.clone(),
        answer(&command, Outcome::Succeeded, "{}"),
    ])
    .await;
    let last = right.command().await;
    right
        .reply(vec![answer(&last, Outcome::Succeeded, "")])
        .await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!((status(&seen), seen.incidents.len()), ("completed", 0));
    let history = rig.clients.history(&id).await;
    assert_eq!(
        history
            .iter()
            .filter(|event| event.kind == "step_succeeded")
            .count(),
        2
    );
    left.reply(vec![good]).await;
    assert_eq!(rig.clients.get(&id).await.seq, seen.seq);
}

#[tokio::test]
async fn an_instance_that_connects_again_replaces_its_older_self() {
    let rig = Rig::start().await;
    let mut older = Stranger::connect(&rig, Say::Hello(hello("left")))
        .await
        .expect("a welcome");
    let _right = Stranger::connect(&rig, Say::Hello(hello("right")))
        .await
        .expect("a welcome");
    rig.clients.deploy(PAIR).await;
    let id = rig.clients.begin("pair", json!({"n": 1})).await;
    let lost = older.command().await;
    let mut newer = Stranger::connect(&rig, Say::Hello(hello("left")))
        .await
        .expect("a welcome");
    let end = within("the end of the older", older.hear.message())
        .await
        .expect_err("it was given up");
    assert_eq!(end.code(), tonic::Code::Aborted);
    let again = newer.command().await;
    assert_eq!((again.attempt, again.fingerprint), (2, lost.fingerprint));
    // The lost attempt's success is still the truth.
    newer
        .reply(vec![answer(&lost, Outcome::Succeeded, "{}")])
        .await;
    rig.clients
        .until(&id, "the step", |seen| {
            step(seen, "first").status == "succeeded"
        })
        .await;
}

#[tokio::test]
async fn nonsense_about_a_saga_leaves_a_line_and_a_late_copy_none() {
    let served = Served::start(&[]).await;
    let mut left = Stranger::dial(served.clients.channel.clone(), Say::Hello(hello("left")))
        .await
        .expect("a welcome");
    served.clients.deploy(SINGLE).await;
    let id = served
        .clients
        .begin("single", json!({"n": 1, "tags": []}))
        .await;
    let command = left.command().await;
    let nothing = || answer(&command, Outcome::Succeeded, "{}");
    let mut never = nothing();
    never.saga_id = saga_core::SagaId::new(1, saga_core::Partition(0), 7)
        .to_bytes()
        .to_vec()
        .into();
    let nonsense = vec![
        never,
        Reply {
            step: "nosuch".to_owned(),
            ..nothing()
        },
        Reply {
            round: 9,
            ..nothing()
        },
        Reply {
            attempt: 9,
            ..nothing()
        },
        Reply {
            op: Op::Seal.into(),
            outcome: Outcome::Sealed.into(),
            ..nothing()
        },
    ];
    left.reply(nonsense).await;
    left.reply(vec![nothing()]).await;
    assert_eq!(status(&served.clients.ended(&id).await), "completed");
    // A late copy, after the end.
    left.reply(vec![nothing()]).await;
    let lines = [
        ("a reply for a saga that never was is dropped", 1),
        ("message for a step that the plan does not have", 1),
        ("no such round or attempt was ever sent", 2),
    ];
    eventually("a line for each", || async {
        let logged = served.program.logged();
        let all = lines
            .iter()
            .all(|(line, times)| logged.matches(line).count() >= *times);
        all.then_some(())
    })
    .await;
    let logged = served.program.logged();
    assert_eq!(
        logged.matches("never was").count(),
        1,
        "the late copy is for a saga that was: {logged}"
    );
}
