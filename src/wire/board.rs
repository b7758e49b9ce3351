//! Boards: what the topics beside a single order hold, and what their bridges hear of it from the cell's owner.
//!
//! The owner says two things, both while somebody asks for them and no longer than [`INTEREST_MS`] after the last question: a
//! rider's whole small document at every change ([`RiderWord`]), and what changed in the cell since the last time
//! ([`CellWord`], conflated). Both hold whole rows, so that hearing one twice, or after a newer page, does no harm.
//!
//! | topic | holds |
//! |---|---|
//! | `rider/{id}` | `{id, on_shift, position, stops: [{order, …}]}`, stops in the trip's order |
//! | `warehouse/{id}` | `{id, orders: {order: {…, rider: {id, arrival}}}}`, paid and delivering until handed over |
//! | `cell` | `{riders: {rider: {on_shift, position, orders}}, orders: {order: {…}}}`, inside the follower's box |
//! | `alerts` | `{alerts: {alert: the message}}` |
//!
//! Which fields of an order a board shows is the table [`FIELDS`], applied to what the board's view shows.

use super::{FieldError, view::View};
use crate::{
    domain::{AlertKind, Facts, Live, OrderId, Position, RiderId, Stage, Status, UnixMillis, WarehouseId},
    geo::{Bounds, Point, distance_m},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// How long the owner says what was asked for after the last question. Bridges ask three times as often.
pub const INTEREST_MS: u64 = 60_000;

/// Rows in a page of the cell, and in one of its words: even with the longest ids well under NATS's payload limit.
pub const PAGE_ROWS: usize = 800;

/// A board that shows orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    Rider,
    Warehouse,
    Cell,
}

impl Board {
    pub const ALL: [Self; 3] = [Self::Rider, Self::Warehouse, Self::Cell];

    /// The view whose part it shows, whoever follows it.
    pub fn view(self) -> View {
        match self {
            Self::Rider => View::Rider,
            Self::Warehouse => View::Warehouse,
            Self::Cell => View::Operations,
        }
    }
}

/// Fields of an order × board, columns as in [`Board::ALL`]: rider, warehouse, cell. A route is not among them: it is the
/// order's own topic that carries it.
pub const FIELDS: &[(&str, [bool; 3])] = &[
    ("status", [true, true, true]),
    ("stage", [true, true, true]),
    ("warehouse", [true, false, true]),
    ("destination", [true, false, true]),
    ("rider", [false, true, true]),
    ("stops_ahead", [false, false, true]),
    ("items", [true, true, false]),
    ("promise", [true, true, true]),
    ("rev", [true, false, false]),
    ("created_at_ms", [true, true, false]),
    ("paid_at_ms", [false, true, false]),
    ("departed_at_ms", [true, false, false]),
    ("edited_at_ms", [true, false, false]),
    ("attempts", [true, false, false]),
    ("attempt_reason", [true, false, false]),
    ("missing", [true, false, false]),
    ("contact", [true, false, false]),
    ("address", [true, false, false]),
    ("notes", [true, false, false]),
];

/// What a board shows in short of a field that would be too much of it, with that field's name: of an ETA the p50, of open
/// alerts their kinds. Columns as in [`FIELDS`].
pub const IN_SHORT: &[(&str, &str, [bool; 3])] =
    &[("eta_p50_ms", "eta", [false, false, true]), ("alerts", "alerts", [false, false, true])];

/// The fields of an order, as its view shows them, that the board shows.
pub fn pick(board: Board, seen: &Value) -> Map<String, Value> {
    let shown = FIELDS.iter().filter(|(_, columns)| columns[board as usize]);
    shown.filter_map(|(field, _)| Some(((*field).to_owned(), seen.get(field)?.clone()))).collect()
}

/// Degrees, WGS-84.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Degrees {
    pub lat: f64,
    pub lon: f64,
}

impl From<Point> for Degrees {
    fn from(point: Point) -> Self {
        Self { lat: point.lat(), lon: point.lon() }
    }
}

impl Degrees {
    /// `None` off the globe.
    pub fn point(self) -> Option<Point> {
        Point::from_degrees(self.lat, self.lon).ok()
    }
}

/// A rider's position, with the members of an order's `position`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PositionRow {
    #[serde(flatten)]
    pub at: Degrees,
    pub fix_time_ms: UnixMillis,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_mps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heading_deg: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy_m: Option<f64>,
}

impl From<&Position> for PositionRow {
    fn from(Position { point, fix_time, speed_cmps, heading_deg, accuracy_dm }: &Position) -> Self {
        Self {
            at: (*point).into(),
            fix_time_ms: *fix_time,
            speed_mps: speed_cmps.map(|v| f64::from(v) / 100.0),
            heading_deg: *heading_deg,
            accuracy_m: accuracy_dm.map(|v| f64::from(v) / 10.0),
        }
    }
}

/// A rider: on shift, or with orders in hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RiderRow {
    pub on_shift: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<PositionRow>,
    /// In hand, in the order of the stops.
    pub orders: Vec<OrderId>,
}

impl RiderRow {
    /// Whether the cell's board shows such a rider.
    pub fn is_shown(&self) -> bool {
        self.on_shift || !self.orders.is_empty()
    }
}

/// A warehouse as its orders know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WarehouseRow {
    pub id: WarehouseId,
    #[serde(flatten)]
    pub at: Degrees,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiderOf {
    pub id: RiderId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseRow {
    pub from_ms: UnixMillis,
    pub to_ms: UnixMillis,
}

/// An active order, with the names and shapes of its published state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderRow {
    pub status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    pub warehouse: WarehouseRow,
    pub destination: Degrees,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rider: Option<RiderOf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stops_ahead: Option<u16>,
    pub items: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promise: Option<PromiseRow>,
    pub created_at_ms: UnixMillis,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid_at_ms: Option<UnixMillis>,
    /// The published `eta.p50_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_p50_ms: Option<UnixMillis>,
    /// Kinds of the open alerts, by the alerts' numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<AlertKind>,
}

impl OrderRow {
    /// `None` for one that is final.
    pub fn of(facts: &Facts, live: &Live) -> Option<Self> {
        let place = &facts.warehouse;
        let outlook = live.outlook.as_deref();
        (!live.status.is_final()).then(|| Self {
            status: live.status,
            stage: live.stage.map(|s| s.name().to_owned()),
            warehouse: WarehouseRow { id: place.id.clone(), at: place.point.into() },
            destination: facts.destination.into(),
            rider: live.rider.clone().map(|id| RiderOf { id }),
            stops_ahead: live.stops_ahead,
            items: facts.items,
            promise: facts.promise.map(|p| PromiseRow { from_ms: p.from, to_ms: p.to }),
            created_at_ms: live.created_at,
            paid_at_ms: live.paid_at,
            eta_p50_ms: outlook.and_then(|o| Some(o.eta.as_ref()?.p50)),
            alerts: outlook.map(|o| o.alerts.iter().map(|alert| alert.kind).collect()).unwrap_or_default(),
        })
    }

    /// Whether the warehouse still has something to do with it: paid, and not handed over.
    pub fn is_the_warehouses(&self) -> bool {
        let active = match self.status {
            Status::Paid | Status::Delivering => true,
            Status::PendingPayment | Status::Completed | Status::Cancelled => false,
        };
        active && self.stage.as_deref() != Some(Stage::HandedOver.name())
    }
}

/// Speed as the crow flies that arrivals are reckoned with until they are learned: an electric bicycle in a city.
pub const ARRIVAL_SPEED_MPS: f64 = 5.0;

/// When a rider arrives at a warehouse: the distance as the crow flies, and the cell time `eta_ms` at which the rider is
/// there, counted from the fix that the distance is of. `None` while no position is known.
pub fn arrival(position: Option<&PositionRow>, warehouse: &WarehouseRow) -> Option<Value> {
    let position = position?;
    let distance = distance_m(position.at.point()?, warehouse.at.point()?);
    // A decimetre is as much as any fix is worth.
    let distance_m = libm::round(distance * 10.0) / 10.0;
    #[allow(clippy::cast_possible_truncation, reason = "half the globe at this speed is far below 2^63 ms")]
    let ride_ms = libm::round(distance_m / ARRIVAL_SPEED_MPS * 1_000.0) as i64;
    let eta_ms = position.fix_time_ms.0.saturating_add(ride_ms);
    Some(json!({"distance_m": distance_m, "eta_ms": eta_ms, "basis": "constant_speed"}))
}

/// What the owner says on `update.{cell}.rider.{rider}`, at every change and with every heartbeat: the whole document, so
/// that the next one makes good any that was lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RiderWord {
    pub epoch: u64,
    /// Grows within an epoch.
    pub version: u64,
    /// Cell time.
    pub at_ms: UnixMillis,
    pub rider: RiderId,
    pub row: RiderRow,
}

/// Rows as they are now; `None`: not shown any more.
pub type Changed<K, R> = BTreeMap<K, Option<R>>;

/// What the owner says on `update.{cell}.cell`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CellWord {
    /// Whole rows of what changed between two versions.
    Delta {
        epoch: u64,
        from: u64,
        to: u64,
        /// Cell time.
        at_ms: UnixMillis,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        riders: Changed<RiderId, RiderRow>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        orders: Changed<OrderId, OrderRow>,
    },
    Heartbeat {
        epoch: u64,
        version: u64,
    },
}

/// Where a page of the cell begins: after this rider or order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    Riders(Option<RiderId>),
    Orders(Option<OrderId>),
    /// No rows: only the version, and that there is still interest.
    All,
}

/// A question for a page of the cell's riders and active orders, by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellQuery {
    pub after: After,
}

/// A page. What is in it is at least as new as `version`: whoever has all pages and every delta after the first page's version
/// has the cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellPage {
    pub epoch: u64,
    pub version: u64,
    pub at_ms: UnixMillis,
    pub riders: BTreeMap<RiderId, RiderRow>,
    pub orders: BTreeMap<OrderId, OrderRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<After>,
}

/// Checks a box of the client, `[west, south, east, north]` in degrees; where west lies east of east it spans the
/// antimeridian.
pub fn bounds(degrees: &[f64]) -> Result<Bounds, FieldError> {
    let &[west, south, east, north] = degrees else {
        return Err(FieldError::new("box", "must be [west, south, east, north]"));
    };
    let corner = |lat, lon, index: [usize; 2]| {
        Point::from_degrees(lat, lon).map_err(|e| {
            let index = index[usize::from(e.field == "lat")];
            FieldError::new(format!("box[{index}]"), format!("is {}, outside ±{}", e.value, e.limit))
        })
    };
    let (low, high) = (corner(south, west, [0, 1])?, corner(north, east, [2, 3])?);
    if low.lat_e7 > high.lat_e7 {
        return Err(FieldError::new("box[3]", "the north must not lie south of the south: [west, south, east, north]"));
    }
    Ok(Bounds { south_e7: low.lat_e7, west_e7: low.lon_e7, north_e7: high.lat_e7, east_e7: high.lon_e7 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            Eta,
            alert::OpenAlert,
            eta::{Basis, Legs, Path},
            order::Outlook,
            testing,
        },
        wire::{doc, view},
    };
    use std::sync::Arc;

    #[test]
    fn a_board_shows_nothing_that_its_view_does_not() {
        for (field, columns) in FIELDS {
            let (_, shown) = view::FIELDS.iter().find(|(name, _)| name == field).unwrap();
            for board in Board::ALL.into_iter().filter(|board| columns[*board as usize]) {
                // Boards hold no order that has ended.
                let known = matches!(shown[board.view() as usize], view::Shown::Always | view::Shown::Open);
                // The cell's board hides nothing from operations.
                assert!(known, "{field} on {board:?}");
            }
        }
        for (name, of, columns) in IN_SHORT {
            let (_, shown) = view::FIELDS.iter().find(|(name, _)| name == of).unwrap();
            for board in Board::ALL.into_iter().filter(|board| columns[*board as usize]) {
                assert_eq!(shown[board.view() as usize], view::Shown::Always, "{name} on {board:?}");
            }
        }
        let column = |board: Board| FIELDS.iter().filter(move |(_, c)| c[board as usize]).map(|(name, _)| *name);
        for hidden in ["destination", "contact", "address", "notes", "position", "stops_ahead"] {
            assert!(column(Board::Warehouse).all(|name| name != hidden));
        }
    }

    fn outlook() -> Outlook {
        let at = UnixMillis;
        let legs = Legs { picking_ms: 1, handover_ms: 1, ride_ms: 1, door_ms: 1 };
        let (basis, path) = (Basis::ConstantSpeed, Path::Route);
        let eta = Eta { at: at(5), p10: at(6), p50: at(9), p90: at(12), legs, basis, path };
        let alert = |n, kind| OpenAlert { n, kind, acknowledged: n == 1, since: at(5) };
        let alerts = vec![alert(1, AlertKind::StageOverdue), alert(3, AlertKind::Late)];
        Outlook { eta: Some(eta), alerts, ..Outlook::default() }
    }

    #[test]
    fn a_row_has_the_names_and_values_of_the_published_state() {
        let (facts, mut live) = (testing::facts(), Live::new(UnixMillis(5)));
        live.rider = Some(testing::rider(1));
        live.stage = Some(Stage::Picking);
        live.outlook = Some(Arc::new(outlook()));
        let state = doc::order(&testing::order(1), &facts, &live);
        let row = serde_json::to_value(OrderRow::of(&facts, &live).unwrap()).unwrap();
        assert!(row.get("eta_p50_ms").is_some() && row.get("alerts").is_some());
        for (name, value) in row.as_object().unwrap() {
            match name.as_str() {
                "eta_p50_ms" => assert_eq!(value, &state["eta"]["p50_ms"]),
                "alerts" => {
                    let open = state["alerts"].as_object().unwrap().values().map(|alert| alert["kind"].clone());
                    assert_eq!(value, &open.collect::<Value>());
                    assert_eq!(value, &json!(["stage_overdue", "late"]));
                }
                // Its name is not in the row.
                "warehouse" => assert_eq!((&value["id"], &value["lat"]), (&state[name]["id"], &state[name]["lat"])),
                _ => assert_eq!(value, &state[name], "{name}"),
            }
        }
        live.status = Status::Completed;
        assert_eq!(OrderRow::of(&facts, &live), None);
        let point = Point::from_degrees(31.2, 121.4).unwrap();
        let position = Position {
            point,
            fix_time: UnixMillis(7),
            speed_cmps: Some(321),
            heading_deg: None,
            accuracy_dm: Some(57),
        };
        let row = serde_json::to_value(PositionRow::from(&position)).unwrap();
        assert_eq!(row, doc::position(&position));
    }

    #[test]
    fn an_arrival_is_reckoned_from_the_fix() {
        let warehouse = WarehouseRow { id: "w".parse().unwrap(), at: Degrees { lat: 31.0, lon: 121.0 } };
        let at = Degrees { lat: 31.009, lon: 121.0 };
        let position =
            PositionRow { at, fix_time_ms: UnixMillis(1_000), speed_mps: None, heading_deg: None, accuracy_m: None };
        let arrival = self::arrival(Some(&position), &warehouse).unwrap();
        assert_eq!(arrival, json!({"distance_m": 1000.8, "eta_ms": 1_000 + 200_160, "basis": "constant_speed"}));
        assert_eq!(self::arrival(None, &warehouse), None);
    }

    #[test]
    fn a_box_that_is_none_is_refused_by_field() {
        let field = |degrees: [f64; 4]| bounds(&degrees).unwrap_err().field;
        assert_eq!(field([181.0, 0.0, 1.0, 1.0]), "box[0]");
        assert_eq!(field([0.0, -91.0, 1.0, 1.0]), "box[1]");
        assert_eq!(field([0.0, 0.0, 1.0, 91.0]), "box[3]");
        assert_eq!(field([0.0, 2.0, 1.0, 1.0]), "box[3]");
        assert!(bounds(&[179.0, -1.0, -179.0, 1.0]).unwrap().contains(Point::from_degrees(0.0, 180.0).unwrap()));
    }
}
