//! Every error over HTTP as `application/problem+json`, axum's own included, and the extractors that see to it.

use super::{Inner, params::Params, source::SourceError};
use crate::wire::{FieldError, command::check_key, header, problem::Problem, track::Format};
use axum::{
    extract::{FromRequest, FromRequestParts, Request, path::ErrorKind, rejection::PathRejection},
    http::{
        StatusCode,
        header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER},
        request::Parts,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::{collections::BTreeMap, sync::Arc};

/// A problem as a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection(pub Box<Problem>);

impl<T: Into<Problem>> From<T> for Rejection {
    fn from(problem: T) -> Self {
        Self(Box::new(problem.into()))
    }
}

impl From<super::bucket::BucketError> for Problem {
    fn from(error: super::bucket::BucketError) -> Self {
        Self::from(SourceError::Unreachable(error.to_string()))
    }
}

impl Rejection {
    /// What axum itself refused.
    pub fn axum(status: StatusCode, text: &str) -> Self {
        let kind = if status.is_server_error() { "internal" } else { "bad_request" };
        Problem::new(status.as_u16(), kind, status.canonical_reason().unwrap_or("Refused")).with_detail(text).into()
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&*self.0).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, "application/problem+json")], body).into_response();
        let retry_after_s = match self.0.retry_after_ms {
            Some(ms) => Some(ms.div_ceil(1_000)),
            // Within a second or two an election or a restart is through.
            None => matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT).then_some(2),
        };
        if let Some(retry_after_s) = retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, retry_after_s.into());
        }
        response
    }
}

/// No such route.
pub(super) async fn no_route(request: Request) -> Rejection {
    Problem::new(404, "no_route", "There is nothing here").with_field("path").with_detail(request.uri().path()).into()
}

/// A route, but not for this method.
pub(super) async fn no_method(request: Request) -> Rejection {
    let detail = format!("{} is not for {}", request.uri().path(), request.method());
    Problem::new(405, "no_method", "Not this method").with_field("method").with_detail(detail).into()
}

/// Under `/v1` all answers are JSON: who takes none is told so before anything is done. A route's have more forms, of which the
/// query chooses one.
pub(super) async fn accepts_json(request: Request, next: Next) -> Response {
    let api = request.uri().path().starts_with("/v1/");
    let ranges: Vec<_> = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let more: &[&str] = match request.uri().path().rsplit('/').next() {
        Some("route") => &["application/geo+json", "application/gpx+xml"],
        Some("events") => &["text/event-stream", "text/*"],
        Some(_) | None => &[],
    };
    let takes = |range: &str| {
        let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
        let kind = parts.next().unwrap_or_default();
        let refused = parts.any(|part| matches!(part.as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        let known = ["*/*", "application/*", "application/json"].iter().chain(more).any(|known| *known == kind);
        !refused && (kind.is_empty() || known)
    };
    let path = request.uri().path();
    let history = path.starts_with("/v1/orders/") && path.ends_with("/track");
    if history && Format::accepted(&ranges).is_some() {
        return next.run(request).await;
    }
    if !api || ranges.is_empty() || ranges.iter().any(|line| line.split(',').any(takes)) {
        return next.run(request).await;
    }
    let problem = Problem::new(406, "not_acceptable", "Not in this form").with_field("Accept");
    let forms = if history { Format::ALL.map(Format::media_type).join(", ") } else { "application/json".into() };
    Rejection::from(problem.with_detail(format!("answers are {forms}"))).into_response()
}

/// A panic of a request: the connection and the process go on.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Rejection::from(Problem::new(500, "internal", "The request failed")).into_response()
}

/// The query string.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync> FromRequestParts<S> for Query<Params> {
    type Rejection = Rejection;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let pairs = match axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(pairs)) => pairs,
            Err(error) => return Err(Problem::from(FieldError::new("query", error.body_text())).into()),
        };
        let mut params = BTreeMap::new();
        for (name, value) in pairs {
            // One of the two would be overlooked.
            if params.contains_key(&name) {
                return Err(Problem::from(FieldError::new(name, "is given twice")).into());
            }
            params.insert(name, value);
        }
        Ok(Self(Params(params)))
    }
}

/// The path's parameters.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Rejection;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                #[allow(clippy::wildcard_enum_match_arm, reason = "axum's enum, and open")]
                let field = match error.kind() {
                    ErrorKind::ParseErrorAtKey { key, .. }
                    | ErrorKind::DeserializeError { key, .. }
                    | ErrorKind::InvalidUtf8InPathParam { key } => key.clone(),
                    _ => "path".to_owned(),
                };
                Err(Problem::from(FieldError::new(field, error.body_text())).into())
            }
            Err(error) => Err(Self::other(&error)),
        }
    }
}

impl<T> Path<T> {
    fn other(error: &PathRejection) -> Rejection {
        Rejection::axum(error.status(), &error.body_text())
    }
}

/// A body of JSON, within its bounds of size and time. A body that says it is something else is refused: what a page
/// of another site can send without asking is never JSON.
#[derive(Debug)]
pub(super) struct Json(pub(super) Bytes);

impl FromRequest<Arc<Inner>> for Json {
    type Rejection = Rejection;
    async fn from_request(request: Request, bridge: &Arc<Inner>) -> Result<Self, Rejection> {
        let options = &bridge.options;
        let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        let too_large = || {
            let detail = format!("a body holds at most {} bytes", options.body_max_bytes);
            Problem::new(413, "too_large", "The body is too large").with_field("payload").with_detail(detail)
        };
        let said = request.headers().get("content-length").and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if said.is_some_and(|bytes| bytes > options.body_max_bytes) {
            return Err(too_large().into());
        }
        let read = axum::body::to_bytes(request.into_body(), options.body_max_bytes);
        let body = tokio::time::timeout(options.body_timeout, read)
            .await
            .map_err(|_| Problem::new(408, "too_slow", "The body took too long").with_field("payload"))?
            .map_err(|e| {
                if std::error::Error::source(&e).is_some_and(|e| e.to_string().contains("length limit")) {
                    too_large()
                } else {
                    Problem::from(FieldError::new("payload", e.to_string()))
                }
            })?;
        let essence = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        if !body.is_empty() && essence != "application/json" && !essence.ends_with("+json") {
            let detail = "must be application/json";
            let problem = Problem::new(415, "media_type", "Not this media type").with_field("Content-Type");
            return Err(problem.with_detail(detail).into());
        }
        Ok(Self(body))
    }
}

/// The idempotency key, if there is one, checked; which routes can't do without says [`check_key`] there.
#[derive(Debug)]
pub(super) struct Key(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Rejection;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let Some(value) = parts.headers.get(header::IDEMPOTENCY_KEY) else { return Ok(Self(None)) };
        let text = value.to_str().map_err(|_| FieldError::new(header::IDEMPOTENCY_KEY, "must be printable ASCII"))?;
        // Where none is asked for, a bad one is still a slip, and would be taken for no key.
        Ok(Self(Some(check_key(Some(text))?.to_owned())))
    }
}

/// `If-Match` as a rev: `"5"`, `5` or `W/"5"`.
#[derive(Debug)]
pub(super) struct IfMatch(pub(super) Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Rejection;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let Some(value) = parts.headers.get("if-match") else { return Ok(Self(None)) };
        Ok(Self(Some(rev_of(value.to_str().unwrap_or_default())?)))
    }
}

/// A rev as `If-Match` says it.
pub(super) fn rev_of(text: &str) -> Result<u64, FieldError> {
    let text = text.trim();
    let text = text.strip_prefix("W/").unwrap_or(text);
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    // A number's parser would take a sign as well.
    let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit())).unwrap_or_default();
    digits.parse().map_err(|_| FieldError::new("If-Match", "must be one rev in quotes"))
}
