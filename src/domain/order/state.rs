//! What an order is. `Facts` come with its creation, `Live` is what moves; both are published. The rest is the core's
//! own memory.

use crate::{
    domain::{
        command::{Answer, KeyId},
        effect::TimerKind,
        fix::Position,
        ids::{CellId, OrderId, RiderId, UserId, WarehouseId},
        order::{Circumstances, Outlook, Watch},
        status::{Event, Stage, Status, transition},
        time::UnixMillis,
        track::Track,
    },
    geo::Point,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An amount in the currency's minor unit (分, cents).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    pub minor: i64,
    /// ISO 4217, three capitals.
    pub currency: String,
}

/// The warehouse as the order knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub id: WarehouseId,
    pub name: String,
    pub point: Point,
}

/// The window told to the customer, in cell time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    pub from: UnixMillis,
    pub to: UnixMillis,
}

/// The planned geometry, WGS-84, at least two points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub points: Vec<Point>,
}

/// What the order's creation fixed, and only an edit changes. Names no person: contact, address text and notes are kept apart from the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub user: UserId,
    pub cell: CellId,
    pub warehouse: Place,
    pub destination: Point,
    pub total: Money,
    pub items: u32,
    pub promise: Option<Promise>,
    pub route: Option<Route>,
    /// The shop's free-form JSON object as compact text, without null members.
    pub extra: Option<String>,
}

/// What moves, and is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    pub status: Status,
    pub rev: u64,
    pub stage: Option<Stage>,
    pub rider: Option<RiderId>,
    pub position: Option<Position>,
    /// Stops of the rider before this order's.
    pub stops_ahead: Option<u16>,
    pub created_at: UnixMillis,
    pub paid_at: Option<UnixMillis>,
    pub departed_at: Option<UnixMillis>,
    pub completed_at: Option<UnixMillis>,
    pub cancelled_at: Option<UnixMillis>,
    pub cancel_reason: Option<String>,
    /// What most orders don't have.
    pub circumstances: Option<Arc<Circumstances>>,
    /// What the order says of itself, from payment on.
    pub outlook: Option<Arc<Outlook>>,
}

/// An order's whole state. Everything that decides is in here; an actor is rehydrated from it and from nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub id: OrderId,
    pub version: u64,
    pub facts: Arc<Facts>,
    pub live: Live,
    /// Cell time of the last version.
    pub updated_at: UnixMillis,
    /// Since when the present rider carries it.
    pub carried_since: Option<UnixMillis>,
    /// Every command's outcome under its idempotency key, in the order of their coming.
    pub answers: Vec<(KeyId, Answer)>,
    /// The running timer of each kind: its number and when it is due.
    pub timers: Vec<(TimerKind, u32, UnixMillis)>,
    /// Timers set so far, of all kinds: numbers are never used twice.
    pub timers_set: u32,
    /// Picking tasks issued so far.
    pub tasks: u32,
    /// What it watches of itself; none before payment.
    pub watch: Option<Box<Watch>>,
    /// Stored in chunks beside the state blob, not in it.
    pub track: Track,
    /// What was written to open alerts when they were acknowledged, by the alerts' numbers. Last, so that a state of the
    /// format before is one without.
    pub notes: Vec<(u32, Arc<str>)>,
}

impl Live {
    /// Of an order just created.
    pub fn new(at: UnixMillis) -> Self {
        Self {
            status: Status::PendingPayment,
            rev: 1,
            stage: None,
            rider: None,
            position: None,
            stops_ahead: None,
            created_at: at,
            paid_at: None,
            departed_at: None,
            completed_at: None,
            cancelled_at: None,
            cancel_reason: None,
            circumstances: None,
            outlook: None,
        }
    }

    /// Picking complete and a rider assigned: the order is on its way.
    pub(super) fn depart_if_ready(&mut self, at: UnixMillis) {
        let ready = self.rider.is_some() && self.stage.is_some_and(Stage::picking_complete);
        if let Some(status) = transition(self.status, Event::Depart).filter(|_| ready) {
            self.status = status;
            self.departed_at = Some(at);
        }
    }

    /// Who had it stays known; where they are now is nobody's business any more.
    pub(super) fn hide_rider(&mut self) {
        self.position = None;
        self.stops_ahead = None;
    }

    pub(super) fn leave_rider(&mut self) {
        self.rider = None;
        self.hide_rider();
    }
}
