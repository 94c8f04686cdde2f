//! Sagas that wait at a limit and send nothing when they are called: they keep neither the others nor the lane busy.

use saga_core::{Gate, Input, Rules, SagaState, Timestamp, decide, gate::Live};
use saga_dsl::limits::{Limits, Per, RateLimit};

use super::*;
use crate::lane::{guards::Guards, slot::Slot};

const NOW: Timestamp = Timestamp(1_000_000_000);

/// A participant with a rate limit that lets one command through at a time, and sagas that wait there.
fn waiting(count: u64) -> (Guards, Gate, Vec<Slot>) {
    let rate_limit = Some(RateLimit {
        count: 1,
        per: Per::Second,
    });
    let limits = [(
        "p".to_owned(),
        Limits {
            rate_limit,
            ..Limits::default()
        },
    )]
    .into();
    let mut guards = Guards::new(
        Rules::ALL,
        limits,
        Vec::new(),
        mpsc::unbounded_channel().0,
        NOW,
    );
    let mut gate = Gate::default();
    let actions = ["a", "b", "undo_a", "undo_b"].map(str::to_owned).into();
    gate.participants.insert(
        "p".to_owned(),
        Live {
            actions,
            transactional: true,
        },
    );
    guards.connected("p", &mut gate, NOW);
    let mut slots = Vec::new();
    // The first one takes the only command of this second, the others wait.
    for n in 0..=count {
        let (job, ..) = start(&plan(), id(n), None);
        let begun = decide(
            &job.plan,
            &SagaState::unborn(job.id),
            &Input::Start(job.start),
            &gate,
            NOW,
        )
        .unwrap();
        let mut slot = Slot::new(job.plan, begun.state, 0);
        guards.close_for(&mut slot, (None, &begun.events), &mut gate, NOW);
        slots.push(slot);
    }
    assert_eq!(guards.take_woken(), []);
    slots.remove(0);
    (guards, gate, slots)
}

/// Lets the guards' time come, and returns who is called.
fn called_at(guards: &mut Guards, gate: &mut Gate, now: Timestamp) -> Vec<SagaId> {
    guards.tick(gate, now);
    assert!(
        guards.due(gate, now).is_none_or(|due| due > now),
        "the lane would spin"
    );
    guards.take_woken()
}

#[test]
fn a_called_saga_that_sends_nothing_lets_the_next_one_go() {
    let (mut guards, mut gate, mut slots) = waiting(3);
    let now = guards.due(&gate, NOW).expect("the next second");
    assert_eq!(called_at(&mut guards, &mut gate, now), [id(1)]);
    for (at, next) in [(0, vec![id(2)]), (1, vec![id(3)]), (2, vec![])] {
        guards.open_for(slots[at].state.id, &mut gate, now);
        guards.close_for(&mut slots[at], (Some(&Input::Wake), &[]), &mut gate, now);
        assert_eq!(called_at(&mut guards, &mut gate, now), next);
    }
    // Each is called once more after a while, should the way be free by then.
    let later = guards.due(&gate, now).expect("the end of the pause");
    assert!(later > now);
    assert_eq!(called_at(&mut guards, &mut gate, later), [id(1)]);
    assert_eq!(guards.posts["p"].points["a"].waiting(), 3);
}

#[test]
fn a_call_that_waits_for_its_decision_wakes_nobody() {
    let (mut guards, mut gate, _slots) = waiting(2);
    let now = guards.due(&gate, NOW).expect("the next second");
    assert_eq!(called_at(&mut guards, &mut gate, now), [id(1)]);
    // However long the store refuses, the decision is what moves the pace on.
    assert_eq!(guards.due(&gate, now.plus_ms(3_600_000)), None);
    guards.leave(id(1), &mut gate, now);
    assert_eq!(guards.take_woken(), [id(2)]);
}
