//! An order's planned route by itself, in the form that the client's map takes.

use super::{
    asked::{DatumParams, OrderPath, RouteParams},
    docs::ReadProblems,
};
use crate::{
    bridge::{
        Inner,
        commands::id,
        datum::convert_order,
        gate::{Asked, take_datum},
        reject::{Path, Rejection},
    },
    domain::OrderId,
    wire::{
        access::Right,
        problem::Problem,
        query::OrderQuery,
        route::{RouteFormat, line_of},
        schema::{PolylineState, RouteState},
        view::project,
    },
};
use axum::{
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// An order's planned route, where the role may see it now
#[utoipa::path(
    get,
    path = "/v1/orders/{order}/route",
    tag = "orders",
    params(OrderPath, RouteParams, DatumParams),
    responses(
        (status = 200, description = "The route; a client that says what it accepts has to accept this form", content(
            (RouteState = "application/geo+json"),
            (PolylineState = "application/json"),
            (String = "application/gpx+xml"),
        )),
        ReadProblems,
    ),
)]
pub(super) async fn route(
    State(bridge): State<Arc<Inner>>,
    Path(order): Path<String>,
    Asked { who, mut params }: Asked,
) -> Result<Response, Rejection> {
    let order: OrderId = id("order", &order)?;
    let format: RouteFormat = params.parse("format")?.unwrap_or_default();
    let datum = take_datum(&mut params)?;
    params.end()?;
    let snapshot = bridge.order_for(&who, Right::ReadOrder, OrderQuery { order: order.clone() }).await?;
    // What the view hides is as if it weren't there.
    let mut seen = project(who.role.view(), &snapshot.state, None);
    convert_order(&mut seen, datum);
    let body = seen.get("route").and_then(|route| format.body(order.as_str(), &line_of(route)));
    let body =
        body.ok_or_else(|| Problem::new(404, "unknown_route", "There is no route to see").with_field("route"))?;
    Ok(([(CONTENT_TYPE, format.media_type())], body).into_response())
}
