//! What a store does alone: sagas of one start and four more journal rows, the last of which ends them.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use saga_core::{Partition, SagaId, Status, Timestamp};
use saga_engine::store::{
    Claim, Store,
    record::{Batch, ChangeRow, Face, JournalRow, SagaRow, StartRow},
};

const IN_FLIGHT: usize = 2_000;
const ROWS_PER_SAGA: u64 = 5;
const BODY: usize = 210;

/// Sagas under way, oldest turn first.
struct Load {
    claim: Claim,
    turn: VecDeque<(SagaId, u64)>,
    started: u64,
    commit_no: u64,
    keys: bool,
}

impl Load {
    fn new(claim: Claim, keys: bool) -> Self {
        let commit_no = claim.last_commit_no;
        // A store that was loaded before goes on with fresh ids.
        Self {
            claim,
            turn: VecDeque::new(),
            started: commit_no * 1_000,
            commit_no,
            keys,
        }
    }

    /// One row for each of the next `rows` sagas; a saga that has ended makes room for a new one.
    fn batch(&mut self, rows: usize) -> Batch {
        self.commit_no += 1;
        let mut batch = Batch {
            commit_no: self.commit_no,
            fence: self.claim.fences.clone(),
            ..Batch::default()
        };
        let at = Timestamp(1_780_000_000_000_000 + i64::try_from(self.commit_no).expect("small"));
        for _ in 0..rows {
            let (id, seq) = if self.turn.len() < IN_FLIGHT {
                let start = self.start(at);
                let id = start.row.id;
                batch.starts.push(start);
                (id, 1)
            } else {
                self.turn.pop_front().expect("sagas are in flight")
            };
            batch.journal.push(JournalRow {
                saga_id: id,
                seq,
                at,
                body: vec![b'x'; BODY],
            });
            if seq < ROWS_PER_SAGA {
                self.turn.push_back((id, seq + 1));
            } else {
                let face = Face {
                    status: Status::Completed,
                    incident: false,
                    exceptions: false,
                    ended_at: Some(at),
                };
                batch.changes.push(ChangeRow { id, face });
            }
        }
        batch
    }

    fn start(&mut self, at: Timestamp) -> StartRow {
        self.started += 1;
        let n = self.started;
        // Multiplying by an odd number spreads the ids as chance would.
        let spread = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let partition = Partition(u16::try_from(spread % 32).expect("small"));
        let id = SagaId::new(1_780_000_000_000 + self.commit_no, partition, spread);
        let face = Face {
            status: Status::Running,
            incident: false,
            exceptions: false,
            ended_at: None,
        };
        let row = SagaRow {
            id,
            name: "book-trip".to_owned(),
            version: 3,
            hash: [7; 32],
            key: self.keys.then(|| format!("order-{spread:020}")),
            labels: BTreeMap::from([("region".to_owned(), "north".to_owned())]),
            started_at: at,
            face,
        };
        StartRow {
            row,
            input_hash: [9; 32],
        }
    }
}

/// Commits batches of `rows` journal rows for `time`, the next one queued while one is written. Returns rows/s.
pub async fn run(store: &impl Store, rows: usize, keys: bool, time: Duration) -> f64 {
    let claim = store.claim(7).await.expect("claim");
    let mut load = Load::new(claim, keys);
    for _ in 0..IN_FLIGHT / 1_000 {
        store.commit(load.batch(1_000)).await.expect("warm up");
    }
    let mut waits = Vec::new();
    let begin = Instant::now();
    let mut under_way = store.commit(load.batch(rows));
    while begin.elapsed() < time {
        let next = store.commit(load.batch(rows));
        let asked = Instant::now();
        under_way.await.expect("commit");
        waits.push(asked.elapsed());
        under_way = next;
    }
    under_way.await.expect("commit");
    let elapsed = begin.elapsed();
    waits.sort();
    let total = (waits.len() + 1) * rows;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = total as f64 / elapsed.as_secs_f64();
    println!(
        "K={rows} keys={keys}: {rate:.0} rows/s, commit p50 {:?} p99 {:?} max {:?}",
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100],
        waits[waits.len() - 1],
    );
    rate
}
