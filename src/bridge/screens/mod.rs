//! The screens: three pages with what they load, and the base map beneath them.
//!
//! The pages are built by `scripts/web` and embedded by `build.rs` (docs/adr/0016), so a node serves the pages that it was
//! released with, from memory, without a token: what they show, they get through the API like any other client. A binary
//! that was built without them serves a page that says how to get them.
//!
//! | path | what |
//! |---|---|
//! | `/t/{share token or order}`, `/rider…`, `/ops…` | a page, whatever comes behind: its scripts read the rest |
//! | `/assets/…` | named by their content, so they are kept for good |
//! | `/rider-sw.js`, `/rider.webmanifest`, `/icons/…` | what makes the rider's page work without network |
//! | `/base-map/{cell}.pmtiles`, `….geojson` | from the disk: [`base_map`] |

pub(super) mod base_map;
mod encoding;
mod files;
mod policy;

pub use files::{File, Files};

use super::{Inner, reject::Rejection};
use crate::{config::Map, wire::problem::Problem};
use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use std::sync::Arc;

/// Settings of the screens.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What `build.rs` embedded, by default.
    pub files: Files,
    pub sign_in_url: Option<String>,
    pub map: Map,
}

/// One of the three documents.
#[derive(Clone, Copy, Debug)]
enum Page {
    Customer,
    Rider,
    Ops,
}

impl Page {
    fn file(self) -> &'static str {
        match self {
            Self::Customer => "/customer.html",
            Self::Rider => "/rider.html",
            Self::Ops => "/ops.html",
        }
    }
}

const ABSENT: &str = include_str!("absent.html");
/// It has neither scripts nor anything to load.
const ABSENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; \
                             form-action 'none'";

/// Files that must be asked for anew, which costs one answer without a body; and those whose name tells their content.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

pub(super) fn routes() -> Router<Arc<Inner>> {
    let page = |which: Page| {
        get(move |State(bridge): State<Arc<Inner>>, headers: HeaderMap| {
            std::future::ready(document(&bridge, which, &headers))
        })
    };
    let file = || get(|State(bridge): State<Arc<Inner>>, request: Request| std::future::ready(file(&bridge, &request)));
    Router::new()
        .route("/", get(async || (StatusCode::FOUND, [(LOCATION, "/ops")])))
        .route("/t/{order}", page(Page::Customer))
        .route("/rider", page(Page::Rider))
        .route("/rider/", page(Page::Rider))
        .route("/rider/{*rest}", page(Page::Rider))
        .route("/ops", page(Page::Ops))
        .route("/ops/", page(Page::Ops))
        .route("/ops/{*rest}", page(Page::Ops))
        .route("/assets/{*name}", file())
        .route("/icons/{*name}", file())
        .route("/rider-sw.js", file())
        .route("/rider.webmanifest", file())
        .route("/base-map/{name}", get(base_map::serve))
}

/// A page, or the one that says how to get it.
fn document(bridge: &Inner, page: Page, headers: &HeaderMap) -> Response {
    let options = &bridge.options.screens;
    let Some(file) = options.files.find(page.file()) else { return absent() };
    let mut response = file.answer(headers, REVALIDATE).into_response();
    policy::of_page(response.headers_mut(), options.map.tiles.as_ref());
    response
}

/// The service worker is under the page's policy: it fetches on the page's behalf.
const WORKER: &str = "/rider-sw.js";

fn file(bridge: &Inner, request: &Request) -> Response {
    let options = &bridge.options.screens;
    let path = request.uri().path();
    let Some(file) = options.files.find(path) else { return missing(request.uri()).into_response() };
    let caching = if path.starts_with("/assets/") { IMMUTABLE } else { REVALIDATE };
    let mut response = file.answer(request.headers(), caching).into_response();
    policy::of_file(response.headers_mut());
    if path == WORKER {
        policy::of_page(response.headers_mut(), options.map.tiles.as_ref());
    }
    response
}

/// Never a page instead: a script that isn't there any more must fail where it is asked for.
fn missing(uri: &Uri) -> Rejection {
    Problem::new(404, "no_file", "There is no such file").with_field("path").with_detail(uri.path()).into()
}

/// This binary has no screens. No cache keeps that.
fn absent() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(ABSENT_POLICY)),
    ];
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, headers, ABSENT).into_response();
    policy::of_file(response.headers_mut());
    response
}
