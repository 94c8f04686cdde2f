//! What the expressions of a saga see of it.

use saga_dsl::{
    expr::{Root, Scope},
    plan::{Plan, StepIx},
};
use serde_json::{Value, json};

use crate::{
    command::step_key,
    error::ErrorBody,
    ids::Timestamp,
    payload::Payload,
    state::{ActionState, SagaState, StepState, UndoState},
};

/// A saga's state as a scope; with `own`, the step whose compensation is evaluated.
pub struct SagaScope<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The state.
    pub state: &'a SagaState,
    /// The step that `self` means.
    pub own: Option<StepIx>,
}

impl SagaScope<'_> {
    fn step(&self, id: &str) -> Option<&StepState> {
        self.state.steps.get(self.plan.step_ix(id)?.at())
    }

    fn saga(&self, field: &str) -> Option<Value> {
        let birth = self.state.birth.as_ref()?;
        match field {
            "id" => Some(Value::from(self.state.id.to_string())),
            "name" => Some(Value::from(&*birth.name)),
            "version" => Some(Value::from(birth.version)),
            "key" => birth.key.as_deref().map(Value::from),
            "started_at" => Some(Value::from(rfc3339(birth.at))),
            "failure" => self.state.failure.as_ref().map(|failure| {
                let step = failure
                    .step
                    .and_then(|ix| self.plan.step(ix))
                    .map(|s| s.id.as_str());
                json!({"code": failure.error.code, "message": failure.error.message, "step": step})
            }),
            _ => None,
        }
    }

    fn own(&self, field: &str) -> Option<Payload> {
        let ix = self.own?;
        let step = self.state.steps.get(ix.at())?;
        match field {
            "input" => step.input.clone(),
            "output" => output(step),
            "key" => Some(Payload::from_value(Value::from(step_key(
                self.plan, self.state, ix,
            )))),
            _ => None,
        }
    }
}

impl Scope for SagaScope<'_> {
    fn value(&self, root: &Root) -> Option<Payload> {
        match root {
            Root::Input => self.state.birth.as_ref().map(|birth| birth.input.clone()),
            Root::StepOutput(id) => output(self.step(id)?),
            Root::StepStatus(id) => self
                .step(id)
                .map(|step| Payload::from_value(Value::from(status_word(step)))),
            Root::StepError(id) => error(self.step(id)?)
                .map(|e| Payload::from_value(json!({"code": e.code, "message": e.message}))),
            Root::Saga(field) => self.saga(field).map(Payload::from_value),
            Root::Own(field) => self.own(field),
            Root::Local(_) => None,
        }
    }
}

fn output(step: &StepState) -> Option<Payload> {
    match &step.action {
        ActionState::Succeeded(output) => Some(output.clone()),
        ActionState::Pending
        | ActionState::Skipped
        | ActionState::Waiting { .. }
        | ActionState::Sent { .. }
        | ActionState::BackingOff { .. }
        | ActionState::Asking { .. }
        | ActionState::Refused(_)
        | ActionState::Failed { .. }
        | ActionState::Sealed => None,
    }
}

/// The last error of the action, if it has one.
#[must_use]
pub fn error(step: &StepState) -> Option<&ErrorBody> {
    match &step.action {
        ActionState::Refused(error)
        | ActionState::Failed { error }
        | ActionState::BackingOff { error, .. }
        | ActionState::Asking {
            ask: crate::state::Ask::Again { error, .. },
            ..
        } => Some(error),
        ActionState::Pending
        | ActionState::Skipped
        | ActionState::Waiting { .. }
        | ActionState::Sent { .. }
        | ActionState::Asking { .. }
        | ActionState::Succeeded(_)
        | ActionState::Sealed => None,
    }
}

/// A step's status in a word, as expressions and screens show it.
#[must_use]
pub fn status_word(step: &StepState) -> &'static str {
    match &step.undo {
        UndoState::Waiting { .. } => return "undo_waiting",
        UndoState::Sent { .. } => return "undoing",
        UndoState::BackingOff { .. } => return "undo_backing_off",
        UndoState::Done {
            nothing_to_do: false,
        } => return "compensated",
        UndoState::Done {
            nothing_to_do: true,
        } => return "nothing_to_undo",
        UndoState::Stuck { .. } => return "undo_stuck",
        UndoState::Skipped => return "undo_skipped",
        UndoState::None => {}
    }
    match &step.action {
        ActionState::Pending => "pending",
        ActionState::Skipped => "skipped",
        ActionState::Waiting { .. } => "waiting",
        ActionState::Sent { .. } => "running",
        ActionState::BackingOff { .. } => "backing_off",
        ActionState::Asking { seal: false, .. } => "querying",
        ActionState::Asking { seal: true, .. } => "sealing",
        ActionState::Succeeded(_) => "succeeded",
        ActionState::Refused(_) => "refused",
        ActionState::Failed { .. } if step.unclear => "unknown",
        ActionState::Failed { .. } => "failed",
        ActionState::Sealed => "sealed",
    }
}

/// RFC 3339 in UTC with microseconds; civil date arithmetic after H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn rfc3339(at: Timestamp) -> String {
    let micros = at.0.rem_euclid(1_000_000);
    let seconds = at.0.div_euclid(1_000_000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_print_as_rfc_3339() {
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(
            rfc3339(Timestamp(951_782_400_000_001)),
            "2000-02-29T00:00:00.000001Z"
        );
        assert_eq!(
            rfc3339(Timestamp(1_795_219_199_999_999)),
            "2026-11-20T23:59:59.999999Z"
        );
        assert_eq!(rfc3339(Timestamp(-1)), "1969-12-31T23:59:59.999999Z");
    }
}
