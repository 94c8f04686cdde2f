//! The client of a run: starts sagas over one stream and keeps a number of them in flight.
//!
//! Starts travel in batches: those that one message of ends made room for are the next message.

use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::ProgressBar;
use saga_proto::v1::{RunOutcome, RunSagasRequest, StartSagaRequest};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::{client::Server, exit::Failure};

/// Starts in one message; a burst in the beginning is cut into pieces that the server can work on meanwhile.
const STARTS_MAX: u64 = 512;
/// When no saga ends for so long, those in flight are taken for lost.
const STALL_LIMIT: Duration = Duration::from_secs(30);
const INPUT: &[u8] = br#"{"n":1}"#;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// The definition.
    pub name: &'a str,
    /// How many sagas.
    pub sagas: u64,
    /// How many at a time.
    pub concurrency: u64,
}

/// How the sagas of a load ended, counted here.
#[derive(Debug, Default)]
pub struct Tally {
    /// Starts that were sent.
    pub started: u64,
    /// Ended completed.
    pub completed: u64,
    /// Ended compensated.
    pub compensated: u64,
    /// Ended otherwise.
    pub abandoned: u64,
    /// Starts that the server refused.
    pub refused: u64,
    /// The first refusal, in words.
    pub refusal: Option<String>,
    /// Outcomes for sagas that had ended before, or were never started.
    pub surplus: u64,
    /// From writing the start to the outcome, in microseconds, in order of the ends.
    pub latencies_us: Vec<u32>,
    /// From the first start to the last end.
    pub elapsed: Duration,
}

impl Tally {
    /// Sagas that have ended.
    pub const fn ended(&self) -> u64 {
        self.completed + self.compensated + self.abandoned
    }

    const fn answered(&self) -> u64 {
        self.ended() + self.refused
    }

    fn note(&mut self, outcome: RunOutcome) {
        match outcome.status.as_str() {
            "completed" => self.completed += 1,
            "compensated" => self.compensated += 1,
            "" => {
                self.refused += 1;
                self.refusal.get_or_insert_with(|| {
                    outcome.fault.map_or_else(String::new, |fault| {
                        format!("{}: {}", fault.code, fault.message)
                    })
                });
            }
            _ => self.abandoned += 1,
        }
    }
}

/// Sagas in flight: when each was started; [`FREE`] once it has ended.
struct Clock {
    begun: Instant,
    started_us: Vec<u64>,
}

const FREE: u64 = u64::MAX;

impl Clock {
    fn new(sagas: u64) -> Self {
        Self {
            begun: Instant::now(),
            started_us: Vec::with_capacity(usize::try_from(sagas).unwrap_or(0)),
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(FREE - 1)
    }

    /// The latency of the saga with this tag; `None` when it is not in flight.
    fn stop(&mut self, tag: u64, now_us: u64) -> Option<u32> {
        let started = self.started_us.get_mut(usize::try_from(tag).ok()?)?;
        let at = std::mem::replace(started, FREE);
        (at != FREE).then(|| u32::try_from(now_us.saturating_sub(at)).unwrap_or(u32::MAX))
    }
}

/// Runs a load to its end, or until nothing moves any more.
///
/// # Errors
/// When the server breaks the stream or refuses it.
pub async fn drive(
    server: &Server,
    load: Load<'_>,
    progress: &ProgressBar,
) -> Result<Tally, Failure> {
    let (starts, requests) = mpsc::unbounded_channel();
    let mut tally = Tally::default();
    tally
        .latencies_us
        .reserve(usize::try_from(load.sagas).unwrap_or(0));
    let mut clock = Clock::new(load.sagas);
    let answer = server
        .sagas()
        .run_sagas(UnboundedReceiverStream::new(requests))
        .await;
    let mut outcomes = answer
        .map_err(|status| server.failure(status))?
        .into_inner();
    clock.begun = Instant::now();
    let mut room = load.concurrency;
    while tally.answered() < load.sagas {
        while let Some(request) = next_starts(&load, &mut room, &mut tally, &mut clock) {
            // A stream that is gone tells so below.
            let _ = starts.send(request);
        }
        let Ok(message) = timeout(STALL_LIMIT, outcomes.message()).await else {
            break;
        };
        let message = message.map_err(|status| server.failure(status))?;
        let Some(message) = message else {
            return Err(Failure::error(
                "the server closed the stream before all sagas had ended",
            ));
        };
        let now_us = clock.now_us();
        for outcome in message.outcomes {
            match clock.stop(outcome.tag, now_us) {
                Some(latency) => {
                    room += 1;
                    tally.latencies_us.push(latency);
                    tally.note(outcome);
                }
                None => tally.surplus += 1,
            }
        }
        progress.set_position(tally.answered());
    }
    tally.elapsed = clock.begun.elapsed();
    Ok(tally)
}

/// The next message of starts; `None` when there is no room, or all are started.
fn next_starts(
    load: &Load<'_>,
    room: &mut u64,
    tally: &mut Tally,
    clock: &mut Clock,
) -> Option<RunSagasRequest> {
    let number = (*room).min(load.sagas - tally.started).min(STARTS_MAX);
    if number == 0 {
        return None;
    }
    let tags: Vec<u64> = (tally.started..tally.started + number).collect();
    let starts = tags.iter().map(|_| StartSagaRequest {
        name: load.name.to_owned(),
        version: 1,
        input: Bytes::from_static(INPUT),
        ..StartSagaRequest::default()
    });
    let starts = starts.collect();
    let now_us = clock.now_us();
    clock.started_us.extend(tags.iter().map(|_| now_us));
    *room -= number;
    tally.started += number;
    Some(RunSagasRequest { starts, tags })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_fill_the_room_in_pieces_and_stop_at_the_number() {
        let load = Load {
            name: "bench_4",
            sagas: 900,
            concurrency: 600,
        };
        let (mut tally, mut clock, mut room) = (Tally::default(), Clock::new(900), 600);
        let mut sizes = Vec::new();
        for freed in [0, 200, 600] {
            room += freed;
            while let Some(request) = next_starts(&load, &mut room, &mut tally, &mut clock) {
                assert_eq!(request.starts.len(), request.tags.len());
                sizes.push(request.tags.len());
            }
        }
        assert_eq!(sizes, [512, 88, 200, 100]);
        assert_eq!(tally.started, 900);
    }

    #[test]
    fn an_end_counts_once() {
        let mut clock = Clock::new(2);
        clock.started_us = vec![10, 20];
        assert_eq!(clock.stop(1, 50), Some(30));
        assert_eq!(clock.stop(1, 60), None);
        assert_eq!(clock.stop(2, 60), None);
    }
}
