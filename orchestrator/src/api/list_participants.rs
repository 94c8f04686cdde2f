//! `ListParticipants`: everybody who ever registered, who is connected, and what is outstanding there.

use saga_proto::v1 as wire;
use tokio::sync::oneshot;

use super::{Api, error::Refusal, sizes};
use crate::{
    lane::intake::{Census, Intake},
    store::record::ParticipantRow,
    transport::directory::{InboxKind, Instance, stored_actions},
};

/// Most instances of one participant that are listed.
const INSTANCES_MAX: usize = 1_000;

pub(super) async fn list_participants(
    api: &Api,
    request: &wire::ListParticipantsRequest,
) -> Result<wire::ListParticipantsResponse, Refusal> {
    let (answer, answered) = oneshot::channel();
    api.parts().lane.send(Intake::Census(answer)).await?;
    let census = answered.await.map_err(|_| api.closed())?;
    let connected = api.parts().directory.connected();
    let known = api.parts().directory.known().await;
    let mut participants: Vec<_> = known.iter().map(|row| participant(row, &connected, &census)).collect();
    // Sagas may wait for somebody who has never been seen.
    for (name, waiting) in &census.waiting {
        if !known.iter().any(|row| row.name == *name) {
            let waiting = count(*waiting);
            participants.push(wire::ParticipantInfo { name: name.clone(), waiting, ..Default::default() });
        }
    }
    participants.sort_by(|a, b| a.name.cmp(&b.name));
    let broker = api.parts().directory.broker().borrow().as_ref().map(|trouble| wire::BrokerTrouble {
        state: trouble.unheard.to_string(),
        why: trouble.why.clone(),
        since_us: trouble.since.0,
    });
    // The token is the last name of the page before.
    let rest = participants.into_iter().filter(|participant| participant.name > request.page_token);
    let (participants, more) = sizes::page(rest, request.page_size);
    let next = participants.last().filter(|_| more).map(|last| last.name.clone());
    Ok(wire::ListParticipantsResponse { participants, broker, next_page_token: next.unwrap_or_default() })
}

fn participant(row: &ParticipantRow, connected: &[Instance], census: &Census) -> wire::ParticipantInfo {
    let mut instances: Vec<_> = connected
        .iter()
        .filter(|instance| instance.participant == row.name)
        .map(|instance| {
            let link = census.links.iter().find(|link| link.link == instance.link);
            wire::InstanceInfo {
                instance: instance.instance.clone(),
                connected_at_us: instance.connected_at.0,
                sdk: instance.sdk.clone(),
                draining: link.is_some_and(|link| link.draining),
                outstanding: link.map_or(0, |link| count(link.outstanding)),
                peer: instance.peer.clone(),
            }
        })
        .collect();
    let kind = match InboxKind::from_word(&row.inbox_kind) {
        InboxKind::Transactional => wire::InboxKind::Transactional,
        InboxKind::Journaled => wire::InboxKind::Journaled,
        InboxKind::None => wire::InboxKind::None,
    };
    let outstanding = instances.iter().map(|instance| instance.outstanding).sum();
    let left_out = instances.len().saturating_sub(INSTANCES_MAX);
    instances.truncate(INSTANCES_MAX);
    wire::ParticipantInfo {
        name: row.name.clone(),
        inbox_id: row.inbox_id.clone(),
        inbox_kind: kind.into(),
        actions: stored_actions(row).into_iter().map(|action| action.name).collect(),
        outstanding,
        instances,
        instances_left_out: count(left_out),
        waiting: census.waiting.iter().find(|(name, _)| *name == row.name).map_or(0, |(_, n)| count(*n)),
        last_seen_us: row.last_seen.0,
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
