//! What is particular to SQLite: one writer, other processes, retention.

use super::*;
use crate::testing::ask;

async fn open(directory: &tempfile::TempDir) -> SqliteInbox {
    SqliteInbox::open(directory.path().join("inbox.db"))
        .await
        .expect("opens")
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

async fn begin(inbox: &SqliteInbox, ask: &Ask) -> SqliteUnit {
    match inbox.enter(ask).await.expect("enters") {
        Entry::Run { unit, .. } => unit,
        other => panic!("{other:?} is no run"),
    }
}

async fn done(inbox: &SqliteInbox, ask: &Ask) {
    let unit = begin(inbox, ask).await;
    inbox
        .settle(ask, unit, End::Done(Bytes::from_static(b"1")))
        .await
        .expect("settles");
}

async fn answered(inbox: &SqliteInbox, ask: &Ask) -> Answer {
    match inbox.enter(ask).await.expect("enters") {
        Entry::Answered { answer, .. } => answer,
        other => panic!("{other:?} is no answer"),
    }
}

#[tokio::test]
async fn the_sweep_takes_more_than_one_batch_and_spares_what_must_stay() {
    let directory = directory();
    let inbox = open(&directory).await;
    done(&inbox, &ask("for ever", Op::Action)).await;
    done(
        &inbox,
        &Ask {
            retain_until_us: i64::MAX,
            ..ask("still kept", Op::Action)
        },
    )
    .await;
    let accepted = Ask {
        retain_until_us: 1,
        ..ask("accepted", Op::Action)
    };
    let unit = begin(&inbox, &accepted).await;
    inbox
        .settle(&accepted, unit, End::Accepted(Claim::default()))
        .await
        .expect("settles");
    let old = SWEEP_ROWS + 7;
    {
        let mut lent = Lent::begin(inbox.writer.clone().lock_owned().await)
            .await
            .expect("begins");
        for n in 0..old {
            let ask = Ask {
                retain_until_us: 1,
                ..ask(&format!("old{n}"), Op::Seal)
            };
            write(lent.connection_mut(), &ask, Stored::new("tombstone", 0))
                .await
                .expect("writes");
        }
        lent.commit().await.expect("commits");
    }
    assert_eq!(inbox.sweep().await.expect("sweeps"), old);
    assert_eq!(inbox.sweep().await.expect("sweeps"), 0);
    for (step, expected) in [
        ("for ever", Answer::Done(Bytes::from_static(b"1"))),
        ("still kept", Answer::Done(Bytes::from_static(b"1"))),
        ("accepted", Answer::Running),
        ("old0", Answer::Absent),
    ] {
        assert_eq!(
            answered(&inbox, &ask(step, Op::Query)).await,
            expected,
            "{step}"
        );
    }
}

#[tokio::test]
async fn a_later_command_extends_the_retention_and_never_shortens_it() {
    let directory = directory();
    let inbox = open(&directory).await;
    done(
        &inbox,
        &Ask {
            retain_until_us: i64::MAX,
            ..ask("s", Op::Action)
        },
    )
    .await;
    let undo = Ask {
        retain_until_us: 1,
        ..ask("s", Op::Compensation)
    };
    let unit = begin(&inbox, &undo).await;
    inbox
        .settle(&undo, unit, End::Compensated)
        .await
        .expect("settles");
    assert_eq!(inbox.sweep().await.expect("sweeps"), 0);
    // The action's fingerprint outlives the undo: a late copy is blocked, whatever it carries.
    assert_eq!(
        answered(&inbox, &ask("s", Op::Action)).await,
        Answer::Blocked
    );
}

#[tokio::test]
async fn an_undo_overtakes_the_actions_that_wait_for_the_writer() {
    let directory = directory();
    let inbox = open(&directory).await;
    let first = ask("first", Op::Action);
    let unit = begin(&inbox, &first).await;
    let (order, mut ended) = tokio::sync::mpsc::unbounded_channel();
    // On this single thread each task runs up to its wait before the next begins.
    for n in 0..8 {
        let (inbox, order) = (inbox.clone(), order.clone());
        tokio::spawn(async move {
            done(&inbox, &ask(&format!("action{n}"), Op::Action)).await;
            let _ = order.send("action");
        });
    }
    let sealing = inbox.clone();
    tokio::spawn(async move {
        answered(&sealing, &ask("sealed", Op::Seal)).await;
        let _ = order.send("seal");
    });
    tokio::task::yield_now().await;
    inbox
        .settle(&first, unit, End::RolledBack)
        .await
        .expect("settles");
    let mut seen = Vec::new();
    while let Some(kind) = ended.recv().await {
        seen.push(kind);
    }
    let place = seen
        .iter()
        .position(|kind| *kind == "seal")
        .expect("it was sealed");
    assert!(place <= 2, "the seal came in place {place}: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn undo_and_query_answer_running_when_the_writer_stays_busy() {
    let directory = directory();
    let inbox = open(&directory).await;
    let action = ask("s", Op::Action);
    let unit = begin(&inbox, &action).await;
    for op in [Op::Compensation, Op::Query, Op::Seal] {
        assert_eq!(
            answered(&inbox, &ask("s", op)).await,
            Answer::Running,
            "{op:?}"
        );
    }
    inbox
        .settle(&action, unit, End::RolledBack)
        .await
        .expect("settles");
    assert_eq!(answered(&inbox, &ask("s", Op::Query)).await, Answer::Absent);
}

/// A predecessor that drains with a handler at work.
#[tokio::test]
async fn a_file_that_is_held_for_longer_than_sqlite_waits_is_tried_again() {
    let directory = directory();
    let first = open(&directory).await;
    let action = ask("s", Op::Action);
    let unit = begin(&first, &action).await;
    let path = directory.path().join("inbox.db");
    let opening = tokio::spawn(async move {
        SqliteInbox::open(path)
            .await?
            .migrate("create table t (n int)")
            .await
    });
    sleep(BUSY_TIMEOUT + Duration::from_secs(1)).await;
    assert!(
        !opening.is_finished(),
        "it gave up, or wrote although another writes"
    );
    first
        .settle(&action, unit, End::RolledBack)
        .await
        .expect("settles");
    opening.await.expect("no panic").expect("opens");
}

#[tokio::test]
async fn a_redelivery_of_accepted_work_moves_its_answer_to_the_latest_attempt() {
    let directory = directory();
    let inbox = open(&directory).await;
    let action = ask("s", Op::Action);
    let unit = begin(&inbox, &action).await;
    inbox
        .settle(&action, unit, End::Accepted(Claim::default()))
        .await
        .expect("settles");
    let again = Ask {
        attempt: 4,
        ..action.clone()
    };
    assert_eq!(answered(&inbox, &again).await, Answer::Accepted);
    let attempt = inbox
        .complete(&action.key, None, End::RolledBack)
        .await
        .expect("completes");
    assert_eq!(attempt, Completed::Stored(4));
}

#[tokio::test]
async fn a_row_in_a_state_of_a_later_version_is_an_error_and_stays() {
    let directory = directory();
    let inbox = open(&directory).await;
    done(&inbox, &ask("s", Op::Action)).await;
    inbox
        .migrate("pragma ignore_check_constraints = on; update saga_inbox set state = 'parked'")
        .await
        .expect("a later version was here");
    let error = inbox
        .enter(&ask("s", Op::Action))
        .await
        .expect_err("cannot be read");
    assert!(
        matches!(&error, Error::UnknownState { state, .. } if state == "parked"),
        "{error:?}"
    );
    inbox.sweep().await.expect("the writer is free again");
}
