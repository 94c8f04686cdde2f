//! Trips through kills of the server and of the participants, with every trouble that a wire can make; then the ledgers
//! are audited, every start is repeated, and every command is sent again.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use saga_examples::book_trip::{BOOK_TRIP, PARTICIPANTS};
use saga_proto::v1::{
    CancelSagaRequest, GetSagaRequest, ListSagasRequest, SagaDetail, StartSagaRequest,
    saga_service_client::SagaServiceClient,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tonic::{Code, transport::Channel};
use uuid::Uuid;

use crate::{
    audit,
    client::{End, Load, Run, all_sagas, reached},
    forgetful, long,
    processes::{POLL, Participants, Server, connect, until},
    tap::{Counts, Tap, Trouble},
};

const LIMIT: Duration = Duration::from_secs(30);
/// Trips that cannot end without an operator.
const STUCK: usize = 10;

/// What a trip is meant to meet, by its number; the rest of the world is as rough for all of them.
fn input(n: usize) -> String {
    let mut trip = json!({
        "trip_id": format!("trip-{n}"),
        "customer_id": "ada",
        "flight": {"from": "ZRH", "to": "LIS", "date": "2027-05-01"},
        "hotel": {"city": "Lisbon", "nights": 3},
        "amount_cents": 12_500,
    });
    let trouble = |step: &str, trouble: Trouble| trouble.customer(step).into();
    match n % PLOTS {
        0 | 1 => {}
        // Refused at each step that may say no.
        2 => trip["flight"]["to"] = "ZRH".into(),
        3 => trip["hotel"]["nights"] = 0.into(),
        4 => trip["customer_id"] = "customer-broke".into(),
        // Transient failures, and a cancel in the midst of them.
        5 | 6 => trip["hotel"]["city"] = "Flaky".into(),
        // Unknown for good: done, and not done.
        7 => trip["customer_id"] = trouble("reserve_hotel", Trouble::LoseReplies(usize::MAX)),
        8 => trip["customer_id"] = trouble("reserve_flight", Trouble::LoseCommands(usize::MAX)),
        9 => trip["customer_id"] = trouble("reserve_hotel", Trouble::Late),
        // Unknown for a while.
        10 => trip["customer_id"] = trouble("reserve_flight", Trouble::LoseReplies(1)),
        11 => trip["customer_id"] = trouble("charge_card", Trouble::LoseReplies(2)),
        12 => trip["customer_id"] = trouble("charge_card", Trouble::LoseCommands(1)),
        13 => trip["customer_id"] = trouble("send_confirmation", Trouble::LoseReplies(1)),
        // The undo itself has trouble; the price makes the pivot say no.
        14 => {
            trip["customer_id"] = trouble("reserve_flight", Trouble::LoseUndoReplies(1));
            trip["amount_cents"] = 0.into();
        }
        15 => trip["customer_id"] = trouble("reserve_hotel", Trouble::Twice),
        // A cancel while the pivot is on its way: done, and not done.
        16 => trip["customer_id"] = trouble("charge_card", Trouble::LoseReplies(1)),
        _ => trip["customer_id"] = trouble("charge_card", Trouble::LoseCommands(1)),
    }
    trip.to_string()
}

const PLOTS: usize = 18;

/// When a trip is cancelled, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancelled {
    AtOnce,
    WithThePivotOnItsWay,
}

fn cancelled(n: usize) -> Option<Cancelled> {
    match n % PLOTS {
        6 => Some(Cancelled::AtOnce),
        16 | 17 => Some(Cancelled::WithThePivotOnItsWay),
        _ => None,
    }
}

/// The example with limits that a test can wait for.
fn definition() -> String {
    let hasty = [
        ("timeout: 10s", "timeout: 700ms"),
        ("timeout: 30s", "timeout: 700ms"),
        ("max_delay: 10s", "max_delay: 300ms"),
    ];
    hasty.into_iter().fold(
        BOOK_TRIP.replace("max_attempts: 5", "max_attempts: 4"),
        |yaml, (from, to)| {
            assert!(yaml.contains(from), "the example says no more {from}");
            yaml.replace(from, to)
        },
    )
}

/// A run of the harness.
pub struct Chaos {
    /// The server and its arguments.
    pub server: &'static [&'static str],
    /// How many trips.
    pub trips: usize,
    /// How often the server is killed.
    pub server_kills: usize,
    /// How often participants are killed.
    pub participant_kills: usize,
    /// Whether the hotels have no inbox and do whatever they are told, however often.
    pub forgetful_hotels: bool,
    /// Whether all is as it should be. If not, what the server says is not asked for, and not all trips must end.
    pub honest: bool,
}

/// What a run left behind. Nobody is there any more but the participants.
pub struct Aftermath {
    /// The databases.
    pub dir: TempDir,
    /// Still open.
    pub tap: Tap,
    /// Killed when dropped.
    pub participants: Vec<Participants>,
}

impl Chaos {
    /// Nothing is killed, and nothing is taken away.
    pub const ALL_IN_ORDER: Self = Self {
        server: &["saga", "serve"],
        trips: 3 * PLOTS,
        server_kills: 0,
        participant_kills: 0,
        forgetful_hotels: false,
        honest: true,
    };

    /// Runs all trips to their ends and kills the server.
    pub async fn run(&self) -> Aftermath {
        let dir = tempfile::tempdir().expect("a folder");
        let mut server = Server::start_program(self.server, dir.path()).await;
        let tap = Tap::open(server.url()).await;
        let reservations: &[&str] = if self.forgetful_hotels {
            &["flights"]
        } else {
            &["flights", "hotels"]
        };
        let mut participants: Vec<Participants> = [reservations, &["payments", "notifications"]]
            .into_iter()
            .map(|names| Participants::start(names, tap.endpoint(), dir.path()))
            .collect();
        if self.forgetful_hotels {
            forgetful::serve(tap.url(), dir.path());
        }
        server
            .deploy(&PARTICIPANTS, "book_trip.saga.yaml", &definition())
            .await;

        let stuck: Vec<StartSagaRequest> = (0..STUCK).map(unreachable).collect();
        for request in &stuck {
            start(&server.url(), request).await;
        }
        let mut load = Load::new("book_trip", (0..self.trips).map(input), 64);
        load.names = (0..self.trips)
            .map(|n| format!("book_trip/trip-{n}"))
            .collect();
        load.must_end = self.honest;
        if !self.honest {
            load.patience = Duration::from_secs(6);
        }
        let (ended, mut count) = watch::channel(0);
        let (url, also, trips, progress) = (server.url(), server.url(), self.trips, count.clone());
        let client = tokio::spawn(async move { load.run(url, ended).await });
        let canceller = tokio::spawn(async move { cancel_all(&also, trips, progress).await });
        for (n, victim) in (1..).zip(self.victims()) {
            let at = self.trips * n / (self.server_kills + self.participant_kills + 1);
            assert!(
                reached(&mut count, at).await,
                "stuck before kill {n} ({victim:?}) at {at} ends"
            );
            match victim {
                Some(which) => participants[which].kill_and_restart().await,
                None => server.kill_and_restart().await,
            }
        }
        let Run { ends, repeated } = client.await.expect("the client heard of every end");
        let cancelled = canceller.await.expect("cancels do not panic");
        println!("{repeated} starts were repeated after kills, {cancelled} cancels were taken");
        assert!(
            self.server_kills == 0 || repeated > 0,
            "no kill met a trip under way"
        );
        if self.honest {
            self.hear(&server, &ends).await;
        }
        server.kill().await;
        Aftermath {
            dir,
            tap,
            participants,
        }
    }

    /// Who is killed when: `None` is the server, and participants fall between.
    fn victims(&self) -> Vec<Option<usize>> {
        let kills = self.server_kills + self.participant_kills;
        let (mut victims, mut participants) = (Vec::new(), 0);
        for n in 0..kills {
            let due = (n + 1) * self.participant_kills / kills;
            victims.push((due > participants).then_some(participants % 2));
            participants = due;
        }
        victims
    }

    /// What the server says of all trips when they have ended, by the mouths of its API.
    async fn hear(&self, server: &Server, ends: &[End]) {
        let mut client = SagaServiceClient::new(server.channel().await);
        for n in 0..STUCK {
            let saga = until("an incident", LIMIT, async || {
                let detail = get(&mut client, &format!("book_trip/stuck-{n}")).await?;
                (!detail.incidents.is_empty()).then_some(detail)
            })
            .await;
            let story = saga.story.join(" ");
            assert!(
                story.contains("no_address") && story.contains("send_confirmation"),
                "{story}"
            );
        }
        let heard: HashMap<Uuid, String> = ends
            .iter()
            .map(|end| (end.saga_id, end.status.clone()))
            .collect();
        assert_eq!(heard.len(), ends.len(), "two trips are one saga");
        let mut sagas = all_sagas(server.channel().await).await;
        sagas.retain(|_, status| status != "running");
        assert_eq!(
            sagas, heard,
            "the server tells of other sagas or ends than the client heard of"
        );
        for (n, end) in ends.iter().enumerate() {
            // Another request with the same key: the first saga again, whatever became of it.
            let request = request(input(n));
            let again = client
                .start_saga(request)
                .await
                .expect("the server runs")
                .into_inner();
            assert!(!again.created, "trip-{n} began twice");
            assert_eq!(
                Uuid::from_slice(&again.saga_id).expect("an id"),
                end.saga_id,
                "trip-{n} is two sagas"
            );
        }
    }
}

fn request(input: String) -> StartSagaRequest {
    let request_id = Uuid::now_v7().as_bytes().to_vec().into();
    StartSagaRequest {
        name: "book_trip".to_owned(),
        input: input.into(),
        request_id,
        ..Default::default()
    }
}

fn unreachable(n: usize) -> StartSagaRequest {
    let named = input(0).replace("trip-0", &format!("stuck-{n}"));
    request(named.replace("\"ada\"", "\"customer-unreachable\""))
}

async fn start(url: &str, request: &StartSagaRequest) {
    until("a start is taken", LIMIT, async || {
        let mut client = SagaServiceClient::new(connect(url).await?);
        client.start_saga(request.clone()).await.ok()
    })
    .await;
}

async fn get(client: &mut SagaServiceClient<Channel>, saga: &str) -> Option<SagaDetail> {
    client
        .get_saga(GetSagaRequest {
            saga: saga.to_owned(),
        })
        .await
        .ok()
        .map(tonic::Response::into_inner)
}

/// Cancels every trip that is meant to be, as soon as it is where it should be; returns how many took it.
async fn cancel_all(url: &str, trips: usize, mut ended: watch::Receiver<usize>) -> usize {
    let mut open: Vec<(usize, Cancelled)> = (0..trips)
        .filter_map(|n| Some((n, cancelled(n)?)))
        .collect();
    let mut taken = 0;
    // Whatever breaks here breaks because the server was killed: the next round asks again.
    while !open.is_empty() && ended.has_changed().is_ok() {
        let mut later = Vec::new();
        if let Some(channel) = connect(url).await {
            let mut client = SagaServiceClient::new(channel);
            for (n, when) in std::mem::take(&mut open) {
                match cancel(&mut client, n, when).await {
                    Some(true) => taken += 1,
                    Some(false) => {}
                    None => later.push((n, when)),
                }
            }
            open = later;
        }
        // Ends move trips on; without any, there is the next look.
        let _ = tokio::time::timeout(POLL, ended.changed()).await;
    }
    taken
}

/// Whether a trip took its cancel, or refused it; `None`: it is not there yet, or not where it should be.
async fn cancel(
    client: &mut SagaServiceClient<Channel>,
    n: usize,
    when: Cancelled,
) -> Option<bool> {
    let saga = format!("book_trip/trip-{n}");
    if when == Cancelled::WithThePivotOnItsWay {
        let detail = get(client, &saga).await?;
        let pivot = detail.steps.iter().find(|step| step.id == "charge_card")?;
        if pivot.tries == 0 {
            // What turned back before it never gets there.
            return detail.failure.map(|_| false);
        }
    }
    let request = CancelSagaRequest {
        saga,
        reason: "rain".to_owned(),
        ..CancelSagaRequest::default()
    };
    match client.cancel_saga(request).await {
        Ok(_) => Some(true),
        // It has ended, or the card was charged.
        Err(status) if status.code() == Code::FailedPrecondition => Some(false),
        Err(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trips_keep_their_promises_through_kills() {
    let (trips, server_kills, participant_kills) = if long() {
        (6_000, 40, 20)
    } else {
        (512, 10, 5)
    };
    let chaos = Chaos {
        trips,
        server_kills,
        participant_kills,
        ..Chaos::ALL_IN_ORDER
    };
    let Aftermath {
        dir,
        tap,
        participants: _participants,
    } = chaos.run().await;

    println!("{}", audit::ends(dir.path()).join("\n"));
    let violations = audit::violations(dir.path());
    assert!(violations.is_empty(), "{}", listed(&violations));
    let ends = audit::ends(dir.path()).join("\n");
    let counts = |status: &str| ends.lines().filter(|line| line.contains(status)).count();
    assert_eq!(
        (
            counts("completed"),
            counts("compensated"),
            counts("running")
        ),
        (1, 1, 1),
        "{ends}"
    );

    let before: BTreeSet<String> = audit::effects(dir.path()).into_iter().collect();
    let Counts { seen, made, late } = tap.counts();
    assert!(
        made > trips / 4 && late > trips / 32,
        "only {made} messages met trouble, and {late} came late"
    );
    let replayed = tap.replay().await;
    assert_eq!(replayed, seen);
    let after: BTreeSet<String> = audit::effects(dir.path()).into_iter().collect();
    let changed: Vec<&String> = after.symmetric_difference(&before).collect();
    assert!(
        changed.is_empty(),
        "{replayed} commands again changed {changed:#?}"
    );
    println!(
        "{seen} commands, trouble with {made} messages, {late} came after the undo; all commands again changed none of {} lines",
        before.len()
    );
}

/// As the message of a failed test.
pub fn listed(violations: &[audit::Violation]) -> String {
    violations
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Nobody is there to serve the trip when it starts, and the server dies before anybody comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trip_waits_for_its_participants_through_a_kill() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(dir.path()).await;
    let all = Participants::start(&PARTICIPANTS, server.endpoint(), dir.path());
    server
        .deploy(&PARTICIPANTS, "book_trip.saga.yaml", BOOK_TRIP)
        .await;
    drop(all);

    let load = Load::new("book_trip", [input(0)], 1);
    let (ended, count) = watch::channel(0);
    let client = tokio::spawn({
        let url = server.url();
        async move { load.run(url, ended).await }
    });
    until("the trip is there", LIMIT, async || {
        (all_open(&server).await == 1).then_some(())
    })
    .await;
    server.kill_and_restart().await;
    assert_eq!(*count.borrow(), 0, "nothing can have ended");
    let _all = Participants::start(&PARTICIPANTS, server.endpoint(), dir.path());
    let Run { ends, .. } = client.await.expect("the client heard of the end");
    assert_eq!(ends[0].status, "completed");
    server.kill().await;
    let violations = audit::violations(dir.path());
    assert!(violations.is_empty(), "{}", listed(&violations));
}

async fn all_open(server: &Server) -> u64 {
    let mut client = SagaServiceClient::new(server.channel().await);
    let request = ListSagasRequest {
        open_only: true,
        ..Default::default()
    };
    client
        .list_sagas(request)
        .await
        .map_or(0, |page| page.into_inner().open_total)
}
