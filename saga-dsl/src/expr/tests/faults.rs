//! What the parser and the checker say, with the part of the source that they point at.

use serde_json::json;

use super::{Expr, Types};
use crate::expr::{Fault, FaultKind};

fn told(source: &str, fault: &Fault) -> (FaultKind, String, String, String) {
    let at = source
        .get(fault.span.clone())
        .expect("spans lie in the source")
        .to_owned();
    (
        fault.kind,
        at,
        fault.message.clone(),
        fault.help.clone().unwrap_or_default(),
    )
}

/// Source; kind; what it points at; part of the message; part of the help.
type Row = (
    &'static str,
    FaultKind,
    &'static str,
    &'static str,
    &'static str,
);

fn compare(source: &str, found: &Fault, (_, kind, at, message, help): &Row) {
    let told = told(source, found);
    assert_eq!(
        (told.0, told.1.as_str()),
        (*kind, *at),
        "{source}: {told:?}"
    );
    assert!(told.2.contains(message), "{source}: {told:?}");
    assert!(told.3.contains(help), "{source}: {told:?}");
}

#[test]
fn of_the_parser() {
    use FaultKind::{Duplicate, Syntax, TooLarge, TypeMismatch, UnknownName};
    let rows: &[Row] = &[
        ("", Syntax, "", "missing", ""),
        ("  ", Syntax, "  ", "missing", ""),
        (
            "1 +",
            Syntax,
            "",
            "the expression ends where a value is expected",
            "",
        ),
        ("1 2", Syntax, "2", "an operator or the end", ""),
        ("(1", Syntax, "", "`)`", ""),
        ("[1, 2", Syntax, "", "`,` or `]`", ""),
        (")", Syntax, ")", "where a value is expected", ""),
        ("input.a = 1", Syntax, "=", "not an operator", "`==`"),
        (
            "input.a & true",
            Syntax,
            "&",
            "no meaning",
            "`&&` means and",
        ),
        ("a and b", Syntax, "and", "", "`&&` means and"),
        ("a or b", Syntax, "or", "", "`||` means or"),
        ("not a", Syntax, "not", "", "`!` means not"),
        ("${input.a} > 1", Syntax, "$", "", "without `${`"),
        ("'abc", Syntax, "'abc", "not closed", "'"),
        ("\"a\nb\"", Syntax, "\"a", "not closed", "\""),
        (r"'\q'", Syntax, r"\q", "escape", r"`\\`"),
        (r"'\ud800'", Syntax, r"\ud800", "escape", ""),
        (r"b'\u00e9'", Syntax, r"\u", "escape", ""),
        ("1u", Syntax, "1u", "not a number", "write `1`"),
        ("10s", Syntax, "10s", "not a number", "duration('10s')"),
        (
            "9223372036854775808",
            Syntax,
            "9223372036854775808",
            "out of range",
            "",
        ),
        (
            "-9223372036854775809",
            Syntax,
            "9223372036854775809",
            "out of range",
            "",
        ),
        (
            "99999999999999999999",
            Syntax,
            "99999999999999999999",
            "out of range",
            "",
        ),
        ("1e999", Syntax, "1e999", "out of range", ""),
        ("0x", Syntax, "0x", "out of range", ""),
        ("1 // one", Syntax, "//", "no comments", "#"),
        ("steps", Syntax, "steps", "no value", "steps.reserve.output"),
        ("steps.a", Syntax, "steps.a", "no value", "steps.a.output"),
        (
            "steps.a.outptu",
            UnknownName,
            "outptu",
            "no `outptu`",
            "`steps.a.output`",
        ),
        (
            "steps.a.receipt",
            UnknownName,
            "receipt",
            "",
            "steps.a.output.receipt",
        ),
        ("steps.send-mail.output", Syntax, "-", "minus", "`_`"),
        ("saga", Syntax, "saga", "no value", "saga.id"),
        ("self", Syntax, "self", "no value", "self.output"),
        ("for", Syntax, "for", "reserve", ""),
        ("input.?a", Syntax, "?", "", "has(a.b)"),
        (
            "has(input)",
            Syntax,
            "input",
            "asks for a field",
            "has(input.note)",
        ),
        ("has(1 + 2)", Syntax, "1 + 2", "asks for a field", ""),
        ("lenght(input.a)", UnknownName, "lenght", "no function", ""),
        (
            "sizee(input.a)",
            UnknownName,
            "sizee",
            "no function",
            "`size`",
        ),
        ("now()", UnknownName, "now", "no function", "replay"),
        (
            "contains('a', 'b')",
            UnknownName,
            "contains",
            "",
            "value.contains(…)",
        ),
        (
            "input.a.startswith('x')",
            UnknownName,
            "startswith",
            "no method",
            "`startsWith`",
        ),
        (
            "input.a.int()",
            UnknownName,
            "int",
            "no method",
            "`int(value)`",
        ),
        ("size()", Syntax, "size()", "takes 1 value", ""),
        (
            "'a'.contains()",
            Syntax,
            "'a'.contains()",
            "takes 1 value in its brackets, not 0",
            "",
        ),
        (
            "'a'.matches(input.p)",
            TypeMismatch,
            "input.p",
            "literal",
            "",
        ),
        (
            "'a'.matches('(')",
            Syntax,
            "'('",
            "not valid: unclosed group",
            "",
        ),
        (
            "'a'.matches('(a{999}){999}')",
            TooLarge,
            "'(a{999}){999}'",
            "too large",
            "",
        ),
        (
            "input.a.all(input, true)",
            Syntax,
            "input",
            "cannot name a variable",
            "",
        ),
        ("input.a.all(1, true)", Syntax, "1", "loop's variable", ""),
        ("{'a': 1, 'a': 2}", Duplicate, "'a'", "twice", ""),
        ("{'a' 1}", Syntax, "1", "`:`", ""),
        ("a ? b", Syntax, "", "`? :`", ""),
    ];
    for row in rows {
        let fault = Expr::parse(row.0).expect_err(row.0);
        compare(row.0, &fault, row);
    }
}

fn types() -> Types {
    Types::of(json!({
        "input": {
            "id": "string", "count": "int", "limit": "double", "ok": "bool", "at": "timestamp", "for": "duration",
            "raw": "bytes", "free": "any", "items": [{"sku": "string", "qty": "int"}], "tags": ["string"],
            "times": ["timestamp"],
        },
        "steps.reserve.output": {"seat": "string"},
        "saga.id": "string",
    }))
}

#[test]
fn of_the_checker() {
    use FaultKind::{TypeMismatch, UnknownName};
    let rows: &[Row] = &[
        (
            "input.cuont",
            UnknownName,
            "input.cuont",
            "no field `cuont`",
            "`input.count`",
        ),
        (
            "input.zebra",
            UnknownName,
            "input.zebra",
            "no field",
            "it has `at`, `count`",
        ),
        (
            "input['cuont']",
            UnknownName,
            "input['cuont']",
            "no field",
            "`input.count`",
        ),
        (
            "steps.reserv.output.seat",
            UnknownName,
            "steps.reserv.output",
            "there is no",
            "`steps.reserve.output`",
        ),
        (
            "id == 'x'",
            UnknownName,
            "id",
            "there is no `id`",
            "`input.id`",
        ),
        (
            "input.count > 1 && id == 'x'",
            UnknownName,
            "id",
            "there is no `id`",
            "`input.id`",
        ),
        ("saga.idd", UnknownName, "saga.idd", "", "`saga.id`"),
        (
            "input.items.all(i, i.quantity > 1)",
            UnknownName,
            "i.quantity",
            "no field",
            "`qty` and `sku`",
        ),
        (
            "input.id.x",
            TypeMismatch,
            "input.id.x",
            "a string, which has no fields",
            "",
        ),
        (
            "input.count + 1.5",
            TypeMismatch,
            "input.count + 1.5",
            "an int and a double",
            "`double(input.count)`",
        ),
        (
            "input.limit * 2",
            TypeMismatch,
            "input.limit * 2",
            "",
            "`2.0`",
        ),
        (
            "input.id + 1",
            TypeMismatch,
            "input.id + 1",
            "",
            "`string(1)`",
        ),
        (
            "input.id + input.ok",
            TypeMismatch,
            "input.id + input.ok",
            "",
            "`string(input.ok)`",
        ),
        (
            "input.limit % 2.0",
            TypeMismatch,
            "input.limit % 2.0",
            "`%`",
            "",
        ),
        (
            "input.id == 1",
            TypeMismatch,
            "input.id == 1",
            "never equals",
            "`string(1)`",
        ),
        (
            "input.at < '2026-01-31T00:00:00Z'",
            TypeMismatch,
            "input.at < '2026-01-31T00:00:00Z'",
            "",
            "timestamp('2026",
        ),
        (
            "input.for > '1h'",
            TypeMismatch,
            "input.for > '1h'",
            "",
            "duration('1h')",
        ),
        (
            "input.tags < input.tags",
            TypeMismatch,
            "input.tags < input.tags",
            "cannot compare",
            "",
        ),
        (
            "input.ok && input.id",
            TypeMismatch,
            "input.id",
            "true or false is expected",
            "",
        ),
        (
            "!input.count",
            TypeMismatch,
            "input.count",
            "true or false",
            "",
        ),
        (
            "input.count ? 1 : 2",
            TypeMismatch,
            "input.count",
            "true or false",
            "",
        ),
        ("-input.id", TypeMismatch, "input.id", "`-`", ""),
        (
            "1 in input.tags",
            TypeMismatch,
            "1 in input.tags",
            "never holds",
            "",
        ),
        (
            "'a' in input.id",
            TypeMismatch,
            "'a' in input.id",
            "not into a string",
            "input.id.contains('a')",
        ),
        (
            "input.tags.contains('a')",
            TypeMismatch,
            "input.tags",
            "",
            "`item in list`",
        ),
        (
            "input.id.all(x, true)",
            TypeMismatch,
            "input.id",
            "not a list",
            "",
        ),
        (
            "input.tags['a']",
            TypeMismatch,
            "input.tags['a']",
            "no items by a string",
            "",
        ),
        (
            "input.tags.filter(t, t)",
            TypeMismatch,
            "t",
            "true or false",
            "",
        ),
        (
            "size(input.count)",
            TypeMismatch,
            "input.count",
            "`size`",
            "",
        ),
        (
            "string(input.tags)",
            TypeMismatch,
            "input.tags",
            "`string`",
            "",
        ),
        (
            "duration('1 hour')",
            TypeMismatch,
            "'1 hour'",
            "does not understand",
            "",
        ),
        (
            "timestamp('2026')",
            TypeMismatch,
            "'2026'",
            "does not understand",
            "",
        ),
        (
            "input.count.matches('a')",
            TypeMismatch,
            "input.count",
            "takes a string",
            "",
        ),
        ("{1: 2}", TypeMismatch, "1", "keys are strings", ""),
    ];
    for row in rows {
        let checked = Expr::parse(row.0).expect(row.0).check(&types());
        assert_eq!(checked.faults.len(), 1, "{}: {:?}", row.0, checked.faults);
        compare(row.0, &checked.faults[0], row);
    }
}

#[test]
fn every_fault_is_told_in_the_order_of_the_text() {
    let source = "input.cuont > 1 && input.id == 1 && nothing.at.all";
    let checked = Expr::parse(source).expect(source).check(&types());
    let kinds: Vec<_> = checked.faults.iter().map(|fault| fault.kind).collect();
    assert_eq!(
        kinds,
        [
            FaultKind::UnknownName,
            FaultKind::TypeMismatch,
            FaultKind::UnknownName
        ]
    );
}

#[test]
fn types_are_inferred() {
    let rows = [
        (
            "input",
            "{at: timestamp, count: int, for: duration, free: any, id: string, items: [{qty: int, sku: string}], \
          limit: double, ok: bool, raw: bytes, tags: [string], times: [timestamp]}",
        ),
        ("input.items[0].qty + 1", "int"),
        ("input.items.map(i, i.sku)", "[string]"),
        (
            "input.items.filter(i, i.qty > 1)",
            "[{qty: int, sku: string}]",
        ),
        ("input.tags + ['a']", "[string]"),
        ("input.at + duration('1h')", "timestamp"),
        ("input.at - input.at", "duration"),
        ("input.ok ? 1 : 2", "int"),
        ("input.ok ? 1 : null", "optional int"),
        ("input.ok ? 1 : 2.0", "any"),
        ("input.ok ? {'a': 1} : {'b': 2}", "any"),
        ("input.ok ? input.free : 'a'", "any"),
        ("input.ok ? input.tags : []", "[any]"),
        ("input.free.x.y[3]", "any"),
        ("input.free + 'a'", "string"),
        ("input.free * 2.0", "double"),
        ("input.free > 1", "bool"),
        ("[]", "[any]"),
        ("[1, 2]", "[int]"),
        ("{'a': 1, 'b': ['x']}", "{a: int, b: [string]}"),
        ("{input.id: 1}", "any"),
        ("size(input.tags)", "int"),
        ("string(input.count)", "string"),
        ("input.tags.exists(t, t == 'a')", "bool"),
        ("input.raw", "bytes"),
        ("has(input.free)", "bool"),
        ("null", "null"),
        ("input.count == 1.5", "bool"),
        ("input.free in [1]", "bool"),
    ];
    for (source, expected) in rows {
        let checked = Expr::parse(source).expect(source).check(&types());
        assert_eq!(checked.faults, [], "{source}");
        assert_eq!(checked.ty.to_string(), expected, "{source}");
    }
}

#[test]
fn branches_of_different_types_are_a_fault() {
    let rows = [
        (
            "input.ok ? 500 : \"0\"",
            "\"0\"",
            "for a number write `0` without quotes",
        ),
        ("input.ok ? 1 : 'a'", "'a'", "for a text write `string(1)`"),
        ("input.ok ? 'a' : 1", "1", "for a text write `string(1)`"),
        (
            "input.ok ? '7' : 1",
            "1",
            "for a number write `7` without quotes",
        ),
        (
            "input.ok ? input.tags : 'a'",
            "'a'",
            "write values of one type on both sides of the colon",
        ),
        (
            "input.ok ? ['a'] : [1]",
            "[1]",
            "write values of one type on both sides of the colon",
        ),
    ];
    for (source, at, help) in rows {
        let checked = Expr::parse(source).expect(source).check(&types());
        let [fault] = checked.faults.as_slice() else {
            panic!("{source}: {:?}", checked.faults)
        };
        assert_eq!(fault.kind, FaultKind::Branches, "{source}");
        assert_eq!(&source[fault.span.clone()], at, "{source}");
        assert_eq!(fault.help.as_deref(), Some(help), "{source}");
    }
    let within = |text: &str| {
        crate::expr::Template::parse(text)
            .expect(text)
            .check(&types())
            .faults
    };
    assert_eq!(within("${input.ok ? 1 : 'a'}").len(), 1);
    assert_eq!(within("total ${input.ok ? 1 : 'none'}"), []);
}
