//! `saga participants`: who takes part, and who is missed.

use saga_proto::v1::{BrokerTrouble, ParticipantInfo};

use crate::{
    Context,
    exit::{Exit, Failure},
    show::{
        json,
        output::{self, Frame, ListFormat, count},
        pages,
        table::{self, Text},
        time,
        words::Word,
    },
};

/// Arguments of `saga participants`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  saga participants\n  saga participants -o wide      with every instance"
)]
pub struct Args {
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: ListFormat,
}

/// Runs `saga participants`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    let answer = pages::participants(&server).await?;
    if let Some(broker) = &answer.broker {
        output::note(&trouble(broker, Frame::of_stdout().now_us));
    }
    let mut list = answer.participants;
    list.sort_by(|a, b| a.name.cmp(&b.name));
    let rows: Vec<_> = list.iter().map(json::Participant::from).collect();
    let id = |row: &json::Participant| row.name.clone();
    output::list(args.output, &rows, id, |wide| {
        screen(&list, wide, Frame::of_stdout())
    })?;
    if list.is_empty() && matches!(args.output, ListFormat::Table | ListFormat::Wide) {
        output::note(
            "no participants yet: they register when they connect, with SAGA_ENDPOINT set to this server",
        );
    }
    Ok(Exit::Ok)
}

/// Nobody can be heard by way of the broker, so that those who are missed may well be there.
fn trouble(broker: &BrokerTrouble, now_us: i64) -> String {
    let span = time::span(now_us.saturating_sub(broker.since_us));
    format!(
        "{}, for {span}: {}",
        broker.state,
        output::printable(&broker.why)
    )
}

pub(crate) fn screen(list: &[ParticipantInfo], wide: bool, frame: Frame) -> String {
    if list.is_empty() {
        return String::new();
    }
    let frame = if wide {
        Frame {
            width: None,
            ..frame
        }
    } else {
        frame
    };
    let rows = list
        .iter()
        .map(|participant| row(participant, frame.now_us))
        .collect();
    let header = [
        "STATUS",
        "PARTICIPANT",
        "INSTANCES",
        "INBOX",
        "IN FLIGHT",
        "WAITING",
        "SEEN",
        "ACTIONS",
    ];
    let mut text = table::draw(&header, rows, frame);
    text += &limits(list, frame);
    if wide {
        let rows: Vec<_> = list
            .iter()
            .flat_map(|p| p.instances.iter().map(|i| instance(p, i, frame.now_us)))
            .collect();
        if !rows.is_empty() {
            let header = [
                "STATUS",
                "PARTICIPANT",
                "INSTANCE",
                "CONNECTED",
                "SEEN",
                "IN FLIGHT",
                "SDK",
                "PEER",
            ];
            text = format!("{text}\n{}", table::draw(&header, rows, frame));
        }
        for participant in list
            .iter()
            .filter(|participant| participant.instances_left_out > 0)
        {
            let (name, left_out) = (
                output::printable(&participant.name),
                count(participant.instances_left_out),
            );
            text += &format!("and {left_out} more instances of {name}\n");
        }
    }
    text
}

/// What participants may be sent: value, owner, and who waits.
fn limits(list: &[ParticipantInfo], frame: Frame) -> String {
    let rows: Vec<_> = list
        .iter()
        .flat_map(|participant| {
            participant
                .limits
                .iter()
                .map(|limit| (&participant.name, limit))
        })
        .map(|(name, limit)| {
            vec![
                Text::plain(name.as_str()),
                Text::plain(format!("{} {}", limit.setting, limit.value)),
                Text::plain(count(limit.in_flight.into())),
                Text::plain(count(limit.waiting)),
                Text::dim(limit.owner.as_str()),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = ["PARTICIPANT", "LIMIT", "IN FLIGHT", "WAITING", "SET BY"];
    format!("\n{}", table::draw(&header, rows, frame))
}

fn row(participant: &ParticipantInfo, now_us: i64) -> Vec<Text> {
    let there = || {
        participant
            .instances
            .iter()
            .filter(|instance| !instance.lost)
    };
    let status = if there().any(|instance| !instance.draining && !instance.held) {
        Word::live()
    } else if there().any(|instance| instance.held) {
        Word::held()
    } else if there().next().is_some() {
        Word::draining()
    } else {
        Word::absent()
    };
    let listed = there().count();
    let there = count(listed as u64 + participant.instances_left_out);
    let instances = match participant.instances.len() - listed {
        0 => there,
        lost => format!("{there} ({lost} lost)"),
    };
    vec![
        status.into(),
        Text::plain(participant.name.as_str()),
        Text::plain(instances),
        Text::plain(json::inbox_kind(participant.inbox_kind())),
        Text::plain(count(participant.outstanding)),
        Text::plain(count(participant.waiting)),
        Text::plain(since(participant.last_seen_us, now_us)),
        Text::dim(participant.actions.join(", ")),
    ]
}

/// The time since a moment, where there was one.
fn since(at_us: i64, now_us: i64) -> String {
    match at_us {
        0 => "–".to_owned(),
        at => time::span(now_us.saturating_sub(at)),
    }
}

fn instance(
    participant: &ParticipantInfo,
    instance: &saga_proto::v1::InstanceInfo,
    now_us: i64,
) -> Vec<Text> {
    let status = match instance {
        wire if wire.lost => Word::lost(),
        wire if wire.held => Word::held(),
        wire if wire.draining => Word::draining(),
        _ => Word::live(),
    };
    vec![
        status.into(),
        Text::plain(participant.name.as_str()),
        Text::plain(instance.instance.as_str()),
        Text::plain(since(instance.connected_at_us, now_us)),
        Text::plain(since(instance.last_seen_us, now_us)),
        Text::plain(count(instance.outstanding)),
        Text::plain(instance.sdk.as_str()),
        Text::plain(instance.peer.as_str()),
    ]
}

#[cfg(test)]
mod tests {
    use saga_proto::v1::{InboxKind, InstanceInfo, LimitInfo};

    use super::*;
    use crate::show::{output::bare, sample::NOW_US};

    fn list() -> Vec<ParticipantInfo> {
        let instance = |name: &str, draining| InstanceInfo {
            instance: name.into(),
            connected_at_us: NOW_US - 60_000_000,
            sdk: "rust/0.1.0".into(),
            draining,
            outstanding: 2,
            peer: "127.0.0.1:50412".into(),
            last_seen_us: NOW_US - 1_000_000,
            ..InstanceInfo::default()
        };
        let held = InstanceInfo {
            held: true,
            ..instance("rooms-1", false)
        };
        let lost = |name: &str| InstanceInfo {
            lost: true,
            last_seen_us: NOW_US - 7_000_000,
            ..instance(name, false)
        };
        let participant = |name: &str, instances| ParticipantInfo {
            name: name.into(),
            inbox_kind: InboxKind::Transactional.into(),
            actions: vec!["cancel".into(), "reserve".into()],
            instances,
            outstanding: 4,
            last_seen_us: NOW_US - 1_000_000,
            ..ParticipantInfo::default()
        };
        vec![
            participant(
                "flights",
                vec![instance("flights-1", false), instance("flights-2", true)],
            ),
            ParticipantInfo {
                limits: vec![LimitInfo {
                    setting: "rate_limit".into(),
                    value: "30/m".into(),
                    owner: "order_fulfilment@3".into(),
                    in_flight: 4,
                    waiting: 37,
                }],
                waiting: 37,
                last_seen_us: NOW_US - 900_000_000,
                ..participant("hotels", vec![])
            },
            participant("payments", vec![instance("payments-1", true)]),
            participant("rooms", vec![held]),
            participant(
                "stock",
                vec![lost("stock-1"), lost("stock-2"), instance("stock-3", false)],
            ),
            participant("taxis", vec![lost("taxis-1")]),
            ParticipantInfo::default(),
        ]
    }

    #[test]
    fn a_broker_in_trouble_is_named() {
        let broker = BrokerTrouble {
            state: "the broker cannot be reached".into(),
            why: "connecting: Connection refused\x1b[2J".into(),
            since_us: NOW_US - 125_000_000,
        };
        let line = trouble(&broker, NOW_US);
        assert!(
            line.starts_with("the broker cannot be reached, for 2m 5s: connecting"),
            "{line}"
        );
        assert!(!line.contains('\x1b'), "{line}");
    }

    #[test]
    fn the_screen() {
        let frame = Frame {
            width: Some(100),
            now_us: NOW_US,
        };
        let screens = format!(
            "{}\n{}",
            screen(&list(), false, frame),
            screen(&list(), true, frame)
        );
        insta::assert_snapshot!(bare(&screens));
        assert_eq!(screen(&[], true, frame), "");
    }
}
