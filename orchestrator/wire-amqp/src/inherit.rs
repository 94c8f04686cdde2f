//! Reply queues of earlier claims: what lies in them is taken, and they are removed.
//!
//! No saga needs those replies to go on, since the new owner sends outstanding commands again and the inbox repeats its
//! answer. But a command that may not be repeated has its only reply there. A former owner that was stopped may hold
//! some of it in its prefetch; the broker gives that back when it gives up the connection.

use std::time::Duration;

use futures_util::future::join_all;
use lapin::{
    Channel, Connection,
    options::{QueueDeclareOptions, QueueDeleteOptions},
};
use tokio::{sync::watch, time::timeout};

use super::{
    consumer::{self, Contents},
    fault::{Fault, soon},
    presence::Note,
    topology,
};
use saga_engine::lane;

/// How long the queue of an earlier claim is read before it is removed: longer than a broker takes to give up the
/// connection of a former owner that was stopped.
const READ_FOR: Duration = Duration::from_secs(20);

/// Takes over from earlier claims, once, and then rests until the connection fails.
pub(super) async fn run(
    connection: &Connection,
    own: &str,
    notes: &watch::Sender<Note>,
    lane: &lane::Handle,
) -> Fault {
    let earlier: Vec<String> = notes
        .borrow()
        .queues
        .iter()
        .filter(|&name| name != own)
        .cloned()
        .collect();
    let mut left = Vec::new();
    for instance in earlier {
        match removed(connection, &instance, notes).await {
            Ok(true) => {}
            Ok(false) => left.push(instance),
            Err(fault) => return fault,
        }
    }
    join_all(left.iter().map(|instance| take(connection, instance, lane))).await;
    for instance in left {
        match removed(connection, &instance, notes).await {
            Ok(true) => {
                tracing::info!(
                    instance,
                    "the replies to an earlier owner are taken, its queue is removed"
                )
            }
            Ok(false) => tracing::warn!(
                instance,
                "somebody still reads the replies to an earlier owner"
            ),
            Err(fault) => return fault,
        }
    }
    std::future::pending().await
}

/// Removes a queue that is empty and that nobody reads; true when it is gone.
async fn removed(
    connection: &Connection,
    instance: &str,
    notes: &watch::Sender<Note>,
) -> Result<bool, Fault> {
    let queue = topology::reply_queue(instance);
    let channel = soon("opening a channel", connection.create_channel()).await?;
    if !is_at_rest(&channel, &queue).await? {
        return Ok(false);
    }
    // Somebody may begin to read it in between; then the broker refuses.
    let options = QueueDeleteOptions {
        if_empty: true,
        if_unused: true,
        ..Default::default()
    };
    match soon(
        &format!("removing {queue}"),
        channel.queue_delete(queue.as_str().into(), options),
    )
    .await
    {
        Ok(_) => {}
        Err(Fault::Broker { source, .. }) if source.is_amqp_soft_error() => return Ok(false),
        Err(fault) => return Err(fault),
    }
    notes.send_modify(|note| note.queues.retain(|name| name != instance));
    Ok(true)
}

/// Nothing lies in the queue and nobody reads it. Declared and not looked for: a broker answers a look for a queue that
/// is not there with an error, and this makes an empty one, which is removed next.
async fn is_at_rest(channel: &Channel, queue: &str) -> Result<bool, Fault> {
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let declared = channel.queue_declare(queue.into(), options, topology::of_replies());
    let declared = soon(&format!("declaring {queue}"), declared).await?;
    Ok(declared.message_count() == 0 && declared.consumer_count() == 0)
}

/// Hands what lies in a queue to the lane. Failing here costs nothing that a saga needs, so it only ends the reading.
async fn take(connection: &Connection, instance: &str, lane: &lane::Handle) {
    let read = async {
        let channel = soon("opening a channel", connection.create_channel()).await?;
        // Higher than whoever read it before.
        let replies =
            consumer::consume(&channel, &topology::reply_queue(instance), i64::MAX).await?;
        Err::<(), Fault>(consumer::run(replies, Contents::Replies, lane).await)
    };
    if let Ok(Err(fault)) = timeout(READ_FOR, read).await {
        tracing::warn!(
            instance,
            "the replies to an earlier owner are not read: {fault}"
        );
    }
}
