//! Reads over HTTP: asked of the cell's owner, projected through the role's view, in the client's datum.

use super::commands::id;
use crate::{
    bridge::{
        Inner,
        datum::{convert_order, convert_place, converted},
        gate::{Asked, take_datum},
        hub::Lens,
        reject::{Path, Rejection},
        source::Found,
    },
    domain::{OrderId, RiderId, Status, UnixMillis},
    wire::{
        FieldError,
        access::Right,
        problem::Problem,
        query::{
            CellState, ListQuery, MAX_PAGE, OrderPage, OrderQuery, RiderQuery, RiderState, Snapshot, TrackPage,
            TrackQuery,
        },
        view::project,
    },
};
use axum::{Json, extract::State};
use serde_json::Value;
use std::sync::Arc;

type Answer<T> = Result<Json<T>, Rejection>;

fn found<T>(found: Found<T>, field: &str) -> Result<T, Rejection> {
    found?.ok_or_else(|| {
        let kind = format!("unknown_{field}");
        Problem::new(404, &kind, &format!("There is no such {field}")).with_field(field).into()
    })
}

/// A snapshot as a lens shows it.
fn shown(lens: Lens, mut snapshot: Snapshot, personal: Option<&Value>) -> Snapshot {
    snapshot.state = project(lens.view, &snapshot.state, personal);
    convert_order(&mut snapshot.state, lens.datum);
    snapshot
}

/// `GET /v1/orders/{order}`
pub(super) async fn order(
    State(bridge): State<Arc<Inner>>,
    Path(order): Path<String>,
    Asked { who, mut params }: Asked,
) -> Answer<Snapshot> {
    let order: OrderId = id("order", &order)?;
    let lens = Lens { view: who.role.view(), datum: take_datum(&mut params)? };
    params.end()?;
    let snapshot = bridge.order_for(&who, Right::ReadOrder, OrderQuery { order: order.clone() }).await?;
    let personal = bridge.personal.of(&order).await?;
    Ok(Json(shown(lens, snapshot, personal.as_ref())))
}

/// `GET /v1/orders?status=&rider=&warehouse=&created_from_ms=&created_to_ms=&cursor=&limit=`. Lists hold no personal
/// data: who needs an order's asks for the order.
pub(super) async fn orders(State(bridge): State<Arc<Inner>>, Asked { who, mut params }: Asked) -> Answer<OrderPage> {
    bridge.permit(&who, Right::ListOrders)?;
    let lens = Lens { view: who.role.view(), datum: take_datum(&mut params)? };
    let status = params.parse::<u8>("status")?.map(Status::try_from).transpose();
    let limit = params.parse::<u32>("limit")?;
    if limit.is_some_and(|limit| !(1..=MAX_PAGE).contains(&limit)) {
        return Err(FieldError::new("limit", format!("must be 1 to {MAX_PAGE}")).into());
    }
    let ask = ListQuery {
        status: status.map_err(|e| FieldError::new("status", e))?,
        rider: params.parse("rider")?,
        warehouse: params.parse("warehouse")?,
        created_from_ms: params.parse("created_from_ms")?.map(UnixMillis),
        created_to_ms: params.parse("created_to_ms")?.map(UnixMillis),
        cursor: params.take("cursor"),
        limit,
    };
    params.end()?;
    // The owner knows no page only where it can't read the cursor.
    let page = bridge.ports.source.orders(ask).await?;
    let page = page.ok_or_else(|| FieldError::new("cursor", "is none of a previous page"))?;
    // What the owner selected is looked at once more: the filter is for speed, this is the rule.
    let own = page.orders.into_iter().filter(|snapshot| who.may(Right::ListOrders, &snapshot.state));
    let orders = own.map(|snapshot| shown(lens, snapshot, None)).collect();
    Ok(Json(OrderPage { orders, next: page.next }))
}

/// `GET /v1/orders/{order}/track?after=`
pub(super) async fn below_order(
    State(bridge): State<Arc<Inner>>,
    Path((order, what)): Path<(String, String)>,
    Asked { who, mut params }: Asked,
) -> Answer<TrackPage> {
    if what != "track" {
        return Err(Problem::new(404, "no_route", "There is nothing here").with_detail(what).into());
    }
    let order: OrderId = id("order", &order)?;
    bridge.permit(&who, Right::ReadTrack)?;
    let datum = take_datum(&mut params)?;
    let after = params.parse("after")?;
    params.end()?;
    let mut page = found(bridge.ports.source.track(TrackQuery { order, after }).await, "order")?;
    for row in &mut page.rows {
        if let (Some(lat), Some(lon)) = (row.lat, row.lon) {
            let (lat, lon) = converted(datum, lat, lon);
            (row.lat, row.lon) = (Some(lat), Some(lon));
        }
    }
    Ok(Json(page))
}

/// `GET /v1/riders/{rider}`
pub(super) async fn rider(
    State(bridge): State<Arc<Inner>>,
    Path(rider): Path<String>,
    Asked { who, mut params }: Asked,
) -> Answer<RiderState> {
    let rider: RiderId = id("rider", &rider)?;
    bridge.permit_id(&who, Right::ReadRider, "rider", rider.as_str())?;
    let datum = take_datum(&mut params)?;
    params.end()?;
    let mut state = found(bridge.ports.source.rider(RiderQuery { rider }).await, "rider")?;
    if let Some(position) = &mut state.position {
        convert_place(position, datum);
    }
    Ok(Json(state))
}

/// `GET /v1/cell`
pub(super) async fn cell(State(bridge): State<Arc<Inner>>, Asked { who, params }: Asked) -> Answer<CellState> {
    params.end()?;
    bridge.permit(&who, Right::ReadCell)?;
    Ok(Json(found(bridge.ports.source.cell().await, "cell")?))
}
