//! The barrier's one table: an operation meets a row, and this is what follows.
//!
//! ```text
//! row          action            compensation      query         seal              forget
//! -----------  ----------------  ----------------  ------------  ----------------  ------
//! (none)       run / expired     tombstone, or     absent        tombstone,        -
//!                                alarm if done is              sealed
//!                                known
//! acting       running           running           running       running           keep
//! running      accepted          running           running       running           delete
//! done         stored output     undo              done          done              delete
//! undoing      running           running           running       running           keep
//! refused      stored refusal    tombstone (alarm  refused       refused           delete
//!                                if done is known)
//! tombstone    blocked           nothing to do     sealed        sealed            delete
//!                                (alarm likewise)
//! compensated  blocked           compensated       compensated   compensated       delete
//! ```
//!
//! *Running*: the work goes on outside of a handler. If its worker is gone, a later attempt of the action, in time and with
//! the same fingerprint, is handed to the handler again (*resume*), and a query finds it *absent*: the orchestrator then
//! sends that attempt. `claims.rs` says who is gone.
//!
//! An action whose fingerprint differs from the stored one answers `conflict` wherever the table
//! would repeat a stored answer. *Acting* and *undoing* mean that a handler of this process is at work
//! right now; an inbox whose transactions exclude each other never shows them.

use crate::command::{Known, Op};

/// What the inbox holds for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowState {
    /// The action's handler is at work in this process.
    Acting,
    /// The action was accepted; the work goes on outside the handler.
    Running,
    /// The action took effect.
    Done,
    /// The compensation's handler is at work in this process.
    Undoing,
    /// The action was refused.
    Refused,
    /// The action never took effect and never will.
    Tombstone,
    /// The action took effect and was undone.
    Compensated,
}

impl RowState {
    /// Every state, in the order of the table.
    pub const ALL: [RowState; 7] = [
        RowState::Acting,
        RowState::Running,
        RowState::Done,
        RowState::Undoing,
        RowState::Refused,
        RowState::Tombstone,
        RowState::Compensated,
    ];

    /// No handler and no accepted work will change it by itself.
    pub fn is_settled(self) -> bool {
        match self {
            RowState::Done | RowState::Refused | RowState::Tombstone | RowState::Compensated => {
                true
            }
            RowState::Acting | RowState::Running | RowState::Undoing => false,
        }
    }
}

/// What the decision needs to know beside operation and state.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The action's fingerprint is the stored one, or one of them is missing.
    pub same_fingerprint: bool,
    /// The command's `not_after` has passed.
    pub expired: bool,
    /// What the orchestrator knows of the action.
    pub known: Known,
    /// The row is running, its worker is gone, and the command may say so: a question, or a later attempt of the action.
    pub left: bool,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Claim the row and run the action's handler.
    Act,
    /// Run the action's handler again: it was accepted, and whoever worked on it is gone.
    Resume,
    /// Run the compensation's handler.
    Undo,
    /// Write a tombstone (over what is there) and say so.
    Tombstone(Say),
    /// Change nothing and answer.
    Answer(Say),
    /// Delete the row; no answer.
    Delete,
    /// Leave everything as it is; no answer.
    Keep,
}

/// An answer; `Stored…` takes its content from the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// The stored output, as the action's success.
    StoredSuccess,
    /// The stored output, as what a query found.
    StoredDone,
    /// The stored refusal.
    StoredRefusal,
    /// In progress.
    Running,
    /// Accepted earlier.
    Accepted,
    /// Undone or sealed before it came.
    Blocked,
    /// The key was used with other content.
    Conflict,
    /// Came too late; nothing was written.
    Expired,
    /// The orchestrator saw an effect of which this inbox knows nothing.
    Contradiction,
    /// There was no effect and never will be.
    NothingToDo,
    /// Undone.
    Compensated,
    /// No row.
    Absent,
    /// Never happened, never will.
    Sealed,
}

/// The table above. Pure: every inbox asks it, inside its own transaction or lock.
pub fn decide(op: Op, row: Option<RowState>, facts: Facts) -> Decision {
    match op {
        Op::Action => on_action(row, facts),
        Op::Compensation => on_compensation(row, facts.known),
        Op::Query if row == Some(RowState::Running) && facts.left => Decision::Answer(Say::Absent),
        Op::Query => Decision::Answer(read(row)),
        Op::Seal => match row {
            None => Decision::Tombstone(Say::Sealed),
            Some(_) => Decision::Answer(read(row)),
        },
        Op::Forget => match row {
            None | Some(RowState::Acting | RowState::Undoing) => Decision::Keep,
            Some(
                RowState::Running
                | RowState::Done
                | RowState::Refused
                | RowState::Tombstone
                | RowState::Compensated,
            ) => Decision::Delete,
        },
    }
}

fn on_action(row: Option<RowState>, facts: Facts) -> Decision {
    let Some(state) = row else {
        return if facts.expired {
            Decision::Answer(Say::Expired)
        } else {
            Decision::Act
        };
    };
    let stored = |say| {
        Decision::Answer(if facts.same_fingerprint {
            say
        } else {
            Say::Conflict
        })
    };
    match state {
        RowState::Acting | RowState::Undoing => stored(Say::Running),
        RowState::Running if facts.left && facts.same_fingerprint && !facts.expired => {
            Decision::Resume
        }
        RowState::Running => stored(Say::Accepted),
        RowState::Done => stored(Say::StoredSuccess),
        RowState::Refused => stored(Say::StoredRefusal),
        RowState::Tombstone | RowState::Compensated => Decision::Answer(Say::Blocked),
    }
}

fn on_compensation(row: Option<RowState>, known: Known) -> Decision {
    match (row, known) {
        // The effect that the orchestrator saw must exist somewhere: this inbox was purged or restored.
        (None | Some(RowState::Refused | RowState::Tombstone), Known::Done) => {
            Decision::Answer(Say::Contradiction)
        }
        (None | Some(RowState::Refused), Known::Unknown) => Decision::Tombstone(Say::NothingToDo),
        (Some(RowState::Tombstone), Known::Unknown) => Decision::Answer(Say::NothingToDo),
        (Some(RowState::Acting | RowState::Running | RowState::Undoing), _) => {
            Decision::Answer(Say::Running)
        }
        (Some(RowState::Done), _) => Decision::Undo,
        (Some(RowState::Compensated), _) => Decision::Answer(Say::Compensated),
    }
}

fn read(row: Option<RowState>) -> Say {
    match row {
        None => Say::Absent,
        Some(RowState::Acting | RowState::Running | RowState::Undoing) => Say::Running,
        Some(RowState::Done) => Say::StoredDone,
        Some(RowState::Refused) => Say::StoredRefusal,
        Some(RowState::Tombstone) => Say::Sealed,
        Some(RowState::Compensated) => Say::Compensated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Facts = Facts {
        same_fingerprint: true,
        expired: false,
        known: Known::Unknown,
        left: false,
    };

    fn rows() -> impl Iterator<Item = Option<RowState>> {
        std::iter::once(None).chain(RowState::ALL.into_iter().map(Some))
    }

    fn all() -> impl Iterator<Item = (Op, Option<RowState>, Facts)> {
        Op::ALL.into_iter().flat_map(|op| {
            rows().flat_map(move |row| {
                (0..16).map(move |bits| {
                    let known = if bits & 4 == 0 {
                        Known::Done
                    } else {
                        Known::Unknown
                    };
                    (
                        op,
                        row,
                        Facts {
                            same_fingerprint: bits & 1 == 0,
                            expired: bits & 2 == 0,
                            known,
                            left: bits & 8 == 0,
                        },
                    )
                })
            })
        })
    }

    #[test]
    fn the_table_reads_as_documented() {
        use Decision::{Act, Answer, Delete, Keep, Tombstone, Undo};
        use RowState::{Acting, Compensated, Done, Refused, Running, Tombstone as Grave, Undoing};
        use Say::{
            Absent, Accepted, Blocked, NothingToDo, Sealed, StoredDone, StoredRefusal,
            StoredSuccess,
        };
        let busy = Answer(Say::Running);
        let undone = Answer(Say::Compensated);
        let table = [
            (
                None,
                [
                    Act,
                    Tombstone(NothingToDo),
                    Answer(Absent),
                    Tombstone(Sealed),
                    Keep,
                ],
            ),
            (Some(Acting), [busy, busy, busy, busy, Keep]),
            (Some(Running), [Answer(Accepted), busy, busy, busy, Delete]),
            (
                Some(Done),
                [
                    Answer(StoredSuccess),
                    Undo,
                    Answer(StoredDone),
                    Answer(StoredDone),
                    Delete,
                ],
            ),
            (Some(Undoing), [busy, busy, busy, busy, Keep]),
            (
                Some(Refused),
                [
                    Answer(StoredRefusal),
                    Tombstone(NothingToDo),
                    Answer(StoredRefusal),
                    Answer(StoredRefusal),
                    Delete,
                ],
            ),
            (
                Some(Grave),
                [
                    Answer(Blocked),
                    Answer(NothingToDo),
                    Answer(Sealed),
                    Answer(Sealed),
                    Delete,
                ],
            ),
            (
                Some(Compensated),
                [Answer(Blocked), undone, undone, undone, Delete],
            ),
        ];
        assert_eq!(table.len(), rows().count());
        for (row, expected) in table {
            for (op, expected) in Op::ALL.into_iter().zip(expected) {
                assert_eq!(decide(op, row, FRESH), expected, "{op:?} meets {row:?}");
            }
        }
    }

    #[test]
    fn an_action_runs_only_without_a_row_and_in_time() {
        for (op, row, facts) in all() {
            let runs = decide(op, row, facts) == Decision::Act;
            assert_eq!(
                runs,
                op == Op::Action && row.is_none() && !facts.expired,
                "{op:?} {row:?} {facts:?}"
            );
        }
    }

    #[test]
    fn only_work_that_was_left_is_resumed_and_asked_for_again() {
        for (op, row, facts) in all() {
            let running = row == Some(RowState::Running);
            let in_time = facts.same_fingerprint && !facts.expired;
            assert_eq!(
                decide(op, row, facts) == Decision::Resume,
                op == Op::Action && running && facts.left && in_time,
                "{op:?} {row:?} {facts:?}"
            );
            let absent = decide(op, row, facts) == Decision::Answer(Say::Absent);
            assert_eq!(
                absent,
                op == Op::Query && (row.is_none() || (running && facts.left)),
                "{op:?} {row:?} {facts:?}"
            );
        }
    }

    #[test]
    fn only_a_compensation_undoes_and_only_what_was_done() {
        for (op, row, facts) in all() {
            let undoes = decide(op, row, facts) == Decision::Undo;
            assert_eq!(
                undoes,
                op == Op::Compensation && row == Some(RowState::Done)
            );
        }
    }

    #[test]
    fn a_tombstone_never_covers_an_effect_or_work_in_progress() {
        for (op, row, facts) in all() {
            if let Decision::Tombstone(_) = decide(op, row, facts) {
                assert!(
                    matches!(row, None | Some(RowState::Refused)),
                    "{op:?} {row:?}"
                );
                assert!(matches!(op, Op::Compensation | Op::Seal));
                assert!(op == Op::Seal || facts.known == Known::Unknown);
            }
        }
    }

    #[test]
    fn a_known_effect_that_the_inbox_lost_raises_an_alarm() {
        for row in [None, Some(RowState::Refused), Some(RowState::Tombstone)] {
            let decision = decide(
                Op::Compensation,
                row,
                Facts {
                    known: Known::Done,
                    ..FRESH
                },
            );
            assert_eq!(decision, Decision::Answer(Say::Contradiction), "{row:?}");
        }
    }

    #[test]
    fn another_fingerprint_conflicts_unless_the_key_is_blocked() {
        for row in RowState::ALL {
            let expected = match row {
                RowState::Tombstone | RowState::Compensated => Say::Blocked,
                RowState::Acting
                | RowState::Running
                | RowState::Done
                | RowState::Undoing
                | RowState::Refused => Say::Conflict,
            };
            let facts = Facts {
                same_fingerprint: false,
                ..FRESH
            };
            assert_eq!(
                decide(Op::Action, Some(row), facts),
                Decision::Answer(expected),
                "{row:?}"
            );
        }
    }

    #[test]
    fn an_expired_action_without_a_row_writes_nothing_but_a_stored_answer_is_repeated() {
        let late = Facts {
            expired: true,
            ..FRESH
        };
        assert_eq!(
            decide(Op::Action, None, late),
            Decision::Answer(Say::Expired)
        );
        assert_eq!(
            decide(Op::Action, Some(RowState::Done), late),
            Decision::Answer(Say::StoredSuccess)
        );
    }
}
