//! What browsers are told about the pages' safety: what a page may load, who may frame it, what leaves it.
//!
//! The path of a customer's page may hold a share link's token, which opens the order to whoever has it: no request from
//! the page says where it comes from, and no other site's window can reach it.

use crate::config::Tiles;
use axum::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};

/// A page and the rider's service worker: from this server alone, but for the tiles that are configured. Styles are set by
/// scripts, which needs no `unsafe-inline`; the map's worker is a file of ours.
pub(super) fn of_page(headers: &mut HeaderMap, tiles: Option<&Tiles>) {
    let tiles = tiles.map(|tiles| format!(" {}", tiles.origin)).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:{tiles}; \
         connect-src 'self'{tiles}; worker-src 'self' blob:; manifest-src 'self'; font-src 'self'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    );
    // An origin is ASCII: names of other scripts stand in it as punycode.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("permissions-policy"), HeaderValue::from_static("geolocation=(self)"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    of_file(headers);
}

/// Any file: it is what its type says.
pub(super) fn of_file(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
