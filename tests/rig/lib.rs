//! The rig of the tests: private servers, scripted participants, ledgers, waiting with a bound.
//!
//! Server and participants run in this process, each on a runtime of its own that can be thrown away: what is dropped
//! with a runtime stops where it stands, as near to a killed process as one process allows. Everything between them
//! goes over real sockets.

pub mod broker_log;
pub mod certificates;
pub mod client;
pub mod gate;
pub mod host;
pub mod instance;
pub mod ledger;
pub mod pgbouncer;
pub mod plain;
pub mod ports;
pub mod postgres;
pub mod proxy;
pub mod puppet;
pub mod rabbitmq;
pub mod raw_amqp;
pub mod script;
pub mod served;
pub mod server;
mod unprivileged;
pub mod wait;

pub use client::{Clients, id_of, json, start};
pub use gate::Gate;
pub use instance::Instance;
pub use ledger::{Effect, Kind};
pub use script::{Call, Say, Script};
pub use server::Rig;
pub use wait::{eventually, within};
