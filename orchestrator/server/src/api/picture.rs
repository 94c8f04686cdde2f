//! A saga as the store has it: its row, and its journal folded over its plan.

use std::{sync::Arc, time::Duration};

use saga_core::{
    Op, SagaId, SagaState, Wait,
    command::{addressee, held},
    state::{ActionState, UndoState},
};
use saga_dsl::plan::StepIx;
use tokio::time::sleep;

use super::{
    Api, breakers,
    error::{Code, Refusal},
};
use crate::story::{fold::Picture, words};
use saga_engine::{
    clock,
    store::record::{JournalRow, SagaRow},
};

/// Before a stream reads again what it could not read for too many readers.
const BUSY_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// What was read of a saga.
pub(super) struct Seen {
    pub(super) row: SagaRow,
    /// The picture, or in words why there is none; the row can be shown all the same.
    pub(super) folded: Result<Picture, String>,
}

/// Reads one saga.
pub(super) async fn load(api: &Api, id: SagaId) -> Result<Seen, Refusal> {
    let store = &api.parts().store;
    let row = store.saga(id).await?;
    let row = row.ok_or_else(|| Refusal::new(Code::NoSuchSaga, format!("no saga {id}")))?;
    let journal = store.journals(vec![id]).await?.pop().unwrap_or_default();
    let mut folded = fold(api, &row, &journal);
    if let Ok(picture) = &mut folded {
        tell_who_holds(api, picture).await?;
    }
    Ok(Seen { row, folded })
}

/// As [`load`], for a stream that goes on: it waits while too many read.
pub(super) async fn load_patiently(api: &Api, id: SagaId) -> Result<Seen, Refusal> {
    loop {
        match load(api, id).await {
            Err(Refusal {
                code: Code::Busy, ..
            }) => sleep(BUSY_AGAIN_AFTER).await,
            loaded => return loaded,
        }
    }
}

/// The journal says that a breaker or a limit holds a step back; where that stands, the lane knows.
async fn tell_who_holds(api: &Api, picture: &mut Picture) -> Result<(), Refusal> {
    let held: Vec<(StepIx, Op)> = held(&picture.state).collect();
    if held.is_empty() {
        return Ok(());
    }
    let reports = breakers::reports(api).await?;
    for (ix, op) in held {
        let Some((participant, action)) = addressee(&picture.plan, ix, op) else {
            continue;
        };
        let report = reports
            .iter()
            .find(|r| r.participant == participant && r.action == action);
        let reason = waits_as(&picture.state, ix);
        let words = match report.and_then(|report| words::breaker(report, reason)) {
            Some(words) => Some(words),
            None => limited(api, picture.state.id, participant, reason).await?,
        };
        if let Some(words) = words {
            picture.held.insert(ix, words);
        }
    }
    Ok(())
}

/// Which limit holds a step back, whose it is, and how long still.
async fn limited(
    api: &Api,
    saga: SagaId,
    participant: &str,
    reason: Option<Wait>,
) -> Result<Option<String>, Refusal> {
    let setting = match reason {
        Some(Wait::RateLimited) => "rate_limit",
        Some(Wait::MaxInFlight) => "max_in_flight",
        Some(_) | None => return Ok(None),
    };
    let posts = breakers::posts(api, Some(saga)).await?;
    let settings = api.parts().definitions.settings_of(participant);
    let holds = settings.iter().find(|(name, ..)| *name == setting);
    let post = posts.iter().find(|post| post.participant == participant);
    Ok(match (holds, post) {
        (Some((_, value, owner)), Some(post)) => Some(words::limit(setting, value, owner, post)),
        (_, _) => None,
    })
}

fn waits_as(state: &SagaState, ix: StepIx) -> Option<Wait> {
    let step = state.steps.get(ix.at())?;
    match (&step.undo, &step.action) {
        (UndoState::Waiting { reason, .. }, _) | (_, ActionState::Waiting { reason, .. }) => {
            Some(*reason)
        }
        (_, _) => None,
    }
}

/// Folds a journal over the plan that its saga pinned.
pub(super) fn fold(api: &Api, row: &SagaRow, journal: &[JournalRow]) -> Result<Picture, String> {
    let (name, version) = (&row.name, row.version);
    let plan = api
        .parts()
        .definitions
        .get(name, version)
        .filter(|plan| plan.hash == row.hash);
    let plan = plan.ok_or_else(|| {
        format!(
            "The definition {name}@{version} that it pinned is not loaded; the server's log names the reason."
        )
    })?;
    let mut picture = Picture::fold(Arc::clone(&plan), row.id, journal)
        .map_err(|unreadable| format!("Its journal cannot be read: {unreadable}."))?;
    suspend_unreachable(api, &mut picture);
    tell_what_stalls(api, &mut picture);
    Ok(picture)
}

/// A limit runs from the sending. The journal cannot know that a command is on no wire, because its participant has not
/// connected since the server started; who is connected can.
fn suspend_unreachable(api: &Api, picture: &mut Picture) {
    let plan = Arc::clone(&picture.plan);
    for (at, step) in picture.state.steps.iter_mut().enumerate() {
        let Some(op) = step.outstanding() else {
            continue;
        };
        let to = u16::try_from(at)
            .ok()
            .and_then(|at| addressee(&plan, StepIx(at), op));
        if to.is_some_and(|(participant, _)| !api.parts().directory.is_connected(participant)) {
            step.suspend_limit();
        }
    }
}

/// While the broker takes nothing, no limit runs, and neither a command nor its answer travels.
fn tell_what_stalls(api: &Api, picture: &mut Picture) {
    let directory = &api.parts().directory;
    let Some(trouble) = directory.broker().borrow().clone() else {
        return;
    };
    let at_the_broker = directory.at_the_broker();
    let plan = Arc::clone(&picture.plan);
    for (at, step) in (0_u16..).zip(&mut picture.state.steps) {
        let Some(op) = step.outstanding() else {
            continue;
        };
        let to = addressee(&plan, StepIx(at), op);
        if to.is_some_and(|(participant, _)| at_the_broker.contains(participant)) {
            step.suspend_limit();
            let span = words::span(trouble.since, clock::now());
            picture
                .stalled
                .insert(StepIx(at), format!("{}, for {span}", trouble.unheard));
        }
    }
}
