//! `ListParticipants`: everybody who ever registered, who is connected, and what is outstanding there.

use std::{collections::BTreeSet, time::Duration};

use saga_core::Timestamp;
use saga_proto::v1 as wire;
use tokio::sync::oneshot;

use super::{Api, breakers, error::Refusal, sizes};
use crate::keepalive::PINGS_ANSWERED_WITHIN;
use saga_engine::{
    clock,
    directory::{InboxKind, Instance, Road, stored_actions},
    lane::intake::{Census, Intake},
    store::record::ParticipantRow,
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
    let directory = &api.parts().directory;
    let of = |row: &ParticipantRow| {
        let (readers, gone_at) = (
            directory.readers(&row.name),
            directory.last_heard_gone(&row.name),
        );
        participant(row, &connected, readers, gone_at, &census)
    };
    let mut participants: Vec<_> = known.iter().map(of).collect();
    // Sagas may wait for somebody who has never been seen.
    for (name, waiting) in &census.waiting {
        if !known.iter().any(|row| row.name == *name) {
            let waiting = count(*waiting);
            participants.push(wire::ParticipantInfo {
                name: name.clone(),
                waiting,
                ..Default::default()
            });
        }
    }
    for post in breakers::posts(api, None).await? {
        let limits = breakers::limits(api, &post);
        let limited = participants.iter_mut().find(|p| p.name == post.participant);
        if let Some(participant) = limited {
            participant.limits = limits;
        }
    }
    participants.sort_by(|a, b| a.name.cmp(&b.name));
    let broker = api
        .parts()
        .directory
        .broker()
        .borrow()
        .as_ref()
        .map(|trouble| wire::BrokerTrouble {
            state: trouble.unheard.to_string(),
            why: trouble.why.clone(),
            since_us: trouble.since.0,
        });
    // The token is the last name of the page before.
    let rest = participants
        .into_iter()
        .filter(|participant| participant.name > request.page_token);
    let (participants, more) = sizes::page(rest, request.page_size);
    let next = participants
        .last()
        .filter(|_| more)
        .map(|last| last.name.clone());
    Ok(wire::ListParticipantsResponse {
        participants,
        broker,
        next_page_token: next.unwrap_or_default(),
    })
}

fn participant(
    row: &ParticipantRow,
    connected: &[Instance],
    readers: Option<u32>,
    gone_at: Option<Timestamp>,
    census: &Census,
) -> wire::ParticipantInfo {
    let connected: Vec<_> = connected
        .iter()
        .filter(|instance| instance.participant == row.name)
        .collect();
    let lost = lost(&connected, readers);
    let mut instances: Vec<_> = connected
        .iter()
        .map(|instance| {
            let link = census.links.iter().find(|link| link.link == instance.link);
            wire::InstanceInfo {
                instance: instance.instance.clone(),
                connected_at_us: instance.connected_at.0,
                sdk: instance.sdk.clone(),
                draining: instance.leaving || link.is_some_and(|link| link.draining),
                outstanding: link.map_or(0, |link| count(link.outstanding)),
                peer: instance.peer.clone(),
                last_seen_us: last_sign(instance).0,
                held: !instance.leaving && link.is_some_and(|link| link.held),
                lost: lost.contains(&instance.seat),
            }
        })
        .collect();
    let kind = match InboxKind::from_word(&row.inbox_kind) {
        InboxKind::Transactional => wire::InboxKind::Transactional,
        InboxKind::Journaled => wire::InboxKind::Journaled,
        InboxKind::None => wire::InboxKind::None,
    };
    // Instances that share a queue share a link, which counts once.
    let links: BTreeSet<u64> = connected.iter().map(|instance| instance.link).collect();
    let outstanding = census
        .links
        .iter()
        .filter(|link| links.contains(&link.link));
    let seen = connected
        .iter()
        .map(|instance| last_sign(instance))
        .chain(gone_at)
        .chain([row.last_seen])
        .max();
    let left_out = instances.len().saturating_sub(INSTANCES_MAX);
    instances.truncate(INSTANCES_MAX);
    wire::ParticipantInfo {
        name: row.name.clone(),
        inbox_id: row.inbox_id.clone(),
        inbox_kind: kind.into(),
        actions: stored_actions(row)
            .into_iter()
            .map(|action| action.name)
            .collect(),
        outstanding: outstanding.map(|link| count(link.outstanding)).sum(),
        instances,
        instances_left_out: count(left_out),
        waiting: census
            .waiting
            .iter()
            .find(|(name, _)| *name == row.name)
            .map_or(0, |(_, n)| count(*n)),
        last_seen_us: seen.unwrap_or(row.last_seen).0,
        limits: Vec::new(),
    }
}

/// When an instance last gave a sign of life.
fn last_sign(instance: &Instance) -> Timestamp {
    let heard = instance.heard.at();
    match instance.road {
        Road::Broker => heard,
        // A stream lives only while its connection answers pings, which nobody else sees.
        Road::Stream => heard.max(ago(PINGS_ANSWERED_WITHIN)),
    }
}

fn ago(span: Duration) -> Timestamp {
    let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp(clock::now().0.saturating_sub(span))
}

/// The instances that nobody reads the queue for: as many as there are more of them than readers, and of all those that
/// want commands the ones that were heard longest ago. A live one that is taken for lost says so itself within seconds.
fn lost(connected: &[&Instance], readers: Option<u32>) -> BTreeSet<u64> {
    let Some(readers) = readers else {
        return BTreeSet::new();
    };
    let mut by_queue: Vec<_> = connected
        .iter()
        .filter(|instance| instance.road == Road::Broker && !instance.leaving)
        .collect();
    by_queue.sort_by_key(|instance| instance.heard.at());
    let surplus = by_queue
        .len()
        .saturating_sub(usize::try_from(readers).unwrap_or(usize::MAX));
    by_queue[..surplus]
        .iter()
        .map(|instance| instance.seat)
        .collect()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use saga_engine::directory::Heard;

    fn instance(seat: u64, road: Road, heard_us: i64) -> Instance {
        Instance {
            seat,
            link: 1,
            participant: "p".to_owned(),
            instance: format!("p-{seat}"),
            sdk: String::new(),
            peer: String::new(),
            road,
            connected_at: Timestamp(0),
            heard: Heard::new(Timestamp(heard_us)),
            leaving: false,
            actions: Vec::new(),
            close: CancellationToken::new(),
        }
    }

    #[test]
    fn instances_beyond_the_readers_are_lost_oldest_first() {
        let leaving = Instance {
            leaving: true,
            ..instance(4, Road::Broker, 1)
        };
        let all = [
            instance(1, Road::Broker, 20),
            instance(2, Road::Broker, 10),
            instance(3, Road::Broker, 30),
            leaving,
            instance(5, Road::Stream, 0),
        ];
        let all: Vec<&Instance> = all.iter().collect();
        let of = |readers| lost(&all, readers).into_iter().collect::<Vec<_>>();
        assert_eq!(of(Some(1)), [1, 2]);
        assert_eq!(of(Some(2)), [2]);
        assert_eq!(of(Some(0)), [1, 2, 3]);
        assert!(of(Some(9)).is_empty());
        assert!(of(None).is_empty(), "whoever polls is not counted");
    }

    #[test]
    fn an_open_stream_has_just_answered_a_ping() {
        let silent = last_sign(&instance(1, Road::Stream, 0));
        assert!(silent >= ago(PINGS_ANSWERED_WITHIN + Duration::from_secs(60)));
        assert_eq!(last_sign(&instance(1, Road::Broker, 7)), Timestamp(7));
    }
}
