//! Reads over HTTP: asked of the cell's owner, projected through the role's view, in the client's datum.

use super::{
    asked::{DatumParams, ListParams, NearestParams, OrderPath, RiderPath, RidersParams},
    docs::ReadProblems,
};
use crate::{
    bridge::{
        Inner,
        commands::id,
        datum::{convert_order, convert_place},
        gate::{Asked, forbidden, permit_cell, take_datum},
        hub::{Lens, Shape},
        params::Params,
        personal::phones::{FOUND_MAX, Tail},
        reject::{Path, Rejection},
        source::Found,
    },
    domain::{OrderId, RiderId, Status, UnixMillis, ids::IdError},
    geo::Datum,
    wire::{
        FieldError,
        access::{Principal, Right, Role},
        area::Area,
        command::{Coordinates, time},
        figures::Figures,
        problem::Problem,
        query::{
            CellState, ListQuery, NearRiders, NearestQuery, OrderPage, OrderQuery, RiderPage, RiderQuery, RiderState,
            RidersQuery, Snapshot, page_limit,
        },
        view::project,
    },
};
use axum::{Json, extract::State, http::StatusCode};
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use std::sync::Arc;

pub(super) type Answer<T> = Result<Json<T>, Rejection>;

pub(super) fn found<T>(found: Found<T>, field: &str) -> Result<T, Rejection> {
    found?.ok_or_else(|| {
        let kind = format!("unknown_{field}");
        Problem::new(404, &kind, &format!("There is no such {field}")).with_field(field).into()
    })
}

/// A snapshot as a lens shows it.
fn shown(lens: Lens, mut snapshot: Snapshot, personal: Option<&Value>) -> Snapshot {
    snapshot.since_epoch = None;
    snapshot.state = project(lens.view, &snapshot.state, personal);
    convert_order(&mut snapshot.state, lens.datum);
    snapshot
}

/// An order as it is now
#[utoipa::path(
    get,
    path = "/v1/orders/{order}",
    tag = "orders",
    params(OrderPath, DatumParams),
    responses((status = 200, description = "The order", body = Snapshot), ReadProblems),
)]
pub(super) async fn order(
    State(bridge): State<Arc<Inner>>,
    Path(order): Path<String>,
    Asked { who, mut params }: Asked,
) -> Answer<Snapshot> {
    let order: OrderId = id("order", &order)?;
    let lens = Lens { view: who.role.view(), datum: take_datum(&mut params)?, shape: Shape::Deltas };
    params.end()?;
    let snapshot = bridge.order_for(&who, Right::ReadOrder, OrderQuery { order: order.clone() }).await?;
    let personal = bridge.personal.of(&order, &snapshot.state).await?;
    Ok(Json(shown(lens, snapshot, personal.as_ref())))
}

/// Erase what names a person: contact, address, notes. Log, track and history hold none of it
#[utoipa::path(
    delete,
    path = "/v1/orders/{order}/personal",
    tag = "orders",
    params(OrderPath),
    responses((status = 204, description = "It is gone"), ReadProblems),
)]
pub(super) async fn erase(
    State(bridge): State<Arc<Inner>>,
    Path(order): Path<String>,
    Asked { who, params }: Asked,
) -> Result<StatusCode, Rejection> {
    let order: OrderId = id("order", &order)?;
    params.end()?;
    let snapshot = bridge.order_for(&who, Right::Erase, OrderQuery { order: order.clone() }).await?;
    bridge.personal.erase(&order, &snapshot.state).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `status=2,3`.
fn take_status(params: &mut Params) -> Result<Vec<Status>, FieldError> {
    let bad = |e: String| FieldError::new("status", e);
    let Some(text) = params.take("status") else { return Ok(Vec::new()) };
    let code = |part: &str| part.parse::<u8>().map_err(|e| bad(e.to_string()));
    text.split(',').map(|part| Status::try_from(code(part)?).map_err(bad)).collect()
}

pub(super) fn take_limit(params: &mut Params) -> Result<Option<u32>, FieldError> {
    let limit = params.parse("limit")?;
    page_limit(limit)?;
    Ok(limit)
}

pub(super) fn take_millis(params: &mut Params, name: &str) -> Result<Option<UnixMillis>, FieldError> {
    params.parse(name)?.map(|ms| time(name, ms)).transpose()
}

pub(super) fn take_box(params: &mut Params, datum: Datum) -> Result<Option<Area>, FieldError> {
    params.take("box").map(|text| Area::parse_box(&text, datum)).transpose()
}

/// Orders, the newest first. Lists hold nothing that names a person: who needs it asks for the order
#[utoipa::path(
    get,
    path = "/v1/orders",
    tag = "orders",
    params(ListParams, DatumParams),
    responses((status = 200, description = "A page", body = OrderPage), ReadProblems),
)]
pub(super) async fn orders(State(bridge): State<Arc<Inner>>, Asked { who, mut params }: Asked) -> Answer<OrderPage> {
    bridge.permit(&who, Right::ListOrders)?;
    let lens = Lens { view: who.role.view(), datum: take_datum(&mut params)?, shape: Shape::Deltas };
    let phone_tail = params.take("phone_tail");
    if phone_tail.is_some() && who.role != Role::Operations {
        // Who may not see a number may not ask for it either.
        return Err(forbidden(&who, Right::ListOrders).with_field("phone_tail").into());
    }
    let tail: Option<Tail> = phone_tail.map(|text| text.parse()).transpose()?;
    let mut ask = ListQuery {
        among: None,
        status: take_status(&mut params)?,
        rider: params.parse("rider")?,
        warehouse: params.parse("warehouse")?,
        user: params.parse("user")?,
        created_from_ms: take_millis(&mut params, "created_from_ms")?,
        created_to_ms: take_millis(&mut params, "created_to_ms")?,
        updated_from_ms: take_millis(&mut params, "updated_from_ms")?,
        updated_to_ms: take_millis(&mut params, "updated_to_ms")?,
        within: take_box(&mut params, lens.datum)?,
        cursor: params.take("cursor"),
        limit: take_limit(&mut params)?,
    };
    params.end()?;
    narrow(&who, &mut ask)?;
    if let Some(tail) = &tail {
        let many =
            || FieldError::new("phone_tail", format!("ends the numbers of over {FOUND_MAX} orders: give more digits"));
        let found = bridge.personal.by_phone(&bridge.cell, tail).await?.ok_or_else(many)?;
        if found.is_empty() {
            return Ok(Json(OrderPage { orders: Vec::new(), next: None }));
        }
        ask.among = Some(found);
    }
    // The owner knows no page only where it can't read the cursor.
    let page = bridge.ports.source.orders(ask).await?;
    let page = page.ok_or_else(|| FieldError::new("cursor", "is none of a previous page"))?;
    // What the owner selected is looked at once more: the filter is for speed, this is the rule.
    let own = page.orders.into_iter().filter(|snapshot| who.may(Right::ListOrders, &snapshot.state));
    let own = match &tail {
        None => own.collect(),
        Some(tail) => with_phone(&bridge, tail, own).await?,
    };
    let orders = own.into_iter().map(|snapshot| shown(lens, snapshot, None)).collect();
    Ok(Json(OrderPage { orders, next: page.next }))
}

/// Looks at this many contacts at once.
const LOOKS: usize = 16;

/// Those whose contact's number ends so, as it is now: the index may name more.
async fn with_phone(
    bridge: &Inner,
    tail: &Tail,
    orders: impl Iterator<Item = Snapshot>,
) -> Result<Vec<Snapshot>, Rejection> {
    let look = async |snapshot: Snapshot| {
        let order: OrderId = id("order", snapshot.state.get("id").and_then(Value::as_str).unwrap_or_default())?;
        let personal = bridge.personal.of(&order, &snapshot.state).await?;
        Ok::<_, Rejection>(personal.is_some_and(|personal| tail.fits(&personal)).then_some(snapshot))
    };
    let looks = futures::stream::iter(orders.map(look)).buffered(LOOKS);
    Ok(looks.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
}

/// Narrows a list to the asker's own; who asks for another's is told that the list isn't theirs.
fn narrow(who: &Principal, ask: &mut ListQuery) -> Result<(), Rejection> {
    if who.everyone {
        return Ok(());
    }
    let own = |field: &str, given: Option<&str>| match given {
        Some(given) if given != &*who.id => Err(Rejection::from(forbidden(who, Right::ListOrders).with_field(field))),
        Some(_) | None => Ok(()),
    };
    let bad = |e: IdError| FieldError::new("sub", e.to_string());
    // A filter answers a question, so one may not ask for what one may not see: a box tells where destination and rider
    // are, a customer's id whose the order is.
    let hidden = |field: &str, given: bool| {
        let problem = forbidden(who, Right::ListOrders).with_field(field);
        if given { Err(Rejection::from(problem)) } else { Ok(()) }
    };
    hidden("box", ask.within.is_some() && matches!(who.role, Role::Customer | Role::Warehouse))?;
    hidden("user", ask.user.is_some() && matches!(who.role, Role::Rider | Role::Warehouse))?;
    match who.role {
        Role::Customer => {
            own("user", ask.user.as_ref().map(|id| id.as_str()))?;
            ask.user = Some(who.id.parse().map_err(bad)?);
        }
        Role::Rider => {
            own("rider", ask.rider.as_ref().map(|id| id.as_str()))?;
            ask.rider = Some(who.id.parse().map_err(bad)?);
        }
        Role::Warehouse => {
            own("warehouse", ask.warehouse.as_ref().map(|id| id.as_str()))?;
            ask.warehouse = Some(who.id.parse().map_err(bad)?);
        }
        Role::Shared | Role::System | Role::Operations => {}
    }
    Ok(())
}

/// Anything else below an order.
pub(super) async fn nothing_below(Path((_, what)): Path<(String, String)>) -> Rejection {
    Problem::new(404, "no_route", "There is nothing here").with_field("path").with_detail(what).into()
}

fn in_datum(mut state: RiderState, datum: Datum) -> RiderState {
    if let Some(position) = &mut state.position {
        convert_place(position, datum);
    }
    state
}

/// A rider as the cell knows them
#[utoipa::path(
    get,
    path = "/v1/riders/{rider}",
    tag = "riders",
    params(RiderPath, DatumParams),
    responses((status = 200, description = "The rider", body = RiderState), ReadProblems),
)]
pub(super) async fn rider(
    State(bridge): State<Arc<Inner>>,
    Path(rider): Path<String>,
    Asked { who, mut params }: Asked,
) -> Answer<RiderState> {
    let rider: RiderId = id("rider", &rider)?;
    bridge.permit_id(&who, Right::ReadRider, "rider", rider.as_str())?;
    permit_cell(&who, &bridge.cell)?;
    let datum = take_datum(&mut params)?;
    params.end()?;
    let state = found(bridge.ports.source.rider(RiderQuery { rider }).await, "rider")?;
    Ok(Json(in_datum(state, datum)))
}

/// Riders in a nearest search without a word about how many.
const DEFAULT_NEAREST: u32 = 10;

/// The riders nearest to a place
#[utoipa::path(
    get,
    path = "/v1/riders/nearest",
    tag = "riders",
    params(NearestParams, DatumParams),
    responses((status = 200, description = "Nearest first", body = NearRiders), ReadProblems),
)]
pub(super) async fn nearest(State(bridge): State<Arc<Inner>>, Asked { who, mut params }: Asked) -> Answer<NearRiders> {
    bridge.permit(&who, Right::FindRiders)?;
    let datum = take_datum(&mut params)?;
    let missing = |field: &'static str| move || FieldError::new(field, "is missing");
    let lat = params.parse("lat")?.ok_or_else(missing("lat"))?;
    let lon = params.parse("lon")?.ok_or_else(missing("lon"))?;
    let point = Coordinates { lat, lon }.point(datum)?;
    let ask = NearestQuery {
        lat: point.lat(),
        lon: point.lon(),
        k: params.parse("k")?.unwrap_or(DEFAULT_NEAREST),
        free: params.parse("free")?.unwrap_or(false),
        max_distance_m: take_distance(&mut params)?,
    };
    params.end()?;
    let NearRiders { mut riders } = found(bridge.ports.source.nearest(ask).await, "cell")?;
    for near in &mut riders {
        if let Some(position) = &mut near.state.position {
            convert_place(position, datum);
        }
    }
    Ok(Json(NearRiders { riders }))
}

fn take_distance(params: &mut Params) -> Result<Option<f64>, FieldError> {
    let metres: Option<f64> = params.parse("max_distance_m")?;
    // JSON knows no infinity.
    match metres {
        Some(metres) if !metres.is_finite() || metres < 0.0 => {
            Err(FieldError::new("max_distance_m", "must be metres, not negative"))
        }
        Some(_) | None => Ok(metres),
    }
}

/// The riders in a box or a fence, by id
#[utoipa::path(
    get,
    path = "/v1/riders",
    tag = "riders",
    params(RidersParams, DatumParams),
    responses((status = 200, description = "A page", body = RiderPage), ReadProblems),
)]
pub(super) async fn riders(State(bridge): State<Arc<Inner>>, Asked { who, mut params }: Asked) -> Answer<RiderPage> {
    bridge.permit(&who, Right::FindRiders)?;
    let datum = take_datum(&mut params)?;
    let fence = params.take("fence").map(|text| Area::parse_fence(&text, datum)).transpose()?;
    let within = match (take_box(&mut params, datum)?, fence) {
        (Some(area), None) | (None, Some(area)) => area,
        (Some(_), Some(_)) => return Err(FieldError::new("fence", "is not given beside a box").into()),
        (None, None) => return Err(FieldError::new("box", "is missing; a fence does as well").into()),
    };
    let ask = RidersQuery {
        within,
        free: params.parse("free")?.unwrap_or(false),
        after: params.parse("cursor")?,
        limit: take_limit(&mut params)?,
    };
    params.end()?;
    let RiderPage { riders, next } = found(bridge.ports.source.riders(ask).await, "cell")?;
    Ok(Json(RiderPage { riders: riders.into_iter().map(|state| in_datum(state, datum)).collect(), next }))
}

/// Figures at a glance: orders by status, how many are late, how good arrival times were, riders, the node's connections
#[utoipa::path(
    get,
    path = "/v1/figures",
    tag = "cell",
    responses((status = 200, description = "As of now", body = Figures), ReadProblems),
)]
pub(super) async fn figures(State(bridge): State<Arc<Inner>>, Asked { who, params }: Asked) -> Answer<Figures> {
    params.end()?;
    bridge.permit(&who, Right::ReadFigures)?;
    let mut figures = found(bridge.ports.source.figures().await, "cell")?;
    figures.connections = bridge.metrics.open_connections();
    Ok(Json(figures))
}

/// Figures of the cell
#[utoipa::path(
    get,
    path = "/v1/cell",
    tag = "cell",
    responses((status = 200, description = "As of now", body = CellState), ReadProblems),
)]
pub(super) async fn cell(State(bridge): State<Arc<Inner>>, Asked { who, params }: Asked) -> Answer<CellState> {
    params.end()?;
    bridge.permit(&who, Right::ReadCell)?;
    Ok(Json(found(bridge.ports.source.cell().await, "cell")?))
}
