//! Whole-system tests of the embedded road: the real server, the real SDK, real sockets.

mod bulk;
mod cancels;
mod connections;
mod files;
mod flow;
mod lists;
mod pivots;
mod starts;
mod trips;
mod undo;
