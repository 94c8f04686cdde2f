//! The saga orchestrator: carries out what `saga-core` decides.

pub mod definitions;
pub mod lane;
pub mod store;
pub mod transport;
