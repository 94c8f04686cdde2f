//! Values through the whole: client, expressions, both inboxes, answers that are told again, what is read back.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use saga_participant::{Ctx, Participant, PgInbox, SqliteInbox, Store};
use saga_proto::v1::{GetDefinitionRequest, PreviewRetryRequest, RetryRequest, StartSagaRequest};
use saga_tests::{
    Instance, Rig, Say, Script,
    client::{code, id_of, start, status, step},
    eventually,
    postgres::database,
    script::connected,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

const PASSED_ON: &str = "
saga: passed_on
version: 1
input: {n: int, d: double, any: any}
defaults:
  timeout: 1s
  retry: {initial_delay: 20ms, max_delay: 100ms, max_attempts: 20}
steps:
  - {step: lite, action: lite/echo, input: [n, d, any], compensation: {action: none, reason: a test}}
  - step: pg
    action: pg/echo
    input:
      n: ${steps.lite.output.n}
      d: ${steps.lite.output.d}
      any: ${steps.lite.output.any}
      list: ['${input.d}', '${input.any}']
    compensation: {action: none, reason: a test}
output:
  back: ${steps.pg.output}
";

/// A document as it came.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Written(#[schemars(with = "serde_json::Value")] Box<RawValue>);

/// Answers with what it was asked, and says so only when it is asked again: what is heard then is what the inbox kept.
fn echo<S: Store>(name: &str, inbox: S::Inbox) -> Participant<S> {
    let commits = Arc::new(AtomicUsize::new(0));
    Participant::<S>::new(name)
        .action("echo", async |_: Ctx<S>, input: Written| Ok(input))
        .inbox(inbox)
        .after_commit(move |_, _| {
            let first = commits.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                if first {
                    // Longer than the attempt's limit.
                    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                }
            }
        })
}

#[tokio::test]
async fn what_is_passed_on_through_both_inboxes_keeps_its_text() {
    let rig = Rig::start().await;
    let file = rig.folder().join("lite.db");
    let url = database().await;
    let _lite = Instance::start(&rig.endpoint(), async move {
        echo::<saga_participant::Sqlite>("lite", SqliteInbox::open(file).await.expect("an inbox"))
    });
    let _pg = Instance::start(&rig.endpoint(), async move {
        echo::<saga_participant::Postgres>("pg", PgInbox::connect(&url).await.expect("an inbox"))
    });
    for name in ["lite", "pg"] {
        eventually(name, || async {
            (connected(&rig, name).await.len() == 1).then_some(())
        })
        .await;
    }
    rig.clients.deploy(PASSED_ON).await;
    let numbers = [
        (
            "18446744073709551615",
            "0.12345678901234567890123456789",
            r#"{"b": 1e2, "a":[-0, 1.10]}"#,
        ),
        ("-9223372036854775808", "1.00", r#""\u0041\u0000\u007f""#),
        (
            "9007199254740993",
            "1e-300",
            "123456789012345678901234567890",
        ),
    ];
    for (n, d, any) in numbers {
        let input = format!(r#"{{"n":{n},"d":{d},"any":{any}}}"#);
        let request = StartSagaRequest {
            input: input.clone().into(),
            ..start("passed_on", json!({}))
        };
        let id = id_of(
            &rig.clients
                .try_start(request)
                .await
                .expect("a start")
                .saga_id,
        );
        let seen = rig.clients.ended(&id).await;
        assert_eq!(status(&seen), "completed", "{:?}", seen.failure);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("JSON is UTF-8");
        assert_eq!(text(&seen.input), input);
        let picked = format!(r#"{{"any":{any},"d":{d},"n":{n}}}"#);
        assert_eq!(text(&step(&seen, "lite").input), picked);
        assert_eq!(text(&step(&seen, "lite").output), picked);
        let made = format!(r#"{{"any":{any},"d":{d},"list":[{d},{any}],"n":{n}}}"#);
        assert_eq!(text(&step(&seen, "pg").output), made);
        assert_eq!(text(&seen.output), format!(r#"{{"back":{made}}}"#));
    }
}

const KEYED: &str = "
saga: keyed
version: 1
idempotency_key: ${input.k}
input: {k: string, amount: double, note: optional string, tags: [string]}
steps:
  - {step: a, action: nobody/x, compensation: {action: none, reason: a test}}
";

#[tokio::test]
async fn every_spelling_of_one_input_is_one_start() {
    let rig = Rig::start().await;
    rig.clients.deploy(KEYED).await;
    let begin = async |text: &str| {
        let request = StartSagaRequest {
            input: text.to_owned().into(),
            ..start("keyed", json!({}))
        };
        rig.clients.try_start(request).await
    };
    let first = begin(r#"{"k":"1","amount":100.0}"#).await.expect("a start");
    assert!(first.created);
    for again in [
        r#"{"k":"1","amount":100}"#,
        r#"{"k":"1","amount":1e2}"#,
        r#"{"amount":100.00,"note":null,"k":"\u0031"}"#,
        r#"{"k":"1","amount":100,"tags":[]}"#,
    ] {
        let answer = begin(again).await.expect("the first one");
        assert_eq!(
            (answer.created, &answer.saga_id),
            (false, &first.saga_id),
            "{again}"
        );
    }
    for (other, refused) in [
        (r#"{"k":"1","amount":100.00000000000000000001}"#, "A0409"),
        (r#"{"k":"1","amount":100,"note":""}"#, "A0409"),
        (r#"{"k":"1","amount":100,"k":"1"}"#, "A0400"),
        (r#"{"k":"1","amount":1e400}"#, "A0400"),
        (r#"{"k":"\ud800","amount":1}"#, "A0400"),
    ] {
        let refusal = begin(other).await.expect_err(other);
        assert_eq!(code(&refusal), refused, "{refusal}");
    }
}

#[tokio::test]
async fn keys_of_an_earlier_release_know_their_input_by_its_value() {
    let mut rig = Rig::start_on_a_file().await;
    rig.clients.deploy(KEYED).await;
    let request = |text: &str| StartSagaRequest {
        input: text.to_owned().into(),
        ..start("keyed", json!({}))
    };
    let first = rig
        .clients
        .try_start(request(r#"{"k":"1","amount":100.0}"#))
        .await
        .expect("a start");
    rig.stop().await;
    // What the release before versions stored: no mark, and a hash of the spelling.
    let store = rusqlite::Connection::open(rig.store()).expect("the store");
    let changed = store
        .execute("UPDATE start_key SET input_hash = ?1", [vec![7_u8; 32]])
        .expect("written");
    assert_eq!(changed, 1);
    drop(store);
    rig.revive().await;
    let again = rig
        .clients
        .try_start(request(r#"{"k":"1","amount":1e2,"note":null}"#))
        .await;
    let again = again.expect("the first one");
    assert_eq!((again.created, again.saga_id), (false, first.saga_id));
    let refusal = rig
        .clients
        .try_start(request(r#"{"k":"1","amount":101}"#))
        .await
        .expect_err("another");
    assert_eq!(code(&refusal), "A0409");
}

/// What `ship` takes.
#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "read by its schema alone")]
struct Parcel {
    order_id: String,
    zip: String,
}

const SHIPPED: &str = "
saga: shipped
version: 1
input: {order_id: string, zip: string}
steps:
  - {step: pay, kind: pivot, action: left/act}
  - {step: ship, kind: retriable, action: shipping/ship, input: [order_id, zip]}
";

#[tokio::test]
async fn an_edit_of_a_step_keeps_its_other_fields_and_is_checked_first() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left").act("act", |_| Say::Succeed(json!({})));
    let _left = left.serve(&rig).await;
    let file = rig.folder().join("shipping.db");
    let _shipping = Instance::start(&rig.endpoint(), async move {
        Participant::<saga_participant::Sqlite>::new("shipping")
            .action(
                "ship",
                async |_: Ctx<saga_participant::Sqlite>, parcel: Parcel| match parcel.zip.as_str() {
                    "10115" => Ok(json!({"order": parcel.order_id})),
                    _ => Err(saga_participant::Reject::new("no_such_place", "no such zip").into()),
                },
            )
            .inbox(SqliteInbox::open(file).await.expect("an inbox"))
    });
    eventually("shipping", || async {
        (connected(&rig, "shipping").await.len() == 1).then_some(())
    })
    .await;
    rig.clients.deploy(SHIPPED).await;
    let asked = GetDefinitionRequest {
        name: "shipped".to_owned(),
        version: 0,
    };
    let answer = rig.clients.definitions.clone().get_definition(asked).await;
    let answer = answer.expect("registered").into_inner();
    assert_eq!(answer.version, 1);
    let id = rig
        .clients
        .begin("shipped", json!({"order_id": "o-1", "zip": "1011"}))
        .await;
    rig.clients
        .until(&id, "an incident", |seen| !seen.incidents.is_empty())
        .await;

    let edit = |path: &str, text: &str| saga_proto::v1::FieldEdit {
        path: path.split('.').map(str::to_owned).collect(),
        text: text.to_owned(),
    };
    let mut operators = rig.clients.operators();
    let request = PreviewRetryRequest {
        saga: id.clone(),
        step: "ship".to_owned(),
        fields: vec![edit("zip", "10115")],
        ..PreviewRetryRequest::default()
    };
    let preview = operators
        .preview_retry(request.clone())
        .await
        .expect("a preview")
        .into_inner();
    assert_eq!(preview.before, r#"{"order_id":"o-1","zip":"1011"}"#);
    assert_eq!(preview.after, r#"{"order_id":"o-1","zip":"10115"}"#);
    assert_eq!(
        (preview.mismatches.len(), preview.action.as_str()),
        (0, "shipping/ship")
    );
    let wrong = PreviewRetryRequest {
        input: r#"{"zip":10115}"#.into(),
        fields: vec![],
        ..request
    };
    let wrong = operators
        .preview_retry(wrong)
        .await
        .expect("a preview")
        .into_inner();
    assert_eq!(
        wrong.mismatches,
        [
            "order_id: is missing, expected a string",
            "zip: expected a string, got 10115"
        ]
    );

    let retry = |input: &[u8]| RetryRequest {
        saga: id.clone(),
        step: "ship".to_owned(),
        input: input.to_vec().into(),
        ..RetryRequest::default()
    };
    let refusal = operators
        .retry(retry(&wrong.after))
        .await
        .expect_err("it does not fit");
    assert_eq!(code(&refusal), "A0422");
    let seen = rig.clients.try_get(&id).await.expect("there");
    assert_eq!(step(&seen, "ship").round, 1, "nothing was sealed for it");
    operators.retry(retry(&preview.after)).await.expect("taken");
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "completed");
}
