//! Reads of what may be absent, and the guards that make them safe.

use serde_json::json;

use super::{Expr, Types};
use crate::expr::{FaultKind, Template};

fn types() -> Types {
    Types::of(json!({
        "input": {"note": "optional string", "express": "optional bool", "customer": {"phone": "optional string", "id": "string"},
                  "items": [{"sku": "string", "gift": "optional string"}]},
        "steps.approval.output": {"by": "string", "score": "optional double"},
        "self.output": {"run_id": "string"},
    }))
    .maybe_absent("steps.approval.output", "skipped when line 30 is false")
    .maybe_absent("self.output", "the outcome is unknown")
}

#[test]
fn guards_make_reads_safe() {
    let safe = [
        "has(input.note) ? input.note : ''",
        "has(input.note) && input.note == 'a'",
        "!has(input.note) || input.note == 'a'",
        "!has(input.note) ? '' : input.note",
        "!(has(input.note) && has(input.express)) ? '' : input.note",
        "has(input.note) && (input.note == 'a' || input.note == 'b')",
        "has(input.note) && has(input.express) && input.express && input.note == 'a'",
        "!has(input.note) || !has(input.express) || input.express && input.note == 'a'",
        "has(steps.approval.output) ? steps.approval.output.by : 'auto'",
        "has(steps.approval.output.score) ? steps.approval.output.score : 0.0",
        "has(steps.approval.output) && has(steps.approval.output.score) && steps.approval.output.score > 0.5",
        "has(input.customer.phone) ? input.customer.phone : input.customer.id",
        "has(input['customer'].phone) ? input.customer['phone'] : ''",
        "has(self.output) ? self.output.run_id : ''",
        "input.items.map(i, has(i.gift), i.gift)",
        "input.items.all(i, !has(i.gift) || i.gift != '')",
        "has(steps.approval.output)",
        "has(steps.approval.output.by)",
    ];
    for source in safe {
        let checked = Expr::parse(source).expect(source).check(&types());
        assert_eq!(checked.faults, [], "{source}");
    }
}

#[test]
fn unguarded_reads_are_faults() {
    let rows = [
        (
            "input.note",
            "input.note",
            "it is optional",
            "has(input.note) ? input.note : ''",
        ),
        (
            "input.express && true",
            "input.express",
            "optional",
            "has(input.express) ? input.express : false",
        ),
        (
            "input.customer.phone.size() > 1",
            "input.customer.phone",
            "optional",
            "has(input.customer.phone)",
        ),
        (
            "steps.approval.output.by",
            "steps.approval.output.by",
            "`steps.approval.output` may be absent: skipped when line 30 is false",
            "has(steps.approval.output) ? steps.approval.output.by : ''",
        ),
        (
            "steps.approval.output",
            "steps.approval.output",
            "line 30",
            "has(steps.approval.output) ? steps.approval.output : null",
        ),
        (
            "has(steps.approval.output) && steps.approval.output.score > 0.5",
            "steps.approval.output.score",
            "optional",
            "has(steps.approval.output.score)",
        ),
        ("has(input.note) || input.note == 'a'", "input.note", "", ""),
        ("has(input.note) ? '' : input.note", "input.note", "", ""),
        (
            "!has(input.note) && input.note == 'a'",
            "input.note",
            "",
            "",
        ),
        ("has(input.express) ? input.note : ''", "input.note", "", ""),
        (
            "(has(input.note) && true) || input.note == 'a'",
            "input.note",
            "",
            "",
        ),
        (
            "(has(input.note) || input.items == []) && input.note == 'a'",
            "input.note",
            "",
            "",
        ),
        ("input.note == 'a' && has(input.note)", "input.note", "", ""),
        (
            "(has(input.note) ? 1 : 2) == 1 && input.note == 'a'",
            "input.note",
            "",
            "",
        ),
        (
            "input.items.exists(i, has(i.gift)) && input.items.all(i, i.gift == '')",
            "i.gift",
            "",
            "",
        ),
        (
            "input.items.map(i, has(i.gift) ? i.gift : i.gift)",
            "i.gift",
            "",
            "",
        ),
        (
            "steps.approval.output.score > 0.5",
            "steps.approval.output.score",
            "line 30",
            "has(steps.approval.output.score) ? steps.approval.output.score : 0.0",
        ),
        (
            "[{'x': {'y': input.note}}][0].x.y == 'a'",
            "input.note",
            "",
            "has(input.note) ? input.note : ''",
        ),
        ("self.output.run_id", "self.output.run_id", "unknown", ""),
        ("input['note']", "input['note']", "optional", ""),
    ];
    for (source, at, message, help) in rows {
        let checked = Expr::parse(source).expect(source).check(&types());
        let [fault] = checked.faults.as_slice() else {
            panic!("{source}: {:?}", checked.faults)
        };
        assert_eq!(fault.kind, FaultKind::MaybeAbsent, "{source}");
        assert_eq!(&source[fault.span.clone()], at, "{source}");
        assert!(fault.message.contains(message), "{source}: {fault}");
        assert!(
            fault.help.as_deref().unwrap_or_default().contains(help),
            "{source}: {:?}",
            fault.help
        );
    }
}

#[test]
fn the_help_for_a_template_can_be_pasted() {
    for source in [
        "${steps.approval.output.by}",
        "by ${ steps.approval.output.by }",
    ] {
        let checked = Template::parse(source).expect(source).check(&types());
        let [fault] = checked.faults.as_slice() else {
            panic!("{:?}", checked.faults)
        };
        assert_eq!(&source[fault.span.clone()], "steps.approval.output.by");
        let help = fault.help.as_deref().expect("a help");
        assert_eq!(
            help,
            "${has(steps.approval.output) ? steps.approval.output.by : ''}"
        );
        assert_eq!(
            Template::parse(help).expect(help).check(&types()).faults,
            []
        );
    }
}
