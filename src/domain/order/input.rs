//! What reaches one order.

use crate::domain::{
    command::{Command, Operator},
    effect::{Handover, RouteEnds, TimerKind},
    fix::{Fix, Position},
    ids::{RiderId, WarehouseId},
    order::Route,
    status::Stage,
    time::UnixMillis,
};
use std::sync::Arc;

/// What reaches one order.
#[derive(Clone, Debug, PartialEq)]
pub enum OrderInput {
    /// With the taker-over's state where the command assigns a rider.
    Command {
        command: Command,
        handover: Option<Handover>,
    },
    Stage {
        warehouse: WarehouseId,
        stage: Stage,
    },
    Fix(FixInput),
    Timer {
        kind: TimerKind,
        n: u32,
    },
    /// The cell itself gives the order to a rider: by dispatch, or because a shift ends. Nobody waits for an answer.
    Give {
        rider: RiderId,
        /// Who has it, as far as the cell knows; it changes nothing where that isn't so.
        of: Option<RiderId>,
        handover: Handover,
        by: Operator,
    },
    /// So many stops lie before this order's now.
    Stops {
        rider: RiderId,
        stops_ahead: u16,
    },
    /// A route was found for the order.
    Route(Arc<FoundRoute>),
}

/// A route that somebody outside found between two places.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundRoute {
    /// Between which places it was asked for; the route itself begins and ends on a street nearby.
    pub ends: RouteEnds,
    pub route: Route,
    /// Who found it, for people: `osrm`.
    pub source: String,
}

/// A fix of the rider who carried the order at its fix time.
#[derive(Clone, Debug, PartialEq)]
pub struct FixInput {
    pub rider: RiderId,
    pub fix: Fix,
    /// Corrected.
    pub fix_time: UnixMillis,
    pub sent_time: Option<UnixMillis>,
    /// Where the rider is shown after it, if it moved the rider on.
    pub live: Option<Position>,
    /// Stops before this order's.
    pub stops_ahead: u16,
    /// Set for one of the orders that the fix goes to: its verdict is the fix's, so that nothing is counted twice.
    pub counted: bool,
}
