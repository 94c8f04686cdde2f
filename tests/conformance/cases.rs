//! The rules of [`Store`], one case each. Every case gets an empty store.

mod audit;
mod commits;
mod reads;
mod registry;

pub use audit::*;
pub use commits::*;
pub use reads::*;
pub use registry::*;

use std::collections::BTreeMap;

use saga_core::{Partition, SagaId, Status, Timestamp};
use saga_engine::store::{
    Claim, Store,
    record::{Batch, ChangeRow, Face, JournalRow, SagaRow, StartRow},
};

pub const TOKEN: u128 = 0x0123_4567_89AB_CDEF_0011_2233_4455_6677;

const RUNNING: Face = Face {
    status: Status::Running,
    incident: false,
    exceptions: false,
    ended_at: None,
};

/// A saga id in partition `n % 32`; ids are in the order of `n`.
pub fn id(n: u64) -> SagaId {
    SagaId::new(
        1_000 + n,
        Partition(u16::try_from(n % 32).expect("small")),
        n,
    )
}

pub fn start(n: u64) -> StartRow {
    let row = SagaRow {
        id: id(n),
        name: "book".to_owned(),
        version: 1,
        hash: [1; 32],
        key: None,
        labels: BTreeMap::new(),
        started_at: Timestamp(i64::try_from(n).expect("small")),
        face: RUNNING,
    };
    StartRow {
        row,
        input_hash: [u8::try_from(n % 256).expect("small"); 32],
    }
}

fn start_with_key(n: u64, key: &str) -> StartRow {
    let mut start = start(n);
    start.row.key = Some(key.to_owned());
    start
}

fn journal(n: u64, seq: u64) -> JournalRow {
    let at = Timestamp(i64::try_from(1_000 * n + seq).expect("small"));
    JournalRow {
        saga_id: id(n),
        seq,
        at,
        body: format!("{n}/{seq}").into_bytes(),
    }
}

pub fn change(n: u64, status: Status) -> ChangeRow {
    let ended_at = (!status.is_open()).then_some(Timestamp(77));
    ChangeRow {
        id: id(n),
        face: Face {
            status,
            incident: false,
            exceptions: false,
            ended_at,
        },
    }
}

/// A batch under every fence of the claim.
pub fn batch(claim: &Claim, commit_no: u64) -> Batch {
    Batch {
        commit_no,
        fence: claim.fences.clone(),
        ..Batch::default()
    }
}

/// Starts the sagas `range`, each with its first journal row.
async fn begin(store: &impl Store, claim: &Claim, range: std::ops::Range<u64>) {
    let mut batch = batch(claim, 1);
    batch.starts = range.clone().map(start).collect();
    batch.journal = range.map(|n| journal(n, 1)).collect();
    store.commit(batch).await.expect("start");
}

/// Everything a reader can see of the sagas, for "nothing was written".
async fn everything(store: &impl Store) -> String {
    let page = store
        .list(Default::default(), None, 1_000)
        .await
        .expect("list");
    let ids: Vec<SagaId> = page.rows.iter().map(|row| row.id).collect();
    let journals = store.journals(ids).await.expect("journals");
    let counts = store.counts().await.expect("counts");
    let open = store.open_per_definition().await.expect("open");
    format!("{page:?} {journals:?} {counts:?} {open:?}")
}
