//! What one decision costs: a reply that settles a step and sends the next one.
//!
//! `cargo bench -p saga-core`; prints nanoseconds per decision, and bytes per active saga as an estimate of its journal.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs
)]

use std::{hint::black_box, time::Instant};

use saga_core::{
    Decision, Effect, Gate, Input, Op, Partition, Payload, Record, SagaId, SagaState, Timestamp,
    decide,
    gate::Live,
    input::{Outcome, Reply, Start},
};
use saga_dsl::{
    builder::{Saga, step},
    plan::Plan,
};

fn plan(steps: usize) -> Plan {
    let mut saga = Saga::new("bench", 1);
    for n in 1..=steps {
        saga = saga.step(
            step(&format!("step_{n}"))
                .action("bench/work")
                .compensation("bench/undo"),
        );
    }
    Plan::from_definition(saga.build().expect("valid")).expect("valid")
}

fn answer(decision: &Decision) -> Option<Input> {
    let command = decision.effects.iter().find_map(|effect| match effect {
        Effect::Send(command) => Some(command),
        Effect::Await { .. } | Effect::Extend { .. } | Effect::Announce => None,
    })?;
    Some(Input::Reply(Reply {
        participant: "bench".into(),
        step: command.step,
        round: command.round,
        op: Op::Action,
        attempt: command.attempt,
        outcome: Outcome::Succeeded(
            Payload::from_bytes(br#"{"ok":true,"r":"ref-0001"}"#).expect("JSON"),
        ),
    }))
}

fn main() {
    let live = Live {
        actions: ["work".to_owned(), "undo".to_owned()].into(),
        transactional: true,
    };
    let gate = Gate {
        participants: [("bench".to_owned(), live)].into(),
        ..Gate::default()
    };
    for steps in [4, 20, 100] {
        let plan = plan(steps);
        let start = Input::Start(Start {
            input: Payload::from_bytes(br#"{"n":1}"#).expect("JSON"),
            key: None,
            labels: Default::default(),
        });
        let sagas = 200_000 / steps;
        let (mut decisions, mut bytes) = (0_u64, 0_usize);
        let begun = Instant::now();
        for n in 0..sagas {
            let state = SagaState::unborn(SagaId::new(1, Partition(0), n as u64));
            let mut decision = decide(&plan, &state, &start, &gate, Timestamp(0)).expect("a start");
            decisions += 1;
            while let Some(reply) = answer(&decision) {
                decision =
                    decide(&plan, &decision.state, &reply, &gate, Timestamp(1)).expect("a reply");
                decisions += 1;
                let record = Record {
                    v: Record::VERSION,
                    events: std::mem::take(&mut decision.events),
                };
                bytes += serde_json::to_vec(&record).expect("encodable").len();
            }
            black_box(&decision);
        }
        let nanos = begun.elapsed().as_nanos() as f64 / decisions as f64;
        println!(
            "{steps:>3} steps: {nanos:>6.0} ns a decision with its encoding, {:>4} bytes a journal row",
            bytes as u64 / decisions
        );
    }
}
