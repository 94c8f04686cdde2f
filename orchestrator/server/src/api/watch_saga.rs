//! `WatchSaga`: the saga as it is, then again after every change, until it ends or the caller leaves.

use futures_util::{StreamExt, stream};
use saga_core::SagaId;
use saga_proto::v1 as wire;
use tokio::sync::{oneshot, watch};
use tonic::Status;

use super::{
    Answers, Api, convert,
    error::{Code, Refusal},
    picture,
    resolve::resolve,
};
use saga_engine::lane::intake::{Intake, WatchJob};

pub(super) async fn watch_saga(
    api: &Api,
    request: &wire::GetSagaRequest,
) -> Result<Answers<wire::SagaDetail>, Refusal> {
    let id = resolve(api, &request.saga).await?;
    // Asked before the first picture is read: a change between the two is then seen, not missed.
    let (answer, watched) = oneshot::channel();
    api.parts()
        .lane
        .send(Intake::Watch(WatchJob { id, answer }))
        .await?;
    let changes = watched.await.map_err(|_| api.closed())?;
    // Refuses an unknown id at the call rather than on the stream.
    picture::load(api, id).await?;
    let watch = Watch {
        api: api.clone(),
        id,
        changes,
        phase: Phase::First,
    };
    Ok(stream::unfold(watch, Watch::step).boxed())
}

struct Watch {
    api: Api,
    id: SagaId,
    /// `None`: the lane does not run it; it has ended, or cannot be run.
    changes: Option<watch::Receiver<u64>>,
    phase: Phase,
}

enum Phase {
    First,
    Following,
    Over,
}

impl Watch {
    async fn step(mut self) -> Option<(Result<wire::SagaDetail, Status>, Self)> {
        match self.phase {
            Phase::First => self.phase = Phase::Following,
            Phase::Following => {
                if let Err(refusal) = self.wait().await {
                    self.phase = Phase::Over;
                    return Some((Err(refusal.into()), self));
                }
            }
            Phase::Over => return None,
        }
        match picture::load_patiently(&self.api, self.id).await {
            Ok(seen) => {
                let detail = convert::detail_by(&seen, self.api.parts().lane.clock());
                let status = detail
                    .summary
                    .as_ref()
                    .map_or("", |summary| summary.status.as_str());
                if saga_core::Status::of_word(status).is_none_or(|status| !status.is_open()) {
                    self.phase = Phase::Over;
                }
                Some((Ok(detail), self))
            }
            Err(refusal) => {
                self.phase = Phase::Over;
                Some((Err(refusal.into()), self))
            }
        }
    }

    /// Waits for a change. Changes that came while the client was slow count as one.
    async fn wait(&mut self) -> Result<(), Refusal> {
        let closing = self.api.parts().closing.clone();
        let Some(changes) = &mut self.changes else {
            let message = format!(
                "saga {} is open, but nothing runs it; the server's log names the reason",
                self.id
            );
            return Err(Refusal::new(Code::NotRunning, message));
        };
        let changed = tokio::select! {
            changed = changes.changed() => changed,
            () = closing.cancelled() => return Err(self.api.closed()),
        };
        if changed.is_err() {
            // The end: one last picture. If that is not one of an ended saga, the lane has stopped.
            self.changes = None;
            let open = picture::load_patiently(&self.api, self.id)
                .await?
                .row
                .face
                .status
                .is_open();
            if open {
                return Err(self.api.closed());
            }
        }
        Ok(())
    }
}
