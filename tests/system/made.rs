//! The participant that `saga new` makes, as it stands in the template: compiled here, and run with its saga.

use saga_tests::{
    Rig,
    client::{json, status, step},
    eventually,
    host::Host,
    script::connected,
};
use serde_json::{Value, json};

#[path = "../../orchestrator/cli/src/author/new/template/main.rs"]
#[allow(dead_code, reason = "its main function is not called")]
mod template;

const SAGA: &str = include_str!("../../orchestrator/cli/src/author/new/template/saga.yaml");

fn order(id: &str, cents: i64) -> Value {
    json!({"order_id": id, "customer": "ada", "item": "lamp", "count": 2, "cents": cents})
}

#[tokio::test]
async fn what_saga_new_makes_completes_an_order_and_undoes_one() {
    let rig = Rig::start().await;
    // It asks for its queues until a definition names it.
    rig.causes("no queue");
    let agents = Host::new("agents");
    let (database, endpoint) = (rig.folder().join("my_saga.db"), rig.endpoint());
    agents.spawn(async move {
        let path = database.display().to_string();
        let participant = template::participant(&path)
            .await
            .map_err(|error| error.to_string());
        let served = participant
            .expect("its tables")
            .serve(&endpoint, std::future::pending())
            .await;
        served.map_err(|error| error.to_string())
    });
    // At a broker a participant has queues once a definition names it.
    rig.clients.deploy(SAGA).await;
    eventually("my_saga", || async {
        (connected(&rig, "my_saga").await.len() == 1).then_some(())
    })
    .await;

    let id = rig.clients.begin("my_saga", order("o-1", 4_900)).await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "completed");
    assert_eq!(json(&seen.output), json!({"invoice": 1, "receipt": "R-1"}));

    let id = rig.clients.begin("my_saga", order("o-2", 250_000)).await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "compensated");
    let statuses = ["reserve", "write_invoice", "charge", "say_thanks"]
        .map(|id| step(&seen, id).status.clone());
    assert_eq!(
        statuses,
        ["compensated", "compensated", "refused", "pending"]
    );
}
