//! The tree of a parsed expression. Names are resolved: a node speaks of a root or of a loop's variable
//! by number.

use std::ops::Range;

use regex::Regex;

use super::functions::Function;

/// A node of the tree.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Number of the node in its expression, from 0.
    pub id: usize,
    /// Bytes of the source.
    pub span: Range<usize>,
    /// Nodes on the longest way down, this one included.
    pub height: usize,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// Position in the expression's list of roots.
    Root(usize),
    /// Position in the stack of loop variables, the outermost first.
    Variable(usize),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Field(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    /// Over a field or a root.
    Has(Box<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// At least two operands; a chain of `&&` is one node, so that long chains stay shallow.
    And(Vec<Node>),
    /// At least two operands.
    Or(Vec<Node>),
    If(Box<[Node; 3]>),
    Binary(Operator, Box<[Node; 2]>),
    /// A method's target is its first argument.
    Call(Function, Vec<Node>),
    /// The pattern is a literal, compiled once.
    Matches(Box<Node>, Regex),
    Loop(Box<Loop>),
}

impl Kind {
    /// The nodes directly below.
    pub fn children(&self) -> impl Iterator<Item = &Node> {
        let (few, many): ([Option<&Node>; 3], &[Node]) = match self {
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Bytes(_)
            | Self::Root(_)
            | Self::Variable(_)
            | Self::Map(_) => ([None; 3], &[]),
            Self::Field(node, _)
            | Self::Has(node)
            | Self::Not(node)
            | Self::Negate(node)
            | Self::Matches(node, _) => ([Some(node), None, None], &[]),
            Self::Index(a, b) => ([Some(a), Some(b), None], &[]),
            Self::If(nodes) => ([None; 3], nodes.as_slice()),
            Self::Binary(_, nodes) => ([None; 3], nodes.as_slice()),
            Self::List(nodes) | Self::And(nodes) | Self::Or(nodes) | Self::Call(_, nodes) => {
                ([None; 3], nodes)
            }
            Self::Loop(inner) => (
                [Some(&inner.over), inner.filter.as_ref(), Some(&inner.body)],
                &[],
            ),
        };
        let entries: &[(Node, Node)] = if let Self::Map(entries) = self {
            entries
        } else {
            &[]
        };
        few.into_iter()
            .flatten()
            .chain(many)
            .chain(entries.iter().flat_map(|(key, value)| [key, value]))
    }
}

/// A comprehension: `over.all(variable, body)`.
#[derive(Debug, Clone)]
pub(super) struct Loop {
    pub kind: LoopKind,
    pub over: Node,
    /// The condition of a `map` with three arguments.
    pub filter: Option<Node>,
    pub body: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

impl LoopKind {
    pub const NAMES: [(&'static str, Self); 6] = [
        ("all", Self::All),
        ("exists", Self::Exists),
        ("exists_one", Self::ExistsOne),
        ("existsOne", Self::ExistsOne),
        ("map", Self::Map),
        ("filter", Self::Filter),
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, kind)| *kind)
    }
}

/// Operators with two operands that evaluate both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl Operator {
    /// Whether it is one of `+ - * / %`.
    pub fn is_arithmetic(self) -> bool {
        matches!(
            self,
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Remainder
        )
    }

    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
        }
    }
}
