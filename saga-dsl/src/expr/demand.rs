//! What an expression asks of the values it reads: which paths, and of which type as far as the context tells.
//!
//! For samples: `steps.score.output.level > 3` asks for a whole number at `level`, and names 3 as a value to try.

use serde_json::Value;

use super::{
    Expr, Root, Template,
    ast::{Kind, Loop, LoopKind, Node, Operator},
    functions::Function,
};
use crate::types::Type;

/// A way down from a root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To a field.
    Field(String),
    /// To each item of a list.
    Item,
}

/// One read of an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// Where the path starts.
    pub root: Root,
    /// The path from there.
    pub path: Vec<Way>,
    /// What the context asks for; [`Type::Any`] where it does not tell.
    pub ty: Type,
    /// A literal that it is compared with.
    pub literal: Option<Value>,
}

impl Expr {
    /// Every read of this expression whose value is asked to be of type `whole`; `input` types the start payload.
    #[must_use]
    pub fn demands(&self, whole: &Type, input: &Type) -> Vec<Demand> {
        let mut walk = Walk {
            roots: &self.parsed.roots,
            input,
            variables: Vec::new(),
            found: Vec::new(),
        };
        walk.ask(&self.parsed.tree, whole, None);
        walk.found
    }
}

impl Template {
    /// As [`Expr::demands`], of all expressions; inside a text every value is a text.
    #[must_use]
    pub fn demands(&self, input: &Type) -> Vec<Demand> {
        let alone = self.is_one_expression();
        let whole = if alone { Type::Any } else { Type::String };
        self.expressions()
            .flat_map(|(expr, _)| expr.demands(&whole, input))
            .collect()
    }
}

struct Walk<'a> {
    roots: &'a [Root],
    input: &'a Type,
    /// What each loop variable stands for, the outermost first; `None`: an item of no path.
    variables: Vec<Option<(Root, Vec<Way>)>>,
    found: Vec<Demand>,
}

impl Walk<'_> {
    fn ask(&mut self, node: &Node, ty: &Type, literal: Option<&Value>) {
        if let Some((root, path)) = self.path(node) {
            self.found.push(Demand {
                root,
                path,
                ty: ty.clone(),
                literal: literal.cloned(),
            });
        }
        match &node.kind {
            Kind::Null
            | Kind::Bool(_)
            | Kind::Int(_)
            | Kind::Double(_)
            | Kind::Text(_)
            | Kind::Bytes(_)
            | Kind::Root(_)
            | Kind::Variable(_) => {}
            // The path itself was taken as a whole, unless something on it is computed.
            Kind::Field(target, _) => self.inside(target),
            Kind::Index(target, index) => {
                self.inside(target);
                self.ask(index, &Type::Any, None);
            }
            Kind::Has(path) => self.ask(path, &Type::Any, None),
            Kind::Not(inner) => self.ask(inner, &Type::Bool, None),
            Kind::Negate(inner) => self.ask(inner, &Type::Int, None),
            Kind::And(all) | Kind::Or(all) => {
                all.iter().for_each(|one| self.ask(one, &Type::Bool, None))
            }
            Kind::If(parts) => {
                let [condition, yes, no] = &**parts;
                self.ask(condition, &Type::Bool, None);
                self.ask(yes, ty, None);
                self.ask(no, ty, None);
            }
            Kind::Binary(operator, sides) => self.binary(*operator, &sides[0], &sides[1]),
            Kind::Call(function, arguments) => {
                let wanted = argument(*function);
                // What `startsWith('x')` looks for is a value for which it holds.
                let sought = arguments.get(1).and_then(self::literal);
                arguments
                    .iter()
                    .for_each(|one| self.ask(one, &wanted, sought.as_ref()));
            }
            Kind::Matches(target, _) => self.ask(target, &Type::String, None),
            Kind::List(items) => items.iter().for_each(|one| self.ask(one, &Type::Any, None)),
            Kind::Map(entries) => entries
                .iter()
                .for_each(|(_, value)| self.ask(value, &Type::Any, None)),
            Kind::Loop(inner) => self.each(inner),
        }
    }

    /// What stands before a field: only what is no path by itself still asks for something.
    fn inside(&mut self, target: &Node) {
        if self.path(target).is_none() {
            self.ask(target, &Type::Any, None);
        }
    }

    fn binary(&mut self, operator: Operator, left: &Node, right: &Node) {
        match operator {
            Operator::In => {
                let item = self.given(left);
                self.ask(right, &Type::List(Box::new(item)), None);
                self.ask(left, &Type::Any, None);
            }
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Remainder
            | Operator::Equal
            | Operator::NotEqual
            | Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => {
                for (one, other) in [(left, right), (right, left)] {
                    let numbers = match operator {
                        Operator::Subtract
                        | Operator::Multiply
                        | Operator::Divide
                        | Operator::Remainder
                        | Operator::Less
                        | Operator::LessOrEqual
                        | Operator::Greater
                        | Operator::GreaterOrEqual => Type::Int,
                        Operator::Add | Operator::Equal | Operator::NotEqual | Operator::In => {
                            Type::Any
                        }
                    };
                    let given = match self.given(other) {
                        Type::Any => numbers,
                        given => given,
                    };
                    self.ask(one, &given, literal(other).as_ref());
                }
            }
        }
    }

    fn each(&mut self, inner: &Loop) {
        self.ask(&inner.over, &Type::List(Box::new(Type::Any)), None);
        let item = self.path(&inner.over).map(|(root, mut path)| {
            path.push(Way::Item);
            (root, path)
        });
        self.variables.push(item);
        if let Some(filter) = &inner.filter {
            self.ask(filter, &Type::Bool, None);
        }
        let body = match inner.kind {
            LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne | LoopKind::Filter => Type::Bool,
            LoopKind::Map => Type::Any,
        };
        self.ask(&inner.body, &body, None);
        self.variables.pop();
    }

    fn path(&self, node: &Node) -> Option<(Root, Vec<Way>)> {
        match &node.kind {
            Kind::Root(at) => Some((self.roots.get(*at)?.clone(), Vec::new())),
            Kind::Variable(at) => self.variables.get(*at)?.clone(),
            Kind::Field(target, name) => self.down(target, Way::Field(name.clone())),
            Kind::Index(target, index) => match &index.kind {
                Kind::Text(name) => self.down(target, Way::Field(name.clone())),
                _ => self.down(target, Way::Item),
            },
            _ => None,
        }
    }

    fn down(&self, target: &Node, way: Way) -> Option<(Root, Vec<Way>)> {
        let (root, mut path) = self.path(target)?;
        path.push(way);
        Some((root, path))
    }

    /// The type of an operand as far as it can be told without knowing any step's output.
    fn given(&self, node: &Node) -> Type {
        match &node.kind {
            Kind::Bool(_) | Kind::Not(_) | Kind::Has(_) | Kind::And(_) | Kind::Or(_) => Type::Bool,
            Kind::Int(_) => Type::Int,
            Kind::Double(_) => Type::Double,
            Kind::Text(_) => Type::String,
            Kind::Bytes(_) => Type::Bytes,
            Kind::Negate(inner) => self.given(inner),
            Kind::Call(function, _) => result(*function),
            Kind::Binary(Operator::Add | Operator::Subtract | Operator::Multiply, sides) => {
                match self.given(&sides[0]) {
                    Type::Any => self.given(&sides[1]),
                    given => given,
                }
            }
            _ => match self.path(node) {
                Some((Root::Input, path)) => declared(self.input, &path),
                Some((Root::StepStatus(_), _)) => Type::String,
                Some(_) | None => Type::Any,
            },
        }
    }
}

/// The type that `input` declares at a path, without `optional`.
fn declared(input: &Type, path: &[Way]) -> Type {
    let mut ty = input.present();
    for way in path {
        ty = match (ty, way) {
            (Type::Object(mut fields), Way::Field(name)) => {
                fields.remove(name).unwrap_or_default().present()
            }
            (Type::List(item), Way::Item) => item.present(),
            (_, Way::Field(_) | Way::Item) => return Type::Any,
        };
    }
    ty
}

fn literal(node: &Node) -> Option<Value> {
    match &node.kind {
        Kind::Bool(value) => Some(Value::from(*value)),
        Kind::Int(value) => Some(Value::from(*value)),
        Kind::Double(value) => Some(Value::from(*value)),
        Kind::Text(value) => Some(Value::from(value.as_str())),
        // A moment or a span that is written out.
        Kind::Call(Function::ToTimestamp | Function::ToDuration, arguments) => {
            arguments.first().and_then(literal)
        }
        _ => None,
    }
}

fn argument(function: Function) -> Type {
    match function {
        Function::Size => Type::List(Box::new(Type::Any)),
        Function::StartsWith | Function::EndsWith | Function::Contains => Type::String,
        Function::ToText | Function::ToInt | Function::ToDouble => Type::Int,
        Function::ToBool => Type::Bool,
        Function::ToBytes => Type::String,
        Function::ToDuration => Type::Duration,
        Function::ToTimestamp => Type::Timestamp,
    }
}

fn result(function: Function) -> Type {
    match function {
        Function::Size | Function::ToInt => Type::Int,
        Function::StartsWith | Function::EndsWith | Function::Contains | Function::ToBool => {
            Type::Bool
        }
        Function::ToText => Type::String,
        Function::ToDouble => Type::Double,
        Function::ToBytes => Type::Bytes,
        Function::ToDuration => Type::Duration,
        Function::ToTimestamp => Type::Timestamp,
    }
}
