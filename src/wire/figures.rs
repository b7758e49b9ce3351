//! Figures of a cell at a glance: what a console shows above its map. The owner counts, the bridge adds what it knows of itself.

use super::schema::{Id, Millis};
use crate::domain::{CellId, UnixMillis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How far back, in cell time, an order's end counts: a day.
pub const ENDED_WITHIN_MS: i64 = 24 * 60 * 60 * 1_000;

/// Figures of the cell as of now; what is counted of its orders may be 2 s old.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Figures {
    #[schema(value_type = Id)]
    pub cell: CellId,
    /// Cell time, as of which the orders were counted.
    #[schema(value_type = Millis)]
    pub at_ms: UnixMillis,
    /// Orders by the code of their status, 1 to 5; of completed and cancelled ones those that ended in the last 24 h.
    pub orders: BTreeMap<String, u64>,
    pub late: LateFigures,
    pub eta: EtaFigures,
    /// Entries of the cell's log that aren't applied yet.
    pub backlog: u64,
    pub riders: RiderFigures,
    /// Clients of the answering node by transport.
    #[serde(default)]
    pub connections: BTreeMap<String, u64>,
}

/// How many orders are late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LateFigures {
    /// Orders under way with an open alert `late`.
    pub open: u64,
    /// Orders with a promise that were completed in the last 24 h …
    pub completed: u64,
    /// … and those of them that were completed after it.
    pub completed_late: u64,
}

/// How good arrival times were: the first one told while an order was being delivered against its completion, over the orders
/// that were completed in the last 24 h and had one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EtaFigures {
    pub orders: u64,
    /// The mean of how far p50 was off. None of the three where there are no orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub mae_ms: Option<i64>,
    /// The mean of p50 less the completion: below 0 where orders came later than told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub bias_ms: Option<i64>,
    /// The share that was completed from p10 to p90, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub within: Option<f64>,
}

/// The cell's riders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RiderFigures {
    pub on_shift: u64,
}
