//! The OpenAPI document: what all operations share, and the last touches that no type can say.
//!
//! The document is made of the very functions that are routed ([`utoipa_axum::routes!`]) and of the types that are parsed
//! and served. What a parser checks beyond its type stands as a constraint at the type's field, so that whoever generates
//! requests from the document, a client or a tester, learns the same rules.

use super::Inner;
use crate::wire::{
    problem::Problem,
    schema::{DatumName, FixesDrawn, FormatName, Id, Millis, RouteFormatName, StageName, StatusCode},
};
use axum::{
    Router,
    extract::Request,
    http::{
        HeaderValue,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc};
use utoipa::{
    IntoResponses, OpenApi, ToSchema,
    openapi::{
        ContentBuilder, Ref, RefOr, Required, ResponseBuilder,
        response::Response as Documented,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Trunkline",
        description = "Orders on their way to the door. Times are milliseconds since 1970, coordinates degrees in the \
                       datum that was asked for. An error is a problem document (RFC 9457) that names the field to change.",
    ),
    components(schemas(
        Problem,
        Id,
        Millis,
        StatusCode,
        StageName,
        DatumName,
        RouteFormatName,
        FormatName,
        FixesDrawn
    )),
    security(("bearer" = [])),
    tags(
        (name = "orders", description = "The shop's and operations' side of an order"),
        (name = "warehouses", description = "What warehouses report"),
        (name = "riders", description = "What riders report, and where they are"),
        (name = "alerts", description = "What doesn't go as it should"),
        (name = "shares", description = "Links to one order, for somebody else"),
        (name = "session", description = "The token as a cookie, for pages that can't send headers"),
        (name = "tickets", description = "A token's stand-in in a URL, good once and for seconds"),
        (name = "cell", description = "The cell as a whole"),
        (name = "node", description = "This process"),
    ),
)]
struct Frame;

/// The document before any operation.
pub(super) fn frame() -> utoipa::openapi::OpenApi {
    let mut document = Frame::openapi();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    let bearer = SecurityScheme::Http(bearer.description(Some("Role and scope are the token's")).build());
    if let Some(components) = &mut document.components {
        components.add_security_scheme("bearer", bearer);
    }
    document
}

/// Bodies that may be left out altogether.
const OPTIONAL_BODIES: [&str; 6] = ["ShareBody", "PayBody", "CancelBody", "UnassignBody", "DeliverBody", "Nothing"];

/// What utoipa can't say at the type: bodies that may be left out.
pub(super) fn finish(document: &mut utoipa::openapi::OpenApi) {
    for item in document.paths.paths.values_mut() {
        let body = item.post.as_mut().and_then(|post| post.request_body.as_mut());
        let Some(RefOr::T(body)) = body else { continue };
        let schema = body.content.values().find_map(|content| match content {
            RefOr::T(content) => content.schema.as_ref(),
            RefOr::Ref(_) => None,
        });
        let name = schema.and_then(|schema| match schema {
            RefOr::Ref(reference) => reference.ref_location.rsplit('/').next(),
            RefOr::T(_) => None,
        });
        body.required = match name {
            Some(name) if OPTIONAL_BODIES.contains(&name) => Some(Required::False),
            Some(_) | None => Some(Required::True),
        };
    }
}

/// What the page may load: itself. Its viewer sets styles inline, and draws icons from data.
const PAGE_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:";

async fn page_policy(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    response
}

/// `/openapi.json`, and `/docs` to read it: both without anything from elsewhere.
pub(super) fn pages(document: &utoipa::openapi::OpenApi) -> Router<Arc<Inner>> {
    let text = Bytes::from(document.to_json().unwrap_or_default());
    let json = move || {
        let response = ([(CONTENT_TYPE, "application/json")], text.clone()).into_response();
        std::future::ready(response)
    };
    let viewer: Router<Arc<Inner>> = SwaggerUi::new("/docs").config(Config::from("/openapi.json")).into();
    Router::new().route("/openapi.json", get(json)).merge(viewer.layer(from_fn(page_policy)))
}

fn problem(status: u16, said: &str) -> (String, RefOr<Documented>) {
    let schema = Ref::from_schema_name(Problem::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new().description(said).content("application/problem+json", content).build();
    (status.to_string(), response.into())
}

/// Every problem with which a read may be answered.
const READ_PROBLEMS: &[(u16, &str)] = &[
    (400, "A field doesn't fit; `field` names it"),
    (401, "No token, or one that is no good"),
    (403, "Not for this role"),
    (404, "There is no such thing, or it isn't the asker's"),
    (406, "No JSON is accepted"),
    (500, "The request failed"),
    (503, "The cell doesn't answer now; try again"),
];

/// Those that come with a command beside them.
const WRITE_PROBLEMS: &[(u16, &str)] = &[
    (408, "The body took too long"),
    (409, "Not in this state; `allowed`, `if_rev` and `current_rev` say more"),
    (413, "The body is too large"),
    (415, "The body isn't JSON"),
    (422, "A field doesn't fit this order"),
    (504, "The outcome is unknown; send it again under its key"),
];

/// Of reads.
#[derive(Debug)]
pub(super) struct ReadProblems;

impl IntoResponses for ReadProblems {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        READ_PROBLEMS.iter().map(|(status, said)| problem(*status, said)).collect()
    }
}

/// Of commands.
#[derive(Debug)]
pub(super) struct CommandProblems;

impl IntoResponses for CommandProblems {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        READ_PROBLEMS.iter().chain(WRITE_PROBLEMS).map(|(status, said)| problem(*status, said)).collect()
    }
}

/// Of a node that is asked how it is.
#[derive(Debug)]
pub(super) struct NodeProblems;

impl IntoResponses for NodeProblems {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        [problem(500, "The request failed"), problem(503, "Not now, and why")].into()
    }
}
