//! What an order watches of itself: how far it is, when it arrives, and whether something is wrong.
//!
//! Every change of an order passes [`Order::look`] before its version is counted: arrival time and alerts follow from the
//! state as a whole, so that whatever changed it, one version tells all of it. What only a deadline can show is left to
//! timers, which come back through the log. Timers are lazy: one that is set too early asks again when it fires, so that
//! a fix, which moves most deadlines, writes none.
//!
//! - [`ride`]: what the rider's fixes show: progress, fences, deviation, standing still.
//! - [`desk`]: the open alerts: raised once per cause, acknowledged, cleared.
//! - [`deadline`]: promise, warehouse and signal, by timers.

mod deadline;
mod desk;
mod look;
mod ride;
#[cfg(test)]
mod tests;

use desk::Desk;
use ride::Ride;

use super::{FixInput, Order};
use crate::domain::{
    alert::{Alert, OpenAlert},
    command::Operator,
    effect::TimerKind,
    eta::Eta,
    time::UnixMillis,
};
use serde::{Deserialize, Serialize};

/// The core's own memory of what it watches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    pub(super) desk: Desk,
    /// What the present rider's fixes showed.
    pub(super) ride: Ride,
    /// When the last stage, or else the payment, was reported.
    pub(super) stage_at: UnixMillis,
    /// Length of the planned route, or from warehouse to destination as the crow flies; taken once.
    pub(super) way_m: Option<f64>,
    /// Some rider had the goods: they aren't at the warehouse any more.
    pub(super) goods_out: bool,
    /// Where the order was delivered has been looked at.
    pub(super) place_known: bool,
}

/// What an order says of itself, published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// As last told: when p50 had moved, or the status changed. None once the order has ended.
    pub eta: Option<Eta>,
    /// Still to ride, as of that estimate, in metres; none before the rider has the goods.
    pub remaining_m: Option<u32>,
    /// When the rider arrived at the warehouse and at the destination, by fix time.
    pub warehouse_arrived_at: Option<UnixMillis>,
    pub arrived_at: Option<UnixMillis>,
    /// By their numbers.
    pub alerts: Vec<OpenAlert>,
}

impl Order {
    /// Metres that the present rider travelled with the order in hand; standing still collects none.
    pub fn travelled_m(&self) -> f64 {
        self.watch.as_ref().map_or(0.0, |watch| watch.ride.travelled_m())
    }

    /// Open alerts, by their numbers.
    pub fn alerts(&self) -> &[Alert] {
        self.watch.as_ref().map_or(&[], |watch| watch.desk.all())
    }
}

/// What made the order look at itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause<'a> {
    /// A fix of the rider; whether it moved the marker on.
    Fix(&'a FixInput),
    /// A timer, and when it was due.
    Timer(TimerKind, UnixMillis),
    Acknowledged(u32, &'a Operator),
    /// Anything else that may have changed the state.
    Change,
}
