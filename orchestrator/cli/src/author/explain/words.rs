//! The words that screens show, from the page of the reference that tells them.

use super::Article;

const PAGE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/reference/screen-words.md"
));

/// Every word, in the order of the page.
pub fn articles() -> impl Iterator<Item = Article> {
    PAGE.split("\n## `").skip(1).filter_map(|section| {
        let (heading, page) = section.split_once('\n').unwrap_or((section, ""));
        let (code, title) = heading.split_once("`: ")?;
        Some(Article {
            kind: "word",
            code,
            title,
            text: "",
            page: page.trim(),
        })
    })
}

/// The name of a word as screens show it: `to be undone` is `undo_pending`.
pub fn named(shown: &str) -> &str {
    let names = [
        ("not_reached", "pending"),
        ("retry", "backing_off"),
        ("asking_whether_done", "querying"),
        ("to_be_undone", "undo_pending"),
        ("undo_waits", "undo_waiting"),
        ("undo", "undo_backing_off"),
        ("sealed,_never_happened", "sealed"),
    ];
    let name = names.into_iter().find(|(known, _)| *known == shown);
    name.map_or(shown, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use saga_core::event::IncidentKind;
    use saga_proto::v1::StepDetail;

    use super::*;
    use crate::show::words;

    /// Each kind once; a new one is a compile error here.
    const fn next(kind: IncidentKind) -> Option<IncidentKind> {
        Some(match kind {
            IncidentKind::Slow => IncidentKind::UndoSlow,
            IncidentKind::UndoSlow => IncidentKind::UndoStuck,
            IncidentKind::UndoStuck => IncidentKind::RetriableRefused,
            IncidentKind::RetriableRefused => IncidentKind::RetriableExhausted,
            IncidentKind::RetriableExhausted => IncidentKind::Expression,
            IncidentKind::Expression => IncidentKind::Deadline,
            IncidentKind::Deadline => IncidentKind::PivotUnknown,
            IncidentKind::PivotUnknown => IncidentKind::OutputNotTaken,
            IncidentKind::OutputNotTaken => IncidentKind::Contradiction,
            IncidentKind::Contradiction => IncidentKind::Internal,
            IncidentKind::Internal => return None,
        })
    }

    fn is_explained(word: &str) -> bool {
        articles().any(|article| article.code == word)
    }

    #[test]
    fn every_kind_of_incident_is_explained() {
        let kinds = std::iter::successors(Some(IncidentKind::Slow), |kind| next(*kind));
        for kind in kinds {
            let word = serde_json::to_value(kind).expect("JSON");
            let word = word.as_str().expect("a word");
            assert!(is_explained(word), "{word}");
        }
    }

    #[test]
    fn every_word_that_a_screen_shows_is_explained() {
        let sagas = [
            "running",
            "compensating",
            "completed",
            "compensated",
            "abandoned",
        ];
        let marks = ["incident", "waiting", "paused", "exceptions"];
        let steps = [
            "pending",
            "skipped",
            "backing_off",
            "querying",
            "sealing",
            "succeeded",
            "refused",
            "failed",
            "unknown",
            "undo_pending",
            "undo_waiting",
            "undoing",
            "undo_backing_off",
            "nothing_to_undo",
            "not_undone",
            "undo_skipped",
            "sealed",
        ];
        let others = [
            "live",
            "draining",
            "held",
            "lost",
            "absent",
            "closed",
            "open",
            "half_open",
            "recovering",
            "timeout",
            "handler_timeout",
            "step_unknown",
        ];
        for word in sagas.iter().chain(&marks).chain(&steps).chain(&others) {
            assert!(is_explained(word), "{word}");
        }
        for (status, forward) in steps.iter().flat_map(|step| [(step, true), (step, false)]) {
            let detail = StepDetail {
                status: (*status).to_owned(),
                ..StepDetail::default()
            };
            let text = words::step(&detail, forward, 0).text();
            let shown = text.split_once(' ').map_or("", |(_, word)| word);
            let shown = shown.replace(' ', "_");
            assert!(is_explained(named(&shown)), "{shown}");
        }
    }
}
