//! A saga as the store has it: its row, and its journal folded over its plan.

use std::sync::Arc;

use saga_core::{
    SagaId,
    command::{addressee, outstanding_op},
};
use saga_dsl::plan::StepIx;

use super::{
    Api,
    error::{Code, Refusal},
};
use crate::{
    observe::fold::Picture,
    store::record::{JournalRow, SagaRow},
};

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
    let folded = fold(api, &row, &journal);
    Ok(Seen { row, folded })
}

/// Folds a journal over the plan that its saga pinned.
pub(super) fn fold(api: &Api, row: &SagaRow, journal: &[JournalRow]) -> Result<Picture, String> {
    let (name, version) = (&row.name, row.version);
    let plan = api.parts().definitions.get(name, version).filter(|plan| plan.hash == row.hash);
    let plan = plan.ok_or_else(|| {
        format!(
            "The definition {name}@{version} that it pinned is not loaded; the server's log names the reason."
        )
    })?;
    let mut picture = Picture::fold(Arc::clone(&plan), row.id, journal)
        .map_err(|unreadable| format!("Its journal cannot be read: {unreadable}."))?;
    suspend_unreachable(api, &mut picture);
    Ok(picture)
}

/// A limit runs from the sending. The journal cannot know that a command is on no wire, because its participant has not
/// connected since the server started; who is connected can.
fn suspend_unreachable(api: &Api, picture: &mut Picture) {
    let plan = Arc::clone(&picture.plan);
    for (at, step) in picture.state.steps.iter_mut().enumerate() {
        let Some(op) = outstanding_op(step) else { continue };
        let to = u16::try_from(at).ok().and_then(|at| addressee(&plan, StepIx(at), op));
        if to.is_some_and(|(participant, _)| !api.parts().directory.is_connected(participant)) {
            step.suspend_limit();
        }
    }
}
