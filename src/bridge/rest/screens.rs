//! What a page has to know before it can sign anybody in.

use super::docs::ReadProblems;
use crate::{
    bridge::{
        Inner,
        params::Params,
        reject::{Query, Rejection},
        screens::base_map,
    },
    wire::screens::Screens,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderName, header::CACHE_CONTROL},
};
use std::sync::Arc;

/// How this node's pages are set up: its cell, where to sign in, its base map
#[utoipa::path(get, path = "/v1/screens", tag = "node", security(()),
    responses((status = 200, description = "As of now", body = Screens), ReadProblems))]
pub(super) async fn screens(
    State(bridge): State<Arc<Inner>>,
    Query(params): Query<Params>,
) -> Result<([(HeaderName, &'static str); 1], Json<Screens>), Rejection> {
    params.end()?;
    let options = &bridge.options.screens;
    let said = Screens {
        cell: bridge.cell.clone(),
        insecure: bridge.gate.insecure,
        sign_in_url: options.sign_in_url.clone(),
        base_map: base_map::of(&bridge.cell, &options.map).await,
    };
    Ok(([(CACHE_CONTROL, "no-cache")], Json(said)))
}
