//! Documents of the largest size cross every road, in both directions and in every answer; one byte more fails the step
//! that it belongs to, with part and size, and nothing beside it. The clients here take the 4 MiB that libraries of gRPC
//! take by default.

use std::collections::BTreeMap;

use futures_util::stream;
use saga_proto::{
    limits::{DEPLOY_BYTES_MAX, DOCUMENT_BYTES_MAX},
    v1::{
        DeployRequest, GetSagaRequest, HistoryEvent, HistoryRequest, ListDefinitionsRequest,
        ListSagasRequest, RunOutcome, RunSagasRequest, SagaDetail, SagaFile, StartSagaRequest,
    },
};
use saga_tests::{
    Rig, Say, Script,
    client::{code, id_of, start, status, step},
    plain::{Habit, Plain},
    rabbitmq, within,
};
use serde_json::{Value, json};

/// Input and first output of any size; the second step is refused where the input says so.
const SIZED: &str = "
saga: sized
version: 1
input: {doc: string, fail: bool, text: string}
defaults:
  timeout: 50s
  retry: {initial_delay: 20ms, max_delay: 100ms, max_attempts: 2}
  compensation_retry: {initial_delay: 20ms, max_delay: 100ms}
steps:
  - {step: first, action: left/act, input: [doc, fail, text], compensation: left/undo}
  - {step: second, action: right/act, input: [fail], compensation: right/undo}
output: {fail: '${input.fail}'}
";

/// An input that an expression makes of three copies: more would meet the budget of its evaluation first.
const SWOLLEN_INPUT: &str = "
saga: swollen_input
version: 1
input: {doc: string}
defaults: {timeout: 50s}
steps:
  - {step: first, action: left/act, compensation: left/undo}
  - step: second
    action: left/act
    input: {a: '${input.doc}', b: '${input.doc}', c: '${input.doc}'}
    compensation: left/undo
";

/// The same of an undo.
const SWOLLEN_UNDO: &str = "
saga: swollen_undo
version: 1
input: {doc: string}
defaults: {timeout: 50s}
steps:
  - step: first
    action: left/act
    compensation:
      action: left/undo
      input: {a: '${input.doc}', b: '${input.doc}', c: '${input.doc}'}
  - {step: second, action: right/act, input: {fail: true}, compensation: right/undo}
";

/// Five outputs, which are the saga's output.
const FIVE: &str = "
saga: five
version: 1
input: {text: string}
defaults: {timeout: 50s}
steps:
  - {step: a, action: left/act, input: [text], compensation: left/undo}
  - {step: b, action: left/act, input: [text], compensation: left/undo}
  - {step: c, action: left/act, input: [text], compensation: left/undo}
  - {step: d, action: left/act, input: [text], compensation: left/undo}
  - {step: e, action: left/act, input: [text], compensation: left/undo}
";

/// An input of exactly so many bytes, as the server writes it.
fn input(bytes: usize, returns: usize, fail: bool) -> Value {
    let of = |doc: usize| json!({"doc": "x".repeat(doc), "fail": fail, "text": format!("return {returns}")});
    let around = of(0).to_string().len();
    let input = of(bytes.saturating_sub(around));
    assert!(bytes < around || input.to_string().len() == bytes);
    input
}

fn returning(call: &saga_tests::script::Call) -> Say {
    let text = call.input["text"]
        .as_str()
        .and_then(|text| text.strip_prefix("return "));
    let bytes: usize = text.and_then(|bytes| bytes.parse().ok()).unwrap_or(2);
    Say::Succeed("x".repeat(bytes - 2).into())
}

fn left(rig: &Rig) -> Script {
    Script::new(rig, "left")
        .act("act", returning)
        .undo("undo", |_| Say::Succeed(Value::Null))
}

fn right(rig: &Rig) -> Script {
    let right = Script::plain(rig, "right");
    right.act("act", |call| {
        if call.input["fail"] == json!(true) {
            Say::Refuse("no")
        } else {
            returning(call)
        }
    })
}

async fn run(rig: &Rig, starts: Vec<StartSagaRequest>) -> BTreeMap<u64, RunOutcome> {
    let mut sagas = rig.clients.sagas.clone();
    // The stream would be cut as a whole, so each start travels in a message of its own.
    let requests: Vec<RunSagasRequest> = (0..)
        .zip(starts)
        .map(|(tag, start)| RunSagasRequest {
            starts: vec![start],
            tags: vec![tag],
        })
        .collect();
    let mut answers = sagas
        .run_sagas(stream::iter(requests))
        .await
        .expect("a stream")
        .into_inner();
    let mut outcomes = BTreeMap::new();
    while let Some(answer) = within("outcomes", answers.message())
        .await
        .expect("the stream lives")
    {
        outcomes.extend(
            answer
                .outcomes
                .into_iter()
                .map(|outcome| (outcome.tag, outcome)),
        );
    }
    outcomes
}

/// Every event, by pages that may end within a decision.
async fn history(rig: &Rig, saga: &str) -> Vec<HistoryEvent> {
    let mut request = HistoryRequest {
        saga: saga.to_owned(),
        splits: true,
        ..Default::default()
    };
    let mut events = Vec::new();
    loop {
        let page = rig
            .clients
            .sagas
            .clone()
            .history(request.clone())
            .await
            .expect("a page")
            .into_inner();
        events.extend(page.events);
        if !page.more {
            return events;
        }
        (request.after_seq, request.after_event) = (page.next_after_seq, page.next_after_event);
    }
}

async fn watched(rig: &Rig, saga: &str) -> SagaDetail {
    let request = GetSagaRequest {
        saga: saga.to_owned(),
    };
    let mut pictures = rig
        .clients
        .sagas
        .clone()
        .watch_saga(request)
        .await
        .expect("a stream")
        .into_inner();
    let mut last = None;
    while let Some(picture) = within("pictures", pictures.message())
        .await
        .expect("the stream lives")
    {
        last = Some(picture);
    }
    last.expect("a picture")
}

fn fault(outcome: &RunOutcome) -> (&str, &str) {
    outcome
        .fault
        .as_ref()
        .map_or(("", ""), |fault| (&*fault.step, &*fault.code))
}

/// A small saga beside a large one was neither cut off nor charged.
async fn is_untouched(rig: &Rig, outcome: &RunOutcome) {
    assert_eq!(
        (outcome.status.as_str(), fault(outcome)),
        ("completed", ("", ""))
    );
    let seen = rig.clients.get(&id_of(&outcome.saga_id)).await;
    assert_eq!(["first", "second"].map(|id| step(&seen, id).tries), [1, 1]);
}

/// The largest input and output go out and come back, and the undo carries both.
async fn largest(rig: &Rig) {
    rig.clients.deploy(SIZED).await;
    let max = DOCUMENT_BYTES_MAX;
    let (large, small) = (input(max, max, true), input(0, 2, false));
    let outcomes = run(rig, vec![start("sized", large), start("sized", small)]).await;
    assert_eq!(
        (outcomes[&0].status.as_str(), fault(&outcomes[&0])),
        ("compensated", ("second", "no"))
    );
    is_untouched(rig, &outcomes[&1]).await;

    let id = id_of(&outcomes[&0].saga_id);
    let seen = watched(rig, &id).await;
    let first = step(&seen, "first");
    assert_eq!(
        (first.status.as_str(), first.tries, first.undo_tries),
        ("compensated", 1, 1)
    );
    assert_eq!(
        (seen.input.len(), first.input.len(), first.output.len()),
        (max, max, max)
    );
    let events = history(rig, &id).await;
    let undo = events
        .iter()
        .find(|event| event.kind == "undo_dispatched")
        .expect("an undo");
    assert!(
        undo.body.len() > 2 * max && !undo.left_out,
        "{} bytes",
        undo.body.len()
    );
    let list = rig.clients.list(ListSagasRequest::default()).await;
    assert_eq!(list.sagas.len(), 2);
}

/// One byte more of input is refused at the door, one more of output fails its step.
async fn one_byte_more(rig: &Rig, output_code: &str) {
    rig.clients.deploy(SIZED).await;
    let max = DOCUMENT_BYTES_MAX;
    let starts = [
        input(max + 1, 2, false),
        input(0, max + 1, false),
        input(0, 2, false),
    ];
    let outcomes = run(rig, starts.map(|input| start("sized", input)).into()).await;
    assert_eq!(
        (outcomes[&0].status.as_str(), fault(&outcomes[&0])),
        ("", ("", "A0413"))
    );
    assert_eq!(
        (outcomes[&1].status.as_str(), fault(&outcomes[&1])),
        ("compensated", ("first", output_code))
    );
    let message = &outcomes[&1].fault.as_ref().expect("a fault").message;
    assert!(
        message.contains("1048577") && message.contains("1048576"),
        "{message}"
    );
    is_untouched(rig, &outcomes[&2]).await;
}

#[tokio::test]
async fn the_largest_documents_cross_a_stream() {
    let rig = Rig::start_on_streams().await;
    let _instances = [left(&rig).serve(&rig).await, right(&rig).serve(&rig).await];
    largest(&rig).await;
}

#[tokio::test]
async fn the_largest_documents_cross_a_broker() {
    let rig = Rig::start_at_a_broker(rabbitmq::vhost().await).await;
    let _instances = [left(&rig).serve(&rig).await, right(&rig).serve(&rig).await];
    largest(&rig).await;
}

#[tokio::test]
async fn the_largest_documents_cross_a_broker_in_the_plain_form() {
    let rig = Rig::start_at_a_broker(rabbitmq::vhost().await).await;
    let (_left, _right) = (
        Plain::serve(&rig, "left", Habit::Good).await,
        right(&rig).serve(&rig).await,
    );
    largest(&rig).await;
}

#[tokio::test]
async fn one_byte_more_fails_its_own_step_over_a_stream() {
    let rig = Rig::start_on_streams().await;
    let _instances = [left(&rig).serve(&rig).await, right(&rig).serve(&rig).await];
    one_byte_more(&rig, "output_too_large").await;
}

#[tokio::test]
async fn one_byte_more_fails_its_own_step_over_a_broker() {
    let rig = Rig::start_at_a_broker(rabbitmq::vhost().await).await;
    let _instances = [left(&rig).serve(&rig).await, right(&rig).serve(&rig).await];
    one_byte_more(&rig, "output_too_large").await;
}

#[tokio::test]
async fn one_byte_more_fails_its_own_step_in_the_plain_form() {
    let rig = Rig::start_at_a_broker(rabbitmq::vhost().await).await;
    let (_left, _right) = (
        Plain::serve(&rig, "left", Habit::Good).await,
        right(&rig).serve(&rig).await,
    );
    one_byte_more(&rig, "bad_output").await;
}

/// An expression may make more of its values than any message holds. That ends its own saga, or calls an operator for it.
#[tokio::test]
async fn what_an_expression_makes_too_large_is_its_own_sagas_trouble() {
    let rig = Rig::start_on_streams().await;
    // Before anybody says what an undo needs.
    for definition in [SWOLLEN_INPUT, SWOLLEN_UNDO, SIZED] {
        rig.clients.deploy(definition).await;
    }
    let _instances = [left(&rig).serve(&rig).await, right(&rig).serve(&rig).await];
    // Written in JSON, each of these letters takes six bytes.
    let doc = json!({"doc": "\u{1}".repeat(DOCUMENT_BYTES_MAX / 6 - 20)});
    let stuck = rig.clients.begin("swollen_undo", doc.clone()).await;
    let outcomes = run(
        &rig,
        vec![
            start("swollen_input", doc),
            start("sized", input(0, 2, false)),
        ],
    )
    .await;
    assert_eq!(fault(&outcomes[&0]), ("second", "too_large"));
    is_untouched(&rig, &outcomes[&1]).await;
    let called = |seen: &SagaDetail| {
        seen.incidents
            .iter()
            .any(|incident| incident.code == "undo_stuck")
    };
    let seen = rig.clients.until(&stuck, "an incident", called).await;
    let incident = seen.incidents.first().expect("an incident");
    assert!(
        incident.step == "first" && incident.message.contains("the limit of 2098176"),
        "{incident:?}"
    );
}

#[tokio::test]
async fn a_single_start_is_held_to_the_same_size() {
    let rig = Rig::start().await;
    rig.clients.deploy(SIZED).await;
    rig.clients
        .begin("sized", input(DOCUMENT_BYTES_MAX, 2, false))
        .await;
    let larger = rig
        .clients
        .try_start(start("sized", input(DOCUMENT_BYTES_MAX + 1, 2, false)))
        .await;
    let refusal = larger.expect_err("one byte more");
    assert_eq!(code(&refusal), "A0413");
    assert!(
        refusal.message().contains("1048577 bytes"),
        "{}",
        refusal.message()
    );
}

#[tokio::test]
async fn large_outputs_together_leave_the_saga_complete_and_readable() {
    let rig = Rig::start().await;
    let _instances = [left(&rig).serve(&rig).await, right(&rig).serve(&rig).await];
    rig.clients.deploy(FIVE).await;
    rig.clients.deploy(SIZED).await;
    let five = start(
        "five",
        json!({"text": format!("return {DOCUMENT_BYTES_MAX}")}),
    );
    let outcomes = run(&rig, vec![five, start("sized", input(0, 2, false))]).await;
    assert_eq!(
        (outcomes[&0].status.as_str(), fault(&outcomes[&0])),
        ("completed", ("", "too_large"))
    );
    is_untouched(&rig, &outcomes[&1]).await;

    let id = id_of(&outcomes[&0].saga_id);
    for seen in [rig.clients.get(&id).await, watched(&rig, &id).await] {
        assert_eq!((status(&seen), seen.output.len()), ("completed", 0));
        let error = seen.output_error.as_ref().expect("it says why");
        assert!(
            error
                .message
                .contains("5242880 bytes are more than the limit of 1048576"),
            "{}",
            error.message
        );
        let shown: Vec<bool> = seen
            .steps
            .iter()
            .map(|step| !step.left_out && !step.output.is_empty())
            .collect();
        assert_eq!(
            shown,
            [true, true, false, false, false],
            "as many as there is room for"
        );
        assert!(
            seen.story
                .iter()
                .any(|line| line.contains("It has no output")),
            "{:?}",
            seen.story
        );
    }
    let events = history(&rig, &id).await;
    let outputs: Vec<&HistoryEvent> = events
        .iter()
        .filter(|event| event.kind == "step_succeeded")
        .collect();
    assert!(
        outputs.len() == 5
            && outputs
                .iter()
                .all(|event| event.body.len() > DOCUMENT_BYTES_MAX)
    );
}

/// A journal of a release that held no output to a size.
#[tokio::test]
async fn an_output_of_an_older_release_is_left_out_and_named() {
    let mut rig = Rig::start_on_a_file().await;
    let _instances = [left(&rig).serve(&rig).await, right(&rig).serve(&rig).await];
    rig.clients.deploy(FIVE).await;
    rig.clients.deploy(SIZED).await;
    let old = StartSagaRequest {
        key: "old".to_owned(),
        ..start("five", json!({"text": "return 2"}))
    };
    let outcomes = run(&rig, vec![old.clone()]).await;
    rig.stop().await;
    let file = rusqlite::Connection::open(rig.store()).expect("the store");
    let output = Value::from("x".repeat(9 * DOCUMENT_BYTES_MAX));
    let body = json!({"v": 1, "events": [{"completed": {"output": output}}]})
        .to_string()
        .into_bytes();
    let (id, of) = (
        outcomes[&0].saga_id.to_vec(),
        "saga_id = ?2 AND seq = (SELECT max(seq) FROM saga_event WHERE saga_id = ?2)",
    );
    let changed = file.execute(
        &format!("UPDATE saga_event SET body = ?1 WHERE {of}"),
        rusqlite::params![body, id],
    );
    assert_eq!(changed, Ok(1));
    drop(file);
    rig.revive().await;

    let id = id_of(&outcomes[&0].saga_id);
    let seen = watched(&rig, &id).await;
    assert!(seen.output.is_empty() && seen.left_out && status(&seen) == "completed");
    let last = history(&rig, &id).await.pop().expect("an end");
    assert!(last.left_out && last.text.contains("9437"), "{}", last.text);
    let outcomes = run(&rig, vec![old, start("sized", input(0, 2, false))]).await;
    assert_eq!(
        (outcomes[&0].status.as_str(), fault(&outcomes[&0])),
        ("completed", ("", "too_large"))
    );
    is_untouched(&rig, &outcomes[&1]).await;
}

#[tokio::test]
async fn a_refusal_of_many_words_arrives() {
    let rig = Rig::start().await;
    rig.clients.deploy(SIZED).await;
    let fields = (0..100)
        .map(|n| (format!("{}{n}", "ü".repeat(200)), json!(1)))
        .collect();
    let refusal = rig
        .clients
        .try_start(start("sized", Value::Object(fields)))
        .await
        .expect_err("unknown fields");
    assert_eq!(code(&refusal), "A0422");
    assert!(refusal.message().ends_with('…'), "{}", refusal.message());
}

/// A valid file of exactly so many bytes, path included.
fn file(name: &str, bytes: usize) -> SagaFile {
    let path = format!("{name}.saga.yaml");
    let text = |words: &str| {
        format!(
            "saga: {name}\nversion: 1\ndescription: '{words}'\nsteps:\n  - {{step: s, action: p/a, compensation: p/b}}\n"
        )
    };
    let around = text("").len() + path.len();
    let content = text(&"x".repeat(bytes - around)).into_bytes();
    SagaFile {
        path,
        content: content.into(),
    }
}

#[tokio::test]
async fn the_largest_deploy_is_taken_whole_and_listed_in_pages() {
    let rig = Rig::start().await;
    // The broker is asked for queues of participants that were named a moment ago.
    rig.causes("no queue");
    let mut client = rig.clients.definitions.clone();
    let each = DEPLOY_BYTES_MAX / 40;
    let mut files: Vec<SagaFile> = (10..49)
        .map(|n| file(&format!("large_{n}"), each))
        .collect();
    files.push(file("large_49", DEPLOY_BYTES_MAX - 39 * each + 1));
    let more = client
        .deploy(DeployRequest {
            files: files.clone(),
            dry_run: false,
        })
        .await;
    let refusal = more.expect_err("one byte more");
    assert_eq!(code(&refusal), "A0413");
    assert!(
        refusal.message().contains("8388609 bytes together"),
        "{}",
        refusal.message()
    );

    *files.last_mut().expect("a file") = file("large_49", DEPLOY_BYTES_MAX - 39 * each);
    let taken = client
        .deploy(DeployRequest {
            files,
            dry_run: false,
        })
        .await
        .expect("an answer")
        .into_inner();
    assert!(
        taken.accepted && taken.deployed.len() == 40,
        "{:?}",
        taken.diagnostics.first()
    );

    let (mut names, mut pages, mut request) = (Vec::new(), 0, ListDefinitionsRequest::default());
    loop {
        let page = client
            .list_definitions(request.clone())
            .await
            .expect("a page")
            .into_inner();
        names.extend(
            page.definitions
                .into_iter()
                .map(|definition| definition.name),
        );
        (pages, request.page_token) = (pages + 1, page.next_page_token);
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(
        names,
        (10..50).map(|n| format!("large_{n}")).collect::<Vec<_>>()
    );
    assert!(pages > 2, "{pages} pages");
}

#[tokio::test]
async fn a_deploy_of_many_faults_is_answered() {
    let rig = Rig::start().await;
    let step = |n: usize| {
        format!(
            "  - {{step: s{n}, action: p/a, wrong_key_of_a_step: {}}}\n",
            "x".repeat(900)
        )
    };
    let text = |n: usize| {
        format!(
            "saga: f{n}\nversion: 1\nsteps:\n{}",
            (0..100).map(step).collect::<String>()
        )
        .into_bytes()
    };
    let files = (0..80)
        .map(|n| SagaFile {
            path: format!("{n}.saga.yaml"),
            content: text(n).into(),
        })
        .collect();
    let answer = rig
        .clients
        .definitions
        .clone()
        .deploy(DeployRequest {
            files,
            dry_run: false,
        })
        .await;
    let answer = answer.expect("an answer").into_inner();
    assert!(!answer.accepted && answer.deployed.is_empty());
    let last = answer.diagnostics.last().expect("faults");
    assert!(
        last.message.ends_with("more are not shown"),
        "{} faults, {}",
        answer.diagnostics.len(),
        last.message
    );
}
