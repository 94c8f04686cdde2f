//! The YAML front of test files: the same tree, walk and diagnostics as of saga files.
//!
//! Names are held against the plan of the saga file, so that a misspelled action is a fault and not an answer that
//! nobody ever asks for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    keys, read,
    report::Report,
    text,
    tree::{Content, Node},
    unreadable,
    walk::Walk,
};
use crate::{
    codes::Code,
    definition::Kind,
    diagnostic,
    finding::Finding,
    near_miss::near_miss,
    place::{Place, Segment},
    plan::Plan,
    test_file::{Answer, Expectation, ExpectedEnd, LoadedTests, OwnCase, TestFile, Words},
    types::Type,
};

/// Why there is no plan to hold a test file against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPlan {
    /// The saga file has faults, which are told elsewhere.
    Faulty,
    /// It cannot be had: why, in words.
    Missing(String),
}

/// Loads and checks a test file. `plan_of` finds the saga file that it names, by the name as it is written.
#[must_use]
pub fn load_tests(
    path_for_messages: &str,
    bytes: &[u8],
    plan_of: &mut dyn FnMut(&str) -> Result<Plan, NoPlan>,
) -> LoadedTests {
    let source = match text::decode(bytes) {
        Ok(source) => source,
        Err(fault) => {
            let diagnostics = unreadable(path_for_messages, bytes, fault).diagnostics;
            return LoadedTests {
                tests: None,
                diagnostics,
            };
        }
    };
    let report = Report::new(path_for_messages, source);
    let read = read::read(source);
    let mut diagnostics = report.of_text(read.findings);
    let mut tests = None;
    if let Some(tree) = &read.tree {
        let mut reader = Reader {
            walk: Walk::default(),
            plan: None,
        };
        tests = reader.file(tree, plan_of);
        let findings = std::mem::take(&mut reader.walk.findings);
        diagnostics.extend(
            findings
                .into_iter()
                .map(|finding| report.of_place(tree, finding)),
        );
    }
    diagnostic::sort(&mut diagnostics);
    LoadedTests { tests, diagnostics }
}

struct Reader {
    walk: Walk,
    plan: Option<Plan>,
}

impl Reader {
    fn file(
        &mut self,
        tree: &Node,
        plan_of: &mut dyn FnMut(&str) -> Result<Plan, NoPlan>,
    ) -> Option<TestFile> {
        let fields = self
            .walk
            .fields(tree, &Place::default(), "a test file", keys::TEST_FILE)?;
        let saga = self.walk.require(&fields, "saga", "a test file");
        let saga = saga.and_then(|(node, place)| {
            let name = self.walk.text(node, &place, "`saga`")?.to_owned();
            match plan_of(&name) {
                Ok(plan) => self.plan = Some(plan),
                Err(NoPlan::Faulty) => {}
                Err(NoPlan::Missing(problem)) => {
                    let fault = Finding::new(Code::S0103, &place, problem);
                    self.walk.report(
                        fault.help("`saga` is the path of the saga file, seen from this file"),
                    );
                }
            }
            Some(name)
        });
        let (node, place) = self.walk.require(&fields, "cases", "a test file")?;
        let items = self.walk.list(node, &place, "`cases`")?;
        if items.is_empty() {
            self.walk.report(Finding::new(
                Code::S0103,
                &place,
                "a list of cases has at least one",
            ));
        }
        let mut names = BTreeSet::new();
        let cases = items.iter().enumerate();
        let cases: Vec<_> = cases
            .filter_map(|(at, item)| self.whole_case(item, &place.at(at), &mut names))
            .collect();
        Some(TestFile { saga: saga?, cases })
    }

    /// A case without any fault; the others of the file are none the worse for one that has some.
    fn whole_case(
        &mut self,
        node: &Node,
        place: &Place,
        names: &mut BTreeSet<String>,
    ) -> Option<OwnCase> {
        let before = self.walk.findings.len();
        self.case(node, place, names)
            .filter(|_| self.walk.findings.len() == before)
    }

    fn case(
        &mut self,
        node: &Node,
        place: &Place,
        names: &mut BTreeSet<String>,
    ) -> Option<OwnCase> {
        let fields = self.walk.fields(node, place, "a case", keys::CASE)?;
        let name = self
            .walk
            .require(&fields, "case", "a case")
            .and_then(|(node, place)| {
                let name = self.walk.text(node, &place, "`case`")?.to_owned();
                if !names.insert(name.clone()) {
                    let message = format!("there is a case `{}` already", read::shown(&name));
                    self.walk.report(Finding::new(Code::S0102, &place, message));
                }
                Some(name)
            });
        let input = fields.get("input").and_then(|(node, place)| {
            self.walk.map(node, &place, "`input`")?;
            let value = self.walk.value(node, &place)?;
            self.fits(&value, &place);
            Some(value)
        });
        let answers = fields
            .get("answers")
            .map(|(node, place)| self.answers(node, &place));
        let expect = self.walk.require(&fields, "expect", "a case");
        let expect = expect.and_then(|(node, place)| self.expect(node, &place));
        Some(OwnCase {
            name: name?,
            input,
            answers: answers.unwrap_or_default(),
            expect: expect?,
        })
    }

    /// The start payload against the types that the saga file declares.
    fn fits(&mut self, value: &Value, place: &Place) {
        let Some(plan) = &self.plan else { return };
        for mismatch in Type::Object(plan.definition.input.clone()).check_value(value) {
            let fault = Finding::new(
                Code::S0203,
                &down(place, &mismatch.path),
                mismatch.to_string(),
            );
            self.walk
                .report(fault.help("without `input` a sample is made from the file's types"));
        }
    }

    fn answers(&mut self, node: &Node, place: &Place) -> BTreeMap<String, Vec<Answer>> {
        let mut answers = BTreeMap::new();
        let Some(fields) = self.walk.map(node, place, "`answers`") else {
            return answers;
        };
        for entry in fields.entries() {
            let place = place.key(&entry.key);
            let side = self.action(&entry.key, &place, true);
            let list = match &entry.value.content {
                Content::List(items) if items.is_empty() => {
                    self.walk.report(Finding::new(
                        Code::S0103,
                        &place,
                        "a list of answers has at least one",
                    ));
                    Vec::new()
                }
                Content::List(items) => {
                    let numbered = items.iter().enumerate();
                    numbered
                        .filter_map(|(at, item)| self.answer(item, &place.at(at), side))
                        .collect()
                }
                Content::Map(_) | Content::Scalar(_) | Content::Empty | Content::Broken => self
                    .answer(&entry.value, &place, side)
                    .into_iter()
                    .collect(),
            };
            answers.insert(entry.key.clone(), list);
        }
        answers
    }

    /// Which side of a step an action is on; a name that the plan does not have is a fault.
    fn action(&mut self, name: &str, place: &Place, on_key: bool) -> Option<Side> {
        let plan = self.plan.as_ref()?;
        let mut known = Vec::new();
        for step in &plan.steps {
            known.push((
                format!("{}/{}", step.action.participant, step.action.action),
                Side::Action,
            ));
            let undo = step.compensation.as_ref();
            known.extend(
                undo.map(|undo| (format!("{}/{}", undo.participant, undo.action), Side::Undo)),
            );
        }
        if let Some((_, side)) = known.iter().find(|(action, _)| action == name) {
            return Some(*side);
        }
        let message = format!("the saga calls no `{}`", read::shown(name));
        let mut fault = Finding::new(Code::S0202, place, message);
        if on_key {
            fault = fault.on_key();
        }
        let mut names: Vec<&str> = known.iter().map(|(action, _)| action.as_str()).collect();
        fault.help = Some(match near_miss(name, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => {
                names.sort_unstable();
                names.dedup();
                format!("it calls {}", names.join(", "))
            }
        });
        self.walk.report(fault);
        None
    }

    fn answer(&mut self, node: &Node, place: &Place, side: Option<Side>) -> Option<Answer> {
        if let Content::Scalar(found) = &node.content
            && found.text == "succeed"
        {
            return Some(Answer::Succeed(None));
        }
        let what = "an answer";
        let fields = self.walk.fields(node, place, what, keys::ANSWER)?;
        let mut given = keys::ANSWER.iter().filter(|key| fields.has(key));
        let (Some(key), None) = (given.next(), given.next()) else {
            if !keys::ANSWER.iter().any(|key| fields.may_have(key)) {
                let message = format!("an answer is exactly one of {}", keys::ANSWER.join(", "));
                self.walk.report(Finding::new(Code::S0105, place, message));
            }
            return None;
        };
        let (node, place) = fields.get(key)?;
        match *key {
            "succeed" => {
                let output = self.walk.value(node, &place)?;
                if side == Some(Side::Undo) {
                    let fault =
                        Finding::new(Code::S0103, &place, "a compensation has no output").on_key();
                    self.walk
                        .report(fault.help("leave it out: what is not named succeeds"));
                }
                Some(Answer::Succeed(Some(output)))
            }
            "refuse" => self
                .words(node, &place, keys::WORDS)
                .map(|(words, _)| Answer::Refuse(words)),
            "fail" => self
                .words(node, &place, keys::FAIL)
                .map(|(words, after)| Answer::Fail(words, after)),
            "silent" => {
                let done =
                    self.walk
                        .choice(node, &place, &[("done", true), ("not_done", false)])?;
                Some(Answer::Silent(done))
            }
            _ => {
                if side == Some(Side::Action) {
                    let message = "only a compensation can need an operator; an action that cannot be done is refused";
                    self.walk
                        .report(Finding::new(Code::S0103, &place, message).on_key());
                }
                self.words(node, &place, keys::WORDS)
                    .map(|(words, _)| Answer::NeedsOperator(words))
            }
        }
    }

    /// A code, or a map with a code and more.
    fn words(
        &mut self,
        node: &Node,
        place: &Place,
        known: &[&str],
    ) -> Option<(Words, Option<u64>)> {
        if let Content::Scalar(_) = &node.content {
            let code = self.walk.text(node, place, "a code")?.to_owned();
            return Some((
                Words {
                    code,
                    message: String::new(),
                },
                None,
            ));
        }
        let fields = self.walk.fields(node, place, "an error", known)?;
        let (code, at) = self.walk.require(&fields, "code", "an error")?;
        let code = self.walk.text(code, &at, "`code`")?.to_owned();
        let message = fields
            .get("message")
            .and_then(|(node, place)| self.walk.text(node, &place, "`message`"));
        let message = message.unwrap_or_default().to_owned();
        let after = fields
            .get("retry_after")
            .and_then(|(node, place)| self.walk.duration(node, &place));
        Some((Words { code, message }, after.map(|after| after.ms)))
    }

    fn expect(&mut self, node: &Node, place: &Place) -> Option<Expectation> {
        let fields = self.walk.fields(node, place, "`expect`", keys::EXPECT)?;
        let status = fields.get("status");
        let status =
            status.and_then(|(node, place)| self.walk.choice(node, &place, ExpectedEnd::WORDS));
        let step = fields
            .get("step")
            .and_then(|(node, place)| self.step(node, &place, false));
        let code = fields
            .get("code")
            .and_then(|(node, place)| self.walk.text(node, &place, "`code`"));
        let compensated = fields
            .get("compensated")
            .and_then(|(node, place)| self.compensated(node, &place));
        let output = fields.get("output").and_then(|(node, place)| {
            self.walk.map(node, &place, "`output`")?;
            match self.walk.value(node, &place)? {
                Value::Object(fields) => Some(fields),
                _ => None,
            }
        });
        let mut calls = Vec::new();
        if let Some((node, place)) = fields.get("calls") {
            for (at, item) in self
                .walk
                .list(node, &place, "`calls`")
                .unwrap_or_default()
                .iter()
                .enumerate()
            {
                let place = place.at(at);
                let Some(name) = self.walk.text(item, &place, "a call") else {
                    continue;
                };
                self.action(name, &place, false);
                calls.push(name.to_owned());
            }
        }
        Some(Expectation {
            status,
            step,
            code: code.map(str::to_owned),
            compensated,
            output,
            calls,
        })
    }

    fn compensated(&mut self, node: &Node, place: &Place) -> Option<Vec<Vec<String>>> {
        let items = self.walk.list(node, place, "`compensated`")?;
        let mut groups = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let place = place.at(at);
            let group = match &item.content {
                Content::List(items) => {
                    let numbered = items.iter().enumerate();
                    numbered
                        .filter_map(|(at, item)| self.step(item, &place.at(at), true))
                        .collect()
                }
                Content::Map(_) | Content::Scalar(_) | Content::Empty | Content::Broken => {
                    self.step(item, &place, true).into_iter().collect()
                }
            };
            groups.push(group);
        }
        Some(groups)
    }

    /// The id of a step; with `undone`, of one that something undoes.
    fn step(&mut self, node: &Node, place: &Place, undone: bool) -> Option<String> {
        let id = self.walk.text(node, place, "the id of a step")?.to_owned();
        let Some(plan) = &self.plan else {
            return Some(id);
        };
        let Some(step) = plan.step_ix(&id).and_then(|ix| plan.step(ix)) else {
            let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
            let mut fault = Finding::new(
                Code::S0202,
                place,
                format!("the saga has no step `{}`", read::shown(&id)),
            );
            fault.help = Some(match near_miss(&id, ids.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("it has {}", ids.join(", ")),
            });
            self.walk.report(fault);
            return None;
        };
        // A compensatable step that nothing undoes is no fault here: its case fails, and says so.
        if undone && step.kind != Kind::Compensatable {
            let message = format!("`{id}` is past the way back, nothing ever undoes it");
            self.walk.report(Finding::new(Code::S0103, place, message));
        }
        Some(id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Action,
    Undo,
}

/// The place that a mismatch's path (`items[2].qty`) leads to.
fn down(place: &Place, path: &str) -> Place {
    let mut place = place.clone();
    for segment in path.split(['.', '[']).filter(|segment| !segment.is_empty()) {
        match segment.strip_suffix(']').map(str::parse) {
            Some(Ok(index)) => place.0.push(Segment::Index(index)),
            Some(Err(_)) | None => place.0.push(Segment::Key(segment.to_owned())),
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file;

    const SAGA: &[u8] = b"saga: trip\nversion: 1\ninput: {id: string, items: [{qty: int}]}\nsteps:\n  - {step: book, action: hotels/reserve, compensation: hotels/cancel}\n  - {step: charge, kind: pivot, action: payments/charge}\n";

    fn load(text: &str) -> (LoadedTests, String) {
        let plan = file::load("trip.saga.yaml", SAGA).plan.expect("no faults");
        let loaded = load_tests(
            "trip.saga.test.yaml",
            text.as_bytes(),
            &mut |name| match name {
                "trip.saga.yaml" => Ok(plan.clone()),
                _ => Err(NoPlan::Missing(format!("{name}: there is no such file"))),
            },
        );
        let drawn: Vec<String> = loaded
            .diagnostics
            .iter()
            .map(|diagnostic| diagnostic.render(text, false))
            .collect();
        (loaded, drawn.join("\n\n"))
    }

    #[test]
    fn every_key_is_read() {
        let (loaded, faults) = load(
            "saga: trip.saga.yaml\ncases:\n  - case: one\n    input: {id: t, items: []}\n    answers:\n      \
             payments/charge: {refuse: card_declined}\n      hotels/reserve:\n        - {fail: {code: busy, \
             message: later, retry_after: 2s}}\n        - {silent: done}\n        - {silent: not_done}\n        \
             - succeed\n        - {succeed: {confirmation: H-1}}\n      hotels/cancel: {needs_operator: {code: by_hand, message: call}}\n    \
             expect: {status: incident, step: book, code: by_hand, compensated: [[book], book], output: {a: 1}, \
             calls: [hotels/reserve, payments/charge]}\n",
        );
        let tests = loaded.tests.unwrap_or_else(|| panic!("{faults}"));
        let case = &tests.cases[0];
        let words = |code: &str, message: &str| Words {
            code: code.into(),
            message: message.into(),
        };
        assert_eq!(
            case.answers["payments/charge"],
            [Answer::Refuse(words("card_declined", ""))]
        );
        assert_eq!(
            case.answers["hotels/reserve"],
            [
                Answer::Fail(words("busy", "later"), Some(2_000)),
                Answer::Silent(true),
                Answer::Silent(false),
                Answer::Succeed(None),
                Answer::Succeed(Some(serde_json::json!({"confirmation": "H-1"}))),
            ]
        );
        assert_eq!(
            case.answers["hotels/cancel"],
            [Answer::NeedsOperator(words("by_hand", "call"))]
        );
        assert_eq!(case.expect.status, Some(ExpectedEnd::Incident));
        assert_eq!(
            case.expect.compensated,
            Some(vec![vec!["book".to_owned()], vec!["book".to_owned()]])
        );
        assert_eq!(case.expect.calls.len(), 2);
    }

    #[test]
    fn all_faults_are_told_at_once_with_what_was_meant() {
        let (loaded, faults) = load(
            "saga: trip.saga.yaml\ncases:\n  - case: one\n    input: {id: 7, items: [{qty: many}]}\n    \
             answers:\n      hotels/reserv: {refuse: no}\n      hotels/reserve: {refsue: no}\n      \
             payments/charge: {needs_operator: x}\n      hotels/cancel: {silent: perhaps}\n    \
             expect: {status: complete, step: boook, compensated: [charge], calls: [hotels/resreve]}\n  \
             - case: one\n    expects: {}\n",
        );
        assert_eq!(loaded.tests.map(|tests| tests.cases), Some(Vec::new()));
        insta::assert_snapshot!(faults);
    }

    #[test]
    fn a_saga_file_that_is_not_there_is_told_at_its_name() {
        let (_, faults) = load(
            "saga: trap.saga.yaml\ncases:\n  - {case: a, answers: {x/y: succeed}, expect: {status: completed}}\n",
        );
        insta::assert_snapshot!(faults);
    }

    #[test]
    fn other_documents_are_no_test_files() {
        for text in [
            "",
            "[]",
            "saga: trip.saga.yaml",
            "saga: trip.saga.yaml\ncases: []",
            "cases: {}",
            "a: [",
            "\0",
        ] {
            let (loaded, faults) = load(text);
            let cases = loaded
                .tests
                .map(|tests| tests.cases.len())
                .unwrap_or_default();
            assert!(cases == 0 && !faults.is_empty(), "{text:?}");
        }
    }

    const REFERENCE: &str = include_str!("../../../docs/reference/test-files.md");
    const HOW_TO: &str = include_str!("../../../docs/how-to/test-a-saga.md");
    const EXAMPLE: &str = include_str!("../../../examples/book_trip/book_trip.saga.test.yaml");

    #[test]
    fn the_documents_show_what_the_reader_takes() {
        let saga = include_bytes!("../../../examples/book_trip/book_trip.saga.yaml");
        let plan = file::load("book_trip.saga.yaml", saga)
            .plan
            .expect("no faults");
        let blocks = [REFERENCE, HOW_TO].map(|page| {
            let block = page
                .split_once("```yaml\n")
                .and_then(|(_, rest)| rest.split_once("```"));
            block.map(|(block, _)| block).expect("an example")
        });
        for text in blocks.into_iter().chain([EXAMPLE]) {
            let loaded = load_tests("t.saga.test.yaml", text.as_bytes(), &mut |_| {
                Ok(plan.clone())
            });
            assert_eq!(loaded.diagnostics, [], "{text}");
            assert_eq!(
                loaded.tests.map(|tests| tests.cases.len()),
                Some(text.matches("- case:").count())
            );
        }
    }

    #[test]
    fn the_reference_has_every_key_and_no_other() {
        let keys = [keys::TEST_FILE, keys::CASE, keys::ANSWER, keys::EXPECT].concat();
        let rows = REFERENCE
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let told: Vec<&str> = rows.collect();
        assert_eq!(told, keys);
        for key in [keys::WORDS, keys::FAIL].concat() {
            assert!(REFERENCE.contains(&format!("`{key}`")), "{key}");
        }
    }
}
