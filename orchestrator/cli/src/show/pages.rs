//! Lists that come in pages, read to their end.

use saga_proto::v1::{
    Breaker, DefinitionInfo, ListBreakersRequest, ListDefinitionsRequest, ListParticipantsRequest,
    ListParticipantsResponse,
};

use crate::{client::Server, exit::Failure};

/// Every registered definition.
///
/// # Errors
/// Refusals of the server.
pub async fn definitions(server: &Server) -> Result<Vec<DefinitionInfo>, Failure> {
    let (mut all, mut request) = (Vec::new(), ListDefinitionsRequest::default());
    loop {
        let page = server.definitions().list_definitions(request.clone()).await;
        let page = page.map_err(|status| server.failure(status))?.into_inner();
        all.extend(page.definitions);
        if !leads_on(&mut request.page_token, page.next_page_token) {
            return Ok(all);
        }
    }
}

/// Every participant, and how it stands with the broker.
///
/// # Errors
/// Refusals of the server.
pub async fn participants(server: &Server) -> Result<ListParticipantsResponse, Failure> {
    let (mut all, mut request) = (
        ListParticipantsResponse::default(),
        ListParticipantsRequest::default(),
    );
    loop {
        let page = server
            .participants()
            .list_participants(request.clone())
            .await;
        let page = page.map_err(|status| server.failure(status))?.into_inner();
        all.participants.extend(page.participants);
        all.broker = page.broker;
        if !leads_on(&mut request.page_token, page.next_page_token) {
            return Ok(all);
        }
    }
}

/// Every circuit breaker.
///
/// # Errors
/// Refusals of the server.
pub async fn breakers(server: &Server) -> Result<Vec<Breaker>, Failure> {
    let (mut all, mut request) = (Vec::new(), ListBreakersRequest::default());
    loop {
        let page = server.operators().list_breakers(request.clone()).await;
        let page = page.map_err(|status| server.failure(status))?.into_inner();
        all.extend(page.breakers);
        if !leads_on(&mut request.page_token, page.next_page_token) {
            return Ok(all);
        }
    }
}

/// Takes the token of the next page, if there is one; a page that leads nowhere would be read for ever.
fn leads_on(token: &mut String, next: String) -> bool {
    let leads_on = !next.is_empty() && *token != next;
    *token = next;
    leads_on
}
