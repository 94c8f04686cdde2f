//! The evaluator: walks the tree, pays for every step, borrows what it can.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    Budget, EvalError,
    arithmetic::{arithmetic, negated},
    ast::{Kind, Loop, LoopKind, Node, Operator},
    compare::{equal, ordered},
    decode::{Decoding, decoded},
    value::{List, Map, Text, Val},
};
use crate::payload::Payload;

type Result<T> = std::result::Result<T, EvalError>;

pub(super) struct Evaluator<'a, 'b> {
    pub source: &'a str,
    /// Values of the expression's roots, by number.
    pub roots: &'a [Option<Payload>],
    /// What texts at which nodes stand for, by node id; empty: nothing is known.
    pub decodings: &'a [Option<Decoding>],
    /// Values of loop variables, the outermost first.
    pub variables: Vec<Val<'a>>,
    pub budget: &'b mut Budget,
}

impl<'a> Evaluator<'a, '_> {
    pub fn value(&mut self, node: &'a Node) -> Result<Val<'a>> {
        self.budget.step()?;
        match &node.kind {
            Kind::Null => Ok(Val::Null),
            Kind::Bool(value) => Ok(Val::Bool(*value)),
            Kind::Int(value) => Ok(Val::Int(*value)),
            Kind::Double(value) => Ok(Val::Double(*value)),
            Kind::Text(text) => Ok(Val::Text(Text::Borrowed(text))),
            Kind::Bytes(bytes) => {
                self.budget.build(bytes.len())?;
                Ok(Val::Bytes(bytes.as_slice().into()))
            }
            Kind::Root(number) => self.root(*number).ok_or_else(|| self.absent(node)),
            Kind::Variable(depth) => self
                .variables
                .get(*depth)
                .cloned()
                .ok_or_else(|| self.absent(node)),
            Kind::List(items) => {
                self.budget.build(items.len() * size_of::<Val<'_>>())?;
                let items: Result<Rc<[_]>> = items.iter().map(|item| self.value(item)).collect();
                Ok(Val::List(List::Built(items?)))
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Field(target, name) => match self.value(target)? {
                Val::Map(map) => map.get(name).ok_or_else(|| self.absent(node)),
                other => Err(self.no_fields(target, &other)),
            },
            Kind::Index(target, index) => self.index(node, target, index),
            Kind::Has(path) => Ok(Val::Bool(self.find(path)?.is_some())),
            Kind::Not(operand) => Ok(Val::Bool(!self.bool(operand)?)),
            Kind::Negate(operand) => negated(self.operand(operand, Some("-"))?),
            Kind::And(operands) => {
                self.until(false, operands.iter(), |this, operand| this.bool(operand))
            }
            Kind::Or(operands) => {
                self.until(true, operands.iter(), |this, operand| this.bool(operand))
            }
            Kind::If(nodes) => {
                let [condition, then, otherwise] = &**nodes;
                if self.bool(condition)? {
                    self.value(then)
                } else {
                    self.value(otherwise)
                }
            }
            Kind::Binary(operator, operands) => {
                let [a, b] = &**operands;
                let symbol = operator.is_arithmetic().then(|| operator.symbol());
                let (a, b) = (self.operand(a, symbol)?, self.operand(b, symbol)?);
                self.binary(*operator, a, b)
            }
            Kind::Call(function, arguments) => match arguments.as_slice() {
                [one] => {
                    let value = self.operand(one, None)?;
                    function.of_one(value, self.budget)
                }
                [one, two] => {
                    let (a, b) = (self.operand(one, None)?, self.operand(two, None)?);
                    function.of_two(&a, &b, self.budget)
                }
                _ => Err(EvalError::Type(format!(
                    "`{}` takes one or two values",
                    function.name()
                ))),
            },
            Kind::Matches(text, regex) => match self.value(text)? {
                Val::Text(text) => {
                    // Matching a byte costs up to the size of the pattern, copying one next to nothing.
                    self.budget.scan(text.as_str().len().saturating_mul(16))?;
                    Ok(Val::Bool(regex.is_match(text.as_str())))
                }
                other => Err(EvalError::Type(format!(
                    "`matches` takes a string, got {}",
                    other.kind()
                ))),
            },
            Kind::Loop(inner) => self.comprehension(inner),
        }
    }

    pub fn bool(&mut self, node: &'a Node) -> Result<bool> {
        match self.value(node)? {
            Val::Bool(value) => Ok(value),
            other => Err(EvalError::Type(format!(
                "`{}` is {}, where true or false is expected",
                self.text(node),
                other.kind()
            ))),
        }
    }

    /// The value of an operand: texts that stand for times or bytes become these, and whole numbers that stand for
    /// doubles become doubles where arithmetic takes them; `symbol` names its operator.
    fn operand(&mut self, node: &'a Node, symbol: Option<&str>) -> Result<Val<'a>> {
        let value = self.value(node)?;
        match self.decodings.get(node.id) {
            Some(Some(decoding)) => decoded(*decoding, value, symbol, self.budget),
            _ => Ok(value),
        }
    }

    fn root(&self, number: usize) -> Option<Val<'a>> {
        self.roots
            .get(number)?
            .as_ref()
            .map(|root| Val::from_json(root.json()))
    }

    /// The value of a path, `None` where a segment of it is absent or null.
    fn find(&mut self, path: &'a Node) -> Result<Option<Val<'a>>> {
        self.budget.step()?;
        let found = match &path.kind {
            Kind::Root(number) => self.root(*number),
            Kind::Field(target, name) => match self.find(target)? {
                Some(Val::Map(map)) => map.get(name),
                Some(other) => return Err(self.no_fields(target, &other)),
                None => None,
            },
            _ => Some(self.value(path)?),
        };
        Ok(found.filter(|value| !matches!(value, Val::Null)))
    }

    fn map(&mut self, entries: &'a [(Node, Node)]) -> Result<Val<'a>> {
        self.budget
            .build(entries.len() * 2 * size_of::<Val<'_>>())?;
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            let name = match self.value(key)? {
                Val::Text(name) => name,
                other => {
                    return Err(EvalError::Type(format!(
                        "keys are strings, `{}` is {}",
                        self.text(key),
                        other.kind()
                    )));
                }
            };
            let value = self.value(value)?;
            if map.insert(name, value).is_some() {
                return Err(EvalError::Range(format!(
                    "the key `{}` stands in the map twice",
                    self.text(key)
                )));
            }
        }
        Ok(Val::Map(Map::Built(Rc::new(map))))
    }

    fn index(&mut self, node: &'a Node, target: &'a Node, index: &'a Node) -> Result<Val<'a>> {
        let (value, index) = (self.value(target)?, self.value(index)?);
        match (&value, &index) {
            (Val::List(items), Val::Int(at) | Val::Whole(at)) => usize::try_from(*at)
                .ok()
                .and_then(|at| items.get(at))
                .ok_or_else(|| {
                    let source = self.text(target);
                    EvalError::Range(format!(
                        "`{source}` has {} items, none at {at}",
                        items.len()
                    ))
                }),
            (Val::Map(map), Val::Text(key)) => {
                map.get(key.as_str()).ok_or_else(|| self.absent(node))
            }
            _ => Err(EvalError::Type(format!(
                "{} has no items by {}",
                value.kind(),
                index.kind()
            ))),
        }
    }

    fn binary(&mut self, operator: Operator, a: Val<'a>, b: Val<'a>) -> Result<Val<'a>> {
        match operator {
            Operator::Equal => Ok(Val::Bool(equal(&a, &b, self.budget)?)),
            Operator::NotEqual => Ok(Val::Bool(!equal(&a, &b, self.budget)?)),
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => Ok(Val::Bool(ordered(operator, &a, &b, self.budget)?)),
            Operator::In => self.is_in(&a, &b),
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Remainder => arithmetic(operator, a, b, self.budget),
        }
    }

    fn is_in(&mut self, item: &Val<'a>, of: &Val<'a>) -> Result<Val<'a>> {
        match (of, item) {
            (Val::List(items), _) => {
                for other in items.iter() {
                    if equal(item, &other, self.budget)? {
                        return Ok(Val::Bool(true));
                    }
                }
                Ok(Val::Bool(false))
            }
            (Val::Map(map), Val::Text(key)) => Ok(Val::Bool(map.get(key.as_str()).is_some())),
            (Val::Map(_), _) => Ok(Val::Bool(false)),
            (other, _) => Err(EvalError::Type(format!(
                "`in` looks into lists and maps, not into {}",
                other.kind()
            ))),
        }
    }

    fn comprehension(&mut self, inner: &'a Loop) -> Result<Val<'a>> {
        let items = match self.value(&inner.over)? {
            Val::List(items) => items,
            Val::Map(map) => {
                self.budget
                    .steps(u32::try_from(map.len()).unwrap_or(u32::MAX))?;
                List::Built(map.keys().into_iter().map(Val::Text).collect())
            }
            other => {
                let source = self.text(&inner.over);
                return Err(EvalError::Type(format!(
                    "`{source}` is {}, not a list",
                    other.kind()
                )));
            }
        };
        match inner.kind {
            LoopKind::All => self.until(false, items.iter(), |this, item| {
                this.body_bool(inner, item)
            }),
            LoopKind::Exists => {
                self.until(true, items.iter(), |this, item| this.body_bool(inner, item))
            }
            LoopKind::ExistsOne => {
                let mut count = 0_usize;
                for item in items.iter() {
                    count += usize::from(self.body_bool(inner, item)?);
                }
                Ok(Val::Bool(count == 1))
            }
            LoopKind::Filter => {
                let mut kept = Vec::new();
                for item in items.iter() {
                    if self.body_bool(inner, item.clone())? {
                        self.budget.build(size_of::<Val<'_>>())?;
                        kept.push(item);
                    }
                }
                Ok(Val::List(List::Built(kept.into())))
            }
            LoopKind::Map => {
                let mut results = Vec::new();
                for item in items.iter() {
                    let keep = match &inner.filter {
                        Some(filter) => {
                            self.with_variable(item.clone(), |this| this.bool(filter))?
                        }
                        None => true,
                    };
                    if keep {
                        self.budget.build(size_of::<Val<'_>>())?;
                        results.push(self.with_variable(item, |this| this.value(&inner.body))?);
                    }
                }
                Ok(Val::List(List::Built(results.into())))
            }
        }
    }

    fn body_bool(&mut self, inner: &'a Loop, item: Val<'a>) -> Result<bool> {
        self.with_variable(item, |this| this.bool(&inner.body))
    }

    fn with_variable<T>(
        &mut self,
        item: Val<'a>,
        run: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.variables.push(item);
        let result = run(self);
        self.variables.pop();
        result
    }

    /// Looks for `wanted` among the results: the first one settles it, whatever fails elsewhere.
    /// Without it a failure stands. Limits end the evaluation at once.
    fn until<T>(
        &mut self,
        wanted: bool,
        items: impl Iterator<Item = T>,
        mut test: impl FnMut(&mut Self, T) -> Result<bool>,
    ) -> Result<Val<'a>> {
        let mut failure = None;
        for item in items {
            match test(self, item) {
                Ok(found) if found == wanted => return Ok(Val::Bool(wanted)),
                Ok(_) => {}
                Err(error) if error.is_limit() => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(Val::Bool(!wanted)), Err)
    }

    fn text(&self, node: &Node) -> &'a str {
        self.source.get(node.span.clone()).unwrap_or_default()
    }

    fn absent(&self, node: &Node) -> EvalError {
        EvalError::Absent(self.text(node).to_owned())
    }

    fn no_fields(&self, target: &Node, value: &Val<'_>) -> EvalError {
        EvalError::Type(format!(
            "`{}` is {}, which has no fields",
            self.text(target),
            value.kind()
        ))
    }
}
