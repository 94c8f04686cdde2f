//! The API over real sockets: a whole server with its lane and SQLite, and participants on the wire.

#![allow(clippy::expect_used)]

mod operators;
mod rig;
mod running;
mod steering;
