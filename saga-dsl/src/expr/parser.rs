//! Tokens to a tree, with every name resolved.
//!
//! Recursive descent, with binding strengths for operators. Depth is counted on the way down and heights on
//! the way up, so no input can exhaust the stack here or in any walk over the tree later.

use std::ops::Range;

use super::{
    Fault, FaultKind, Root,
    ast::{Kind, Node, Operator},
    lexer::{Token, TokenKind, tokens},
};

/// Longest expression in bytes.
pub(super) const LENGTH_MAX: usize = 4096;
/// Deepest nesting, of the text and of the tree.
pub(super) const DEPTH_MAX: usize = 32;

/// What parsing gives.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    pub tree: Node,
    /// The roots that [`Kind::Root`] numbers.
    pub roots: Vec<Root>,
    /// How many nodes the tree has; ids lie below it.
    pub nodes: usize,
}

/// Parses an expression.
pub(super) fn parse(source: &str) -> Result<Parsed, Fault> {
    if source.len() > LENGTH_MAX {
        return Err(Fault::new(
            FaultKind::TooLarge,
            0..source.len(),
            format!(
                "an expression has at most {LENGTH_MAX} bytes, this one has {}",
                source.len()
            ),
        ));
    }
    if source.trim().is_empty() {
        return Err(Fault::new(
            FaultKind::Syntax,
            0..source.len(),
            "an expression is missing here",
        ));
    }
    let mut parser = Parser {
        source,
        tokens: tokens(source)?,
        at: 0,
        depth: 0,
        nodes: 0,
        variables: Vec::new(),
        roots: Vec::new(),
    };
    let tree = parser.expression()?;
    match &parser.peek().kind {
        TokenKind::End => Ok(Parsed {
            tree,
            roots: parser.roots,
            nodes: parser.nodes,
        }),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

pub(super) struct Parser<'s> {
    pub(super) source: &'s str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    nodes: usize,
    /// Loop variables in scope, the outermost first.
    pub(super) variables: Vec<String>,
    roots: Vec<Root>,
}

/// What joins two operands.
#[derive(Debug, Clone, Copy)]
enum Joint {
    Or,
    And,
    Operator(Operator),
}

/// How strongly an operator binds, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Or,
    And,
    Relation,
    Sum,
    Product,
}

impl Strength {
    fn stronger(self) -> Option<Self> {
        match self {
            Self::Or => Some(Self::And),
            Self::And => Some(Self::Relation),
            Self::Relation => Some(Self::Sum),
            Self::Sum => Some(Self::Product),
            Self::Product => None,
        }
    }
}

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Node, Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.too_deep(self.peek().span.clone()));
        }
        let node = self.ternary()?;
        self.depth -= 1;
        Ok(node)
    }

    fn ternary(&mut self) -> Result<Node, Fault> {
        let condition = self.joined(Strength::Or)?;
        if !self.take("?") {
            return Ok(condition);
        }
        let then = self.joined(Strength::Or)?;
        self.expect(":", "the other value of `? :` after a `:`")?;
        let otherwise = self.expression()?;
        let span = condition.span.start..otherwise.span.end;
        self.node(span, Kind::If(Box::new([condition, then, otherwise])))
    }

    /// Operands joined by operators that bind at least so strongly, from the left.
    fn joined(&mut self, weakest: Strength) -> Result<Node, Fault> {
        let mut left = self.unary()?;
        while let Some((joint, strength)) = self.joint()? {
            if strength < weakest {
                break;
            }
            self.at += 1;
            let right = match strength.stronger() {
                Some(stronger) => self.joined(stronger)?,
                None => self.unary()?,
            };
            left = self.join(joint, left, right)?;
        }
        Ok(left)
    }

    /// The operator that stands next, not taken yet.
    fn joint(&self) -> Result<Option<(Joint, Strength)>, Fault> {
        use Operator as O;
        let symbol = match &self.peek().kind {
            TokenKind::Symbol(symbol) => symbol,
            TokenKind::Name(name) if name == "in" => "in",
            TokenKind::Name(name) if name == "and" || name == "or" => {
                let symbol = if name == "and" { "&&" } else { "||" };
                return Err(self
                    .unexpected("an operator")
                    .with_help(format!("`{symbol}` means {name}")));
            }
            _ => return Ok(None),
        };
        let relation = |operator| (Joint::Operator(operator), Strength::Relation);
        Ok(Some(match symbol {
            "||" => (Joint::Or, Strength::Or),
            "&&" => (Joint::And, Strength::And),
            "==" => relation(O::Equal),
            "!=" => relation(O::NotEqual),
            "<" => relation(O::Less),
            "<=" => relation(O::LessOrEqual),
            ">" => relation(O::Greater),
            ">=" => relation(O::GreaterOrEqual),
            "in" => relation(O::In),
            "+" => (Joint::Operator(O::Add), Strength::Sum),
            "-" => (Joint::Operator(O::Subtract), Strength::Sum),
            "*" => (Joint::Operator(O::Multiply), Strength::Product),
            "/" => (Joint::Operator(O::Divide), Strength::Product),
            "%" => (Joint::Operator(O::Remainder), Strength::Product),
            _ => return Ok(None),
        }))
    }

    fn join(&mut self, joint: Joint, left: Node, right: Node) -> Result<Node, Fault> {
        let span = left.span.start..right.span.end;
        let kind = match (joint, left) {
            // A chain stays one node.
            (
                Joint::Or,
                Node {
                    kind: Kind::Or(mut operands),
                    ..
                },
            ) => {
                operands.push(right);
                Kind::Or(operands)
            }
            (
                Joint::And,
                Node {
                    kind: Kind::And(mut operands),
                    ..
                },
            ) => {
                operands.push(right);
                Kind::And(operands)
            }
            (Joint::Or, left) => Kind::Or(vec![left, right]),
            (Joint::And, left) => Kind::And(vec![left, right]),
            (Joint::Operator(operator), left) => Kind::Binary(operator, Box::new([left, right])),
        };
        self.node(span, kind)
    }

    fn unary(&mut self) -> Result<Node, Fault> {
        let mut signs = Vec::new();
        while matches!(self.peek().kind, TokenKind::Symbol("!" | "-")) {
            if signs.len() > DEPTH_MAX {
                return Err(self.too_deep(self.peek().span.clone()));
            }
            let sign = self.next();
            if let (TokenKind::Symbol("-"), TokenKind::Int(magnitude)) =
                (&sign.kind, &self.peek().kind)
            {
                let Some(value) = 0_i64.checked_sub_unsigned(*magnitude) else {
                    return Err(self.integer_too_large());
                };
                let span = sign.span.start..self.next().span.end;
                let literal = self.node(span, Kind::Int(value))?;
                return self.signed(signs, literal);
            }
            signs.push(sign);
        }
        let value = self.member()?;
        self.signed(signs, value)
    }

    fn signed(&mut self, signs: Vec<Token>, mut value: Node) -> Result<Node, Fault> {
        for sign in signs.into_iter().rev() {
            let span = sign.span.start..value.span.end;
            let kind = match sign.kind {
                TokenKind::Symbol("-") => Kind::Negate(Box::new(value)),
                _ => Kind::Not(Box::new(value)),
            };
            value = self.node(span, kind)?;
        }
        Ok(value)
    }

    fn member(&mut self) -> Result<Node, Fault> {
        let mut value = self.primary()?;
        loop {
            if self.take(".") {
                value = self.field_or_method(value)?;
            } else if self.take("[") {
                let index = self.expression()?;
                let end = self.expect("]", "`]`")?.end;
                let span = value.span.start..end;
                value = self.node(span, Kind::Index(Box::new(value), Box::new(index)))?;
            } else {
                return Ok(value);
            }
        }
    }

    fn field_or_method(&mut self, target: Node) -> Result<Node, Fault> {
        if matches!(self.peek().kind, TokenKind::Symbol("?")) {
            return Err(self
                .unexpected("a field's name")
                .with_help("`has(a.b) ? a.b : …` reads what may be absent"));
        }
        let (name, span) = self.name("a field's name")?;
        if self.take("(") {
            return self.method(target, &name, span);
        }
        let span = target.span.start..span.end;
        self.node(span, Kind::Field(Box::new(target), name))
    }

    fn primary(&mut self) -> Result<Node, Fault> {
        let token = self.next();
        let span = token.span.clone();
        let kind = match token.kind {
            TokenKind::Int(magnitude) => Kind::Int(i64::try_from(magnitude).map_err(|_| {
                self.at -= 1;
                self.integer_too_large()
            })?),
            TokenKind::Double(value) => Kind::Double(value),
            TokenKind::Text(text) => Kind::Text(text),
            TokenKind::Bytes(bytes) => Kind::Bytes(bytes),
            TokenKind::Name(name) => return self.named(name, span),
            TokenKind::Symbol("(") => {
                let mut inner = self.expression()?;
                inner.span = span.start..self.expect(")", "`)`")?.end;
                return Ok(inner);
            }
            TokenKind::Symbol("[") => {
                let (items, end) = self.list("]")?;
                return self.node(span.start..end, Kind::List(items));
            }
            TokenKind::Symbol("{") => return self.map(span.start),
            TokenKind::Symbol(_) | TokenKind::End => {
                self.at = self
                    .at
                    .saturating_sub(usize::from(token.kind != TokenKind::End));
                return Err(self.unexpected("a value"));
            }
        };
        self.node(span, kind)
    }

    /// Values up to the closing symbol, and where that ends. A comma may follow the last one.
    pub(super) fn list(&mut self, close: &'static str) -> Result<(Vec<Node>, usize), Fault> {
        let mut items = Vec::new();
        loop {
            if let TokenKind::Symbol(symbol) = self.peek().kind
                && symbol == close
            {
                return Ok((items, self.next().span.end));
            }
            items.push(self.expression()?);
            if !self.take(",") {
                return Ok((items, self.expect(close, &format!("`,` or `{close}`"))?.end));
            }
        }
    }

    fn map(&mut self, start: usize) -> Result<Node, Fault> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        while !matches!(self.peek().kind, TokenKind::Symbol("}")) {
            let key = self.expression()?;
            if let Kind::Text(text) = &key.kind
                && entries
                    .iter()
                    .any(|(other, _)| matches!(&other.kind, Kind::Text(known) if known == text))
            {
                let message = format!("the key '{text}' stands here twice");
                return Err(Fault::new(FaultKind::Duplicate, key.span, message));
            }
            self.expect(":", "`:` and the value of this key")?;
            entries.push((key, self.expression()?));
            if !self.take(",") {
                break;
            }
        }
        let end = self.expect("}", "`,` or `}`")?.end;
        self.node(start..end, Kind::Map(entries))
    }

    /// A node over its children.
    pub(super) fn node(&mut self, span: Range<usize>, kind: Kind) -> Result<Node, Fault> {
        let height = 1 + kind.children().map(|child| child.height).max().unwrap_or(0);
        if height > DEPTH_MAX {
            return Err(self.too_deep(span));
        }
        self.nodes += 1;
        Ok(Node {
            id: self.nodes - 1,
            span,
            height,
            kind,
        })
    }

    pub(super) fn root(&mut self, root: Root, span: Range<usize>) -> Result<Node, Fault> {
        let position = self
            .roots
            .iter()
            .position(|known| *known == root)
            .unwrap_or_else(|| {
                self.roots.push(root);
                self.roots.len() - 1
            });
        self.node(span, Kind::Root(position))
    }

    pub(super) fn roots(&self) -> &[Root] {
        &self.roots
    }

    pub(super) fn name(&mut self, wanted: &str) -> Result<(String, Range<usize>), Fault> {
        match &self.peek().kind {
            TokenKind::Name(name) => {
                let name = name.clone();
                Ok((name, self.next().span))
            }
            _ => Err(self.unexpected(wanted)),
        }
    }

    pub(super) fn peek(&self) -> &Token {
        // The last token is always there and is never passed.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        if token.kind != TokenKind::End {
            self.at += 1;
        }
        token
    }

    pub(super) fn take(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek().kind, TokenKind::Symbol(next) if next == symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, symbol: &str, wanted: &str) -> Result<Range<usize>, Fault> {
        let span = self.peek().span.clone();
        if self.take(symbol) {
            Ok(span)
        } else {
            Err(self.unexpected(wanted))
        }
    }

    /// The fault of finding something else than `wanted`.
    pub(super) fn unexpected(&self, wanted: &str) -> Fault {
        let token = self.peek();
        let found = match &token.kind {
            TokenKind::End => "the expression ends".to_owned(),
            _ => format!(
                "`{}` stands",
                self.source.get(token.span.clone()).unwrap_or_default()
            ),
        };
        Fault::new(
            FaultKind::Syntax,
            token.span.clone(),
            format!("{found} where {wanted} is expected"),
        )
    }

    fn integer_too_large(&self) -> Fault {
        let message = "this integer is out of range: integers have 64 bits with sign";
        Fault::new(FaultKind::Syntax, self.peek().span.clone(), message)
    }

    fn too_deep(&self, span: Range<usize>) -> Fault {
        let message = format!("an expression nests at most {DEPTH_MAX} deep");
        Fault::new(FaultKind::TooLarge, span, message)
            .with_help("let a participant compute this, or spread it over several fields")
    }
}
