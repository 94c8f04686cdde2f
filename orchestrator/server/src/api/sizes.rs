//! Holds answers to the sizes of the contract, so that no answer is too large for its road: lists end a page early, and
//! the picture of a saga leaves documents out and cuts its texts. Each of them says so.

use bytes::Bytes;
use prost::Message;
use saga_core::{ErrorBody, Payload, limits::TOO_LARGE};
use saga_proto::{
    limits::{
        DOCUMENT_BYTES_MAX, PAGE_BYTES_MAX, PICTURE_DOCUMENTS_BYTES_MAX, PICTURE_TEXTS_BYTES_MAX,
    },
    v1 as wire,
};

use saga_engine::document::clean_text;

/// Entries of a page where the request names no size, and at most.
const PAGE_COUNT_MAX: usize = 1_000;
/// Length of a text in a picture whose texts are too large together.
const SHORT_TEXT_BYTES: usize = 100;

/// As many entries as one page holds, at least one, and whether there are more.
pub(super) fn page<T: Message>(entries: impl Iterator<Item = T>, page_size: u32) -> (Vec<T>, bool) {
    let count_max = match usize::try_from(page_size).unwrap_or(PAGE_COUNT_MAX) {
        0 => PAGE_COUNT_MAX,
        size => size.min(PAGE_COUNT_MAX),
    };
    let (mut taken, mut bytes) = (Vec::new(), 0);
    for entry in entries {
        bytes += entry.encoded_len();
        if taken.len() == count_max || (bytes > PAGE_BYTES_MAX && !taken.is_empty()) {
            return (taken, true);
        }
        taken.push(entry);
    }
    (taken, false)
}

/// Room for the documents of one picture.
pub(super) struct Room(usize);

impl Room {
    pub(super) fn new() -> Self {
        Self(PICTURE_DOCUMENTS_BYTES_MAX)
    }

    /// The document if there is room for it; else `left_out` becomes true.
    pub(super) fn take(&mut self, document: Option<&Payload>, left_out: &mut bool) -> Bytes {
        let Some(document) = document else {
            return Bytes::new();
        };
        match self.0.checked_sub(document.text().len()) {
            Some(rest) => {
                self.0 = rest;
                Bytes::copy_from_slice(document.text().as_bytes())
            }
            None => {
                *left_out = true;
                Bytes::new()
            }
        }
    }
}

/// Cuts the texts of a picture where they are too large together. 200 steps may each repeat a long error of their
/// participant in a note, an incident and a sentence; the history has them whole.
pub(super) fn cut_texts(detail: &mut wire::SagaDetail) {
    let documents = detail.input.len() + detail.output.len();
    let of_steps: usize = detail
        .steps
        .iter()
        .map(|step| step.input.len() + step.output.len())
        .sum();
    if detail.encoded_len().saturating_sub(documents + of_steps) <= PICTURE_TEXTS_BYTES_MAX {
        return;
    }
    let faults = detail
        .failure
        .iter_mut()
        .chain(&mut detail.output_error)
        .map(|fault| &mut fault.message);
    let of_steps = detail.steps.iter_mut().flat_map(|step| {
        let error = step.error.as_mut().map(|fault| &mut fault.message);
        [Some(&mut step.note), error].into_iter().flatten()
    });
    let incidents = detail
        .incidents
        .iter_mut()
        .map(|incident| &mut incident.message);
    for text in faults
        .chain(of_steps)
        .chain(incidents)
        .chain(&mut detail.story)
    {
        if text.len() > SHORT_TEXT_BYTES {
            *text = clean_text(std::mem::take(text), SHORT_TEXT_BYTES) + "…";
        }
    }
    detail
        .story
        .push("Its texts are long and are cut here; the history has them whole.".to_owned());
}

/// The output of a saga that ended, as one of many outcomes carries it, and why there is none.
pub(super) fn outcome(
    output: Option<&Payload>,
    error: Option<&ErrorBody>,
) -> (Bytes, Option<wire::Fault>) {
    let fault = |code: &str, message: String| wire::Fault {
        code: code.to_owned(),
        message,
        step: String::new(),
    };
    match output {
        Some(output) if output.text().len() > DOCUMENT_BYTES_MAX => {
            // Only a saga that ended under an older release has one.
            let bytes = output.text().len();
            let message = format!(
                "output: {bytes} bytes are more than the limit of {DOCUMENT_BYTES_MAX}; `saga history` has it"
            );
            (Bytes::new(), Some(fault(TOO_LARGE, message)))
        }
        Some(output) => (Bytes::copy_from_slice(output.text().as_bytes()), None),
        None => (
            Bytes::new(),
            error.map(|error| fault(&error.code, error.message.clone())),
        ),
    }
}

#[cfg(test)]
mod tests {
    use saga_proto::limits::ANSWER_BYTES_MAX;

    use super::*;

    fn payload(bytes: usize) -> Payload {
        Payload::from_value("x".repeat(bytes - 2).into())
    }

    #[test]
    fn a_page_ends_by_count_by_bytes_and_never_empty() {
        let entry = |bytes: usize| wire::DefinitionInfo {
            description: "x".repeat(bytes),
            ..Default::default()
        };
        let (taken, more) = page((0..5).map(|_| entry(1)), 3);
        assert_eq!((taken.len(), more), (3, true));
        let (taken, more) = page((0..1_001).map(|_| entry(1)), 0);
        assert_eq!((taken.len(), more), (1_000, true));
        let (taken, more) = page((0..4).map(|_| entry(PAGE_BYTES_MAX / 3)), 0);
        assert_eq!((taken.len(), more), (2, true));
        let (taken, more) = page((0..2).map(|_| entry(PAGE_BYTES_MAX + 1)), 0);
        assert_eq!((taken.len(), more), (1, true));
        assert!(!page((0..2).map(|_| entry(1)), 2).1);
    }

    #[test]
    fn documents_are_shown_while_there_is_room() {
        let (mut room, mut left_out) = (Room::new(), false);
        let third = payload(PICTURE_DOCUMENTS_BYTES_MAX / 3);
        for _ in 0..3 {
            assert_eq!(
                room.take(Some(&third), &mut left_out).len(),
                third.text().len()
            );
        }
        assert!(room.take(None, &mut left_out).is_empty());
        assert!(!left_out);
        assert!(room.take(Some(&payload(2)), &mut left_out).is_empty() && left_out);
    }

    #[test]
    fn a_picture_of_the_longest_texts_fits_a_message() {
        let long = || "ü".repeat(2 * 1024);
        let fault = || wire::Fault {
            code: "c".repeat(128),
            message: long(),
            step: "s".repeat(63),
        };
        let step = wire::StepDetail {
            note: long(),
            error: Some(fault()),
            ..Default::default()
        };
        let incident = wire::Incident {
            message: long(),
            step: "s".repeat(63),
            ..Default::default()
        };
        let mut detail = wire::SagaDetail {
            input: Bytes::from(vec![b' '; DOCUMENT_BYTES_MAX]),
            output: Bytes::from(vec![b' '; DOCUMENT_BYTES_MAX]),
            failure: Some(fault()),
            steps: vec![step; 200],
            incidents: vec![incident; 1_000],
            story: vec![long(); 1_200],
            ..Default::default()
        };
        cut_texts(&mut detail);
        assert!(
            detail.encoded_len() <= ANSWER_BYTES_MAX,
            "{} bytes",
            detail.encoded_len()
        );
        assert!(detail.encoded_len() - 2 * DOCUMENT_BYTES_MAX <= PICTURE_TEXTS_BYTES_MAX);
        assert!(
            detail.steps[0].note.ends_with('…')
                && detail.story.last().is_some_and(|line| line.contains("cut"))
        );

        let mut short = wire::SagaDetail {
            story: vec![long()],
            ..Default::default()
        };
        cut_texts(&mut short);
        assert_eq!(short.story, [long()]);
    }

    #[test]
    fn an_outcome_carries_the_largest_output_and_says_why_there_is_none() {
        let (output, fault) = outcome(Some(&payload(DOCUMENT_BYTES_MAX)), None);
        assert_eq!((output.len(), fault), (DOCUMENT_BYTES_MAX, None));
        let (output, fault) = outcome(Some(&payload(DOCUMENT_BYTES_MAX + 1)), None);
        let fault = fault.expect("it says why");
        assert!(
            output.is_empty() && fault.code == TOO_LARGE && fault.message.contains("1048577"),
            "{fault:?}"
        );
        let (output, fault) = outcome(None, Some(&ErrorBody::new("expression", "no such field")));
        assert!(output.is_empty() && fault.is_some_and(|fault| fault.code == "expression"));
    }
}
