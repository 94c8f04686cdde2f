//! An author's case, made ready to run.

use saga_dsl::{
    plan::{Plan, StepIx},
    sample::Scenario,
    test_file::OwnCase,
};

use super::{
    case::{Case, Expect, Script, Side},
    generate,
};

/// A case of a test file that was checked against this plan. Names that the plan does not have are left out.
#[must_use]
pub fn own(plan: &Plan, written: &OwnCase) -> Case {
    let sample = generate::base(plan);
    let input = written.input.clone().unwrap_or(sample.input);
    let mut script = Script::default();
    for (at, step) in (0_u16..).zip(&plan.steps) {
        let undo = step
            .compensation
            .as_ref()
            .map(|undo| (&undo.participant, &undo.action, Side::Undo));
        let action = Some((&step.action.participant, &step.action.action, Side::Action));
        for (participant, action, side) in [action, undo].into_iter().flatten() {
            if let Some(answers) = written.answers.get(&format!("{participant}/{action}")) {
                script = script.with(StepIx(at), side, answers.clone());
            }
        }
    }
    Case {
        name: written.name.clone(),
        step: None,
        scenario: Scenario {
            input,
            outputs: sample.outputs,
        },
        script,
        twists: Vec::new(),
        expect: Expect::Own(written.expect.clone()),
    }
}
