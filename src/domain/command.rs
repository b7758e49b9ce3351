//! What parties ask of an order, and what they are told.

use super::{
    ids::{OrderId, RiderId, WarehouseId},
    order::{Edit, Facts, Missing, Proof},
    status::{Event, Stage, Status, allowed},
    time::UnixMillis,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who did something. The numbers are `operator_type` in storage and on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum OperatorKind {
    Rider = 1,
    Warehouse = 2,
    Operations = 3,
    /// The shop's order system, and Trunkline itself.
    System = 4,
}

impl OperatorKind {
    pub const ALL: [Self; 4] = [Self::Rider, Self::Warehouse, Self::Operations, Self::System];

    /// The name in headers and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rider => "rider",
            Self::Warehouse => "warehouse",
            Self::Operations => "operations",
            Self::System => "system",
        }
    }
}

/// The party behind an input: its kind and its id (a token).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Operator {
    pub kind: OperatorKind,
    pub id: Arc<str>,
}

impl Operator {
    /// Trunkline's own timers.
    pub fn timer() -> Self {
        Self { kind: OperatorKind::System, id: "timer".into() }
    }

    /// Trunkline's own assignments and its reckoning of stops.
    pub fn dispatch() -> Self {
        Self { kind: OperatorKind::System, id: "dispatch".into() }
    }

    /// What an order says of itself.
    pub fn watch() -> Self {
        Self { kind: OperatorKind::System, id: "watch".into() }
    }

    /// What finds routes for orders that have none.
    pub fn router() -> Self {
        Self { kind: OperatorKind::System, id: "router".into() }
    }

    /// A rider, as the sender of fixes and deliveries.
    pub fn rider(id: &RiderId) -> Self {
        Self { kind: OperatorKind::Rider, id: id.as_str().into() }
    }

    /// A warehouse, as the sender of stages.
    pub fn warehouse(id: &WarehouseId) -> Self {
        Self { kind: OperatorKind::Warehouse, id: id.as_str().into() }
    }
}

/// An idempotency key, scoped: the first 16 bytes of SHA-256 over publisher, order, verb and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyId(pub [u8; 16]);

/// A command to one order.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub action: Action,
    pub key: KeyId,
    /// Refuse unless this is the order's current rev.
    pub if_rev: Option<u64>,
    pub by: Operator,
    /// The least [`Rules::rules_version`](super::Rules::rules_version) that has all that its payload names, beside the
    /// action's own: an older program couldn't read it.
    pub needs: u32,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Create(Arc<Facts>),
    Pay,
    Cancel {
        reason: Option<String>,
    },
    Assign {
        rider: RiderId,
    },
    Unassign,
    /// `at` is the publisher's own time, corrected by when it was `sent`; without it, the time of the log.
    Deliver {
        at: Option<UnixMillis>,
        sent: Option<UnixMillis>,
        proof: Option<Arc<Proof>>,
    },
    /// The rider stood before a closed door, and keeps the order. Times as in `Deliver`.
    Fail {
        reason: String,
        at: Option<UnixMillis>,
        sent: Option<UnixMillis>,
    },
    /// The goods go back, and the order ends. Times as in `Deliver`.
    Return {
        reason: String,
        at: Option<UnixMillis>,
        sent: Option<UnixMillis>,
    },
    Missing(Arc<Missing>),
    Edit(Edit),
    /// Operations have taken note of the order's alert of this number.
    Acknowledge {
        alert: u32,
        /// What they found or did, for people.
        note: Option<Arc<str>>,
    },
}

/// A command's name, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    Create,
    Pay,
    Cancel,
    Assign,
    Unassign,
    Deliver,
    Fail,
    Return,
    Missing,
    Edit,
    Acknowledge,
}

impl Verb {
    pub const ALL: [Self; 11] = [
        Self::Create,
        Self::Pay,
        Self::Cancel,
        Self::Assign,
        Self::Unassign,
        Self::Deliver,
        Self::Fail,
        Self::Return,
        Self::Missing,
        Self::Edit,
        Self::Acknowledge,
    ];

    /// The token in subjects and paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Pay => "pay",
            Self::Cancel => "cancel",
            Self::Assign => "assign",
            Self::Unassign => "unassign",
            Self::Deliver => "deliver",
            Self::Fail => "fail",
            Self::Return => "return",
            Self::Missing => "missing",
            Self::Edit => "edit",
            Self::Acknowledge => "acknowledge",
        }
    }
}

impl std::str::FromStr for Verb {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|v| v.name() == text).ok_or_else(|| {
            let verbs = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is no verb; the verbs are {verbs}")
        })
    }
}

impl Action {
    /// Its name.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Create(_) => Verb::Create,
            Self::Pay => Verb::Pay,
            Self::Cancel { .. } => Verb::Cancel,
            Self::Assign { .. } => Verb::Assign,
            Self::Unassign => Verb::Unassign,
            Self::Deliver { .. } => Verb::Deliver,
            Self::Fail { .. } => Verb::Fail,
            Self::Return { .. } => Verb::Return,
            Self::Missing(_) => Verb::Missing,
            Self::Edit(_) => Verb::Edit,
            Self::Acknowledge { .. } => Verb::Acknowledge,
        }
    }

    /// From which [`Rules::rules_version`](super::Rules::rules_version) on it is taken.
    pub fn rules_version(&self) -> u32 {
        match self {
            Self::Create(_)
            | Self::Pay
            | Self::Cancel { .. }
            | Self::Assign { .. }
            | Self::Unassign
            | Self::Deliver { proof: None, .. } => 1,
            Self::Deliver { proof: Some(_), .. }
            | Self::Fail { .. }
            | Self::Return { .. }
            | Self::Missing(_)
            | Self::Edit(_) => 2,
            Self::Acknowledge { note: None, .. } => 3,
            Self::Acknowledge { note: Some(_), .. } => 4,
        }
    }
}

/// The outcome of an input that somebody may wait for. It is kept under the idempotency key, so a repetition gets it
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Accepted(Accepted),
    Refused(Refusal),
}

/// The order after an accepted input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub version: u64,
    pub rev: u64,
    pub status: Status,
}

/// Why an input changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such order")]
    UnknownOrder,
    #[error("the order exists already")]
    OrderExists,
    #[error("`{}` is not possible in status {} ({}); possible: {}", .event.name(), .status.code(), .status.name(), names(*.status))]
    Transition { status: Status, event: Event },
    #[error("if_rev is {given}, the order is at rev {current}")]
    RevConflict { given: u64, current: u64 },
    #[error("stage `{}` lies before the current `{}`", .given.name(), .current.name())]
    StageBack { given: Stage, current: Stage },
    /// The sender isn't the one that the order has: a foreign warehouse, a rider that doesn't carry it.
    #[error("{field} is `{given}`, the order has `{expected}`")]
    Mismatch { field: String, given: String, expected: String },
    /// The rider can't do this with these orders in hand.
    #[error("rider carries {} order(s)", .orders.len())]
    OrdersInHand { orders: Vec<OrderId> },
    /// A field that doesn't fit; nothing else was looked at.
    #[error("{field}: {reason}")]
    Field { field: String, reason: String },
    /// The bound on kept idempotency outcomes of one order is reached.
    #[error("the order has had {limit} commands, which is its limit")]
    TooManyCommands { limit: u32 },
    /// The input made its order's actor fail, twice.
    #[error("the input could not be applied and was set aside")]
    SetAside,
}

impl Refusal {
    /// A field that doesn't fit.
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field { field: field.into(), reason: reason.into() }
    }

    /// A stable machine-readable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownOrder => "unknown_order",
            Self::OrderExists => "order_exists",
            Self::Transition { .. } => "transition",
            Self::RevConflict { .. } => "rev_conflict",
            Self::StageBack { .. } => "stage_back",
            Self::Mismatch { .. } => "mismatch",
            Self::OrdersInHand { .. } => "orders_in_hand",
            Self::Field { .. } => "field",
            Self::TooManyCommands { .. } => "too_many_commands",
            Self::SetAside => "set_aside",
        }
    }

    /// The field of the input that the refusal is about.
    pub fn field_name(&self) -> &str {
        match self {
            Self::UnknownOrder | Self::OrderExists => "order",
            Self::Transition { .. } => "status",
            Self::RevConflict { .. } => "if_rev",
            Self::StageBack { .. } => "stage",
            Self::Mismatch { field, .. } | Self::Field { field, .. } => field,
            Self::OrdersInHand { .. } => "rider",
            Self::TooManyCommands { .. } => "Idempotency-Key",
            Self::SetAside => "payload",
        }
    }
}

fn names(status: Status) -> String {
    let names: Vec<_> = allowed(status).into_iter().map(Event::name).collect();
    if names.is_empty() { "nothing, it is final".into() } else { names.join(", ") }
}
