//! One suite for every transport: real participants at one end, and at the other the test in the place of the lane.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use saga_core::{
    Gate as Admission, Input, Partition, Payload, SagaId, SagaState, Timestamp, decide,
    gate::Live,
    input::{Outcome, Start},
};
use saga_dsl::{
    builder::{Saga, step},
    plan::Plan,
};
use saga_engine::{
    definitions::Definitions,
    directory::Directory,
    lane::{
        self,
        intake::{Incoming, Intake, StartJob},
    },
    link::{Link, Outgoing},
};
use saga_participant::{Ctx, Participant, Reject, Sqlite, SqliteInbox, Undo};
use saga_proto::v1::{self as wire, participant_service_server::ParticipantServiceServer};
use saga_store_sqlite::SqliteStore;
use saga_tests::{Gate, Instance, broker_log::Vhost, host::Host, rabbitmq, within};
use saga_wire::refusal::{Code, Refusal};
use saga_wire_amqp as amqp;
use saga_wire_amqp::Broker;
use saga_wire_grpc::Participants;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::server::TcpIncoming;

/// A transport with nobody behind it but this test.
struct Road {
    endpoint: String,
    lane: mpsc::Receiver<Intake>,
    folder: TempDir,
    closing: CancellationToken,
    _host: Host,
    /// What the participant is held by.
    gate: Gate,
    /// Looks into the broker's log when it is dropped.
    vhost: Option<Vhost>,
}

/// Nobody starts sagas here.
struct NoDoor;

impl amqp::Door for NoDoor {
    fn prepare(&self, _: wire::StartSagaRequest) -> Result<StartJob, Refusal> {
        Err(Refusal::new(Code::Malformed, "nothing starts here"))
    }
}

struct Parts {
    lane: lane::Handle,
    store: Arc<SqliteStore>,
    directory: Arc<Directory>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// Opens a transport with its parts, on a runtime of its own; the rest is the same for all.
async fn open<F: Future<Output = String> + Send + 'static>(
    make: impl FnOnce(Parts) -> F + Send + 'static,
) -> Road {
    let folder = TempDir::new().expect("a folder");
    let store = Arc::new(SqliteStore::open(&folder.path().join("saga.db")).expect("a store"));
    let (sender, lane) = mpsc::channel(1_000);
    let closing = CancellationToken::new();
    let host = Host::new("transport");
    let parts = Parts {
        lane: lane::Handle::new(sender, 32),
        directory: Arc::new(
            Directory::load(Arc::clone(&store) as _)
                .await
                .expect("a directory"),
        ),
        store,
        closing: closing.clone(),
        tasks: TaskTracker::new(),
    };
    let endpoint = host.spawn(make(parts)).await.expect("a transport");
    Road {
        endpoint,
        lane,
        folder,
        closing,
        _host: host,
        gate: Gate::new(),
        vhost: None,
    }
}

async fn over_grpc() -> Road {
    open(|parts| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let Parts {
            lane,
            directory,
            closing,
            tasks,
            store: _,
        } = parts;
        let service = Participants::new(lane, directory, address, closing.clone(), tasks);
        let router =
            tonic::transport::Server::builder().add_service(ParticipantServiceServer::new(service));
        tokio::spawn(
            router.serve_with_incoming_shutdown(
                TcpIncoming::from(listener),
                closing.cancelled_owned(),
            ),
        );
        format!("grpc://{address}")
    })
    .await
}

async fn over_amqp() -> Road {
    let vhost = rabbitmq::vhost().await;
    let url = vhost.to_string();
    let mut road = open(|parts| async move {
        let Parts {
            lane,
            directory,
            closing,
            tasks,
            store,
        } = parts;
        let parts = amqp::Parts {
            claim: 1,
            store: Arc::clone(&store) as _,
            lane,
            directory,
            definitions: Arc::new(Definitions::default()),
            chronicle: store,
            door: Arc::new(NoDoor),
            closing,
        };
        amqp::spawn(Broker::at(&url).expect("a URL"), parts, &tasks);
        url
    })
    .await;
    road.vhost = Some(vhost);
    road
}

impl Road {
    /// Starts a participant, the same one each time; it holds what has `held` in its input at the gate.
    fn participant(&self) -> Instance {
        let (database, gate) = (self.folder.path().join("hotels.db"), self.gate.clone());
        Instance::start(&self.endpoint, async move {
            let inbox = SqliteInbox::open(&database).await.expect("an inbox");
            Participant::<Sqlite>::new("hotels")
                .action("reserve", move |_: Ctx<Sqlite>, input: Value| {
                    let gate = gate.clone();
                    async move {
                        if input["note"] == "held" {
                            gate.pass().await;
                        }
                        if input["note"] == "refused" {
                            return Err(Reject::new("full", "no room").into());
                        }
                        Ok(json!({"of": input["n"]}))
                    }
                })
                .compensation("cancel", async |_: Ctx<Sqlite>, _: Undo<Value, Value>| {
                    Ok(())
                })
                .inbox(inbox)
        })
    }

    /// The next thing that is about participants and not about the broker itself.
    async fn next(&mut self) -> Intake {
        loop {
            match within("a word of the transport", self.lane.recv())
                .await
                .expect("it lives")
            {
                Intake::Broker(_) => {}
                other => return other,
            }
        }
    }

    async fn link(&mut self) -> Arc<dyn Link> {
        match self.next().await {
            Intake::Connected(link) | Intake::Replaced { by: link, .. } => link,
            _ => panic!("not a link"),
        }
    }

    /// The next answers; a wire that waits for a receipt gets it.
    async fn replies(&mut self, count: usize) -> Vec<Incoming> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.next().await {
                Intake::Replies(replies) => all.extend(replies),
                Intake::Delivery { replies, receipt } => {
                    replies.iter().for_each(|_| receipt.clone().part_done());
                    all.extend(replies);
                }
                _ => panic!("not an answer"),
            }
        }
        all
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

/// The first command of a saga.
fn outgoing(n: u64, note: &str) -> Outgoing {
    let action = step("reserve")
        .action("hotels/reserve")
        .input(json!({"n": n, "note": note}))
        .compensation("hotels/cancel");
    let definition = Saga::new("stay", 1).step(action).build().expect("valid");
    let plan = Arc::new(Plan::from_definition(definition).expect("valid"));
    let live = Live {
        actions: ["reserve".to_owned()].into(),
        transactional: true,
    };
    let gate = Admission {
        participants: [("hotels".to_owned(), live)].into(),
        ..Admission::default()
    };
    let input = Payload::from_bytes(b"{}").expect("JSON");
    let start = Input::Start(Start {
        input,
        key: None,
        labels: Default::default(),
    });
    let state = SagaState::unborn(SagaId::new(1_900_000_000_000, Partition(1), n));
    let now = Timestamp(1_900_000_000_000_000);
    let decision = decide(&plan, &state, &start, &gate, now).expect("a start");
    let command = saga_core::command::outstanding(&plan, &decision.state)
        .pop()
        .expect("a command");
    Outgoing {
        plan,
        command,
        alone: false,
    }
}

fn output(incoming: &Incoming) -> Value {
    match &incoming.outcome {
        Outcome::Succeeded(output) => output.to_value(),
        other => panic!("not a success: {other:?}"),
    }
}

async fn a_link_says_who_is_there_and_what_it_serves(mut road: Road) {
    let _hotels = road.participant();
    let link = road.link().await;
    assert_eq!((link.participant(), link.transactional()), ("hotels", true));
    let served: BTreeSet<&str> = link.actions().iter().map(String::as_str).collect();
    assert_eq!(served, BTreeSet::from(["reserve", "cancel"]));
}

async fn a_command_is_answered_in_the_name_of_who_was_asked(mut road: Road) {
    let _hotels = road.participant();
    let link = road.link().await;
    link.send(vec![outgoing(1, "")]);
    let [answer] = &road.replies(1).await[..] else {
        panic!("one answer")
    };
    assert_eq!(
        (&*answer.participant, answer.step.as_str()),
        ("hotels", "reserve")
    );
    assert_eq!((answer.round, answer.attempt), (1, 1));
    assert_eq!(
        (answer.saga_id, output(answer)),
        (outgoing(1, "").command.saga_id, json!({"of": 1}))
    );
    link.send(vec![outgoing(2, "refused")]);
    let answer = road.replies(1).await.remove(0);
    let Outcome::Refused(error) = answer.outcome else {
        panic!("not refused: {answer:?}")
    };
    assert_eq!(error.code, "full");
}

async fn a_big_batch_is_answered_whole(mut road: Road) {
    let _hotels = road.participant();
    let link = road.link().await;
    // More than one message holds, by number and by size.
    let text = "x".repeat(4 * 1024);
    link.send(
        (0..300)
            .map(|n| outgoing(n, if n % 3 == 0 { &text } else { "" }))
            .collect(),
    );
    let answered: BTreeSet<u64> = road
        .replies(300)
        .await
        .iter()
        .map(|one| output(one)["of"].as_u64().expect("a number"))
        .collect();
    assert_eq!(answered, (0..300).collect());
}

async fn a_command_that_comes_twice_is_answered_twice_and_the_same(mut road: Road) {
    let _hotels = road.participant();
    let link = road.link().await;
    link.send(vec![outgoing(1, "held")]);
    road.gate.arrived(1).await;
    // The next attempt overtakes the answer to the first, which comes all the same.
    let mut again = outgoing(1, "held");
    again.command.attempt = 2;
    link.send(vec![again]);
    road.gate.open();
    let answers = road.replies(2).await;
    let attempts: BTreeSet<u32> = answers.iter().map(|answer| answer.attempt).collect();
    assert_eq!(attempts, BTreeSet::from([1, 2]));
    assert!(
        answers
            .iter()
            .all(|answer| output(answer) == json!({"of": 1}))
    );
}

async fn who_leaves_in_order_takes_no_more_and_answers_what_it_has(mut road: Road) {
    let hotels = road.participant();
    let link = road.link().await;
    link.send(vec![outgoing(1, "held")]);
    road.gate.arrived(1).await;
    let leaving = hotels.begin_stop();
    match road.next().await {
        Intake::Draining { link: number } => assert_eq!(number, link.number()),
        _ => panic!("not told that it leaves"),
    }
    road.gate.open();
    assert_eq!(output(&road.replies(1).await[0]), json!({"of": 1}));
    leaving.join().await.expect("an end in order");
    match road.next().await {
        Intake::Disconnected { link: number } => assert_eq!(number, link.number()),
        _ => panic!("not told that it is gone"),
    }
}

async fn who_dies_is_missed(mut road: Road) {
    let hotels = road.participant();
    let link = road.link().await;
    link.send(vec![outgoing(1, "held")]);
    road.gate.arrived(1).await;
    hotels.kill();
    // A wire that cannot see the end of somebody takes silence for it.
    loop {
        match road.next().await {
            Intake::Disconnected { link: number } => break assert_eq!(number, link.number()),
            // Killed by being dropped, its tasks one after the other, it may still get to say that it leaves.
            Intake::Draining { .. } => {}
            _ => panic!("not told that it is gone"),
        }
    }
}

async fn who_comes_back_has_another_link(mut road: Road) {
    let hotels = road.participant();
    let first = road.link().await;
    hotels.stop().await.expect("an end in order");
    loop {
        if let Intake::Disconnected { link } = road.next().await {
            assert_eq!(link, first.number());
            break;
        }
    }
    let _hotels = road.participant();
    let second = road.link().await;
    assert_ne!(first.number(), second.number());
    second.send(vec![outgoing(1, "")]);
    assert_eq!(output(&road.replies(1).await[0]), json!({"of": 1}));
}

/// Neither wire may swallow a command: one says that the link is gone with all that was sent over it, the other that the
/// command certainly was not sent.
async fn a_command_that_nobody_can_take_is_reported(mut road: Road) {
    let hotels = road.participant();
    let link = road.link().await;
    if road.endpoint.starts_with("amqp") {
        road.vhost
            .as_ref()
            .expect("a virtual host")
            .causes("no queue 'saga.cmd.hotels'");
        // The participant's consumer goes with its queue, so that nobody is there before it is declared anew.
        let properties = lapin::ConnectionProperties::default();
        let connection = lapin::Connection::connect(&road.endpoint, properties)
            .await
            .expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        channel
            .queue_delete("saga.cmd.hotels".into(), Default::default())
            .await
            .expect("deleted");
    } else {
        hotels.kill();
    }
    link.send(vec![outgoing(1, "")]);
    loop {
        match road.next().await {
            Intake::Draining { .. } => {}
            Intake::Disconnected { link: number } => {
                assert_eq!(number, link.number());
                return;
            }
            Intake::Lost { lost, .. } => {
                assert_eq!(
                    (lost[0].saga_id, lost[0].unsent),
                    (outgoing(1, "").command.saga_id, true)
                );
                return;
            }
            _ => panic!("neither lost nor disconnected"),
        }
    }
}

macro_rules! suite {
    ($transport:ident: $($case:ident,)+) => {
        mod $transport {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case(super::$transport().await).await;
                }
            )+
        }
    };
    ($($transport:ident)+) => {
        $(suite!($transport:
            a_link_says_who_is_there_and_what_it_serves,
            a_command_is_answered_in_the_name_of_who_was_asked,
            a_big_batch_is_answered_whole,
            a_command_that_comes_twice_is_answered_twice_and_the_same,
            who_leaves_in_order_takes_no_more_and_answers_what_it_has,
            who_dies_is_missed,
            who_comes_back_has_another_link,
            a_command_that_nobody_can_take_is_reported,
        );)+
    };
}

suite!(over_grpc over_amqp);
