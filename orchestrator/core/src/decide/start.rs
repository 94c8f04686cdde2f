//! The beginning of a saga.

use crate::{
    event::{Event, Started},
    input::{Rejected, Start},
};

use super::Draft;

pub(super) fn start(draft: &mut Draft<'_>, start: &Start) -> Result<(), Rejected> {
    if draft.state.birth.is_some() {
        return Err(Rejected::Begun);
    }
    let definition = &draft.plan.definition;
    let started = Started {
        name: definition.saga.as_str().into(),
        version: definition.version,
        steps: u16::try_from(draft.plan.steps.len()).unwrap_or(u16::MAX),
        input: start.input.clone(),
        key: start.key.clone(),
        labels: start.labels.clone(),
        deadline: draft.plan.deadline_ms.map(|ms| draft.now.plus_ms(ms)),
    };
    draft.record(Event::Started(started));
    Ok(())
}
