//! Hotels as no participant may be: they say that they have an inbox, and have none. Every command is carried out as if
//! it were the first. They show that the audit sees what inboxes are for.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use futures_util::stream;
use rusqlite::Connection;
use saga_proto::v1::{
    Action, ActionKind, Command, FromParticipant, Hello, InboxKind, Op, Outcome, Reply, ReplyBatch,
    from_participant::Message as From, participant_service_client::ParticipantServiceClient,
    to_participant::Message as To,
};
use tokio::{sync::mpsc, time::sleep};
use uuid::Uuid;

use crate::processes::{POLL, connect};

/// Tables as the audit expects them; the inbox stays empty.
const SCHEMA: &str = "
create table ledger (saga_id text, step text, round integer, kind text, subject text);
create table saga_inbox (saga_id blob, step text, round integer, state text);";

/// Serves the hotels for as long as the test's runtime lives, on a database in `dir`.
pub fn serve(url: String, dir: &Path) {
    let ledger = Connection::open(dir.join("hotels.db")).expect("a database");
    ledger.execute_batch(SCHEMA).expect("tables");
    let ledger = Mutex::new(ledger);
    tokio::spawn(async move {
        loop {
            converse(&url, &ledger).await;
            sleep(POLL).await;
        }
    });
}

/// One stream, until it breaks.
async fn converse(url: &str, ledger: &Mutex<Connection>) -> Option<()> {
    let (sender, outbound) = mpsc::unbounded_channel();
    let say = |message: From| {
        sender
            .send(FromParticipant {
                message: Some(message),
            })
            .ok()
    };
    say(From::Hello(hello()))?;
    let outbound = stream::unfold(outbound, async |mut outbound| {
        outbound.recv().await.map(|said| (said, outbound))
    });
    let mut client = ParticipantServiceClient::new(connect(url).await?);
    let mut inbound = client.connect(outbound).await.ok()?.into_inner();
    while let Some(message) = inbound.message().await.ok()? {
        if let Some(To::Commands(batch)) = message.message {
            let replies = batch
                .commands
                .into_iter()
                .map(|command| obey(command, ledger))
                .collect();
            say(From::Replies(ReplyBatch { replies }))?;
        }
    }
    Some(())
}

fn hello() -> Hello {
    let action = |name: &str, kind: ActionKind| Action {
        name: name.to_owned(),
        kind: kind.into(),
        ..Default::default()
    };
    Hello {
        participant: "hotels".to_owned(),
        instance: "forgetful".to_owned(),
        inbox_id: "forgetful".to_owned(),
        inbox_kind: InboxKind::Transactional.into(),
        actions: vec![
            action("reserve", ActionKind::Action),
            action("cancel", ActionKind::Compensation),
        ],
        ..Default::default()
    }
}

fn obey(command: Command, ledger: &Mutex<Connection>) -> Reply {
    let (kind, outcome) = match command.op() {
        Op::Action => (Some("effect"), Outcome::Succeeded),
        Op::Compensation => (Some("compensation"), Outcome::Compensated),
        Op::Query | Op::Seal | Op::Forget | Op::Unspecified => (None, Outcome::Absent),
    };
    if let Some(kind) = kind {
        let saga = Uuid::from_slice(&command.saga_id)
            .expect("an id")
            .to_string();
        ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .execute(
                "insert into ledger values (?, ?, ?, ?, '')",
                (saga, &command.step, command.round, kind),
            )
            .expect("a line");
    }
    Reply {
        saga_id: command.saga_id,
        step: command.step,
        round: command.round,
        op: command.op,
        attempt: command.attempt,
        outcome: outcome.into(),
        output: br#"{"confirmation":"H"}"#.to_vec().into(),
        error: None,
    }
}
