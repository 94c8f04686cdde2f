//! The store takes no commits: every verb of the command says so, answers or ends in time, and calls nothing failed whose
//! fate is unknown. The server and its clients are programs of their own.

use std::{fs, io::Write, process::Command, time::Duration};

use futures_util::{StreamExt, stream};
use saga_tests::{
    eventually,
    postgres::Postgres,
    served::{Ran, Served},
};
use sqlx::{Connection, PgConnection};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{disk::SmallDisk, files::SINGLE};

/// Verbs give up after about five seconds; the rest is for a machine under load.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// The line above every screen.
const NO_COMMIT: &str = "! the store has taken no commit for ";
const UNKNOWN: &str = "error[A0506]: it is unknown whether ";

/// The fields of a start, with the number that tells it from others.
fn starts<'a>(number: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["start", "single", "-f", number, "-f", "tags=[]"], more].concat()
}

/// It ended in time with this code, and said all of that on stderr.
fn assert_ended(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{ran:?}");
    assert!(ran.took < ENDS_WITHIN, "{ran:?}");
    for words in words {
        assert!(ran.stderr.contains(words), "`{words}` is not said: {ran:?}");
    }
}

/// It ended in time with this code, and said why: the store takes no commits, or the server has stood back from it since.
fn assert_explained(ran: &Ran, code: i32) {
    assert_ended(ran, code, &[]);
    assert!(
        ran.stderr.contains(NO_COMMIT) || ran.stderr.contains("standing by: "),
        "{ran:?}"
    );
}

/// The request id that an unknown start names.
fn request_id(ran: &Ran) -> String {
    let after = ran
        .stderr
        .split("--request-id ")
        .nth(1)
        .unwrap_or_else(|| panic!("no request id: {ran:?}"));
    after.split_whitespace().next().expect("an id").to_owned()
}

async fn store_health(served: &Served) -> ServingStatus {
    let request = HealthCheckRequest {
        service: "saga.store".to_owned(),
    };
    let answer = HealthClient::new(served.clients.channel.clone())
        .check(request)
        .await;
    answer.expect("health").into_inner().status()
}

/// A server in PostgreSQL with a definition and two sagas that wait for their participant.
async fn in_postgres() -> (Postgres, Served, [String; 2]) {
    let server = tokio::task::spawn_blocking(Postgres::start)
        .await
        .expect("a server");
    let served = Served::start(&["--store", &server.url("postgres")]).await;
    served.clients.deploy(SINGLE).await;
    let sagas = [begun(&served).await, begun(&served).await];
    (server, served, sagas)
}

async fn begun(served: &Served) -> String {
    let ran = served.ask(&starts("n=0", &["-o", "id"])).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout.trim().to_owned()
}

/// Sessions that are open refuse every write, as after a failover.
async fn set_read_only(server: &Postgres, read_only: bool) {
    let mut admin = PgConnection::connect(&server.url("postgres"))
        .await
        .expect("the server answers");
    sqlx::raw_sql("SET default_transaction_read_only = off")
        .execute(&mut admin)
        .await
        .expect("set");
    let alter = match read_only {
        true => "ALTER SYSTEM SET default_transaction_read_only = on",
        false => "ALTER SYSTEM RESET default_transaction_read_only",
    };
    sqlx::raw_sql(alter).execute(&mut admin).await.expect("set");
    sqlx::raw_sql("SELECT pg_reload_conf()")
        .execute(&mut admin)
        .await
        .expect("reloaded");
    let wanted = if read_only { "on" } else { "off" };
    eventually("the setting to hold", || async {
        let mut look = PgConnection::connect(&server.url("postgres")).await.ok()?;
        let row = sqlx::query_scalar::<_, String>("SHOW default_transaction_read_only")
            .fetch_one(&mut look);
        (row.await.ok()? == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_is_told_above_every_screen() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("no right to mount a tmpfs: not tested here");
        return;
    };
    let store = disk.path().join("saga.db").display().to_string();
    let served = Served::start(&["--store", &store]).await;
    served.clients.deploy(SINGLE).await;
    assert_eq!(store_health(&served).await, ServingStatus::Serving);
    let before = served.ask(&["list", "-o", "json"]).await;
    assert_eq!((before.code, before.stderr.as_str()), (0, ""));
    let ballast = disk.path().join("ballast");
    let mut file = fs::File::create(&ballast).expect("ballast");
    while file.write_all(&[0; 4_096]).is_ok() {}
    // Removing a file that is open would make no room.
    drop(file);
    let text = format!("text={}", "x".repeat(100_000));
    let mut taken = 0;
    let held_up = loop {
        let ran = served
            .ask(&starts("n=1", &["-f", &text, "--timeout", "4s"]))
            .await;
        match ran.code {
            0 => taken += 1,
            _ => break ran,
        }
        assert!(taken < 100, "the disk does not fill up");
    };
    assert_ended(
        &held_up,
        3,
        &[
            NO_COMMIT,
            "disk is full",
            "(1 start waits)",
            "waiting for the start to be committed",
        ],
    );
    assert_ended(
        &held_up,
        3,
        &[UNKNOWN, "single was started", "no answer came within 4s"],
    );
    assert_eq!(store_health(&served).await, ServingStatus::NotServing);
    // What is there is shown, with the line; stdout is what a program expects.
    for format in ["json", "jsonl", "id", "table", "wide"] {
        let list = served.ask(&["list", "-o", format]).await;
        assert_ended(&list, 0, &[NO_COMMIT, "disk is full"]);
        assert!(!list.stdout.contains("no commit"), "{list:?}");
    }
    let list = served.ask(&["list", "-o", "json"]).await;
    serde_json::from_str::<serde_json::Value>(&list.stdout).expect("JSON and nothing else");
    for verb in ["definitions", "participants", "breakers", "audit"] {
        assert_ended(&served.ask(&[verb]).await, 0, &[NO_COMMIT]);
    }
    fs::remove_file(&ballast).expect("room");
    let id = request_id(&held_up);
    let again = served
        .ask(&starts("n=1", &["-f", &text, "--request-id", &id]))
        .await;
    assert_eq!(again.code, 0, "{again:?}");
    let once_more = served
        .ask(&starts(
            "n=1",
            &["-f", &text, "--request-id", &id, "-o", "json"],
        ))
        .await;
    let started: serde_json::Value = serde_json::from_str(&once_more.stdout).expect("JSON");
    assert_eq!(
        (started["created"].as_bool(), started["id"].as_str()),
        (Some(false), Some(again.stdout.trim()))
    );
    let list = served.clients.list(Default::default()).await;
    assert_eq!(
        list.open_total,
        taken + 1,
        "one start is one saga, however often it was asked for"
    );
    assert_eq!(store_health(&served).await, ServingStatus::Serving);
    assert_eq!(served.ask(&["list", "-o", "json"]).await.stderr, "");
}

/// Runs all lines, a few at a time.
async fn all(served: &Served, lines: &[&[&str]]) -> Vec<Ran> {
    stream::iter(lines)
        .map(|line| served.ask(line))
        .buffered(4)
        .collect()
        .await
}

#[tokio::test]
async fn every_verb_ends_in_time_while_the_database_is_stopped() {
    let (mut server, served, [id, _]) = in_postgres().await;
    let mut server = tokio::task::spawn_blocking(move || {
        server.kill();
        server
    })
    .await
    .expect("killed");
    // Now the lane has a commit of unknown fate and reads back what is there, which it cannot.
    let start = served.ask(&starts("n=1", &["--timeout", "4s"])).await;
    assert_ended(&start, 3, &[UNKNOWN, "single was started"]);
    let file = served.folder().join("other.saga.yaml");
    fs::write(&file, SINGLE.replace("saga: single", "saga: other")).expect("a file");
    let file = file.display().to_string();
    let reads: &[&[&str]] = &[
        &["list"],
        &["describe", &id],
        &["history", &id],
        &["definitions"],
        &["participants"],
        &["breakers"],
        &["audit"],
        &["graph", &id],
        &["start", "single", "--dry-run"],
    ];
    let acts: &[&[&str]] = &[
        &["deploy", &file],
        &["cancel", &id, "--timeout", "4s"],
        &["retry", &id, "--timeout", "4s"],
        &["skip", &id, "first", "--reason", "x", "--timeout", "4s"],
        &[
            "resolve",
            &id,
            "first",
            "--as",
            "failed",
            "--reason",
            "x",
            "--timeout",
            "4s",
        ],
        &["abandon", &id, "--reason", "x", "--yes", "--timeout", "4s"],
        &["breakers", "trip", "left/act", "--reason", "x"],
        &["breakers", "reset", "left/act", "--reason", "x"],
    ];
    for ran in all(&served, reads).await {
        assert!(ran.code == 0 || ran.code == 3, "{ran:?}");
        assert_explained(&ran, ran.code);
    }
    for ran in all(&served, acts).await {
        assert_explained(&ran, 3);
    }
    let _server = tokio::task::spawn_blocking(move || {
        server.revive();
        server
    })
    .await
    .expect("it is there again");
    let id = request_id(&start);
    eventually("the start", || async {
        let again = served.ask(&starts("n=1", &["--request-id", &id])).await;
        (again.code == 0).then_some(())
    })
    .await;
    assert_eq!(served.clients.list(Default::default()).await.open_total, 3);
}

#[tokio::test]
async fn acts_that_wait_for_a_commit_are_unknown_and_not_failed() {
    let (server, served, [id, other]) = in_postgres().await;
    set_read_only(&server, true).await;
    let (cancel, skip, start) = (
        ["cancel", &id, "--timeout", "4s"],
        ["skip", &other, "first", "--reason", "x", "--timeout", "4s"],
        starts("n=1", &["--key", "K-1", "--timeout", "4s"]),
    );
    let trip = ["breakers", "trip", "left/act", "--reason", "x"];
    let (cancel, skip, trip, start) = tokio::join!(
        served.ask(&cancel),
        served.ask(&skip),
        served.ask(&trip),
        served.ask(&start)
    );
    assert_ended(&cancel, 3, &[UNKNOWN, "is cancelled", "saga describe"]);
    assert_ended(
        &skip,
        3,
        &[
            UNKNOWN,
            "first of",
            "is left out",
            &format!("saga audit {other}"),
        ],
    );
    assert_ended(
        &trip,
        3,
        &[UNKNOWN, "the breaker of left/act is open", "saga breakers"],
    );
    assert_ended(
        &start,
        3,
        &[UNKNOWN, "single was started", "saga describe single/K-1"],
    );
    // Nothing that is said meanwhile is false, also when the server stands back from a store that it cannot write.
    for ran in [&cancel, &skip, &trip, &start] {
        assert!(
            !ran.stderr
                .lines()
                .any(|line| line == "the store takes commits again"),
            "{ran:?}"
        );
    }
    set_read_only(&server, false).await;
    // As the message says: a cancel may be repeated, and the same key starts nothing twice.
    eventually("the cancel", || async {
        let ran = served.ask(&["cancel", &id, "--timeout", "4s"]).await;
        (ran.code == 0 || ran.stderr.contains("has ended")).then_some(())
    })
    .await;
    eventually("the start", || async {
        let ran = served.ask(&starts("n=1", &["--key", "K-1"])).await;
        (ran.code == 0).then_some(())
    })
    .await;
    let list = served.clients.list(Default::default()).await;
    assert!(list.open_total + list.finished_total == 3, "{list:?}");
}

#[tokio::test]
async fn an_answer_that_the_servers_death_cuts_off_is_unknown() {
    let (server, served, [id, other]) = in_postgres().await;
    set_read_only(&server, true).await;
    let start = starts("n=1", &["--key", "K-1", "--timeout", "9s"]);
    let cancel = ["cancel", &id, "--timeout", "9s"];
    let skip = ["skip", &other, "first", "--reason", "x", "--timeout", "9s"];
    let kill = async {
        eventually("the acts to reach the lane", || async {
            let list = served.ask(&["definitions"]).await;
            list.stderr
                .contains("1 start and 2 other inputs wait")
                .then_some(())
        })
        .await;
        Command::new("kill")
            .args(["-9", &served.program.id()])
            .status()
            .expect("kill runs");
    };
    let (first, second, third, ()) = tokio::join!(
        served.ask(&start),
        served.ask(&cancel),
        served.ask(&skip),
        kill
    );
    for (ran, words) in [
        (&first, "single was started"),
        (&second, "is cancelled"),
        (&third, "is left out"),
    ] {
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(
            ran.stderr.contains(UNKNOWN) && ran.stderr.contains(words),
            "{ran:?}"
        );
    }
    assert!(
        first.stderr.contains("saga describe single/K-1"),
        "{first:?}"
    );
}
