//! Commands packed for the broker: what one commit releases for the same queue travels together.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use lapin::BasicProperties;
use prost::Message;
use saga_core::{ErrorBody, Op, SagaId, command::may_repeat};
use saga_dsl::plan::{Plan, StepIx};
use saga_proto::v1 as wire;

use super::{envelope, plain, topology};
use saga_engine::{lane::intake::LostCommand, link::Outgoing};
use saga_wire::convert;

/// Most commands in one message.
const COMMANDS_MAX: usize = 64;
/// About the most bytes in one message, which then fits the broker's frames; a single larger command travels alone.
const BYTES_MAX: usize = 120 * 1024;
/// A command that may take longer travels alone, since a message is acknowledged only when all in it are answered.
const ALONE_ABOVE_MS: u64 = 60_000;

/// Commands of the lane for one participant.
pub(super) struct Order {
    pub(super) participant: Arc<str>,
    /// The inbox that the commands are for; `None` where any will do.
    pub(super) inbox: Option<Arc<str>>,
    pub(super) commands: Vec<Outgoing>,
    /// Not everybody who may take them reads batches.
    pub(super) plain: bool,
}

/// One message.
pub(super) struct Parcel {
    pub(super) participant: Arc<str>,
    pub(super) inbox: Option<Arc<str>>,
    pub(super) queue: String,
    pub(super) reply_to: Arc<str>,
    pub(super) form: Form,
    pub(super) body: Bytes,
    pub(super) commands: Vec<Sent>,
    /// Sending it twice does no harm.
    pub(super) repeatable: bool,
    /// How often it may be delivered.
    pub(super) deliveries: u32,
}

/// What the properties are made of. They are made whenever the message is sent: lapin takes them, and a copy for the rare
/// second time would cost as much as the first.
pub(super) enum Form {
    /// Protobuf, with the id of the message.
    Packed(String),
    /// JSON, and headers for everything else; with the second of its making.
    Plain(Box<wire::Command>, u64),
}

/// Which command it is.
pub(super) struct Sent {
    saga_id: SagaId,
    plan: Arc<Plan>,
    step: StepIx,
    round: u32,
    op: Op,
    attempt: u32,
}

impl Sent {
    pub(super) fn of(outgoing: &Outgoing) -> Self {
        let Outgoing {
            plan,
            command,
            alone: _,
        } = outgoing;
        Self {
            saga_id: command.saga_id,
            plan: Arc::clone(plan),
            step: command.step,
            round: command.round,
            op: command.op,
            attempt: command.attempt,
        }
    }

    fn step_id(&self) -> &str {
        self.plan
            .step(self.step)
            .map_or("", |step| step.id.as_str())
    }
}

/// The queue for an operation of a participant.
pub(super) fn queue_for(participant: &str, op: Op) -> String {
    if is_undo(op) {
        topology::undo_queue(participant)
    } else {
        topology::forward_queue(participant)
    }
}

fn is_undo(op: Op) -> bool {
    match op {
        Op::Action => false,
        Op::Compensation | Op::Query | Op::Seal => true,
    }
}

impl Parcel {
    /// May the command go out twice?
    pub(super) fn may_repeat(outgoing: &Outgoing) -> bool {
        may_repeat(&outgoing.plan, outgoing.command.step, outgoing.command.op)
    }

    /// How often a message with this command first in it may be delivered.
    pub(super) fn deliveries(first: &Outgoing) -> u32 {
        if first.alone {
            topology::DELIVERIES_ALONE_MAX
        } else {
            topology::DELIVERIES_MAX
        }
    }

    /// Everything but the body.
    pub(super) fn properties(&self) -> BasicProperties {
        let inbox = self.inbox.as_deref();
        match &self.form {
            Form::Packed(id) => envelope::properties(&self.reply_to, inbox, id, self.deliveries),
            Form::Plain(command, now_s) => {
                plain::properties(command, &self.reply_to, inbox, *now_s, self.deliveries)
            }
        }
    }

    /// What the lane is told when the message will not be answered.
    pub(super) fn lost(&self, unsent: bool, error: &ErrorBody) -> Vec<LostCommand> {
        let lost = |sent: &Sent| LostCommand {
            saga_id: sent.saga_id,
            step: sent.step_id().to_owned(),
            round: sent.round,
            op: sent.op,
            attempt: sent.attempt,
            unsent,
            error: error.clone(),
        };
        self.commands.iter().map(lost).collect()
    }
}

/// Packs what is ready, in its order.
pub(super) fn pack(orders: impl IntoIterator<Item = Order>, reply_to: &Arc<str>) -> Vec<Parcel> {
    let (mut boxes, mut parcels): (Vec<Packing>, Vec<Parcel>) = (Vec::new(), Vec::new());
    for order in orders {
        if order.plain {
            parcels.extend(plain::parcels(order, reply_to));
            continue;
        }
        let Order {
            participant,
            inbox,
            commands,
            plain: _,
        } = order;
        for outgoing in commands {
            let undo = is_undo(outgoing.command.op);
            let repeatable = Parcel::may_repeat(&outgoing);
            let fits = |b: &Packing| {
                b.participant == participant
                    && b.inbox == inbox
                    && (b.undo, b.repeatable) == (undo, repeatable)
            };
            match boxes.iter_mut().find(|b| fits(b)) {
                Some(packing) => packing.commands.push_back(outgoing),
                None => boxes.push(Packing {
                    participant: Arc::clone(&participant),
                    inbox: inbox.clone(),
                    undo,
                    repeatable,
                    commands: VecDeque::from([outgoing]),
                }),
            }
        }
    }
    for mut packing in boxes {
        while !packing.commands.is_empty() {
            parcels.push(packing.next(reply_to));
        }
    }
    parcels
}

struct Packing {
    participant: Arc<str>,
    inbox: Option<Arc<str>>,
    undo: bool,
    repeatable: bool,
    commands: VecDeque<Outgoing>,
}

impl Packing {
    fn next(&mut self, reply_to: &Arc<str>) -> Parcel {
        let (mut batch, mut sent, mut bytes) = (Vec::new(), Vec::new(), 0);
        let deliveries = self
            .commands
            .front()
            .map_or(topology::DELIVERIES_MAX, Parcel::deliveries);
        while let Some(next) = self.commands.front() {
            bytes += convert::command_bytes(next);
            let alone = next.alone || next.command.timeout_ms > ALONE_ABOVE_MS;
            if !batch.is_empty() && (alone || batch.len() == COMMANDS_MAX || bytes > BYTES_MAX) {
                break;
            }
            batch.push(convert::command(next));
            sent.push(Sent::of(next));
            self.commands.pop_front();
            if alone {
                break;
            }
        }
        let queue = match self.undo {
            false => topology::forward_queue(&self.participant),
            true => topology::undo_queue(&self.participant),
        };
        let id = sent.first().map(|first| {
            format!(
                "{}/{}/{}/{:?}/{}",
                first.saga_id,
                first.step_id(),
                first.round,
                first.op,
                first.attempt
            )
        });
        Parcel {
            participant: Arc::clone(&self.participant),
            inbox: self.inbox.clone(),
            queue,
            reply_to: Arc::clone(reply_to),
            form: Form::Packed(id.unwrap_or_default()),
            body: wire::CommandBatch { commands: batch }
                .encode_to_vec()
                .into(),
            commands: sent,
            repeatable: self.repeatable,
            deliveries,
        }
    }
}
