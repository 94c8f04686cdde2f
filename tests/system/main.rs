//! Whole-system tests of the embedded road: the real server, the real SDK, real sockets.

mod bulk;
mod cancels;
mod connections;
mod deploys;
mod disk;
mod files;
mod flow;
mod hardship;
mod lists;
mod made;
mod operators;
mod pivots;
mod restarts;
mod serving;
mod starts;
mod strangers;
mod trips;
mod undo;
