//! What `docs/reference/wire-protocol.md` says of replies is what comes of them.

use std::collections::BTreeMap;

use super::*;

fn outcomes() -> [(&'static str, Outcome); 14] {
    let output = || Payload::from_value(json!({"number": 1}));
    [
        ("succeeded", Outcome::Succeeded(output())),
        ("refused", Outcome::Refused(error("no_room"))),
        ("failed", Outcome::Failed(error("busy"))),
        ("accepted", Outcome::Accepted),
        ("running", Outcome::Running),
        ("blocked", Outcome::Blocked),
        ("conflict", Outcome::Conflict(error("conflict"))),
        ("expired", Outcome::Expired),
        (
            "needs_operator",
            Outcome::NeedsOperator(error("inbox_lost")),
        ),
        ("nothing_to_do", Outcome::NothingToDo),
        ("compensated", Outcome::Compensated),
        ("absent", Outcome::Absent),
        ("done", Outcome::Done(output())),
        ("sealed", Outcome::Sealed),
    ]
}

/// A saga that waits for the answer to one command, the step that it is about, and the op.
fn asked(op: Op) -> (Conversation, &'static str) {
    let two = || Saga::new("s", 1).step(step("a")).step(step("b"));
    let charge = || Saga::new("s", 1).step(step("a")).step(pivot("p"));
    match op {
        Op::Action => (Conversation::begun(two()), "a"),
        Op::Compensation => {
            let mut talk = Conversation::begun(two());
            talk.succeeds("a").refuses("b");
            (talk, "a")
        }
        Op::Query => {
            let mut talk = Conversation::begun(charge());
            talk.succeeds("a").passes(11_000);
            (talk, "p")
        }
        Op::Seal => {
            let mut talk = Conversation::begun(charge());
            talk.succeeds("a").cancel().expect("taken");
            talk.passes(10_000);
            (talk, "p")
        }
    }
}

/// Where the step stands after the reply, and whether a person is called.
fn follows(op: Op, outcome: Outcome) -> Option<String> {
    let (mut talk, id) = asked(op);
    let attempt = 1;
    match talk.answers_to(id, op, attempt, outcome) {
        Err(Rejected::Nonsense) => None,
        Err(other) => panic!("{op:?}: {other}"),
        Ok(_) => {
            let stands = crate::scope::status_word(&talk.state.steps[talk.ix(id).at()]);
            let calls = if talk.state.incidents.is_empty() {
                ""
            } else {
                ", incident"
            };
            Some(format!("{stands}{calls}"))
        }
    }
}

/// What stands in backquotes.
fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn what_follows_from_a_reply_is_what_the_documents_say() {
    let page = include_str!("../../../../../docs/reference/wire-protocol.md");
    let table = page
        .split("<!-- table: op, reply, step -->")
        .nth(1)
        .expect("the table's mark");
    let lines = table
        .trim_start()
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut told = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let step = cells[2].replace('`', "");
        for op in words(cells[0]) {
            for outcome in words(cells[1]) {
                let before = told.insert((op.to_owned(), outcome.to_owned()), step.clone());
                assert_eq!(before, None, "{op} {outcome} stands twice");
            }
        }
    }
    let mut meant = BTreeMap::new();
    for op in [Op::Action, Op::Compensation, Op::Query, Op::Seal] {
        for (name, outcome) in outcomes() {
            if let Some(step) = follows(op, outcome) {
                meant.insert((format!("{op:?}").to_lowercase(), name.to_owned()), step);
            }
        }
    }
    assert_eq!(told, meant);
}
