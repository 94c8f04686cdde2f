//! Whole-system tests: the real server, the real SDK, real sockets. Participants dial the server, or with
//! `SAGA_TEST_BROKER=amqp` meet it at a RabbitMQ broker; `amqp.rs` and `plain.rs` are about the broker itself and
//! always have one, as `database.rs` always has a PostgreSQL server.

mod acknowledge;
mod advice;
mod amqp;
mod broker_trouble;
mod bulk;
mod cancels;
mod connections;
mod database;
mod deploys;
mod disk;
mod duplicates;
mod encrypted;
mod events;
mod files;
mod flow;
mod guards;
mod hardship;
mod hung_handlers;
mod idle;
mod left_work;
mod lethal;
mod lists;
mod live_screen;
mod made;
mod missed_answers;
mod numbers;
mod operators;
mod pivots;
mod plain;
mod restarts;
mod serving;
mod sizes;
mod standby;
mod starts;
mod starts_by_message;
mod steady_load;
mod store_trouble;
mod strangers;
mod trips;
mod trusted;
mod undo;
mod vanished;
mod verify;
