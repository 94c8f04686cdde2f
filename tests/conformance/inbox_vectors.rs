//! Every inbox of the SDK does what `proto/vectors/inbox.json` says, and what the table in the documents says: each case
//! is one command that meets one row, sent through the real handlers' path.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use saga_participant::{
    Ctx, Memory, MemoryInbox, Outcome, Participant, PgInbox, Postgres, Reject, Result, Retry,
    Sqlite, SqliteInbox, Store, Undo, testing::Harness,
};
use saga_proto::v1 as wire;
use saga_tests::{postgres::database, wait::eventually_or};
use serde_json::{Value, json};

const LEDGER: &str = "create table ledger (n integer not null)";

fn cases() -> Vec<Value> {
    list("cases")
}

fn list(name: &str) -> Vec<Value> {
    let text = include_str!("../../proto/vectors/inbox.json");
    let vectors: Value = serde_json::from_str(text).expect("vectors are JSON");
    vectors[name].as_array().expect("a list").clone()
}

/// An effect in the transaction that the row is written in, where there is one: 1 for an action, -1 for its undo.
trait Effect: Store {
    fn effect(ctx: &Ctx<Self>, n: i32) -> impl Future<Output = Result<()>> + Send;
}

impl Effect for Memory {
    async fn effect(_: &Ctx<Self>, _: i32) -> Result<()> {
        Ok(())
    }
}

impl Effect for Sqlite {
    async fn effect(ctx: &Ctx<Self>, n: i32) -> Result<()> {
        let mut tx = ctx.tx().await?;
        sqlx::query("insert into ledger (n) values (?)")
            .bind(n)
            .execute(&mut *tx)
            .await?;
        Ok(())
    }
}

impl Effect for Postgres {
    async fn effect(ctx: &Ctx<Self>, n: i32) -> Result<()> {
        let mut tx = ctx.tx().await?;
        sqlx::query("insert into ledger (n) values ($1)")
            .bind(n)
            .execute(&mut *tx)
            .await?;
        Ok(())
    }
}

type Ran = Arc<Mutex<Vec<&'static str>>>;

fn note(ran: &Ran, handler: &'static str) {
    ran.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(handler);
}

/// The participant of the vectors' README.
fn participant<S: Effect>(inbox: S::Inbox, ran: &Ran) -> Participant<S> {
    let (acts, undoes) = (ran.clone(), ran.clone());
    let act = move |ctx: Ctx<S>, input: Value| {
        note(&acts, if ctx.resumed() { "act again" } else { "act" });
        async move {
            S::effect(&ctx, 1).await?;
            match input["do"].as_str() {
                Some("refuse") => Err(Reject::new("no_room", "as asked").into()),
                Some("fail") => Err(Retry::new("busy", "as asked").into()),
                Some("accept") => Ok(Outcome::Accepted),
                _ => Ok(Outcome::Done(json!({"number": 1}))),
            }
        }
    };
    let undo = move |ctx: Ctx<S>, undo: Undo<Value, Value>| {
        note(&undoes, "undo");
        async move {
            S::effect(&ctx, -1).await?;
            match undo.input["do"].as_str() {
                Some("refuse") => Err(Reject::new("no_room", "as asked").into()),
                Some("fail") => Err(Retry::new("busy", "as asked").into()),
                _ => Ok(()),
            }
        }
    };
    Participant::new("vectors")
        .action("act", act)
        .compensation("undo", undo)
        .inbox(inbox)
}

fn command(number: usize, given: &Value) -> wire::Command {
    let asks = given["do"].as_str().unwrap_or("succeed");
    let (op, action, input) = match given["op"].as_str().expect("an op") {
        "action" if asks == "unknown" => (wire::Op::Action, "nobody", json!({})),
        "action" => (wire::Op::Action, "act", json!({"do": asks})),
        "compensation" => (
            wire::Op::Compensation,
            "undo",
            json!({"input": {"do": asks}, "action_key": "of the test"}),
        ),
        "query" => (wire::Op::Query, "act", Value::Null),
        "seal" => (wire::Op::Seal, "act", Value::Null),
        "forget" => (wire::Op::Forget, "act", Value::Null),
        other => panic!("no op {other}"),
    };
    let known = match given["known"].as_str() {
        Some("done") => wire::Known::Done,
        Some(_) => wire::Known::Unknown,
        None => wire::Known::Unspecified,
    };
    wire::Command {
        saga_id: Bytes::copy_from_slice(&u128::try_from(number + 1).expect("small").to_be_bytes()),
        step: "step".to_owned(),
        round: 1,
        op: op.into(),
        attempt: 1,
        action: action.to_owned(),
        input: input.to_string().into(),
        known: known.into(),
        not_after_us: i64::from(given["expired"] == true),
        fingerprint: if given["fingerprint"] == "other" {
            2
        } else {
            1
        },
        ..wire::Command::default()
    }
}

fn word(outcome: wire::Outcome) -> String {
    let name = outcome.as_str_name().trim_start_matches("OUTCOME_");
    name.to_lowercase()
}

async fn deliver<S: Store>(harness: &Harness<S>, command: wire::Command) -> Option<wire::Reply> {
    harness.deliver(command).await.expect("readable")
}

/// Makes the row that a case begins with.
async fn bring<S: Store>(harness: &Harness<S>, number: usize, state: &str) {
    let steps = match state {
        "none" => vec![],
        "running" => vec![json!({"op": "action", "do": "accept"})],
        "done" => vec![json!({"op": "action"})],
        "refused" => vec![json!({"op": "action", "do": "refuse"})],
        "tombstone" => vec![json!({"op": "seal"})],
        "compensated" => vec![
            json!({"op": "action"}),
            json!({"op": "compensation", "known": "done"}),
        ],
        other => panic!("no state {other}"),
    };
    for step in steps {
        deliver(harness, command(number, &step))
            .await
            .expect("an answer");
    }
}

async fn row<S: Store>(harness: &Harness<S>, number: usize) -> String {
    let reply = deliver(harness, command(number, &json!({"op": "query"})))
        .await
        .expect("an answer");
    match &*word(reply.outcome()) {
        "absent" => "none",
        "sealed" => "tombstone",
        other => return other.to_owned(),
    }
    .to_owned()
}

async fn hold<S: Effect>(inbox: S::Inbox) {
    let ran = Ran::default();
    let harness = participant::<S>(inbox, &ran).test();
    for (number, case) in cases().iter().enumerate() {
        let name = &case["name"];
        let given = case["given"].as_str().expect("a state");
        bring(&harness, number, given).await;
        assert_eq!(row(&harness, number).await, given, "{name}: the row before");
        ran.lock().expect("whole").clear();
        let reply = deliver(&harness, command(number, &case["command"])).await;
        judge(case, &ran, reply);
        assert_eq!(
            row(&harness, number).await,
            case["then"].as_str().expect("a state"),
            "{name}: the row after"
        );
    }
}

/// Compares what a case led to with what it should.
fn judge(case: &Value, ran: &Ran, reply: Option<wire::Reply>) {
    let name = &case["name"];
    let again = case["resumed"] == true;
    let expected: Vec<&str> = case["handler"]
        .as_str()
        .into_iter()
        .filter(|one| *one != "none")
        .map(|one| if again { "act again" } else { one })
        .collect();
    assert_eq!(
        *ran.lock().expect("whole"),
        expected,
        "{name}: the handlers that ran"
    );
    let said = reply.as_ref().map(|reply| word(reply.outcome()));
    assert_eq!(said.as_deref(), case["reply"]["outcome"].as_str(), "{name}");
    if let Some(reply) = reply {
        if let Some(output) = case["reply"].get("output") {
            assert_eq!(&saga_tests::json(&reply.output), output, "{name}");
        }
        let error = reply.error.unwrap_or_default();
        for (key, value) in [("code", &error.code), ("message", &error.message)] {
            let expected = case["reply"]["error"][key].as_str();
            assert!(
                expected.is_none_or(|expected| expected == value),
                "{name}: {key} is {value}"
            );
        }
    }
}

/// Brings rows to `running` by one instance, which falls silent, and sends the commands to another.
async fn hold_left<S: Effect>(silent: S::Inbox, inbox: S::Inbox) {
    let ran = Ran::default();
    let (silent, harness) = (
        participant::<S>(silent, &ran).test(),
        participant::<S>(inbox, &ran).test(),
    );
    let left: Vec<(usize, Value)> = (1_000..).zip(list("left")).collect();
    for (number, _) in &left {
        let mut accept = command(*number, &json!({"op": "action", "do": "accept"}));
        // Its worker counts as alive for no longer than its attempt may take.
        accept.timeout_ms = 1_000;
        let reply = deliver(&silent, accept).await.expect("an answer");
        assert_eq!(reply.outcome(), wire::Outcome::Accepted);
    }
    for (number, case) in &left {
        let (number, name) = (*number, &case["name"]);
        eventually_or("the worker to count as gone", async || {
            match &*row(&harness, number).await {
                "none" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
        ran.lock().expect("whole").clear();
        let mut later = command(number, &case["command"]);
        later.attempt = 2;
        judge(case, &ran, deliver(&harness, later).await);
        assert_eq!(
            row(&harness, number).await,
            case["then"].as_str().expect("a state"),
            "{name}: the row after"
        );
    }
}

#[tokio::test]
async fn sqlite_does_as_the_vectors_say_of_work_that_was_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("inbox.db");
    let silent = SqliteInbox::open(&path).await.expect("opens");
    silent.migrate(LEDGER).await.expect("migrates");
    let inbox = SqliteInbox::open(&path).await.expect("opens");
    hold_left::<Sqlite>(silent, inbox).await;
}

#[tokio::test]
async fn postgresql_does_as_the_vectors_say_of_work_that_was_left() {
    let url = database().await;
    let silent = PgInbox::connect(&url).await.expect("opens");
    silent.migrate(LEDGER).await.expect("migrates");
    let inbox = PgInbox::connect(&url).await.expect("opens");
    hold_left::<Postgres>(silent, inbox).await;
}

/// Done and not undone, by the rows; each of those has one effect more in the ledger than undone ones.
fn effects() -> i64 {
    cases().iter().filter(|case| case["then"] == "running" || case["then"] == "done").count() as i64
        // Whoever was forgotten had taken effect all the same.
        + cases().iter().filter(|c| c["command"]["op"] == "forget" && (c["given"] == "running" || c["given"] == "done")).count() as i64
}

#[tokio::test]
async fn the_memory_inbox_does_as_the_vectors_say() {
    hold::<Memory>(MemoryInbox::new()).await;
}

#[tokio::test]
async fn the_sqlite_inbox_does_as_the_vectors_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("inbox.db");
    let inbox = SqliteInbox::open(&path).await.expect("opens");
    inbox.migrate(LEDGER).await.expect("migrates");
    hold::<Sqlite>(inbox).await;
    let sum = rusqlite::Connection::open(&path).and_then(|ledger| {
        ledger.query_row("select sum(n) from ledger", [], |row| row.get::<_, i64>(0))
    });
    assert_eq!(sum.expect("a sum"), effects());
}

#[tokio::test]
async fn the_postgres_inbox_does_as_the_vectors_say() {
    let url = database().await;
    let inbox = PgInbox::connect(&url).await.expect("opens");
    inbox.migrate(LEDGER).await.expect("migrates");
    hold::<Postgres>(inbox).await;
    let pool = sqlx::PgPool::connect(&url).await.expect("reads");
    let sum: i64 = sqlx::query_scalar("select sum(n) from ledger")
        .fetch_one(&pool)
        .await
        .expect("a sum");
    assert_eq!(sum, effects());
}

/// The words of a cell of the table: outcomes and states, in backquotes.
fn words(cell: &str) -> Vec<&str> {
    const STATES: [&str; 3] = ["none", "done", "tombstone"];
    let is_word = |text: &&str| {
        let outcome = wire::Outcome::from_str_name(&format!("OUTCOME_{}", text.to_uppercase()));
        outcome.is_some() || STATES.contains(text)
    };
    let mut words: Vec<&str> = cell.split('`').skip(1).step_by(2).filter(is_word).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// The table in the documents and the vectors say the same, cell by cell.
#[test]
fn the_table_in_the_documents_is_that_of_the_vectors() {
    let page = include_str!("../../docs/reference/wire-protocol.md");
    let table = page
        .split("<!-- table: op, row, reply -->")
        .nth(1)
        .expect("the table's mark");
    let mut lines = table
        .lines()
        .map(str::trim)
        .skip_while(|line| line.is_empty());
    let cells = |line: &'static str| {
        line.trim_matches('|')
            .split('|')
            .map(str::trim)
            .collect::<Vec<_>>()
    };
    let head = cells(lines.next().expect("a head"));
    let ops: Vec<&str> = head[1..]
        .iter()
        .map(|cell| cell.trim_matches('`'))
        .collect();
    let mut told: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for line in lines.skip(1).take_while(|line| line.starts_with('|')) {
        let cells = cells(line);
        let row = words(cells[0])[0];
        for (op, cell) in ops.iter().zip(&cells[1..]) {
            told.insert((row.to_owned(), (*op).to_owned()), words(cell));
        }
    }
    let mut meant: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    // That a fingerprint differs is told beside the table.
    for case in cases()
        .iter()
        .filter(|case| case["command"]["fingerprint"].is_null())
    {
        let key = (
            case["given"].as_str().expect("a state").to_owned(),
            case["command"]["op"].as_str().expect("an op").to_owned(),
        );
        let words = meant.entry(key).or_default();
        let reply = case["reply"]["outcome"].as_str();
        let state = case["then"]
            .as_str()
            .filter(|then| *then != case["given"].as_str().expect("a state"));
        for word in reply.into_iter().chain(state) {
            if !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
        }
        words.sort_unstable();
    }
    let meant: Vec<_> = meant
        .iter()
        .map(|(key, words)| (key, words.iter().map(String::as_str).collect()))
        .collect();
    let told: Vec<(_, Vec<&str>)> = told
        .iter()
        .map(|(key, words)| (key, words.clone()))
        .collect();
    assert_eq!(told, meant);
}
