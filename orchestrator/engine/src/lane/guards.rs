//! Limits and breakers of participants: what the gate says of them, who waits for them, and who is let through next.
//!
//! Only participants that have any are known here, and only sagas that ask one of these are looked at; for all others a
//! decision costs what it did. A saga's commands are counted from the decision that sends them to the decision that ends
//! them, so what counts is decided and not what is on a wire. What is counted can be counted anew from the states of all
//! sagas, which is what happens after a batch that is taken back.
//!
//! Who waits stands in a queue per action, undo first. When there is room, the first is *called*: room is kept for it
//! and it is woken. So who waits is served in order, and newcomers do not overtake; and as nobody else is woken, a
//! participant that recovers meets as many commands as its breaker allows, and not a crowd.

use std::collections::{BTreeMap, BTreeSet};

use saga_core::{
    ErrorBody, Gate, Op, Rules, SagaId, SagaState, Timestamp,
    command::{addressee, held},
    event::Event,
    gate::Guard,
    input::{Input, Outcome},
    rules::Rule,
};
use saga_dsl::{
    limits::Limits,
    plan::{Plan, StepIx},
};
use tokio::sync::mpsc;

use super::{
    post::{Point, Post},
    scribe::Change,
    slot::{Slot, Ticket},
};
use crate::{
    breaker::{Breaker, Health},
    store::record::BreakerRow,
};

/// How long a saga that was called and sent nothing is not called again, unless it changes before.
const ASIDE_MS: u64 = 1_000;

/// Every guarded participant.
pub(super) struct Guards {
    pub(super) rules: Rules,
    pub(super) posts: BTreeMap<String, Post>,
    /// For whom room is kept, and where.
    pub(super) calls: BTreeMap<SagaId, (String, String)>,
    /// To be woken.
    woken: Vec<SagaId>,
    arrivals: u64,
    /// Commands of sagas that were taken back, should the store know them after all.
    pub(super) doubted: BTreeMap<SagaId, Vec<Ticket>>,
    /// What became of breakers, on its way to the store.
    changes: mpsc::UnboundedSender<Change>,
}

impl Guards {
    pub(super) fn new(
        rules: Rules,
        limits: BTreeMap<String, Limits>,
        left: Vec<BreakerRow>,
        changes: mpsc::UnboundedSender<Change>,
        now: Timestamp,
    ) -> Self {
        let posts = limits
            .into_iter()
            .map(|(name, limits)| (name, Post::new(limits)))
            .collect();
        let (calls, woken, doubted) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let mut guards = Self {
            rules,
            posts,
            calls,
            woken,
            arrivals: 0,
            doubted,
            changes,
        };
        for row in left {
            let post = guards
                .posts
                .entry(row.participant)
                .or_insert_with(|| Post::new(Limits::default()));
            let breaker = Breaker::restore(post.limits.breaker, rules, row.face, now);
            post.points.entry(row.action).or_default().breaker = Some(breaker);
        }
        guards
    }

    /// Other limits hold from now on. Breakers whose policy is another one begin anew, but those that are open stay so.
    pub(super) fn set_limits(&mut self, limits: &BTreeMap<String, Limits>, now: Timestamp) {
        for (name, limits) in limits {
            self.posts
                .entry(name.clone())
                .or_insert_with(|| Post::new(*limits));
        }
        for (name, post) in &mut self.posts {
            post.limits = limits.get(name).copied().unwrap_or_default();
            for point in post.points.values_mut() {
                let same = point
                    .breaker
                    .as_ref()
                    .is_none_or(|b| b.policy() == post.limits.breaker);
                if let (false, Some(breaker)) = (same, point.breaker.take()) {
                    let face = breaker.face().clone();
                    point.breaker =
                        Some(Breaker::restore(post.limits.breaker, self.rules, face, now));
                }
            }
        }
    }

    /// Whether any step of the plan asks a guarded participant.
    pub(super) fn concern(&self, plan: &Plan) -> bool {
        !self.posts.is_empty()
            && plan.steps.iter().any(|step| {
                let undo = step
                    .compensation
                    .as_ref()
                    .is_some_and(|c| self.posts.contains_key(&c.participant));
                undo || self.posts.contains_key(&step.action.participant)
            })
    }

    /// Lets the gate show the room that is kept for a saga, which is about to be decided on.
    pub(super) fn open_for(&mut self, id: SagaId, gate: &mut Gate, now: Timestamp) {
        if let Some((participant, action)) = self.calls.get(&id).cloned() {
            self.keep(&participant, &action, -1);
            self.show(&participant, gate, now);
        }
    }

    /// Takes note of a decision, or that there was none.
    pub(super) fn close_for(
        &mut self,
        slot: &mut Slot,
        (input, events): (Option<&Input>, &[Event]),
        gate: &mut Gate,
        now: Timestamp,
    ) {
        let id = slot.state.id;
        let mut touched = BTreeSet::new();
        let called = self.calls.remove(&id);
        touched.extend(called.as_ref().map(|(participant, _)| participant.clone()));
        self.answered(slot, (input, events), &mut touched, now);
        self.sent(slot, events, &mut touched, now);
        if !events.is_empty() {
            self.recall(slot);
        }
        self.queue(slot, &mut touched);
        // A saga that was called and sends nothing is set aside, so that the others get their turn, and so that no saga
        // is called in a circle: each call ends in a command or in a pause.
        // Other inputs come from outside, and the call's own is still to be decided.
        let spent = matches!(input, None | Some(Input::Wake)) && !events.iter().any(sends);
        if let Some((participant, action)) = called.filter(|_| spent)
            && let Some(post) = self.posts.get_mut(&participant)
            && let Some(point) = post.points.get_mut(&action)
        {
            point.set_aside(id, now.plus_ms(ASIDE_MS));
        }
        for participant in touched {
            self.pump(&participant, gate, now);
        }
    }

    /// The saga has changed: where it was set aside, it waits in its place again.
    fn recall(&mut self, slot: &Slot) {
        for &(step, op) in &slot.held {
            let Some((participant, action)) = addressee(&slot.plan, step, op) else {
                continue;
            };
            if let Some(point) = self
                .posts
                .get_mut(participant)
                .and_then(|post| post.points.get_mut(action))
            {
                point.recall(slot.state.id);
            }
        }
    }

    /// The saga is not open any more: room that is kept for it is free.
    pub(super) fn leave(&mut self, id: SagaId, gate: &mut Gate, now: Timestamp) {
        if let Some((participant, action)) = self.calls.remove(&id) {
            self.keep(&participant, &action, -1);
            self.pump(&participant, gate, now);
        }
    }

    /// Commands that this decision ended.
    fn answered(
        &mut self,
        slot: &mut Slot,
        (input, events): (Option<&Input>, &[Event]),
        touched: &mut BTreeSet<String>,
        now: Timestamp,
    ) {
        let mut at = 0;
        while at < slot.tickets.len() {
            let ticket = slot.tickets[at];
            if is_outstanding(&slot.state, ticket) {
                at += 1;
                continue;
            }
            slot.tickets.swap_remove(at);
            let health = if ticket.spent {
                Health::Unsaid
            } else {
                health(input, events, ticket)
            };
            slot.ended
                .retain(|t| (t.step, t.op) != (ticket.step, ticket.op));
            slot.ended.push(Ticket {
                spent: ticket.spent || health != Health::Unsaid,
                ..ticket
            });
            let Some((participant, action)) = addressee(&slot.plan, ticket.step, ticket.op) else {
                continue;
            };
            let Some(post) = self.posts.get_mut(participant) else {
                continue;
            };
            touched.insert(participant.to_owned());
            post.in_flight = post.in_flight.saturating_sub(1);
            if health == Health::Ill
                && let Some(error) = failure(input, events, ticket)
                && let Some(point) = post.points.get_mut(action)
            {
                point.failed(error);
            }
            let breaker = post
                .points
                .get_mut(action)
                .and_then(|point| point.breaker.as_mut());
            if let Some(breaker) = breaker
                && breaker.answered(ticket.generation, health, now)
            {
                tracing::warn!(
                    participant,
                    action,
                    reason = breaker.face().reason,
                    "a breaker opened"
                );
                self.changes
                    .send(Change::of(participant, action, breaker.face()))
                    .ok();
            }
        }
    }

    /// Commands that this decision sent.
    fn sent(
        &mut self,
        slot: &mut Slot,
        events: &[Event],
        touched: &mut BTreeSet<String>,
        now: Timestamp,
    ) {
        for event in events {
            let (step, op) = match event {
                Event::StepDispatched(e) => (e.step, Op::Action),
                Event::UndoDispatched(e) => (e.step, Op::Compensation),
                _ => continue,
            };
            let Some((participant, action)) = addressee(&slot.plan, step, op) else {
                continue;
            };
            let Some(post) = self.posts.get_mut(participant) else {
                continue;
            };
            let ticket = Ticket::of(&slot.state, step, op, 0);
            if !is_outstanding(&slot.state, ticket) || slot.tickets.iter().any(|t| t.same(ticket)) {
                continue;
            }
            touched.insert(participant.to_owned());
            post.in_flight += 1;
            if let Some(rate) = post.limits.rate_limit {
                let interval = i64::try_from(rate.interval_us()).unwrap_or(i64::MAX);
                post.next = Timestamp(post.next.0.max(now.0).saturating_add(interval));
            }
            let (policy, rules) = (post.limits.breaker, self.rules);
            let point = post.points.entry(action.to_owned()).or_default();
            if point.breaker.is_none() && policy.is_some() {
                point.breaker = Some(Breaker::new(policy, rules, now));
            }
            let generation = point.breaker.as_mut().map_or(0, Breaker::sent);
            slot.tickets.push(Ticket {
                generation,
                ..ticket
            });
        }
    }

    /// What the saga waits for now.
    pub(super) fn queue(&mut self, slot: &mut Slot, touched: &mut BTreeSet<String>) {
        let id = slot.state.id;
        let before = std::mem::take(&mut slot.held);
        slot.held.extend(held(&slot.state));
        let points = |held: &[(StepIx, Op)]| -> BTreeSet<(String, String, bool)> {
            let to = |&(step, op): &(StepIx, Op)| {
                let (participant, action) = addressee(&slot.plan, step, op)?;
                Some((
                    participant.to_owned(),
                    action.to_owned(),
                    op == Op::Compensation,
                ))
            };
            held.iter().filter_map(to).collect()
        };
        if before.is_empty() && slot.held.is_empty() {
            return;
        }
        let (old, new) = (points(&before), points(&slot.held));
        for (participant, action, _) in old.difference(&new) {
            if let Some(point) = self
                .posts
                .get_mut(participant)
                .and_then(|post| post.points.get_mut(action))
            {
                point.remove(id);
            }
            touched.insert(participant.clone());
        }
        for (participant, action, undo) in new {
            // One that has been set free meanwhile is not guarded any more, and nobody waits there.
            let Some(post) = self.posts.get_mut(&participant) else {
                continue;
            };
            self.arrivals += 1;
            post.points
                .entry(action)
                .or_default()
                .push(id, undo, self.arrivals);
            touched.insert(participant);
        }
    }

    /// Calls those for whom there is room, and lets the gate show what is left.
    pub(super) fn pump(&mut self, participant: &str, gate: &mut Gate, now: Timestamp) {
        let there =
            gate.participants.contains_key(participant) && self.rules.keep(Rule::WakeOnRoom);
        while there && let Some(post) = self.posts.get_mut(participant) {
            let paced = post.pace(now).is_none_or(|pace| pace.allows(now, 0));
            if post.room() == Some(0) || !paced {
                break;
            }
            let Some(action) = post.first_waiting() else {
                break;
            };
            let Some(id) = post.points.get_mut(&action).and_then(Point::pop) else {
                break;
            };
            self.woken.push(id);
            if !self.calls.contains_key(&id) {
                self.keep(participant, &action, 1);
                self.calls.insert(id, (participant.to_owned(), action));
            }
        }
        if let Some(post) = self.posts.get_mut(participant) {
            for (action, point) in &mut post.points {
                let waiting = point.waiting() > 0;
                let Some(breaker) = point.breaker.as_mut().filter(|_| !waiting) else {
                    continue;
                };
                if breaker.nobody_waits(now) {
                    tracing::info!(participant, action, "a breaker closed");
                    self.changes
                        .send(Change::of(participant, action, breaker.face()))
                        .ok();
                }
            }
        }
        self.show(participant, gate, now);
    }

    /// Keeps room for one more, or for one less.
    fn keep(&mut self, participant: &str, action: &str, by: i32) {
        if let Some(post) = self.posts.get_mut(participant) {
            post.called = post.called.saturating_add_signed(by);
            let point = post.points.entry(action.to_owned()).or_default();
            point.called = point.called.saturating_add_signed(by);
        }
    }

    fn show(&self, participant: &str, gate: &mut Gate, now: Timestamp) {
        let Some(post) = self.posts.get(participant) else {
            return;
        };
        if !gate.guards.contains_key(participant) {
            gate.guards.insert(participant.to_owned(), Guard::default());
        }
        let Some(guard) = gate.guards.get_mut(participant) else {
            return;
        };
        guard.room = post.room();
        guard.pace = post.pace(now);
        guard.valves.clear();
        for (action, point) in &post.points {
            if let (Some(breaker), Some(room)) = (&point.breaker, point.room())
                && let Some(valve) = breaker.valve()
            {
                guard
                    .valves
                    .insert(action.clone(), saga_core::gate::Valve { room, ..valve });
            }
        }
    }

    /// The clock moved on, or somebody connected: breakers whose time is over probe, and who waits may go.
    pub(super) fn tick(&mut self, gate: &mut Gate, now: Timestamp) {
        let mut moved: Vec<String> = Vec::new();
        for (name, post) in &mut self.posts {
            let mut ticked = false;
            for point in post.points.values_mut() {
                ticked |= point
                    .breaker
                    .as_mut()
                    .is_some_and(|breaker| breaker.tick(now));
                ticked |= point.recall_until(now);
            }
            let waits = post.limits.rate_limit.is_some() && post.first_waiting().is_some();
            if ticked || waits {
                moved.push(name.clone());
            }
        }
        for name in moved {
            self.pump(&name, gate, now);
        }
    }

    /// An instance of the participant can be reached.
    pub(super) fn connected(&mut self, participant: &str, gate: &mut Gate, now: Timestamp) {
        if self.posts.contains_key(participant) {
            self.pump(participant, gate, now);
        }
    }

    /// When [`Guards::tick`] has something to do.
    pub(super) fn due(&self, gate: &Gate, now: Timestamp) -> Option<Timestamp> {
        let mut next: Option<Timestamp> = None;
        let mut consider = |at: Timestamp| next = Some(next.map_or(at, |n| n.min(at)));
        for (name, post) in &self.posts {
            post.points
                .values()
                .filter_map(|point| point.breaker.as_ref()?.due())
                .for_each(&mut consider);
            let woken = self.rules.keep(Rule::WakeOnRoom);
            let free = woken && gate.participants.contains_key(name) && post.room() != Some(0);
            if free {
                post.points
                    .values()
                    .filter_map(Point::aside_until)
                    .for_each(&mut consider);
            }
            // While a saga is called, its decision moves the pace on; the clock alone would wake the lane for nothing.
            if let (true, Some(pace)) = (free && post.called == 0, post.pace(now))
                && post.first_waiting().is_some()
            {
                let ahead = i64::try_from(pace.ahead_us).unwrap_or(0);
                consider(Timestamp(pace.next.0.saturating_sub(ahead)));
            }
        }
        next
    }

    /// Who is to be woken.
    pub(super) fn take_woken(&mut self) -> Vec<SagaId> {
        std::mem::take(&mut self.woken)
    }

    /// A breaker on an operator's word; made if there is none.
    pub(super) fn steer(
        &mut self,
        (participant, action): (&str, &str),
        gate: &mut Gate,
        now: Timestamp,
        act: impl FnOnce(&mut Breaker) -> bool,
    ) -> Option<crate::breaker::Face> {
        let post = self
            .posts
            .entry(participant.to_owned())
            .or_insert_with(|| Post::new(Limits::default()));
        let (policy, rules) = (post.limits.breaker, self.rules);
        let point = post.points.entry(action.to_owned()).or_default();
        let breaker = point
            .breaker
            .get_or_insert_with(|| Breaker::new(policy, rules, now));
        let face = act(breaker).then(|| breaker.face().clone());
        self.pump(participant, gate, now);
        face
    }
}

/// Does a step's command go out with it?
fn sends(event: &Event) -> bool {
    matches!(
        event,
        Event::StepDispatched(_) | Event::UndoDispatched(_) | Event::PivotAsked(_)
    )
}

fn is_outstanding(state: &SagaState, ticket: Ticket) -> bool {
    let step = state
        .steps
        .get(ticket.step.at())
        .filter(|_| !state.status.is_end());
    step.is_some_and(|step| step.outstanding() == Some(ticket.op))
        && Ticket::of(state, ticket.step, ticket.op, 0).same(ticket)
}

/// The error of a command that failed.
fn failure<'a>(
    input: Option<&'a Input>,
    events: &'a [Event],
    ticket: Ticket,
) -> Option<&'a ErrorBody> {
    let of_step = |step: StepIx, op: Op| (step, op) == (ticket.step, ticket.op);
    let recorded = events.iter().find_map(|event| match event {
        Event::StepFailed(e) | Event::StepUnknown(e) if of_step(e.step, Op::Action) => {
            Some(&e.error)
        }
        Event::UndoFailed(e) if of_step(e.step, Op::Compensation) => Some(&e.error),
        Event::UndoStuck(e) if of_step(e.step, Op::Compensation) => Some(&e.error),
        _ => None,
    });
    let Some(Input::Reply(reply)) = input else {
        return recorded;
    };
    recorded.or(match &reply.outcome {
        Outcome::Failed(error) | Outcome::OutputNotTaken(error) => Some(error),
        _ => None,
    })
}

/// How a command ended: by an answer to this very sending, or without one.
fn health(input: Option<&Input>, events: &[Event], ticket: Ticket) -> Health {
    if let Some(Input::Reply(reply)) = input
        && (reply.step, reply.op) == (ticket.step, ticket.op)
    {
        // A late answer to an earlier attempt says nothing about now.
        let own = (reply.round, reply.attempt) == (ticket.round, ticket.attempt);
        return match &reply.outcome {
            _ if !own => Health::Unsaid,
            // A participant that returns what nobody can read is broken, though it acts.
            Outcome::Failed(_) | Outcome::OutputNotTaken(_) => Health::Ill,
            Outcome::Succeeded(_)
            | Outcome::Refused(_)
            | Outcome::Accepted
            | Outcome::Running
            | Outcome::Blocked
            | Outcome::Conflict(_)
            | Outcome::Expired
            | Outcome::NeedsOperator(_)
            | Outcome::NothingToDo
            | Outcome::Compensated
            | Outcome::Absent
            | Outcome::Done(_)
            | Outcome::Sealed => Health::Well,
        };
    }
    let ended = |event: &Event| match event {
        Event::StepFailed(e) | Event::StepUnknown(e) => {
            (e.step, Op::Action) == (ticket.step, ticket.op)
        }
        Event::UndoFailed(e) => (e.step, Op::Compensation) == (ticket.step, ticket.op),
        Event::UndoStuck(e) => (e.step, Op::Compensation) == (ticket.step, ticket.op),
        _ => false,
    };
    if events.iter().any(ended) {
        Health::Ill
    } else {
        Health::Unsaid
    }
}
