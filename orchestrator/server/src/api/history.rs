//! `History`: every event of a saga, a page at a time.
//!
//! A decision may hold 200 events of a document each, so a page may end within one; a caller that goes on by decisions
//! alone gets such a decision whole, with the bodies of its events left out from where the page is full.

use bytes::Bytes;
use prost::Message;
use saga_core::{Event, SagaId};
use saga_dsl::plan::Plan;
use saga_proto::{
    limits::{PAGE_BYTES_MAX, UNDO_BYTES_MAX},
    v1 as wire,
};

use super::{
    Api,
    error::{Code, Refusal},
    resolve::resolve,
};
use crate::story::{events, fold, words};
use saga_engine::{document::clean_text, store::record::JournalRow};

const PAGE_DEFAULT: usize = 200;
const PAGE_MAX: usize = 1_000;
/// Rows read at a time, so that a page of few large ones does not read a thousand of them.
const ROWS: usize = 50;
/// Largest body of an event: a payload of a compensation, or a start with its labels. Older releases wrote larger ones.
const BODY_BYTES_MAX: usize = UNDO_BYTES_MAX + 64 * 1024;
/// Longest line for people, in bytes.
const TEXT_BYTES_MAX: usize = 8 * 1024;

pub(super) async fn history(
    api: &Api,
    request: &wire::HistoryRequest,
) -> Result<wire::HistoryResponse, Refusal> {
    let id = resolve(api, &request.saga).await?;
    let store = &api.parts().store;
    let row = store
        .saga(id)
        .await?
        .ok_or_else(|| Refusal::new(Code::NoSuchSaga, format!("no saga {id}")))?;
    let plan = api
        .parts()
        .definitions
        .get(&row.name, row.version)
        .filter(|plan| plan.hash == row.hash);
    let plan = plan.ok_or_else(|| {
        let message = format!(
            "the definition {}@{} is not loaded; the server's log names the reason",
            row.name, row.version
        );
        Refusal::new(Code::NotRunning, message)
    })?;
    let mut rows_left = match usize::try_from(request.page_size).unwrap_or(PAGE_MAX) {
        0 => PAGE_DEFAULT,
        size => size.min(PAGE_MAX),
    };
    let mut page = Page::new(request);
    loop {
        // One more than asked for tells whether there is more.
        let limit = ROWS.min(rows_left + 1);
        let journal = store.journal(id, page.after_seq, limit).await?;
        let last = journal.len() < limit;
        for row in journal {
            if rows_left == 0 || !page.take(id, &plan, &row)? {
                return Ok(page.end(true));
            }
            rows_left -= 1;
        }
        if last {
            return Ok(page.end(false));
        }
    }
}

/// A page in the making.
struct Page {
    events: Vec<wire::HistoryEvent>,
    bytes: usize,
    splits: bool,
    /// Where the next page begins: decisions up to this one are read, and so many events of the next.
    after_seq: u64,
    after_event: usize,
}

impl Page {
    fn new(request: &wire::HistoryRequest) -> Self {
        let skipped = if request.splits {
            request.after_event
        } else {
            0
        };
        Self {
            events: Vec::new(),
            bytes: 0,
            splits: request.splits,
            after_seq: request.after_seq,
            after_event: usize::try_from(skipped).unwrap_or(usize::MAX),
        }
    }

    /// Takes a decision; false when the page is full before its end.
    fn take(&mut self, id: SagaId, plan: &Plan, row: &JournalRow) -> Result<bool, Refusal> {
        let record = fold::record(row).map_err(|unreadable| {
            tracing::error!(%id, %unreadable, "a journal is damaged");
            Refusal::new(Code::Internal, unreadable.to_string())
        })?;
        let before = self.events.len();
        for event in record.events.iter().skip(self.after_event) {
            let mut line = line(plan, row, event);
            self.bytes += line.encoded_len();
            let full = self.bytes > PAGE_BYTES_MAX && !self.events.is_empty();
            if full && self.splits {
                return Ok(false);
            }
            if full && before > 0 {
                self.events.truncate(before);
                return Ok(false);
            }
            if full {
                leave_out(&mut line);
            }
            self.events.push(line);
            self.after_event += 1;
        }
        (self.after_seq, self.after_event) = (row.seq, 0);
        Ok(true)
    }

    fn end(self, more: bool) -> wire::HistoryResponse {
        wire::HistoryResponse {
            events: self.events,
            more,
            next_after_seq: self.after_seq,
            next_after_event: u32::try_from(self.after_event).unwrap_or(u32::MAX),
        }
    }
}

fn line(plan: &Plan, row: &JournalRow, event: &Event) -> wire::HistoryEvent {
    let line = events::describe(plan, event, row.at);
    let mut line = wire::HistoryEvent {
        seq: row.seq,
        at_us: row.at.0,
        kind: line.kind.to_owned(),
        step: line
            .step
            .map(|ix| words::step(plan, ix))
            .unwrap_or_default()
            .to_owned(),
        text: clean_text(line.text, TEXT_BYTES_MAX),
        // An event was read from JSON, so it can be written as such.
        body: serde_json::to_vec(event)
            .map(Bytes::from)
            .unwrap_or_default(),
        left_out: false,
    };
    if line.body.len() > BODY_BYTES_MAX {
        leave_out(&mut line);
    }
    line
}

/// Leaves the body out and says so.
fn leave_out(line: &mut wire::HistoryEvent) {
    line.left_out = true;
    line.text += &format!(
        " (with {} bytes, too large to be shown here)",
        line.body.len()
    );
    line.body = Bytes::new();
}

#[cfg(test)]
mod tests {
    use saga_core::{Payload, Record, Timestamp, event::StepSucceeded};
    use saga_dsl::{
        builder::{Saga, step},
        plan::StepIx,
    };
    use saga_proto::limits::{ANSWER_BYTES_MAX, DOCUMENT_BYTES_MAX};

    use super::*;

    fn row(seq: u64, sizes: &[usize]) -> JournalRow {
        let event = |bytes: &usize| {
            let output = Payload::from_value("x".repeat(*bytes).into());
            Event::StepSucceeded(StepSucceeded {
                step: StepIx(0),
                attempt: 1,
                output,
            })
        };
        let record = Record {
            v: Record::VERSION,
            events: sizes.iter().map(event).collect(),
        };
        let body = serde_json::to_vec(&record).expect("JSON");
        JournalRow {
            saga_id: SagaId::from_u128(7),
            seq,
            at: Timestamp(0),
            body,
        }
    }

    /// Pages over a journal: per page the decisions of its events, and how many bodies were left out.
    fn pages(journal: &[JournalRow], splits: bool) -> Vec<(Vec<u64>, usize)> {
        let definition = Saga::new("s", 1)
            .step(step("a").action("p/a").compensation("p/u"))
            .build();
        let plan = Plan::from_definition(definition.expect("a definition")).expect("a plan");
        let (mut pages, mut after_seq, mut after_event) = (Vec::new(), 0, 0);
        loop {
            let request = wire::HistoryRequest {
                after_seq,
                after_event,
                splits,
                ..Default::default()
            };
            let mut page = Page::new(&request);
            let mut rest = journal.iter().filter(|row| row.seq > after_seq);
            let more = !rest.all(|row| page.take(row.saga_id, &plan, row).expect("a record"));
            let page = page.end(more);
            assert!(
                page.encoded_len() <= ANSWER_BYTES_MAX,
                "{} bytes",
                page.encoded_len()
            );
            let left_out = page
                .events
                .iter()
                .filter(|event| event.left_out && event.body.is_empty())
                .count();
            pages.push((
                page.events.iter().map(|event| event.seq).collect(),
                left_out,
            ));
            if !page.more {
                return pages;
            }
            (after_seq, after_event) = match splits {
                true => (page.next_after_seq, page.next_after_event),
                false => (page.events.last().expect("an event").seq, 0),
            };
        }
    }

    const D: usize = DOCUMENT_BYTES_MAX;

    #[test]
    fn a_decision_of_many_documents_is_split_over_pages() {
        let journal = [row(1, &[1]), row(2, &[D; 5]), row(3, &[1])];
        assert_eq!(
            pages(&journal, true),
            [(vec![1, 2, 2], 0), (vec![2, 2], 0), (vec![2, 3], 0)]
        );
    }

    #[test]
    fn a_caller_that_does_not_split_gets_every_event_and_no_body_beyond_the_page() {
        let journal = [row(1, &[1]), row(2, &[D; 5]), row(3, &[1])];
        assert_eq!(
            pages(&journal, false),
            [(vec![1], 0), (vec![2, 2, 2, 2, 2], 3), (vec![3], 0)]
        );
    }

    #[test]
    fn an_event_of_an_older_release_that_fits_no_page_says_how_large_it_is() {
        let journal = [row(1, &[1]), row(2, &[9 * D, 1]), row(3, &[1])];
        assert_eq!(pages(&journal, true), [(vec![1, 2, 2, 3], 1)]);
        assert_eq!(pages(&journal, false), [(vec![1, 2, 2, 3], 1)]);
    }
}
