//! The server goes down with sagas open, in order and not, and comes back.

use saga_tests::{
    Gate, Instance, Rig, Say, Script,
    client::status,
    ledger::{Kind, assert_sane},
};
use serde_json::json;

use crate::files::WHOLE;

const SAGAS: usize = 300;

/// Sagas of which every third is refused at the pivot, all held at their first step or before it.
async fn begun(rig: &Rig) -> (Script, Script, [Instance; 2], Gate, Vec<String>) {
    let gate = Gate::new();
    let held = gate.clone();
    let left = Script::plain(rig, "left").act("act", move |_| {
        let done = Say::Succeed(json!({}));
        if held.is_open() {
            done
        } else {
            Say::Hang(held.clone(), Box::new(done))
        }
    });
    let right = Script::plain(rig, "right").act("act", |call| {
        if call.input["n"].as_i64().unwrap_or(0) % 3 == 0 {
            Say::Refuse("no")
        } else {
            Say::Succeed(json!({}))
        }
    });
    let instances = [left.serve(rig).await, right.serve(rig).await];
    rig.clients.deploy(WHOLE).await;
    let starts = (0..SAGAS).map(|n| rig.clients.begin("whole", json!({"n": n})));
    let ids = futures_util::future::join_all(starts).await;
    gate.arrived(1).await;
    (left, right, instances, gate, ids)
}

async fn all_end_and_every_effect_stands_once(
    rig: &Rig,
    left: &Script,
    right: &Script,
    ids: &[String],
) {
    for (n, id) in ids.iter().enumerate() {
        let seen = rig.clients.ended(id).await;
        let expected = if n % 3 == 0 {
            "compensated"
        } else {
            "completed"
        };
        assert_eq!(status(&seen), expected, "{n}: {:?}", seen.story);
        let history = rig.clients.history(id).await;
        assert_eq!(history.last().map(|event| event.seq), Some(seen.seq), "{n}");
    }
    let (left, right) = (left.ledger(), right.ledger());
    assert_sane(&left);
    assert_sane(&right);
    let refused = SAGAS.div_ceil(3);
    let count = |kind, step: &str| {
        left.iter()
            .filter(|e| e.kind == kind && e.step == step)
            .count()
    };
    assert_eq!(
        (count(Kind::Done, "first"), count(Kind::Undone, "first")),
        (SAGAS, refused)
    );
    assert_eq!(
        (count(Kind::Done, "last"), right.len()),
        (SAGAS - refused, SAGAS - refused)
    );
}

#[tokio::test]
async fn open_sagas_end_after_a_restart_and_every_effect_stands_once() {
    let mut rig = Rig::start().await;
    let (left, right, _instances, gate, ids) = begun(&rig).await;
    rig.stop().await;
    gate.open();
    rig.revive().await;
    all_end_and_every_effect_stands_once(&rig, &left, &right, &ids).await;
}

#[tokio::test]
async fn open_sagas_end_although_the_server_is_killed_again_and_again() {
    let mut rig = Rig::start().await;
    let (left, right, _instances, gate, ids) = begun(&rig).await;
    gate.open();
    for part in 1..=3 {
        // Killed in the middle of work: when a quarter of the sagas more have their pivot behind them.
        saga_tests::eventually("work to be done", || async {
            (right.calls().len() >= part * SAGAS / 4).then_some(())
        })
        .await;
        rig.kill();
        rig.revive().await;
    }
    all_end_and_every_effect_stands_once(&rig, &left, &right, &ids).await;
}
