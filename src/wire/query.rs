//! What a bridge asks the owner of a cell, as NATS requests on `query.{cell}.{what}`, and what it hears.
//!
//! A page that would not fit NATS's payload limit is cut short and says where to go on.

use super::FieldError;
use crate::domain::{OrderId, RiderId, Status, UnixMillis, WarehouseId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// [`RiderQuery`](super::RiderQuery) → [`RiderState`](super::RiderState).
    pub const RIDER: &str = "rider";
    /// Empty → [`CellState`](super::CellState).
    pub const CELL: &str = "cell";
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

/// An order's whole state at a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub epoch: u64,
    pub version: u64,
    /// Cell time of that version.
    pub at_ms: UnixMillis,
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

/// Most orders in a page.
pub const MAX_PAGE: u32 = 500;

/// Orders by creation, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListQuery {
    pub status: Option<Status>,
    pub rider: Option<RiderId>,
    pub warehouse: Option<WarehouseId>,
    pub created_from_ms: Option<UnixMillis>,
    pub created_to_ms: Option<UnixMillis>,
    /// From the previous page's `next`.
    pub cursor: Option<String>,
    /// 1 to [`MAX_PAGE`]; 100 without it.
    pub limit: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// An order's history in the order in which it was applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackPage {
    pub rows: Vec<TrackRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// One line of an order's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackRow {
    pub id: i64,
    /// `create`, `pay`, `stage`, `fix`, …
    pub kind: String,
    pub version: u64,
    pub rev: u64,
    pub status: Status,
    /// Cell time at which it was applied.
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
    pub fix_time_ms: Option<UnixMillis>,
    /// The device's own, with `seq` the fix's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
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
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiderQuery {
    pub rider: RiderId,
}

/// A rider as the cell knows them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RiderState {
    pub rider: RiderId,
    pub on_shift: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Value>,
    /// Orders in hand, in the order of their stops.
    pub stops: Vec<OrderId>,
}

/// Figures of the cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellState {
    pub epoch: u64,
    /// Last applied place in the log.
    pub cursor: u64,
    pub cell_time_ms: UnixMillis,
    pub clock_scale: u32,
}
