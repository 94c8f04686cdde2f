//! Stories of sagas that the real decisions led to where they are.

#![allow(clippy::expect_used)]

use std::{fmt::Write, sync::Arc};

use saga_core::{
    ErrorBody, Gate, Input, Op, Partition, Payload, Record, SagaId, SagaState, Status, Timestamp,
    decide,
    event::{Incident, IncidentKind},
    gate::Live,
    input::{Cancel, Outcome, Reply, Start},
    state::OpenIncident,
};
use saga_dsl::plan::{Plan, StepIx};

use super::{detail, events, fold::Picture, words};
use crate::story::why as story;
use saga_engine::store::record::JournalRow;

const TRIP: &str = "
saga: book_trip
version: 1
deadline: 15m
input: {customer: string}
steps:
  - parallel:
      - step: reserve_flight
        action: flights/reserve
        input: [customer]
        compensation: flights/cancel
      - step: reserve_hotel
        action: hotels/reserve
        input: [customer]
        compensation: hotels/cancel
        retry: {max_attempts: 3, backoff: fixed, initial_delay: 2s, jitter: none}
  - step: charge_card
    kind: pivot
    action: payments/charge
    input: [customer]
    retry: {backoff: fixed, initial_delay: 4s, jitter: none}
  - step: send_confirmation
    kind: retriable
    action: mail/send
    input: [customer]
defaults:
  compensation_retry: {backoff: fixed, initial_delay: 8s, jitter: none}
";

/// A saga played by hand.
struct Play {
    plan: Arc<Plan>,
    state: SagaState,
    gate: Gate,
    journal: Vec<JournalRow>,
    now: Timestamp,
}

impl Play {
    fn begin() -> Self {
        let loaded = saga_dsl::file::load("book_trip.saga.yaml", TRIP.as_bytes());
        let plan = Arc::new(
            loaded
                .plan
                .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)),
        );
        let id = SagaId::new(1_780_000_000_000, Partition(3), 42);
        let mut play = Self {
            plan,
            state: SagaState::unborn(id),
            gate: Gate::default(),
            journal: Vec::new(),
            now: Timestamp(1_780_000_000_000_000),
        };
        let actions = [
            ("flights", ["reserve", "cancel"]),
            ("hotels", ["reserve", "cancel"]),
            ("payments", ["charge", "refund"]),
            ("mail", ["send", "unsend"]),
        ];
        for (participant, served) in actions {
            let live = Live {
                actions: served.map(str::to_owned).into(),
                transactional: true,
            };
            play.gate.participants.insert(participant.to_owned(), live);
        }
        play
    }

    fn started() -> Self {
        let mut play = Self::begin();
        play.start();
        play
    }

    fn start(&mut self) {
        let input = Payload::from_bytes(br#"{"customer":"c-1"}"#).expect("JSON");
        let start = Start {
            input,
            key: Some("trip-4711".into()),
            labels: Default::default(),
        };
        self.input(&Input::Start(start));
    }

    fn input(&mut self, input: &Input) {
        let decision =
            decide(&self.plan, &self.state, input, &self.gate, self.now).expect("makes sense");
        self.state = decision.state;
        if !decision.events.is_empty() {
            let record = Record {
                v: Record::VERSION,
                events: decision.events,
            };
            self.journal.push(JournalRow {
                saga_id: self.state.id,
                seq: self.state.seq,
                at: self.now,
                body: serde_json::to_vec(&record).expect("JSON"),
            });
        }
    }

    fn after_ms(&mut self, ms: u64) -> &mut Self {
        self.now = self.now.plus_ms(ms);
        self
    }

    fn due(&mut self) -> &mut Self {
        self.input(&Input::Due);
        self
    }

    fn answer(&mut self, step: &str, op: Op, outcome: Outcome) -> &mut Self {
        let ix: StepIx = self.plan.step_ix(step).expect("a step");
        let at = &self.state.steps[ix.at()];
        let attempt = match op {
            Op::Action => at.attempts,
            Op::Compensation => at.undo_attempts,
            Op::Query | Op::Seal => at.asks,
        };
        let (participant, _) = saga_core::command::addressee(&self.plan, ix, op).expect("somebody");
        let reply = Reply {
            participant: participant.into(),
            step: ix,
            round: at.round,
            op,
            attempt,
            outcome,
        };
        self.input(&Input::Reply(reply));
        self
    }

    fn succeeded(&mut self, step: &str) -> &mut Self {
        let output = Payload::from_bytes(br#"{"ok":true}"#).expect("JSON");
        self.answer(step, Op::Action, Outcome::Succeeded(output))
    }

    /// Everything that screens show, as text.
    fn shown(&self) -> String {
        let picture =
            Picture::fold(Arc::clone(&self.plan), self.state.id, &self.journal).expect("readable");
        assert_eq!(picture.state, self.state, "the fold is what the lane holds");
        let summary = story::summary(&picture, self.now);
        let mut text = String::new();
        let step = summary.step.map_or("-", |ix| words::step(&self.plan, ix));
        let due = summary.next_due.map(|due| words::until(self.now, due));
        writeln!(
            text,
            "mark: {:?}  step: {step}  tries: {}  due: {due:?}",
            summary.mark, summary.tries
        )
        .expect("text");
        writeln!(text, "next: {}", summary.next).expect("text");
        for view in detail::steps(&picture) {
            let due = view
                .next_due
                .map(|due| words::until(self.now, due))
                .unwrap_or_default();
            let line = format!(
                "  {:<18}{:<18}{:<10}{}",
                words::step(&self.plan, view.ix),
                view.status,
                due,
                view.note
            );
            writeln!(text, "{}", line.trim_end()).expect("text");
        }
        for sentence in story::story(&picture, self.now) {
            writeln!(text, "{sentence}").expect("text");
        }
        text
    }
}

fn error(code: &str) -> ErrorBody {
    ErrorBody::new(code, format!("{code} it is"))
}

#[test]
fn running() {
    let mut play = Play::started();
    play.after_ms(1_500).succeeded("reserve_flight");
    insta::assert_snapshot!(play.after_ms(700).shown());
}

#[test]
fn waiting_for_a_participant() {
    let mut play = Play::begin();
    play.gate.participants.remove("hotels");
    play.start();
    play.succeeded("reserve_flight");
    insta::assert_snapshot!(play.after_ms(125_000).shown());
}

#[test]
fn backing_off() {
    let mut play = Play::started();
    play.after_ms(100).answer(
        "reserve_hotel",
        Op::Action,
        Outcome::Failed(error("hotel_busy")),
    );
    insta::assert_snapshot!(play.after_ms(500).shown());
}

#[test]
fn an_attempt_after_a_failure_still_shows_the_error() {
    let mut play = Play::started();
    play.after_ms(100).answer(
        "reserve_hotel",
        Op::Action,
        Outcome::Failed(error("hotel_busy")),
    );
    play.after_ms(2_000).due();
    insta::assert_snapshot!(play.after_ms(500).shown());
}

/// Both reservations stand and the card is refused.
fn turned_back() -> Play {
    let mut play = Play::started();
    play.after_ms(900)
        .succeeded("reserve_flight")
        .succeeded("reserve_hotel");
    play.after_ms(1_100).answer(
        "charge_card",
        Op::Action,
        Outcome::Refused(error("card_declined")),
    );
    play
}

#[test]
fn compensating_with_an_undo_that_is_tried_again() {
    let mut play = turned_back();
    play.after_ms(300)
        .answer("reserve_flight", Op::Compensation, Outcome::Compensated);
    play.answer(
        "reserve_hotel",
        Op::Compensation,
        Outcome::Failed(error("hotel_busy")),
    );
    play.after_ms(8_000).due().after_ms(50);
    play.answer(
        "reserve_hotel",
        Op::Compensation,
        Outcome::Failed(error("hotel_busy")),
    );
    insta::assert_snapshot!(play.after_ms(3_000).shown());
}

#[test]
fn a_pivot_whose_outcome_is_unknown() {
    let mut play = Play::started();
    play.after_ms(900)
        .succeeded("reserve_flight")
        .succeeded("reserve_hotel");
    // No answer within the attempt's limit, then the question before the next attempt.
    play.after_ms(30_000).due().after_ms(4_000).due();
    insta::assert_snapshot!(play.after_ms(1_000).shown());
}

#[test]
fn a_pivot_that_is_sealed_because_of_a_cancel() {
    let mut play = Play::started();
    play.after_ms(900)
        .succeeded("reserve_flight")
        .succeeded("reserve_hotel");
    play.after_ms(50).input(&Input::Cancel(Cancel {
        reason: "wrong customer".into(),
        by: "eve".into(),
        act: None,
    }));
    insta::assert_snapshot!(play.after_ms(1_000).shown());
}

#[test]
fn an_incident() {
    let mut play = turned_back();
    play.after_ms(300)
        .answer("reserve_flight", Op::Compensation, Outcome::Compensated);
    play.answer(
        "reserve_hotel",
        Op::Compensation,
        Outcome::NeedsOperator(error("room_let_on")),
    );
    insta::assert_snapshot!(play.after_ms(7_380_000).shown());
}

#[test]
fn completed() {
    let mut play = Play::started();
    play.after_ms(900)
        .succeeded("reserve_flight")
        .succeeded("reserve_hotel");
    play.after_ms(900)
        .succeeded("charge_card")
        .after_ms(50)
        .succeeded("send_confirmation");
    insta::assert_snapshot!(play.after_ms(60_000).shown());
}

#[test]
fn completed_with_a_contradiction() {
    let mut play = Play::started();
    play.after_ms(900)
        .succeeded("reserve_flight")
        .succeeded("reserve_hotel");
    play.after_ms(100).answer(
        "reserve_hotel",
        Op::Action,
        Outcome::Refused(error("no_room")),
    );
    play.after_ms(900)
        .succeeded("charge_card")
        .after_ms(50)
        .succeeded("send_confirmation");
    insta::assert_snapshot!(play.after_ms(60_000).shown());
}

#[test]
fn a_saga_that_goes_back_is_not_told_that_there_is_no_way_back() {
    let play = Play::started();
    let mut picture =
        Picture::fold(Arc::clone(&play.plan), play.state.id, &play.journal).expect("readable");
    for (kind, status, told) in [
        (IncidentKind::RetriableRefused, Status::Running, true),
        (IncidentKind::RetriableRefused, Status::Compensating, false),
        (
            IncidentKind::RetriableExhausted,
            Status::Compensating,
            false,
        ),
        (IncidentKind::Expression, Status::Compensating, false),
    ] {
        picture.state.status = status;
        let open = OpenIncident {
            incident: Arc::new(Incident {
                step: play.plan.step_ix("send_confirmation"),
                kind,
                error: error("late"),
                lasting: false,
            }),
            since: play.now,
        };
        let text = story::incident(&picture, &open, play.now);
        assert_eq!(text.contains("There is no way back."), told, "{text}");
    }
}

#[test]
fn compensated() {
    let mut play = turned_back();
    play.answer("reserve_flight", Op::Compensation, Outcome::Compensated);
    play.after_ms(10)
        .answer("reserve_hotel", Op::Compensation, Outcome::NothingToDo);
    insta::assert_snapshot!(play.after_ms(60_000).shown());
}

#[test]
fn what_waited_when_the_saga_was_cancelled_is_not_waited_for() {
    let mut play = Play::begin();
    play.gate.participants.remove("hotels");
    play.start();
    play.after_ms(50).input(&Input::Cancel(Cancel {
        reason: "wrong customer".into(),
        by: "eve".into(),
        act: None,
    }));
    insta::assert_snapshot!(play.after_ms(1_000).shown());
}

#[test]
fn a_history_has_a_line_for_each_event() {
    let mut play = turned_back();
    play.answer("reserve_flight", Op::Compensation, Outcome::Compensated);
    play.answer(
        "reserve_hotel",
        Op::Compensation,
        Outcome::Failed(error("hotel_busy")),
    );
    let mut text = String::new();
    for row in &play.journal {
        for event in &super::fold::record(row).expect("readable").events {
            let line = events::describe(&play.plan, event, row.at);
            let step = line
                .step
                .map(|ix| words::step(&play.plan, ix))
                .unwrap_or_default();
            writeln!(
                text,
                "{:>2} {:<18}{step:<18}{}",
                row.seq, line.kind, line.text
            )
            .expect("text");
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_damaged_journal_is_an_error_and_names_its_row() {
    let mut play = Play::started();
    play.journal[0].body = b"{\"v\":1}".to_vec();
    let fold = |play: &Play| Picture::fold(Arc::clone(&play.plan), play.state.id, &play.journal);
    let error = fold(&play).expect_err("damaged").to_string();
    assert!(error.starts_with("decision 1 cannot be read"), "{error}");
    play.journal[0].body = b"{\"v\":2,\"events\":[]}".to_vec();
    assert_eq!(
        fold(&play).expect_err("newer").to_string(),
        "decision 1 has encoding 2, this release reads 1"
    );
}
