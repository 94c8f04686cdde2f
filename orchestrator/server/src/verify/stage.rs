//! One hazard's commands and replies. Every command is answered for: with what came, or with the time that it took not to.

use std::{sync::Arc, time::Duration};

use saga_core::{
    ErrorBody, Op, Payload, SagaId,
    effect::{Command, Known},
    input::Outcome,
};
use saga_dsl::plan::StepIx;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Exchange, Site};
use saga_engine::{
    clock,
    document::clean_text,
    lane::probes::{Heard, Probe},
    link::{Link, Outgoing},
};

/// Of two copies at once, after the first was answered.
const SECOND_WITHIN: Duration = Duration::from_secs(1);
/// Before a participant that said `running` is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Rows of tests stay as long as an inbox must keep them: nobody sends for them again.
const ROWS_STAY_MS: u64 = 60 * 60 * 1_000;
/// Longest text of a reply on a screen, in bytes.
const SHOWN_BYTES_MAX: usize = 200;
/// The attempt of the undo that takes back what a hazard left behind.
const CLEAN_UP: u32 = 100;

/// Why a hazard did not go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// A rule was broken.
    Failed(String),
    /// It cannot be tried.
    NotApplicable(String),
}

/// A command of a hazard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    op: Op,
    attempt: u32,
    known: Option<Known>,
    kind: Kind,
}

/// What is special about a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    OtherInput,
    Late,
    Stranger,
}

pub(super) fn action(attempt: u32) -> Ask {
    Ask {
        op: Op::Action,
        attempt,
        known: None,
        kind: Kind::Plain,
    }
}

pub(super) fn undo(attempt: u32, known: Known) -> Ask {
    Ask {
        op: Op::Compensation,
        attempt,
        known: Some(known),
        kind: Kind::Plain,
    }
}

pub(super) fn query(attempt: u32) -> Ask {
    Ask {
        op: Op::Query,
        attempt,
        known: None,
        kind: Kind::Plain,
    }
}

pub(super) fn seal(attempt: u32) -> Ask {
    Ask {
        op: Op::Seal,
        attempt,
        known: None,
        kind: Kind::Plain,
    }
}

impl Ask {
    /// The action under the same key with another input.
    pub(super) fn with_other_input(self) -> Self {
        Self {
            kind: Kind::OtherInput,
            ..self
        }
    }

    /// After its time.
    pub(super) fn too_late(self) -> Self {
        Self {
            kind: Kind::Late,
            ..self
        }
    }

    /// Of an action that nobody serves.
    pub(super) fn of_a_stranger(self) -> Self {
        Self {
            kind: Kind::Stranger,
            ..self
        }
    }

    fn words(self) -> String {
        let what = match self.op {
            Op::Action => "action",
            Op::Compensation => "compensation",
            Op::Query => "query",
            Op::Seal => "seal",
        };
        let more = match (self.kind, self.known) {
            (Kind::OtherInput, _) => ", another input",
            (Kind::Late, _) => ", after its time",
            (Kind::Stranger, _) => ", unknown name",
            (Kind::Plain, Some(Known::Done)) => ", known: done",
            (Kind::Plain, Some(Known::Unknown)) => ", known: unknown",
            (Kind::Plain, None) => "",
        };
        format!("{what}, attempt {}{more}", self.attempt)
    }
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq)]
enum Came {
    Reply(Outcome),
    Lost(ErrorBody),
    Nothing,
}

/// One hazard under way.
pub(super) struct Stage {
    site: Arc<Site>,
    test: SagaId,
    probe: Probe,
    links: Vec<Arc<dyn Link>>,
    next_link: usize,
    exchanges: Vec<Exchange>,
    /// What the action returned.
    output: Option<Payload>,
    /// An action took effect and was not undone.
    dirty: bool,
}

impl Stage {
    pub(super) fn new(
        site: Arc<Site>,
        test: SagaId,
        probe: Probe,
        links: Vec<Arc<dyn Link>>,
    ) -> Self {
        let (next_link, exchanges, output, dirty) = (0, Vec::new(), None, false);
        Self {
            site,
            test,
            probe,
            links,
            next_link,
            exchanges,
            output,
            dirty,
        }
    }

    /// There is nobody to send to.
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    pub(super) fn exchanges(self) -> Vec<Exchange> {
        self.exchanges
    }

    /// Has the action take effect.
    pub(super) async fn act(&mut self) -> Result<(), Stop> {
        let ask = action(1);
        let came = self.ask(ask).await;
        let ok = matches!(came, Came::Reply(Outcome::Succeeded(_)));
        self.note(ask, &came, "succeeded", ok);
        if ok { Ok(()) } else { Err(self.unfit(&came)) }
    }

    /// Why nothing more can be told.
    fn unfit(&self, came: &Came) -> Stop {
        let said = self.words(came);
        match came {
            Came::Nothing => Stop::Failed(format!(
                "the action got no reply that makes sense ({said}); what was dropped stands in the server's log"
            )),
            Came::Lost(_) => Stop::Failed(format!("the action was not answered ({said})")),
            Came::Reply(_) => Stop::NotApplicable(format!(
                "the action must succeed before anything can be told of it, and it did not ({said}): give an input that it \
                 succeeds with"
            )),
        }
    }

    /// Sends a command, and stops when the reply is not what the protocol asks for.
    pub(super) async fn expect(
        &mut self,
        ask: Ask,
        expected: &'static str,
        fits: fn(&Outcome) -> bool,
    ) -> Result<(), Stop> {
        let came = self.ask(ask).await;
        let ok = matches!(&came, Came::Reply(outcome) if fits(outcome));
        self.judge(ask, &came, expected, ok)
    }

    /// Sends a command whose reply must hold what the action returned.
    pub(super) async fn expect_output(
        &mut self,
        ask: Ask,
        expected: &'static str,
    ) -> Result<(), Stop> {
        let output = self.output.clone();
        let came = self.ask(ask).await;
        let said = match &came {
            Came::Reply(Outcome::Succeeded(said)) if ask.op == Op::Action => Some(said),
            Came::Reply(Outcome::Done(said)) if ask.op != Op::Action => Some(said),
            Came::Reply(_) | Came::Lost(_) | Came::Nothing => None,
        };
        let ok = said
            .zip(output.as_ref())
            .is_some_and(|(said, before)| said.to_value() == before.to_value());
        self.judge(ask, &came, expected, ok)
    }

    fn judge(
        &mut self,
        ask: Ask,
        came: &Came,
        expected: &'static str,
        ok: bool,
    ) -> Result<(), Stop> {
        self.note(ask, came, expected, ok);
        if ok {
            return Ok(());
        }
        Err(Stop::Failed(format!(
            "{}: {} came instead of {expected}",
            ask.words(),
            self.words(came)
        )))
    }

    fn note(&mut self, ask: Ask, came: &Came, expected: &str, ok: bool) {
        let exchange = Exchange {
            sent: ask.words(),
            came: self.words(came),
            expected: expected.to_owned(),
            ok,
        };
        self.exchanges.push(exchange);
    }

    /// Sends the same action twice at the same moment, to two instances where there are two.
    pub(super) async fn act_at_once(&mut self) -> Result<(), Stop> {
        let asks = [action(1), action(2)];
        asks.into_iter().for_each(|ask| self.send(ask));
        let mut until = self.until();
        let mut came = [Came::Nothing, Came::Nothing];
        let definite = |came: &Came| {
            matches!(
                came,
                Came::Reply(Outcome::Succeeded(_) | Outcome::Refused(_))
            )
        };
        while !came.iter().all(definite) {
            let Ok(heard) = timeout_at(until, self.probe.next()).await else {
                break;
            };
            let (op, attempt, what) = self.heard(heard);
            let slot = usize::try_from(attempt)
                .ok()
                .and_then(|n| came.get_mut(n.checked_sub(1)?));
            match slot {
                Some(slot) if op == Op::Action && !definite(slot) => *slot = what,
                Some(_) | None => {}
            }
            if came.iter().any(definite) {
                // The other may have been told that somebody is at it, and be answered by this one.
                until = until.min(Instant::now() + SECOND_WITHIN);
            }
        }
        let outputs: Vec<&Payload> = came
            .iter()
            .filter_map(|came| match came {
                Came::Reply(Outcome::Succeeded(output)) => Some(output),
                Came::Reply(_) | Came::Lost(_) | Came::Nothing => None,
            })
            .collect();
        let Some(first) = outputs.first().map(|output| Payload::clone(output)) else {
            asks.into_iter()
                .zip(&came)
                .for_each(|(ask, came)| self.note(ask, came, "succeeded", false));
            return Err(self.unfit(&came[0]));
        };
        let same = outputs
            .iter()
            .all(|output| output.to_value() == first.to_value());
        (self.output, self.dirty) = (Some(first), true);
        let mut verdict = Ok(());
        for (ask, came) in asks.into_iter().zip(&came) {
            let fits = match came {
                Came::Reply(Outcome::Succeeded(_)) => same,
                // One answer may be for both, and whoever comes second may be told to come again.
                Came::Reply(Outcome::Running | Outcome::Accepted | Outcome::Failed(_))
                | Came::Nothing => true,
                Came::Reply(_) | Came::Lost(_) => false,
            };
            let expected = "succeeded, both with the same output, or one answer for both";
            verdict = verdict.and(self.judge(ask, came, expected, fits));
        }
        verdict
    }

    /// Takes back what the hazard did, where it can be. No verdict hangs on it.
    pub(super) async fn clean_up(&mut self) {
        if !self.dirty || self.site.target.compensation.is_none() || self.is_empty() {
            return;
        }
        let ask = undo(CLEAN_UP, Known::Done);
        let came = self.ask(ask).await;
        let ok = came == Came::Reply(Outcome::Compensated);
        self.note(ask, &came, "compensated (to clean up)", ok);
    }

    fn until(&self) -> Instant {
        Instant::now() + self.site.target.wait
    }

    /// Sends a command and awaits its reply; asks again while a question is answered with `running`.
    async fn ask(&mut self, ask: Ask) -> Came {
        let until = self.until();
        let mut last = Came::Nothing;
        loop {
            self.send(ask);
            last = match self.answer(ask, until).await {
                Came::Reply(Outcome::Running) if ask.op != Op::Action => {
                    Came::Reply(Outcome::Running)
                }
                Came::Nothing => return last,
                came @ (Came::Reply(_) | Came::Lost(_)) => return came,
            };
            if timeout_at(until, sleep(ASK_AGAIN_AFTER)).await.is_err() {
                return last;
            }
        }
    }

    async fn answer(&mut self, ask: Ask, until: Instant) -> Came {
        let mut meanwhile = Came::Nothing;
        while let Ok(heard) = timeout_at(until, self.probe.next()).await {
            let (op, attempt, came) = self.heard(heard);
            if op != ask.op || attempt != ask.attempt {
                continue;
            }
            match came {
                // The outcome follows.
                Came::Reply(Outcome::Running | Outcome::Accepted) if op == Op::Action => {
                    meanwhile = came
                }
                Came::Reply(_) | Came::Lost(_) | Came::Nothing => return came,
            }
        }
        meanwhile
    }

    fn heard(&mut self, heard: Heard) -> (Op, u32, Came) {
        match heard {
            Heard::Lost(lost) => (lost.op, lost.attempt, Came::Lost(lost.error)),
            // Somebody answers for another: no attempt has this number.
            Heard::Reply(reply) if *reply.participant != *self.site.target.participant => {
                (reply.op, 0, Came::Nothing)
            }
            Heard::Reply(reply) => {
                match &reply.outcome {
                    Outcome::Succeeded(output) if reply.op == Op::Action => {
                        self.dirty = true;
                        self.output.get_or_insert_with(|| output.clone());
                    }
                    Outcome::Compensated if reply.op == Op::Compensation => self.dirty = false,
                    Outcome::Succeeded(_)
                    | Outcome::Compensated
                    | Outcome::Refused(_)
                    | Outcome::Failed(_)
                    | Outcome::Accepted
                    | Outcome::Running
                    | Outcome::Blocked
                    | Outcome::Conflict(_)
                    | Outcome::Expired
                    | Outcome::NeedsOperator(_)
                    | Outcome::NothingToDo
                    | Outcome::Absent
                    | Outcome::Done(_)
                    | Outcome::Sealed => {}
                    Outcome::OutputNotTaken(_) => self.dirty |= reply.op == Op::Action,
                }
                (reply.op, reply.attempt, Came::Reply(reply.outcome))
            }
        }
    }

    fn send(&mut self, ask: Ask) {
        let command = self.command(ask);
        let Some(link) = self.links.get(self.next_link % self.links.len().max(1)) else {
            return;
        };
        self.next_link += 1;
        link.send(vec![Outgoing {
            plan: Arc::clone(&self.site.plan),
            command,
            alone: false,
        }]);
    }

    fn command(&self, ask: Ask) -> Command {
        let target = &self.site.target;
        let input = match (ask.op, ask.kind) {
            (Op::Action, Kind::OtherInput) => Payload::from_value(other(&target.input.to_value())),
            (Op::Action, Kind::Plain | Kind::Late | Kind::Stranger) => target.input.clone(),
            (Op::Compensation, _) => {
                let mut body = json!({"input": target.input.to_value(), "action_key": format!("{}/verify/1", self.test)});
                if let Some(output) = &self.output {
                    body["output"] = output.to_value();
                }
                Payload::from_value(body)
            }
            (Op::Query | Op::Seal, _) => Payload::from_value(Value::Null),
        };
        let now = clock::now();
        Command {
            saga_id: self.test,
            step: StepIx(u16::from(ask.kind == Kind::Stranger)),
            round: 1,
            op: ask.op,
            attempt: ask.attempt,
            known: ask.known,
            not_after: (ask.kind == Kind::Late).then_some(saga_core::Timestamp(1)),
            retain_until: now.plus_ms(ROWS_STAY_MS),
            // All that is asked of it is to tell one command from another under the same key.
            fingerprint: if ask.kind == Kind::OtherInput { 2 } else { 1 },
            timeout_ms: u64::try_from(target.wait.as_millis()).unwrap_or(u64::MAX),
            input,
        }
    }

    fn words(&self, came: &Came) -> String {
        let error =
            |word: &str, error: &ErrorBody| format!("{word} {}: {}", error.code, error.message);
        let text = match came {
            Came::Nothing => format!("nothing within {:?}", self.site.target.wait),
            Came::Lost(body) => error("lost", body),
            Came::Reply(outcome) => match outcome {
                Outcome::Succeeded(output) => format!("succeeded {}", output.text()),
                Outcome::Done(output) => format!("done {}", output.text()),
                Outcome::Refused(body) => error("refused", body),
                Outcome::Failed(body) => error("failed", body),
                Outcome::Conflict(body) if body.code == "unspecified" => "conflict".to_owned(),
                Outcome::Conflict(body) => error("conflict", body),
                Outcome::NeedsOperator(body) => error("needs_operator", body),
                Outcome::OutputNotTaken(body) => {
                    error("done, with an output that cannot be taken:", body)
                }
                Outcome::Accepted => "accepted, and no outcome in time".to_owned(),
                Outcome::Running => "running, and no outcome in time".to_owned(),
                Outcome::Blocked => "blocked".to_owned(),
                Outcome::Expired => "expired".to_owned(),
                Outcome::NothingToDo => "nothing_to_do".to_owned(),
                Outcome::Compensated => "compensated".to_owned(),
                Outcome::Absent => "absent".to_owned(),
                Outcome::Sealed => "sealed".to_owned(),
            },
        };
        clean_text(text, SHOWN_BYTES_MAX)
    }
}

/// An input that is not the one of the action.
fn other(input: &Value) -> Value {
    match input {
        Value::Object(fields) => {
            let mut fields = fields.clone();
            fields.insert("saga_verify".to_owned(), json!("another input"));
            Value::Object(fields)
        }
        other => json!({ "saga_verify": other }),
    }
}
