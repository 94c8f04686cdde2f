//! Texts with `${…}`, values of them, and pick lists.

use serde_json::{Value, json};

use super::{Data, Types};
use crate::expr::{Budget, EvalError, Fault, FaultKind, Template, ValueTemplate};

fn data() -> Data {
    Data(json!({
        "input": {"id": "t-1", "n": 3, "x": 1.5, "ok": true, "none": null, "list": [1, 2], "flight": {"from": "TXL"}},
        "steps": {"charge": {"output": {"receipt": "r-9"}}},
        "item": {"sku": "s-1", "qty": 2},
    }))
}

fn types() -> Types {
    Types::of(json!({
        "input": {"id": "string", "n": "int", "x": "double", "ok": "bool", "none": "optional string",
                  "list": ["int"], "flight": {"from": "string"}, "raw": "bytes"},
        "steps.charge.output": {"receipt": "string"},
        "item": {"sku": "string", "qty": "int"},
    }))
}

#[test]
fn one_expression_alone_keeps_its_type() {
    let rows = [
        ("", json!("")),
        ("plain", json!("plain")),
        ("${input.n}", json!(3)),
        ("${input.list}", json!([1, 2])),
        ("${input.flight}", json!({"from": "TXL"})),
        ("${input.none}", Value::Null),
        ("${ input.n + 1 }", json!(4)),
        (" ${input.n}", json!(" 3")),
        ("${input.n}${input.n}", json!("33")),
        (
            "Trip ${input.id} is booked, receipt ${steps.charge.output.receipt}.",
            json!("Trip t-1 is booked, receipt r-9."),
        ),
        ("${input.x}/${input.ok}", json!("1.5/true")),
        (
            "${duration('90m')} from ${timestamp(0)}",
            json!("1h30m from 1970-01-01T00:00:00Z"),
        ),
        ("a ${b'ab'}", json!("a YWI=")),
        ("$${input.n}", json!("${input.n}")),
        ("$$${input.n}", json!("$${input.n}")),
        ("a $${ b ${input.n}", json!("a ${ b 3")),
        ("$ $5 {a} }", json!("$ $5 {a} }")),
        ("é$é${input.id}é", json!("é$ét-1é")),
        ("${'}'}", json!("}")),
        ("${\"}\" + '{'}", json!("}{")),
        ("${r'\\'}}", json!("\\}")),
        ("${'\\'}'}", json!("'}")),
        ("${'''a'}'''}", json!("a'}")),
        ("${{'a': {'b': 1}}}", json!({"a": {"b": 1}})),
        ("${{'a': {'b': 1}}.a.b}}", json!("1}")),
        ("${input.list.map(r, r + 1)}", json!([2, 3])),
    ];
    for (source, expected) in rows {
        let template =
            Template::parse(source).unwrap_or_else(|fault| panic!("{source}: {fault:?}"));
        assert_eq!(
            template
                .eval(&data(), &mut Budget::default())
                .map(|found| found.to_value()),
            Ok(expected),
            "{source}"
        );
        assert_eq!(template.source(), source);
    }
}

#[test]
fn texts_hold_scalars_only() {
    for source in ["a ${input.list}", "a ${input.flight}", "a ${input.none}"] {
        let template = Template::parse(source).expect(source);
        let error = template
            .eval(&data(), &mut Budget::default())
            .expect_err(source);
        assert!(
            matches!(&error, EvalError::Type(text) if text.contains("inside a text")),
            "{source}: {error}"
        );
    }
    let text = |source: &str| {
        Template::parse(source)
            .expect(source)
            .eval_text(&data(), &mut Budget::default())
    };
    assert_eq!(text("${input.n}"), Ok("3".to_owned()));
    assert_eq!(text("${input.id}"), Ok("t-1".to_owned()));
    assert!(text("${input.list}").is_err());
}

#[test]
fn literals_are_known_without_a_scope() {
    let literal = |source: &str| {
        Template::parse(source)
            .expect(source)
            .literal()
            .map(str::to_owned)
    };
    assert_eq!(literal(""), Some(String::new()));
    assert_eq!(literal("a $${b}"), Some("a ${b}".to_owned()));
    assert_eq!(literal("a ${input.n}"), None);
}

#[test]
fn expressions_and_faults_carry_their_place_in_the_text() {
    let source = "é ${input.n} and ${ item.sku }";
    let template = Template::parse(source).expect(source);
    let found: Vec<_> = template
        .expressions()
        .map(|(expr, span)| (expr.source(), &source[span]))
        .collect();
    assert_eq!(
        found,
        [("input.n", "input.n"), (" item.sku ", " item.sku ")]
    );
    assert_eq!(
        template
            .roots()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["input", "item"]
    );

    let at = |source: &'static str| {
        let Fault { span, kind, .. } = Template::parse(source).expect_err(source);
        (kind, &source[span])
    };
    assert_eq!(at("a ${1 +* 2}"), (FaultKind::Syntax, "*"));
    assert_eq!(at("a ${input.n"), (FaultKind::Syntax, "${input.n"));
    assert_eq!(at("a ${'}"), (FaultKind::Syntax, "'"));
    assert_eq!(at("${}"), (FaultKind::Syntax, ""));
    assert_eq!(at("${a} ${steps}"), (FaultKind::Syntax, "steps"));

    let source = "a ${input.idd}, ${input.list}";
    let faults = Template::parse(source)
        .expect(source)
        .check(&types())
        .faults;
    let told: Vec<_> = faults
        .iter()
        .map(|fault| (fault.kind, &source[fault.span.clone()]))
        .collect();
    assert_eq!(
        told,
        [
            (FaultKind::UnknownName, "input.idd"),
            (FaultKind::TypeMismatch, "input.list")
        ]
    );
}

#[test]
fn values_are_templates_all_the_way_down() {
    let value = json!({"id": "${input.id}", "deep": [{"n": "${input.n}", "k": 1.5}, null, true, "x ${item.qty}"]});
    let template = ValueTemplate::from_value(&value).expect("a template");
    let expected = json!({"id": "t-1", "deep": [{"n": 3, "k": 1.5}, null, true, "x 2"]});
    assert_eq!(
        template
            .eval(&data(), &mut Budget::default())
            .map(|found| found.to_value()),
        Ok(expected)
    );
    let mut roots: Vec<_> = template.roots().map(ToString::to_string).collect();
    roots.sort();
    assert_eq!(roots, ["input", "input", "item"]);
    let checked = template.check(&types());
    assert_eq!(checked.faults, []);
    assert_eq!(checked.ty.to_string(), "{deep: [any], id: string}");
}

#[test]
fn faults_in_values_carry_a_pointer() {
    let fault =
        ValueTemplate::from_value(&json!({"a/b": ["x", {"c~": "${1 +}"}]})).expect_err("a fault");
    assert_eq!(
        (fault.place.as_str(), fault.kind),
        ("/a~1b/1/c~0", FaultKind::Syntax)
    );

    let template = ValueTemplate::from_value(&json!({"a": ["${input.idd}"], "b": "${input.none}"}))
        .expect("a template");
    let faults = template.check(&types()).faults;
    let told: Vec<_> = faults
        .iter()
        .map(|fault| (fault.place.as_str(), fault.kind))
        .collect();
    assert_eq!(
        told,
        [
            ("/a/0", FaultKind::UnknownName),
            ("/b", FaultKind::MaybeAbsent)
        ]
    );
    assert_eq!(
        faults[1].help.as_deref(),
        Some("${has(input.none) ? input.none : ''}")
    );

    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    assert_eq!(
        ValueTemplate::from_value(&deep).expect_err("too deep").kind,
        FaultKind::TooLarge
    );
}

fn pick(names: &[&str]) -> Result<ValueTemplate, Fault> {
    ValueTemplate::from_pick(
        &names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    )
}

#[test]
fn picks_name_fields_by_the_last_segment() {
    let template = pick(&[
        "id",
        "flight",
        "steps.charge.output.receipt",
        "item.sku",
        "input.n",
    ])
    .expect("a pick");
    let expected =
        json!({"id": "t-1", "flight": {"from": "TXL"}, "receipt": "r-9", "sku": "s-1", "n": 3});
    assert_eq!(
        template
            .eval(&data(), &mut Budget::default())
            .map(|found| found.to_value()),
        Ok(expected)
    );
    let checked = template.check(&types());
    assert_eq!(checked.faults, []);
    assert_eq!(
        checked.ty.to_string(),
        "{flight: {from: string}, id: string, n: int, receipt: string, sku: string}"
    );
    assert_eq!(
        pick(&[])
            .expect("an empty pick")
            .eval(&data(), &mut Budget::default())
            .map(|found| found.to_value()),
        Ok(json!({}))
    );
}

#[test]
fn faults_of_picks_point_at_their_entry() {
    let rows: &[(&[&str], FaultKind, &str, &str)] = &[
        (&["id", "item.id"], FaultKind::Duplicate, "/1", "other_id"),
        (&["id", "id"], FaultKind::Duplicate, "/1", ""),
        (&["customer-id"], FaultKind::Syntax, "/0", "hyphen"),
        (&["${input.id}"], FaultKind::Syntax, "/0", "stands alone"),
        (&["a", "input.n + 1"], FaultKind::Syntax, "/1", "in a map"),
        (&["input..n"], FaultKind::Syntax, "/0", "in a map"),
        (&[""], FaultKind::Syntax, "/0", ""),
        (
            &["steps.charge.outputs.receipt"],
            FaultKind::UnknownName,
            "/0",
            "`steps.charge.output`",
        ),
        (
            &["steps.charge"],
            FaultKind::Syntax,
            "/0",
            "steps.charge.output",
        ),
    ];
    for (names, kind, place, help) in rows {
        let fault = pick(names).expect_err(place);
        assert_eq!(
            (fault.kind, fault.place.as_str()),
            (*kind, *place),
            "{names:?}"
        );
        assert!(
            fault.help.as_deref().unwrap_or_default().contains(help),
            "{names:?}: {:?}",
            fault.help
        );
    }
    let faults = pick(&["id", "none", "idd"])
        .expect("a pick")
        .check(&types())
        .faults;
    let told: Vec<_> = faults
        .iter()
        .map(|fault| (fault.place.as_str(), fault.kind, fault.span.clone()))
        .collect();
    assert_eq!(
        told,
        [
            ("/1", FaultKind::MaybeAbsent, 0..4),
            ("/2", FaultKind::UnknownName, 0..3)
        ]
    );
    let help = faults[0].help.as_deref().expect("a help");
    assert!(
        help.contains(r#"`none: "${has(input.none) ? input.none : null}"`"#),
        "{help}"
    );
}
