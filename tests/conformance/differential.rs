//! A store and the model do the same random things and must give the same answers.
//!
//! A failure prints its seed; put it in `SAGA_TEST_SEED` to run that one alone.

use std::{collections::BTreeMap, fmt::Debug};

use saga_core::{Partition, SagaId, Status, Timestamp};
use saga_engine::store::{
    CommitError, Error, Journals, Lanes, Reading, Registers, Store,
    record::{
        AuditRow, Batch, ChangeRow, DefinitionRow, Face, Fence, JournalRow, ListFilter,
        ParticipantRow, SagaRow, StartRow,
    },
};

use super::model::Model;

const OPERATIONS: usize = 400;
const NAMES: [&str; 3] = ["book", "fulfil", "x\u{1F600}'\"%"];
/// The seeds to run.
pub fn seeds() -> Vec<u64> {
    match std::env::var("SAGA_TEST_SEED") {
        Ok(text) => vec![text.parse().expect("SAGA_TEST_SEED is a number")],
        Err(_) => (1..=8).collect(),
    }
}

/// Plays one seed against both.
pub async fn play(store: &impl Store, seed: u64) {
    let mut player = Player::new(seed);
    let model = Model::default();
    player.claim(store, &model).await;
    for step in 0..OPERATIONS {
        let place = format!("SAGA_TEST_SEED={seed} operation {step}");
        match player.chance.below(20) {
            0 => player.claim(store, &model).await,
            1 => player.put_definitions(store, &model, &place).await,
            2 => player.put_participant(store, &model, &place).await,
            3..=12 => player.commit(store, &model, &place).await,
            _ => player.read(store, &model, &place).await,
        }
    }
    assert!(
        player.sagas.len() > OPERATIONS / 8,
        "seed {seed} started only {} sagas",
        player.sagas.len()
    );
}

/// SplitMix64: enough chance for a test, the same on every machine.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).expect("small")]
    }

    fn hash(&mut self) -> [u8; 32] {
        [u8::try_from(self.below(3)).expect("small"); 32]
    }

    fn moment(&mut self) -> Timestamp {
        Timestamp(i64::try_from(self.below(1_000)).expect("small"))
    }
}

struct Player {
    chance: Chance,
    fences: Vec<Fence>,
    stale: Vec<Fence>,
    /// Sagas with the last `seq` that was accepted.
    sagas: Vec<(SagaId, u64)>,
    commit_no: u64,
}

/// An answer as it is compared: the words of an error are the engine's own, its kind and data are not.
fn commit_face(answer: &Result<(), CommitError>) -> String {
    match answer {
        Ok(()) => "written".to_owned(),
        Err(CommitError::Fenced(partitions)) => format!("fenced {partitions:?}"),
        Err(CommitError::StartsExist(conflicts)) => format!("exist {conflicts:?}"),
        Err(CommitError::Data(_)) => "data".to_owned(),
        Err(CommitError::Unavailable(_)) => "unavailable".to_owned(),
        Err(CommitError::Unknown(_)) => "unknown".to_owned(),
    }
}

fn same<T: PartialEq + Debug>(store: Result<T, Error>, model: Result<T, Error>, place: &str) {
    match (store, model) {
        (Ok(store), Ok(model)) => assert_eq!(store, model, "{place}: store left, model right"),
        (store, model) => assert_eq!(format!("{store:?}"), format!("{model:?}"), "{place}"),
    }
}

impl Player {
    fn new(seed: u64) -> Self {
        Self {
            chance: Chance(seed),
            fences: Vec::new(),
            stale: Vec::new(),
            sagas: Vec::new(),
            commit_no: 0,
        }
    }

    async fn claim(&mut self, store: &impl Store, model: &Model) {
        let token = u128::from(self.chance.next()) << 64 | u128::from(self.chance.next());
        let claim = store.claim(token).await.expect("claim");
        let expected = model.claim(token).await.expect("claim");
        assert_eq!(claim, expected);
        self.stale = std::mem::replace(&mut self.fences, claim.fences);
    }

    async fn put_definitions(&mut self, store: &impl Store, model: &Model, place: &str) {
        let mut rows = Vec::new();
        for _ in 0..self.chance.below(4) {
            rows.push(DefinitionRow {
                name: self.chance.pick(&NAMES).to_owned(),
                version: u32::try_from(self.chance.below(6)).expect("small"),
                hash: self.chance.hash(),
                canonical: format!("{{\"n\":{}}}", self.chance.next()),
                deployed_at: self.chance.moment(),
            });
        }
        let answers = (
            store.put_definitions(rows.clone()).await,
            model.put_definitions(rows).await,
        );
        same(answers.0, answers.1, place);
    }

    async fn put_participant(&mut self, store: &impl Store, model: &Model, place: &str) {
        let row = ParticipantRow {
            name: self.chance.pick(&NAMES).to_owned(),
            inbox_id: self.chance.next().to_string(),
            inbox_kind: self
                .chance
                .pick(&["transactional", "journaled", "none"])
                .to_owned(),
            actions: "[]".to_owned(),
            last_seen: self.chance.moment(),
        };
        same(
            store.put_participant(row.clone()).await,
            model.put_participant(row).await,
            place,
        );
    }

    async fn commit(&mut self, store: &impl Store, model: &Model, place: &str) {
        let batch = self.batch();
        let answer = store.commit(batch.clone()).await;
        let expected = model.commit(batch.clone()).await;
        assert_eq!(
            commit_face(&answer),
            commit_face(&expected),
            "{place}: {answer:?} for {batch:#?}"
        );
        if answer.is_ok() {
            self.sagas
                .extend(batch.starts.iter().map(|start| (start.row.id, 0)));
            for row in &batch.journal {
                for saga in self.sagas.iter_mut().filter(|saga| saga.0 == row.saga_id) {
                    saga.1 = saga.1.max(row.seq);
                }
            }
        }
    }

    fn batch(&mut self) -> Batch {
        self.commit_no += 1;
        let mut fence = self.fences.clone();
        if self.chance.one_in(10)
            && let Some(stale) = self.stale.first().copied()
        {
            fence[usize::from(stale.partition.0)] = stale;
        }
        if self.chance.one_in(20) {
            fence.truncate(20);
        }
        let mut batch = Batch {
            commit_no: self.commit_no,
            fence,
            ..Batch::default()
        };
        for _ in 0..self.chance.below(4) {
            let start = self.start();
            if !self.chance.one_in(30) {
                let at = self.chance.moment();
                batch.journal.push(JournalRow {
                    saga_id: start.row.id,
                    seq: 1,
                    at,
                    body: vec![1],
                });
            }
            batch.starts.push(start);
        }
        for _ in 0..self.chance.below(6) {
            if let Some((saga_id, last)) = self.known() {
                let newest = batch
                    .journal
                    .iter()
                    .filter(|row| row.saga_id == saga_id)
                    .map(|row| row.seq)
                    .max();
                let step = if self.chance.one_in(40) {
                    self.chance.below(3)
                } else {
                    1
                };
                let seq = newest.unwrap_or(last) + step;
                let body = self.chance.next().to_be_bytes().to_vec();
                batch.journal.push(JournalRow {
                    saga_id,
                    seq,
                    at: self.chance.moment(),
                    body,
                });
            }
        }
        if self.chance.one_in(3) {
            batch.journal.reverse();
        }
        if let Some((id, _)) = self.known()
            && self.chance.one_in(2)
        {
            batch.changes.push(ChangeRow {
                id,
                face: self.face(),
            });
        }
        if let Some((saga_id, seq)) = self.known()
            && self.chance.one_in(4)
        {
            let step = if self.chance.one_in(2) {
                Some("charge".to_owned())
            } else {
                None
            };
            batch.audit.push(AuditRow {
                saga_id,
                seq,
                at: self.chance.moment(),
                verb: self.chance.pick(&["retry", "skip"]).to_owned(),
                step,
                who: "ann".to_owned(),
                reason: self.chance.pick(&["", "it's \"so\"", "ключ"]).to_owned(),
                forced: self.chance.one_in(2),
            });
        }
        batch
    }

    fn known(&mut self) -> Option<(SagaId, u64)> {
        if self.sagas.is_empty() {
            None
        } else {
            Some(self.chance.pick(&self.sagas))
        }
    }

    fn face(&mut self) -> Face {
        let status = self.chance.pick(&Status::ALL);
        let ended_at = (!status.is_open()).then(|| self.chance.moment());
        let (incident, exceptions) = (self.chance.one_in(4), self.chance.one_in(4));
        Face {
            status,
            incident,
            exceptions,
            ended_at,
        }
    }

    fn start(&mut self) -> StartRow {
        let partition = Partition(u16::try_from(self.chance.below(32)).expect("small"));
        let id = match self.known() {
            Some((id, _)) if self.chance.one_in(40) => id,
            Some(_) | None => {
                SagaId::new(1_000 + self.chance.below(50), partition, self.chance.next())
            }
        };
        let mut labels = BTreeMap::new();
        for _ in 0..self.chance.below(3) {
            let key = self
                .chance
                .pick(&["region", "tier \"a\"", "ключ", ""])
                .to_owned();
            labels.insert(
                key,
                self.chance
                    .pick(&["north", "1", "true", "null", ""])
                    .to_owned(),
            );
        }
        let row = SagaRow {
            id,
            name: self.chance.pick(&NAMES).to_owned(),
            version: u32::try_from(self.chance.below(3)).expect("small"),
            hash: self.chance.hash(),
            key: if self.chance.one_in(2) {
                Some(format!("k{}", self.chance.below(300)))
            } else {
                None
            },
            labels,
            started_at: self.chance.moment(),
            face: self.face(),
        };
        StartRow {
            row,
            input_hash: self.chance.hash(),
        }
    }

    async fn read(&mut self, store: &impl Store, model: &Model, place: &str) {
        let limit = usize::try_from(self.chance.below(12)).expect("small");
        let cursor = if self.chance.one_in(2) {
            self.known().map(|saga| saga.0)
        } else {
            None
        };
        let id = self.known().map_or(SagaId::from_u128(5), |saga| saga.0);
        match self.chance.below(11) {
            0 => same(
                store.open_sagas(cursor, limit).await,
                model.open_sagas(cursor, limit).await,
                place,
            ),
            1 => same(store.saga(id).await, model.saga(id).await, place),
            2 => {
                let after = self.chance.below(4);
                same(
                    store.journal(id, after, limit).await,
                    model.journal(id, after, limit).await,
                    place,
                );
            }
            3 => {
                let ids: Vec<SagaId> = (0..limit)
                    .filter_map(|_| self.known())
                    .map(|saga| saga.0)
                    .collect();
                same(
                    store.journals(ids.clone()).await,
                    model.journals(ids).await,
                    place,
                );
            }
            4 => {
                let letters = usize::try_from(self.chance.below(27)).expect("small");
                let text = id.to_string().split_off(26 - letters);
                let text = if self.chance.one_in(2) {
                    text.to_lowercase()
                } else {
                    text
                };
                let answers = (
                    store.find_by_suffix(text.clone(), limit).await,
                    model.find_by_suffix(text, limit).await,
                );
                same(answers.0, answers.1, place);
            }
            5 => {
                let (name, key) = (
                    self.chance.pick(&NAMES),
                    format!("k{}", self.chance.below(300)),
                );
                let answers = (
                    store.find_by_key(name.to_owned(), key.clone()).await,
                    model.find_by_key(name.to_owned(), key).await,
                );
                same(answers.0, answers.1, place);
            }
            6 => {
                same(store.counts().await, model.counts().await, place);
                same(
                    store.open_per_definition().await,
                    model.open_per_definition().await,
                    place,
                );
            }
            8 => {
                let saga = if self.chance.one_in(2) {
                    Some(id)
                } else {
                    None
                };
                let before = if self.chance.one_in(2) {
                    Some(self.chance.below(20))
                } else {
                    None
                };
                let answers = (
                    store.audit(saga, before, limit).await,
                    model.audit(saga, before, limit).await,
                );
                same(answers.0, answers.1, place);
            }
            7 => {
                same(store.definitions().await, model.definitions().await, place);
                same(
                    store.participants().await,
                    model.participants().await,
                    place,
                );
            }
            _ => {
                let filter = self.filter();
                let place = format!("{place} {filter:?}");
                let answers = (
                    store.list(filter.clone(), cursor, limit).await,
                    model.list(filter, cursor, limit).await,
                );
                same(answers.0, answers.1, &place);
            }
        }
    }

    fn filter(&mut self) -> ListFilter {
        let mut filter = ListFilter {
            incident_only: self.chance.one_in(4),
            ..ListFilter::default()
        };
        for _ in 0..self.chance.below(3) {
            filter.statuses.push(self.chance.pick(&Status::ALL));
        }
        if self.chance.one_in(3) {
            filter.name = Some(self.chance.pick(&NAMES).to_owned());
        }
        if self.chance.one_in(3) {
            let key = self
                .chance
                .pick(&["region", "tier \"a\"", "ключ", ""])
                .to_owned();
            filter.labels.insert(
                key,
                self.chance
                    .pick(&["north", "1", "true", "null", ""])
                    .to_owned(),
            );
        }
        if self.chance.one_in(4) {
            filter.started_after = Some(self.chance.moment());
        }
        if self.chance.one_in(4) {
            filter.started_before = Some(self.chance.moment());
        }
        filter
    }
}
