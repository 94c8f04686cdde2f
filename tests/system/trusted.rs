//! Participants over the broker that were there before a restart of the server: steps do not wait for their next
//! registration, and whoever does not register in time counts as gone.

use saga_tests::{Rig, client::status, eventually, puppet::Puppet, rabbitmq, script::connected};
use serde_json::json;

use crate::files::SINGLE;

#[tokio::test]
async fn participants_that_were_there_are_trusted_after_a_restart() {
    let mut rig = Rig::start_at_a_broker(rabbitmq::vhost().await).await;
    rig.clients.deploy(SINGLE).await;
    // It registers when it connects and never again.
    let mut left = Puppet::connect(&rig, "left").await;
    for restarts in [true, false] {
        let id = rig.clients.begin("single", json!({"n": 1})).await;
        let asked = left.asked().await;
        left.succeed_all(&asked).await;
        assert_eq!(status(&rig.clients.ended(&id).await), "completed");
        if restarts {
            rig.restart().await;
        }
    }
    assert!(!connected(&rig, "left").await.is_empty(), "trusted");
    eventually(
        "a participant that does not register to be gone",
        || async { connected(&rig, "left").await.is_empty().then_some(()) },
    )
    .await;
}
