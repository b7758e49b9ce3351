//! REST under `/v1`, and what operators' machines ask: `/healthz`, `/readyz`, `/metrics`.

mod commands;
mod create;
mod reads;
mod session;
mod shares;

use super::{
    Inner,
    health::NotReady,
    reject::{self, Rejection},
    ws,
};
use crate::wire::problem::Problem;
use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

pub(super) fn router(bridge: Arc<Inner>) -> Router {
    Router::new()
        .route("/v1/orders", get(reads::orders).post(create::create))
        .route("/v1/orders/{order}", get(reads::order))
        // One pattern for the GETs and POSTs below an order: axum routes by path first.
        .route("/v1/orders/{order}/{verb}", get(reads::below_order).post(commands::order))
        .route("/v1/orders/{order}/shares", get(shares::list).post(shares::make))
        .route("/v1/orders/{order}/shares/{share}", delete(shares::revoke))
        .route("/v1/session", post(session::begin).delete(session::end))
        .route("/v1/warehouses/{warehouse}/orders/{order}/stages/{stage}", post(commands::stage))
        .route("/v1/riders/{rider}", get(reads::rider))
        .route("/v1/riders/{rider}/{verb}", post(commands::rider))
        .route("/v1/cell", get(reads::cell))
        .route("/v1/ws", get(ws::upgrade))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(reject::no_route)
        .method_not_allowed_fallback(reject::no_method)
        // Bodies are bounded where they are read, with an answer of ours.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(reject::panicked))
        .with_state(bridge)
}

/// The process runs.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The node should get traffic.
async fn readyz(State(bridge): State<Arc<Inner>>) -> Result<&'static str, Rejection> {
    if !bridge.commands.is_connected() {
        return Err(NotReady("NATS is not connected".into()).into());
    }
    bridge.health.check()?;
    Ok("ready\n")
}

async fn metrics(State(bridge): State<Arc<Inner>>) -> Result<Response, Rejection> {
    let text =
        bridge.metrics.encode().map_err(|e| Problem::new(500, "internal", "No metrics").with_detail(e.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
