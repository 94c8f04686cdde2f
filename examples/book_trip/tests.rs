//! The participants of the trip without a server: what they do, undo, refuse and repeat.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use saga_examples::book_trip::{self, Error, Kind, ledger, participant};
use saga_participant::{Answer, Sqlite, testing::Harness};
use serde_json::{Value, json};

async fn harness(name: &str, dir: &Path) -> Harness<Sqlite> {
    participant(name, dir).await.unwrap().test()
}

fn trip(from: &str, to: &str) -> Value {
    json!({"customer_id": "customer-1", "flight": {"from": from, "to": to, "date": "2027-05-01"}})
}

fn stay(city: &str) -> Value {
    json!({"customer_id": "customer-1", "hotel": {"city": city, "nights": 3}})
}

fn output(answer: &Answer) -> Value {
    let Answer::Succeeded(output) = answer else {
        panic!("{answer:?} is no success")
    };
    serde_json::from_slice(output).unwrap()
}

async fn kinds(dir: &Path) -> Vec<(&'static str, Kind, String)> {
    let rows = ledger(dir).await.unwrap();
    rows.into_iter()
        .map(|row| (row.participant, row.kind, row.subject))
        .collect()
}

#[tokio::test]
async fn a_flight_is_reserved_once_and_cancelled_once() {
    let dir = tempfile::tempdir().unwrap();
    let flights = harness("flights", dir.path()).await;
    let answer = flights.call("reserve", trip("ZRH", "LIS")).times(3).await;
    assert_eq!(output(&answer), json!({"confirmation": "F-0001"}));
    assert_eq!(flights.undo("cancel").times(3).await, Answer::Compensated);
    assert_eq!(
        flights.call("reserve", trip("ZRH", "LIS")).await,
        Answer::Blocked
    );
    let subject = "F-0001".to_owned();
    assert_eq!(
        kinds(dir.path()).await,
        [
            ("flights", Kind::Effect, subject.clone()),
            ("flights", Kind::Compensation, subject)
        ]
    );
}

#[tokio::test]
async fn an_undo_that_overtakes_its_reservation_leaves_no_trace_of_either() {
    let dir = tempfile::tempdir().unwrap();
    for (name, ask) in [("flights", trip("ZRH", "LIS")), ("hotels", stay("Lisbon"))] {
        let participant = harness(name, dir.path()).await;
        assert_eq!(participant.undo("cancel").await, Answer::NothingToDo);
        assert_eq!(participant.call("reserve", ask).await, Answer::Blocked);
    }
    assert_eq!(kinds(dir.path()).await, []);
}

#[tokio::test]
async fn a_flaky_hotel_succeeds_at_the_third_attempt_and_leaves_one_stay() {
    let dir = tempfile::tempdir().unwrap();
    let hotels = harness("hotels", dir.path()).await;
    let answers = hotels
        .call("reserve", stay("Flaky"))
        .times(3)
        .answers()
        .await;
    for answer in &answers[..2] {
        let Answer::Failed(failure) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(failure.fault.code, "hotel_busy");
    }
    let confirmation = output(&answers[2])["confirmation"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        kinds(dir.path()).await,
        [("hotels", Kind::Effect, confirmation)]
    );
}

#[tokio::test]
async fn a_broke_customer_is_refused_and_stays_refused() {
    let dir = tempfile::tempdir().unwrap();
    let payments = harness("payments", dir.path()).await;
    for customer in ["customer-broke", "customer-1"] {
        let ask = json!({"customer_id": customer, "amount_cents": 12_500});
        let answers = payments.call("charge", ask).times(2).answers().await;
        assert_eq!(answers[0], answers[1]);
        if customer == "customer-broke" {
            assert!(matches!(&answers[0], Answer::Refused(fault) if fault.code == "card_declined"));
        } else {
            assert_eq!(output(&answers[0]), json!({"receipt": "R-0001"}));
        }
        payments.next_step();
    }
    assert_eq!(kinds(dir.path()).await.len(), 1);
}

#[tokio::test]
async fn a_confirmation_is_sent_once() {
    let dir = tempfile::tempdir().unwrap();
    let notifications = harness("notifications", dir.path()).await;
    let ask = json!({"customer_id": "customer-1", "text": "Trip T1 is booked, receipt R-0001."});
    let answer = notifications.call("send", ask).times(2).await;
    assert_eq!(output(&answer), json!({"message_id": "M-0001"}));
    assert_eq!(kinds(dir.path()).await.len(), 1);
}

#[tokio::test]
async fn an_unknown_participant_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = book_trip::run(&["trains"], dir.path(), "grpc://127.0.0.1:1", None, async {
    })
    .await;
    assert!(matches!(error, Err(Error::UnknownParticipant(name)) if name == "trains"));
}

#[tokio::test]
async fn all_four_run_and_stop_together() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody listens there: the participants dial until they are told to stop.
    book_trip::run(
        &book_trip::PARTICIPANTS,
        dir.path(),
        "grpc://127.0.0.1:1",
        None,
        async {},
    )
    .await
    .unwrap();
    for name in book_trip::PARTICIPANTS {
        assert!(
            dir.path().join(name).with_extension("db").exists(),
            "{name} made its database"
        );
    }
    assert_eq!(kinds(dir.path()).await, []);
}
