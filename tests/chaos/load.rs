//! A server killed under the load of a benchmark loses nothing and repeats nothing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use saga_participant::{Ctx, Memory, MemoryInbox, Participant, Undo};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    client::{Load, Run, all_sagas, reached},
    long,
    processes::Server,
};

/// The inbox is in memory, so what was under way at a kill is sent again only after its timeout.
const WORKLOAD: &str = "
saga: workload
version: 1
input: {n: int}
defaults: {timeout: 1s, retry: {max_attempts: 20, initial_delay: 20ms}}
steps:
  - {step: one, action: bench/work, input: [n], compensation: bench/undo, at_least_once: true}
  - {step: two, action: bench/work, input: [n], compensation: bench/undo, at_least_once: true}
  - {step: three, action: bench/work, input: [n], compensation: bench/undo, at_least_once: true}
  - {step: four, action: bench/work, input: [n], compensation: bench/undo, at_least_once: true}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_loses_nothing() {
    let (sagas, kills) = if long() { (100_000, 20) } else { (3_000, 3) };
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(dir.path()).await;
    let (done, undone) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let participant = participant(&done, &undone);
    let endpoint = server.endpoint();
    let (stop, mut stopped) = watch::channel(());
    let serving = tokio::spawn(async move {
        participant
            .serve(&endpoint, async move {
                while stopped.changed().await.is_ok() {}
            })
            .await
    });
    server
        .deploy(&["bench"], "workload.saga.yaml", WORKLOAD)
        .await;

    let load = Load::new(
        "workload",
        (0..sagas).map(|n| format!("{{\"n\":{n}}}")),
        256,
    );
    let (ended, mut count) = watch::channel(0);
    let client = tokio::spawn({
        let url = server.url();
        async move { load.run(url, ended).await }
    });
    for kill in 1..=kills {
        let at = sagas * kill / (kills + 1);
        assert!(
            reached(&mut count, at).await,
            "stuck before kill {kill} at {at} ends"
        );
        server.kill_and_restart().await;
    }
    let Run { ends, repeated } = client.await.expect("the client heard of every end");
    assert!(repeated > 0, "no kill met a saga under way");

    let known = all_sagas(server.channel().await).await;
    assert_eq!(known.len(), sagas, "a start was lost, or became two sagas");
    for end in &ends {
        assert_eq!(end.status, "completed", "{end:?}");
        assert_eq!(known.get(&end.saga_id), Some(&end.status), "{end:?}");
    }
    // The participant's process lived on, so its inbox recognised every repeated command.
    assert_eq!(done.load(Relaxed), 4 * sagas as u64, "actions");
    assert_eq!(undone.load(Relaxed), 0, "compensations");
    drop(stop);
    serving.await.expect("no panic").expect("drained");
}

fn participant(done: &Arc<AtomicU64>, undone: &Arc<AtomicU64>) -> Participant<Memory> {
    let (done, undone) = (Arc::clone(done), Arc::clone(undone));
    Participant::new("bench")
        .action("work", move |_: Ctx<Memory>, input: Value| {
            done.fetch_add(1, Relaxed);
            std::future::ready(saga_participant::Result::Ok(input))
        })
        .compensation("undo", move |_: Ctx<Memory>, _: Undo<Value, Value>| {
            undone.fetch_add(1, Relaxed);
            std::future::ready(saga_participant::Result::Ok(()))
        })
        .inbox(MemoryInbox::new())
}
