//! Participants played in memory: made-up outputs, and the SDK's own barrier in front of them.

use std::collections::BTreeMap;

use saga_core::{
    ErrorBody, Op as CoreOp, Payload, SagaId, effect::Known as CoreKnown, input::Outcome,
};
use saga_dsl::test_file::{Answer, Words};
use saga_participant::{
    Known, Op,
    inbox::barrier::{Decision, Facts, RowState, Say, decide},
};
use serde_json::{Map, Value};

use super::cast::{Call, Cast, Effects};

/// One inbox for each participant, and a ledger without unique keys.
#[derive(Debug, Default)]
pub struct Memory {
    rows: BTreeMap<RowKey, Row>,
    effects: BTreeMap<(SagaId, String), Effects>,
}

type RowKey = (String, SagaId, String, u32);

#[derive(Debug, Clone)]
struct Row {
    state: RowState,
    output: Payload,
    error: ErrorBody,
    fingerprint: u64,
}

impl Row {
    fn bare(state: RowState, fingerprint: u64) -> Self {
        let output = Payload::from_value(Value::Object(Map::new()));
        Self {
            state,
            output,
            error: ErrorBody::new("refused", ""),
            fingerprint,
        }
    }
}

impl Cast for Memory {
    async fn take(&mut self, call: &Call<'_>, told: Option<&Answer>) -> Outcome {
        let command = call.command;
        let key: RowKey = (
            call.participant.to_owned(),
            command.saga_id,
            call.step.to_owned(),
            command.round,
        );
        let row = self.rows.get(&key).cloned();
        let op = match command.op {
            CoreOp::Action => Op::Action,
            CoreOp::Compensation => Op::Compensation,
            CoreOp::Query => Op::Query,
            CoreOp::Seal => Op::Seal,
        };
        let facts = Facts {
            same_fingerprint: row
                .as_ref()
                .is_none_or(|row| row.fingerprint == 0 || row.fingerprint == command.fingerprint),
            expired: call.expired,
            known: match command.known {
                Some(CoreKnown::Done) => Known::Done,
                Some(CoreKnown::Unknown) | None => Known::Unknown,
            },
            left: false,
        };
        match decide(op, row.as_ref().map(|row| row.state), facts) {
            Decision::Act | Decision::Resume => self.act(key, call, told),
            Decision::Undo => self.undo(key, call, told),
            Decision::Tombstone(say) => {
                self.rows.insert(key, Row::bare(RowState::Tombstone, 0));
                answer(say, row)
            }
            Decision::Answer(say) => answer(say, row),
            // Only `forget` leads here, and no trial forgets.
            Decision::Delete | Decision::Keep => Outcome::Running,
        }
    }

    async fn effects(&mut self, saga: SagaId) -> BTreeMap<String, Effects> {
        let of_saga = self.effects.iter().filter(|((id, _), _)| *id == saga);
        of_saga
            .map(|((_, step), effects)| (step.clone(), *effects))
            .collect()
    }
}

impl Memory {
    fn ledger(&mut self, key: &RowKey) -> &mut Effects {
        self.effects.entry((key.1, key.2.clone())).or_default()
    }

    fn act(&mut self, key: RowKey, call: &Call<'_>, told: Option<&Answer>) -> Outcome {
        match told {
            Some(Answer::Refuse(words)) => {
                let error = error(words);
                let row = Row {
                    error: error.clone(),
                    ..Row::bare(RowState::Refused, call.command.fingerprint)
                };
                self.rows.insert(key, row);
                Outcome::Refused(error)
            }
            Some(Answer::Fail(words, after)) => Outcome::Failed(ErrorBody {
                retry_after_ms: *after,
                ..error(words)
            }),
            Some(Answer::NeedsOperator(words)) => Outcome::Failed(error(words)),
            Some(Answer::Succeed(_) | Answer::Silent(_)) | None => {
                let output = match told {
                    Some(Answer::Succeed(Some(output))) => output.clone(),
                    Some(_) | None => call.sample.clone(),
                };
                let output = Payload::from_value(output);
                let row = Row {
                    output: output.clone(),
                    ..Row::bare(RowState::Done, call.command.fingerprint)
                };
                self.ledger(&key).acted += 1;
                self.rows.insert(key, row);
                Outcome::Succeeded(output)
            }
        }
    }

    fn undo(&mut self, key: RowKey, call: &Call<'_>, told: Option<&Answer>) -> Outcome {
        match told {
            // A compensation may not refuse; the SDK makes a person of it.
            Some(Answer::Refuse(words) | Answer::NeedsOperator(words)) => {
                Outcome::NeedsOperator(error(words))
            }
            Some(Answer::Fail(words, after)) => Outcome::Failed(ErrorBody {
                retry_after_ms: *after,
                ..error(words)
            }),
            Some(Answer::Succeed(_) | Answer::Silent(_)) | None => {
                self.ledger(&key).undone += 1;
                self.rows.insert(
                    key,
                    Row::bare(RowState::Compensated, call.command.fingerprint),
                );
                Outcome::Compensated
            }
        }
    }
}

fn error(words: &Words) -> ErrorBody {
    ErrorBody::new(words.code.as_str(), words.message.as_str())
}

fn answer(say: Say, row: Option<Row>) -> Outcome {
    let row = row.unwrap_or_else(|| Row::bare(RowState::Tombstone, 0));
    match say {
        Say::StoredSuccess => Outcome::Succeeded(row.output),
        Say::StoredDone => Outcome::Done(row.output),
        Say::StoredRefusal => Outcome::Refused(row.error),
        Say::Running => Outcome::Running,
        Say::Accepted => Outcome::Accepted,
        Say::Blocked => Outcome::Blocked,
        Say::Conflict => Outcome::Conflict(ErrorBody::new(
            "conflict",
            "the key was used with other content",
        )),
        Say::Expired => Outcome::Expired,
        Say::Contradiction => Outcome::NeedsOperator(ErrorBody::new(
            "inbox_lost",
            "asked to undo an action that is known to be done, and it has no trace of it",
        )),
        Say::NothingToDo => Outcome::NothingToDo,
        Say::Compensated => Outcome::Compensated,
        Say::Absent => Outcome::Absent,
        Say::Sealed => Outcome::Sealed,
    }
}
