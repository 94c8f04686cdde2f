//! The register of definitions in memory: what the store holds, made ready.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use saga_dsl::{
    definition::Duration,
    limits::{BreakerPolicy, Limits, Participant},
    plan::Plan,
};
use tokio::sync::watch;

/// A setting that a definition has for a participant and that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overruled {
    /// The participant.
    pub participant: String,
    /// `max_in_flight`, `rate_limit` or `circuit_breaker`.
    pub setting: &'static str,
    /// What the definition says.
    pub said: String,
    /// What holds.
    pub holds: String,
    /// Who says that.
    pub by: String,
}

/// Each setting in words, in one order.
fn settings(limits: &Limits) -> [(&'static str, Option<String>); 3] {
    let breaker = |policy: BreakerPolicy| {
        let BreakerPolicy {
            failure_percent,
            window_ms,
            min_calls,
            open_for_ms,
            half_open_calls,
        } = policy;
        let span = |ms: u64| Duration { ms };
        format!(
            "{failure_percent}% of {min_calls} in {}, open for {}, {half_open_calls} probes",
            span(window_ms),
            span(open_for_ms)
        )
    };
    [
        (
            "max_in_flight",
            limits.max_in_flight.map(|most| most.to_string()),
        ),
        ("rate_limit", limits.rate_limit.map(|rate| rate.to_string())),
        ("circuit_breaker", limits.breaker.map(breaker)),
    ]
}

/// Every registered definition as a plan, by name and version, and how much participants may be asked.
#[derive(Debug, Default)]
pub struct Definitions {
    plans: RwLock<BTreeMap<String, BTreeMap<u32, Arc<Plan>>>>,
    changes: watch::Sender<u64>,
    /// What the server's own file says of participants.
    server: BTreeMap<String, Participant>,
}

impl Definitions {
    /// An empty register of a server that has words of its own on participants.
    #[must_use]
    pub fn under(server: BTreeMap<String, Participant>) -> Self {
        Self {
            server,
            ..Self::default()
        }
    }

    /// How much each participant may be asked: the newest version of each definition speaks, see [`Limits::among`].
    #[must_use]
    pub fn limits(&self) -> BTreeMap<String, Limits> {
        let plans = self.plans.read().unwrap_or_else(PoisonError::into_inner);
        let newest = plans
            .values()
            .filter_map(|versions| versions.last_key_value());
        Limits::among(
            &self.server,
            newest.map(|(_, plan)| &plan.definition.participants),
        )
    }

    /// Adds a plan; one with the same name and version is replaced, which the store has made sure is the same.
    pub fn insert(&self, plan: Arc<Plan>) {
        let mut plans = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        plans
            .entry(plan.definition.saga.clone())
            .or_default()
            .insert(plan.definition.version, plan);
        drop(plans);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The plan of a version; `version` 0: the newest.
    #[must_use]
    pub fn get(&self, name: &str, version: u32) -> Option<Arc<Plan>> {
        let plans = self.plans.read().unwrap_or_else(PoisonError::into_inner);
        let versions = plans.get(name)?;
        match version {
            0 => versions.last_key_value().map(|(_, plan)| Arc::clone(plan)),
            exact => versions.get(&exact).cloned(),
        }
    }

    /// What a definition says of participants and what does not hold, because the server's file or another definition
    /// says otherwise. The definition counts as registered.
    #[must_use]
    pub fn overruled(&self, plan: &Plan) -> Vec<Overruled> {
        let plans = self.plans.read().unwrap_or_else(PoisonError::into_inner);
        let name = plan.definition.saga.as_str();
        let newest = plans
            .iter()
            .filter(|(other, _)| *other != name)
            .filter_map(|(_, v)| v.last_key_value());
        let others: Vec<&Plan> = newest.map(|(_, plan)| &**plan).collect();
        let all = others.iter().copied().chain([plan]);
        let holds = Limits::among(&self.server, all.map(|plan| &plan.definition.participants));
        let mut overruled = Vec::new();
        for (participant, written) in &plan.definition.participants {
            let (own, holding) = (
                settings(&Limits::from(written)),
                holds.get(participant).map(settings),
            );
            for ((setting, own), (_, holding)) in own.into_iter().zip(holding.into_iter().flatten())
            {
                let Some(said) = own.filter(|own| Some(own) != holding.as_ref()) else {
                    continue;
                };
                let says = |limits: &Participant| {
                    settings(&Limits::from(limits))
                        .into_iter()
                        .any(|(s, value)| s == setting && value == holding)
                };
                let by_server = self.server.get(participant).is_some_and(says);
                let other = others.iter().find(|plan| {
                    plan.definition
                        .participants
                        .get(participant)
                        .is_some_and(says)
                });
                let by = match other.filter(|_| !by_server) {
                    Some(plan) => format!("{}@{}", plan.definition.saga, plan.definition.version),
                    None => "the server's file of limits".to_owned(),
                };
                let holds = holding.unwrap_or_default();
                overruled.push(Overruled {
                    participant: participant.clone(),
                    setting,
                    said,
                    holds,
                    by,
                });
            }
        }
        overruled
    }

    /// Each setting that holds for a participant: its name, its value, and who says so.
    #[must_use]
    pub fn settings_of(&self, participant: &str) -> Vec<(&'static str, String, String)> {
        let holds = self.limits().remove(participant).unwrap_or_default();
        let plans = self.plans.read().unwrap_or_else(PoisonError::into_inner);
        let newest = || plans.values().filter_map(|v| v.last_key_value());
        let mut found = Vec::new();
        for (setting, value) in settings(&holds) {
            let Some(value) = value else { continue };
            let says = |limits: &Participant| {
                settings(&Limits::from(limits))
                    .into_iter()
                    .any(|(s, said)| s == setting && said.as_ref() == Some(&value))
            };
            let by_server = self.server.get(participant).is_some_and(says);
            let plan = newest().map(|(_, plan)| plan).find(|plan| {
                let written = plan.definition.participants.get(participant);
                written.is_some_and(says)
            });
            let owner = match plan.filter(|_| !by_server) {
                Some(plan) => format!("{}@{}", plan.definition.saga, plan.definition.version),
                None => "the server's file of limits".to_owned(),
            };
            found.push((setting, value, owner));
        }
        found
    }

    /// Changes with each plan that is added.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// All plans, by name, then version.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Plan>> {
        let plans = self.plans.read().unwrap_or_else(PoisonError::into_inner);
        plans
            .values()
            .flat_map(|versions| versions.values().cloned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, version: u32, participants: &str) -> Arc<Plan> {
        let file = format!(
            "saga: {name}\nversion: {version}\nparticipants: {participants}\nsteps:\n  - {{step: a, kind: pivot, action: payments/charge}}\n"
        );
        let loaded = saga_dsl::file::load("test", file.as_bytes());
        Arc::new(
            loaded
                .plan
                .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)),
        )
    }

    #[test]
    fn newest_versions_speak_the_stricter_holds_and_the_server_wins() {
        let server = BTreeMap::from([(
            "payments".to_owned(),
            Participant {
                rate_limit: "9/s".parse().ok(),
                ..Participant::default()
            },
        )]);
        let definitions = Definitions::under(server);
        definitions.insert(plan("one", 1, "{payments: {max_in_flight: 1}}"));
        definitions.insert(plan("one", 2, "{payments: {max_in_flight: 100}}"));
        definitions.insert(plan("two", 1, "{payments: {max_in_flight: 50}}"));
        let limits = definitions.limits()["payments"];
        assert_eq!(
            (limits.max_in_flight, limits.rate_limit),
            (Some(50), "9/s".parse().ok())
        );
        let new = plan(
            "three",
            1,
            "{payments: {max_in_flight: 60, rate_limit: 5/s, circuit_breaker: {}}}",
        );
        let told: Vec<String> = definitions
            .overruled(&new)
            .into_iter()
            .map(|o| {
                format!(
                    "{} {}: {} not {}, says {}",
                    o.participant, o.setting, o.holds, o.said, o.by
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "payments max_in_flight: 50 not 60, says two@1",
                "payments rate_limit: 9/s not 5/s, says the server's file of limits",
            ]
        );
    }
}
