//! What `saga test` says: a line a case, the story of those that fail, and a sum in the end.

use std::{collections::BTreeMap, time::Duration};

use saga_core::Timestamp;
use saga_dsl::plan::Plan;
use saga_lab::trials::{Case, End, Line, Verdict};
use saga_server::story::words;
use serde::Serialize;

use crate::show::{output::printable, words::Tone};

/// Lines of a story that are shown from its beginning, and from its end.
const FIRST: usize = 40;
const LAST: usize = 15;
/// Names longer than this do not push everything to the right.
const NAME_MAX: usize = 72;

/// A case as `-o json` gives it: one object a line. Fields are API.
#[derive(Debug, Serialize)]
pub struct CaseJson<'a> {
    /// The file that was named.
    file: &'a str,
    /// `name@version` of the definition.
    saga: String,
    /// Its name.
    case: &'a str,
    /// `own` or `generated`.
    kind: &'static str,
    /// Id of the step that a generated case is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    /// What came of it; not there with `--list`.
    #[serde(flatten)]
    result: Option<Result<'a>>,
}

#[derive(Debug, Serialize)]
struct Result<'a> {
    passed: bool,
    /// `completed`, `compensated`, `incident`, or null where it did not end.
    end: Option<&'static str>,
    /// Milliseconds in virtual time.
    virtual_ms: u64,
    seed: u64,
    /// Why it did not pass.
    faults: &'a [String],
    notes: &'a [String],
    /// Kinds of the incidents that were raised.
    incidents: &'a [&'static str],
    /// What happened, of a case that did not pass.
    story: Vec<LineJson<'a>>,
}

#[derive(Debug, Serialize)]
struct LineJson<'a> {
    virtual_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    text: &'a str,
}

/// A case without a result, for `--list`.
pub fn listed<'a>(path: &'a str, plan: &'a Plan, case: &'a Case, own: bool) -> CaseJson<'a> {
    CaseJson {
        file: path,
        saga: format!("{}@{}", plan.definition.saga, plan.definition.version),
        case: &case.name,
        kind: if own { "own" } else { "generated" },
        step: case.step.map(|ix| words::step(plan, ix)),
        result: None,
    }
}

/// A case with what came of it.
pub fn json<'a>(
    path: &'a str,
    plan: &'a Plan,
    case: &'a Case,
    own: bool,
    verdict: &'a Verdict,
) -> CaseJson<'a> {
    let told: &[Line] = if verdict.passed() {
        &[]
    } else {
        &verdict.story
    };
    let story = told.iter().map(|line| LineJson {
        virtual_ms: line.after_ms,
        step: line.step.as_deref(),
        text: &line.text,
    });
    let result = Result {
        passed: verdict.passed(),
        end: verdict.end.map(End::word),
        virtual_ms: verdict.took_ms,
        seed: verdict.seed,
        faults: &verdict.faults,
        notes: &verdict.notes,
        incidents: &verdict.incidents,
        story: story.collect(),
    };
    CaseJson {
        result: Some(result),
        ..listed(path, plan, case, own)
    }
}

/// What stands above the cases of a file.
pub fn heading(path: &str, plan: &Plan) -> String {
    let definition = &plan.definition;
    format!(
        "{}@{}  {}",
        printable(&definition.saga),
        definition.version,
        Tone::Dim.paint(&printable(path))
    )
}

/// One line; of a case that fails also why, what happened, and how to see it again.
pub fn case(path: &str, case: &Case, verdict: &Verdict, width: usize) -> String {
    let name = printable(&case.name);
    let width = width.min(NAME_MAX);
    let sign = if verdict.passed() {
        Tone::Good.paint("✔")
    } else {
        Tone::Bad.paint("✗")
    };
    let end = verdict.end.map_or("no end", End::word);
    let tone = match verdict.end {
        Some(End::Completed) => Tone::Plain,
        Some(End::Compensated) => Tone::Back,
        Some(End::Incident) | None => Tone::Bad,
    };
    let took = Tone::Dim.paint(&span(verdict.took_ms));
    let mut text = format!(
        "{sign} {name:width$}  {}  {took}\n",
        tone.paint(&format!("{end:11}"))
    );
    if verdict.passed() {
        return text;
    }
    for fault in &verdict.faults {
        text += &format!("    {}\n", Tone::Bad.paint(&printable(fault)));
    }
    text += &story(&verdict.story);
    let quoted = case.name.replace('\'', r"'\''");
    let again = format!("saga test {path} --case '{quoted}' --seed {}", verdict.seed);
    text + &format!("    again: {}\n", printable(&again))
}

fn story(lines: &[Line]) -> String {
    let wide = lines
        .iter()
        .filter_map(|line| line.step.as_ref())
        .map(|step| step.chars().count())
        .max();
    let wide = wide.unwrap_or(0);
    let shown = |line: &Line| {
        let step = line.step.as_deref().unwrap_or_default();
        format!(
            "    {:>8}  {:wide$}  {}\n",
            span(line.after_ms),
            printable(step),
            printable(&line.text)
        )
    };
    if lines.len() <= FIRST + LAST + 1 {
        return lines.iter().map(shown).collect();
    }
    let (head, tail) = (&lines[..FIRST], &lines[lines.len() - LAST..]);
    let between = lines.len() - FIRST - LAST;
    head.iter().map(shown).collect::<String>()
        + &Tone::Dim.paint(&format!(
            "    {:>8}  {between} lines more, -o json has them\n",
            "…"
        ))
        + &tail.iter().map(shown).collect::<String>()
}

fn span(ms: u64) -> String {
    let us = i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
    words::span(Timestamp(0), Timestamp(us))
}

/// All files together.
#[derive(Debug)]
pub struct Tally {
    seed: u64,
    faulty: usize,
    cases: usize,
    failed: usize,
    /// How many cases say the same of the same file, and the first of them.
    notes: BTreeMap<(String, String), (usize, Option<String>)>,
}

impl Tally {
    /// Nothing yet, beside files that have faults.
    pub fn new(seed: u64, faulty: usize) -> Self {
        Self {
            seed,
            faulty,
            cases: 0,
            failed: 0,
            notes: BTreeMap::new(),
        }
    }

    /// One case more.
    pub fn add(&mut self, path: &str, case: &Case, verdict: &Verdict) {
        self.cases += 1;
        self.failed += usize::from(!verdict.passed());
        for note in &verdict.notes {
            let noted = self
                .notes
                .entry((path.to_owned(), note.clone()))
                .or_default();
            noted.0 += 1;
            noted.1.get_or_insert_with(|| case.name.clone());
        }
    }

    /// What could not be tried.
    pub fn untried(&mut self, path: &str, notes: &[String]) {
        for note in notes {
            self.notes
                .entry((path.to_owned(), note.clone()))
                .or_default();
        }
    }

    /// Whether all is as it must be.
    pub fn passed(&self) -> bool {
        self.failed == 0 && self.faulty == 0
    }

    /// The last lines.
    pub fn screen(&self, took: Duration) -> String {
        let mut text = String::new();
        for ((path, note), (count, first)) in &self.notes {
            let times = match first {
                Some(case) if *count > 1 => {
                    format!(" (`{}` and {} more)", printable(case), count - 1)
                }
                Some(case) => format!(" (`{}`)", printable(case)),
                None => String::new(),
            };
            text += &format!(
                "{} {}: {}{times}\n",
                Tone::Dim.paint("note"),
                printable(path),
                printable(note)
            );
        }
        let plural = |count: usize, noun: &str| match count {
            1 => format!("1 {noun}"),
            _ => format!("{count} {noun}s"),
        };
        let verdict = match self.failed {
            0 if self.cases == 0 => "nothing tried".to_owned(),
            0 => Tone::Good.paint("all passed"),
            failed => Tone::Bad.paint(&format!("{failed} failed")),
        };
        let faulty = match self.faulty {
            0 => String::new(),
            count => Tone::Bad.paint(&format!(", {} with faults", plural(count, "file"))),
        };
        let ms = took.as_millis();
        text + &format!(
            "{}, {verdict}{faulty}  seed {}, {ms} ms\n",
            plural(self.cases, "case"),
            self.seed
        )
    }
}
