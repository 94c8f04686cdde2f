//! Rules on definitions that did not come from a file.

use serde_json::json;

use super::*;
use crate::{
    builder::{Item, Saga, parallel, sequence, step},
    codes::Code,
    definition::Retry,
};

fn lines(definition: &Definition) -> Vec<String> {
    check_definition(definition, None)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn codes(definition: &Definition) -> Vec<Code> {
    check_definition(definition, None)
        .iter()
        .map(|found| found.code)
        .collect()
}

#[test]
fn places_stand_where_a_file_has_lines() {
    let saga = Saga::new("trip", 2)
        .item(parallel([
            step("a").action("p/a").compensation("p/undo"),
            step("b").action("p/b").when("input.x").pivot(),
        ]))
        .step(
            step("c")
                .action("p/c")
                .input(json!({"list": [{"b": "${steps.b.output.n}"}]}))
                .retriable(),
        );
    let definition = saga.build().expect("a definition");
    let found = check_definition(&definition, None);
    let shown: Vec<_> = found.iter().map(|found| found.render("", false)).collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    error[S0202]: `input` has no field `x`
    --> trip@2 steps[0].parallel[1].when
     = help: it has no fields
    error[S0205]: `steps.b.output` may be absent: skipped when `steps[0].parallel[1].when` is false
    --> trip@2 steps[1].input.list[0].b
     = help: ${has(steps.b.output) ? steps.b.output.n : null}
    error[S0302]: the pivot `b` stands inside of `parallel`
    --> trip@2 steps[0].parallel[1].kind
     = help: move it before or after the group
     = note: `steps[0].parallel`: the group begins here
    note[N0701]: actions were not checked: nothing is known here of p (trip@2 steps[0].parallel[0].action)
    ");
}

#[test]
fn a_sound_definition_has_only_the_remark() {
    let saga = Saga::new("trip", 1)
        .step(step("a").action("p/a").compensation("p/undo"))
        .step(step("b").action("p/b").pivot())
        .step(
            step("c")
                .action("p/c")
                .pick(["steps.a.output.x"])
                .retriable(),
        );
    assert_eq!(codes(&saga.build().expect("a definition")), [Code::N0701]);
}

#[test]
fn limits_hold_without_a_file_too() {
    let one = |n: usize| step(&format!("s{n}")).action("p/a").compensation("p/b");
    let many = |number| (0..number).fold(Saga::new("t", 1), |saga, n| saga.step(one(n)));
    assert_eq!(
        codes(&many(201).build().expect("a definition")),
        [Code::S0110]
    );
    assert_eq!(
        codes(&many(200).build().expect("a definition")),
        [Code::N0701]
    );
    let deep = |depth| (0..depth).fold(Item::from(one(0)), |item, _| sequence([item]));
    let deep = |depth| {
        Saga::new("t", 1)
            .item(deep(depth))
            .build()
            .expect("a definition")
    };
    assert_eq!(codes(&deep(33)), [Code::S0008, Code::N0701]);
    assert_eq!(codes(&deep(32)), [Code::N0701]);
    assert_eq!(
        codes(
            &Saga::new("t", 0)
                .step(one(0))
                .build()
                .expect("a definition")
        ),
        [Code::S0103, Code::N0701]
    );
}

#[test]
fn numbers_that_only_a_program_can_write() {
    let retry = Retry {
        multiplier: Some(f64::NAN),
        ..Retry::default()
    };
    let saga = Saga::new("t", 1).step(step("a").action("p/a").compensation("p/b").retry(retry));
    let lines = lines(&saga.build().expect("a definition"));
    assert_eq!(
        lines[0],
        "t@1 steps[0].retry.multiplier: error[S0103]: `multiplier` is above 1"
    );
}
