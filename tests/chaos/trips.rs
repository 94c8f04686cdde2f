//! Trips through kills of the server and of the participants, and what the participants' ledgers say.

use std::{collections::HashMap, path::Path, time::Duration};

use saga_examples::book_trip::{BOOK_TRIP, Kind, LedgerRow, PARTICIPANTS, ledger};
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    client::{End, Load, Run, all_sagas, reached},
    long,
    processes::{Participants, Server, until},
};

const START_LIMIT: Duration = Duration::from_secs(30);

/// What a trip is meant to meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plot {
    Plain,
    Declined,
    FlakyHotel,
}

const PLOTS: [Plot; 3] = [Plot::Plain, Plot::Declined, Plot::FlakyHotel];

fn plot(n: usize) -> Plot {
    PLOTS[n % PLOTS.len()]
}

fn input(n: usize) -> String {
    let (customer, city) = match plot(n) {
        Plot::Plain => ("customer-1", "Lisbon"),
        Plot::Declined => ("customer-broke", "Lisbon"),
        Plot::FlakyHotel => ("customer-1", "Flaky"),
    };
    json!({
        "trip_id": format!("trip-{n}"),
        "customer_id": customer,
        "flight": {"from": "ZRH", "to": "LIS", "date": "2027-05-01"},
        "hotel": {"city": city, "nights": 3},
        "amount_cents": 12_500,
    })
    .to_string()
}

/// Who is killed next.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Server,
    Reservations,
    Payments,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trips_keep_their_promises_through_kills() {
    let (trips, rounds) = if long() { (6_000, 10) } else { (400, 3) };
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(dir.path()).await;
    let mut reservations = Participants::start(&["flights", "hotels"], &server, dir.path());
    let mut payments = Participants::start(&["payments", "notifications"], &server, dir.path());
    server.deploy(&PARTICIPANTS, "book_trip.saga.yaml", BOOK_TRIP).await;

    let mut load = Load::new("book_trip", (0..trips).map(input), 24);
    load.names = (0..trips).map(|n| format!("book_trip/trip-{n}")).collect();
    let (ended, mut count) = watch::channel(0);
    let client = tokio::spawn({
        let url = server.url();
        async move { load.run(url, ended).await }
    });
    // Kills fall at even distances of progress, each while some two dozen trips are under way.
    let victims = [Victim::Server, Victim::Reservations, Victim::Server, Victim::Payments];
    let kills: Vec<Victim> = victims.into_iter().cycle().take(victims.len() * rounds).collect();
    for (n, victim) in (1..).zip(&kills) {
        let at = trips * n / (kills.len() + 1);
        assert!(reached(&mut count, at).await, "stuck before kill {n} ({victim:?}) at {at} ends");
        match victim {
            Victim::Server => server.kill_and_restart().await,
            Victim::Reservations => reservations.kill_and_restart().await,
            Victim::Payments => payments.kill_and_restart().await,
        }
    }
    let Run { ends, repeated } = client.await.expect("the client heard of every end");
    assert!(repeated > 0, "no kill met a trip under way");
    verify(&server, dir.path(), &ends).await;
}

async fn verify(server: &Server, dir: &Path, ends: &[End]) {
    let heard: HashMap<Uuid, String> = ends.iter().map(|end| (end.saga_id, end.status.clone())).collect();
    assert_eq!(heard.len(), ends.len(), "two trips are one saga");
    let sagas = all_sagas(server.channel().await).await;
    assert_eq!(sagas, heard, "the server tells of other sagas or ends than the client heard of");

    let mut rows: HashMap<Uuid, Vec<LedgerRow>> = HashMap::new();
    for row in ledger(dir).await.expect("the ledgers are there") {
        rows.entry(row.saga_id.parse().expect("a UUID")).or_default().push(row);
    }
    let mut completed = 0;
    for (n, end) in ends.iter().enumerate() {
        let own = rows.remove(&end.saga_id).unwrap_or_default();
        verify_trip(n, end, &own);
        completed += usize::from(end.status == "completed");
    }
    assert!(rows.is_empty(), "effects of sagas that nobody started: {rows:?}");
    // Kills may use up a trip's attempts, which is a proper end; but they are few.
    let meant = (0..ends.len()).filter(|n| plot(*n) != Plot::Declined).count();
    assert!(completed * 10 >= meant * 8, "{completed} of {meant} trips completed");
}

fn verify_trip(n: usize, end: &End, own: &[LedgerRow]) {
    let count = |participant: &str, kind| {
        own.iter().filter(|row| row.participant == participant && row.kind == kind).count()
    };
    let context = || format!("trip-{n} ({:?}) {end:?}: {own:#?}", plot(n));
    for participant in PARTICIPANTS {
        let (effects, undone) = (count(participant, Kind::Effect), count(participant, Kind::Compensation));
        assert!(effects <= 1, "{participant} acted twice; {}", context());
        assert!(undone <= effects, "{participant} undid what was not done; {}", context());
        match end.status.as_str() {
            "completed" => assert_eq!((effects, undone), (1, 0), "{participant}; {}", context()),
            "compensated" => assert_eq!(effects, undone, "{participant}; {}", context()),
            other => panic!("status {other}; {}", context()),
        }
    }
    if plot(n) == Plot::Declined {
        assert_eq!(end.status, "compensated", "{}", context());
    }
    let last_effect = own.iter().filter(|row| row.kind == Kind::Effect).map(|row| row.at_us).max();
    let first_undo = own.iter().filter(|row| row.kind == Kind::Compensation).map(|row| row.at_us).min();
    if let (Some(effect), Some(undo)) = (last_effect, first_undo) {
        assert!(effect <= undo, "something was done after the undo began; {}", context());
    }
}

/// Nobody is there to serve the trip when it starts, and the server dies before anybody comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trip_waits_for_its_participants_through_a_kill() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(dir.path()).await;
    let all = Participants::start(&PARTICIPANTS, &server, dir.path());
    server.deploy(&PARTICIPANTS, "book_trip.saga.yaml", BOOK_TRIP).await;
    drop(all);

    let load = Load::new("book_trip", [input(0)], 1);
    let (ended, count) = watch::channel(0);
    let client = tokio::spawn({
        let url = server.url();
        async move { load.run(url, ended).await }
    });
    until("the trip is there", START_LIMIT, async || {
        let sagas = all_open(&server).await;
        (sagas == 1).then_some(())
    })
    .await;
    server.kill_and_restart().await;
    assert_eq!(*count.borrow(), 0, "nothing can have ended");
    let _all = Participants::start(&PARTICIPANTS, &server, dir.path());
    let Run { ends, .. } = client.await.expect("the client heard of the end");
    assert_eq!(ends[0].status, "completed");
    verify_trip(0, &ends[0], &ledger(dir.path()).await.expect("the ledgers are there"));
}

async fn all_open(server: &Server) -> u64 {
    let mut client = saga_proto::v1::saga_service_client::SagaServiceClient::new(server.channel().await);
    let request = saga_proto::v1::ListSagasRequest { open_only: true, ..Default::default() };
    client.list_sagas(request).await.map_or(0, |page| page.into_inner().open_total)
}
