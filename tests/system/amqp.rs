//! What only a broker can do to us: die, refuse, block, return, give up, pass on what others forge.

use saga_participant::{Ctx, Error, Op, Participant, Sqlite, SqliteInbox, Undo};
use saga_tests::{
    Clients, Gate, Instance, Rig, Script,
    client::{status, step},
    eventually,
    instance::prepare,
    ledger::assert_sane,
    ports::Port,
    puppet::Puppet,
    rabbitmq::{self, RabbitMq},
    raw_amqp::RawAmqp,
    script::connected,
};
use saga_wire_amqp::topology::participant_permissions;
use serde_json::{Value, json};

use crate::files::{PAIR, SINGLE};

async fn at_a_broker() -> Rig {
    Rig::start_at_a_broker(rabbitmq::vhost().await).await
}

#[tokio::test]
async fn a_broker_that_dies_under_load_loses_nothing_and_doubles_nothing() {
    let (mut broker, url) = tokio::task::spawn_blocking(|| {
        let broker = RabbitMq::start();
        let url = broker.vhost("load");
        (broker, url)
    })
    .await
    .expect("a broker");
    let rig = Rig::start_at_a_broker(url).await;
    let (left, right) = (Script::plain(&rig, "left"), Script::plain(&rig, "right"));
    let _instances = [left.serve(&rig).await, right.serve(&rig).await];
    rig.clients.deploy(PAIR).await;
    let mut ids = Vec::new();
    let mut begin = async |count: i32| {
        for n in 0..count {
            ids.push(rig.clients.begin("pair", json!({"n": n})).await);
        }
    };
    begin(150).await;
    broker.write_down_queues();
    broker.kill();
    // Nobody can be reached now; what is begun waits.
    begin(20).await;
    let broker = tokio::task::spawn_blocking(move || {
        broker.revive();
        broker
    });
    let broker = broker.await.expect("a broker");
    begin(20).await;
    for id in &ids {
        assert_eq!(status(&rig.clients.ended(id).await), "completed", "{id}");
    }
    for script in [&left, &right] {
        assert_eq!(script.ledger().len(), 190);
        assert_sane(&script.ledger());
    }
    drop(broker);
}

#[tokio::test]
async fn a_broker_that_takes_nothing_holds_steps_back_and_costs_no_attempt() {
    let (broker, url) = tokio::task::spawn_blocking(|| {
        let broker = RabbitMq::start();
        let url = broker.vhost("blocked");
        (broker, url)
    })
    .await
    .expect("a broker");
    let rig = Rig::start_at_a_broker(url).await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1MiB"]);
    let mut ids = Vec::new();
    // The broker blocks whoever publishes, so the first commands are on their way when we learn of it.
    loop {
        let id = rig.clients.begin("single", json!({"n": 0})).await;
        let known = |seen: &_| !step(seen, "first").status.is_empty();
        let seen = rig.clients.until(&id, "to be sent or to wait", known).await;
        ids.push(id);
        if step(&seen, "first")
            .note
            .contains("the broker takes no messages")
        {
            break;
        }
        assert!(ids.len() < 10_000, "nothing waits");
    }
    broker.ctl(&["set_vm_memory_high_watermark", "0.8"]);
    for id in &ids {
        let seen = rig.clients.ended(id).await;
        assert_eq!(
            (status(&seen), step(&seen, "first").tries),
            ("completed", 1)
        );
    }
    assert_eq!(left.ledger().len(), ids.len());
    assert_sane(&left.ledger());
}

#[tokio::test]
async fn a_command_outlives_the_instance_that_took_it() {
    let rig = at_a_broker().await;
    let gate = Gate::new();
    let held = gate.clone();
    let left = Script::plain(&rig, "left")
        .hold_replies(move |_, op| (op == Op::Action).then(|| held.clone()));
    let doomed = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let id = rig.clients.begin("single", json!({"n": 0})).await;
    gate.arrived(1).await;
    doomed.kill();
    let _left = left.serve(&rig).await;
    let seen = rig.clients.ended(&id).await;
    // The broker brought it again: the inbox answered, and no attempt was spent.
    assert_eq!(
        (status(&seen), step(&seen, "first").tries, left.count("act")),
        ("completed", 1, 1)
    );
    assert_eq!(left.deeds(), ["first"]);
}

#[tokio::test]
async fn an_instance_with_another_inbox_does_nothing_and_ends() {
    let (rig, other) = (at_a_broker().await, Rig::start_on_streams().await);
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    // Its database stands in the other rig's folder.
    let stranger = Script::plain(&other, "left").at(&rig.endpoint());
    let refused = tokio::spawn(stranger.launch_sqlite().join());
    let mut ids = Vec::new();
    // It learns of it by the first command that it gets.
    while !refused.is_finished() {
        let id = rig.clients.begin("single", json!({"n": 0})).await;
        assert_eq!(status(&rig.clients.ended(&id).await), "completed");
        ids.push(id);
    }
    let Err(Error::Refused { reason, .. }) = refused.await.expect("no panic") else {
        panic!("served")
    };
    assert!(reason.contains("share one inbox"), "{reason}");
    assert_eq!(
        (stranger.ledger().len(), left.ledger().len()),
        (0, ids.len())
    );
}

#[tokio::test]
async fn commands_without_a_queue_come_back_and_are_sent_again() {
    let rig = at_a_broker().await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    rig.causes("no queue 'saga.cmd.left'");
    let puppet = Puppet::connect(&rig, "helper").await;
    let gone = puppet
        .channel
        .queue_delete("saga.cmd.left".into(), Default::default())
        .await;
    gone.expect("deleted");
    let id = rig.clients.begin("single", json!({"n": 0})).await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").tries),
        ("completed", 1)
    );
    assert_eq!(left.deeds(), ["first"]);
}

#[tokio::test]
async fn a_second_dead_letter_is_an_unknown_outcome_and_the_step_is_tried_again() {
    let rig = at_a_broker().await;
    let mut left = Puppet::connect(&rig, "left").await;
    rig.clients.deploy(SINGLE).await;
    let id = rig.clients.begin("single", json!({"n": 0})).await;
    for _ in 0..2 {
        let asked = left.asked().await;
        assert_eq!(asked.commands[0].attempt, 1);
        asked.reject().await;
    }
    let again = left.asked().await;
    assert_eq!(again.commands[0].attempt, 2);
    left.succeed("saga.reply.left", &again).await;
    again.ack().await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").tries),
        ("completed", 2)
    );
    let history = rig.clients.history(&id).await;
    assert!(
        history
            .iter()
            .any(|event| event.text.contains("dead_letter")),
        "{history:?}"
    );
}

#[tokio::test]
async fn a_reply_counts_only_through_the_exchange_of_who_was_asked() {
    let rig = at_a_broker().await;
    let mut left = Puppet::connect(&rig, "left").await;
    let right = Puppet::connect(&rig, "right").await;
    rig.clients.deploy(SINGLE).await;
    let id = rig.clients.begin("single", json!({"n": 0})).await;
    let asked = left.asked().await;
    let before = rig.clients.get(&id).await.seq;
    // A registration for somebody else, and an answer for somebody else; one straight past all exchanges.
    right
        .say(
            "saga.reply.right",
            "register",
            "saga.v1.Hello",
            &right.hello("left"),
        )
        .await;
    right.succeed("saga.reply.right", &asked).await;
    right.succeed("saga.reply", &asked).await;
    // Nonsense of every kind; what comes after it in the same queues is dealt with all the same.
    for key in [&*asked.reply_to, "register", "all", "nobody"] {
        right
            .say(
                "saga.reply.right",
                key,
                "saga.v1.ReplyBatch",
                b"\xff\xff\xff\xff",
            )
            .await;
        right
            .say("saga.reply.right", key, "", &vec![0; 5 * 1024 * 1024])
            .await;
    }
    right
        .say("saga.dlx", "", "saga.v1.CommandBatch", b"nonsense")
        .await;
    let other = rig.clients.begin("single", json!({"n": 1})).await;
    let asked_other = left.asked().await;
    left.succeed("saga.reply.left", &asked_other).await;
    assert_eq!(status(&rig.clients.ended(&other).await), "completed");
    assert_eq!(
        rig.clients.get(&id).await.seq,
        before,
        "what was forged changed something"
    );
    assert_eq!(connected(&rig, "left").await, ["puppet-of-left"]);
    left.succeed("saga.reply.left", &asked).await;
    assert_eq!(status(&rig.clients.ended(&id).await), "completed");
}

#[tokio::test]
async fn a_participant_needs_no_more_than_the_permissions_that_are_printed() {
    let url = rabbitmq::vhost().await;
    let rig = Rig::start_at_a_broker(url.clone()).await;
    let Ok((server, vhost)) = url.rsplit_once('/').ok_or(()) else {
        panic!("no virtual host in {url}")
    };
    let user = format!("left_of_{vhost}");
    let own = server.replace("guest:guest", &format!("{user}:secret"));
    let (with_vhost, vhost) = (format!("{own}/{vhost}"), vhost.to_owned());
    let [configure, write, read] = participant_permissions("left");
    let prepared = tokio::task::spawn_blocking(move || {
        rabbitmq::ctl(&["add_user", &user, "secret"]);
        rabbitmq::ctl(&[
            "set_permissions",
            "-p",
            &vhost,
            &user,
            &configure,
            &write,
            &read,
        ]);
    });
    prepared.await.expect("a user");
    rig.causes("no queue");
    rig.causes("access_refused");
    let left = Script::plain(&rig, "left").at(&with_vhost);
    let _left = left.launch_unprepared();
    rig.clients.deploy(SINGLE).await;
    let id = rig.clients.begin("single", json!({"n": 0})).await;
    assert_eq!(status(&rig.clients.ended(&id).await), "completed");
    // Nobody lets it speak for others.
    let properties = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(&with_vhost, properties)
        .await
        .expect("a connection");
    for exchange in ["saga.reply", "saga.reply.right", "saga.cmd", "saga.dlx", ""] {
        prepare(&url, "right").await;
        let channel = connection.create_channel().await.expect("a channel");
        channel
            .confirm_select(Default::default())
            .await
            .expect("confirms");
        let said = channel.basic_publish(
            exchange.into(),
            "to.main".into(),
            Default::default(),
            b"",
            Default::default(),
        );
        let refused = said.await.expect("written").await.expect_err("refused");
        assert!(
            refused.to_string().contains("ACCESS_REFUSED"),
            "{exchange}: {refused}"
        );
    }
}

#[tokio::test]
async fn a_participant_waits_until_a_definition_needs_it() {
    let rig = at_a_broker().await;
    rig.causes("no queue");
    let left = Script::plain(&rig, "left");
    let _left = left.launch_unprepared();
    let id = {
        rig.clients.deploy(SINGLE).await;
        rig.clients.begin("single", json!({"n": 0})).await
    };
    assert_eq!(status(&rig.clients.ended(&id).await), "completed");
    // Whoever is prepared twice is none the worse.
    prepare(&rig.endpoint(), "left").await;
}

/// With a real process: what overflows a stack ends all of it.
#[tokio::test]
async fn headers_nested_as_deep_as_a_frame_allows_do_no_harm() {
    let url = rabbitmq::vhost().await;
    let folder = tempfile::tempdir().expect("a folder");
    let port = Port::reserve();
    let address = port.address();
    let test = std::env::current_exe().expect("a test knows where it is");
    let saga = test
        .ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join("saga"))
        .find(|path| path.is_file());
    let saga = saga.expect("no program `saga` here: cargo build -p saga-cli --bin saga");
    let mut server = tokio::process::Command::new(saga)
        .args([
            "serve",
            "--broker",
            &url,
            "--participants",
            "left",
            "--listen",
            &address.to_string(),
        ])
        .arg("--store")
        .arg(folder.path().join("saga.db"))
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts");
    let clients = Clients::new(address);
    eventually("the server to answer", || async {
        clients.try_get("x").await.err().filter(answered)
    })
    .await;
    prepare(&url, "left").await;
    for depth in [1_000, 18_000] {
        let url = url.clone();
        let sent = tokio::task::spawn_blocking(move || {
            let mut raw = RawAmqp::open(&url);
            for (exchange, key) in [
                ("saga.reply.left", "to.main"),
                ("saga.reply.left", "register"),
                ("saga.dlx", ""),
            ] {
                raw.publish_nested(exchange, key, depth);
            }
            raw.close();
        });
        sent.await.expect("sent");
    }
    // What is sent after them in the same queues is dealt with: a registration, and a reply.
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = SqliteInbox::open(folder.path().join("left.db"))
        .await
        .expect("an inbox");
    let left = Participant::<Sqlite>::new("left")
        .action("act", async |_: Ctx<Sqlite>, _: Value| Ok(json!({})))
        .compensation("undo", async |_: Ctx<Sqlite>, _: Undo<Value, Value>| Ok(()))
        .inbox(inbox);
    let _left = Instance::start(&url, async move { left });
    clients.deploy(SINGLE).await;
    let id = clients.begin("single", json!({"n": 0})).await;
    assert_eq!(status(&clients.ended(&id).await), "completed");
    assert!(
        server.try_wait().expect("a child").is_none(),
        "the server ended"
    );
}

/// A refusal is an answer; no connection is none.
fn answered(refusal: &tonic::Status) -> bool {
    refusal.code() != tonic::Code::Unavailable
}
