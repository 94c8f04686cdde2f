//! Breakers on an operator's word, and what is shown of all of them.

use saga_core::{SagaId, Timestamp};

use super::{
    intake::{BreakerJob, BreakerOrder, BreakerReport, BreakerSteered},
    scribe::Change,
    worker::Worker,
};
use crate::store::record::AuditRow;

impl Worker {
    /// Trips or resets a breaker. The lane goes by it at once; whoever asked is told when it is written.
    pub(super) fn steer_breaker(&mut self, job: BreakerJob) {
        let BreakerJob {
            participant,
            action,
            order,
            by,
            reason,
            answer,
        } = job;
        let now = self.clock.now();
        let known = self
            .guards
            .posts
            .get(&participant)
            .is_some_and(|post| post.points.contains_key(&action));
        if !known && matches!(order, BreakerOrder::Reset) {
            // Whoever asked may have gone.
            answer.send(BreakerSteered::NotOpen).ok();
            return;
        }
        let verb = match order {
            BreakerOrder::Trip { .. } => "breaker_trip",
            BreakerOrder::Reset => "breaker_reset",
        };
        let guarded = self.guards.posts.contains_key(&participant);
        let gate = self.links.gate_mut();
        let face = self
            .guards
            .steer((&participant, &action), gate, now, |breaker| match order {
                BreakerOrder::Trip { for_ms } => {
                    breaker.trip(for_ms.map(|ms| now.plus_ms(ms)), &by, &reason, now);
                    true
                }
                BreakerOrder::Reset => breaker.reset(&by, &reason, now),
            });
        if !guarded {
            // Sagas that ask this participant are looked at from now on.
            self.recount();
        }
        self.call_waiting();
        let Some(face) = face else {
            answer.send(BreakerSteered::NotOpen).ok();
            return;
        };
        let audit = AuditRow {
            saga_id: SagaId::NONE,
            seq: 0,
            at: now,
            verb: verb.to_owned(),
            step: Some(format!("{participant}/{action}")),
            who: by,
            reason,
            forced: false,
        };
        let (written, done) = tokio::sync::oneshot::channel();
        self.changes
            .send(Change::of(&participant, &action, &face).by_operator(audit, written))
            .ok();
        let report = self
            .breakers()
            .into_iter()
            .find(|r| r.participant == participant && r.action == action);
        tokio::spawn(async move {
            // The breaker has moved. Without a report, or when the write is given up, no answer is the true one.
            if let (Ok(()), Some(report)) = (done.await, report) {
                answer.send(BreakerSteered::Done(Box::new(report))).ok();
            }
        });
    }

    /// Every breaker.
    pub(super) fn breakers(&self) -> Vec<BreakerReport> {
        let now: Timestamp = self.clock.now();
        let mut all = Vec::new();
        for (participant, post) in &self.guards.posts {
            for (action, point) in &post.points {
                let Some(breaker) = &point.breaker else {
                    continue;
                };
                let (calls, failed) = breaker.calls();
                all.push(BreakerReport {
                    participant: participant.clone(),
                    action: action.clone(),
                    phase: breaker.phase(),
                    face: breaker.face().clone(),
                    policy: breaker.policy(),
                    calls,
                    failed,
                    waiting: point.waiting(),
                    last: point.last.clone(),
                    now,
                });
            }
        }
        all
    }

    /// Counts anew what limits and breakers go by.
    pub(super) fn recount(&mut self) {
        if self.guards.posts.is_empty() {
            return;
        }
        let now = self.clock.now();
        self.guards
            .recount(self.sagas.values_mut(), self.links.gate_mut(), now);
        self.call_waiting();
    }
}
