//! The picture for pages and slides: an SVG of its own, without scripts, fonts or anything from elsewhere.
//!
//! The layout follows the groups of the file: a row runs from left to right, branches stand below each other, and
//! each part is centred on the line of its row. Boxes are light with dark text and lines are of a middle grey, so
//! that the picture can be read on a light page and on a dark one. Letters are those of the reader's own system, of
//! one width, because the boxes must fit them without measuring.

use std::collections::BTreeMap;

use super::{Label, Part, Standing, Tone, legend};
use crate::{
    definition::Kind,
    plan::{Plan, PlanStep},
};

/// Width of a letter, as a part of its size; those of the usual fonts are narrower.
const LETTER: f64 = 0.62;
const NAME_SIZE: f64 = 14.0;
const SMALL_SIZE: f64 = 11.0;
const BOX_HEIGHT: f64 = 46.0;
const PILL_HEIGHT: f64 = 30.0;
/// Blanks at each side of the text in a box; the pivot's points need more.
const BOX_EDGE: f64 = 14.0;
const PIVOT_EDGE: f64 = 24.0;
/// Room for the lines between two parts of a row.
const ROW_GAP: f64 = 44.0;
const BRANCH_GAP: f64 = 14.0;
const MARGIN: f64 = 16.0;
const LEGEND_HEIGHT: f64 = 30.0;

/// Every rule is held to this picture: inside of a page a style is the whole page's.
const STYLE: &str = "\
.saga-graph text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace}\
.saga-graph .b{fill:#f6f8fa;stroke:#57606a;stroke-width:1.5}\
.saga-graph .p .b{fill:#fff4d6;stroke:#9a6700;stroke-width:2}\
.saga-graph .r .b{fill:#ddf4ff;stroke:#0a5fb4}\
.saga-graph .s .b{stroke-dasharray:5 4}\
.saga-graph .e .b{fill:#57606a;stroke:#57606a}\
.saga-graph .t-done .b{fill:#dafbe1;stroke:#1a7f37}\
.saga-graph .t-busy .b{fill:#ddf4ff;stroke:#0969da}\
.saga-graph .t-back .b{fill:#fff8c5;stroke:#9a6700}\
.saga-graph .t-bad .b{fill:#ffebe9;stroke:#cf222e}\
.saga-graph .t-idle .b{fill:#f6f8fa;stroke:#8c959f}\
.saga-graph .n{font-size:14px;fill:#1f2328}\
.saga-graph .e .n{fill:#ffffff}\
.saga-graph .a{font-size:11px;fill:#57606a}\
.saga-graph .l{font-size:12px;fill:#768390}\
.saga-graph .w{fill:none;stroke:#768390;stroke-width:1.5}\
.saga-graph .h{fill:#768390}";

/// Draws a plan. Ends with a line feed.
#[must_use]
pub fn svg(plan: &Plan) -> String {
    svg_with(plan, &BTreeMap::new())
}

/// Draws a plan with where its steps stand, by their ids: as colour and, in the place of the action, as words.
#[must_use]
pub fn svg_with(plan: &Plan, standings: &BTreeMap<String, Standing>) -> String {
    let drawing = Drawing { plan, standings };
    let mut parts = vec![Figure::pill("start")];
    match Part::of(plan) {
        Some(Part::Row(row)) => parts.extend(row.iter().map(|part| Figure::of(drawing, part))),
        Some(part) => parts.push(Figure::of(drawing, &part)),
        None => {}
    }
    parts.push(Figure::pill("end"));
    let row = Figure::row(parts);
    let legend = legend(plan);
    let legend_width = width(&legend, 12.0);
    let full_width = row.width.max(legend_width) + 2.0 * MARGIN;
    let below = if legend.is_empty() {
        0.0
    } else {
        LEGEND_HEIGHT
    };
    let full_height = row.height() + 2.0 * MARGIN + below;
    let mut canvas = Canvas::default();
    row.draw(MARGIN, MARGIN + row.above, &mut canvas);
    let name = escaped(&plan.definition.saga);
    let title = format!("{name} version {}", plan.definition.version);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" class=\"saga-graph\" role=\"img\" \
         aria-labelledby=\"saga-{name}-title saga-{name}-desc\">\n<title id=\"saga-{name}-title\">{title}</title>\n\
         <desc id=\"saga-{name}-desc\">{}</desc>\n<style>{STYLE}</style>\n",
        escaped(&description(drawing)),
        w = number(full_width),
        h = number(full_height),
    );
    text.push_str(&canvas.wires);
    text.push_str(&canvas.boxes);
    if !legend.is_empty() {
        let y = full_height - MARGIN;
        text.push_str(&line_of_text("l", MARGIN, y, "", &legend));
    }
    text.push_str("</svg>\n");
    text
}

/// What is drawn.
#[derive(Clone, Copy)]
struct Drawing<'a> {
    plan: &'a Plan,
    standings: &'a BTreeMap<String, Standing>,
}

impl Drawing<'_> {
    /// What a pointer that rests on a step is told.
    fn tip(self, step: &PlanStep) -> String {
        let undo = step.compensation.as_ref();
        let undo = undo.map(|undo| format!(", undone by {}/{}", undo.participant, undo.action));
        let kind = match step.kind {
            Kind::Compensatable => "",
            Kind::Pivot => ", the pivot",
            Kind::Retriable => ", retried until it succeeds",
        };
        let skippable = if step.guards.is_empty() {
            ""
        } else {
            ", may be skipped"
        };
        let standing = self
            .standings
            .get(&step.id)
            .map(|standing| format!(": {}", standing.words));
        let (undo, standing) = (undo.unwrap_or_default(), standing.unwrap_or_default());
        format!(
            "{}: {}{undo}{kind}{skippable}{standing}",
            step.id,
            action(step)
        )
    }
}

/// The picture in words, for whoever does not see it.
fn description(drawing: Drawing<'_>) -> String {
    match Part::of(drawing.plan) {
        Some(part) => format!("start, then {}, then end", in_words(drawing, &part)),
        None => "start, then end".to_owned(),
    }
}

fn in_words(drawing: Drawing<'_>, part: &Part) -> String {
    let all = |parts: &[Part], word: &str| {
        parts
            .iter()
            .map(|part| in_words(drawing, part))
            .collect::<Vec<_>>()
            .join(word)
    };
    match part {
        Part::Step(label) => drawing
            .plan
            .steps
            .get(label.at)
            .map(|step| drawing.tip(step))
            .unwrap_or_default(),
        Part::Row(parts) => all(parts, ", then "),
        Part::Branches(parts) => format!("at the same time ({})", all(parts, "; ")),
    }
}

/// A part with its measures. The line of its row runs `above` its upper edge.
struct Figure {
    width: f64,
    above: f64,
    below: f64,
    shape: Shape,
}

enum Shape {
    Pill(&'static str),
    Step(Step),
    Row(Vec<Figure>),
    Branches(Vec<Figure>),
}

struct Step {
    label: String,
    /// Below the label: the action, or where the step stands.
    below: String,
    tone: Option<Tone>,
    tip: String,
    kind: Kind,
    is_skippable: bool,
}

/// Where lines begin or end.
type Ends = Vec<(f64, f64)>;

#[derive(Default)]
struct Canvas {
    wires: String,
    boxes: String,
}

impl Figure {
    fn pill(word: &'static str) -> Self {
        let half = PILL_HEIGHT / 2.0;
        Self {
            width: width(word, NAME_SIZE) + 2.0 * BOX_EDGE,
            above: half,
            below: half,
            shape: Shape::Pill(word),
        }
    }

    fn of(drawing: Drawing<'_>, part: &Part) -> Self {
        match part {
            Part::Step(label) => Self::step(drawing, label),
            Part::Row(parts) => {
                Self::row(parts.iter().map(|part| Self::of(drawing, part)).collect())
            }
            Part::Branches(parts) => {
                let figures: Vec<Self> = parts.iter().map(|part| Self::of(drawing, part)).collect();
                let gaps = BRANCH_GAP * count(figures.len().saturating_sub(1));
                let height = figures.iter().map(Self::height).sum::<f64>() + gaps;
                let width = figures
                    .iter()
                    .map(|figure| figure.width)
                    .fold(0.0, f64::max);
                let half = height / 2.0;
                Self {
                    width,
                    above: half,
                    below: half,
                    shape: Shape::Branches(figures),
                }
            }
        }
    }

    fn row(figures: Vec<Self>) -> Self {
        let gaps = ROW_GAP * count(figures.len().saturating_sub(1));
        Self {
            width: figures.iter().map(|figure| figure.width).sum::<f64>() + gaps,
            above: figures
                .iter()
                .map(|figure| figure.above)
                .fold(0.0, f64::max),
            below: figures
                .iter()
                .map(|figure| figure.below)
                .fold(0.0, f64::max),
            shape: Shape::Row(figures),
        }
    }

    fn step(drawing: Drawing<'_>, label: &Label) -> Self {
        let planned = drawing.plan.steps.get(label.at);
        let standing = planned.and_then(|step| drawing.standings.get(&step.id));
        let action = planned.map(action).unwrap_or_default();
        let step = Step {
            label: label.text(),
            below: standing.map_or(action, |standing| standing.words.clone()),
            tone: standing.map(|standing| standing.tone),
            tip: planned.map(|step| drawing.tip(step)).unwrap_or_default(),
            kind: planned.map_or(Kind::Compensatable, |step| step.kind),
            is_skippable: planned.is_some_and(|step| !step.guards.is_empty()),
        };
        let edge = if step.kind == Kind::Pivot {
            PIVOT_EDGE
        } else {
            BOX_EDGE
        };
        let text = width(&step.label, NAME_SIZE).max(width(&step.below, SMALL_SIZE));
        let half = BOX_HEIGHT / 2.0;
        Self {
            width: text + 2.0 * edge,
            above: half,
            below: half,
            shape: Shape::Step(step),
        }
    }

    const fn height(&self) -> f64 {
        self.above + self.below
    }

    /// Draws it with its left edge at `x` and the line of its row at `y`. Answers where lines come in and go out.
    fn draw(&self, x: f64, y: f64, canvas: &mut Canvas) -> (Ends, Ends) {
        match &self.shape {
            Shape::Pill(word) => {
                canvas.pill(word, x, y, self.width);
                self.sides(x, y)
            }
            Shape::Step(step) => {
                canvas.step(step, x, y, self.width);
                self.sides(x, y)
            }
            Shape::Row(figures) => {
                let (mut enters, mut leaves): (Ends, Ends) = (Vec::new(), Vec::new());
                let mut at = x;
                for (n, figure) in figures.iter().enumerate() {
                    let (first, last) = figure.draw(at, y, canvas);
                    if n == 0 {
                        enters = first;
                    } else {
                        canvas.join(&leaves, &first, at - ROW_GAP / 2.0, y);
                    }
                    leaves = last;
                    at += figure.width + ROW_GAP;
                }
                (enters, leaves)
            }
            Shape::Branches(figures) => {
                let (mut enters, mut leaves): (Ends, Ends) = (Vec::new(), Vec::new());
                let mut top = y - self.above;
                for figure in figures {
                    // Narrower branches stand in the middle: the lines to both sides are alike.
                    let left = x + (self.width - figure.width) / 2.0;
                    let (first, last) = figure.draw(left, top + figure.above, canvas);
                    enters.extend(first.into_iter().map(|end| canvas.lead(end, x)));
                    leaves.extend(last.into_iter().map(|end| canvas.lead(end, x + self.width)));
                    top += figure.height() + BRANCH_GAP;
                }
                (enters, leaves)
            }
        }
    }

    fn sides(&self, x: f64, y: f64) -> (Ends, Ends) {
        (vec![(x, y)], vec![(x + self.width, y)])
    }
}

impl Canvas {
    /// A straight line from an end to the edge of the group at `x`.
    fn lead(&mut self, (from, y): (f64, f64), x: f64) -> (f64, f64) {
        if (from - x).abs() > 0.1 {
            let (a, b) = (number(from), number(x));
            self.wires.push_str(&format!(
                "<path class=\"w\" d=\"M{a} {y}H{b}\"/>\n",
                y = number(y)
            ));
        }
        (x, y)
    }

    /// Lines between two parts of a row. Where many meet many they run through one point, since each waits for all.
    fn join(&mut self, from: &Ends, to: &Ends, middle: f64, y: f64) {
        if from.len() > 1 && to.len() > 1 {
            let point = vec![(middle, y)];
            self.curves(from, &point);
            self.curves(&point, to);
            let (x, y) = (number(middle), number(y));
            self.wires.push_str(&format!(
                "<circle class=\"h\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>\n"
            ));
        } else {
            self.curves(from, to);
        }
    }

    fn curves(&mut self, from: &Ends, to: &Ends) {
        for (x1, y1) in from {
            for (x2, y2) in to {
                let bend = f64::midpoint(*x1, *x2);
                let [x1, y1, x2, y2, bend] = [x1, y1, x2, y2, &bend].map(|value| number(*value));
                let path = match y1 == y2 {
                    true => format!("M{x1} {y1}H{x2}"),
                    false => format!("M{x1} {y1}C{bend} {y1} {bend} {y2} {x2} {y2}"),
                };
                self.wires
                    .push_str(&format!("<path class=\"w\" d=\"{path}\"/>\n"));
            }
        }
    }

    fn pill(&mut self, word: &str, x: f64, y: f64, width: f64) {
        let (top, half) = (number(y - PILL_HEIGHT / 2.0), number(PILL_HEIGHT / 2.0));
        self.boxes.push_str(&format!(
            "<g class=\"e\"><rect class=\"b\" x=\"{}\" y=\"{top}\" width=\"{}\" height=\"{}\" rx=\"{half}\"/>{}</g>\n",
            number(x),
            number(width),
            number(PILL_HEIGHT),
            line_of_text("n", x + width / 2.0, y + 5.0, " text-anchor=\"middle\"", word).trim_end(),
        ));
    }

    fn step(&mut self, step: &Step, x: f64, y: f64, width: f64) {
        let half = BOX_HEIGHT / 2.0;
        let [left, right, top, bottom] = [x, x + width, y - half, y + half].map(number);
        let outline = match step.kind {
            Kind::Pivot => {
                let [inner_left, inner_right, middle] = [x + 14.0, x + width - 14.0, y].map(number);
                format!(
                    "<path class=\"b\" d=\"M{left} {middle}L{inner_left} {top}H{inner_right}L{right} {middle}\
                     L{inner_right} {bottom}H{inner_left}Z\"/>"
                )
            }
            Kind::Compensatable | Kind::Retriable => format!(
                "<rect class=\"b\" x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\" rx=\"6\"/>",
                number(width),
                number(BOX_HEIGHT),
            ),
        };
        let kind = match step.kind {
            Kind::Compensatable => "c",
            Kind::Pivot => "p",
            Kind::Retriable => "r",
        };
        let skippable = if step.is_skippable { " s" } else { "" };
        let tone = match step.tone {
            None => "",
            Some(Tone::Done) => " t-done",
            Some(Tone::Busy) => " t-busy",
            Some(Tone::Back) => " t-back",
            Some(Tone::Bad) => " t-bad",
            Some(Tone::Idle) => " t-idle",
        };
        let middle = " text-anchor=\"middle\"";
        self.boxes.push_str(&format!(
            "<g class=\"{kind}{skippable}{tone}\"><title>{}</title>{outline}{}{}</g>\n",
            escaped(&step.tip),
            line_of_text("n", x + width / 2.0, y - 3.0, middle, &step.label).trim_end(),
            line_of_text("a", x + width / 2.0, y + 14.0, middle, &step.below).trim_end(),
        ));
    }
}

fn action(step: &PlanStep) -> String {
    format!("{}/{}", step.action.participant, step.action.action)
}

fn line_of_text(class: &str, x: f64, y: f64, more: &str, text: &str) -> String {
    let (x, y) = (number(x), number(y));
    format!(
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\"{more}>{}</text>\n",
        escaped(text)
    )
}

fn width(text: &str, size: f64) -> f64 {
    count(text.chars().count()) * size * LETTER
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a file has at most 256 KiB of letters"
)]
fn count(number: usize) -> f64 {
    number as f64
}

/// One digit behind the point is finer than anybody sees.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML knows no way to write these.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                escaped.push(char::REPLACEMENT_CHARACTER);
            }
            _ => escaped.push(c),
        }
    }
    escaped
}
