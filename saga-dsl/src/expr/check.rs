//! The static checker: names, types and absence, before anything runs.
//!
//! It is gradual: what is [`Type::Any`] is not checked. What a guard such as `has(x) && …` has asked for
//! counts as present in the part that it guards.

use std::collections::BTreeMap;

use super::{
    Expr, Fault, FaultKind, Root,
    ast::{Kind, Loop, LoopKind, Node},
    decode::Decoding,
    guards::{facts, path_of},
};
use crate::{near_miss::near_miss, types::Type};

/// What is known of the roots where an expression stands.
pub trait TypeEnv {
    /// What is known of this root.
    fn root(&self, root: &Root) -> RootType;
}

/// What is known of a root.
#[derive(Debug, Clone, PartialEq)]
pub enum RootType {
    /// No such name here.
    Unknown {
        /// Names that do exist, best first; written as the author would write them.
        suggestions: Vec<String>,
    },
    /// It exists.
    Known {
        /// Type of its value when it is there.
        ty: Type,
        /// Why it may be absent: `skipped when line 30 is false`.
        maybe_absent: Option<String>,
    },
}

/// What the checker found.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// Type of the value; [`Type::Any`] where it cannot be told.
    pub ty: Type,
    /// Every fault, in the order of the text.
    pub faults: Vec<Fault>,
}

/// Walks one expression.
pub(super) struct Checker<'a> {
    pub(super) source: &'a str,
    roots: &'a [Root],
    known: Vec<RootType>,
    /// Fields of the input, to suggest them.
    input: BTreeMap<String, Type>,
    /// Types of loop variables, the outermost first.
    variables: Vec<Type>,
    /// Paths that guards have asked for.
    present: Vec<String>,
    pub(super) faults: Vec<Fault>,
    /// By node id.
    pub(super) decodings: Vec<Option<Decoding>>,
}

impl<'a> Checker<'a> {
    /// Checks a whole expression; gives its type, its faults and how its operands are to be read.
    pub(super) fn run(expr: &'a Expr, env: &dyn TypeEnv) -> (Checked, Vec<Option<Decoding>>) {
        let parsed = &*expr.parsed;
        let mut checker = Self {
            source: expr.source(),
            roots: &parsed.roots,
            known: parsed.roots.iter().map(|root| env.root(root)).collect(),
            input: match env.root(&Root::Input) {
                RootType::Known {
                    ty: Type::Object(fields),
                    ..
                } => fields,
                RootType::Known { .. } | RootType::Unknown { .. } => BTreeMap::new(),
            },
            variables: Vec::new(),
            present: Vec::new(),
            faults: Vec::new(),
            decodings: vec![None; parsed.nodes],
        };
        let ty = checker.ty(&parsed.tree);
        let mut faults = checker.faults;
        faults.sort_by_key(|fault| (fault.span.start, fault.span.end));
        (Checked { ty, faults }, checker.decodings)
    }

    pub(super) fn ty(&mut self, node: &Node) -> Type {
        match &node.kind {
            Kind::Null => Type::Null,
            Kind::Bool(_) => Type::Bool,
            Kind::Int(_) => Type::Int,
            Kind::Double(_) => Type::Double,
            Kind::Text(_) => Type::String,
            Kind::Bytes(_) => Type::Bytes,
            Kind::Root(_) | Kind::Variable(_) | Kind::Field(..) => {
                let before = self.faults.len();
                let ty = self.path(node, Some(node));
                self.finish_absences(before, node, &ty);
                ty
            }
            Kind::List(items) => {
                let item = items
                    .iter()
                    .map(|item| self.ty(item))
                    .reduce(|a, b| a.join(&b));
                Type::List(Box::new(item.unwrap_or(Type::Any)))
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Index(target, index) => self.index(node, target, index),
            Kind::Has(path) => {
                self.path(path, None);
                Type::Bool
            }
            Kind::Not(operand) => {
                self.bool(operand);
                Type::Bool
            }
            Kind::Negate(operand) => self.negated(operand),
            Kind::And(operands) => self.guarded(operands, true),
            Kind::Or(operands) => self.guarded(operands, false),
            Kind::If(nodes) => {
                let [condition, then, otherwise] = &**nodes;
                self.bool(condition);
                let then =
                    self.with_facts(facts(condition, true, self.roots), |this| this.ty(then));
                let otherwise = self.with_facts(facts(condition, false, self.roots), |this| {
                    this.ty(otherwise)
                });
                self.branches_agree(&nodes[1], &then, &nodes[2], &otherwise);
                then.join(&otherwise)
            }
            Kind::Binary(operator, operands) => self.binary(*operator, &operands[0], &operands[1]),
            Kind::Call(function, arguments) => self.call(*function, arguments),
            Kind::Matches(text, _) => {
                self.expect(text, &Type::String, "matches");
                Type::Bool
            }
            Kind::Loop(inner) => self.comprehension(inner),
        }
    }

    /// The type of an operand. Records how the evaluator reads its JSON form.
    pub(super) fn operand(&mut self, node: &Node) -> Type {
        let ty = self.ty(node);
        self.decode_as(node, &ty);
        ty
    }

    pub(super) fn decode_as(&mut self, node: &Node, ty: &Type) {
        if let Some(slot) = self.decodings.get_mut(node.id) {
            *slot = Decoding::of(ty);
        }
    }

    pub(super) fn bool(&mut self, node: &Node) {
        match self.ty(node) {
            Type::Bool | Type::Any => {}
            other => {
                let message = format!(
                    "`{}` is {}, where true or false is expected",
                    self.text(node),
                    other.phrase()
                );
                self.fault(FaultKind::TypeMismatch, node, message, None);
            }
        }
    }

    /// Operands of `&&` (which guard those after them when true) or `||` (when false).
    fn guarded(&mut self, operands: &[Node], truth: bool) -> Type {
        let before = self.present.len();
        for operand in operands {
            self.bool(operand);
            self.present.extend(facts(operand, truth, self.roots));
        }
        self.present.truncate(before);
        Type::Bool
    }

    /// `c ? 500 : "0"`: what reads the value would have to be ready for both.
    fn branches_agree(&mut self, then: &Node, one: &Type, otherwise: &Node, other: &Type) {
        if one.may_stand_for(other) {
            return;
        }
        let message = format!(
            "the branches differ: `{}` is {}, and `{}` is {}",
            self.text(then),
            one.phrase(),
            self.text(otherwise),
            other.phrase()
        );
        let with_text = |number: &Node, this: &Self| format!("string({})", this.text(number));
        let is_number = |ty: &Type| matches!(ty, Type::Int | Type::Double | Type::Bool);
        let help = match (one, other) {
            (Type::String, ty) if is_number(ty) => match unquoted(self.text(then)) {
                Some(number) => format!("for a number write `{number}` without quotes"),
                None => format!("for a text write `{}`", with_text(otherwise, self)),
            },
            (ty, Type::String) if is_number(ty) => match unquoted(self.text(otherwise)) {
                Some(number) => format!("for a number write `{number}` without quotes"),
                None => format!("for a text write `{}`", with_text(then, self)),
            },
            _ => "write values of one type on both sides of the colon".to_owned(),
        };
        self.fault(FaultKind::Branches, otherwise, message, Some(help));
    }

    fn with_facts<T>(&mut self, facts: Vec<String>, run: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.present.len();
        self.present.extend(facts);
        let result = run(self);
        self.present.truncate(before);
        result
    }

    /// The type at the end of a path. `whole` is the longest path around it, for messages;
    /// `None` inside `has`, where absence is no fault.
    fn path(&mut self, node: &Node, whole: Option<&Node>) -> Type {
        match &node.kind {
            Kind::Root(number) => self.root(*number, node, whole),
            Kind::Variable(depth) => self.variables.get(*depth).cloned().unwrap_or_default(),
            Kind::Field(target, name) => {
                let of = self.path(target, whole);
                self.field(&of, target, name, node, whole)
            }
            _ => self.ty(node),
        }
    }

    fn root(&mut self, number: usize, node: &Node, whole: Option<&Node>) -> Type {
        let (Some(root), Some(known)) = (self.roots.get(number), self.known.get(number).cloned())
        else {
            return Type::Any;
        };
        match known {
            RootType::Known { ty, maybe_absent } => {
                let why = maybe_absent
                    .or(matches!(ty, Type::Optional(_)).then(|| "it is optional".to_owned()));
                let ty = ty.present();
                if let Some(why) = why {
                    self.absent(node, whole, &why);
                }
                ty
            }
            RootType::Unknown { suggestions } => {
                let of_input = match root {
                    Root::Local(name) if self.input.contains_key(name) => {
                        Some(format!("input.{name}"))
                    }
                    _ => None,
                };
                let help = of_input
                    .or(suggestions.into_iter().next())
                    .map(|name| format!("did you mean `{name}`?"));
                self.fault(
                    FaultKind::UnknownName,
                    node,
                    format!("there is no `{root}` here"),
                    help,
                );
                Type::Any
            }
        }
    }

    fn field(
        &mut self,
        of: &Type,
        target: &Node,
        name: &str,
        node: &Node,
        whole: Option<&Node>,
    ) -> Type {
        let fields = match of {
            Type::Any => return Type::Any,
            Type::Object(fields) => fields,
            other => {
                let message = format!(
                    "`{}` is {}, which has no fields",
                    self.text(target),
                    other.phrase()
                );
                self.fault(FaultKind::TypeMismatch, node, message, None);
                return Type::Any;
            }
        };
        match fields.get(name) {
            Some(Type::Optional(inner)) => {
                self.absent(node, whole, "it is optional");
                inner.as_ref().clone()
            }
            Some(ty) => ty.clone(),
            None => {
                let target = self.text(target);
                let help = match near_miss(name, fields.keys().map(String::as_str)) {
                    Some(meant) => format!("did you mean `{target}.{meant}`?"),
                    None if fields.is_empty() => "it has no fields".to_owned(),
                    None => format!("it has {}", super::listed(fields.keys())),
                };
                self.fault(
                    FaultKind::UnknownName,
                    node,
                    format!("`{target}` has no field `{name}`"),
                    Some(help),
                );
                Type::Any
            }
        }
    }

    /// Reports that `node` may be absent, unless a guard asked for it.
    fn absent(&mut self, node: &Node, whole: Option<&Node>, why: &str) {
        let Some(whole) = whole else { return };
        let path = path_of(node, self.roots);
        let guarded = path.is_some_and(|path| {
            self.present.iter().any(|known| {
                known
                    .strip_prefix(&path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        });
        if guarded {
            return;
        }
        let path = self.text(node);
        let message = format!("`{path}` may be absent: {why}");
        // The rest of the help follows when the type of the whole path is known.
        self.fault(
            FaultKind::MaybeAbsent,
            whole,
            message,
            Some(format!("has({path})")),
        );
    }

    /// Completes what [`Self::absent`] reported since there were `before` faults: one fault for the path `whole`,
    /// with the guard that covers its longest part.
    fn finish_absences(&mut self, before: usize, whole: &Node, ty: &Type) {
        // Faults of parts of the path that are no path have spans of their own and are complete.
        let is_absence =
            |fault: &Fault| fault.kind == FaultKind::MaybeAbsent && fault.span == whole.span;
        let guard = self
            .faults
            .iter()
            .skip(before)
            .rev()
            .find(|fault| is_absence(fault));
        let Some(guard) = guard.and_then(|fault| fault.help.clone()) else {
            return;
        };
        let mut position = 0;
        let mut first = true;
        self.faults.retain(|fault| {
            position += 1;
            position <= before || !is_absence(fault) || std::mem::take(&mut first)
        });
        let instead = match ty {
            Type::Int => "0",
            Type::Double => "0.0",
            Type::Bool => "false",
            Type::String => "''",
            Type::List(_) => "[]",
            _ => "null",
        };
        let help = format!("{guard} ? {} : {instead}", self.text(whole));
        if let Some(fault) = self
            .faults
            .iter_mut()
            .skip(before)
            .find(|fault| is_absence(fault))
        {
            fault.help = Some(help);
        }
    }

    fn index(&mut self, node: &Node, target: &Node, index: &Node) -> Type {
        let of = self.ty(target);
        let by = self.ty(index);
        match (&of, &by) {
            (Type::Any, _) => Type::Any,
            (Type::List(item), Type::Int | Type::Any) => item.as_ref().clone(),
            (Type::Object(_), Type::String) => match &index.kind {
                Kind::Text(name) => {
                    let before = self.faults.len();
                    let ty = self.field(&of, target, name, node, Some(node));
                    self.finish_absences(before, node, &ty);
                    ty
                }
                _ => Type::Any,
            },
            (Type::Object(_), Type::Any) => Type::Any,
            _ => {
                let message = format!("{} has no items by {}", of.phrase(), by.phrase());
                self.fault(FaultKind::TypeMismatch, node, message, None);
                Type::Any
            }
        }
    }

    fn map(&mut self, entries: &[(Node, Node)]) -> Type {
        let mut fields = Some(BTreeMap::new());
        for (key, value) in entries {
            match self.ty(key) {
                Type::String | Type::Any => {}
                other => {
                    let message = format!(
                        "keys are strings, `{}` is {}",
                        self.text(key),
                        other.phrase()
                    );
                    self.fault(FaultKind::TypeMismatch, key, message, None);
                }
            }
            let ty = self.ty(value);
            match (&key.kind, &mut fields) {
                (Kind::Text(name), Some(fields)) => {
                    fields.insert(name.clone(), ty);
                }
                _ => fields = None,
            }
        }
        fields.map_or(Type::Any, Type::Object)
    }

    fn comprehension(&mut self, inner: &Loop) -> Type {
        let item = match self.ty(&inner.over) {
            Type::List(item) => item.present(),
            Type::Object(_) => Type::String,
            Type::Any => Type::Any,
            other => {
                let message = format!(
                    "`{}` is {}, not a list",
                    self.text(&inner.over),
                    other.phrase()
                );
                self.fault(FaultKind::TypeMismatch, &inner.over, message, None);
                Type::Any
            }
        };
        self.variables.push(item.clone());
        let mut guards = Vec::new();
        if let Some(filter) = &inner.filter {
            self.bool(filter);
            guards = facts(filter, true, self.roots);
        }
        let result = self.with_facts(guards, |this| match inner.kind {
            LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => {
                this.bool(&inner.body);
                Type::Bool
            }
            LoopKind::Filter => {
                this.bool(&inner.body);
                Type::List(Box::new(item))
            }
            LoopKind::Map => Type::List(Box::new(this.ty(&inner.body))),
        });
        self.variables.pop();
        result
    }

    pub(super) fn text(&self, node: &Node) -> &'a str {
        self.source.get(node.span.clone()).unwrap_or_default()
    }

    pub(super) fn fault(
        &mut self,
        kind: FaultKind,
        node: &Node,
        message: String,
        help: Option<String>,
    ) {
        let mut fault = Fault::new(kind, node.span.clone(), message);
        fault.help = help;
        self.faults.push(fault);
    }
}

/// The number that a text literal holds.
fn unquoted(literal: &str) -> Option<&str> {
    let inner = literal.get(1..literal.len().checked_sub(1)?)?;
    inner.parse::<f64>().is_ok().then_some(inner)
}
