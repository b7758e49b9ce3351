//! Tickets over HTTP, for `EventSource`, `WebSocket` and SockJS in a browser, which send no header.

use super::docs::ReadProblems;
use crate::{
    bridge::{Inner, gate::Asked, reject::Rejection},
    clock,
    domain::UnixMillis,
    metrics::OutcomeLabel,
    wire::schema::Millis,
};
use axum::{
    extract::State,
    http::{StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A ticket. `?ticket=` takes it wherever a token is taken.
#[derive(Serialize, ToSchema)]
// Share links have a `Made` as well, and the document has one name for each.
#[schema(as = Ticket)]
pub(super) struct Made {
    ticket: String,
    #[schema(value_type = Millis)]
    expires_at_ms: UnixMillis,
}

/// Make a ticket for the token: good for one request, within 30 s
#[utoipa::path(post, path = "/v1/tickets", tag = "tickets",
    responses((status = 201, description = "The ticket", body = Made), ReadProblems))]
pub(super) async fn make(
    State(bridge): State<Arc<Inner>>,
    Asked { who, params }: Asked,
) -> Result<Response, Rejection> {
    params.end()?;
    let (ticket, expires_at_ms) = bridge.tickets.make(&who, clock::wall()).await?;
    bridge.metrics.tickets.get_or_create(&OutcomeLabel { outcome: "made" }).inc();
    let made = Made { ticket: ticket.reveal().to_owned(), expires_at_ms };
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], axum::Json(made)).into_response())
}
