//! The front against texts nobody should write: no panic, no hang, always a place.

use proptest::prelude::*;

use super::{
    tree::{Scalar, Style},
    *,
};

const BOOK_TRIP: &str = include_str!("../../tests/files/book_trip.saga.yaml");

/// Loads, shows everything found, and answers the codes.
fn codes(bytes: &[u8]) -> Vec<&'static str> {
    let loaded = load("x.saga.yaml", bytes);
    let source = String::from_utf8_lossy(bytes);
    for found in &loaded.diagnostics {
        assert!(!found.render(&source, false).is_empty());
        assert!(!found.render(&source, true).is_empty());
        assert!(found.to_string().starts_with("x.saga.yaml:"), "{found}");
        assert!(found.line > 0 && found.column > 0, "{found}");
    }
    assert!(loaded.diagnostics.len() <= 3 * FINDINGS_MAX + 3);
    assert_eq!(loaded.plan.is_none(), loaded.has_errors());
    loaded
        .diagnostics
        .iter()
        .map(|found| found.code.as_str())
        .collect()
}

fn step_with(line: &str) -> String {
    format!(
        "saga: t\nversion: 1\ninput: {{x: optional bool, y: bool, b: string}}\nsteps:\n  - step: a\n    \
         action: p/a\n    compensation: p/b\n    {line}\n"
    )
}

#[test]
fn yaml_traps() {
    let cases: [(&str, &[&str]); 11] = [
        ("when: !has(input.x) && input.y", &["S0004"]),
        ("when: \"!has(input.x) && input.y\"", &[]),
        ("when: !x", &["S0004"]),
        ("input:\n      text: a ${input.b} # b", &["W0009"]),
        ("input:\n      text: a ${input.b}  # two spaces", &[]),
        ("input:\n      text: ${input.b} # alone", &[]),
        ("input:\n      text: \"a ${input.b} # b\"", &[]),
        ("when: 'a' == input.b", &["S0003"]),
        ("when: input.y ? input.y : false", &["S0003"]),
        ("when: \"input.y ? input.y : false\"", &[]),
        ("when: true", &[]),
    ];
    for (line, expected) in cases {
        let mut found = codes(step_with(line).as_bytes());
        found.retain(|code| *code != "N0701");
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn oversized_and_endless() {
    let many_keys: String = (0..15_000).map(|n| format!("key{n}: {n}\n")).collect();
    let same_key = "a: 1\n".repeat(50_000);
    let many_steps: String = std::iter::once("saga: t\nversion: 1\nsteps:\n".to_owned())
        .chain((0..4_000).map(|n| {
            format!(
                "  - {{step: s{n}, action: p/a, input: [steps.s{}.output.x]}}\n",
                n / 2
            )
        }))
        .collect();
    let laughs = "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n";
    let expressions = format!(
        "saga: t\nversion: 1\nsteps: []\noutput: {{a: \"{}\"}}\n",
        "${".repeat(60_000)
    );
    let parallel = format!("  - parallel: [{}]\n", "{step: a},".repeat(5_000));
    let wide = format!("saga: t\nversion: 1\nsteps:\n{}", parallel.repeat(4));
    let fields: String = (0..6_000).map(|n| format!("field_{n}: any, ")).collect();
    let reads: String = (0..6_000)
        .map(|n| format!("'${{input.feld_{n}}}', "))
        .collect();
    let many_fields =
        format!("saga: t\nversion: 1\ninput: {{{fields}}}\noutput: {{a: [{reads}]}}\nsteps: []\n");
    let fields: String = (0..250).map(|n| format!("field_{n}: any, ")).collect();
    let unknown_names =
        format!("saga: t\nversion: 1\ninput: {{{fields}}}\noutput: {{a: [{reads}]}}\nsteps: []\n");
    let cases: Vec<(String, &str)> = vec![
        ("[".repeat(100_000), "S0008"),
        ("{a: ".repeat(60_000), "S0008"),
        ("- ".repeat(100_000), "S0008"),
        ("? ".repeat(100_000), "S0008"),
        ("a".repeat(10 * 1024 * 1024), "S0002"),
        ("a".repeat(200 * 1024), "S0108"),
        (laughs.to_owned(), "S0005"),
        (many_keys, "S0101"),
        (same_key, "S0106"),
        (many_steps, "S0110"),
        (expressions, "S0201"),
        (format!("saga: {}", "\u{1F600}".repeat(50_000)), "S0103"),
        (format!("saga: t{}", "\n".repeat(200_000)), "S0107"),
        (format!("\"{}", "\\x".repeat(100_000)), "S0003"),
        ("!".repeat(100_000), "S0003"),
        (wide, "S0110"),
        (unknown_names, "S0202"),
        (many_fields, "S0103"),
        ("%YAML 3.0\n---\nsaga: t\n".to_owned(), "S0003"),
    ];
    for (text, code) in cases {
        let found = codes(text.as_bytes());
        assert!(found.contains(&code), "{:.40}: {found:?}", text);
    }
}

#[test]
fn encodings_and_line_ends() {
    let clean = codes(BOOK_TRIP.as_bytes());
    assert_eq!(clean, ["N0701"]);
    assert_eq!(codes(BOOK_TRIP.replace('\n', "\r\n").as_bytes()), clean);
    assert_eq!(codes(format!("\u{feff}{BOOK_TRIP}").as_bytes()), clean);
    let utf16: Vec<u8> = BOOK_TRIP
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(codes(&utf16), ["S0001"]);
    assert_eq!(
        codes(&[&[0xfe, 0xff], utf16.as_slice()].concat()),
        ["S0001"]
    );
    assert_eq!(codes(b"saga: caf\xe9\n"), ["S0001"]);
    assert_eq!(codes(b""), ["S0007"]);
    assert_eq!(codes(b"\xef\xbb\xbf"), ["S0007"]);
    assert_eq!(codes(b"---\n...\n"), ["S0007"]);
    assert_eq!(codes(b"a: b\x00"), ["S0001"]);
}

#[test]
fn a_file_is_judged_in_the_order_of_its_lines() {
    let loaded = load(
        "x.saga.yaml",
        "colour: red\nsaga: T\nsteps: 5\nversion: 0\n".as_bytes(),
    );
    let lines: Vec<_> = loaded.diagnostics.iter().map(|found| found.line).collect();
    assert_eq!(lines, [1, 2, 3, 4]);
    assert!(loaded.definition.is_none());
}

#[test]
fn texts_are_found_in_the_source_through_quotes_and_escapes() {
    let cases = [
        ("a: one two\n", "two", "two"),
        ("a: 'it''s two'\n", "two", "two"),
        ("a: \"\\x41\\u00e9\\n two\"\n", "two", "two"),
        ("a: \"say \\\"two\\\"\"\n", "\"two", "\\\"two"),
        ("a: one\n  two\n", "two", "two"),
        ("a: |\n  one\n  two\n", "two", "two"),
        ("a: >\n  one\n  two\n", "two", "two"),
        ("a: |\r\n  ö\r\n  two\r\n", "two", "two"),
        ("a: \"one\n  two\"\n", "two", "two"),
        ("a: >-\n  one\n\n  two\n", "two", "two"),
    ];
    for (source, wanted, shown) in cases {
        let tree = read::read(source).tree.expect("a tree");
        let node = &tree.get("a").expect("a").value;
        let Content::Scalar(scalar) = &node.content else {
            panic!("a scalar: {source}")
        };
        let at = scalar.text.find(wanted).expect("the text");
        let span = scalar
            .source_range(&(at..at + wanted.len()), &node.span, source)
            .expect("a place");
        assert_eq!(&source[span], shown, "{source:?}");
    }
    let odd = Scalar {
        text: "x".into(),
        style: Style::Plain,
    };
    assert_eq!(odd.source_range(&(0..1), &(0..1), "y"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        codes(&bytes);
    }

    #[test]
    fn any_yaml_like_text(text in "[a-z:{}\\[\\]\"'!&*#|>%@`,?\\- \\n$.\\\\]{0,200}") {
        codes(text.as_bytes());
    }

    #[test]
    fn a_good_file_with_bytes_changed(
        edits in prop::collection::vec((0usize..1600, prop_oneof![
            prop::sample::select(b" \n\t:#-[]{}'\"!&*$|>,?%".to_vec()), any::<u8>(),
        ]), 1..6),
    ) {
        let mut bytes = BOOK_TRIP.as_bytes().to_vec();
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        codes(&bytes);
    }

    #[test]
    fn a_good_file_with_lines_moved(lines in prop::collection::vec(0usize..45, 0..60)) {
        let all: Vec<_> = BOOK_TRIP.lines().collect();
        let text: Vec<_> = lines.iter().map(|at| all[at % all.len()]).collect();
        codes(text.join("\n").as_bytes());
    }

    #[test]
    fn a_good_file_with_a_piece_cut_out(from in 0usize..1600, len in 0usize..200) {
        let from = from.min(BOOK_TRIP.len());
        let to = (from + len).min(BOOK_TRIP.len());
        codes(&[&BOOK_TRIP.as_bytes()[..from], &BOOK_TRIP.as_bytes()[to..]].concat());
    }
}
