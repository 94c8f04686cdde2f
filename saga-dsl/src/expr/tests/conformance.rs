//! What CEL says of the subset, one expression a line.

use serde_json::{Value, json};

use super::{
    Want::{self, Fails},
    is, table,
};

fn null() -> Want {
    is(Value::Null)
}

#[test]
fn literals() {
    table(
        &Value::Null,
        &[
            ("null", null()),
            ("true", is(true)),
            ("42", is(42)),
            ("-42", is(-42)),
            ("0x2A", is(42)),
            ("-0x55555555", is(-1_431_655_765)),
            ("9223372036854775807", is(i64::MAX)),
            ("-9223372036854775808", is(i64::MIN)),
            ("1.5", is(1.5)),
            (".5e1", is(5.0)),
            ("-2.3e+1", is(-23.0)),
            ("1e3", is(1000.0)),
            ("''", is("")),
            (r#""a'b""#, is("a'b")),
            (r#"'''a 'b' "c" '''"#, is("a 'b' \"c\" ")),
            ("\"\"\"x\ny\"\"\"", is("x\ny")),
            (
                r"'\a\b\f\n\r\t\v\\\?\'\x41\u00e9\U0001F431\101'",
                is("\u{7}\u{8}\u{c}\n\r\t\u{b}\\?'Aé🐱A"),
            ),
            (r"r'\d\n'", is(r"\d\n")),
            (r"R'''\'''", is("\\")),
            (r"'\xff'", is("ÿ")),
            ("b'abc'", is("YWJj")),
            (r"b'\xff\377'", is("//8=")),
            ("b'é'", is("w6k=")),
            (r"br'\x'", is("XHg=")),
            ("[]", is(json!([]))),
            ("[1, 'a', [true,],]", is(json!([1, "a", [true]]))),
            ("{}", is(json!({}))),
            (
                "{'a': 1, \"b\": {'c': null}}",
                is(json!({"a": 1, "b": {"c": null}})),
            ),
        ],
    );
}

#[test]
fn arithmetic_never_wraps_and_never_mixes() {
    table(
        &json!({"input": {"whole": 3, "part": 0.5, "text": "3"}}),
        &[
            ("1 + 2 * 3 - 4", is(3)),
            ("(1 + 2) * 3", is(9)),
            ("7 / 2", is(3)),
            ("-7 / 2", is(-3)),
            ("7 % 3", is(1)),
            ("-7 % 3", is(-1)),
            ("7.0 / 2.0", is(3.5)),
            ("1 - 2 - 3", is(-4)),
            ("- -1", is(1)),
            ("-(1 + 2)", is(-3)),
            ("0.1 + 0.2", is(0.1 + 0.2)),
            ("'a' + 'b' + 'c'", is("abc")),
            ("[1] + [2, 3]", is(json!([1, 2, 3]))),
            ("b'a' + b'b'", is("YWI=")),
            ("9223372036854775807 + 1", Fails("out of range")),
            ("-9223372036854775808 - 1", Fails("out of range")),
            ("-(-9223372036854775808)", Fails("out of range")),
            ("4611686018427387904 * 2", Fails("out of range")),
            ("-9223372036854775808 / -1", Fails("out of range")),
            ("1 / 0", Fails("division by zero")),
            ("1 % 0", Fails("division by zero")),
            ("1.0 / 0.0", Fails("JSON has no number")),
            ("1.0 / 0.0 > 1e300", is(true)),
            ("1 + 1.0", Fails("double(…)")),
            ("1.0 % 2.0", Fails("does not work")),
            ("'a' + 1", Fails("string(…)")),
            ("true + true", Fails("does not work on a bool and a bool")),
            ("-'a'", Fails("does not work on a string")),
            // A whole number of a document meets both kinds.
            ("input.whole + 1", is(4)),
            ("input.whole + 0.5", is(3.5)),
            ("input.part * input.whole", is(1.5)),
            ("input.whole / 2", is(1)),
            ("input.whole + 1 + 0.5", Fails("double(…)")),
            ("input.text + 1", Fails("string")),
        ],
    );
}

#[test]
fn comparisons_mix_numbers_and_nothing_else() {
    table(
        &json!({"input": {"big": 9_007_199_254_740_993_i64, "huge": 18_446_744_073_709_551_615_u64}}),
        &[
            ("1 == 1.0", is(true)),
            ("1 < 1.5 && 1.5 < 2", is(true)),
            ("2 >= 2.0", is(true)),
            ("input.big > 9007199254740992.0", is(true)),
            ("9223372036854775807 < 9223372036854775808.0", is(true)),
            ("-9223372036854775808 == -9223372036854775808.0", is(true)),
            ("-1 > -1.5", is(true)),
            ("-2 < -1.5", is(true)),
            ("input.huge > 9223372036854775807", is(true)),
            ("0.0 / 0.0 == 0.0 / 0.0", is(false)),
            ("0.0 / 0.0 != 0.0 / 0.0", is(true)),
            ("0.0 / 0.0 < 1", is(false)),
            ("'a' < 'b'", is(true)),
            ("'B' < 'a'", is(true)),
            ("'abc' >= 'abc'", is(true)),
            ("false < true", is(true)),
            ("b'a' < b'b'", is(true)),
            ("'a' == 1", is(false)),
            ("null == null", is(true)),
            ("null == 0", is(false)),
            ("[1, 2] == [1.0, 2.0]", is(true)),
            ("[1, 2] == [2, 1]", is(false)),
            ("[1] == [1, 2]", is(false)),
            ("{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", is(true)),
            ("{'a': 1} != {'a': 2}", is(true)),
            ("{'a': 1} == {'b': 1}", is(false)),
            ("'a' < 1", Fails("cannot compare")),
            ("[1] < [2]", Fails("cannot compare")),
            ("null < 1", Fails("cannot compare")),
            ("1 in [3, 2, 1.0]", is(true)),
            ("'a' in ['b']", is(false)),
            ("'a' in {'a': 1}", is(true)),
            ("1 in {'a': 1}", is(false)),
            ("'a' in 'abc'", Fails("not into a string")),
        ],
    );
}

#[test]
fn logic_absorbs_errors_from_either_side() {
    table(
        &json!({"input": {}}),
        &[
            ("true && false || true", is(true)),
            ("!true || !false", is(true)),
            ("!!true", is(true)),
            ("false && input.x", is(false)),
            ("input.x && false", is(false)),
            ("true || input.x", is(true)),
            ("input.x || true", is(true)),
            ("1 / 0 > 1 || true", is(true)),
            ("input.x && true", Fails("`input.x` is absent")),
            ("input.x || false", Fails("absent")),
            ("1 && false", is(false)),
            ("1 && true", Fails("true or false is expected")),
            ("'a' || false", Fails("true or false is expected")),
            ("true ? 1 : 1 / 0", is(1)),
            ("false ? input.x : 2", is(2)),
            ("1 ? 2 : 3", Fails("true or false is expected")),
            ("true ? (false ? 1 : 2) : 3", is(2)),
            ("false ? 1 : false ? 2 : 3", is(3)),
        ],
    );
}

#[test]
fn macros() {
    table(
        &json!({"input": {"l": [1, 2, 3], "m": {"b": 1, "a": 2}, "o": [{"q": 1}, {}], "e": []}}),
        &[
            ("input.l.all(x, x > 0)", is(true)),
            ("input.l.all(x, x > 1)", is(false)),
            ("input.e.all(x, x)", is(true)),
            ("input.o.all(x, x.q == 2)", is(false)),
            ("input.o.all(x, x.q == 1)", Fails("absent")),
            ("input.l.exists(x, x == 2)", is(true)),
            ("input.e.exists(x, true)", is(false)),
            ("input.o.exists(x, x.q == 1)", is(true)),
            ("input.o.exists(x, x.q == 3)", Fails("absent")),
            ("input.l.exists_one(x, x > 2)", is(true)),
            ("input.l.exists_one(x, x > 1)", is(false)),
            ("input.o.exists_one(x, x.q == 1)", Fails("absent")),
            ("input.l.map(x, x * 2)", is(json!([2, 4, 6]))),
            ("input.l.map(x, x > 1, x * 2)", is(json!([4, 6]))),
            ("input.o.map(x, has(x.q), x.q)", is(json!([1]))),
            ("input.l.filter(x, x % 2 == 1)", is(json!([1, 3]))),
            (
                "input.l.filter(x, x > 1).map(x, x + 1).exists(x, x == 4)",
                is(true),
            ),
            ("input.m.map(k, k)", is(json!(["a", "b"]))),
            ("input.m.all(k, k < 'c')", is(true)),
            ("{'z': 1, 'y': 2}.map(k, k)", is(json!(["y", "z"]))),
            ("input.l.all(x, input.l.exists(y, y == x))", is(true)),
            (
                "input.l.map(x, input.l.filter(x, x > 2))[0]",
                is(json!([3])),
            ),
            (
                "[[1], [2, 3]].map(l, l.map(x, x + size(l)))",
                is(json!([[2], [4, 5]])),
            ),
            ("(1).all(x, true)", Fails("`(1)` is an int, not a list")),
            ("input.l.map(x, x > 1, x)", is(json!([2, 3]))),
            ("input.l.filter(x, x)", Fails("true or false")),
        ],
    );
}

#[test]
fn selection_and_has() {
    table(
        &json!({
            "input": {"a": {"b": [10, 20]}, "n": null, "in": 1},
            "steps": {"s": {"output": {"x": 1}, "status": "succeeded"}, "skipped": {"status": "skipped"}},
            "saga": {"id": "s-1", "failure": {"code": "c"}},
            "self": {"key": "k"},
            "item": {"sku": "x"},
        }),
        &[
            ("input.a.b[1]", is(20)),
            ("input['a']['b'][0]", is(10)),
            ("input.a", is(json!({"b": [10, 20]}))),
            ("input.in", is(1)),
            ("steps.s.output.x", is(1)),
            ("steps.s.status", is("succeeded")),
            ("saga.failure.code", is("c")),
            ("self.key", is("k")),
            ("item.sku", is("x")),
            ("input.n", null()),
            ("input.a.b[2]", Fails("`input.a.b` has 2 items, none at 2")),
            ("input.a.b[-1]", Fails("none at -1")),
            ("input.a.b['x']", Fails("no items by a string")),
            ("input.a.c", Fails("`input.a.c` is absent")),
            ("input['c']", Fails("`input['c']` is absent")),
            ("input.n.x", Fails("`input.n` is null, which has no fields")),
            (
                "steps.skipped.output.x",
                Fails("`steps.skipped.output` is absent"),
            ),
            ("other", Fails("`other` is absent")),
            ("has(input.a)", is(true)),
            ("has(input.a.b)", is(true)),
            ("has(input.zz)", is(false)),
            ("has(input.zz.yy)", is(false)),
            ("has(input.n)", is(false)),
            ("has(steps.s.output)", is(true)),
            ("has(steps.skipped.output)", is(false)),
            ("has(steps.skipped.output.x)", is(false)),
            ("has(self.output)", is(false)),
            ("has(saga.failure)", is(true)),
            ("has(item.sku)", is(true)),
            ("has({'a': 1}.a)", is(true)),
            ("has(input.a.b.c)", Fails("has no fields")),
        ],
    );
}

#[test]
fn functions() {
    table(
        &Value::Null,
        &[
            ("size('é🐱')", is(2)),
            ("'abc'.size()", is(3)),
            ("size(b'é')", is(2)),
            ("size([1, 2]) + size({'a': 1})", is(3)),
            ("size(1)", Fails("`size` does not work on an int")),
            ("'abc'.startsWith('ab')", is(true)),
            ("'abc'.endsWith('ab')", is(false)),
            ("'abc'.contains('')", is(true)),
            ("'abc'.contains(1)", Fails("takes two strings")),
            (r"'a12'.matches(r'^[a-z]\d+$')", is(true)),
            ("matches('abc', 'b')", is(true)),
            ("'abc'.matches('^b')", is(false)),
            ("[1].exists(x, x.matches('a'))", Fails("takes a string")),
            (
                "string(1) + string(1.5) + string(true) + string('x')",
                is("11.5truex"),
            ),
            ("string(2.0)", is("2")),
            ("string(b'ab')", is("ab")),
            (r"string(b'\xff')", Fails("not UTF-8")),
            ("string(null)", Fails("does not work on null")),
            ("string([1])", Fails("does not work on a list")),
            ("int('-7') + int(1.9) + int(-1.9)", is(-7)),
            ("int(1e19)", Fails("out of range")),
            ("int(0.0 / 0.0)", Fails("out of range")),
            ("int('1.5')", Fails("does not understand '1.5'")),
            ("int(true)", Fails("does not work on a bool")),
            ("double('1e2') + double(1) + double(0.5)", is(101.5)),
            ("bool('true') && !bool('0') && bool(true)", is(true)),
            ("bool('yes')", Fails("does not understand")),
            ("bytes('ab') == b'ab'", is(true)),
        ],
    );
}

#[test]
fn times() {
    table(
        &json!({"input": {"at": "2026-01-31T12:00:00+02:00"}}),
        &[
            (
                "timestamp('2026-01-31T09:00:00Z')",
                is("2026-01-31T09:00:00Z"),
            ),
            ("timestamp(input.at)", is("2026-01-31T10:00:00Z")),
            (
                "timestamp(input.at) == timestamp('2026-01-31T10:00:00Z')",
                is(true),
            ),
            ("timestamp(0)", is("1970-01-01T00:00:00Z")),
            ("int(timestamp('1970-01-02T00:00:01.9Z'))", is(86401)),
            (
                "timestamp(input.at) + duration('36h')",
                is("2026-02-01T22:00:00Z"),
            ),
            ("duration('1h') + timestamp(0)", is("1970-01-01T01:00:00Z")),
            (
                "timestamp(3600) - duration('30m')",
                is("1970-01-01T00:30:00Z"),
            ),
            ("timestamp(3600) - timestamp(0)", is("1h")),
            ("timestamp(0) - timestamp(90)", is("-1m30s")),
            ("duration('90m')", is("1h30m")),
            ("duration('3600s') == duration('1h')", is(true)),
            ("duration('1h') - duration('2h')", is("-1h")),
            ("duration('1h') < duration('3d')", is(true)),
            ("string(duration('1500ms'))", is("1s500ms")),
            ("timestamp(0) < timestamp(1)", is(true)),
            ("timestamp('2026-01-31')", Fails("does not understand")),
            ("duration('soon')", Fails("does not understand")),
            ("timestamp(0) + timestamp(0)", Fails("does not work")),
            ("timestamp(0) + 1", Fails("does not work")),
            (
                "timestamp('9999-12-01T00:00:00Z') + duration('99d')",
                Fails("between the years"),
            ),
            (
                "timestamp('0001-01-01T00:00:00Z') - duration('1ns')",
                Fails("between the years"),
            ),
            ("timestamp(9223372036854775807)", Fails("out of range")),
            (
                "duration('100000000000000d') + duration('10000000000000d')",
                Fails("out of range"),
            ),
        ],
    );
}
