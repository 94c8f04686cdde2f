//! The saga orchestrator: carries out what `saga-core` decides.

pub mod store;
