//! REST under `/v1`, and what operators' machines ask: `/healthz`, `/readyz`, `/metrics`.

mod alerts;
mod asked;
mod commands;
mod create;
mod docs;
mod events;
mod history;
mod reads;
mod route;
mod screens;
mod session;
mod shares;
mod tickets;
mod updates;

use super::{
    Inner, cors,
    reject::{self, Rejection},
    screens as pages, sockjs, stomp, ws,
};
use crate::wire::problem::Problem;
use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::header::CONTENT_TYPE,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use docs::NodeProblems;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::{router::OpenApiRouter, routes};

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn router(bridge: Arc<Inner>) -> Router {
    let (routes, document) = documented();
    undocumented(routes)
        .merge(sockjs::routes(&bridge))
        .merge(docs::pages(&document))
        .merge(pages::routes())
        .layer(from_fn(reject::accepts_json))
        .fallback(reject::no_route)
        .method_not_allowed_fallback(reject::no_method)
        // Bodies are bounded where they are read, with an answer of ours.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(reject::panicked))
        .layer(from_fn_with_state(bridge.clone(), cors::cors))
        .with_state(bridge)
}

/// Routes and document, one made with the other.
fn documented() -> (Router<Arc<Inner>>, utoipa::openapi::OpenApi) {
    let (routes, mut document) = OpenApiRouter::with_openapi(docs::frame())
        .routes(routes!(reads::orders, create::create))
        .routes(routes!(reads::order))
        .routes(routes!(events::events))
        .routes(routes!(updates::updates))
        .routes(routes!(history::track))
        .routes(routes!(history::passed))
        .routes(routes!(route::route))
        .routes(routes!(reads::erase))
        .routes(routes!(shares::list, shares::make))
        .routes(routes!(shares::revoke))
        .routes(routes!(session::begin, session::end))
        .routes(routes!(tickets::make))
        .routes(routes!(commands::pay))
        .routes(routes!(commands::cancel))
        .routes(routes!(commands::assign))
        .routes(routes!(commands::unassign))
        .routes(routes!(commands::deliver))
        .routes(routes!(commands::fail))
        .routes(routes!(commands::give_back))
        .routes(routes!(commands::missing))
        .routes(routes!(commands::edit_order))
        .routes(routes!(commands::acknowledge))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::one))
        .routes(routes!(alerts::acknowledge))
        .routes(routes!(commands::stage))
        .routes(routes!(reads::riders))
        .routes(routes!(reads::nearest))
        .routes(routes!(reads::rider))
        .routes(routes!(commands::fix))
        .routes(routes!(commands::fixes))
        .routes(routes!(commands::shift))
        .routes(routes!(commands::trip))
        .routes(routes!(commands::delivered))
        .routes(routes!(commands::failed))
        .routes(routes!(commands::returned))
        .routes(routes!(reads::cell))
        .routes(routes!(screens::screens))
        .routes(routes!(reads::figures))
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .split_for_parts();
    docs::finish(&mut document);
    (routes, document)
}

/// Routes that the document can't or needn't tell of: the socket, and words that are no verb, which are told which are.
fn undocumented(routes: Router<Arc<Inner>>) -> Router<Arc<Inner>> {
    routes
        .route("/v1/ws", get(ws::upgrade))
        .route("/ws/websocket", get(stomp::upgrade))
        .route("/v1/orders/{order}/{verb}", get(reads::nothing_below).post(commands::no_order_verb))
        .route("/v1/riders/{rider}/{verb}", post(commands::no_rider_verb))
}

/// The process runs
#[utoipa::path(get, path = "/healthz", tag = "node", security(()),
    responses((status = 200, description = "It runs", body = String, content_type = "text/plain"), NodeProblems))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// The node should get traffic
#[utoipa::path(get, path = "/readyz", tag = "node", security(()),
    responses((status = 200, description = "It should", body = String, content_type = "text/plain"), NodeProblems))]
async fn readyz(State(bridge): State<Arc<Inner>>) -> Result<&'static str, Rejection> {
    bridge.ready()?;
    Ok("ready\n")
}

/// Figures for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "node", security(()),
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = METRICS_TYPE), NodeProblems))]
async fn metrics(State(bridge): State<Arc<Inner>>) -> Result<Response, Rejection> {
    let text =
        bridge.metrics.encode().map_err(|e| Problem::new(500, "internal", "No metrics").with_detail(e.to_string()))?;
    Ok(([(CONTENT_TYPE, METRICS_TYPE)], text).into_response())
}
