//! Whole-system tests of the embedded road: the real server, the real SDK, real sockets.

mod trips;
