//! Every command that `saga describe` advises for an incident is run as it was printed, and accepted.

use std::process::{Output, Stdio};

use saga_tests::{Gate, Rig, Say, Script, client::status, served::program};
use serde_json::{Value, json};

/// What all files of this module share.
const HEAD: &str = "
version: 1
input: {n: int}
defaults:
  timeout: 50s
  retry: {initial_delay: 20ms, max_delay: 100ms}
  compensation_retry: {initial_delay: 20ms, max_delay: 100ms}
steps:
";

/// A kind of incident, and the steps of a saga that comes to it. What is tried again waits long, so that a command meets
/// the saga as it was described.
const INCIDENTS: [(&str, &str); 12] = [
    (
        "slow",
        "  - {step: a, action: hung/act, compensation: hung/undo, at_least_once: true, escalate_after: 50ms}",
    ),
    (
        "undo_slow",
        "
  - {step: a, action: p/act, compensation: {action: p/undo_fails, escalate_after: 50ms, retry: {initial_delay: 1h, max_delay: 1h, jitter: none}}}
  - {step: b, action: p/refuse, compensation: p/undo}",
    ),
    (
        "undo_stuck",
        "
  - {step: a, action: p/act, compensation: p/undo_refuses}
  - {step: b, action: p/refuse, compensation: p/undo}",
    ),
    (
        "retriable_refused",
        "
  - {step: b, kind: pivot, action: p/act}
  - {step: c, kind: retriable, action: p/refuse}",
    ),
    (
        "retriable_exhausted",
        "
  - {step: b, kind: pivot, action: p/act}
  - {step: c, kind: retriable, action: p/fail, retry: {max_attempts: 2}}",
    ),
    (
        "expression",
        "
  - {step: b, kind: pivot, action: p/act}
  - {step: c, kind: retriable, action: p/act, when: '1 / input.n == 1'}",
    ),
    (
        "pivot_unknown",
        "
  - {step: a, action: p/act, compensation: p/undo}
  - {step: b, kind: pivot, action: hung/act, at_least_once: true, escalate_after: 10m}",
    ),
    (
        "output_not_taken",
        "
  - {step: a, action: p/act, compensation: p/undo}
  - {step: b, kind: pivot, action: p/too_deep}",
    ),
    (
        "slow",
        "
  - {step: a, action: p/fail, compensation: p/undo, escalate_after: 50ms, retry: {max_attempts: 3, initial_delay: 1h, max_delay: 1h, jitter: none}}",
    ),
    (
        "deadline",
        "
  - {step: b, kind: pivot, action: p/act, timeout: 300ms}
  - {step: c, kind: retriable, action: hung/act, at_least_once: true, timeout: 300ms}
deadline: 1s",
    ),
    (
        "contradiction",
        "
  - parallel:
      - {step: a, action: late/act, compensation: late/undo, at_least_once: true}
      - {step: b, action: hung/act, compensation: hung/undo, at_least_once: true}",
    ),
    (
        "internal",
        "  - {step: a, action: p/act, compensation: p/undo}",
    ),
];

/// Nested deeper than a document may be.
fn too_deep() -> Value {
    (0..100).fold(json!(1), |inner, _| json!([inner]))
}

async fn saga(rig: &Rig, arguments: &str) -> Output {
    let output = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(format!("{} {arguments}", program("saga").display()))
        .env("SAGA_ENDPOINT", format!("grpc://{}", rig.address()))
        .current_dir(rig.folder())
        .stdin(Stdio::null())
        .output();
    output.await.expect("it runs")
}

/// The commands that settle something, as printed: between backticks, and nothing that only looks.
fn commands(described: &str) -> Vec<String> {
    let line = described.split_whitespace().collect::<Vec<_>>().join(" ");
    line.split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| {
            [
                "saga retry ",
                "saga skip ",
                "saga resolve ",
                "saga acknowledge ",
            ]
            .iter()
            .any(|verb| code.starts_with(verb))
        })
        .map(|command| command.trim_start_matches("saga ").to_owned())
        .collect()
}

/// Makes the store refuse the row in which a step of such a saga succeeds: the orchestrator's own trouble.
fn refuse_successes(rig: &Rig, name: &str) {
    let store = rusqlite::Connection::open(rig.store()).expect("the store opens");
    let trigger = format!(
        "create trigger refuse before insert on saga_event
         when instr(cast(new.body as text), 'step_succeeded') > 0
             and new.saga_id in (select id from saga where name = '{name}')
         begin select raise(abort, 'refused by a test'); end"
    );
    store
        .busy_timeout(std::time::Duration::from_secs(10))
        .expect("a timeout");
    store.execute_batch(&trigger).expect("the store takes it");
}

/// A new saga at its incident, and what it is advised to do.
async fn incident(rig: &Rig, name: &str, kind: &str, late: &Gate) -> (String, Vec<String>) {
    if kind == "internal" {
        refuse_successes(rig, name);
    }
    let id = rig.clients.begin(name, json!({"n": 0})).await;
    if kind == "contradiction" {
        // What was left out by force takes effect after all.
        late.arrived(1).await;
        let skip = saga(rig, &format!("skip {id} a --reason why --force --yes")).await;
        assert!(
            skip.status.success(),
            "{}",
            String::from_utf8_lossy(&skip.stderr)
        );
        late.open();
    }
    if kind == "pivot_unknown" {
        rig.clients
            .until(&id, "the pivot in flight", |seen| {
                seen.steps[1].status == "running"
            })
            .await;
        let cancel = saga(rig, &format!("cancel {id} --reason why --yes")).await;
        assert!(
            cancel.status.success(),
            "{}",
            String::from_utf8_lossy(&cancel.stderr)
        );
    }
    rig.clients
        .until(&id, kind, |seen| {
            seen.incidents.iter().any(|open| open.code == kind)
        })
        .await;
    let described = saga(rig, &format!("describe {id}")).await;
    let text = String::from_utf8(described.stdout).expect("UTF-8");
    let commands = commands(&text);
    assert!(
        !commands.is_empty(),
        "nothing helps against {kind}:\n{text}"
    );
    (id, commands)
}

#[tokio::test]
async fn every_advised_command_is_accepted() {
    let rig = Rig::start_on_a_file().await;
    std::fs::write(rig.folder().join("FILE"), json!({"n": 1}).to_string()).expect("a file");
    let (gate, late) = (Gate::new(), Gate::new());
    let p = Script::plain(&rig, "p")
        .refuse("refuse", "no")
        .act("fail", |_| Say::Fail("busy"))
        .act("too_deep", |_| Say::Succeed(too_deep()))
        .undo("undo_fails", |_| Say::Fail("busy"))
        .undo("undo_refuses", |_| Say::Refuse("by_hand"));
    // Without a database that the hanging handlers would keep from the others.
    let hung = Script::plain(&rig, "hung").hang_until("act", &gate);
    let (_p, _hung) = (p.serve(&rig).await, hung.serve_from_memory(&rig).await);
    let _late = Script::plain(&rig, "late")
        .hang_until("act", &late)
        .serve_from_memory(&rig)
        .await;
    for (at, (kind, steps)) in INCIDENTS.iter().enumerate() {
        let name = format!("saga_{at}");
        rig.clients
            .deploy(&format!("saga: {name}{HEAD}{steps}\n"))
            .await;
        let (mut id, first) = incident(&rig, &name, kind, &late).await;
        for next in 0..first.len() {
            let advised = if next == 0 {
                first.clone()
            } else {
                let (another, advised) = incident(&rig, &name, kind, &late).await;
                id = another;
                advised
            };
            // What is under way at the moment of the look may differ, and then so does the advice.
            let Some(command) = advised.get(next) else {
                continue;
            };
            let ran = saga(&rig, command).await;
            let seen = rig.clients.get(&id).await;
            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(
                ran.status.success(),
                "{kind}: `{command}` in a saga that is {}: {said}",
                status(&seen)
            );
        }
    }
    gate.open();
}
