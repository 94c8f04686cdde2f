//! Sagas that begin at a steady rate, whether or not others have ended: what closed loops never show.

use std::time::Duration;

use saga_participant::{Ctx, Memory, MemoryInbox, Participant, Undo};
use saga_tests::{Instance, Rig, client::status, rabbitmq};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

/// Four steps of a participant that answers at once.
const QUICK: &str = "
saga: quick
version: 1
input: {n: int}
defaults: {timeout: 50s}
steps:
  - {step: a, action: quick/act, input: [n], compensation: quick/undo, at_least_once: true}
  - {step: b, action: quick/act, input: [n], compensation: quick/undo, at_least_once: true}
  - {step: c, action: quick/act, input: [n], compensation: quick/undo, at_least_once: true}
  - {step: d, action: quick/act, input: [n], compensation: quick/undo, at_least_once: true}
";

/// Every message is acknowledged, and one after the other: the broker closes a channel whose acknowledgements overtake each
/// other, which the end of the virtual host would find in its log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_of_quick_steps_costs_no_channel() {
    const SAGAS: u32 = 900;
    let rig = Rig::start_at_a_broker(rabbitmq::vhost().await).await;
    let quick = Participant::<Memory>::new("quick")
        .action("act", async |_: Ctx<Memory>, input: Value| {
            Ok(json!({"n": input["n"]}))
        })
        .compensation("undo", async |_: Ctx<Memory>, _: Undo<Value, Value>| Ok(()))
        .inbox(MemoryInbox::new());
    let _quick = Instance::start(&rig.endpoint(), async move { quick });
    rig.clients.deploy(QUICK).await;
    let mut rate = interval(Duration::from_millis(4));
    rate.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut starts = tokio::task::JoinSet::new();
    for n in 0..SAGAS {
        rate.tick().await;
        let clients = rig.clients.clone();
        starts.spawn(async move { clients.begin("quick", json!({"n": n})).await });
    }
    for id in starts.join_all().await {
        assert_eq!(status(&rig.clients.ended(&id).await), "completed");
    }
}
