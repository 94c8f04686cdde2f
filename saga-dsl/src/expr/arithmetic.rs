//! `+ - * / %` and the minus sign. Integers never wrap.

use jiff::{SignedDuration, Timestamp};

use super::{
    Budget, EvalError,
    ast::Operator,
    time,
    value::{List, Text, Val},
};
use crate::json::Reduced;

pub(super) fn arithmetic<'a>(
    operator: Operator,
    a: Val<'a>,
    b: Val<'a>,
    budget: &mut Budget,
) -> Result<Val<'a>, EvalError> {
    use Operator::{Add, Subtract};
    let (a, b) = (operand(operator.symbol(), a, &b)?, b);
    let (b, a) = (operand(operator.symbol(), b, &a)?, a);
    match (operator, a, b) {
        (_, Val::Int(a) | Val::Whole(a), Val::Int(b) | Val::Whole(b)) => ints(operator, a, b),
        (_, Val::Double(a), Val::Double(b)) if operator != Operator::Remainder => {
            Ok(doubles(operator, a, b))
        }
        (_, Val::Whole(a), Val::Double(b)) if operator != Operator::Remainder => {
            Ok(doubles(operator, exact_double(operator.symbol(), a)?, b))
        }
        (_, Val::Double(a), Val::Whole(b)) if operator != Operator::Remainder => {
            Ok(doubles(operator, a, exact_double(operator.symbol(), b)?))
        }
        (Add, Val::Text(a), Val::Text(b)) => {
            let (a, b) = (a.as_str(), b.as_str());
            // Charged before it is built.
            budget.scan(a.len() + b.len())?;
            budget.build(a.len() + b.len())?;
            Ok(Val::Text(Text::Built([a, b].concat().into())))
        }
        (Add, Val::Bytes(a), Val::Bytes(b)) => {
            budget.build(a.len() + b.len())?;
            Ok(Val::Bytes([a, b].concat().into()))
        }
        (Add, Val::List(a), Val::List(b)) => {
            let length = a.len() + b.len();
            budget.steps(u32::try_from(length).unwrap_or(u32::MAX))?;
            budget.build(length * size_of::<Val<'_>>())?;
            Ok(Val::List(List::Built(a.iter().chain(b.iter()).collect())))
        }
        (Add, Val::Timestamp(time), Val::Duration(by))
        | (Add, Val::Duration(by), Val::Timestamp(time)) => moved(time, Some(by)),
        (Subtract, Val::Timestamp(time), Val::Duration(by)) => moved(time, by.checked_neg()),
        (Subtract, Val::Timestamp(a), Val::Timestamp(b)) => Ok(Val::Duration(a.duration_since(b))),
        (Add, Val::Duration(a), Val::Duration(b)) => duration(a.checked_add(b)),
        (Subtract, Val::Duration(a), Val::Duration(b)) => duration(a.checked_sub(b)),
        (_, a, b) => {
            let help = match (&a, &b) {
                (Val::Int(_) | Val::Whole(_), Val::Double(_))
                | (Val::Double(_), Val::Int(_) | Val::Whole(_)) => {
                    "; double(…) makes the int a double"
                }
                (Val::Text(_), _) | (_, Val::Text(_)) => {
                    "; string(…) makes texts, timestamp(…) and duration(…) make times"
                }
                _ => "",
            };
            let symbol = operator.symbol();
            Err(EvalError::Type(format!(
                "`{symbol}` does not work on {} and {}{help}",
                a.kind(),
                b.kind()
            )))
        }
    }
}

/// A number of a document as an operand beside `other`: its int or its double. Arithmetic does not round what it is
/// given, so a number that is neither is refused.
fn operand<'a>(symbol: &str, value: Val<'a>, other: &Val<'_>) -> Result<Val<'a>, EvalError> {
    let Val::Written(number) = value else {
        return Ok(value);
    };
    let beside_whole = match other {
        Val::Int(_) | Val::Whole(_) => true,
        Val::Written(other) => other.is_whole(),
        _ => false,
    };
    match number.reduced() {
        Reduced::Whole(value) => Ok(Val::Whole(value)),
        Reduced::Double(value) => Ok(Val::Double(value)),
        Reduced::Beyond if number.is_whole() && beside_whole => Err(EvalError::Range(format!(
            "`{symbol}` got {}, which is out of range: integers of expressions have 64 bits with sign, larger ones \
             are only passed on and compared",
            number.written()
        ))),
        Reduced::Beyond => match number.as_double() {
            Some(double) => Ok(Val::Double(double)),
            None => Err(EvalError::Range(rounds(symbol, number.written()))),
        },
    }
}

/// The double that an int is, as long as it is exactly that.
pub(super) fn exact_double(symbol: &str, int: i64) -> Result<f64, EvalError> {
    #[allow(clippy::cast_precision_loss, reason = "what is lost is looked at")]
    let double = int as f64;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "every double that stands for an i64 fits"
    )]
    let same = double as i128 == i128::from(int);
    if same {
        Ok(double)
    } else {
        Err(EvalError::Range(rounds(symbol, &int.to_string())))
    }
}

pub(super) fn rounds(symbol: &str, number: &str) -> String {
    const SHOWN: usize = 40;
    let cut = if number.len() > SHOWN { "…" } else { "" };
    let shown = number.get(..SHOWN).unwrap_or(number);
    format!(
        "`{symbol}` would round {shown}{cut}, a double does not hold it; double(…) rounds it on purpose"
    )
}

pub(super) fn negated(value: Val<'_>) -> Result<Val<'_>, EvalError> {
    match operand("-", value, &Val::Int(0))? {
        Val::Int(value) | Val::Whole(value) => {
            value.checked_neg().map(Val::Int).ok_or_else(overflow)
        }
        Val::Double(value) => Ok(Val::Double(-value)),
        other => Err(EvalError::Type(format!(
            "`-` does not work on {}",
            other.kind()
        ))),
    }
}

fn ints<'a>(operator: Operator, a: i64, b: i64) -> Result<Val<'a>, EvalError> {
    if b == 0 && matches!(operator, Operator::Divide | Operator::Remainder) {
        return Err(EvalError::Range("division by zero".to_owned()));
    }
    let result = match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Divide => a.checked_div(b),
        _ => a.checked_rem(b),
    };
    result.map(Val::Int).ok_or_else(overflow)
}

fn doubles<'a>(operator: Operator, a: f64, b: f64) -> Val<'a> {
    Val::Double(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        _ => a / b,
    })
}

/// The nearest double.
#[allow(
    clippy::cast_precision_loss,
    reason = "the nearest double is what a conversion means"
)]
pub(super) fn to_double(int: i64) -> f64 {
    int as f64
}

fn moved<'a>(from: Timestamp, by: Option<SignedDuration>) -> Result<Val<'a>, EvalError> {
    by.and_then(|by| from.checked_add(by).ok())
        .filter(|to| time::is_in_range(*to))
        .map(Val::Timestamp)
        .ok_or_else(|| EvalError::Range("a timestamp lies between the years 1 and 9999".to_owned()))
}

fn duration<'a>(result: Option<SignedDuration>) -> Result<Val<'a>, EvalError> {
    result
        .map(Val::Duration)
        .ok_or_else(|| EvalError::Range("the duration is out of range".to_owned()))
}

fn overflow() -> EvalError {
    EvalError::Range("the result is out of range: integers have 64 bits with sign".to_owned())
}
