//! A trip is booked, by the four participants of the example.

use saga_examples::book_trip::{self, BOOK_TRIP, Kind, PARTICIPANTS};
use saga_proto::v1::GetSagaRequest;
use saga_tests::{
    Rig,
    client::{json, status, step},
    eventually,
    host::Host,
    instance::prepare,
    script::connected,
    within,
};
use serde_json::{Value, json};

struct Trip {
    rig: Rig,
    _agents: Host,
}

impl Trip {
    async fn prepared() -> Self {
        let rig = Rig::start().await;
        let agents = Host::new("agents");
        let (folder, endpoint) = (rig.folder().to_owned(), rig.endpoint());
        for name in PARTICIPANTS {
            prepare(&endpoint, name).await;
        }
        agents.spawn(async move {
            book_trip::run(
                &PARTICIPANTS,
                &folder,
                &endpoint,
                None,
                std::future::pending(),
            )
            .await
        });
        for name in PARTICIPANTS {
            eventually(name, || async {
                (connected(&rig, name).await.len() == 1).then_some(())
            })
            .await;
        }
        rig.clients.deploy(BOOK_TRIP).await;
        Self {
            rig,
            _agents: agents,
        }
    }

    async fn ledger(&self) -> Vec<String> {
        let rows = book_trip::ledger(self.rig.folder()).await.expect("ledgers");
        let sign = |kind| if kind == Kind::Effect { "+" } else { "-" };
        rows.iter()
            .map(|row| format!("{} {}{}", row.participant, sign(row.kind), row.subject))
            .collect()
    }
}

fn trip(customer: &str, city: &str) -> Value {
    json!({
        "trip_id": "T1", "customer_id": customer, "amount_cents": 12_500,
        "flight": {"from": "ZRH", "to": "LIS", "date": "2027-05-01"},
        "hotel": {"city": city, "nights": 3},
    })
}

#[tokio::test]
async fn a_trip_is_booked_and_every_view_of_it_agrees() {
    let trip_at = Trip::prepared().await;
    let clients = &trip_at.rig.clients;
    let id = clients
        .begin("book_trip", trip("customer-1", "Lisbon"))
        .await;
    let request = GetSagaRequest {
        saga: "book_trip/T1".to_owned(),
    };
    let mut watch = clients
        .sagas
        .clone()
        .watch_saga(request)
        .await
        .expect("a watch")
        .into_inner();
    let mut last = None;
    while let Some(seen) = within("pictures", watch.message())
        .await
        .expect("a picture")
    {
        let seq = last
            .as_ref()
            .map_or(0, |last: &saga_proto::v1::SagaDetail| last.seq);
        assert!(seen.seq >= seq, "pictures go forward");
        last = Some(seen);
    }
    let last = last.expect("at least one picture");
    assert_eq!(status(&last), "completed");
    let output = json!({"flight": "F-0001", "hotel": "H-0001", "receipt": "R-0001"});
    assert_eq!(json(&last.output), output);

    let seen = clients.get(&id).await;
    assert_eq!(
        (status(&seen), json(&seen.output), seen.seq),
        ("completed", output, last.seq)
    );
    assert!(
        seen.steps
            .iter()
            .all(|step| step.status == "succeeded" && step.tries == 1),
        "{seen:?}"
    );
    let history = clients.history(&id).await;
    assert_eq!(
        history.last().map(|event| (event.kind.as_str(), event.seq)),
        Some(("completed", seen.seq))
    );
    let mut ledger = trip_at.ledger().await;
    ledger.sort();
    assert_eq!(
        ledger,
        [
            "flights +F-0001",
            "hotels +H-0001",
            "notifications +M-0001",
            "payments +R-0001"
        ]
    );
}

#[tokio::test]
async fn a_declined_card_cancels_both_reservations() {
    let trip_at = Trip::prepared().await;
    let clients = &trip_at.rig.clients;
    let id = clients
        .begin("book_trip", trip("customer-broke", "Lisbon"))
        .await;
    let seen = clients.ended(&id).await;
    assert_eq!(status(&seen), "compensated");
    let failure = seen.failure.as_ref().expect("a failure");
    assert_eq!(
        (failure.code.as_str(), failure.step.as_str()),
        ("card_declined", "charge_card")
    );
    for (id, status) in [
        ("reserve_flight", "compensated"),
        ("reserve_hotel", "compensated"),
        ("charge_card", "refused"),
        ("send_confirmation", "pending"),
    ] {
        assert_eq!(step(&seen, id).status, status, "{id}");
    }
    let mut ledger = trip_at.ledger().await;
    ledger.sort();
    assert_eq!(
        ledger,
        [
            "flights +F-0001",
            "flights -F-0001",
            "hotels +H-0001",
            "hotels -H-0001"
        ]
    );
}

#[tokio::test]
async fn a_flaky_hotel_is_asked_again_until_it_says_yes() {
    let trip_at = Trip::prepared().await;
    let clients = &trip_at.rig.clients;
    let id = clients
        .begin("book_trip", trip("customer-1", "Flaky"))
        .await;
    let seen = clients.ended(&id).await;
    assert_eq!(status(&seen), "completed");
    assert_eq!(step(&seen, "reserve_hotel").tries, 3);
    let kinds = clients.history(&id).await;
    let failed = kinds
        .iter()
        .filter(|event| event.kind == "step_failed" && event.step == "reserve_hotel");
    assert_eq!(failed.count(), 2);
    assert_eq!(
        trip_at
            .ledger()
            .await
            .iter()
            .filter(|line| line.starts_with("hotels"))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_watcher_that_does_not_read_holds_nobody_back_and_gets_the_last_picture() {
    let trip_at = Trip::prepared().await;
    let clients = &trip_at.rig.clients;
    let slow = clients
        .begin("book_trip", trip("customer-1", "Flaky"))
        .await;
    let request = GetSagaRequest { saga: slow.clone() };
    let mut watch = clients
        .sagas
        .clone()
        .watch_saga(request)
        .await
        .expect("a watch")
        .into_inner();
    // Not read until the saga has ended, and another one beside it.
    let mut other = trip("customer-2", "Lisbon");
    other["trip_id"] = "T2".into();
    let other = clients.begin("book_trip", other).await;
    assert_eq!(status(&clients.ended(&other).await), "completed");
    assert_eq!(status(&clients.ended(&slow).await), "completed");
    let mut last = None;
    while let Some(seen) = within("pictures", watch.message())
        .await
        .expect("a picture")
    {
        last = Some(seen);
    }
    assert_eq!(last.as_ref().map(status), Some("completed"));
    // One that is begun after the end shows it and is over.
    let request = GetSagaRequest { saga: slow };
    let mut late = clients
        .sagas
        .clone()
        .watch_saga(request)
        .await
        .expect("a watch")
        .into_inner();
    assert_eq!(
        late.message()
            .await
            .expect("a picture")
            .as_ref()
            .map(status),
        Some("completed")
    );
    assert!(late.message().await.expect("an end").is_none());
}
