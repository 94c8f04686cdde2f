//! One slip of the text does not hide the other faults of the file, and makes none of its own.

use std::collections::BTreeMap;

use crate::{codes::Code, file::load};

/// Code, line and help of everything found, without the remark that every file gets.
fn found(source: &str) -> Vec<(Code, usize, String)> {
    let loaded = load("x.saga.yaml", source.as_bytes());
    assert!(loaded.plan.is_none(), "{source}");
    let found = loaded
        .diagnostics
        .into_iter()
        .filter(|found| found.code != Code::N0701);
    found
        .map(|found| (found.code, found.line, found.help.unwrap_or_default()))
        .collect()
}

/// A sound file, in which line 8 is the step's `input`.
const SOUND: &str = "\
saga: trip
version: 1
input: {id: string, amount: int}
description: a trip
steps:
  - step: reserve
    action: hotels/reserve
    input: {a: \"${input.id}\"}
    compensation: hotels/cancel
  - step: charge
    kind: pivot
    action: payments/charge
    input: [id, amount]
  - step: mail
    kind: retriable
    action: mails/send
    input: [steps.reserve.output.x]
";

/// The file with other lines, by number.
fn with(lines: &[(usize, &str)]) -> String {
    let lines: BTreeMap<usize, &str> = lines.iter().copied().collect();
    let all = SOUND.lines().zip(1..);
    all.map(|(line, number)| lines.get(&number).copied().unwrap_or(line).to_owned() + "\n")
        .collect()
}

#[test]
fn a_slip_is_reported_alone_where_the_rest_is_sound() {
    assert_eq!(
        load("x", SOUND.as_bytes())
            .plan
            .map(|plan| plan.steps.len()),
        Some(3)
    );
    let slips: &[(usize, &str)] = &[
        (8, "    input: {a: ${input.id}}"),
        (8, "    input: {a: ${input.id}, b: 1}"),
        (8, "    input: {a: [${input.id}]}"),
        (8, "    input: [${input.id}]"),
        (8, "    input: {a: \"x\" y}"),
        (8, "    input: {a: b: c}"),
        (8, "    input: [id"),
        (8, "    input: {a: [id}"),
        (8, "   input: [id]"),
        (8, "     input: [id]"),
        (8, "      input: [id]"),
        (8, "  input: [id]"),
        (8, "\tinput: [id]"),
        (8, "    input:[id]"),
        (7, "    action:hotels/reserve"),
        (9, "  compensation: hotels/cancel"),
        (9, "      compensation: hotels/cancel"),
        (10, " - step: charge"),
        (10, "   - step: charge"),
        (10, "\t- step: charge"),
        (4, "description: To: ${input.id}"),
        (4, "description: \"open"),
        (4, "description: 'it's'"),
        (4, "description: @home"),
        (4, "description: \"\\q\""),
        (3, "input: {id: string, amount: int"),
        (6, "  - step: @reserve"),
        (14, "  - step: \"mail"),
    ];
    for (line, slip) in slips {
        let told = found(&with(&[(*line, slip)]));
        let [(code, at, _)] = told.as_slice() else {
            panic!("{slip}: {told:?}")
        };
        assert_eq!((*code, *at), (Code::S0003, *line), "{slip}");
    }
}

#[test]
fn every_slip_lets_the_other_faults_be_seen() {
    let others = [(2, "version: 0"), (16, "    action: mails.send")];
    let slips: &[(usize, &str)] = &[
        (8, "    input: {a: ${input.id}}"),
        (8, "    input: [id"),
        (8, "   input: [id]"),
        (8, "\tinput: [id]"),
        (10, " - step: charge"),
        (4, "description: To: ${input.id}"),
        (4, "description: \"open"),
        (3, "input: {id: string, amount: int"),
    ];
    for (line, slip) in slips {
        let mut lines = others.to_vec();
        lines.push((*line, slip));
        let told: Vec<(Code, usize)> = found(&with(&lines))
            .into_iter()
            .map(|(code, line, _)| (code, line))
            .collect();
        assert_eq!(
            told,
            [(Code::S0103, 2), (Code::S0003, *line), (Code::S0103, 16)],
            "{slip}"
        );
    }
}

#[test]
fn what_was_meant_is_checked_as_if_it_had_its_quotes() {
    let told = found(&with(&[
        (4, "description: To: you"),
        (
            8,
            "    input: {a: ${input.nosuch}, b: ${has(input.id) ? 1 : \"x\"}}",
        ),
    ]));
    let codes: Vec<(Code, usize)> = told.iter().map(|(code, line, _)| (*code, *line)).collect();
    let expected = [
        (Code::S0003, 4),
        (Code::S0003, 8),
        (Code::S0202, 8),
        (Code::S0003, 8),
        (Code::S0203, 8),
    ];
    assert_eq!(codes, expected, "{told:?}");
}

#[test]
fn the_indentation_is_named_where_it_is_the_cause() {
    let rows: &[(usize, &str, &str)] = &[
        (
            8,
            "   input: [id]",
            "indent it by 4 spaces, as `action` on line 7",
        ),
        (
            8,
            "      input: [id]",
            "indent it by 4 spaces, as `action` on line 7",
        ),
        (
            10,
            " - step: charge",
            "indent it by 2 spaces, as `- step: reserve` on line 6",
        ),
        (8, "\tinput: [id]", "indent with spaces"),
        (
            9,
            "compensation: hotels/cancel\n",
            "`compensation` is a key of a step: indent it below its step",
        ),
        (
            4,
            "labels:\nteam: x",
            "indent `team` and what belongs to it deeper",
        ),
    ];
    for (line, slip, help) in rows {
        let told = found(&with(&[(*line, slip)]));
        assert!(
            told.iter().any(|(_, _, found)| found == help),
            "{slip}: {told:?}"
        );
    }
}

#[test]
fn a_file_in_tabs_has_one_fault_and_is_checked() {
    let tabs = "saga: t\nversion: 1\nsteps:\n\t- step: a\n\t\taction: p/a\n\t\tcompensation: p/b\n\t\tretry:\n\
        \t\t\tmax_attempts: 0\n";
    let told: Vec<(Code, usize)> = found(tabs)
        .into_iter()
        .map(|(code, line, _)| (code, line))
        .collect();
    assert_eq!(told, [(Code::S0003, 4), (Code::S0103, 8)]);
}

#[test]
fn a_second_document_does_not_hide_the_first() {
    let told: Vec<Code> = found(&format!("{}---\nsaga: other\n", with(&[(2, "version: 0")])))
        .into_iter()
        .map(|(code, ..)| code)
        .collect();
    assert_eq!(told, [Code::S0103, Code::S0007]);
}
