//! The static checker's rules for operators and functions.

use super::{
    FaultKind,
    ast::{Kind, Node, Operator},
    budget::Budget,
    check::Checker,
    functions::Function,
    value::{Text, Val},
};
use crate::types::Type;

impl Checker<'_> {
    pub(super) fn binary(&mut self, operator: Operator, left: &Node, right: &Node) -> Type {
        let (a, b) = (self.operand(left), self.operand(right));
        match operator {
            Operator::Equal | Operator::NotEqual => {
                self.decode_alike(left, &a, right, &b);
                if !comparable(&a, &b) {
                    let help = self.conversion(left, &a, right, &b);
                    self.mismatch(
                        left,
                        right,
                        format!("{} never equals {}", a.phrase(), b.phrase()),
                        help,
                    );
                }
                Type::Bool
            }
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => {
                self.decode_alike(left, &a, right, &b);
                if !has_order(&a) || !has_order(&b) || !comparable(&a, &b) {
                    let help = self.conversion(left, &a, right, &b);
                    let symbol = operator.symbol();
                    let message = format!(
                        "`{symbol}` cannot compare {} with {}",
                        a.phrase(),
                        b.phrase()
                    );
                    self.mismatch(left, right, message, help);
                }
                Type::Bool
            }
            Operator::In => {
                self.membership(left, &a, right, &b);
                Type::Bool
            }
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Remainder => arithmetic(operator, &a, &b).unwrap_or_else(|| {
                let help = self.conversion(left, &a, right, &b);
                let symbol = operator.symbol();
                let message = format!(
                    "`{symbol}` does not work on {} and {}",
                    a.phrase(),
                    b.phrase()
                );
                self.mismatch(left, right, message, help);
                Type::Any
            }),
        }
    }

    pub(super) fn negated(&mut self, operand: &Node) -> Type {
        match self.operand(operand) {
            ty @ (Type::Int | Type::Double | Type::Any) => ty,
            other => {
                let message = format!("`-` does not work on {}", other.phrase());
                self.fault(FaultKind::TypeMismatch, operand, message, None);
                Type::Any
            }
        }
    }

    pub(super) fn call(&mut self, function: Function, arguments: &[Node]) -> Type {
        use Function::{Contains, EndsWith, Size, StartsWith, ToBool, ToBytes, ToDouble};
        use Function::{ToDuration, ToInt, ToText, ToTimestamp};
        let types: Vec<Type> = arguments
            .iter()
            .map(|argument| self.operand(argument))
            .collect();
        for (argument, ty) in arguments.iter().zip(&types) {
            let fits = match function {
                Size => matches!(
                    ty,
                    Type::String | Type::Bytes | Type::List(_) | Type::Object(_)
                ),
                StartsWith | EndsWith | Contains => *ty == Type::String,
                ToText => !matches!(ty, Type::List(_) | Type::Object(_) | Type::Null),
                ToInt => matches!(
                    ty,
                    Type::Int | Type::Double | Type::String | Type::Timestamp
                ),
                ToDouble => matches!(ty, Type::Int | Type::Double | Type::String),
                ToBool => matches!(ty, Type::Bool | Type::String),
                ToBytes => matches!(ty, Type::Bytes | Type::String),
                ToDuration => matches!(ty, Type::Duration | Type::String),
                ToTimestamp => matches!(ty, Type::Timestamp | Type::String | Type::Int),
            };
            if !fits && *ty != Type::Any {
                let name = function.name();
                let help = matches!((function, ty), (Contains, Type::List(_)))
                    .then(|| "`item in list` asks whether a list holds an item".to_owned());
                self.fault(
                    FaultKind::TypeMismatch,
                    argument,
                    format!("`{name}` does not work on {}", ty.phrase()),
                    help,
                );
            } else if let (Kind::Text(text), [_]) = (&argument.kind, arguments)
                && let Err(error) =
                    function.of_one(Val::Text(Text::Borrowed(text)), &mut Budget::default())
            {
                self.fault(FaultKind::TypeMismatch, argument, error.to_string(), None);
            }
        }
        match function {
            Size | ToInt => Type::Int,
            StartsWith | EndsWith | Contains | ToBool => Type::Bool,
            ToText => Type::String,
            ToDouble => Type::Double,
            ToBytes => Type::Bytes,
            ToDuration => Type::Duration,
            ToTimestamp => Type::Timestamp,
        }
    }

    pub(super) fn expect(&mut self, node: &Node, wanted: &Type, taker: &str) {
        let ty = self.ty(node);
        if ty != *wanted && ty != Type::Any {
            let message = format!(
                "`{taker}` takes {}, `{}` is {}",
                wanted.phrase(),
                self.text(node),
                ty.phrase()
            );
            self.fault(FaultKind::TypeMismatch, node, message, None);
        }
    }

    fn membership(&mut self, left: &Node, item: &Type, right: &Node, of: &Type) {
        match of {
            Type::List(inner) => {
                if **inner == Type::Any {
                    let as_item = Type::List(Box::new(item.clone()));
                    self.decode_time(right, &as_item);
                }
                if *item == Type::Any {
                    self.decode_time(left, inner);
                }
                if !comparable(item, inner) {
                    let message = format!("a list of {} never holds {}", inner, item.phrase());
                    self.mismatch(left, right, message, None);
                }
            }
            Type::Any => {}
            Type::Object(_) if matches!(item, Type::String | Type::Any) => {}
            Type::Object(_) => {
                self.mismatch(
                    left,
                    right,
                    format!("keys are strings, never {}", item.phrase()),
                    None,
                );
            }
            other => {
                let help = (*other == Type::String).then(|| {
                    format!(
                        "`{}.contains({})` looks into a string",
                        self.text(right),
                        self.text(left)
                    )
                });
                let message = format!(
                    "`in` looks into lists and objects, not into {}",
                    other.phrase()
                );
                self.mismatch(left, right, message, help);
            }
        }
    }

    /// What is compared with a time is read as one.
    fn decode_alike(&mut self, left: &Node, a: &Type, right: &Node, b: &Type) {
        match (a, b) {
            (Type::Any, known) => self.decode_time(left, known),
            (known, Type::Any) => self.decode_time(right, known),
            _ => {}
        }
    }

    fn decode_time(&mut self, node: &Node, ty: &Type) {
        let item = if let Type::List(item) = ty { item } else { ty };
        if matches!(item, Type::Timestamp | Type::Duration | Type::Bytes) {
            self.decode_as(node, ty);
        }
    }

    fn mismatch(&mut self, left: &Node, right: &Node, message: String, help: Option<String>) {
        let mut fault = super::Fault::new(
            FaultKind::TypeMismatch,
            left.span.start..right.span.end,
            message,
        );
        fault.help = help;
        self.faults.push(fault);
    }

    /// The conversion that would let two operands meet.
    fn conversion(&self, left: &Node, a: &Type, right: &Node, b: &Type) -> Option<String> {
        let convert = |function: &str, node: &Node| match (&node.kind, function) {
            (Kind::Int(value), "double") => format!("write `{value}.0`"),
            _ => format!("write `{function}({})`", self.text(node)),
        };
        let is_text = |ty: &Type| *ty == Type::String;
        Some(match (a, b) {
            (Type::Int, Type::Double) => convert("double", left),
            (Type::Double, Type::Int) => convert("double", right),
            (Type::Timestamp, other) if is_text(other) => convert("timestamp", right),
            (other, Type::Timestamp) if is_text(other) => convert("timestamp", left),
            (Type::Duration, other) if is_text(other) => convert("duration", right),
            (other, Type::Duration) if is_text(other) => convert("duration", left),
            (Type::String, other) if is_scalar(other) => convert("string", right),
            (other, Type::String) if is_scalar(other) => convert("string", left),
            _ => return None,
        })
    }
}

fn is_scalar(ty: &Type) -> bool {
    matches!(ty, Type::Int | Type::Double | Type::Bool)
}

fn has_order(ty: &Type) -> bool {
    !matches!(ty, Type::List(_) | Type::Object(_) | Type::Null)
}

/// Whether values of the two types can be equal.
fn comparable(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Any | Type::Null, _) | (_, Type::Any | Type::Null) => true,
        (Type::Optional(a), b) | (b, Type::Optional(a)) => comparable(a, b),
        (Type::Int | Type::Double, Type::Int | Type::Double) => true,
        (Type::List(a), Type::List(b)) => comparable(a, b),
        (Type::Object(_), Type::Object(_)) => true,
        _ => a == b,
    }
}

/// The type of a result; `None`: the operator does not work on these.
fn arithmetic(operator: Operator, a: &Type, b: &Type) -> Option<Type> {
    use Operator::{Add, Remainder, Subtract};
    let ty = match (operator, a, b) {
        (_, Type::Any, Type::Any) => Type::Any,
        (_, Type::Int, Type::Int) => Type::Int,
        (Add | Subtract, Type::Timestamp, Type::Any) if operator == Add => Type::Timestamp,
        (Add | Subtract, Type::Timestamp | Type::Duration, Type::Any) => Type::Any,
        (Add | Subtract, Type::Any, Type::Timestamp | Type::Duration) => Type::Any,
        (Add, Type::String, Type::String | Type::Any) | (Add, Type::Any, Type::String) => {
            Type::String
        }
        (Add, Type::Bytes, Type::Bytes | Type::Any) | (Add, Type::Any, Type::Bytes) => Type::Bytes,
        (Add, Type::List(a), Type::List(b)) => Type::List(Box::new(a.join(b))),
        (Add, Type::List(_), Type::Any) | (Add, Type::Any, Type::List(_)) => {
            Type::List(Box::new(Type::Any))
        }
        (_, Type::Int, Type::Any) | (_, Type::Any, Type::Int) => Type::Any,
        (Remainder, _, _) => return None,
        (_, Type::Double, Type::Double | Type::Any) | (_, Type::Any, Type::Double) => Type::Double,
        (Add, Type::Timestamp, Type::Duration) | (Add, Type::Duration, Type::Timestamp) => {
            Type::Timestamp
        }
        (Subtract, Type::Timestamp, Type::Duration) => Type::Timestamp,
        (Subtract, Type::Timestamp, Type::Timestamp) => Type::Duration,
        (Add | Subtract, Type::Duration, Type::Duration) => Type::Duration,
        _ => return None,
    };
    Some(ty)
}
