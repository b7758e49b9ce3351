//! What a bridge asks the owner of a cell, as NATS requests on `query.{cell}.{what}`, and what it hears.
//!
//! A page that would not fit NATS's payload limit is cut short and says where to go on.

use super::{
    FieldError,
    area::Area,
    schema::{Id, Millis, OrderState, PositionBody, StatusCode},
};
use crate::domain::{OrderId, RiderId, Status, UnixMillis, UserId, WarehouseId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The last token of the subject, one per request type.
pub mod what {
    /// [`OrderQuery`](super::OrderQuery) → [`Snapshot`](super::Snapshot).
    pub const ORDER: &str = "order";
    /// [`DeltasQuery`](super::DeltasQuery) → [`Deltas`](super::Deltas).
    pub const DELTAS: &str = "deltas";
    /// [`ListQuery`](super::ListQuery) → [`OrderPage`](super::OrderPage).
    pub const ORDERS: &str = "orders";
    /// [`TrackQuery`](super::TrackQuery) → [`TrackPage`](super::TrackPage).
    pub const TRACK: &str = "track";
    /// [`AlertsQuery`](crate::wire::alert::AlertsQuery) → [`AlertPage`](crate::wire::alert::AlertPage).
    pub const ALERTS: &str = "alerts";
    /// [`AlertQuery`](crate::wire::alert::AlertQuery) → [`AlertBody`](crate::wire::alert::AlertBody).
    pub const ALERT: &str = "alert";
    /// [`PassedQuery`](super::PassedQuery) → [`PassedPage`](super::PassedPage).
    pub const PASSED: &str = "passed";
    /// [`RiderQuery`](super::RiderQuery) → [`RiderState`](super::RiderState).
    pub const RIDER: &str = "rider";
    /// [`NearestQuery`](super::NearestQuery) → [`NearRiders`](super::NearRiders).
    pub const NEAREST: &str = "nearest";
    /// [`RidersQuery`](super::RidersQuery) → [`RiderPage`](super::RiderPage).
    pub const RIDERS: &str = "riders";
    /// [`RiderQuery`](super::RiderQuery) → [`RiderWord`](crate::wire::board::RiderWord), and the words that follow.
    pub const RIDER_BOARD: &str = "rider_board";
    /// [`CellQuery`](crate::wire::board::CellQuery) → [`CellPage`](crate::wire::board::CellPage), and the words that follow.
    pub const CELL_BOARD: &str = "cell_board";
    /// Empty → [`CellState`](super::CellState).
    pub const CELL: &str = "cell";
    /// Empty → [`Figures`](crate::wire::figures::Figures), without connections.
    pub const FIGURES: &str = "figures";

    pub const ALL: [&str; 14] = [
        ORDER,
        DELTAS,
        ORDERS,
        TRACK,
        PASSED,
        ALERTS,
        ALERT,
        RIDER,
        NEAREST,
        RIDERS,
        RIDER_BOARD,
        CELL_BOARD,
        CELL,
        FIGURES,
    ];
}

/// Every reply: what was asked for, or why not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<T> {
    Ok(T),
    /// There is no such thing.
    NotFound,
    /// The owner doesn't serve the cell now; the text says why.
    Unavailable(String),
    /// The request doesn't fit: which field, and why.
    BadRequest(FieldError),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderQuery {
    pub order: OrderId,
}

/// An order's whole state at a version; over HTTP, as the role sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    pub epoch: u64,
    /// From this epoch on, versions of this log have meant what they mean now: who has one of an owner since then may resume
    /// from it. Without it: only from the present one. Between owner and bridge only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub since_epoch: Option<u64>,
    pub version: u64,
    /// Cell time of that version.
    #[schema(value_type = Millis)]
    pub at_ms: UnixMillis,
    #[schema(value_type = OrderState)]
    pub state: Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltasQuery {
    pub order: OrderId,
    /// The version that the asker has.
    pub since: u64,
}

/// The state at the asker's version and every delta after it; `NotFound` where the history is gone or too long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deltas {
    pub epoch: u64,
    /// The state at `since`.
    pub base: Value,
    pub deltas: Vec<StoredDelta>,
}

/// More missing deltas than this are answered with `NotFound`: a snapshot is cheaper.
pub const MAX_DELTAS: usize = 200;

/// One version of an order, from its history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredDelta {
    pub from: u64,
    pub to: u64,
    pub at_ms: UnixMillis,
    pub patch: Value,
}

/// JSON bytes of a page: with the rest of the reply well under NATS's payload limit of 1 MB.
pub const PAGE_BYTES: usize = 700_000;

/// Most orders, riders or lines of a track in a page.
pub const MAX_PAGE: u32 = 500;
/// Orders or riders in a page if the query doesn't say.
pub const DEFAULT_PAGE: u32 = 100;

/// Most orders that a list may be asked to be among.
pub const MAX_AMONG: usize = 2_000;

/// Orders by creation, newest first. What is left out doesn't matter; of times, `from` belongs to the span and `to` doesn't.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListQuery {
    /// Any of these; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<Status>,
    pub rider: Option<RiderId>,
    pub warehouse: Option<WarehouseId>,
    pub user: Option<UserId>,
    pub created_from_ms: Option<UnixMillis>,
    pub created_to_ms: Option<UnixMillis>,
    pub updated_from_ms: Option<UnixMillis>,
    pub updated_to_ms: Option<UnixMillis>,
    /// Only these, at most [`MAX_AMONG`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub among: Option<Vec<OrderId>>,
    /// Only active orders whose destination or position lies here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Area>,
    /// From the previous page's `next`.
    pub cursor: Option<String>,
    /// 1 to [`MAX_PAGE`]; [`DEFAULT_PAGE`] without it.
    pub limit: Option<u32>,
}

/// Where a page of orders ended: `{creation time, hex}.{id}`, two's complement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OrderCursor {
    pub created_at: UnixMillis,
    pub order: OrderId,
}

impl std::fmt::Display for OrderCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}.{}", self.created_at.0, self.order)
    }
}

impl std::str::FromStr for OrderCursor {
    type Err = FieldError;
    fn from_str(text: &str) -> Result<Self, FieldError> {
        let parts = text.split_once('.').and_then(|(time, order)| {
            let time = u64::from_str_radix(time, 16).ok()?.cast_signed();
            Some(Self { created_at: UnixMillis(time), order: order.parse().ok()? })
        });
        parts.ok_or_else(|| FieldError::new("cursor", "is not the `next` of an earlier page"))
    }
}

/// Checks a page's length; `None` becomes [`DEFAULT_PAGE`].
pub fn page_limit(limit: Option<u32>) -> Result<usize, FieldError> {
    match limit.unwrap_or(DEFAULT_PAGE) {
        limit if (1..=MAX_PAGE).contains(&limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
        _ => Err(FieldError::new("limit", format!("must be 1 to {MAX_PAGE}"))),
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrderPage {
    pub orders: Vec<Snapshot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackQuery {
    pub order: OrderId,
    /// From the previous page's `next`.
    #[serde(default)]
    pub after: Option<i64>,
    /// 1 to [`MAX_PAGE`] lines; without it, as many as fit in an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Which lines.
    #[serde(default, skip_serializing_if = "Lines::is_all")]
    pub lines: Lines,
}

impl TrackQuery {
    /// An order's history from its first line, in pages as large as an answer may be.
    pub fn all(order: OrderId) -> Self {
        Self { order, after: None, limit: None, lines: Lines::All }
    }
}

/// Which lines of a history a question is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lines {
    /// All of them, without what they changed.
    #[default]
    All,
    /// What happened beside fixes and changes of the trip: statuses, stages, alerts.
    Events,
    /// Those that changed the published state, each with its `patch`.
    Changes,
}

impl Lines {
    fn is_all(&self) -> bool {
        *self == Self::All
    }
}

/// An order's history in the order in which it was applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrackPage {
    pub rows: Vec<TrackRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// One line of an order's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrackRow {
    pub id: i64,
    /// `create`, `pay`, `stage`, `fix`, …
    pub kind: String,
    pub version: u64,
    pub rev: u64,
    #[schema(value_type = StatusCode)]
    pub status: Status,
    /// Cell time at which it was applied.
    #[schema(value_type = Millis)]
    pub at_ms: UnixMillis,
    pub operator_id: String,
    pub operator_type: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lat: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lon: Option<f64>,
    /// Corrected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Millis, required = false)]
    pub fix_time_ms: Option<UnixMillis>,
    /// The device's own, with `seq` the fix's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Millis, required = false)]
    pub device_time_ms: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy_m: Option<f64>,
    /// `good`, `inaccurate` or `jump`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_mps: Option<f64>,
    /// Clockwise from north, 0 to 359.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heading_deg: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_pct: Option<u8>,
    /// The device's clock when it sent the fix.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Millis, required = false)]
    pub sent_time_ms: Option<UnixMillis>,
    /// The arrival as it was then predicted, where this line changed what was published of it: one in ten earlier, one
    /// in two, nine in ten.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Millis, required = false)]
    pub eta_p10_ms: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Millis, required = false)]
    pub eta_p50_ms: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Millis, required = false)]
    pub eta_p90_ms: Option<UnixMillis>,
    /// What it changed in the published state (RFC 7396, from `version` - 1 to `version`), for [`Lines::Changes`] alone. It
    /// is the whole state's, before any view: it never leaves a bridge as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub patch: Option<Value>,
}

/// Which orders were in a part of the map at some time: by their riders' good fixes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassedQuery {
    pub within: Area,
    /// By the fixes' corrected time. `from` belongs to the span, `to` doesn't.
    pub from_ms: UnixMillis,
    pub to_ms: UnixMillis,
    /// From the previous page's `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<OrderId>,
    /// 1 to [`MAX_PAGE`]; [`DEFAULT_PAGE`] without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// By the order's id. A page may be shorter than its limit, or empty, and still have a `next`: what is looked at for one
/// answer is bounded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PassedPage {
    pub orders: Vec<Passed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Id, required = false)]
    pub next: Option<OrderId>,
}

/// An order that passed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Passed {
    #[schema(value_type = Id)]
    pub order: OrderId,
    /// Times of its first and last good fix inside.
    #[schema(value_type = Millis)]
    pub first_ms: UnixMillis,
    #[schema(value_type = Millis)]
    pub last_ms: UnixMillis,
    /// Good fixes inside.
    pub fixes: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiderQuery {
    pub rider: RiderId,
}

/// A rider as the cell knows them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RiderState {
    #[schema(value_type = Id)]
    pub rider: RiderId,
    pub on_shift: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = PositionBody, required = false)]
    pub position: Option<Value>,
    /// Orders in hand, in the order of their stops.
    #[schema(value_type = Vec<Id>)]
    pub stops: Vec<OrderId>,
}

/// Most riders in an answer to [`NearestQuery`].
pub const MAX_NEAREST: u32 = 100;

/// The riders nearest to a point, as the crow flies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NearestQuery {
    /// WGS-84, degrees.
    pub lat: f64,
    pub lon: f64,
    /// 1 to [`MAX_NEAREST`].
    pub k: u32,
    /// Only those on shift who have room for another order.
    #[serde(default)]
    pub free: bool,
    /// No farther than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_distance_m: Option<f64>,
}

/// Nearest first; equally near ones by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NearRiders {
    pub riders: Vec<NearRider>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NearRider {
    #[serde(flatten)]
    pub state: RiderState,
    /// As the crow flies.
    pub distance_m: f64,
}

/// The riders in a box or a fence, by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RidersQuery {
    pub within: Area,
    #[serde(default)]
    pub free: bool,
    /// From the previous page's `next`.
    #[serde(default)]
    pub after: Option<RiderId>,
    /// 1 to [`MAX_PAGE`]; [`DEFAULT_PAGE`] without it.
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RiderPage {
    pub riders: Vec<RiderState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Id, required = false)]
    pub next: Option<RiderId>,
}

/// Figures of the cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CellState {
    pub epoch: u64,
    /// Last applied place in the log.
    pub cursor: u64,
    #[schema(value_type = Millis)]
    pub cell_time_ms: UnixMillis,
    pub clock_scale: u32,
}
