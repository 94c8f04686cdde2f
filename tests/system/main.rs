//! Whole-system tests: the real server, the real SDK, real sockets. Participants dial the server, or with
//! `SAGA_TEST_BROKER=amqp` meet it at a RabbitMQ broker; `amqp.rs` is about the broker itself and always has one.

mod amqp;
mod bulk;
mod cancels;
mod connections;
mod deploys;
mod disk;
mod files;
mod flow;
mod guards;
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
