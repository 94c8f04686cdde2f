//! Replies to the commands of a test: no saga sent them, so they go to whoever probes the participant, and no lane sees
//! them. What comes for a test that is over is dropped, as a late reply to a saga is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use saga_core::SagaId;
use tokio::sync::mpsc;

use super::intake::{Incoming, Intake, LostCommand, Receipt};

/// Replies that wait for who probes; a participant that says more is not listened to.
const HEARD_MAX: usize = 256;

/// What came back of a command.
#[derive(Debug)]
pub enum Heard {
    /// A reply.
    Reply(Incoming),
    /// It will not be answered.
    Lost(LostCommand),
}

/// The tests that are under way. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Probes {
    /// Never held across an await.
    open: Arc<Mutex<HashMap<SagaId, mpsc::Sender<Heard>>>>,
}

/// Hears what comes back for one test, until it is dropped.
pub struct Probe {
    test: SagaId,
    probes: Probes,
    heard: mpsc::Receiver<Heard>,
}

impl Probe {
    /// The next that comes back; pends while nothing does.
    pub async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            // Its sender lives as long as it does.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.probes.lock().remove(&self.test);
    }
}

impl Probes {
    pub(super) fn open(&self, test: SagaId) -> Probe {
        let (hear, heard) = mpsc::channel(HEARD_MAX);
        self.lock().insert(test, hear);
        Probe {
            test,
            probes: self.clone(),
            heard,
        }
    }

    /// Takes out what is for tests; what is left, if anything, is for the lane.
    pub(super) fn divert(&self, message: Intake) -> Option<Intake> {
        match message {
            Intake::Replies(replies) if replies.iter().any(|reply| reply.saga_id.is_test()) => {
                let rest = self.replies(replies, None);
                (!rest.is_empty()).then_some(Intake::Replies(rest))
            }
            Intake::Delivery { replies, receipt }
                if replies.iter().any(|reply| reply.saga_id.is_test()) =>
            {
                let replies = self.replies(replies, Some(&receipt));
                (!replies.is_empty()).then_some(Intake::Delivery { replies, receipt })
            }
            Intake::Lost { lost, receipt } if lost.iter().any(|lost| lost.saga_id.is_test()) => {
                let (tests, lost): (Vec<_>, Vec<_>) =
                    lost.into_iter().partition(|lost| lost.saga_id.is_test());
                for one in tests {
                    self.tell(one.saga_id, Heard::Lost(one));
                    receipt.clone().into_iter().for_each(Receipt::part_done);
                }
                (!lost.is_empty()).then_some(Intake::Lost { lost, receipt })
            }
            other => Some(other),
        }
    }

    fn replies(&self, replies: Vec<Incoming>, receipt: Option<&Receipt>) -> Vec<Incoming> {
        let (tests, rest): (Vec<_>, Vec<_>) = replies
            .into_iter()
            .partition(|reply| reply.saga_id.is_test());
        for reply in tests {
            self.tell(reply.saga_id, Heard::Reply(reply));
            receipt.cloned().into_iter().for_each(Receipt::part_done);
        }
        rest
    }

    fn tell(&self, test: SagaId, heard: Heard) {
        if let Some(probe) = self.lock().get(&test) {
            // Fails when there is too much of it, or nobody listens any more.
            probe.try_send(heard).ok();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SagaId, mpsc::Sender<Heard>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use saga_core::{Op, Partition, input::Outcome};

    use super::*;

    fn reply(saga_id: SagaId, attempt: u32) -> Incoming {
        let participant = Arc::from("hotels");
        let step = "probe".to_owned();
        Incoming {
            saga_id,
            step,
            round: 1,
            op: Op::Action,
            attempt,
            participant,
            outcome: Outcome::Running,
        }
    }

    #[tokio::test]
    async fn replies_of_a_test_go_to_its_probe_and_all_others_to_the_lane() {
        let (probes, test) = (Probes::default(), SagaId::for_test(1));
        let saga = SagaId::new(1, Partition(0), 1);
        let mut probe = probes.open(test);
        let (done, mut finished) = mpsc::unbounded_channel();
        let replies = vec![
            reply(test, 1),
            reply(saga, 2),
            reply(SagaId::for_test(2), 3),
        ];
        let receipt = Receipt::new(7, replies.len(), done);
        let Some(Intake::Delivery { replies, receipt }) =
            probes.divert(Intake::Delivery { replies, receipt })
        else {
            panic!("nothing for the lane")
        };
        assert_eq!(
            replies
                .iter()
                .map(|reply| reply.attempt)
                .collect::<Vec<_>>(),
            [2]
        );
        assert!(
            finished.try_recv().is_err(),
            "one of them is the lane's to deal with"
        );
        receipt.part_done();
        assert_eq!(finished.try_recv(), Ok(7));
        let Heard::Reply(heard) = probe.next().await else {
            panic!("a reply")
        };
        assert_eq!(heard.attempt, 1);
        assert!(
            probes
                .divert(Intake::Replies(vec![reply(test, 4)]))
                .is_none()
        );
        drop(probe);
        assert!(probes.lock().is_empty());
        assert!(
            probes
                .divert(Intake::Replies(vec![reply(test, 5)]))
                .is_none(),
            "dropped, the lane is spared"
        );
    }
}
