//! One batch, one statement: a batch's rows as the arrays that `saga_commit` takes, and what it answers.

use std::collections::BTreeMap;

use saga_core::{Partition, SagaId};
use sqlx::{PgConnection, Row, postgres::PgArguments, query::Query};
use uuid::Uuid;

use super::{
    convert::{self, status_number, uuid},
    fault::{commit_error, is_start_conflict},
};
use saga_engine::store::{
    CommitError,
    record::{AuditRow, Batch, ChangeRow, Fence, JournalRow, StartConflict, StartRow},
};

const COMMIT: &str = "SELECT saga_commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
     $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36)";

type Statement<'q> = Query<'q, sqlx::Postgres, PgArguments>;

/// What a commit came to, and the error of the connection where it came to none.
pub(super) type Outcome = Result<(), (CommitError, Option<sqlx::Error>)>;

/// Writes the batch in one transaction, or nothing.
pub(super) async fn commit(conn: &mut PgConnection, batch: &Batch) -> Outcome {
    let refused = |error| (error, None);
    let statement = match batch.check_coverage().and_then(|()| statement(batch)) {
        Ok(statement) => statement,
        // Whoever does not own the partitions is told that first, whatever else is wrong with the batch.
        Err(error) => {
            let bare = Batch {
                fence: batch.fence.clone(),
                ..Batch::default()
            };
            let asked = Box::pin(commit(conn, &bare)).await;
            return asked.and(Err(refused(error)));
        }
    };
    match statement.fetch_one(&mut *conn).await {
        Ok(row) => {
            let lost: Vec<i32> = row
                .try_get(0)
                .map_err(|error| (CommitError::Unknown(error.to_string().into()), Some(error)))?;
            if lost.is_empty() {
                return Ok(());
            }
            let lost = lost
                .into_iter()
                .map(|id| Partition(u16::try_from(id).unwrap_or(u16::MAX)));
            Err(refused(CommitError::Fenced(lost.collect())))
        }
        Err(error) if is_start_conflict(&error) => match conflicts(conn, &batch.starts).await {
            Ok(conflicts) => Err(refused(CommitError::StartsExist(conflicts))),
            // Nothing was written; the same batch finds its conflicts again.
            Err(error) => Err((
                CommitError::Unavailable(error.to_string().into()),
                Some(error),
            )),
        },
        Err(error) => Err((commit_error(&error), Some(error))),
    }
}

fn statement(batch: &Batch) -> Result<Statement<'_>, CommitError> {
    let commit_no = signed(batch.commit_no, "the commit's number")?;
    let at = batch.journal.iter().map(|row| row.at.0).max().unwrap_or(0);
    let statement = fence(sqlx::query(COMMIT), &batch.fence)?
        .bind(commit_no)
        .bind(at);
    let statement = changes(starts(statement, &batch.starts)?, &batch.changes);
    audit(journal(statement, &batch.journal)?, &batch.audit)
}

fn fence<'q>(statement: Statement<'q>, fence: &[Fence]) -> Result<Statement<'q>, CommitError> {
    let epochs = fence
        .iter()
        .map(|f| signed(f.epoch, "an epoch"))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(statement
        .bind(
            fence
                .iter()
                .map(|f| i32::from(f.partition.0))
                .collect::<Vec<_>>(),
        )
        .bind(epochs)
        .bind(
            fence
                .iter()
                .map(|f| Uuid::from_u128(f.token))
                .collect::<Vec<_>>(),
        ))
}

fn starts<'q>(
    statement: Statement<'q>,
    starts: &'q [StartRow],
) -> Result<Statement<'q>, CommitError> {
    let labels = starts.iter().map(|start| {
        serde_json::to_string(&start.row.labels)
            .map_err(|error| CommitError::Data(format!("labels of saga {}: {error}", start.row.id)))
    });
    let labels = labels.collect::<Result<Vec<_>, _>>()?;
    let rows = || starts.iter().map(|start| &start.row);
    Ok(statement
        .bind(rows().map(|row| uuid(row.id)).collect::<Vec<_>>())
        .bind(rows().map(|row| row.name.as_str()).collect::<Vec<_>>())
        .bind(rows().map(|row| i64::from(row.version)).collect::<Vec<_>>())
        .bind(rows().map(|row| row.hash.as_slice()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.key.as_deref()).collect::<Vec<_>>())
        .bind(
            starts
                .iter()
                .map(|start| start.input_hash.as_slice())
                .collect::<Vec<_>>(),
        )
        .bind(labels)
        .bind(rows().map(|row| row.started_at.0).collect::<Vec<_>>())
        .bind(
            rows()
                .map(|row| status_number(row.face.status))
                .collect::<Vec<_>>(),
        )
        .bind(rows().map(|row| row.face.incident).collect::<Vec<_>>())
        .bind(rows().map(|row| row.face.exceptions).collect::<Vec<_>>())
        .bind(
            rows()
                .map(|row| row.face.ended_at.map(|at| at.0))
                .collect::<Vec<_>>(),
        ))
}

fn changes<'q>(statement: Statement<'q>, changes: &[ChangeRow]) -> Statement<'q> {
    let faces = || changes.iter().map(|change| change.face);
    statement
        .bind(
            changes
                .iter()
                .map(|change| uuid(change.id))
                .collect::<Vec<_>>(),
        )
        .bind(
            faces()
                .map(|face| status_number(face.status))
                .collect::<Vec<_>>(),
        )
        .bind(faces().map(|face| face.incident).collect::<Vec<_>>())
        .bind(faces().map(|face| face.exceptions).collect::<Vec<_>>())
        .bind(
            faces()
                .map(|face| face.ended_at.map(|at| at.0))
                .collect::<Vec<_>>(),
        )
}

/// The journal saga by saga. For every row that does not follow the one before it in the batch, the database is asked
/// for its predecessor.
fn journal<'q>(
    statement: Statement<'q>,
    journal: &'q [JournalRow],
) -> Result<Statement<'q>, CommitError> {
    let mut rows: Vec<&JournalRow> = journal.iter().collect();
    rows.sort_by_key(|row| (row.saga_id, row.seq));
    let (mut head_ids, mut head_seqs) = (Vec::new(), Vec::new());
    let mut last: Option<(SagaId, u64)> = None;
    let mut seqs = Vec::with_capacity(rows.len());
    for row in &rows {
        seqs.push(signed(row.seq, "a position in a journal")?);
        match last {
            Some((saga, seq)) if saga == row.saga_id && seq.checked_add(1) == Some(row.seq) => {}
            Some((saga, _)) if saga != row.saga_id && row.seq == 1 => {}
            None if row.seq == 1 => {}
            Some(_) | None => {
                head_ids.push(uuid(row.saga_id));
                // Before the first row there is none, and nothing is found there.
                head_seqs.push(signed(row.seq, "a position in a journal")? - 1);
            }
        }
        last = Some((row.saga_id, row.seq));
    }
    Ok(statement
        .bind(head_ids)
        .bind(head_seqs)
        .bind(rows.iter().map(|row| uuid(row.saga_id)).collect::<Vec<_>>())
        .bind(seqs)
        .bind(rows.iter().map(|row| row.at.0).collect::<Vec<_>>())
        .bind(
            rows.iter()
                .map(|row| row.body.as_slice())
                .collect::<Vec<_>>(),
        ))
}

fn audit<'q>(
    statement: Statement<'q>,
    audit: &'q [AuditRow],
) -> Result<Statement<'q>, CommitError> {
    let seqs = audit
        .iter()
        .map(|row| signed(row.seq, "a position in a journal"));
    let seqs = seqs.collect::<Result<Vec<_>, _>>()?;
    Ok(statement
        .bind(
            audit
                .iter()
                .map(|row| uuid(row.saga_id))
                .collect::<Vec<_>>(),
        )
        .bind(seqs)
        .bind(audit.iter().map(|row| row.at.0).collect::<Vec<_>>())
        .bind(
            audit
                .iter()
                .map(|row| row.verb.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            audit
                .iter()
                .map(|row| row.step.as_deref())
                .collect::<Vec<_>>(),
        )
        .bind(audit.iter().map(|row| row.who.as_str()).collect::<Vec<_>>())
        .bind(
            audit
                .iter()
                .map(|row| row.reason.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(audit.iter().map(|row| row.forced).collect::<Vec<_>>()))
}

fn signed(number: u64, what: &str) -> Result<i64, CommitError> {
    i64::try_from(number)
        .map_err(|_| CommitError::Data(format!("{what}: {number} is out of range")))
}

/// What is there already of some starts.
#[derive(Clone)]
struct Earlier {
    id: SagaId,
    input_hash: [u8; 32],
    definition: (String, u32),
    status: saga_core::Status,
}

/// Which starts were asked for before, in the order of the batch. Nobody else starts sagas in these partitions, so
/// what is read here is what stood in the way.
async fn conflicts(
    conn: &mut PgConnection,
    starts: &[StartRow],
) -> Result<Vec<StartConflict>, sqlx::Error> {
    let (mut by_key, mut by_id) = earlier(conn, starts).await?;
    let mut conflicts = Vec::new();
    for (index, start) in starts.iter().enumerate() {
        let key = start
            .row
            .key
            .as_ref()
            .map(|key| (start.row.name.clone(), key.clone()));
        let of_key = key.as_ref().and_then(|key| by_key.get(key));
        if let Some(first) = of_key.or_else(|| by_id.get(&start.row.id)) {
            conflicts.push(StartConflict {
                index,
                existing: first.id,
                by_key: of_key.is_some(),
                input_hash: first.input_hash,
                definition: first.definition.clone(),
                status: first.status,
            });
            continue;
        }
        let begun = Earlier {
            id: start.row.id,
            input_hash: start.input_hash,
            definition: (start.row.name.clone(), start.row.version),
            status: start.row.face.status,
        };
        by_key.extend(key.map(|key| (key, begun.clone())));
        by_id.insert(start.row.id, begun);
    }
    Ok(conflicts)
}

type ByKey = BTreeMap<(String, String), Earlier>;
type ById = BTreeMap<SagaId, Earlier>;

async fn earlier(
    conn: &mut PgConnection,
    starts: &[StartRow],
) -> Result<(ByKey, ById), sqlx::Error> {
    let keyed = || {
        starts
            .iter()
            .filter_map(|start| Some((&start.row.name, start.row.key.as_ref()?)))
    };
    let rows = sqlx::query(
        "SELECT k.name, k.key, k.saga_id AS id, k.version, k.input_hash, s.status
         FROM unnest($1::text[], $2::text[]) AS w (name, key)
         JOIN start_key k ON k.name = w.name AND k.key = w.key JOIN saga s ON s.id = k.saga_id",
    )
    .bind(keyed().map(|(name, _)| name.as_str()).collect::<Vec<_>>())
    .bind(keyed().map(|(_, key)| key.as_str()).collect::<Vec<_>>())
    .fetch_all(&mut *conn)
    .await?;
    let mut by_key = ByKey::new();
    for row in &rows {
        let found = one(row)?;
        by_key.insert((found.definition.0.clone(), row.try_get("key")?), found);
    }
    let rows =
        sqlx::query("SELECT id, name, version, input_hash, status FROM saga WHERE id = ANY ($1)")
            .bind(
                starts
                    .iter()
                    .map(|start| uuid(start.row.id))
                    .collect::<Vec<_>>(),
            )
            .fetch_all(conn)
            .await?;
    let by_id = rows
        .iter()
        .map(|row| one(row).map(|found| (found.id, found)));
    Ok((by_key, by_id.collect::<Result<_, _>>()?))
}

fn one(row: &sqlx::postgres::PgRow) -> Result<Earlier, sqlx::Error> {
    Ok(Earlier {
        id: convert::saga_id(row, "id")?,
        input_hash: convert::hash(row, "input_hash")?,
        definition: (row.try_get("name")?, convert::version(row, "version")?),
        status: convert::status(row.try_get("status")?)?,
    })
}
