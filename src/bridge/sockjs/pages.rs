//! Responses whose every header the protocol names: pages, preflights, refusals, and the headers of sessions.

use super::framing::{BadCallback, BadPayload};
use crate::clock;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

/// A year, for what never changes.
const YEAR_S: i64 = 31_536_000;

/// For what must never be kept by anybody on the way, nor changed.
const NO_STORE: &str = "no-store, no-cache, no-transform, must-revalidate, max-age=0";

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");

pub(super) fn greeting() -> Response {
    ([(header::CONTENT_TYPE, TEXT)], "Welcome to SockJS!\n").into_response()
}

pub(super) fn not_found() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

/// Not this method; these.
pub(super) fn not_allowed(allow: &'static str) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allow)]).into_response()
}

/// An error in the protocol's words.
pub(super) fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, TEXT)], text.into()).into_response()
}

impl IntoResponse for BadPayload {
    fn into_response(self) -> Response {
        text(StatusCode::INTERNAL_SERVER_ERROR, self.to_string())
    }
}

impl IntoResponse for BadCallback {
    fn into_response(self) -> Response {
        text(StatusCode::INTERNAL_SERVER_ERROR, self.to_string())
    }
}

/// What clients ask before anything else.
pub(super) fn info(websocket: bool, cookie_needed: bool) -> Response {
    let entropy = rand::random::<u32>();
    let info = serde_json::json!({
        "websocket": websocket, "origins": ["*:*"], "cookie_needed": cookie_needed, "entropy": entropy,
    });
    let kind = [(header::CONTENT_TYPE, "application/json; charset=UTF-8")];
    (kind, info.to_string()).into_response()
}

/// The page that brings the client library into a frame of this origin.
pub(super) fn iframe(client_url: &str, headers: &HeaderMap) -> Response {
    let page = IFRAME.replace("CLIENT_URL", client_url);
    let digest = Sha256::digest(&page);
    let etag = format!("\"{}\"", digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>());
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = known.flat_map(|line| line.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    let mut response = if known.into_iter().any(|tag| tag == etag || tag == "*") {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "text/html; charset=UTF-8")], page).into_response()
    };
    let tag = HeaderValue::from_str(&etag).ok();
    response.headers_mut().extend(tag.map(|tag| (header::ETAG, tag)));
    keep_for_a_year(response.headers_mut());
    response
}

/// The answer to `OPTIONS`.
pub(super) fn preflight(methods: &'static str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(YEAR_S));
    keep_for_a_year(headers);
    response
}

fn keep_for_a_year(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000"));
    let expires = jiff::Timestamp::from_millisecond(clock::wall().0 + YEAR_S * 1_000).ok();
    let expires =
        expires.and_then(|at| jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok());
    headers.extend(expires.and_then(|text| HeaderValue::from_str(&text).ok()).map(|text| (header::EXPIRES, text)));
}

/// Nobody keeps this, buffers it or changes it.
pub(super) fn never_keep(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(NO_STORE));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
}

/// A page of any origin may read this: who it is told to is decided by the session's credentials, which no other site's page
/// gets sent along ([`super::identity`]).
pub(super) fn share(headers: &mut HeaderMap, request: &HeaderMap) {
    let origin = request.get(header::ORIGIN).cloned();
    if origin.is_some() {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.unwrap_or(HeaderValue::from_static("*")));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let asked = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).filter(|value| !value.is_empty());
    headers.extend(asked.map(|value| (header::ACCESS_CONTROL_ALLOW_HEADERS, value.clone())));
}

/// The cookie by which load balancers keep a client on its node; whoever has one keeps it.
pub(super) fn stick(headers: &mut HeaderMap, request: &HeaderMap) {
    let all = request.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let value = pairs.find(|(name, _)| *name == "JSESSIONID").map_or("dummy", |(_, value)| value);
    headers.extend(
        HeaderValue::from_str(&format!("JSESSIONID={value}; path=/")).ok().map(|cookie| (header::SET_COOKIE, cookie)),
    );
}

const IFRAME: &str = r#"<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="CLIENT_URL"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn the_frame_page_is_kept_until_it_changes() {
        let first = iframe("/sockjs.js", &HeaderMap::new());
        let etag = first.headers()[header::ETAG].clone();
        let cached = HeaderMap::from_iter([(header::IF_NONE_MATCH, etag)]);
        let again = iframe("/sockjs.js", &cached);
        assert_eq!((again.status(), again.headers().get(header::CONTENT_TYPE)), (StatusCode::NOT_MODIFIED, None));
        assert_eq!(iframe("/other.js", &cached).status(), StatusCode::OK);
        assert!(first.headers()[header::EXPIRES].to_str().unwrap().ends_with(" GMT"));
    }

    #[test]
    fn origins_are_named_back() {
        let shared = |request: &HeaderMap| {
            let mut headers = HeaderMap::new();
            share(&mut headers, request);
            let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
            (text(header::ACCESS_CONTROL_ALLOW_ORIGIN), text(header::ACCESS_CONTROL_ALLOW_CREDENTIALS))
        };
        assert_eq!(shared(&HeaderMap::new()), (Some("*".into()), None));
        assert_eq!(shared(&request(header::ORIGIN, "null")), (Some("null".into()), Some("true".into())));
    }

    #[test]
    fn whoever_has_a_cookie_keeps_it() {
        let stuck = |request: &HeaderMap| {
            let mut headers = HeaderMap::new();
            stick(&mut headers, request);
            headers[header::SET_COOKIE].to_str().unwrap().to_owned()
        };
        assert_eq!(stuck(&HeaderMap::new()), "JSESSIONID=dummy; path=/");
        assert_eq!(stuck(&request(header::COOKIE, "a=b; JSESSIONID=abc")), "JSESSIONID=abc; path=/");
    }
}
