//! Expressions where they stand: syntax, names, types, order, absence.

use serde_json::Value;

use super::{
    Check, FINDINGS_MAX,
    scope::{Reach, Scope, ScopeKind},
};
use crate::{
    codes::Code,
    definition::{Compensation, Input, Verb},
    expr::{self, Expr, FaultKind, Root, Template, ValueTemplate},
    finding::Finding,
    outline::Guard,
    place::{Part, Place},
    types::Type,
};

pub(super) fn idempotency_key(check: &Check<'_>, findings: &mut Vec<Finding>) {
    let Some(text) = &check.definition.idempotency_key else {
        return;
    };
    let place = Place::default().key("idempotency_key");
    let before = findings.len();
    template(text, &place, &check.start_scope(), findings);
    for fault in findings
        .iter_mut()
        .skip(before)
        .filter(|fault| fault.code == Code::S0202)
    {
        *fault = fault
            .clone()
            .note("the key is computed before the saga starts, from `input` only");
    }
    if Template::parse(text).is_ok_and(|template| template.expressions().next().is_none()) {
        let fault = Finding::new(Code::S0103, &place, "this key is the same for every start");
        findings.push(fault.help("read it from the input: ${input.…}"));
    }
}

pub(super) fn conditions(check: &Check<'_>, findings: &mut Vec<Finding>) {
    for group in &check.outline.groups {
        if let Some(guard) = group.guards.last() {
            let scope = check.condition_scope(ScopeKind::Group, &group.after, &group.guards);
            condition(guard, &scope, findings);
        }
    }
    for (at, outlined) in check.outline.steps.iter().enumerate() {
        if let (Some(_), Some(guard)) = (&outlined.step.when, outlined.guards.last()) {
            let scope =
                check.condition_scope(ScopeKind::Forward(at), &outlined.after, &outlined.guards);
            condition(guard, &scope, findings);
        }
    }
}

fn condition(guard: &Guard<'_>, scope: &Scope<'_, '_>, findings: &mut Vec<Finding>) {
    let (when, place) = (guard.when, &guard.place);
    if let Some(start) = when.find("${") {
        let fault = Finding::new(
            Code::S0206,
            place,
            "`when` is an expression and is written bare",
        );
        let inner = when
            .trim()
            .strip_prefix("${")
            .and_then(|rest| rest.strip_suffix('}'));
        let help = match inner {
            Some(inner) if !inner.contains("${") => format!("when: {}", inner.trim()),
            _ => "write the expression without `${` and `}`".to_owned(),
        };
        findings.push(fault.on_text(start..start + 2).help(help));
        return;
    }
    let parsed = match Expr::parse(when) {
        Ok(parsed) => parsed,
        Err(fault) => return findings.push(finding(&fault, place)),
    };
    order(parsed.roots(), when, 0, place, scope, findings);
    let checked = parsed.check(scope);
    let unguarded = checked
        .faults
        .iter()
        .filter(|fault| !is_guarded(when, fault, scope));
    findings.extend(unguarded.map(|fault| finding(fault, place)));
    if checked.faults.is_empty() && !Type::Bool.accepts(&checked.ty) {
        let message = format!("`when` is true or false, and this is {}", checked.ty);
        findings.push(Finding::new(Code::S0203, place, message));
    }
}

pub(super) fn inputs(check: &Check<'_>, findings: &mut Vec<Finding>) {
    for (at, outlined) in check.outline.steps.iter().enumerate() {
        let Verb::Action { input, .. } = &outlined.step.verb;
        if let Some(input) = input {
            payload(
                input,
                &outlined.place.key("input"),
                &check.forward_scope(at),
                findings,
            );
        }
        if let Some(Compensation::Block(block)) = &outlined.step.compensation
            && let Some(input) = &block.input
        {
            let place = outlined.place.key("compensation").key("input");
            payload(input, &place, &check.compensation_scope(at), findings);
        }
    }
}

pub(super) fn output(check: &Check<'_>, findings: &mut Vec<Finding>) {
    if let Some(output) = &check.definition.output {
        value(
            output,
            &Place::default().key("output"),
            &check.output_scope(),
            findings,
        );
    }
}

/// The type of a payload, as far as it can be told; its faults are reported by [`inputs`].
pub(super) fn payload_type(input: Option<&Input>, scope: &Scope<'_, '_>) -> Type {
    let template = match input {
        None => return Type::Object(Default::default()),
        Some(Input::Pick(names)) => ValueTemplate::from_pick(names),
        Some(Input::Value(fields)) => ValueTemplate::from_value(&Value::Object(fields.clone())),
    };
    template.map_or(Type::Any, |template| {
        let checked = template.check(scope);
        if checked.faults.is_empty() {
            checked.ty
        } else {
            Type::Any
        }
    })
}

fn payload(input: &Input, place: &Place, scope: &Scope<'_, '_>, findings: &mut Vec<Finding>) {
    match input {
        Input::Pick(names) => pick(names, place, scope, findings),
        Input::Value(fields) => {
            for (name, field) in fields {
                value(field, &place.key(name), scope, findings);
            }
        }
    }
}

/// Each entry on its own first: a list with one bad entry has others that want to be checked.
fn pick(names: &[String], place: &Place, scope: &Scope<'_, '_>, findings: &mut Vec<Finding>) {
    let mut sound = names.iter().all(|name| !name.is_empty());
    for (at, name) in names
        .iter()
        .enumerate()
        .filter(|(_, name)| !name.is_empty())
    {
        if findings.len() > FINDINGS_MAX {
            return;
        }
        let place = place.at(at);
        match ValueTemplate::from_pick(std::slice::from_ref(name)) {
            Ok(one) => {
                order(one.roots(), name, 0, &place, scope, findings);
                let faults = one.check(scope).faults;
                let source = if name.contains('.') {
                    name.clone()
                } else {
                    format!("input.{name}")
                };
                let unguarded = faults
                    .iter()
                    .filter(|fault| !is_guarded(&source, fault, scope));
                // The fault speaks of the expression behind the entry; what stands in the file is the entry.
                findings.extend(unguarded.map(|fault| Finding {
                    part: Part::Value,
                    ..finding(fault, &place)
                }));
            }
            Err(fault) => {
                sound = false;
                findings.push(Finding {
                    place: place.clone(),
                    ..finding(&fault, &place)
                });
            }
        }
    }
    if let (true, Err(fault)) = (sound, ValueTemplate::from_pick(names)) {
        findings.push(finding(&fault, place));
    }
}

fn value(value: &Value, place: &Place, scope: &Scope<'_, '_>, findings: &mut Vec<Finding>) {
    match value {
        Value::String(text) => template(text, place, scope, findings),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                self::value(item, &place.at(at), scope, findings);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                self::value(field, &place.key(name), scope, findings);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn template(text: &str, place: &Place, scope: &Scope<'_, '_>, findings: &mut Vec<Finding>) {
    if findings.len() > FINDINGS_MAX {
        return;
    }
    match Template::parse(text) {
        Ok(parsed) => {
            for (expr, span) in parsed.expressions() {
                order(expr.roots(), text, span.start, place, scope, findings);
            }
            let faults = parsed.check(scope).faults;
            let unguarded = faults.iter().filter(|fault| {
                let holder = parsed
                    .expressions()
                    .find(|(_, span)| span.contains(&fault.span.start));
                !holder.is_some_and(|(expr, _)| is_guarded(expr.source(), fault, scope))
            });
            findings.extend(unguarded.map(|fault| finding(fault, place)));
            findings.extend(escapes(text, place, scope));
        }
        Err(fault) => findings.push(finding(&fault, place)),
    }
}

/// `$${input.price}`: a literal, where somebody who wants a dollar sign before a price means the value. A `$${` before
/// anything that has no value here is an escape without doubt.
fn escapes<'t>(
    text: &'t str,
    place: &'t Place,
    scope: &'t Scope<'_, '_>,
) -> impl Iterator<Item = Finding> + 't {
    Template::escaped(text)
        .into_iter()
        .filter(|(expr, _)| expr.check(scope).faults.is_empty())
        .map(|(expr, at)| {
            let source = expr.source();
            Finding::new(
                Code::W0607,
                place,
                format!("this is the text `${{{source}}}`, not its value"),
            )
            .on_text(at)
            .label("`$${` stands for a literal `${`")
            .help(format!(
                "for a dollar sign before the value write `${{'$'}}${{{source}}}`"
            ))
        })
}

/// Steps that are read must be settled: not the step itself, not later ones, not those beside it.
fn order<'r>(
    roots: impl Iterator<Item = &'r Root>,
    text: &str,
    from: usize,
    place: &Place,
    scope: &Scope<'_, '_>,
    findings: &mut Vec<Finding>,
) {
    if scope.kind() == ScopeKind::Start {
        return;
    }
    for root in roots {
        if let (Root::Own(name), false) = (root, matches!(scope.kind(), ScopeKind::Compensation(_)))
        {
            let message = format!("`self.{name}` is known in the input of a compensation only");
            let mut fault = Finding::new(Code::S0202, place, message);
            if let Some(bytes) = mention(text, from, &format!("self.{name}")) {
                fault = fault.on_text(bytes);
            }
            findings.push(fault);
            continue;
        }
        let (Root::StepOutput(id) | Root::StepStatus(id) | Root::StepError(id)) = root else {
            continue;
        };
        let (message, help) = match scope.reach(id) {
            Reach::Unknown | Reach::Outside | Reach::Settled(_) => continue,
            Reach::Own if matches!(scope.kind(), ScopeKind::Compensation(_)) => (
                format!("a compensation reads its own action `{id}` by its id"),
                "here it is `self.input`, `self.output` and `self.key`".to_owned(),
            ),
            Reach::Own => (
                format!("`{id}` reads itself"),
                "a step can read the steps that are settled before it starts".to_owned(),
            ),
            Reach::Later => (
                format!("`{id}` has not run when this is read"),
                format!("move what reads `{id}` behind it"),
            ),
            Reach::Beside => (
                format!("`{id}` runs beside this step, so it may not have run when this is read"),
                format!("put both into a `sequence`, `{id}` first, or read it after the group"),
            ),
        };
        let mut fault = Finding::new(Code::S0204, place, message).help(help);
        if let Some(bytes) = mention(text, from, &format!("steps.{id}")) {
            fault = fault.on_text(bytes);
        }
        findings.push(fault);
    }
}

/// Where a text speaks of a root.
fn mention(text: &str, from: usize, wanted: &str) -> Option<std::ops::Range<usize>> {
    let rest = text.get(from..)?;
    let ends = |at: usize| {
        let next = rest[at + wanted.len()..].chars().next();
        next.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    };
    let (at, _) = rest.match_indices(wanted).find(|(at, _)| ends(*at))?;
    Some(from + at..from + at + wanted.len())
}

/// Whether the conditions around an expression rule out that what it reads is absent: `when: has(input.x)` on a
/// step guards `input.x` in its payload. The checker is asked about `!(guards) ? null : expression`, so it is
/// its own understanding of a guard that counts.
fn is_guarded(source: &str, fault: &expr::Fault, scope: &Scope<'_, '_>) -> bool {
    let guards: Vec<_> = scope.guards().map(|guard| format!("({guard})")).collect();
    if fault.kind != FaultKind::MaybeAbsent || guards.is_empty() {
        return false;
    }
    let condition = guards.join(" && ");
    // The expression stands last, where it needs no parentheses: messages quote the text they are about.
    Expr::parse(&format!("!({condition}) ? null : {source}")).is_ok_and(|guarded| {
        let faults = guarded.check(scope).faults;
        // The same read elsewhere in the expression has the same message: if one of them is open, both are told.
        !faults
            .iter()
            .any(|other| other.message == fault.message && other.span.start >= condition.len())
    })
}

fn finding(fault: &expr::Fault, place: &Place) -> Finding {
    let code = match fault.kind {
        FaultKind::Syntax => Code::S0201,
        FaultKind::UnknownName => Code::S0202,
        FaultKind::TypeMismatch | FaultKind::Branches => Code::S0203,
        FaultKind::MaybeAbsent => Code::S0205,
        FaultKind::TooLarge => Code::S0208,
        FaultKind::Duplicate => Code::S0207,
    };
    let mut finding = Finding::new(code, &place.pointer(&fault.place), fault.message.clone());
    finding.help = fault.help.clone();
    finding.on_text(fault.span.clone())
}
