//! A token as a cookie, for pages that can't send headers: the page posts its token once, scripts can't read it any
//! more, and the browser presents it to this server alone.

use super::docs::ReadProblems;
use crate::{
    bridge::{
        Inner,
        gate::{self, COOKIE},
        reject::Rejection,
    },
    wire::problem::Problem,
};
use axum::{
    extract::State,
    http::{
        HeaderMap, Method, StatusCode,
        header::{CACHE_CONTROL, SET_COOKIE},
    },
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// The token of the header as a cookie, for as long as it is good
#[utoipa::path(post, path = "/v1/session", tag = "session",
    responses((status = 204, description = "The cookie is set"), ReadProblems))]
pub(super) async fn begin(State(bridge): State<Arc<Inner>>, headers: HeaderMap) -> Result<Response, Rejection> {
    let token = gate::presented(&headers, &Method::POST, &bridge.options.origins)?;
    let token = token.ok_or_else(|| gate::unauthorized("Authorization: Bearer … is what becomes the cookie"))?;
    let who = bridge.admit(&token).await.map_err(Problem::from)?;
    let age_s = gate::left(&who).map_or(0, |left| left.as_secs());
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; Secure; SameSite=Strict; Max-Age={age_s}");
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie), (CACHE_CONTROL, "no-store".into())]).into_response())
}

/// Take the cookie away. Needs no token: an expired one must go as well
#[utoipa::path(delete, path = "/v1/session", tag = "session", security(()),
    responses((status = 204, description = "The cookie is gone"), ReadProblems))]
pub(super) async fn end() -> Response {
    let cookie = format!("{COOKIE}=; Path=/; HttpOnly; Secure; SameSite=Strict; Max-Age=0");
    (StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response()
}
