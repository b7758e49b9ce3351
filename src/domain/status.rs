//! The order's status, the warehouse's stages, and which event is allowed where: two tables and nothing else.

use serde::{Deserialize, Serialize};

/// Where an order is in its life. The numbers are the codes on the wire and in storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
#[repr(u8)]
pub enum Status {
    PendingPayment = 1,
    Paid = 2,
    Delivering = 3,
    Completed = 4,
    Cancelled = 5,
}

impl Status {
    pub const ALL: [Self; 5] = [Self::PendingPayment, Self::Paid, Self::Delivering, Self::Completed, Self::Cancelled];

    /// The code on the wire and in storage.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Whether nothing but late fixes may follow.
    pub fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::Cancelled => true,
            Self::PendingPayment | Self::Paid | Self::Delivering => false,
        }
    }

    /// The name in errors and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::PendingPayment => "pending_payment",
            Self::Paid => "paid",
            Self::Delivering => "delivering",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<Status> for u8 {
    fn from(status: Status) -> u8 {
        status.code()
    }
}

impl TryFrom<u8> for Status {
    type Error = String;
    fn try_from(code: u8) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.code() == code).ok_or_else(|| format!("no status has the code {code}"))
    }
}

/// What may happen to an existing order, as far as its status is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Pay,
    /// A stage reported by the warehouse.
    Stage,
    Assign,
    Unassign,
    /// Picking is complete and a rider is assigned. Nobody sends it: the core raises it.
    Depart,
    Deliver,
    Cancel,
    /// The unpaid order's time is up.
    Expire,
    /// A delivery was tried in vain.
    Fail,
    /// The goods go back to the warehouse.
    Return,
    /// Items turned out to be missing.
    Missing,
    /// Promise, destination or personal data change.
    Edit,
}

impl Event {
    pub const ALL: [Self; 12] = [
        Self::Pay,
        Self::Stage,
        Self::Assign,
        Self::Unassign,
        Self::Depart,
        Self::Deliver,
        Self::Cancel,
        Self::Expire,
        Self::Fail,
        Self::Return,
        Self::Missing,
        Self::Edit,
    ];

    /// The verb in errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Stage => "stage",
            Self::Assign => "assign",
            Self::Unassign => "unassign",
            Self::Depart => "depart",
            Self::Deliver => "deliver",
            Self::Cancel => "cancel",
            Self::Expire => "expire",
            Self::Fail => "fail",
            Self::Return => "return",
            Self::Missing => "missing",
            Self::Edit => "edit",
        }
    }
}

/// The transition table: the status after `event` in `status`, or `None` where it is refused.
///
/// Who may do it, that a reason is needed, and that nothing is edited after handing over is the command's business, not
/// the table's.
pub fn transition(status: Status, event: Event) -> Option<Status> {
    use Event as E;
    use Status as S;
    match (status, event) {
        (S::PendingPayment, E::Pay) => Some(S::Paid),
        (S::PendingPayment, E::Edit) => Some(S::PendingPayment),
        (S::PendingPayment, E::Cancel | E::Expire) => Some(S::Cancelled),
        (S::Paid, E::Stage | E::Assign | E::Unassign | E::Missing | E::Edit) => Some(S::Paid),
        (S::Paid, E::Depart) => Some(S::Delivering),
        (S::Paid, E::Cancel) => Some(S::Cancelled),
        // The last stage, `handed_over`, is reported when the rider already has the order; until then it can be edited.
        (S::Delivering, E::Stage | E::Assign | E::Unassign | E::Fail | E::Missing | E::Edit) => Some(S::Delivering),
        (S::Delivering, E::Deliver) => Some(S::Completed),
        (S::Delivering, E::Cancel | E::Return) => Some(S::Cancelled),
        (
            S::PendingPayment,
            E::Stage | E::Assign | E::Unassign | E::Depart | E::Deliver | E::Fail | E::Return | E::Missing,
        )
        | (S::Paid, E::Pay | E::Deliver | E::Expire | E::Fail | E::Return)
        | (S::Delivering, E::Pay | E::Depart | E::Expire)
        | (
            S::Completed | S::Cancelled,
            E::Pay
            | E::Stage
            | E::Assign
            | E::Unassign
            | E::Depart
            | E::Deliver
            | E::Cancel
            | E::Expire
            | E::Fail
            | E::Return
            | E::Missing
            | E::Edit,
        ) => None,
    }
}

/// The events that a party may send in `status`, for the error that says what would be allowed.
pub fn allowed(status: Status) -> Vec<Event> {
    Event::ALL
        .into_iter()
        .filter(|event| !matches!(event, Event::Depart | Event::Expire))
        .filter(|event| transition(status, *event).is_some())
        .collect()
}

/// How far the warehouse is with a paid order. Stages may skip forward, never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Stage {
    Received = 1,
    Picking = 2,
    Picked = 3,
    Packed = 4,
    Ready = 5,
    HandedOver = 6,
}

impl Stage {
    pub const ALL: [Self; 6] =
        [Self::Received, Self::Picking, Self::Picked, Self::Packed, Self::Ready, Self::HandedOver];

    /// The token in subjects, JSON and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Picking => "picking",
            Self::Picked => "picked",
            Self::Packed => "packed",
            Self::Ready => "ready",
            Self::HandedOver => "handed_over",
        }
    }

    /// Whether a rider may leave with the order.
    pub fn picking_complete(self) -> bool {
        self >= Self::Packed
    }
}

impl std::str::FromStr for Stage {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.name() == text).ok_or_else(|| {
            format!("`{text}` is no stage; the stages are received, picking, picked, packed, ready, handed_over")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every status × event pair, written out independently of the table.
    #[test]
    fn every_pair_of_the_table() {
        // Columns in the order of `Event::ALL`:
        // pay stage assign unassign depart deliver cancel expire fail return missing edit.
        let expected: [(Status, [u8; 12]); 5] = [
            (Status::PendingPayment, [2, 0, 0, 0, 0, 0, 5, 5, 0, 0, 0, 1]),
            (Status::Paid, [0, 2, 2, 2, 3, 0, 5, 0, 0, 0, 2, 2]),
            (Status::Delivering, [0, 3, 3, 3, 0, 4, 5, 0, 3, 5, 3, 3]),
            (Status::Completed, [0; 12]),
            (Status::Cancelled, [0; 12]),
        ];
        for (status, row) in expected {
            for (event, code) in Event::ALL.into_iter().zip(row) {
                assert_eq!(transition(status, event).map_or(0, Status::code), code, "{status:?} × {event:?}");
            }
        }
    }

    #[test]
    fn final_means_nothing_is_allowed() {
        for status in Status::ALL {
            assert_eq!(allowed(status).is_empty(), status.is_final(), "{status:?}");
        }
    }
}
