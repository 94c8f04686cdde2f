//! Numbers and other values that are passed on as they were written, or refused by name.

use proptest::prelude::*;
use serde_json::json;

use super::Types;
use crate::{
    expr::{Budget, EvalError, Expr, Root, Scope, Template, ValueTemplate},
    payload::Payload,
    types::Type,
};

/// `input` as a text.
struct Written(Payload);

impl Scope for Written {
    fn value(&self, root: &Root) -> Option<Payload> {
        (*root == Root::Input).then(|| self.0.clone())
    }
}

fn written(text: &str) -> Written {
    Written(Payload::from_bytes(text.as_bytes()).expect(text))
}

fn eval(source: &str, input: &str) -> Result<String, EvalError> {
    let value = Expr::parse(source)
        .expect(source)
        .eval(&written(input), &mut Budget::default())?;
    Ok(value.text().to_owned())
}

/// Numbers that `serde_json::Value` changes, and some that it does not.
const NUMBERS: [&str; 20] = [
    "0",
    "-0",
    "-0.0",
    "1.0",
    "1.10",
    "100.00",
    "1e2",
    "1E+2",
    "1e-7",
    "19.99",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "123456789012345678901234567890",
    "0.1234567890123456789012345678901",
    "1e-400",
    "-1.7976931348623157e308",
    "3.141592653589793115997963468544185161590576171875",
];

#[test]
fn passed_on_numbers_keep_every_letter() {
    for number in NUMBERS {
        let input =
            format!(r#"{{"n":{number},"l":[{number}],"o":{{"b": {number}, "a":"\u0041/\/"}}}}"#);
        assert_eq!(eval("input.n", &input).as_deref(), Ok(number));
        assert_eq!(eval("input.l[0]", &input).as_deref(), Ok(number));
        assert_eq!(eval("input.l", &input), Ok(format!("[{number}]")));
        assert_eq!(
            eval("input.o", &input),
            Ok(format!(r#"{{"b": {number}, "a":"\u0041/\/"}}"#))
        );
        assert_eq!(eval("input.o.a", &input).as_deref(), Ok(r#""\u0041/\/""#));
        assert_eq!(eval("[input.n, 1]", &input), Ok(format!("[{number},1]")));
        assert_eq!(
            eval("{'z': input.n}", &input),
            Ok(format!(r#"{{"z":{number}}}"#))
        );
        assert_eq!(eval("input.l.map(x, x)", &input), Ok(format!("[{number}]")));
        assert_eq!(eval("true ? input.n : 0", &input).as_deref(), Ok(number));
        let value = json!({"n": "${input.n}", "deep": [{"o": "${input.o.b}"}]});
        let template = ValueTemplate::from_value(&value).expect("a template");
        let found = template
            .eval(&written(&input), &mut Budget::default())
            .expect("a value");
        assert_eq!(
            found.text(),
            format!(r#"{{"deep":[{{"o":{number}}}],"n":{number}}}"#)
        );
        let pick =
            ValueTemplate::from_pick(&["n".to_owned(), "input.o.b".to_owned()]).expect("a pick");
        let found = pick
            .eval(&written(&input), &mut Budget::default())
            .expect("a value");
        assert_eq!(found.text(), format!(r#"{{"b":{number},"n":{number}}}"#));
    }
}

#[test]
fn declared_types_do_not_change_what_is_passed_on() {
    let types = Types::of(json!({"input": {"n": "double", "l": ["double"], "u": "int"}}));
    for number in NUMBERS {
        let input = written(&format!(r#"{{"n":{number},"l":[{number}],"u":{number}}}"#));
        for (source, expected) in [
            ("input.n", number.to_owned()),
            ("input.l", format!("[{number}]")),
        ] {
            let expr = Expr::parse(source).expect(source).with_types(&types);
            let found = expr.eval(&input, &mut Budget::default()).expect("a value");
            assert_eq!(found.text(), expected);
        }
    }
}

#[test]
fn arithmetic_refuses_what_it_would_have_to_round() {
    let rows = [
        (
            "input.n + 1",
            "18446744073709551615",
            "18446744073709551615, which is out of range",
        ),
        ("1 + input.n", "9223372036854775808", "out of range"),
        ("input.n + input.n", "18446744073709551615", "out of range"),
        ("-input.n", "18446744073709551615", "out of range"),
        (
            "input.n + 0.5",
            "9007199254740993",
            "`+` would round 9007199254740993",
        ),
        (
            "0.5 * input.n",
            "18446744073709551615",
            "`*` would round 18446744073709551615",
        ),
        (
            "input.n * 2.0",
            "0.1234567890123456789",
            "`*` would round 0.1234567890123456789",
        ),
        ("-input.n", "0.1234567890123456789", "`-` would round"),
        ("input.n + 1.0", "1e-400", "`+` would round 1e-400"),
        (
            "int(input.n)",
            "18446744073709551615",
            "`int` got 18446744073709551615",
        ),
    ];
    for (source, number, part) in rows {
        let error = eval(source, &format!(r#"{{"n":{number}}}"#)).expect_err(source);
        assert!(
            matches!(&error, EvalError::Range(text) if text.contains(part)),
            "{source}: {error}"
        );
    }
    let rows = [
        ("input.n + 1", "9223372036854775806", "9223372036854775807"),
        ("input.n + 1", "-0", "1"),
        ("input.n * 2.0", "19.99", "39.98"),
        ("input.n + 0.5", "1.50000000000000000000000", "2.0"),
        ("input.n + 0.5", "100000000000000000000000", "1e+23"),
        (
            "double(input.n) * 1.0",
            "18446744073709551615",
            "1.8446744073709552e+19",
        ),
        (
            "double(input.n)",
            "0.1234567890123456789",
            "0.12345678901234568",
        ),
        ("int(input.n)", "2.9", "2"),
    ];
    for (source, number, expected) in rows {
        assert_eq!(
            eval(source, &format!(r#"{{"n":{number}}}"#)).as_deref(),
            Ok(expected),
            "{source} {number}"
        );
    }
}

#[test]
fn declared_doubles_refuse_it_too() {
    let types = Types::of(json!({"input": {"a": "double", "b": "double"}}));
    let typed = |source: &str, input: &str| {
        let expr = Expr::parse(source).expect(source).with_types(&types);
        expr.eval(&written(input), &mut Budget::default())
            .map(|value| value.text().to_owned())
    };
    let big = r#"{"a":9007199254740993,"b":2}"#;
    assert!(matches!(
        typed("input.a / input.b", big),
        Err(EvalError::Range(_))
    ));
    assert_eq!(typed("input.a > input.b", big).as_deref(), Ok("true"));
    assert_eq!(
        typed("input.a == input.a + 0.0", r#"{"a":3,"b":2}"#).as_deref(),
        Ok("true")
    );
    assert_eq!(
        typed("string(input.a)", big).as_deref(),
        Ok(r#""9007199254740993""#)
    );
}

#[test]
fn comparisons_look_at_every_digit() {
    let rows = [
        (
            "input.a < input.b",
            "18446744073709551614",
            "18446744073709551615",
            true,
        ),
        (
            "input.a == input.b",
            "18446744073709551615",
            "18446744073709551615",
            true,
        ),
        (
            "input.a == input.b",
            "18446744073709551614",
            "18446744073709551615",
            false,
        ),
        (
            "input.a < input.b",
            "0.12345678901234567890",
            "0.12345678901234567891",
            true,
        ),
        (
            "input.a == input.b",
            "0.12345678901234567890",
            "0.1234567890123456789",
            true,
        ),
        ("input.a == input.b", "1e2", "100", true),
        ("input.a == input.b", "-0", "0", true),
        (
            "input.a > input.b",
            "-18446744073709551615",
            "-18446744073709551616",
            true,
        ),
        (
            "input.a in [input.b]",
            "18446744073709551615",
            "18446744073709551615",
            true,
        ),
        (
            "input.a > 9223372036854775807",
            "9223372036854775808",
            "0",
            true,
        ),
        ("input.a > 0.5", "18446744073709551615", "0", true),
        ("input.a < 1.0 / 0.0", "18446744073709551615", "0", true),
        ("input.a == 'x'", "18446744073709551615", "0", false),
        ("input == input", "18446744073709551615", "0", true),
    ];
    for (source, a, b, expected) in rows {
        let found = eval(source, &format!(r#"{{"a":{a},"b":{b}}}"#));
        assert_eq!(found, Ok(expected.to_string()), "{source} {a} {b}");
    }
}

#[test]
fn equal_numbers_read_alike_inside_a_text() {
    let text = |number: &str| {
        let template = Template::parse("n-${input.n}").expect("a template");
        let input = written(&format!(r#"{{"n":{number}}}"#));
        template
            .eval_text(&input, &mut Budget::default())
            .expect("a text")
    };
    for [a, b, expected] in [
        ["100", "1e2", "n-100"],
        ["100", "100.00", "n-100"],
        ["-0", "0", "n-0"],
        ["19.90", "1.99e1", "n-19.9"],
        [
            "18446744073709551615",
            "18446744073709551615.0",
            "n-18446744073709551615",
        ],
        [
            "0.12345678901234567890",
            "12345678901234567890e-20",
            "n-0.1234567890123456789",
        ],
        [
            "12345678901234567890123",
            "1.2345678901234567890123e22",
            "n-12345678901234567890123",
        ],
        ["1.5e-450", "0.15e-449", "n-1.5e-450"],
    ] {
        assert_eq!(
            [text(a), text(b)],
            [expected, expected].map(str::to_owned),
            "{a} {b}"
        );
    }
}

#[test]
fn ints_of_64_bits_fit_with_and_without_sign() {
    let ty = Type::from_value(&json!({"n": "int"})).expect("types");
    let check = |number: &str| {
        let payload = Payload::from_bytes(format!(r#"{{"n":{number}}}"#).as_bytes()).expect("JSON");
        ty.check_json(payload.json())
            .first()
            .map(ToString::to_string)
    };
    for good in ["0", "-0", "18446744073709551615", "-9223372036854775808"] {
        assert_eq!(check(good), None, "{good}");
    }
    for bad in ["18446744073709551616", "-9223372036854775809", "1.0", "1e2"] {
        assert_eq!(
            check(bad),
            Some(format!("n: expected an int of 64 bits, got {bad}"))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_number_is_passed_on_as_it_is(number in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?") {
        let input = format!(r#"{{"n":{number}}}"#);
        prop_assert_eq!(eval("input.n", &input), Ok(number.clone()));
        prop_assert_eq!(eval("input.n == input.n", &input), Ok("true".to_owned()));
        prop_assert_eq!(eval("input.n < input.n", &input), Ok("false".to_owned()));
    }

    #[test]
    fn any_two_whole_numbers_are_told_apart(a in any::<u64>(), b in any::<u64>()) {
        let input = format!(r#"{{"a":{a},"b":{b}}}"#);
        prop_assert_eq!(eval("input.a < input.b", &input), Ok((a < b).to_string()));
        prop_assert_eq!(eval("input.a == input.b", &input), Ok((a == b).to_string()));
    }
}
