//! The cases that every saga gets: each step refused, failing, silent, late, doubled, undone with trouble; crashes,
//! the deadline and a cancel at each step.
//!
//! What a case must come to follows from where its step stands to the pivot. A step that a condition leaves out of the
//! plain sample is tried with values under which it runs, if any are found.

use saga_core::event::IncidentKind;
use saga_dsl::{
    definition::Kind,
    plan::{Plan, PlanStep, RetryPolicy, StepIx},
    sample::{Scenario, scenario},
    test_file::{Answer, Words},
};

use super::{
    End,
    case::{Case, Expect, Script, Side, Turns, Twist},
};

/// Failures in a row where no budget ends them.
const FAILURES: u32 = 3;
/// How long a participant is away, in milliseconds, unless the deadline is near.
const AWAY_MS: u64 = 60_000;

/// The cases of a plan.
#[derive(Debug, Clone)]
pub struct Generated {
    /// In the order of the steps, those about the whole saga first.
    pub cases: Vec<Case>,
    /// What could not be tried, and why.
    pub notes: Vec<String>,
}

/// Makes the cases of a plan.
#[must_use]
pub fn generate(plan: &Plan) -> Generated {
    let mut made = Maker {
        plan,
        base: base(plan),
        cases: Vec::new(),
        notes: Vec::new(),
    };
    made.whole();
    for at in 0..plan.steps.len() {
        if let Ok(at) = u16::try_from(at) {
            made.step(StepIx(at));
        }
    }
    Generated {
        cases: made.cases,
        notes: made.notes,
    }
}

/// Values under which as many steps as possible run.
pub(super) fn base(plan: &Plan) -> Scenario {
    let mut base = Scenario::of(plan);
    for at in (0..plan.steps.len()).filter_map(|at| u16::try_from(at).ok()) {
        let kept: Vec<StepIx> = (0..at)
            .map(StepIx)
            .filter(|ix| base.selects(plan, *ix))
            .collect();
        if let Some(found) = scenario(plan, &base, StepIx(at), true)
            && kept.iter().all(|ix| found.selects(plan, *ix))
        {
            base = found;
        }
    }
    base
}

struct Maker<'a> {
    plan: &'a Plan,
    base: Scenario,
    cases: Vec<Case>,
    notes: Vec<String>,
}

/// One step, and all that its cases share.
struct Of<'a> {
    ix: StepIx,
    planned: &'a PlanStep,
    scenario: Scenario,
    /// How the saga is made to go back once the step is done.
    back: Back,
}

/// A way to make a saga go back.
#[derive(Clone, Copy)]
enum Back {
    /// A step after it, or beside it, is refused.
    Refused(StepIx),
    /// Somebody cancels while it is in flight.
    Cancel,
}

fn words(code: &str, message: &str) -> Words {
    Words {
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

fn refuse() -> Answer {
    Answer::Refuse(words("trial_refuses", ""))
}

fn fail() -> Answer {
    Answer::Fail(words("trial_fails", ""), None)
}

fn times(answer: &Answer, count: u32) -> Vec<Answer> {
    let mut answers = vec![answer.clone(); usize::try_from(count).unwrap_or(0)];
    answers.push(Answer::Succeed(None));
    answers
}

fn ends(ends: &[End]) -> Expect {
    Expect::Generated {
        ends: ends.to_vec(),
        incidents: Vec::new(),
        cancel: None,
        or_cut: false,
    }
}

/// As [`ends`], where the file's own limits may be shorter than its budget of attempts.
fn ends_or_cut(list: &[End]) -> Expect {
    Expect::Generated {
        ends: list.to_vec(),
        incidents: Vec::new(),
        cancel: None,
        or_cut: true,
    }
}

/// Completed; or whatever follows where the file's own limits end the attempts before that.
fn completed_or_cut(step: &PlanStep) -> Expect {
    let timed = step.action.retry.max_elapsed_ms.is_some();
    match step.kind {
        Kind::Compensatable | Kind::Pivot => ends_or_cut(&[End::Completed]),
        Kind::Retriable if timed => Expect::Generated {
            ends: vec![End::Completed, End::Incident],
            incidents: vec![IncidentKind::RetriableExhausted],
            cancel: None,
            or_cut: false,
        },
        Kind::Retriable => ends(&[End::Completed]),
    }
}

/// Whether attempts end by themselves.
fn is_limited(policy: &RetryPolicy) -> bool {
    policy.max_attempts.is_some() || policy.max_elapsed_ms.is_some()
}

fn incident(kinds: &[IncidentKind]) -> Expect {
    Expect::Generated {
        ends: vec![End::Incident],
        incidents: kinds.to_vec(),
        cancel: None,
        or_cut: false,
    }
}

impl<'a> Maker<'a> {
    fn add(
        &mut self,
        name: String,
        step: Option<StepIx>,
        scenario: &Scenario,
        script: Script,
        twists: Vec<Twist>,
        expect: Expect,
    ) {
        self.cases.push(Case {
            name,
            step,
            scenario: scenario.clone(),
            script,
            twists,
            expect,
        });
    }

    fn whole(&mut self) {
        let base = self.base.clone();
        self.add(
            "all goes well".to_owned(),
            None,
            &base,
            Script::default(),
            Vec::new(),
            ends(&[End::Completed]),
        );
        let mut participants = Vec::new();
        for (at, step) in (0_u16..).zip(&self.plan.steps) {
            let name = &step.action.participant;
            if !participants.contains(name) && base.selects(self.plan, StepIx(at)) {
                participants.push(name.clone());
                let until_ms = self
                    .plan
                    .deadline_ms
                    .map_or(AWAY_MS, |ms| AWAY_MS.min(ms / 2));
                let twist = Twist::Absent {
                    step: StepIx(at),
                    until_ms,
                };
                let title = format!("{name} connects late");
                self.add(
                    title,
                    None,
                    &base,
                    Script::default(),
                    vec![twist],
                    ends(&[End::Completed]),
                );
            }
        }
    }

    fn step(&mut self, ix: StepIx) {
        let Some(planned) = self.plan.step(ix) else {
            return;
        };
        let id = planned.id.clone();
        if !planned.guards.is_empty() {
            match scenario(self.plan, &self.base, ix, false) {
                Some(without) => {
                    let title = format!("{id}: left out by its condition");
                    self.add(
                        title,
                        Some(ix),
                        &without,
                        Script::default(),
                        Vec::new(),
                        ends(&[End::Completed]),
                    );
                }
                None => self.notes.push(format!(
                    "no made-up values make the condition of `{id}` false"
                )),
            }
        }
        let Some(scenario) = scenario(self.plan, &self.base, ix, true) else {
            self.notes.push(format!(
                "no made-up values make the condition of `{id}` true: it was not tried; give `input` in a test file"
            ));
            return;
        };
        let back = self.back(ix, &scenario);
        let of = Of {
            ix,
            planned,
            scenario,
            back,
        };
        self.refusals(&of);
        self.failures(&of);
        self.silences(&of);
        self.doubles(&of);
        self.crashes(&of);
        self.limits(&of);
        if planned.kind == Kind::Compensatable && planned.compensation.is_some() {
            self.overtaken(&of);
            self.undo(&of);
        }
    }

    /// A later step that can be refused, or one that runs beside it.
    fn back(&self, of: StepIx, scenario: &Scenario) -> Back {
        let mut later = Vec::new();
        let mut open = self.plan.steps[of.at()].before.clone();
        while let Some(ix) = open.pop() {
            if !later.contains(&ix) {
                later.push(ix);
                open.extend(&self.plan.steps[ix.at()].before);
            }
        }
        later.sort_unstable();
        let can = |ix: &StepIx| {
            self.plan.steps[ix.at()].kind != Kind::Retriable
                && !self.plan.steps[ix.at()].at_least_once
                && scenario.selects(self.plan, *ix)
        };
        later
            .into_iter()
            .find(can)
            .map_or(Back::Cancel, Back::Refused)
    }

    fn one(&mut self, of: &Of<'_>, what: &str, script: Script, twists: Vec<Twist>, expect: Expect) {
        let title = format!("{}: {what}", of.planned.id);
        self.add(title, Some(of.ix), &of.scenario, script, twists, expect);
    }

    fn action(&mut self, of: &Of<'_>, what: &str, answers: Vec<Answer>, expect: Expect) {
        self.one(
            of,
            what,
            Script::default().with(of.ix, Side::Action, answers),
            Vec::new(),
            expect,
        );
    }

    fn refusals(&mut self, of: &Of<'_>) {
        let expect = match of.planned.kind {
            Kind::Compensatable | Kind::Pivot => ends(&[End::Compensated]),
            Kind::Retriable if self.pivot_runs(&of.scenario) => {
                incident(&[IncidentKind::RetriableRefused])
            }
            // Where a condition leaves the pivot out, the first retriable step can still be left backwards.
            Kind::Retriable => Expect::Generated {
                ends: vec![End::Compensated, End::Incident],
                incidents: vec![IncidentKind::RetriableRefused],
                cancel: None,
                or_cut: false,
            },
        };
        self.action(of, "refused", vec![refuse()], expect);
    }

    /// What follows when the attempts of a step are used up and each ended rolled back.
    fn exhausted(of: &Of<'_>) -> Expect {
        match of.planned.kind {
            Kind::Pivot if of.planned.at_least_once => Expect::Generated {
                ends: vec![End::Compensated, End::Incident],
                incidents: vec![IncidentKind::PivotUnknown],
                cancel: None,
                or_cut: false,
            },
            Kind::Compensatable | Kind::Pivot => ends(&[End::Compensated]),
            Kind::Retriable => incident(&[IncidentKind::RetriableExhausted]),
        }
    }

    fn failures(&mut self, of: &Of<'_>) {
        let policy = &of.planned.action.retry;
        let most = policy
            .max_attempts
            .map_or(FAILURES, |max| max.saturating_sub(1));
        if most > 0 {
            let what = format!("fails {}, then succeeds", count(most));
            self.action(
                of,
                &what,
                times(&fail(), most),
                completed_or_cut(of.planned),
            );
        }
        match policy.max_attempts {
            Some(max) => {
                let what = format!("fails {}, which uses up its attempts", count(max));
                self.action(of, &what, vec![fail()], Self::exhausted(of));
            }
            None if policy.max_elapsed_ms.is_some() => {
                let what = "fails until its time for attempts is over";
                self.action(of, what, vec![fail()], Self::exhausted(of));
            }
            None => {
                let for_ms = of.planned.escalate_after_ms.saturating_add(1_000);
                let turns = Turns {
                    answers: vec![Answer::Succeed(None)],
                    first: Some((fail(), for_ms)),
                };
                let mut script = Script::default();
                script.0.insert((of.ix, Side::Action), turns);
                // Without a budget the deadline is what ends the attempts; that is no surprise to anybody.
                let before_pivot =
                    of.planned.kind != Kind::Retriable && self.plan.deadline_ms.is_some();
                let expect = ends(if before_pivot {
                    &[End::Completed, End::Compensated]
                } else {
                    &[End::Completed]
                });
                self.one(
                    of,
                    "fails until an operator is called",
                    script,
                    Vec::new(),
                    expect,
                );
            }
        }
        if let Some(code) = policy.non_retryable.first() {
            let what = format!("fails with {code}, which is not retried");
            self.action(
                of,
                &what,
                vec![Answer::Fail(words(code, ""), None)],
                Self::exhausted(of),
            );
        }
    }

    fn silences(&mut self, of: &Of<'_>) {
        let single = of.planned.action.retry.max_attempts == Some(1);
        for (done, effect) in [(true, "effect happened"), (false, "no effect")] {
            // Where nothing catches a second sending, silence is as good as the end of it.
            let expect = match of.planned.kind {
                Kind::Compensatable if single => ends(&[End::Compensated]),
                Kind::Compensatable => completed_or_cut(of.planned),
                Kind::Pivot if of.planned.at_least_once => Expect::Generated {
                    ends: vec![End::Completed, End::Compensated, End::Incident],
                    incidents: vec![IncidentKind::PivotUnknown],
                    cancel: None,
                    or_cut: true,
                },
                Kind::Pivot if done => ends(&[End::Completed]),
                Kind::Pivot if single => ends(&[End::Compensated]),
                Kind::Retriable if single => incident(&[IncidentKind::RetriableExhausted]),
                Kind::Pivot | Kind::Retriable => completed_or_cut(of.planned),
            };
            let what = format!("no answer once, {effect}");
            self.action(of, &what, times(&Answer::Silent(done), 1), expect);
            self.never_answers(of, done, effect);
        }
    }

    fn never_answers(&mut self, of: &Of<'_>, done: bool, effect: &str) {
        let what = format!("never answers, {effect}");
        let silent = Answer::Silent(done);
        let finite = is_limited(&of.planned.action.retry);
        let script = Script::default().with(of.ix, Side::Action, vec![silent.clone()]);
        match of.planned.kind {
            Kind::Retriable if finite => {
                self.one(
                    of,
                    &what,
                    script,
                    Vec::new(),
                    incident(&[IncidentKind::RetriableExhausted]),
                );
            }
            // It goes on for ever, which is what it is for; tried until somebody has been called.
            Kind::Retriable => {
                let for_ms = of.planned.escalate_after_ms.saturating_add(1_000);
                let turns = Turns {
                    answers: vec![Answer::Succeed(None)],
                    first: Some((silent, for_ms)),
                };
                let mut script = Script::default();
                script.0.insert((of.ix, Side::Action), turns);
                let what = format!("no answer until an operator is called, {effect}");
                self.one(of, &what, script, Vec::new(), ends(&[End::Completed]));
            }
            Kind::Pivot if of.planned.at_least_once => {}
            Kind::Pivot if done => self.one(of, &what, script, Vec::new(), ends(&[End::Completed])),
            Kind::Compensatable | Kind::Pivot => {
                // Without a budget and without a deadline only a person ends it.
                let endless = !finite && self.plan.deadline_ms.is_none();
                let twists = if endless {
                    vec![Twist::Cancel {
                        step: of.ix,
                        attempt: 2,
                    }]
                } else {
                    Vec::new()
                };
                let what = if endless {
                    format!("{what}, cancelled at attempt 2")
                } else {
                    what
                };
                self.one(of, &what, script, twists, ends(&[End::Compensated]));
            }
        }
    }

    /// Script and twists that make the saga go back once the step is done.
    fn going_back(of: &Of<'_>, script: Script, mut twists: Vec<Twist>) -> (Script, Vec<Twist>) {
        match of.back {
            Back::Refused(later) => (script.with(later, Side::Action, vec![refuse()]), twists),
            Back::Cancel => {
                twists.push(Twist::Cancel {
                    step: of.ix,
                    attempt: 1,
                });
                (script, twists)
            }
        }
    }

    fn has_way_back(of: &Of<'_>) -> bool {
        of.planned.kind == Kind::Compensatable
    }

    fn doubles(&mut self, of: &Of<'_>) {
        let twists = vec![Twist::Twice(of.ix)];
        self.one(
            of,
            "every message comes twice",
            Script::default(),
            twists.clone(),
            ends(&[End::Completed]),
        );
        if Self::has_way_back(of) {
            let (script, twists) = Self::going_back(of, Script::default(), twists);
            self.one(
                of,
                "every message comes twice, on the way back",
                script,
                twists,
                ends(&[End::Compensated]),
            );
        }
        let single = of.planned.action.retry.max_attempts == Some(1);
        if !single && !of.planned.at_least_once {
            let what = "its first command arrives after the saga has ended";
            self.one(
                of,
                what,
                Script::default(),
                vec![Twist::Late(of.ix)],
                completed_or_cut(of.planned),
            );
        }
    }

    fn crashes(&mut self, of: &Of<'_>) {
        for (before, when) in [(true, "before"), (false, "after")] {
            let crash = vec![Twist::Crash {
                step: of.ix,
                before,
            }];
            // What may not be sent again is unknown after a crash, and its budget may be at its end.
            let expect = if of.planned.at_least_once {
                Expect::Generated {
                    ends: vec![End::Completed, End::Compensated, End::Incident],
                    incidents: vec![IncidentKind::PivotUnknown, IncidentKind::RetriableExhausted],
                    cancel: None,
                    or_cut: true,
                }
            } else {
                ends(&[End::Completed])
            };
            let what = format!("crash {when} each of its commits");
            self.one(of, &what, Script::default(), crash.clone(), expect);
            if Self::has_way_back(of) {
                let (script, twists) = Self::going_back(of, Script::default(), crash);
                let what = format!("crash {when} each of its commits, on the way back");
                self.one(of, &what, script, twists, ends(&[End::Compensated]));
            }
        }
    }

    /// Deadline and cancel while the saga is at this step.
    fn limits(&mut self, of: &Of<'_>) {
        let first_user = self.plan.steps.iter().find(|step| {
            (&step.action.participant, &step.action.action)
                == (&of.planned.action.participant, &of.planned.action.action)
        });
        // Earlier users of the same action would wait in its place.
        let alone = first_user.is_some_and(|step| step.id == of.planned.id);
        if let (Some(deadline_ms), true) = (self.plan.deadline_ms, alone) {
            let twist = Twist::Unserved {
                step: of.ix,
                until_ms: deadline_ms.saturating_add(1_000),
            };
            // After the pivot, or where a condition left the pivot out: an operator is called, and it goes on.
            let expect = match of.planned.kind {
                Kind::Compensatable | Kind::Pivot => ends(&[End::Compensated]),
                Kind::Retriable if self.pivot_runs(&of.scenario) => ends(&[End::Completed]),
                Kind::Retriable => ends(&[End::Completed, End::Compensated]),
            };
            self.one(
                of,
                "the deadline passes while it waits",
                Script::default(),
                vec![twist],
                expect,
            );
        }
        let cancel = Twist::Cancel {
            step: of.ix,
            attempt: 1,
        };
        let expect = |ends: &[End], taken: bool| Expect::Generated {
            ends: ends.to_vec(),
            incidents: Vec::new(),
            cancel: Some(taken),
            or_cut: false,
        };
        match of.planned.kind {
            Kind::Compensatable => {
                let expect = expect(&[End::Compensated], true);
                self.one(
                    of,
                    "cancelled while it is in flight",
                    Script::default(),
                    vec![cancel],
                    expect,
                );
            }
            Kind::Pivot if of.planned.at_least_once => {}
            Kind::Pivot => {
                let done = expect(&[End::Completed, End::Compensated], true);
                let what = "cancelled while it is in flight: settled first";
                self.one(of, what, Script::default(), vec![cancel], done);
                let held = expect(&[End::Compensated], true);
                let what = "cancelled while its command is held up: sealed first";
                self.one(
                    of,
                    what,
                    Script::default(),
                    vec![cancel, Twist::AfterUndo(of.ix)],
                    held,
                );
            }
            Kind::Retriable => {
                let expect = expect(&[End::Completed], false);
                self.one(
                    of,
                    "cancelled after the pivot: refused",
                    Script::default(),
                    vec![cancel],
                    expect,
                );
            }
        }
    }

    fn pivot_runs(&self, scenario: &Scenario) -> bool {
        (0_u16..)
            .zip(&self.plan.steps)
            .any(|(at, step)| step.kind == Kind::Pivot && scenario.selects(self.plan, StepIx(at)))
    }

    /// The undo overtakes the action.
    fn overtaken(&mut self, of: &Of<'_>) {
        if of.planned.at_least_once {
            return;
        }
        let twists = vec![
            Twist::AfterUndo(of.ix),
            Twist::Cancel {
                step: of.ix,
                attempt: 1,
            },
        ];
        let what = "its undo arrives before its action";
        self.one(
            of,
            what,
            Script::default(),
            twists,
            ends(&[End::Compensated]),
        );
    }

    fn undo(&mut self, of: &Of<'_>) {
        let Some(undo) = &of.planned.compensation else {
            return;
        };
        let answered = |answers: Vec<Answer>| Script::default().with(of.ix, Side::Undo, answers);
        let most = undo
            .retry
            .max_attempts
            .map_or(FAILURES, |max| max.saturating_sub(1));
        let mut add = |what: String, script: Script, expect: Expect| {
            let (script, twists) = Self::going_back(of, script, Vec::new());
            self.one(of, &what, script, twists, expect);
        };
        let compensated = || Expect::Generated {
            // Its time may be over before its attempts are.
            ends: match undo.retry.max_elapsed_ms {
                Some(_) => vec![End::Compensated, End::Incident],
                None => vec![End::Compensated],
            },
            incidents: undo
                .retry
                .max_elapsed_ms
                .map(|_| IncidentKind::UndoStuck)
                .into_iter()
                .collect(),
            cancel: None,
            or_cut: false,
        };
        if most > 0 {
            let what = format!("its undo fails {}, then succeeds", count(most));
            add(what, answered(times(&fail(), most)), compensated());
            for (done, effect) in [(true, "undone"), (false, "not undone")] {
                let script = answered(times(&Answer::Silent(done), 1));
                add(
                    format!("its undo does not answer once, {effect}"),
                    script,
                    compensated(),
                );
            }
        }
        let stuck = || incident(&[IncidentKind::UndoStuck]);
        match undo.retry.max_attempts {
            Some(max) => {
                let what = format!("its undo fails {}, which uses up its attempts", count(max));
                add(what, answered(vec![fail()]), stuck());
            }
            None if undo.retry.max_elapsed_ms.is_some() => {
                add(
                    "its undo fails until its time is over".to_owned(),
                    answered(vec![fail()]),
                    stuck(),
                );
            }
            None => {
                let for_ms = undo.escalate_after_ms.saturating_add(1_000);
                let turns = Turns {
                    answers: vec![Answer::Succeed(None)],
                    first: Some((fail(), for_ms)),
                };
                let mut script = Script::default();
                script.0.insert((of.ix, Side::Undo), turns);
                let what = "its undo fails until an operator is called".to_owned();
                add(what, script, ends(&[End::Compensated]));
            }
        }
        let operator = Answer::NeedsOperator(words("trial_by_hand", ""));
        add(
            "its undo needs an operator".to_owned(),
            answered(vec![operator]),
            stuck(),
        );
    }
}

fn count(times: u32) -> String {
    match times {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}
