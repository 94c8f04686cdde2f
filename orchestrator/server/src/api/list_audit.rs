//! `ListAudit`: what operators did, newest first.

use bytes::Bytes;
use saga_core::SagaId;
use saga_proto::v1 as wire;

use super::{
    Api, convert,
    error::{Code, Refusal},
    resolve::resolve,
};
use saga_engine::store::record::AuditEntry;

/// Entries of a page when nothing is said.
const PAGE: usize = 100;
/// Entries of a page at most.
const PAGE_MAX: usize = 1_000;

pub(super) async fn list_audit(
    api: &Api,
    request: wire::ListAuditRequest,
) -> Result<wire::ListAuditResponse, Refusal> {
    let saga = if request.saga.is_empty() {
        None
    } else {
        Some(resolve(api, &request.saga).await?)
    };
    let before = match request.page_token.as_str() {
        "" => None,
        token => Some(token.parse().map_err(|_| {
            Refusal::new(
                Code::Malformed,
                "page_token: it does not come from the page before",
            )
        })?),
    };
    let size = match usize::try_from(request.page_size).unwrap_or(PAGE_MAX) {
        0 => PAGE,
        size => size.min(PAGE_MAX),
    };
    // One more than asked for, to know whether there is another page.
    let mut entries = api.parts().store.audit(saga, before, size + 1).await?;
    let more = entries.len() > size;
    entries.truncate(size);
    let next = entries
        .last()
        .filter(|_| more)
        .map(|last| last.position.to_string());
    Ok(wire::ListAuditResponse {
        entries: entries.into_iter().map(entry).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

fn entry(entry: AuditEntry) -> wire::AuditEntry {
    let row = entry.row;
    wire::AuditEntry {
        at_us: row.at.0,
        saga_id: if row.saga_id == SagaId::NONE {
            Bytes::new()
        } else {
            convert::id_bytes(row.saga_id)
        },
        seq: row.seq,
        verb: row.verb,
        step: row.step.unwrap_or_default(),
        by: row.who,
        reason: row.reason,
        forced: row.forced,
    }
}
