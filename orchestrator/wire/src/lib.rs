//! What both wires share: the messages of the contract as the engine's types, and refusals with their codes.

pub mod convert;
pub mod hello;
pub mod refusal;
