//! The register of definitions in memory: what the store holds, made ready.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use saga_dsl::plan::Plan;
use tokio::sync::watch;

/// Every registered definition as a plan, by name and version.
#[derive(Debug, Default)]
pub struct Definitions {
    plans: RwLock<BTreeMap<String, BTreeMap<u32, Arc<Plan>>>>,
    changes: watch::Sender<u64>,
}

impl Definitions {
    /// Adds a plan; one with the same name and version is replaced, which the store has made sure is the same.
    pub fn insert(&self, plan: Arc<Plan>) {
        let mut plans = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        plans.entry(plan.definition.saga.clone()).or_default().insert(plan.definition.version, plan);
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

    /// Changes with each plan that is added.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// All plans, by name, then version.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Plan>> {
        let plans = self.plans.read().unwrap_or_else(PoisonError::into_inner);
        plans.values().flat_map(|versions| versions.values().cloned()).collect()
    }
}
