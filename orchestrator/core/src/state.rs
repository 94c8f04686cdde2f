//! Where a saga stands. Transitions first; `apply.rs` performs them, `decide/` chooses them.
//!
//! ```text
//! saga      running      -> completed        every step succeeded or skipped                 [end]
//!           running      -> compensating     refusal, exhaustion, expression, deadline, cancel
//!           compensating -> compensated      every undo is settled                           [end]
//!           running | compensating -> abandoned   an operator ends it as it is               [end]
//!
//! action    pending      -> skipped          its condition was false                         [settled]
//!           pending      -> waiting          ready, gate closed
//!           pending      -> sent             ready, gate open
//!           waiting      -> sent | asking
//!           sent         -> succeeded        from any attempt                                [settled]
//!           sent         -> refused          from any attempt                                [settled]
//!           sent         -> waiting          the command never reached the wire
//!           sent         -> backing_off      this attempt failed or is unknown, another is due
//!           sent         -> failed           this attempt failed or is unknown, there is no other
//!           backing_off  -> sent | waiting | asking | succeeded | refused
//!           backing_off  -> failed           its timer fired late: its lifetime or `max_elapsed` had run out
//!           asking       -> sent             a query found no trace: next attempt
//!           asking       -> succeeded | refused | sealed
//!           asking       -> asking           again, or with seal now
//!           asking       -> waiting          the next attempt or query is due, gate closed
//!           asking       -> failed           no trace of it, and `max_elapsed` has run out
//!           sent | waiting | backing_off | failed -> asking   with seal: a pivot in flight must be settled
//!           failed       -> succeeded | refused   a late answer
//!           waiting      -> succeeded | refused   a late answer to an earlier attempt
//!           waiting      -> failed           its lifetime or `max_elapsed` ran out meanwhile
//!           sent | backing_off | waiting | asking -> failed   it took effect, its output cannot be taken
//!           asking       -> backing_off      the same, where it can be undone: another attempt is due
//!           sealed                                                                           [settled]
//!         by an operator:
//!           sent | waiting | backing_off | asking | failed | refused -> asking   with seal: the round is closed first
//!           asking       -> pending          sealed: another round
//!           sent | waiting | backing_off | asking | failed | refused -> pending   another round, by force
//!           asking       -> skipped          sealed: left out                                [settled]
//!           pending | waiting | refused -> skipped   left out                                [settled]
//!           sent | backing_off | failed -> skipped   left out, by force                      [settled]
//!           pending | sent | waiting | backing_off | asking | failed | refused -> succeeded  resolved [settled]
//!           sent | waiting | backing_off | asking | failed -> sealed   resolved, by force    [settled]
//!           sent | waiting | backing_off | asking -> failed   resolved: it is undone as unknown
//!           failed       -> sent | waiting   tried again
//!           asking       -> failed           the saga goes back while a round is being closed
//!
//! undo      none         -> waiting | sent
//!           waiting      -> sent
//!           sent         -> done             undone, or nothing to undo                      [settled]
//!           sent         -> waiting          the command never reached the wire
//!           sent         -> backing_off | stuck
//!           backing_off  -> sent | waiting | done
//!           none | waiting -> stuck         its payload cannot be evaluated
//!           waiting      -> done             a late answer to an earlier attempt
//!           waiting      -> none             never sent, and the action turned out to be without effect
//!           stuck        -> done             a late answer after all
//!           stuck                                                                 [waits for an operator]
//!         by an operator:
//!           stuck        -> sent | waiting   tried again
//!           stuck | waiting | backing_off | sent -> skipped   left as it is                  [settled]
//! ```
//! Of the actions, `pending`, `waiting` and `backing_off` count as at rest once the saga compensates: nothing
//! new is dispatched then, and what was ever dispatched and is not refused or sealed is undone.

use std::{collections::BTreeMap, sync::Arc};

use saga_dsl::{
    definition::Kind,
    plan::{Plan, StepIx},
};

use crate::{
    error::ErrorBody,
    event::{AfterSeal, Failure, Incident, IncidentKind},
    ground::{Op, Wait},
    ids::{ActId, SagaId, Timestamp},
    payload::Payload,
};

/// A saga's state: the fold of its journal.
#[derive(Debug, Clone, PartialEq)]
pub struct SagaState {
    /// Identity.
    pub id: SagaId,
    /// Number of decisions so far; zero: not begun.
    pub seq: u64,
    /// Where it stands.
    pub status: Status,
    /// What was fixed at the start; `None` before it.
    pub birth: Option<Arc<Birth>>,
    /// When its time is up; `None` when it has none, or when it has passed and was acted on.
    pub deadline: Option<Timestamp>,
    /// Steps by their number in the plan.
    pub steps: Vec<StepState>,
    /// Why it goes back.
    pub failure: Option<Arc<Failure>>,
    /// Why it shall go back once the pivot is settled.
    pub closing: Option<Arc<Failure>>,
    /// The reason of a cancel that was asked for.
    pub cancel: Option<Arc<str>>,
    /// Where an operator is needed, oldest first. Those that last stay when the saga has ended.
    pub incidents: Vec<OpenIncident>,
    /// The result.
    pub output: Option<Payload>,
    /// Why a completed saga has no result.
    pub output_error: Option<Arc<ErrorBody>>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// An operator's word stands where a proof was not to be had, or a promise was broken; never taken off again.
    pub exceptions: bool,
    /// The latest acts of operators, oldest first: one that is sent again is done once.
    pub acts: Vec<ActId>,
    /// A participant contradicted what it had answered before; never taken off again.
    pub broken_promise: bool,
}

/// Acts of operators that a saga remembers.
pub const ACTS_KEPT: usize = 64;

/// Where a saga stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Going forward.
    Running,
    /// Going back.
    Compensating,
    /// Every selected step took effect.
    Completed,
    /// As if it had never happened.
    Compensated,
    /// Ended on an operator's word; what was done stays.
    Abandoned,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] = [
        Self::Running,
        Self::Compensating,
        Self::Completed,
        Self::Compensated,
        Self::Abandoned,
    ];

    /// The status in a word, as screens, expressions, filters and events say it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Abandoned => "abandoned",
        }
    }

    /// The status that a word says.
    ///
    /// ```
    /// use saga_core::Status;
    /// assert_eq!(Status::of_word("completed"), Some(Status::Completed));
    /// assert_eq!(Status::of_word("done"), None);
    /// ```
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }

    /// True until an end state.
    #[must_use]
    pub fn is_open(self) -> bool {
        !self.is_end()
    }

    /// True in an end state.
    #[must_use]
    pub fn is_end(self) -> bool {
        match self {
            Self::Running | Self::Compensating => false,
            Self::Completed | Self::Compensated | Self::Abandoned => true,
        }
    }
}

/// What was fixed at the start.
#[derive(Debug, Clone, PartialEq)]
pub struct Birth {
    /// Name of the definition.
    pub name: Arc<str>,
    /// Its version.
    pub version: u32,
    /// The start payload.
    pub input: Payload,
    /// The key it was deduplicated by.
    pub key: Option<Arc<str>>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it began.
    pub at: Timestamp,
    /// The deadline as it was set.
    pub deadline: Option<Timestamp>,
}

/// An incident that is not settled.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenIncident {
    /// What it is.
    pub incident: Arc<Incident>,
    /// Since when.
    pub since: Timestamp,
}

/// One step of a saga.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// The way forward.
    pub action: ActionState,
    /// The way back.
    pub undo: UndoState,
    /// Round of the key.
    pub round: u32,
    /// The most sendings of one kind that any round before had: no answer to more of them is believed.
    pub past_sendings: u32,
    /// Attempts of the action that were spent.
    pub attempts: u32,
    /// Attempts of the undo that were spent.
    pub undo_attempts: u32,
    /// Questions asked about the action.
    pub asks: u32,
    /// An earlier attempt's outcome is unknown: it may still take effect.
    pub unclear: bool,
    /// An answer came too late to matter; recorded once.
    pub late_reply: bool,
    /// Payload of the action, evaluated once.
    pub input: Option<Payload>,
    /// Payload of the undo, evaluated once.
    pub undo_input: Option<Payload>,
    /// Whether the undo was sent as of a known effect.
    pub undo_known: bool,
    /// When the first attempt was sent.
    pub first_sent: Option<Timestamp>,
    /// When the first undo was sent.
    pub undo_first_sent: Option<Timestamp>,
    /// When the action was settled.
    pub settled_at: Option<Timestamp>,
    /// When the undo was settled.
    pub undo_settled_at: Option<Timestamp>,
    /// Lifetime of the key.
    pub not_after: Option<Timestamp>,
    /// When an incident is raised; `None` once raised or settled.
    pub escalate_at: Option<Timestamp>,
    /// What the action's attempts are counted from.
    pub budget: Budget,
    /// What the undo's attempts are counted from.
    pub undo_budget: Budget,
    /// What an operator wants once the round is sealed.
    pub after_seal: Option<AfterSeal>,
    /// The action is settled by an operator's word, not by its participant's.
    pub by_word: bool,
}

/// Where a budget of attempts begins: at the first attempt, or where an operator renewed it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// Attempts that were spent before and do not count.
    pub from: u32,
    /// When it was renewed.
    pub since: Option<Timestamp>,
}

impl StepState {
    /// A step that nothing has happened to.
    pub const NEW: Self = Self {
        action: ActionState::Pending,
        undo: UndoState::None,
        round: 1,
        past_sendings: 0,
        attempts: 0,
        undo_attempts: 0,
        asks: 0,
        unclear: false,
        late_reply: false,
        input: None,
        undo_input: None,
        undo_known: false,
        first_sent: None,
        undo_first_sent: None,
        settled_at: None,
        undo_settled_at: None,
        not_after: None,
        escalate_at: None,
        budget: Budget {
            from: 0,
            since: None,
        },
        undo_budget: Budget {
            from: 0,
            since: None,
        },
        after_seal: None,
        by_word: false,
    };

    /// What is outstanding at a step, if anything.
    #[must_use]
    pub fn outstanding(&self) -> Option<Op> {
        if let UndoState::Sent { .. } = self.undo {
            return Some(Op::Compensation);
        }
        match self.action {
            ActionState::Sent { .. } => Some(Op::Action),
            ActionState::Asking {
                seal,
                ask: Ask::Sent { .. },
            } => Some(if seal { Op::Seal } else { Op::Query }),
            ActionState::Pending
            | ActionState::Skipped
            | ActionState::Waiting { .. }
            | ActionState::BackingOff { .. }
            | ActionState::Asking { .. }
            | ActionState::Succeeded(_)
            | ActionState::Refused(_)
            | ActionState::Failed { .. }
            | ActionState::Sealed => None,
        }
    }

    /// Takes the limit off what is outstanding here: it is on no wire.
    pub fn suspend_limit(&mut self) {
        match &mut self.action {
            ActionState::Sent { due, .. }
            | ActionState::Asking {
                ask: Ask::Sent { due },
                ..
            } => *due = None,
            ActionState::Pending
            | ActionState::Skipped
            | ActionState::Waiting { .. }
            | ActionState::BackingOff { .. }
            | ActionState::Asking { .. }
            | ActionState::Succeeded(_)
            | ActionState::Refused(_)
            | ActionState::Failed { .. }
            | ActionState::Sealed => {}
        }
        match &mut self.undo {
            UndoState::Sent { due } => *due = None,
            UndoState::None
            | UndoState::Waiting { .. }
            | UndoState::BackingOff { .. }
            | UndoState::Done { .. }
            | UndoState::Skipped
            | UndoState::Stuck { .. } => {}
        }
    }

    /// True when the action may have taken effect: sent at least once, and neither refused nor sealed.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self.action {
            ActionState::Pending | ActionState::Refused(_) | ActionState::Sealed => false,
            // Left out by an operator after it was sent, and nobody proved that it has no effect.
            ActionState::Skipped
            | ActionState::Waiting { .. }
            | ActionState::Sent { .. }
            | ActionState::BackingOff { .. }
            | ActionState::Asking { .. }
            | ActionState::Failed { .. } => self.attempts > 0,
            ActionState::Succeeded(_) => true,
        }
    }
}

/// The way forward of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum ActionState {
    /// Its turn has not come.
    Pending,
    /// Its condition was false.
    Skipped,
    /// Ready, but may not be sent now.
    Waiting {
        /// Why.
        reason: Wait,
        /// Since when.
        since: Timestamp,
    },
    /// An attempt is outstanding.
    Sent {
        /// When it is given up; `None` while it is not on the wire (after a restart).
        due: Option<Timestamp>,
        /// The participant works on it outside its handler.
        accepted: bool,
    },
    /// Another attempt is due later.
    BackingOff {
        /// When.
        due: Timestamp,
        /// Why the last one ended.
        error: Arc<ErrorBody>,
    },
    /// The participant is asked what became of it.
    Asking {
        /// True: and to make sure that it never happens, if it has not. A pivot that must be settled, or a round that an
        /// operator closes.
        seal: bool,
        /// The question stands, or the next one is due.
        ask: Ask,
    },
    /// It took effect.
    Succeeded(Payload),
    /// A business no.
    Refused(Arc<ErrorBody>),
    /// Retries ended without a definite outcome.
    Failed {
        /// Why the last attempt ended.
        error: Arc<ErrorBody>,
    },
    /// It never happened and never will.
    Sealed,
}

/// A question to a participant.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// Outstanding.
    Sent {
        /// When it is given up; `None` while it is not on the wire.
        due: Option<Timestamp>,
    },
    /// To be asked again.
    Again {
        /// When.
        due: Timestamp,
        /// What the last question brought.
        error: Arc<ErrorBody>,
    },
    /// Not asked yet, or may not be sent now.
    Waiting,
}

/// The way back of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum UndoState {
    /// Not begun, or not needed.
    None,
    /// Due, but may not be sent now.
    Waiting {
        /// Why.
        reason: Wait,
        /// Since when.
        since: Timestamp,
        /// When the wait ends by itself.
        until: Option<Timestamp>,
    },
    /// An attempt is outstanding.
    Sent {
        /// When it is given up; `None` while it is not on the wire.
        due: Option<Timestamp>,
    },
    /// Another attempt is due later.
    BackingOff {
        /// When.
        due: Timestamp,
        /// Why the last one ended.
        error: Arc<ErrorBody>,
    },
    /// Undone.
    Done {
        /// There was no effect to undo.
        nothing_to_do: bool,
    },
    /// No machine can do it.
    Stuck {
        /// Why.
        error: Arc<ErrorBody>,
    },
    /// Done, or left, on an operator's word.
    Skipped,
}

impl SagaState {
    /// A saga that has not begun.
    #[must_use]
    pub fn unborn(id: SagaId) -> Self {
        Self {
            id,
            seq: 0,
            status: Status::Running,
            birth: None,
            deadline: None,
            steps: Vec::new(),
            failure: None,
            closing: None,
            cancel: None,
            incidents: Vec::new(),
            output: None,
            output_error: None,
            ended_at: None,
            exceptions: false,
            acts: Vec::new(),
            broken_promise: false,
        }
    }

    /// Whether this act was done before.
    #[must_use]
    pub fn has_acted(&self, act: Option<ActId>) -> bool {
        act.is_some_and(|act| self.acts.contains(&act))
    }

    pub(crate) fn note_act(&mut self, act: Option<ActId>) {
        let Some(act) = act else { return };
        if self.acts.len() >= ACTS_KEPT {
            self.acts.remove(0);
        }
        self.acts.push(act);
    }

    /// Whether a step may begin when its turn comes: not while the pivot is being settled, and not while an operator
    /// has to mend the data of its expressions.
    #[must_use]
    pub fn may_begin(&self, ix: StepIx) -> bool {
        let unmended = |open: &OpenIncident| {
            open.incident.step == Some(ix) && open.incident.kind == IncidentKind::Expression
        };
        self.closing.is_none() && !self.incidents.iter().any(unmended)
    }

    /// The next moment at which the saga must be looked at; `None`: only an input from outside moves it.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.status.is_end() {
            return None;
        }
        let compensating = self.status == Status::Compensating;
        let mut next = self.deadline.filter(|_| !compensating);
        let mut consider = |due: Option<Timestamp>| {
            if let Some(due) = due {
                next = Some(next.map_or(due, |n| n.min(due)));
            }
        };
        for step in &self.steps {
            consider(step.escalate_at);
            consider(match &step.action {
                ActionState::Sent { due, .. }
                | ActionState::Asking {
                    ask: Ask::Sent { due },
                    ..
                } => *due,
                ActionState::Asking {
                    ask: Ask::Again { due, .. },
                    ..
                } => Some(*due),
                ActionState::BackingOff { due, .. } => (!compensating).then_some(*due),
                ActionState::Pending
                | ActionState::Skipped
                | ActionState::Waiting { .. }
                | ActionState::Asking {
                    ask: Ask::Waiting, ..
                }
                | ActionState::Succeeded(_)
                | ActionState::Refused(_)
                | ActionState::Failed { .. }
                | ActionState::Sealed => None,
            });
            consider(match &step.undo {
                UndoState::Sent { due } => *due,
                UndoState::BackingOff { due, .. } => Some(*due),
                UndoState::Waiting { until, .. } => *until,
                UndoState::None
                | UndoState::Done { .. }
                | UndoState::Stuck { .. }
                | UndoState::Skipped => None,
            });
        }
        next
    }

    /// The step that there is no way back from, if one was passed: the pivot that took effect or, where a
    /// condition left the pivot out, a retriable step that may have.
    #[must_use]
    pub fn pivot_done<'p>(&self, plan: &'p Plan) -> Option<&'p str> {
        plan.steps
            .iter()
            .zip(&self.steps)
            .enumerate()
            .find_map(|(at, (step, state))| {
                let passed = match step.kind {
                    Kind::Compensatable => false,
                    Kind::Pivot => {
                        matches!(state.action, ActionState::Succeeded(_)) || self.lacks_output(at)
                    }
                    Kind::Retriable => state.may_have_happened(),
                };
                passed.then_some(&*step.id)
            })
    }

    /// True while a step that took effect waits for an operator to give the output that could not be taken.
    #[must_use]
    pub fn lacks_output(&self, at: usize) -> bool {
        self.incidents.iter().any(|open| {
            open.incident.kind == IncidentKind::OutputNotTaken
                && open.incident.step.is_some_and(|ix| ix.at() == at)
        })
    }

    /// Takes the limits off everything outstanding: after a restart nothing is on the wire, and a limit runs
    /// from the sending.
    pub fn suspend_limits(&mut self) {
        self.steps.iter_mut().for_each(StepState::suspend_limit);
    }

    /// Is the operation outstanding at the step, and has its limit been taken off?
    #[must_use]
    pub fn rests(&self, step: StepIx, op: Op) -> bool {
        let Some(step) = self
            .steps
            .get(step.at())
            .filter(|step| step.outstanding() == Some(op))
        else {
            return false;
        };
        match (&step.undo, &step.action) {
            (UndoState::Sent { due }, _) => due.is_none(),
            (
                _,
                ActionState::Sent { due, .. }
                | ActionState::Asking {
                    ask: Ask::Sent { due },
                    ..
                },
            ) => due.is_none(),
            (
                _,
                ActionState::Pending
                | ActionState::Skipped
                | ActionState::Waiting { .. }
                | ActionState::BackingOff { .. }
                | ActionState::Asking { .. }
                | ActionState::Succeeded(_)
                | ActionState::Refused(_)
                | ActionState::Failed { .. }
                | ActionState::Sealed,
            ) => false,
        }
    }

    /// Sets the limit of what is outstanding at a step: after it was sent again, or showed a sign of life.
    pub fn set_limit(&mut self, step: StepIx, op: Op, limit: Timestamp) {
        let Some(step) = self.steps.get_mut(step.at()) else {
            return;
        };
        if step.outstanding() != Some(op) {
            return;
        }
        match (op, &mut step.action, &mut step.undo) {
            (Op::Action, ActionState::Sent { due, .. }, _)
            | (
                Op::Query | Op::Seal,
                ActionState::Asking {
                    ask: Ask::Sent { due },
                    ..
                },
                _,
            )
            | (Op::Compensation, _, UndoState::Sent { due }) => *due = Some(limit),
            (Op::Action | Op::Query | Op::Seal | Op::Compensation, _, _) => {}
        }
    }
}
