//! `History`: every event of a saga, a page at a time.

use bytes::Bytes;
use saga_proto::v1 as wire;

use super::{
    Api,
    error::{Code, Refusal},
    resolve::resolve,
};
use crate::observe::{events, fold, words};

const PAGE_DEFAULT: usize = 200;
const PAGE_MAX: usize = 1_000;
/// About the most bytes of events in one page; messages have at most 4 MiB.
const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

pub(super) async fn history(
    api: &Api,
    request: &wire::HistoryRequest,
) -> Result<wire::HistoryResponse, Refusal> {
    let id = resolve(api, &request.saga).await?;
    let store = &api.parts().store;
    let row = store.saga(id).await?.ok_or_else(|| Refusal::new(Code::NoSuchSaga, format!("no saga {id}")))?;
    let limit = match usize::try_from(request.page_size).unwrap_or(PAGE_MAX) {
        0 => PAGE_DEFAULT,
        size => size.min(PAGE_MAX),
    };
    // One more than asked for tells whether there is more.
    let mut journal = store.journal(id, request.after_seq, limit + 1).await?;
    let mut more = journal.len() > limit;
    journal.truncate(limit);
    let plan = api.parts().definitions.get(&row.name, row.version).filter(|plan| plan.hash == row.hash);
    let plan = plan.ok_or_else(|| {
        let message = format!(
            "the definition {}@{} is not loaded; the server's log names the reason",
            row.name, row.version
        );
        Refusal::new(Code::NotRunning, message)
    })?;
    let mut events = Vec::new();
    let mut bytes = 0;
    for row in &journal {
        bytes += row.body.len();
        if bytes > PAGE_BYTES_MAX && !events.is_empty() {
            more = true;
            break;
        }
        let record = fold::record(row).map_err(|unreadable| {
            tracing::error!(%id, %unreadable, "a journal is damaged");
            Refusal::new(Code::Internal, unreadable.to_string())
        })?;
        for event in &record.events {
            let line = events::describe(&plan, event, row.at);
            events.push(wire::HistoryEvent {
                seq: row.seq,
                at_us: row.at.0,
                kind: line.kind.to_owned(),
                step: line.step.map(|ix| words::step(&plan, ix)).unwrap_or_default().to_owned(),
                text: line.text,
                // An event was read from JSON, so it can be written as such.
                body: serde_json::to_vec(event).map(Bytes::from).unwrap_or_default(),
            });
        }
    }
    Ok(wire::HistoryResponse { events, more })
}
