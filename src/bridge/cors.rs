//! Which pages of other sites may read answers: those of the origins that the settings list, and nobody else's.
//!
//! A browser asks beforehand (a preflight) and looks at the answer's headers. Who isn't listed gets an answer without them,
//! which the page can't read; whether a cookie counts is decided where the cookie is taken. `/ws` is left alone: SockJS has
//! rules of its own.

use super::Inner;
use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{self, HeaderName},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// What a page may send; browsers forget the answer after `MAX_AGE_S` at the latest.
const METHODS: &str = "GET, POST, DELETE";
const HEADERS: &str = "authorization, content-type, idempotency-key, if-match, last-event-id";
const MAX_AGE_S: &str = "7200";
/// What a page may read beside the body.
const EXPOSED: &str = "etag, location, retry-after";

pub(super) async fn cors(State(bridge): State<Arc<Inner>>, request: Request, next: Next) -> Response {
    let origins = &bridge.options.origins;
    let path = request.uri().path();
    if origins.is_empty() || path == "/ws" || path.starts_with("/ws/") {
        return next.run(request).await;
    }
    let origin =
        request.headers().get(header::ORIGIN).filter(|origin| origins.list(origin.to_str().unwrap_or_default()));
    let origin = origin.cloned();
    let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let preflight = origin.is_some() && asks && request.method() == Method::OPTIONS;
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    let Some(origin) = origin else { return response };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    say(headers, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
    if preflight {
        say(headers, header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        say(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        say(headers, header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
    } else {
        say(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    response
}

fn say(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
