//! The cell core: what orders share. It knows the clock, the rules, the riders and who carries what; it takes the log's
//! entries one by one, does once per fix what needs doing once, and routes to each order its inputs.

mod barrier;
mod core;
mod rider;
mod search;
mod solo;
#[cfg(test)]
mod tests;
mod trip;

pub use self::core::{Cell, CellHead, Route, Routed};
pub use rider::{Carry, Rider};
pub(crate) use search::Search;
pub use solo::{Solo, SoloOutcome};
pub use trip::{FollowUp, Word};

use super::{
    command::Command,
    effect::TimerKind,
    fix::Fix,
    ids::{OrderId, RiderId, WarehouseId},
    order::FoundRoute,
    rules::Rules,
    status::Stage,
    time::UnixMillis,
};
use std::sync::Arc;

/// One message of the log: its place, its time and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Stream sequence.
    pub seq: u64,
    /// The NATS server's time.
    pub log_time: UnixMillis,
    pub input: Input,
}

/// What the log says, decoded and checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Command {
        order: OrderId,
        command: Command,
    },
    Stage {
        warehouse: WarehouseId,
        order: OrderId,
        stage: Stage,
    },
    Fixes {
        rider: RiderId,
        sent_time: Option<UnixMillis>,
        fixes: Vec<Fix>,
    },
    Shift {
        rider: RiderId,
        on: bool,
        /// At a shift's end: who takes the orders in hand.
        handover_to: Option<RiderId>,
    },
    /// The rider's orders in the order of their stops.
    Trip {
        rider: RiderId,
        stops: Vec<OrderId>,
    },
    Timer {
        order: OrderId,
        kind: TimerKind,
        n: u32,
    },
    /// What somebody outside found for an order without a route.
    Route {
        order: OrderId,
        found: Arc<FoundRoute>,
    },
    Clock {
        scale: u32,
        cell_time: Option<UnixMillis>,
    },
    Rules {
        rules: Rules,
        /// The least `rules_version` that has all that the message names.
        needs: u32,
    },
    /// What could not be decoded keeps its place in the log.
    Malformed {
        field: String,
        reason: String,
    },
}
