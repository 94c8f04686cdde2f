//! `RunSagas`: starts by the thousand on one stream, and the end of each.
//!
//! ```text
//! reader:  message ──► permits ──► one `Starts` to the lane        refused ──┐
//! lane:    ended ─────────────────────────────────────────────────────────┐  │
//! follower (start was not new): watch ──► read from the store ──► settled ─┴──┴──► batches to the client
//! ```
//! The number of open starts is bounded: when it is reached, the stream is not read until some have ended.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, Stream};
use saga_core::SagaId;
use saga_proto::{
    limits::{BATCH_BYTES_MAX, BATCH_COUNT_MAX},
    v1 as wire,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tonic::{Status, Streaming};

use super::{
    Api, convert,
    error::{Code, Refusal},
    followers::Followers,
    picture,
    prepare::prepare,
    sizes,
    start_saga::{has_room, key_conflict},
};
use saga_engine::lane::intake::{End, Ended, Intake, Listener, StartJob, Started, WatchJob};

/// Most starts of one stream that have not ended.
const OPEN_MAX: usize = 16_384;
/// Most starts handed to the lane at once.
const CHUNK: usize = 1_024;
/// Most outcomes in one message.
const BATCH: usize = BATCH_COUNT_MAX;

/// Opens the stream.
pub(super) fn run_sagas(api: &Api, inbound: Streaming<wire::RunSagasRequest>) -> Outcomes {
    let (ended_in, ended) = mpsc::unbounded_channel();
    let (settled_in, settled) = mpsc::unbounded_channel();
    let (end_in, end) = oneshot::channel();
    let room = Arc::new(Semaphore::new(OPEN_MAX));
    let reader = Reader {
        api: api.clone(),
        ended: ended_in,
        settled: settled_in.clone(),
        room: Arc::clone(&room),
    };
    api.parts().tasks.spawn(async move {
        if let Err(status) = reader.read(inbound).await {
            // Fails only when the client is gone.
            let _ = end_in.send(status);
        }
    });
    Outcomes {
        api: api.clone(),
        ended,
        settled,
        settled_in: Some(settled_in),
        end: Some(end),
        followers: Followers::default(),
        room,
        from_lane: Vec::with_capacity(BATCH),
        ready: VecDeque::new(),
    }
}

struct Reader {
    api: Api,
    ended: mpsc::UnboundedSender<Ended>,
    settled: mpsc::UnboundedSender<wire::RunOutcome>,
    room: Arc<Semaphore>,
}

impl Reader {
    /// Reads until the client has no more starts, or is gone.
    async fn read(&self, mut inbound: Streaming<wire::RunSagasRequest>) -> Result<(), Status> {
        let closing = &self.api.parts().closing;
        loop {
            let message = tokio::select! {
                message = inbound.message() => message?,
                () = self.ended.closed() => return Ok(()),
                () = closing.cancelled() => return Err(self.api.closed().into()),
            };
            let Some(message) = message else {
                return Ok(());
            };
            tokio::select! {
                taken = self.take(message) => taken?,
                () = self.ended.closed() => return Ok(()),
                () = closing.cancelled() => return Err(self.api.closed().into()),
            }
        }
    }

    async fn take(&self, message: wire::RunSagasRequest) -> Result<(), Refusal> {
        if message.starts.len() != message.tags.len() {
            let (starts, tags) = (message.starts.len(), message.tags.len());
            return Err(Refusal::new(
                Code::Malformed,
                format!("tags: {tags} for {starts} starts; one for each"),
            ));
        }
        self.api.open()?;
        let mut starts = message.tags.into_iter().zip(message.starts);
        loop {
            let chunk: Vec<_> = starts.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            let permits = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let room = self
                .room
                .acquire_many(permits)
                .await
                .map_err(|_| self.api.closed())?;
            // Each outcome that goes out gives one back.
            room.forget();
            let jobs: Vec<StartJob> = chunk
                .into_iter()
                .filter_map(|(tag, start)| self.job(tag, start))
                .collect();
            if !jobs.is_empty() {
                self.api.parts().lane.send(Intake::Starts(jobs)).await?;
            }
            if starts.len() > 0 {
                // Other tasks have their turn, too: a message may hold many thousands of starts that wait for nothing.
                tokio::task::yield_now().await;
            }
        }
    }

    /// The job of a start; one that is refused becomes an outcome at once.
    fn job(&self, tag: u64, start: wire::StartSagaRequest) -> Option<StartJob> {
        let waiting = self.api.parts().lane.waiting();
        match has_room(waiting).and_then(|()| prepare(&self.api, start)) {
            Ok(mut job) => {
                job.ended = Some(Listener {
                    tag,
                    sink: self.ended.clone(),
                });
                Some(job)
            }
            Err(refusal) => {
                // Fails only when the client is gone.
                let _ = self.settled.send(refused(tag, None, refusal));
                None
            }
        }
    }
}

/// The outgoing half: outcomes in the order they come, as many to a message as are ready.
pub struct Outcomes {
    api: Api,
    ended: mpsc::UnboundedReceiver<Ended>,
    settled: mpsc::UnboundedReceiver<wire::RunOutcome>,
    /// For followers; given up once the lane owes nothing more.
    settled_in: Option<mpsc::UnboundedSender<wire::RunOutcome>>,
    /// The status with which the reader broke off; `None` once it is through.
    end: Option<oneshot::Receiver<Status>>,
    followers: Followers,
    room: Arc<Semaphore>,
    from_lane: Vec<Ended>,
    ready: VecDeque<wire::RunOutcome>,
}

impl Stream for Outcomes {
    type Item = Result<wire::RunSagasResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(Poll::Ready(end)) = this.end.as_mut().map(|end| end.poll_unpin(cx)) {
            this.end = None;
            if let Ok(status) = end {
                return Poll::Ready(Some(Err(status)));
            }
        }
        this.poll_lane(cx);
        // What followers and refused starts brought rides along.
        let mut over = false;
        while this.ready.len() < BATCH && !over {
            match this.settled.poll_recv(cx) {
                Poll::Ready(Some(outcome)) => this.ready.push_back(outcome),
                Poll::Ready(None) => over = true,
                Poll::Pending => break,
            }
        }
        if !this.ready.is_empty() {
            let outcomes = this.take_batch();
            this.room.add_permits(outcomes.len());
            return Poll::Ready(Some(Ok(wire::RunSagasResponse { outcomes })));
        }
        if !over {
            return Poll::Pending;
        }
        // Every sender is gone: the reader is through, the lane has reported, the followers are done.
        let unreported = OPEN_MAX - this.room.available_permits().min(OPEN_MAX);
        if unreported == 0 {
            return Poll::Ready(None);
        }
        this.room.add_permits(unreported);
        Poll::Ready(Some(Err(this.api.closed().into())))
    }
}

impl Outcomes {
    /// As many outcomes as one message may hold.
    fn take_batch(&mut self) -> Vec<wire::RunOutcome> {
        let mut bytes = 0;
        let fits = self.ready.iter().take_while(|outcome| {
            bytes += outcome.output.len()
                + outcome
                    .fault
                    .as_ref()
                    .map_or(0, |fault| fault.message.len());
            bytes <= BATCH_BYTES_MAX
        });
        let count = fits.count().max(1).min(self.ready.len());
        self.ready.drain(..count).collect()
    }

    /// Takes what the lane reported.
    fn poll_lane(&mut self, cx: &mut Context<'_>) {
        while self.settled_in.is_some() && self.ready.len() < BATCH {
            let room = BATCH - self.ready.len();
            match self.ended.poll_recv_many(cx, &mut self.from_lane, room) {
                Poll::Pending => return,
                Poll::Ready(0) => self.settled_in = None,
                Poll::Ready(_) => {
                    let mut reported = std::mem::take(&mut self.from_lane);
                    for ended in reported.drain(..) {
                        let outcome = self.report(ended);
                        self.ready.extend(outcome);
                    }
                    self.from_lane = reported;
                }
            }
        }
    }

    /// The outcome of a report; a saga that was not started here is followed by a task of its own.
    fn report(&self, Ended { tag, id, end }: Ended) -> Option<wire::RunOutcome> {
        match end {
            End::Over {
                status,
                output,
                output_error,
                failure,
                failed_step,
            } => {
                let (output, without) = sizes::outcome(output.as_ref(), output_error.as_deref());
                let failure = failure.map(|failure| wire::Fault {
                    code: failure.error.code.clone(),
                    message: failure.error.message.clone(),
                    step: failed_step.unwrap_or_default(),
                });
                Some(wire::RunOutcome {
                    tag,
                    saga_id: Bytes::copy_from_slice(&id.to_bytes()),
                    status: status.word().to_owned(),
                    output,
                    fault: failure.or(without),
                    created: true,
                })
            }
            End::NotNew(Started::Existing { id, .. }) => {
                let (api, settled) = (self.api.clone(), self.settled_in.clone()?);
                if !self.followers.add(id, tag) {
                    return None;
                }
                let followers = self.followers.clone();
                self.api.parts().tasks.spawn(async move {
                    let outcome = tokio::select! {
                        outcome = follow(&api, id) => outcome,
                        () = settled.closed() => return,
                        () = api.parts().closing.cancelled() => return,
                    };
                    let outcome = outcome.unwrap_or_else(|refusal| refused(tag, Some(id), refusal));
                    for tag in followers.take(id) {
                        let outcome = wire::RunOutcome {
                            tag,
                            ..outcome.clone()
                        };
                        // Fails only when the client is gone.
                        let _ = settled.send(outcome);
                    }
                });
                None
            }
            End::NotNew(Started::KeyConflict { id: first }) => {
                Some(refused(tag, Some(first), key_conflict(first)))
            }
            // `Created` is no end; a lane that says so has lost track of the saga.
            End::NotNew(Started::Unavailable | Started::Created) => {
                Some(refused(tag, None, self.api.closed()))
            }
        }
    }
}

fn refused(tag: u64, id: Option<SagaId>, refusal: Refusal) -> wire::RunOutcome {
    wire::RunOutcome {
        tag,
        saga_id: id
            .map(|id| Bytes::copy_from_slice(&id.to_bytes()))
            .unwrap_or_default(),
        fault: Some(wire::Fault {
            code: refusal.code.text().to_owned(),
            message: refusal.message,
            step: String::new(),
        }),
        ..wire::RunOutcome::default()
    }
}

/// Waits for the end of a saga that was started by somebody else, and reads it from the store. The outcome has no tag yet.
async fn follow(api: &Api, id: SagaId) -> Result<wire::RunOutcome, Refusal> {
    let (answer, watched) = oneshot::channel();
    api.parts()
        .lane
        .send(Intake::Watch(WatchJob { id, answer }))
        .await?;
    if let Some(mut changes) = watched.await.map_err(|_| api.closed())? {
        while changes.changed().await.is_ok() {}
    }
    let seen = picture::load_patiently(api, id).await?;
    if seen.row.face.status.is_open() {
        let message =
            format!("saga {id} is open, but nothing runs it; the server's log names the reason");
        return Err(Refusal::new(Code::NotRunning, message));
    }
    let folded = seen.folded.as_ref().ok();
    let state = folded.map(|picture| &picture.state);
    let output = state.and_then(|state| state.output.as_ref());
    let (output, without) = sizes::outcome(
        output,
        state.and_then(|state| state.output_error.as_deref()),
    );
    Ok(wire::RunOutcome {
        tag: 0,
        saga_id: Bytes::copy_from_slice(&id.to_bytes()),
        status: seen.row.face.status.word().to_owned(),
        output,
        fault: folded.and_then(convert::failure).or(without),
        created: false,
    })
}
