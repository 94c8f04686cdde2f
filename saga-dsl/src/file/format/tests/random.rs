//! The formatter over files that nobody would write: generated ones, spoilt ones, and any characters at all.

use proptest::prelude::*;

use super::*;

/// A piece of YAML: whatever can stand after a key, with comments where comments can stand.
fn value(depth: u32) -> BoxedStrategy<Vec<String>> {
    let scalar = prop_oneof![
        Just("word".to_owned()),
        Just("\"quoted\"".to_owned()),
        Just("'it''s'  ".to_owned()),
        Just("\"a # b\"".to_owned()),
        Just("a ${x} # cut".to_owned()),
        Just("x   # note".to_owned()),
        Just("[a,  b]".to_owned()),
        Just("{b: 1, a: [ ]} # flow".to_owned()),
        Just("~".to_owned()),
        Just(String::new()),
        Just("  # nothing".to_owned()),
    ]
    .prop_map(|text| vec![text]);
    let long = prop_oneof![
        Just(vec![
            "|".to_owned(),
            "  a".to_owned(),
            "   # no comment".to_owned(),
            String::new()
        ]),
        Just(vec![
            ">-  # header".to_owned(),
            String::new(),
            "  a".to_owned(),
            "  b".to_owned()
        ]),
        Just(vec![
            "|+".to_owned(),
            "  a".to_owned(),
            String::new(),
            String::new()
        ]),
        Just(vec![
            "|2".to_owned(),
            "     a".to_owned(),
            "   b".to_owned()
        ]),
        Just(vec![
            "plain".to_owned(),
            "   goes on".to_owned(),
            String::new(),
            "  here  # n".to_owned()
        ]),
        Just(vec![
            "\"double \\".to_owned(),
            "  quoted\\ ".to_owned(),
            "  text\"".to_owned()
        ]),
        Just(vec![
            "[a, # one".to_owned(),
            "  # own".to_owned(),
            String::new(),
            "  b] # end".to_owned()
        ]),
        Just(vec![
            "{".to_owned(),
            "  b: [x,".to_owned(),
            "  y], # n".to_owned(),
            "  a: 1 }".to_owned()
        ]),
        Just(vec!["[ # c".to_owned(), "  ]".to_owned()]),
        Just(vec!["# below".to_owned(), "   scalar # beside".to_owned()]),
    ];
    let leaf = prop_oneof![3 => scalar, 1 => long];
    if depth == 0 {
        return leaf.boxed();
    }
    prop_oneof![2 => leaf, 3 => block(depth)].boxed()
}

fn free_line() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        6 => Just(None),
        1 => Just(Some(String::new())),
        1 => (0_usize..8).prop_map(|blanks| Some(format!("{}# c{blanks}", " ".repeat(blanks)))),
    ]
}

/// A block map or list, as lines for the place below a key.
fn block(depth: u32) -> BoxedStrategy<Vec<String>> {
    let keys = prop::sample::subsequence(
        vec![
            "output",
            "steps",
            "saga",
            "step",
            "action",
            "compensation",
            "\"input\"",
            "zebra",
        ],
        1..5,
    )
    .prop_shuffle();
    let keys = (
        keys,
        prop::collection::vec((free_line(), value(depth - 1)), 5),
    );
    let indent = 1_usize..5;
    let map = (keys, indent.clone()).prop_map(|((keys, values), indent)| {
        let mut lines = vec![String::new()];
        for (key, (free, value)) in keys.into_iter().zip(values) {
            lines.extend(free);
            put(&mut lines, &format!("{key}:"), &value, indent);
        }
        lines
    });
    let items = prop::collection::vec((free_line(), value(depth - 1), any::<bool>()), 1..4);
    let list = (items, indent).prop_map(|(items, indent)| {
        let mut lines = vec![String::new()];
        for (free, value, compact) in items {
            lines.extend(free);
            let second = value.get(1).map(|line| line.trim_start().to_owned());
            let nested = value.first().is_some_and(String::is_empty) && value.len() > 1;
            match second {
                Some(second)
                    if compact && nested && !second.is_empty() && !second.starts_with('#') =>
                {
                    // Beside its dash a block begins with its own first line.
                    let margin = value[1].len() - second.len();
                    lines.push(format!(
                        "{}-{}{second}",
                        " ".repeat(indent),
                        " ".repeat(margin.max(1))
                    ));
                    let shift = " ".repeat(indent + 1 + margin.max(1) - margin);
                    lines.extend(value.iter().skip(2).map(|line| format!("{shift}{line}")));
                }
                _ => put(&mut lines, "-", &value, indent),
            }
        }
        lines
    });
    prop_oneof![3 => map, 2 => list].boxed()
}

fn put(lines: &mut Vec<String>, key: &str, value: &[String], indent: usize) {
    let margin = " ".repeat(indent);
    for (at, line) in value.iter().enumerate() {
        lines.push(match at {
            0 => format!("{margin}{key} {line}"),
            _ if line.is_empty() => String::new(),
            _ => format!("{margin}{line}"),
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_can_be_read_keeps_its_meaning_and_settles_at_once(lines in block(3)) {
        let source = lines.join("\n") + "\n";
        match format("x", source.as_bytes()) {
            Ok(once) => prop_assert_eq!(&formatted(&once), &once, "{}", source),
            Err(FormatError::Faults(_)) => {}
            Err(error) => prop_assert!(false, "{}:\n{}", error, source),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        start in prop::sample::select(vec!["", "a: ", "a:\n  b: ", "a:\n- ", "- ", "a: |", "a: [", "a: \"x"]),
        text in "[-a-c:#|>{}\\[\\],'\"\\\\ \n&!*%?~1+2]{0,30}",
    ) {
        let text = std::format!("{start}{text}");
        match format("x", text.as_bytes()) {
            Ok(once) => prop_assert_eq!(&formatted(&once), &once, "{}", text),
            Err(FormatError::Faults(_)) => {}
            Err(error) => prop_assert!(false, "{}: {:?}", error, text),
        }
    }
}

/// What a hasty hand does to a line of a file.
fn edit(lines: &mut Vec<String>, at: usize, what: usize, number: usize) {
    if lines.is_empty() {
        return;
    }
    let at = at % lines.len();
    let line = lines[at].clone();
    match what {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, format!("{}# c", " ".repeat(number % 9))),
        2 => lines.insert(at, String::new()),
        3 => lines[at] = format!("{line}{}# n", " ".repeat(1 + number % 5)),
        4 => lines.insert(at, line),
        5 => {
            let other = number % lines.len();
            lines.swap(at, other);
        }
        6 => lines[at] = line.replacen(": ", ":\n        ", 1),
        _ => {
            lines[at] = line
                .replacen(", ", ",\n         ", 1)
                .replacen('{', "{ ", 1)
        }
    }
}

/// The sample files, with a few lines spoilt in each of many ways.
#[test]
fn spoilt_files_keep_their_meaning_and_settle_at_once() {
    let texts: Vec<String> = files()
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    let edits = prop::collection::vec((any::<usize>(), 0_usize..8, 0_usize..400), 1..6);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 500,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&(any::<prop::sample::Index>(), edits), |(which, edits)| {
        let mut lines: Vec<String> = which.get(&texts).lines().map(str::to_owned).collect();
        for (at, what, number) in edits {
            edit(&mut lines, at, what, number);
        }
        let source = lines.join("\n");
        match format("x", source.as_bytes()) {
            Ok(once) => prop_assert_eq!(&formatted(&once), &once, "{}", source),
            Err(FormatError::Faults(_)) => {}
            Err(error) => prop_assert!(false, "{}:\n{}", error, source),
        }
        Ok(())
    });
    assert!(
        outcome.is_ok(),
        "{}",
        outcome.map_or_else(|error| error.to_string(), |()| String::new())
    );
}
