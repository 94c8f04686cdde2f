//! Somebody wants the saga undone.

use crate::{
    error::ErrorBody,
    event::{Cause, Event, Failure},
    input::{Cancel, Rejected},
    state::Status,
};

use super::Draft;

pub(super) fn cancel(draft: &mut Draft<'_>, cancel: &Cancel) -> Result<(), Rejected> {
    if draft.state.birth.is_none() {
        return Err(Rejected::NotBegun);
    }
    // The client missed the answer and asks again.
    if draft.state.has_acted(cancel.act) {
        return Ok(());
    }
    match draft.state.status {
        Status::Completed | Status::Compensated | Status::Abandoned => {
            return Err(Rejected::Ended {
                at: draft.state.ended_at.unwrap_or(draft.now),
            });
        }
        // It is on its way back already; a second cancel changes nothing.
        Status::Compensating => return Ok(()),
        Status::Running => {}
    }
    if let Some(pivot) = draft.state.pivot_done(draft.plan) {
        return Err(Rejected::AfterPivot {
            pivot: pivot.to_owned(),
        });
    }
    // The pivot is being settled, or cannot be and an operator was called: a second cancel changes nothing.
    if draft.state.closing.is_some() || draft.state.cancel.is_some() {
        return Ok(());
    }
    draft.record(Event::CancelRequested {
        reason: cancel.reason.clone(),
        by: cancel.by.clone(),
        act: cancel.act,
    });
    let error = ErrorBody::new("cancelled", cancel.reason.clone());
    draft.fail(Failure {
        cause: Cause::Cancel,
        step: None,
        error,
    });
    Ok(())
}
