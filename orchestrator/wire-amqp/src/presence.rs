//! Who could be reached over the broker, remembered for the owner that comes next, and which queues of replies there are.
//!
//! Instances register every five seconds. An owner that has just begun would let steps wait for as long although nothing
//! is wrong with their participants. So each owner notes who is there, and the next one trusts the note until it has had
//! time to hear from them itself.

use std::{sync::Arc, time::Duration};

use saga_proto::v1 as wire;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::topology::MAIN;
use saga_engine::store::{self, Registers};

/// Before a note that could not be written is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What an instance said of itself, without the schemas: those the register has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    participant: String,
    instance: String,
    inbox_id: String,
    inbox_kind: i32,
    /// Name, kind, what it undoes.
    actions: Vec<(String, i32, String)>,
    capabilities: Vec<String>,
    sdk: String,
}

impl Noted {
    pub(super) fn of(said: &wire::Hello) -> Self {
        let actions = said.actions.iter();
        Self {
            participant: said.participant.clone(),
            instance: said.instance.clone(),
            inbox_id: said.inbox_id.clone(),
            inbox_kind: said.inbox_kind,
            actions: actions
                .map(|a| (a.name.clone(), a.kind, a.undoes.clone()))
                .collect(),
            capabilities: said.capabilities.clone(),
            sdk: said.sdk.clone(),
        }
    }

    pub(super) fn into_hello(self) -> wire::Hello {
        let action = |(name, kind, undoes)| wire::Action {
            name,
            kind,
            undoes,
            ..wire::Action::default()
        };
        wire::Hello {
            participant: self.participant,
            instance: self.instance,
            inbox_id: self.inbox_id,
            inbox_kind: self.inbox_kind,
            actions: self.actions.into_iter().map(action).collect(),
            capabilities: self.capabilities,
            sdk: self.sdk,
        }
    }
}

/// What an owner notes for the one that comes next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Note {
    /// Names of owners whose queues of replies may still be there, this one's among them.
    pub(super) queues: Vec<String>,
    /// Instances that are there.
    pub(super) live: Vec<Noted>,
}

/// Writes notes until the road is closed.
pub(super) async fn keep(
    store: Arc<dyn Registers>,
    mut notes: watch::Receiver<Note>,
    closing: CancellationToken,
) {
    let write = async {
        while notes.changed().await.is_ok() {
            let text = serde_json::to_string(&*notes.borrow_and_update());
            // Plain words and texts always serialise.
            let Ok(text) = text else { continue };
            if let Err(error) = store.put_presence(text).await {
                tracing::warn!(%error, "who is there over the broker is not noted; trying again");
                sleep(TRY_AGAIN_AFTER).await;
                notes.mark_changed();
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = closing.cancelled() => {}
    }
}

/// What the last owner noted. What cannot be read counts as nothing: participants register soon. Where there is no note,
/// the last owner was of a release that had one queue of replies for all.
pub(super) async fn read(store: &dyn Registers) -> Note {
    let found: Result<Option<String>, store::Error> = store.presence().await;
    let text = found.unwrap_or_else(|error| {
        tracing::warn!(%error, "who was there over the broker cannot be read; they register soon");
        None
    });
    match text.and_then(|text| serde_json::from_str(&text).ok()) {
        Some(note) => note,
        None => Note {
            queues: vec![MAIN.to_owned()],
            live: Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_as_what_was_said_without_schemas() {
        let action = wire::Action {
            name: "reserve".to_owned(),
            input_schema: "{}".to_owned(),
            undoes: String::new(),
            ..wire::Action::default()
        };
        let said = wire::Hello {
            participant: "hotels".to_owned(),
            instance: "hotels-1".to_owned(),
            inbox_id: "5e1f".to_owned(),
            inbox_kind: wire::InboxKind::Transactional.into(),
            actions: vec![action],
            capabilities: vec!["batch".to_owned()],
            sdk: "rust/0.1.0".to_owned(),
        };
        let text = serde_json::to_string(&[Noted::of(&said)]).expect("JSON");
        let read: Vec<Noted> = serde_json::from_str(&text).expect("a note");
        let mut bare = said;
        bare.actions[0].input_schema.clear();
        assert_eq!(read[0].clone().into_hello(), bare);
    }
}
