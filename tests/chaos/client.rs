//! A client as a careful service writes it: it names each start, and finds out after a break what became of it.

use std::{collections::HashMap, time::Duration};

use saga_proto::v1::{
    GetSagaRequest, ListSagasRequest, RunSagasRequest, StartSagaRequest,
    saga_service_client::SagaServiceClient,
};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tonic::{Code, transport::Channel};
use uuid::Uuid;

use crate::processes::{POLL, connect};

type Client = SagaServiceClient<Channel>;

/// No end for so long means that sagas are stuck.
pub const STALL_LIMIT: Duration = Duration::from_secs(45);

/// How a saga ended, as the client heard it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The saga.
    pub saga_id: Uuid,
    /// Its last status.
    pub status: String,
}

/// What a load came to.
pub struct Run {
    /// How each start ended, by its tag.
    pub ends: Vec<End>,
    /// Starts that had to be sent again because the server was killed before it answered.
    pub repeated: usize,
}

/// Starts to run, all with a request id, so that repeating one is harmless.
pub struct Load {
    /// What to start; a start's place is its tag.
    pub starts: Vec<StartSagaRequest>,
    /// `definition/key` of each start, where the definition has keys.
    pub names: Vec<String>,
    /// How many at a time.
    pub concurrency: usize,
    /// Without any end for so long, the client gives up.
    pub patience: Duration,
    /// Whether giving up is a failure; where something was taken away, it may be the very thing to see.
    pub must_end: bool,
}

impl Load {
    /// Starts of `definition`, one for each input.
    pub fn new(
        definition: &str,
        inputs: impl IntoIterator<Item = String>,
        concurrency: usize,
    ) -> Self {
        let start = |input: String| StartSagaRequest {
            name: definition.to_owned(),
            input: input.into_bytes().into(),
            request_id: Uuid::now_v7().as_bytes().to_vec().into(),
            ..StartSagaRequest::default()
        };
        Self {
            starts: inputs.into_iter().map(start).collect(),
            names: Vec::new(),
            concurrency,
            patience: STALL_LIMIT,
            must_end: true,
        }
    }

    /// Runs all to their ends, through as many breaks as there are. `ended` counts them on the way.
    pub async fn run(&self, url: String, ended: watch::Sender<usize>) -> Run {
        let number = self.starts.len();
        let (known, sent) = (vec![None; number], vec![false; number]);
        let mut ends = Ends {
            known,
            sent,
            repeated: 0,
            given_up: false,
            ended,
        };
        while !ends.all() && !ends.given_up {
            match connect(&url).await {
                Some(channel) => {
                    let mut client = SagaServiceClient::new(channel);
                    // Whatever breaks here breaks because the server was killed: the next round goes on.
                    if self.look_up(&mut client, &mut ends).await.is_some() {
                        self.stream(&mut client, &mut ends).await;
                    }
                }
                None => sleep(POLL).await,
            }
        }
        Run {
            ends: ends.known.into_iter().flatten().collect(),
            repeated: ends.repeated,
        }
    }

    /// Asks what became of starts without an answer. `None` when the connection broke.
    async fn look_up(&self, client: &mut Client, ends: &mut Ends) -> Option<()> {
        for (tag, saga) in self.names.iter().enumerate() {
            if ends.count() == 0 || ends.known[tag].is_some() {
                continue;
            }
            match client.get_saga(GetSagaRequest { saga: saga.clone() }).await {
                Ok(detail) => {
                    let summary = detail.into_inner().summary.expect("a saga has a summary");
                    if summary.ended_at_us != 0 {
                        ends.note(tag, &summary.saga_id, summary.status);
                    }
                }
                Err(status) if status.code() == Code::NotFound => {}
                Err(_) => return None,
            }
        }
        Some(())
    }

    /// What the server says of the first sagas without an end.
    async fn stories(&self, client: &mut Client, ends: &Ends) -> String {
        let mut text = String::new();
        let open = self
            .names
            .iter()
            .zip(&ends.known)
            .filter(|(_, end)| end.is_none());
        for (saga, _) in open.take(3) {
            let answer = client.get_saga(GetSagaRequest { saga: saga.clone() }).await;
            let answer = answer.map(|detail| detail.into_inner());
            text += &match answer {
                Ok(detail) => {
                    let steps = detail.steps.iter().map(|s| {
                        format!(
                            "{} {} {} {}+{} {}",
                            s.id, s.status, s.round, s.tries, s.undo_tries, s.note
                        )
                    });
                    format!(
                        "{saga}: {}\n{}\n",
                        detail.story.join("\n"),
                        steps.collect::<Vec<_>>().join("\n")
                    )
                }
                Err(status) => format!("{saga}: {status}\n"),
            };
        }
        text
    }

    /// One stream until it breaks or all have ended.
    async fn stream(&self, client: &mut Client, ends: &mut Ends) {
        let mut open = (0..self.starts.len())
            .filter(|tag| ends.known[*tag].is_none())
            .collect::<Vec<_>>()
            .into_iter();
        let (sender, requests) = mpsc::unbounded_channel();
        let requests = futures_util::stream::unfold(requests, async |mut requests| {
            requests.recv().await.map(|request| (request, requests))
        });
        let Ok(answer) = client.run_sagas(requests).await else {
            return;
        };
        let mut outcomes = answer.into_inner();
        let mut room = self.concurrency;
        while !ends.all() {
            let tags: Vec<usize> = open.by_ref().take(room).collect();
            room -= tags.len();
            if !tags.is_empty() {
                ends.sending(&tags);
                let starts = tags.iter().map(|tag| self.starts[*tag].clone()).collect();
                let _ = sender.send(RunSagasRequest {
                    starts,
                    tags: tags.iter().map(|tag| *tag as u64).collect(),
                });
            }
            let Ok(message) = timeout(self.patience, outcomes.message()).await else {
                assert!(
                    !self.must_end,
                    "stuck: {}\n{}",
                    ends.missing(),
                    self.stories(client, ends).await
                );
                ends.given_up = true;
                return;
            };
            let Ok(Some(message)) = message else { return };
            for outcome in message.outcomes {
                // A server on its way down refuses; the start is repeated on the next stream.
                if outcome.status.is_empty() {
                    let fault = outcome.fault.unwrap_or_default();
                    assert!(
                        fault.message.contains("shutting down"),
                        "a start was refused: {fault:?}"
                    );
                    return;
                }
                room += 1;
                ends.note(outcome.tag as usize, &outcome.saga_id, outcome.status);
            }
        }
    }
}

/// Waits until so many have ended; false when the client gave up, or nothing moves.
pub async fn reached(count: &mut watch::Receiver<usize>, number: usize) -> bool {
    let wait = timeout(STALL_LIMIT, count.wait_for(|count| *count >= number)).await;
    // The answer borrows the count, which would stop the client.
    matches!(wait, Ok(Ok(_)))
}

struct Ends {
    known: Vec<Option<End>>,
    sent: Vec<bool>,
    repeated: usize,
    given_up: bool,
    ended: watch::Sender<usize>,
}

impl Ends {
    fn count(&self) -> usize {
        self.known.iter().flatten().count()
    }

    fn all(&self) -> bool {
        self.known.iter().all(Option::is_some)
    }

    fn sending(&mut self, tags: &[usize]) {
        for tag in tags {
            self.repeated += usize::from(std::mem::replace(&mut self.sent[*tag], true));
        }
    }

    fn missing(&self) -> String {
        let missing: Vec<usize> = (0..self.known.len())
            .filter(|tag| self.known[*tag].is_none())
            .collect();
        format!(
            "no end for {} starts, the first {:?}",
            missing.len(),
            &missing[..missing.len().min(10)]
        )
    }

    /// Takes an end; one that is told twice must be told the same.
    fn note(&mut self, tag: usize, saga_id: &[u8], status: String) {
        let end = End {
            saga_id: Uuid::from_slice(saga_id).expect("a saga id"),
            status,
        };
        match &self.known[tag] {
            Some(known) => assert_eq!(*known, end, "start {tag} ended twice"),
            None => self.known[tag] = Some(end),
        }
        self.ended.send_replace(self.count());
    }
}

/// Every saga that the server knows, with its status.
pub async fn all_sagas(channel: Channel) -> HashMap<Uuid, String> {
    let mut client = SagaServiceClient::new(channel).max_decoding_message_size(64 << 20);
    let mut sagas = HashMap::new();
    let mut page_token = String::new();
    loop {
        let request = ListSagasRequest {
            page_size: 1_000,
            page_token,
            ..ListSagasRequest::default()
        };
        let page = client
            .list_sagas(request)
            .await
            .expect("the server runs")
            .into_inner();
        for saga in page.sagas {
            let open = saga.ended_at_us == 0;
            assert!(
                open || saga.mark.is_empty(),
                "{} has ended and is marked {}",
                saga.id,
                saga.mark
            );
            let id = Uuid::from_slice(&saga.saga_id).expect("a saga id");
            assert_eq!(sagas.insert(id, saga.status), None, "{id} is listed twice");
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return sagas;
        }
    }
}
