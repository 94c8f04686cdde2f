//! Hostile expressions and data end with a fault or an error, soon.

use serde_json::{Value, json};

use super::{Data, Expr, eval};
use crate::expr::{Budget, EvalError, FaultKind, STEPS_MAX, Template};

#[test]
fn size_and_depth_are_limited() {
    let nest = |open: &str, core: &str, close: &str, count: usize| {
        format!("{}{core}{}", open.repeat(count), close.repeat(count))
    };
    let sources = [
        nest("(", "1", ")", 100_000),
        nest("(", "1", ")", 40),
        nest("[", "", "]", 40),
        nest("!", "true", "", 2_000),
        nest("-", "x", "", 2_000),
        nest("{'a':", "1", "}", 40),
        nest("size(", "1", ")", 40),
        nest("true ? 1 : ", "2", "", 40),
        nest("", "a", ".a", 40),
        nest("", "a", "[0]", 40),
        nest("1 + ", "1", "", 100),
        nest("(", "", "", 4_000),
        nest("[1].map(x, ", "1", ")", 3),
        "a".repeat(5_000),
    ];
    for source in sources {
        let fault = Expr::parse(&source).expect_err(&source[..20]);
        assert_eq!(
            fault.kind,
            FaultKind::TooLarge,
            "{}…: {fault}",
            &source[..20]
        );
        assert!(
            source.get(fault.span.clone()).is_some(),
            "{}",
            &source[..20]
        );
        assert!(Template::parse(&format!("${{{source}}}")).is_err());
    }
}

#[test]
fn ordinary_sizes_are_fine() {
    let chain = vec!["input.a == 1"; 200].join(" || ");
    assert_eq!(eval(&chain, &json!({"input": {"a": 2}})), Ok(json!(false)));
    let nested = format!("{}1{}", "(".repeat(31), ")".repeat(31));
    assert_eq!(eval(&nested, &Value::Null), Ok(json!(1)));
    let sum = vec!["1"; 32].join(" + ");
    assert_eq!(eval(&sum, &Value::Null), Ok(json!(32)));
}

#[test]
fn work_is_limited() {
    let list: Vec<u32> = (0..200).collect();
    let text = "x".repeat(100_000);
    let data = json!({"input": {"l": list, "t": text, "many": vec![0; 20_000]}});
    let rows = [
        "input.l.all(x, input.l.all(y, x >= 0 && y >= 0))",
        "input.l.all(x, input.l.all(y, x >= 0 && y >= 0)) || true",
        "true || false ? input.l.map(x, input.l.map(y, y)) == [] : false",
        "input.many == input.many",
        "1 in input.many",
        "input.l.all(x, input.t.contains('y') || true)",
        "input.l.all(x, input.t.matches('y') || true)",
        "input.l.all(x, input.t == input.t)",
        "input.l.all(x, size(input.t) > 0)",
    ];
    for source in rows {
        assert_eq!(
            eval(source, &data),
            Err(EvalError::Budget(STEPS_MAX)),
            "{source}"
        );
    }
}

#[test]
fn built_values_are_limited() {
    let data = json!({"input": {"t": "x".repeat(500_000), "l": (0..100).collect::<Vec<_>>()}});
    let rows = [
        "input.l.map(x, input.t)",
        "input.l.map(x, input.t + 'a')",
        "[1, 2, 3, 4, 5].map(x, input.t + input.t)",
        "input.t + input.t + input.t + input.t + input.t + input.t",
        "input.l.map(x, bytes(input.t))",
    ];
    for source in rows {
        let error = eval(source, &data).expect_err(source);
        assert!(error.is_limit(), "{source}: {error}");
    }
}

#[test]
fn a_budget_may_be_shared_and_runs_out() {
    let expr = Expr::parse("1 + 1 == 2").expect("an expression");
    let data = Data(Value::Null);
    let mut budget = Budget::new(15, 1_000);
    assert_eq!(expr.eval_bool(&data, &mut budget), Ok(true));
    assert_eq!(budget.steps_left(), 15 - 6);
    assert_eq!(expr.eval_bool(&data, &mut budget), Ok(true));
    assert_eq!(
        expr.eval_bool(&data, &mut budget),
        Err(EvalError::Budget(15))
    );
    assert_eq!(
        expr.eval_bool(&data, &mut budget),
        Err(EvalError::Budget(15))
    );
}

#[test]
fn the_deepest_expression_fits_a_small_stack() {
    const STACK_BYTES: usize = 512 * 1024;
    let work = || {
        let shapes = [
            ("[1].map(x, [1].map(y, ", "y", "))", 1),
            ("(true && ", "true", ")", 30),
            ("[", "1", "]", 30),
            ("(1 + ", "1", ")", 30),
        ];
        for (open, core, close, count) in shapes {
            let source = format!("{}{core}{}", open.repeat(count), close.repeat(count));
            let expr = Expr::parse(&source).expect(&source);
            assert_eq!(expr.check(&super::Types::default()).faults, [], "{source}");
            assert!(
                expr.eval(&Data(Value::Null), &mut Budget::default())
                    .is_ok(),
                "{source}"
            );
        }
        assert!(Expr::parse(&"(".repeat(4_000)).is_err());
    };
    std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(work)
        .expect("a thread")
        .join()
        .expect("no overflow");
}

#[test]
fn expressions_may_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Expr>();
    shared::<crate::expr::ValueTemplate>();
}
