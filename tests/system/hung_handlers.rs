//! Handlers that never return: their service goes on, nothing of them takes effect, and their saga learns of it. On both
//! roads, in both databases, for handlers that wait and for handlers that block their thread.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use saga_participant::{Ctx, Participant, PgInbox, Postgres, Sqlite, SqliteInbox, Undo};
use saga_server::config::Store as Place;
use saga_tests::{
    Gate, Instance, Rig,
    client::{status, step},
    eventually, postgres, rabbitmq,
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, SqliteConnection};

use crate::files::SINGLE;

const TABLE: &str = "create table if not exists deed (step text)";

/// Blocks threads until it is opened; opened in the end, whatever comes of the test.
#[derive(Clone, Default)]
struct Threads(Arc<(Mutex<bool>, Condvar)>);

impl Threads {
    fn block(&self) {
        let (open, opened) = &*self.0;
        drop(
            opened
                .wait_while(open.lock().expect("open"), |open| !*open)
                .expect("open"),
        );
    }

    fn release(&self) {
        *self.0.0.lock().expect("open") = true;
        self.0.1.notify_all();
    }
}

struct Releases(Threads);

impl Drop for Releases {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// How the first attempt for the first saga hangs.
#[derive(Clone)]
enum Hang {
    Waits(Gate),
    Blocks(Threads),
}

impl Hang {
    async fn hang(&self) {
        match self {
            Self::Waits(gate) => gate.pass().await,
            Self::Blocks(threads) => threads.block(),
        }
    }
}

macro_rules! service {
    ($make:ident, $store:ident, $insert:literal) => {
        fn $make(hang: Hang) -> Participant<$store> {
            Participant::<$store>::new("left")
                .action("act", move |ctx: Ctx<$store>, input: Value| {
                    let hang = hang.clone();
                    async move {
                        let mut tx = ctx.tx().await?;
                        sqlx::query($insert)
                            .bind(input["n"].to_string())
                            .execute(&mut *tx)
                            .await?;
                        if input["n"] == 0 && ctx.attempt() == 1 {
                            hang.hang().await;
                        }
                        Ok(json!({}))
                    }
                })
                .compensation("undo", async |_: Ctx<$store>, _: Undo<Value, Value>| Ok(()))
        }
    };
}

service!(in_sqlite, Sqlite, "insert into deed (step) values (?)");
service!(in_postgres, Postgres, "insert into deed (step) values ($1)");

/// [`SINGLE`] with an attempt that is over sooner.
fn impatient(timeout: &str) -> String {
    let file = SINGLE.replace("timeout: 50s", &format!("timeout: {timeout}"));
    assert_ne!(file, SINGLE);
    file
}

async fn rig(over_a_broker: bool) -> Rig {
    if over_a_broker {
        Rig::start_at_a_broker(rabbitmq::vhost().await).await
    } else {
        Rig::start_on_streams().await
    }
}

/// The first saga hangs, the second is done meanwhile or, where one writer is held, afterwards.
async fn goes_on(rig: &Rig, held: Option<&Threads>) {
    // Long enough for the answer to be there before the attempt is over, on a busy machine too: a tenth comes before it.
    rig.clients.deploy(&impatient("10s")).await;
    let hung = rig.clients.begin("single", json!({"n": 0})).await;
    let other = rig.clients.begin("single", json!({"n": 1})).await;
    eventually("the end of the handler", || async {
        let history = rig.clients.history(&hung).await;
        history
            .iter()
            .any(|event| event.text.contains("handler_timeout"))
            .then_some(())
    })
    .await;
    if let Some(threads) = held {
        threads.release();
    }
    for id in [&hung, &other] {
        let seen = rig.clients.ended(id).await;
        assert_eq!(status(&seen), "completed");
    }
    assert!(step(&rig.clients.get(&hung).await, "first").tries > 1);
}

async fn with_sqlite(over_a_broker: bool, hang: Hang) {
    let rig = rig(over_a_broker).await;
    let path = rig.folder().join("left.db");
    let (database, made) = (path.clone(), hang.clone());
    let _left = Instance::start(&rig.endpoint(), async move {
        let inbox = SqliteInbox::open(&database).await.expect("an inbox");
        inbox.migrate(TABLE).await.expect("a table");
        in_sqlite(made).inbox(inbox)
    });
    let held = match &hang {
        Hang::Waits(_) => None,
        Hang::Blocks(threads) => Some(threads),
    };
    let _releases = held.cloned().map(Releases);
    goes_on(&rig, held).await;
    let mut reader = SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .expect("a reader");
    let deeds: Vec<String> = sqlx::query_scalar("select step from deed order by step")
        .fetch_all(&mut reader)
        .await
        .expect("deeds");
    assert_eq!(deeds, ["0", "1"]);
}

async fn with_postgres(over_a_broker: bool, hang: Hang) {
    let Place::Postgres { url, .. } = postgres::database_place().await else {
        panic!("no database")
    };
    let rig = rig(over_a_broker).await;
    let (database, made) = (url.clone(), hang.clone());
    let _left = Instance::start(&rig.endpoint(), async move {
        let inbox = PgInbox::connect(&database).await.expect("an inbox");
        inbox.migrate(TABLE).await.expect("a table");
        in_postgres(made).inbox(inbox)
    });
    let _releases = match &hang {
        Hang::Waits(_) => None,
        Hang::Blocks(threads) => Some(Releases(threads.clone())),
    };
    // The thread stays blocked for the whole test; its transaction does not.
    goes_on(&rig, None).await;
    let mut reader = PgConnection::connect(&url).await.expect("a reader");
    let deeds: Vec<String> = sqlx::query_scalar("select step from deed order by step")
        .fetch_all(&mut reader)
        .await
        .expect("deeds");
    assert_eq!(deeds, ["0", "1"]);
}

#[tokio::test]
async fn a_service_goes_on_while_a_handler_waits_for_ever_in_sqlite() {
    let waits = || Hang::Waits(Gate::new());
    tokio::join!(with_sqlite(false, waits()), with_sqlite(true, waits()));
}

#[tokio::test]
async fn a_service_goes_on_while_a_handler_waits_for_ever_in_postgresql() {
    let waits = || Hang::Waits(Gate::new());
    tokio::join!(with_postgres(false, waits()), with_postgres(true, waits()));
}

#[tokio::test]
async fn a_service_goes_on_when_a_handler_that_blocks_returns_to_sqlite() {
    let blocks = || Hang::Blocks(Threads::default());
    tokio::join!(with_sqlite(false, blocks()), with_sqlite(true, blocks()));
}

#[tokio::test]
async fn a_service_goes_on_while_a_handler_blocks_its_thread_in_postgresql() {
    let blocks = || Hang::Blocks(Threads::default());
    tokio::join!(
        with_postgres(false, blocks()),
        with_postgres(true, blocks())
    );
}

/// A process that can do nothing any more ends, for its supervisor to start another.
#[tokio::test]
async fn a_participant_whose_only_writer_is_held_for_good_ends() {
    let rig = rig(false).await;
    let threads = Threads::default();
    let _releases = Releases(threads.clone());
    let database = rig.folder().join("left.db");
    let left = Instance::start(&rig.endpoint(), async move {
        let inbox = SqliteInbox::open(&database).await.expect("an inbox");
        inbox.migrate(TABLE).await.expect("a table");
        in_sqlite(Hang::Blocks(threads)).inbox(inbox)
    });
    rig.clients.deploy(&impatient("1500ms")).await;
    rig.clients.begin("single", json!({"n": 0})).await;
    let error = left.join().await.expect_err("it cannot serve");
    assert!(
        matches!(error, saga_participant::Error::Stuck { .. }),
        "{error}"
    );
}

/// The drain is waited for once, on both roads; twice it would be 12 s.
#[tokio::test]
async fn a_hanging_handler_delays_the_end_of_its_service_by_one_drain() {
    const DRAIN: Duration = Duration::from_secs(6);
    let ends = async |over_a_broker: bool| {
        let rig = rig(over_a_broker).await;
        let gate = Gate::new();
        let (database, hang) = (rig.folder().join("left.db"), Hang::Waits(gate.clone()));
        let instance = Instance::start(&rig.endpoint(), async move {
            let inbox = SqliteInbox::open(&database).await.expect("an inbox");
            inbox.migrate(TABLE).await.expect("a table");
            in_sqlite(hang).inbox(inbox).drain_within(DRAIN)
        });
        rig.clients.deploy(SINGLE).await;
        rig.clients.begin("single", json!({"n": 0})).await;
        gate.arrived(1).await;
        let began = Instant::now();
        instance.stop().await.expect("an end in order");
        let took = began.elapsed();
        assert!(
            took >= DRAIN && took < DRAIN * 2 - Duration::from_secs(1),
            "over a broker: {over_a_broker}; {took:?}"
        );
    };
    tokio::join!(ends(false), ends(true));
}
