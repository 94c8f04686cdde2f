//! The pictures of the sample saga, of nested groups, and of what could break them.

use serde_json::{Value, json};

use super::*;

const BOOK_TRIP: &[u8] = include_bytes!("../../../examples/book_trip/book_trip.saga.yaml");

fn book_trip() -> Plan {
    crate::file::load("book_trip.saga.yaml", BOOK_TRIP)
        .plan
        .expect("the sample file has no faults")
}

fn plan(steps: &Value) -> Plan {
    let definition = json!({"saga": "s", "version": 1, "steps": steps});
    Plan::from_definition(serde_json::from_value(definition).expect("a definition"))
        .expect("a plan")
}

fn step(id: &str) -> Value {
    json!({"step": id, "action": "shop/do", "compensation": "shop/undo"})
}

/// A sequence in a parallel and a parallel in that sequence, between steps of every kind.
fn nested() -> Plan {
    plan(&json!([
        {"step": "check", "action": "shop/do", "compensation": "none"},
        {"parallel": [
            step("pack"),
            {"sequence": [
                step("book_van"),
                {"parallel": [step("fuel"), step("find_driver"), {"when": "true", "parallel": [step("toll")]}]},
                {"step": "plan_route", "action": "shop/do", "compensation": "none"},
            ]},
            {"step": "insure", "when": "input.dear", "action": "shop/do", "compensation": "shop/undo"},
        ]},
        {"step": "pay", "kind": "pivot", "action": "shop/do"},
        {"parallel": [
            {"step": "ship", "kind": "retriable", "action": "shop/do"},
            {"step": "tell", "kind": "retriable", "when": "input.mail != ''", "action": "shop/do"},
        ]},
    ]))
}

#[test]
fn book_trip_in_a_terminal() {
    insta::assert_snapshot!(ascii(&book_trip(), Some(80)));
}

#[test]
fn book_trip_in_a_narrow_terminal() {
    let line = ascii(&book_trip(), None);
    let columns = line
        .lines()
        .next()
        .map(|line| line.chars().count())
        .expect("a line");
    assert_eq!(ascii(&book_trip(), Some(columns)), line);
    insta::assert_snapshot!(ascii(&book_trip(), Some(columns - 1)));
}

#[test]
fn book_trip_as_mermaid() {
    insta::assert_snapshot!(mermaid(&book_trip()));
}

#[test]
fn book_trip_as_dot() {
    insta::assert_snapshot!(dot(&book_trip()));
}

#[test]
fn nested_in_a_terminal() {
    insta::assert_snapshot!(ascii(&nested(), None));
}

#[test]
fn nested_in_a_narrow_terminal() {
    insta::assert_snapshot!(ascii(&nested(), Some(40)));
}

#[test]
fn nested_as_mermaid() {
    insta::assert_snapshot!(mermaid(&nested()));
}

#[test]
fn nested_as_dot() {
    insta::assert_snapshot!(dot(&nested()));
}

#[test]
fn book_trip_as_svg() {
    insta::assert_snapshot!(svg(&book_trip()));
}

#[test]
fn an_svg_of_a_running_saga_says_where_its_steps_stand() {
    let standing = |tone, words: &str| Standing {
        tone,
        words: words.to_owned(),
    };
    let standings = [
        ("reserve_flight", standing(Tone::Back, "↩ compensated")),
        ("reserve_hotel", standing(Tone::Back, "↺ undoing <now>")),
        ("charge_card", standing(Tone::Bad, "✗ refused")),
        ("send_confirmation", standing(Tone::Idle, "– not reached")),
    ];
    let drawn = svg_with(
        &book_trip(),
        &standings
            .map(|(id, standing)| (id.to_owned(), standing))
            .into(),
    );
    for wanted in [
        "class=\"c t-back\"",
        "class=\"p t-bad\"",
        ">↺ undoing &lt;now&gt;</text>",
        "pivot: ✗ refused",
    ] {
        assert!(drawn.contains(wanted), "{wanted}:\n{drawn}");
    }
    assert!(!drawn.contains(">payments/charge</text>"));
}

#[test]
fn an_svg_is_closed_and_holds_every_step_once_and_inside_of_its_frame() {
    for plan in [
        book_trip(),
        nested(),
        plan(&json!([])),
        plan(&json!([step("a")])),
    ] {
        let drawn = svg(&plan);
        for tag in ["svg", "g", "title", "desc", "style", "text"] {
            let opened = drawn.matches(&format!("<{tag} ")).count()
                + drawn.matches(&format!("<{tag}>")).count();
            assert_eq!(
                opened,
                drawn.matches(&format!("</{tag}>")).count(),
                "{tag}:\n{drawn}"
            );
        }
        assert!(!drawn.contains("<script") && drawn.ends_with("</svg>\n"));
        let frame = |name: &str| -> f64 {
            let rest = drawn
                .split_once(&format!(" {name}=\""))
                .map_or("", |(_, rest)| rest);
            rest.split('"')
                .next()
                .and_then(|text| text.parse().ok())
                .expect("a size")
        };
        let (width, height) = (frame("width"), frame("height"));
        let boxes: Vec<Vec<f64>> = drawn
            .lines()
            .filter(|line| line.contains("<rect"))
            .map(|line| {
                let rect = line.split_once("<rect").map_or("", |(_, rect)| rect);
                let attributes = ["x", "y", "width", "height"];
                let value = |name: &str| {
                    rect.split_once(&format!(" {name}=\""))
                        .map_or("", |(_, rest)| rest)
                };
                attributes
                    .map(|name| {
                        value(name)
                            .split('"')
                            .next()
                            .and_then(|text| text.parse().ok())
                            .expect("a number")
                    })
                    .to_vec()
            })
            .collect();
        let pivots = plan
            .steps
            .iter()
            .filter(|step| step.kind == Kind::Pivot)
            .count();
        assert_eq!(boxes.len() + pivots, plan.steps.len() + 2);
        for (at, one) in boxes.iter().enumerate() {
            assert!(
                one[0] >= 0.0
                    && one[1] >= 0.0
                    && one[0] + one[2] <= width
                    && one[1] + one[3] <= height
            );
            for other in &boxes[at + 1..] {
                let apart = one[0] + one[2] <= other[0]
                    || other[0] + other[2] <= one[0]
                    || one[1] + one[3] <= other[1]
                    || other[1] + other[3] <= one[1];
                assert!(apart, "boxes overlap: {one:?} {other:?}\n{drawn}");
            }
        }
    }
}

#[test]
fn groups_at_the_edges_and_side_by_side() {
    let pair = |one: &str, other: &str| json!({"parallel": [step(one), step(other)]});
    insta::assert_snapshot!(ascii(
        &plan(&json!([
            pair("a", "b"),
            {"parallel": [
                {"sequence": [pair("c", "d"), pair("e", "f")]},
                {"sequence": [step("g"), pair("h", "i"), step("j")]},
            ]},
            pair("k", "l"),
        ])),
        None
    ));
}

#[test]
fn groups_that_change_nothing_are_not_drawn() {
    let plain = ascii(
        &plan(&json!([step("a"), {"parallel": [step("b"), step("c")]}, step("d")])),
        None,
    );
    let wrapped = plan(&json!([
        {"sequence": [step("a"), {"sequence": []}]},
        {"parallel": [{"sequence": [step("b")]}, {"parallel": [{"parallel": []}, step("c")]}]},
        {"parallel": [step("d")]},
    ]));
    assert_eq!(ascii(&wrapped, None), plain);
}

#[test]
fn no_wire_hangs_in_the_air() {
    let drawn = ascii(&nested(), None);
    let picture: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
    let above = |row: usize, column: usize| picture[row - 1].get(column).copied().unwrap_or(' ');
    let mut met = 0;
    for (row, line) in picture.iter().enumerate().skip(1) {
        for (column, c) in line
            .iter()
            .enumerate()
            .filter(|(_, c)| "├└┤┘│".contains(**c))
        {
            assert!(
                "┬├┤│".contains(above(row, column)),
                "{c} at {row}:{column} hangs in the air:\n{drawn}"
            );
            met += 1;
        }
    }
    assert!(met > 10, "{drawn}");
}

#[test]
fn a_saga_without_steps_has_a_start_and_an_end() {
    let empty = plan(&json!([]));
    assert_eq!(ascii(&empty, None), "start ── end\n");
    assert_eq!(ascii(&empty, Some(5)), "start\n└─ end\n");
    assert!(mermaid(&empty).contains("begin --> finish"));
    assert!(dot(&empty).contains("begin -> finish;"));
    assert!(svg(&empty).contains("<desc id=\"saga-s-desc\">start, then end</desc>"));
}

#[test]
fn no_id_breaks_out_of_its_label() {
    let odd = plan(
        &json!([{"step": "a\"] --> x\n#<b>\\N", "action": "shop/do", "compensation": "none"}, step("end")]),
    );
    assert!(ascii(&odd, None).starts_with("start ── a\"] --> x\u{fffd}#<b>\\N ── end ↩ ── end\n"));
    assert!(
        mermaid(&odd)
            .contains("  s0[\"a#34;] --#62; x\u{fffd}#35;#60;b#62;#92;N\"]\n  s1[\"end ↩\"]\n")
    );
    assert!(svg(&odd).contains(">a&quot;] --&gt; x\u{fffd}#&lt;b&gt;\\N</text>"));
    assert!(dot(&odd).contains("  s0 [label=\"a\\\"] --> x\u{fffd}#<b>\\\\N\"];\n"));
}
