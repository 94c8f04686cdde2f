//! Equality and order of values.

use std::cmp::Ordering;

use super::{
    Budget, EvalError,
    ast::Operator,
    value::{List, Map, Val},
};
use crate::json::{Decimal, Number, Reduced};

/// Whether two values are equal; values of different kinds are not, but an int may equal a double.
pub(super) fn equal(a: &Val<'_>, b: &Val<'_>, budget: &mut Budget) -> Result<bool, EvalError> {
    budget.step()?;
    Ok(match (a, b) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::Text(a), Val::Text(b)) => {
            budget.scan(a.as_str().len().min(b.as_str().len()))?;
            a == b
        }
        (Val::Bytes(a), Val::Bytes(b)) => {
            budget.scan(a.len().min(b.len()))?;
            a == b
        }
        (Val::Timestamp(a), Val::Timestamp(b)) => a == b,
        (Val::Duration(a), Val::Duration(b)) => a == b,
        (Val::List(a), Val::List(b)) => equal_lists(a, b, budget)?,
        (Val::Map(a), Val::Map(b)) => equal_maps(a, b, budget)?,
        _ => numbers(a, b) == Some(Ordering::Equal),
    })
}

fn equal_lists(a: &List<'_>, b: &List<'_>, budget: &mut Budget) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(b.iter()) {
        if !equal(&a, &b, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn equal_maps(a: &Map<'_>, b: &Map<'_>, budget: &mut Budget) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    budget.steps(u32::try_from(a.len()).unwrap_or(u32::MAX))?;
    for key in a.keys() {
        let (Some(a), Some(b)) = (a.get(key.as_str()), b.get(key.as_str())) else {
            return Ok(false);
        };
        if !equal(&a, &b, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `<`, `<=`, `>` and `>=`.
pub(super) fn ordered(
    operator: Operator,
    a: &Val<'_>,
    b: &Val<'_>,
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    let order = match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (Val::Text(a), Val::Text(b)) => {
            budget.scan(a.as_str().len().min(b.as_str().len()))?;
            Some(a.cmp(b))
        }
        (Val::Bytes(a), Val::Bytes(b)) => {
            budget.scan(a.len().min(b.len()))?;
            Some(a.cmp(b))
        }
        (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.cmp(b)),
        (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
        _ if is_number(a) && is_number(b) => numbers(a, b),
        _ => {
            let (a, b) = (a.kind(), b.kind());
            return Err(EvalError::Type(format!(
                "`{}` cannot compare {a} with {b}",
                operator.symbol()
            )));
        }
    };
    // Nothing is above or below what is not a number.
    let Some(order) = order else { return Ok(false) };
    Ok(match operator {
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        _ => order.is_ge(),
    })
}

fn is_number(value: &Val<'_>) -> bool {
    matches!(
        value,
        Val::Int(_) | Val::Whole(_) | Val::Written(_) | Val::Double(_)
    )
}

fn numbers(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    match (a, b) {
        (Val::Int(a) | Val::Whole(a), Val::Int(b) | Val::Whole(b)) => Some(a.cmp(b)),
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (Val::Int(a) | Val::Whole(a), Val::Double(b)) => int_with_double(*a, *b),
        (Val::Double(a), Val::Int(b) | Val::Whole(b)) => {
            int_with_double(*b, *a).map(Ordering::reverse)
        }
        (Val::Written(written), other) => beside(*written, other),
        (other, Val::Written(written)) => beside(*written, other).map(Ordering::reverse),
        _ => None,
    }
}

/// A number of a document against another number: digit for digit where a double would lose some.
fn beside(written: Number<'_>, other: &Val<'_>) -> Option<Ordering> {
    match written.reduced() {
        Reduced::Whole(value) => return numbers(&Val::Int(value), other),
        Reduced::Double(value) => return numbers(&Val::Double(value), other),
        Reduced::Beyond => {}
    }
    let other = match other {
        Val::Int(value) | Val::Whole(value) => Decimal::of_int(*value),
        Val::Written(other) => other.decimal(),
        Val::Double(value) if value.is_infinite() => {
            return Some(if *value > 0.0 {
                Ordering::Less
            } else {
                Ordering::Greater
            });
        }
        Val::Double(value) => Decimal::of_double(*value)?,
        _ => return None,
    };
    Some(written.decimal().cmp(&other))
}

/// Compares without rounding the integer.
fn int_with_double(int: i64, double: f64) -> Option<Ordering> {
    const ABOVE_ALL_INTS: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() {
        return None;
    }
    if double >= ABOVE_ALL_INTS {
        return Some(Ordering::Less);
    }
    if double < -ABOVE_ALL_INTS {
        return Some(Ordering::Greater);
    }
    #[allow(
        clippy::cast_possible_truncation,
        reason = "within the range of i64, checked above"
    )]
    let whole = double.trunc() as i64;
    // Where the whole parts are equal, the fraction decides.
    Some(int.cmp(&whole).then_with(|| {
        0.0_f64
            .partial_cmp(&double.fract())
            .unwrap_or(Ordering::Equal)
    }))
}
