//! To who steers a saga: what came of it, told after the commit, or why nothing was changed.

use saga_core::{Rejected, SagaState, Status};
use tokio::sync::oneshot;

use super::intake::{CancelError, Cancelled, InterveneError, Receipt};

/// Where the answer goes.
pub(super) enum Answer {
    Cancel(oneshot::Sender<Result<Cancelled, CancelError>>),
    Intervene(oneshot::Sender<Result<(), InterveneError>>),
    /// To a wire, which may forget the message.
    Receipt(Receipt),
}

/// Why nothing was changed.
#[derive(Clone)]
pub(super) enum Why {
    NotOpen,
    NoSuchStep { step: String },
    Rejected(Rejected),
    Unavailable,
}

impl Answer {
    /// It was taken, and is committed. `cancelled` is what a cancel led to.
    pub(super) fn taken(self, cancelled: Cancelled) {
        // Whoever asked may have gone.
        match self {
            Self::Cancel(answer) => drop(answer.send(Ok(cancelled))),
            Self::Intervene(answer) => drop(answer.send(Ok(()))),
            Self::Receipt(receipt) => receipt.part_done(),
        }
    }

    pub(super) fn refuse(self, why: Why) {
        // Whoever asked may have gone.
        match self {
            Self::Cancel(answer) => drop(answer.send(Err(cancel_error(why)))),
            Self::Intervene(answer) => drop(answer.send(Err(intervene_error(why)))),
            // What is refused will be refused again.
            Self::Receipt(receipt) => receipt.part_done(),
        }
    }
}

/// What a cancel led to, given where the saga stands after it; `changed`: something was recorded for it.
pub(super) fn cancelled(state: &SagaState, changed: bool) -> Cancelled {
    match (state.status, changed) {
        (Status::Running, _) => Cancelled::Settling,
        (_, true) => Cancelled::Compensating,
        (_, false) => Cancelled::Already,
    }
}

fn cancel_error(why: Why) -> CancelError {
    match why {
        Why::Rejected(Rejected::AfterPivot { pivot }) => CancelError::AfterPivot { pivot },
        Why::Rejected(Rejected::Ended { .. }) => CancelError::Ended,
        Why::Unavailable => CancelError::Unavailable,
        Why::NotOpen
        | Why::NoSuchStep { .. }
        // Not said of a cancel.
        | Why::Rejected(
            Rejected::Begun
            | Rejected::NotBegun
            | Rejected::Unfit(_)
            | Rejected::Stale
            | Rejected::NeverSent
            | Rejected::WrongParticipant { .. }
            | Rejected::Nonsense
            | Rejected::NoSuchStep(_),
        ) => CancelError::NotOpen,
    }
}

fn intervene_error(why: Why) -> InterveneError {
    match why {
        Why::NoSuchStep { step } => InterveneError::NoSuchStep { step },
        Why::Rejected(Rejected::Unfit(unfit)) => InterveneError::Unfit(unfit),
        Why::Rejected(Rejected::Ended { .. }) => InterveneError::Ended,
        Why::Unavailable => InterveneError::Unavailable,
        Why::NotOpen
        // Not said of an intervention.
        | Why::Rejected(
            Rejected::Begun
            | Rejected::NotBegun
            | Rejected::AfterPivot { .. }
            | Rejected::Stale
            | Rejected::NeverSent
            | Rejected::WrongParticipant { .. }
            | Rejected::Nonsense
            | Rejected::NoSuchStep(_),
        ) => InterveneError::NotOpen,
    }
}
