//! The parser's names: roots, loop variables, functions, methods and macros.

use std::ops::Range;

use regex::RegexBuilder;

use super::{
    Fault, FaultKind, Root,
    ast::{Kind, Loop, LoopKind, Node},
    functions::Function,
    lexer::TokenKind,
    parser::Parser,
};
use crate::near_miss::near_miss;

/// How deep loops may stand in loops.
pub(super) const LOOPS_MAX: usize = 2;
/// Size of a compiled pattern in bytes.
const PATTERN_MAX: usize = 128 * 1024;
/// Names that CEL keeps for itself.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
/// Names that always mean the same.
const ROOTS: [&str; 4] = ["input", "steps", "saga", "self"];

impl Parser<'_> {
    /// What begins with a name.
    pub(super) fn named(&mut self, name: String, span: Range<usize>) -> Result<Node, Fault> {
        if self.take("(") {
            return self.function(&name, span);
        }
        if let Some(depth) = self.variables.iter().rposition(|known| *known == name) {
            return self.node(span, Kind::Variable(depth));
        }
        match name.as_str() {
            "true" => self.node(span, Kind::Bool(true)),
            "false" => self.node(span, Kind::Bool(false)),
            "null" => self.node(span, Kind::Null),
            "input" => self.root(Root::Input, span),
            "steps" => self.step(span),
            "saga" => {
                let (name, end) = self.segment("saga", "id", &span)?;
                self.root(Root::Saga(name), span.start..end.end)
            }
            "self" => {
                let (name, end) = self.segment("self", "output", &span)?;
                self.root(Root::Own(name), span.start..end.end)
            }
            "in" => Err(Fault::new(
                FaultKind::Syntax,
                span,
                "`in` stands where a value is expected",
            )),
            "not" => Err(Fault::new(FaultKind::Syntax, span, "`not` is no operator")
                .with_help("`!` means not")),
            _ if RESERVED.contains(&name.as_str()) => {
                let message = format!("`{name}` is a word that expressions reserve");
                Err(Fault::new(FaultKind::Syntax, span, message))
            }
            _ => self.root(Root::Local(name), span),
        }
    }

    /// `.name` after a root that has no value of its own.
    fn segment(
        &mut self,
        root: &str,
        example: &str,
        span: &Range<usize>,
    ) -> Result<(String, Range<usize>), Fault> {
        if !self.take(".") {
            let message = format!("`{root}` alone has no value");
            return Err(Fault::new(FaultKind::Syntax, span.clone(), message)
                .with_help(format!("name what to read: `{root}.{example}`")));
        }
        self.name("a name")
    }

    /// `steps.<id>.output`, after `steps`.
    fn step(&mut self, span: Range<usize>) -> Result<Node, Fault> {
        let (id, id_span) = self.segment("steps", "reserve.output", &span)?;
        if self.peek().kind == TokenKind::Symbol("-") {
            let message = format!("`steps.{id}` is cut short by a minus");
            let fault = Fault::new(FaultKind::Syntax, self.peek().span.clone(), message);
            return Err(
                fault.with_help("ids have no hyphen, because it means minus; `_` joins words")
            );
        }
        if !self.take(".") {
            let message = format!("`steps.{id}` alone has no value");
            return Err(
                Fault::new(FaultKind::Syntax, span.start..id_span.end, message)
                    .with_help(format!("`steps.{id}.output`, `.status` or `.error`")),
            );
        }
        let (what, what_span) = self.name("`output`, `status` or `error`")?;
        let whole = span.start..what_span.end;
        match what.as_str() {
            "output" => self.root(Root::StepOutput(id), whole),
            "status" => self.root(Root::StepStatus(id), whole),
            "error" => self.root(Root::StepError(id), whole),
            _ => {
                let help = match near_miss(&what, ["output", "status", "error"]) {
                    Some(meant) => format!("did you mean `steps.{id}.{meant}`?"),
                    None => format!("a field of the output is `steps.{id}.output.{what}`"),
                };
                let message = format!("a step has `output`, `status` and `error`, but no `{what}`");
                Err(Fault::new(FaultKind::UnknownName, what_span, message).with_help(help))
            }
        }
    }

    /// A function's arguments, after `name(`.
    fn function(&mut self, name: &str, span: Range<usize>) -> Result<Node, Fault> {
        if name == "has" {
            return self.has(span);
        }
        let known = Function::named(name).filter(|function| function.is_global());
        if known.is_none() && name != "matches" {
            return Err(self.unknown_function(name, span));
        }
        let (arguments, end) = self.list(")")?;
        self.applied(known, arguments, false, span.start..end)
    }

    fn unknown_function(&self, name: &str, span: Range<usize>) -> Fault {
        let message = format!("there is no function `{name}`");
        let fault = Fault::new(FaultKind::UnknownName, span, message);
        let globals = Function::ALL
            .into_iter()
            .filter(|function| function.is_global())
            .map(Function::name);
        if Function::named(name).is_some() || LoopKind::named(name).is_some() {
            return fault.with_help(format!(
                "`{name}` stands after its value: `value.{name}(…)`"
            ));
        }
        if matches!(name, "now" | "random" | "uuid") {
            return fault.with_help(
                "expressions give the same value at every replay; `saga.started_at` is a time",
            );
        }
        match near_miss(name, globals.chain(["has", "matches"])) {
            Some(meant) => fault.with_help(format!("did you mean `{meant}`?")),
            None => fault,
        }
    }

    /// A method's or macro's arguments, after `target.name(`.
    pub(super) fn method(
        &mut self,
        target: Node,
        name: &str,
        span: Range<usize>,
    ) -> Result<Node, Fault> {
        if let Some(kind) = LoopKind::named(name) {
            return self.comprehension(target, kind, span);
        }
        let known = Function::named(name).filter(|function| function.is_method());
        if known.is_none() && name != "matches" {
            let message = format!("there is no method `{name}`");
            let fault = Fault::new(FaultKind::UnknownName, span, message);
            if Function::named(name).is_some() {
                return Err(
                    fault.with_help(format!("`{name}` stands before its value: `{name}(value)`"))
                );
            }
            let methods = Function::ALL
                .into_iter()
                .filter(|function| function.is_method())
                .map(Function::name);
            let names = methods
                .chain(["matches"])
                .chain(LoopKind::NAMES.map(|(name, _)| name));
            return Err(match near_miss(name, names) {
                Some(meant) => fault.with_help(format!("did you mean `{meant}`?")),
                None => fault,
            });
        }
        let start = target.span.start;
        let (rest, end) = self.list(")")?;
        let arguments = std::iter::once(target).chain(rest).collect();
        self.applied(known, arguments, true, start..end)
    }

    /// A function or method with its arguments, a method's target the first; `None` stands for `matches`.
    fn applied(
        &mut self,
        function: Option<Function>,
        arguments: Vec<Node>,
        is_method: bool,
        span: Range<usize>,
    ) -> Result<Node, Fault> {
        let (name, wanted) =
            function.map_or(("matches", 2), |known| (known.name(), known.arguments()));
        if arguments.len() != wanted {
            // What stands before the dot is not in the brackets.
            let (wanted, found) = (
                wanted - usize::from(is_method),
                arguments.len() - usize::from(is_method),
            );
            let plural = if wanted == 1 { "" } else { "s" };
            let message =
                format!("`{name}` takes {wanted} value{plural} in its brackets, not {found}");
            return Err(Fault::new(FaultKind::Syntax, span, message));
        }
        match (function, <[Node; 2]>::try_from(arguments)) {
            (Some(function), Ok(two)) => self.node(span, Kind::Call(function, two.into())),
            (Some(function), Err(arguments)) => self.node(span, Kind::Call(function, arguments)),
            (None, Ok([text, pattern])) => self.matches(text, pattern, span),
            (None, Err(_)) => Err(self.unexpected("two values")),
        }
    }

    fn matches(&mut self, text: Node, pattern: Node, span: Range<usize>) -> Result<Node, Fault> {
        let Kind::Text(source) = &pattern.kind else {
            return Err(Fault::new(
                FaultKind::TypeMismatch,
                pattern.span,
                "the pattern of `matches` is a literal text",
            )
            .with_help("`startsWith`, `endsWith`, `contains` and `==` take any text"));
        };
        // Matching takes time linear in the text: the engine has no backtracking.
        match RegexBuilder::new(source)
            .size_limit(PATTERN_MAX)
            .dfa_size_limit(PATTERN_MAX)
            .build()
        {
            Ok(regex) => self.node(span, Kind::Matches(Box::new(text), regex)),
            Err(regex::Error::CompiledTooBig(_)) => Err(Fault::new(
                FaultKind::TooLarge,
                pattern.span,
                "this pattern is too large",
            )),
            Err(error) => {
                // The last line tells what is wrong; the lines before it draw the pattern.
                let text = error.to_string();
                let reason = text
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ")
                    .to_owned();
                Err(Fault::new(
                    FaultKind::Syntax,
                    pattern.span,
                    format!("this pattern is not valid: {reason}"),
                ))
            }
        }
    }

    fn has(&mut self, span: Range<usize>) -> Result<Node, Fault> {
        let path = self.expression()?;
        let end = self.expect(")", "`)`")?.end;
        let is_path = match &path.kind {
            Kind::Field(..) => true,
            Kind::Root(position) => {
                !matches!(self.roots().get(*position), Some(Root::Input) | None)
            }
            _ => false,
        };
        if !is_path {
            return Err(
                Fault::new(FaultKind::Syntax, path.span, "`has` asks for a field")
                    .with_help("name a path: `has(input.note)`, `has(steps.reserve.output)`"),
            );
        }
        self.node(span.start..end, Kind::Has(Box::new(path)))
    }

    /// `over.all(variable, body)`, after the opening bracket.
    fn comprehension(
        &mut self,
        over: Node,
        kind: LoopKind,
        span: Range<usize>,
    ) -> Result<Node, Fault> {
        if self.variables.len() >= LOOPS_MAX {
            let message = format!("loops stand at most {LOOPS_MAX} deep in each other");
            return Err(Fault::new(FaultKind::TooLarge, span, message));
        }
        let (variable, name_span) = self.name("the name of the loop's variable")?;
        let taken = ROOTS.contains(&variable.as_str()) || RESERVED.contains(&variable.as_str());
        if taken || matches!(variable.as_str(), "true" | "false" | "null" | "in") {
            let message = format!("`{variable}` cannot name a variable");
            return Err(Fault::new(FaultKind::Syntax, name_span, message)
                .with_help("any other word will do: `items.all(item, item.qty > 0)`"));
        }
        self.expect(",", "`,` and what to do with each item")?;
        self.variables.push(variable);
        let mut body = self.expression()?;
        let mut filter = None;
        if kind == LoopKind::Map && self.take(",") {
            filter = Some(std::mem::replace(&mut body, self.expression()?));
        }
        self.variables.pop();
        let start = over.span.start;
        let end = self.expect(")", "`)`")?.end;
        self.node(
            start..end,
            Kind::Loop(Box::new(Loop {
                kind,
                over,
                filter,
                body,
            })),
        )
    }
}
