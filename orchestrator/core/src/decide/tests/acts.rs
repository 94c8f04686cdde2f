//! An act that is sent again, because its answer was missed, is done once.

use crate::{
    ids::ActId,
    input::{Cancel, Intervention, Order},
    state::ACTS_KEPT,
};

use super::*;

fn retry(talk: &Conversation, act: u128) -> Input {
    Input::Intervene(Intervention {
        order: Order::Retry { input: None },
        step: Some(talk.ix("r")),
        reason: String::new(),
        by: "ann".to_owned(),
        force: false,
        act: Some(ActId(act)),
    })
}

fn abandon(act: u128) -> Input {
    Input::Intervene(Intervention {
        order: Order::Abandon,
        step: None,
        reason: String::new(),
        by: "ann".to_owned(),
        force: false,
        act: Some(ActId(act)),
    })
}

fn refused() -> Conversation {
    let saga = Saga::new("s", 1)
        .step(step("a"))
        .step(pivot("p"))
        .step(retriable("r"));
    let mut talk = Conversation::begun(saga);
    talk.succeeds("a").succeeds("p").refuses("r");
    talk
}

#[test]
fn a_retry_that_is_sent_again_begins_one_round() {
    let mut talk = refused();
    let first = retry(&talk, 7);
    assert!(!talk.tell(first.clone()).expect("taken").is_empty());
    assert_eq!(talk.tell(first.clone()), Ok(vec![]));
    // The journal knows it, not only the process that took it.
    talk.restarts();
    assert_eq!(talk.tell(first.clone()), Ok(vec![]));
    talk.answers("r", Outcome::Sealed);
    assert_eq!(talk.tell(first), Ok(vec![]));
    let ix = talk.ix("r");
    assert_eq!(talk.state.steps[ix.at()].round, 2);
}

#[test]
fn another_act_of_the_same_kind_is_another_act() {
    let mut talk = refused();
    let first = retry(&talk, 7);
    talk.tell(first).expect("taken");
    talk.answers("r", Outcome::Sealed).refuses("r");
    let second = retry(&talk, 8);
    assert!(!talk.tell(second).expect("taken").is_empty());
    talk.answers("r", Outcome::Sealed);
    let ix = talk.ix("r");
    assert_eq!(talk.state.steps[ix.at()].round, 3);
}

#[test]
fn an_act_that_ended_the_saga_is_known_afterwards() {
    let mut talk = refused();
    talk.tell(abandon(7)).expect("taken");
    talk.is(Status::Abandoned);
    assert_eq!(talk.tell(abandon(7)), Ok(vec![]));
    assert!(matches!(talk.tell(abandon(8)), Err(Rejected::Ended { .. })));
}

#[test]
fn a_cancel_that_is_sent_again_is_taken_after_the_end() {
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a")));
    let cancel = |act| {
        Input::Cancel(Cancel {
            reason: String::new(),
            by: String::new(),
            act: Some(ActId(act)),
        })
    };
    talk.tell(cancel(7)).expect("taken");
    talk.refuses("a").is(Status::Compensated);
    assert_eq!(talk.tell(cancel(7)), Ok(vec![]));
    assert!(matches!(talk.tell(cancel(8)), Err(Rejected::Ended { .. })));
}

#[test]
fn a_saga_remembers_its_latest_acts() {
    let mut state = crate::SagaState::unborn(crate::ids::SagaId::from_u128(1));
    for act in 0..200 {
        state.note_act(Some(ActId(act)));
    }
    state.note_act(None);
    assert_eq!(state.acts.len(), ACTS_KEPT);
    assert!(state.has_acted(Some(ActId(199))) && !state.has_acted(Some(ActId(0))));
    assert!(!state.has_acted(None));
}
