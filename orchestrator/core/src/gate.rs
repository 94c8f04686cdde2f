//! What the shell says about sending now, as plain data.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ground::{Op, Wait},
    ids::Timestamp,
};

/// Who can be reached at the moment of a decision, and how much they may be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    /// Connected participants by name.
    pub participants: BTreeMap<String, Live>,
    /// Why nobody can be heard who comes by way of the broker; `None`: everybody can.
    pub unheard: Option<Wait>,
    /// The participants that have a limit or a breaker; where there is none, nothing is counted.
    pub guards: BTreeMap<String, Guard>,
    /// The latest moment that a clock may show now, if one is ahead of the decision's: a command's lifetime begins there,
    /// since participants hold it against clocks of their own.
    pub latest: Option<Timestamp>,
}

/// How much more a participant may be asked now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// So many more commands may be outstanding; `None`: any number.
    pub room: Option<u32>,
    /// When the next commands may go; `None`: at any time.
    pub pace: Option<Pace>,
    /// Its actions whose breaker is not closed.
    pub valves: BTreeMap<String, Valve>,
}

/// Commands evenly spread in time, but for a few that may go at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// When the next command would go if all were evenly spread.
    pub next: Timestamp,
    /// Microseconds from one to the next.
    pub interval_us: u64,
    /// So many microseconds before its moment a command may go.
    pub ahead_us: u64,
}

/// What a breaker that is not closed lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Valve {
    /// So many more commands.
    pub room: u32,
    /// Why no more than that.
    pub reason: Wait,
}

/// A command that a decision has admitted: it takes room from those that the same decision admits after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted<'a> {
    /// Before the slash.
    pub participant: &'a str,
    /// After the slash.
    pub action: &'a str,
}

impl Pace {
    /// May another command go, after `taken` have gone at this very moment?
    #[must_use]
    pub fn allows(&self, now: Timestamp, taken: u32) -> bool {
        let taken_us =
            i64::try_from(self.interval_us.saturating_mul(u64::from(taken))).unwrap_or(i64::MAX);
        let next = self.next.0.max(now.0).saturating_add(taken_us);
        let ahead = i64::try_from(self.ahead_us).unwrap_or(i64::MAX);
        next.saturating_sub(now.0) <= ahead
    }
}

/// A participant with at least one live instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// Actions and compensations that its live instances serve.
    pub actions: BTreeSet<String>,
    /// Whether its inbox shares a transaction with the business writes.
    pub transactional: bool,
}

impl Gate {
    /// May a command go out now?
    ///
    /// # Errors
    /// The reason to wait.
    pub fn admit(
        &self,
        participant: &str,
        action: &str,
        op: Op,
        at_least_once: bool,
    ) -> Result<(), Wait> {
        let live = self
            .participants
            .get(participant)
            .ok_or(self.unheard.unwrap_or(Wait::NoParticipant))?;
        match op {
            Op::Action | Op::Compensation if !live.actions.contains(action) => Err(Wait::NoAction),
            // An inbox that may have forgotten proves nothing: neither what it has not seen nor what it seals.
            Op::Action | Op::Query | Op::Seal if !live.transactional && !at_least_once => {
                Err(Wait::NotTransactional)
            }
            // Undo of what was sent is never held back by the kind of the inbox.
            Op::Action | Op::Compensation | Op::Query | Op::Seal => Ok(()),
        }
    }

    /// Do limits and breakers let another command through, after those that the same decision has admitted?
    ///
    /// A query waits where its attempt would, since it serves nothing else, and takes no room. A seal is never held:
    /// a saga that goes back depends on it, and no handler runs for it.
    ///
    /// # Errors
    /// The reason to wait.
    pub fn guard(
        &self,
        participant: &str,
        action: &str,
        op: Op,
        now: Timestamp,
        admitted: &[Admitted<'_>],
    ) -> Result<(), Wait> {
        let Some(guard) = self.guards.get(participant) else {
            return Ok(());
        };
        match op {
            Op::Seal => Ok(()),
            Op::Action | Op::Compensation | Op::Query => {
                guard.admit(participant, action, now, admitted)
            }
        }
    }
}

impl Guard {
    fn admit(
        &self,
        participant: &str,
        action: &str,
        now: Timestamp,
        admitted: &[Admitted<'_>],
    ) -> Result<(), Wait> {
        let here = admitted
            .iter()
            .filter(|earlier| earlier.participant == participant);
        let (mut taken, mut same) = (0_u32, 0_u32);
        for earlier in here {
            taken += 1;
            same += u32::from(earlier.action == action);
        }
        if let Some(valve) = self.valves.get(action)
            && valve.room <= same
        {
            return Err(valve.reason);
        }
        if self.room.is_some_and(|room| room <= taken) {
            return Err(Wait::MaxInFlight);
        }
        if self.pace.is_some_and(|pace| !pace.allows(now, taken)) {
            return Err(Wait::RateLimited);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(guard: Guard) -> Gate {
        Gate {
            guards: [("p".to_owned(), guard)].into(),
            ..Gate::default()
        }
    }

    #[test]
    fn what_one_decision_admits_takes_room_from_the_rest_of_it() {
        let gate = gate(Guard {
            room: Some(2),
            ..Guard::default()
        });
        let taken = Admitted {
            participant: "p",
            action: "a",
        };
        let ask = |op, admitted: &[_]| gate.guard("p", "b", op, Timestamp(0), admitted);
        assert_eq!(ask(Op::Action, &[taken]), Ok(()));
        for op in [Op::Action, Op::Compensation, Op::Query] {
            assert_eq!(ask(op, &[taken; 2]), Err(Wait::MaxInFlight));
        }
        assert_eq!(ask(Op::Seal, &[taken; 9]), Ok(()));
        let elsewhere = Admitted {
            participant: "q",
            action: "b",
        };
        assert_eq!(ask(Op::Action, &[elsewhere; 9]), Ok(()));
        assert_eq!(
            gate.guard("q", "b", Op::Action, Timestamp(0), &[elsewhere; 9]),
            Ok(())
        );
    }

    #[test]
    fn a_valve_is_one_action_s() {
        let valve = |room| Valve {
            room,
            reason: Wait::BreakerOpen,
        };
        let gate = gate(Guard {
            valves: [("a".to_owned(), valve(0)), ("b".to_owned(), valve(1))].into(),
            ..Guard::default()
        });
        let ask =
            |action, admitted: &[_]| gate.guard("p", action, Op::Action, Timestamp(0), admitted);
        let taken = |action| Admitted {
            participant: "p",
            action,
        };
        assert_eq!(ask("a", &[]), Err(Wait::BreakerOpen));
        assert_eq!(ask("b", &[taken("a")]), Ok(()));
        assert_eq!(ask("b", &[taken("b")]), Err(Wait::BreakerOpen));
        assert_eq!(ask("c", &[taken("b")]), Ok(()));
    }

    #[test]
    fn a_pace_lets_a_few_go_at_once_and_then_one_an_interval() {
        let pace = |next| Pace {
            next: Timestamp(next),
            interval_us: 10,
            ahead_us: 20,
        };
        let may = |next, now, taken| pace(next).allows(Timestamp(now), taken);
        assert!(may(0, 1_000, 0) && may(0, 1_000, 2) && !may(0, 1_000, 3));
        assert!(may(1_020, 1_000, 0) && !may(1_021, 1_000, 0) && !may(1_020, 1_000, 1));
    }
}
