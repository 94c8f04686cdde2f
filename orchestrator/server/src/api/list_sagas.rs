//! `ListSagas`: a page, newest first, with what each open saga is about to do.

use std::collections::BTreeMap;

use prost::Message;
use saga_core::{SagaId, Status, Timestamp};
use saga_proto::{limits::PAGE_BYTES_MAX, v1 as wire};

use super::{
    Api, convert,
    error::{Code, Refusal},
    picture,
};
use saga_engine::store::record::ListFilter;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;

pub(super) async fn list_sagas(
    api: &Api,
    request: wire::ListSagasRequest,
) -> Result<wire::ListSagasResponse, Refusal> {
    let store = &api.parts().store;
    let before = page_token(&request.page_token)?;
    let limit = match usize::try_from(request.page_size).unwrap_or(PAGE_MAX) {
        0 => PAGE_DEFAULT,
        size => size.min(PAGE_MAX),
    };
    let page = store.list(filter(request)?, before, limit).await?;
    let open: Vec<SagaId> = page
        .rows
        .iter()
        .filter(|row| row.face.status.is_open() || row.face.incident)
        .map(|row| row.id)
        .collect();
    let journals = if open.is_empty() {
        Vec::new()
    } else {
        store.journals(open.clone()).await?
    };
    let journals: BTreeMap<_, _> = open.into_iter().zip(journals).collect();
    let now = api.parts().lane.clock().now();
    let mut next = page.next;
    let (mut sagas, mut bytes) = (Vec::with_capacity(page.rows.len()), 0);
    for (at, row) in page.rows.iter().enumerate() {
        let folded = journals
            .get(&row.id)
            .map(|journal| picture::fold(api, row, journal));
        let line = convert::summary(row, folded.as_ref(), now);
        bytes += line.encoded_len();
        if bytes > PAGE_BYTES_MAX && at > 0 {
            // Long labels: the page ends early, after the row before.
            next = page.rows.get(at - 1).map(|row| row.id);
            break;
        }
        sagas.push(line);
    }
    let (mut open_total, mut finished_total) = (0, 0);
    for (status, count) in store.counts().await? {
        *(if status.is_open() {
            &mut open_total
        } else {
            &mut finished_total
        }) += count;
    }
    Ok(wire::ListSagasResponse {
        sagas,
        next_page_token: next.map(|id| id.to_string()).unwrap_or_default(),
        open_total,
        finished_total,
    })
}

fn page_token(token: &str) -> Result<Option<SagaId>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let malformed = |_| Refusal::new(Code::Malformed, "page_token: not from a page of this list");
    token.parse().map(Some).map_err(malformed)
}

fn filter(request: wire::ListSagasRequest) -> Result<ListFilter, Refusal> {
    let mut statuses = Vec::with_capacity(request.statuses.len());
    for word in &request.statuses {
        let message = || {
            let word = saga_engine::document::clean_text(word.clone(), 64);
            format!(
                "statuses: `{word}` is none of running, compensating, completed, compensated, abandoned"
            )
        };
        statuses
            .push(Status::of_word(word).ok_or_else(|| Refusal::new(Code::Malformed, message()))?);
    }
    if request.open_only {
        if statuses.is_empty() {
            statuses = vec![Status::Running, Status::Compensating];
        } else {
            statuses.retain(|status| status.is_open());
            if statuses.is_empty() {
                let message = "statuses: open_only leaves none of these statuses";
                return Err(Refusal::new(Code::Malformed, message));
            }
        }
    }
    let incident_only = match request.mark.as_str() {
        "" => false,
        "incident" => true,
        _ => {
            return Err(Refusal::new(
                Code::Malformed,
                "mark: lists can be narrowed to `incident` only",
            ));
        }
    };
    let moment = |us: i64| (us != 0).then_some(Timestamp(us));
    Ok(ListFilter {
        statuses,
        name: (!request.name.is_empty()).then_some(request.name),
        labels: request.labels.into_iter().collect(),
        incident_only,
        started_after: moment(request.started_after_us),
        started_before: moment(request.started_before_us),
    })
}
