//! What is done in a city, but for the phones' fixes: whom it concerns, and how the truth file tells of it.

use super::{
    lanes::Lane,
    plan::Plan,
    wish::{Mark, Wish},
};
use crate::domain::{Stage, UnixMillis};
use serde_json::{Value, json};

/// What is done. Orders and riders are numbers in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Create {
        order: u32,
    },
    Pay {
        order: u32,
    },
    Cancel {
        order: u32,
        reason: &'static str,
    },
    /// Promise and perhaps door, as the wish has them.
    Edit {
        order: u32,
    },
    /// Items that the warehouse doesn't have.
    Missing {
        order: u32,
    },
    Stage {
        order: u32,
        stage: Stage,
        must_be_refused: bool,
    },
    Assign {
        order: u32,
        rider: usize,
    },
    Trip {
        rider: usize,
        stops: Vec<u32>,
    },
    Delivered {
        rider: usize,
        order: u32,
        at: UnixMillis,
    },
    /// Nobody opened.
    Failed {
        rider: usize,
        order: u32,
        at: UnixMillis,
    },
    /// The goods are back in the warehouse.
    Returned {
        rider: usize,
        order: u32,
        at: UnixMillis,
    },
    /// Begins and ends when what `after` says is over.
    Shift {
        rider: usize,
        on: bool,
        after: Vec<u32>,
    },
    /// Ends, and `to` takes what is in hand.
    HandOver {
        rider: usize,
        to: usize,
        orders: Vec<u32>,
    },
}

impl Deed {
    /// The order that it is about, if it is about one.
    pub(super) fn order(&self) -> Option<u32> {
        match self {
            Self::Create { order }
            | Self::Pay { order }
            | Self::Cancel { order, .. }
            | Self::Edit { order }
            | Self::Missing { order }
            | Self::Stage { order, .. }
            | Self::Assign { order, .. }
            | Self::Delivered { order, .. }
            | Self::Failed { order, .. }
            | Self::Returned { order, .. } => Some(*order),
            Self::Trip { .. } | Self::Shift { .. } | Self::HandOver { .. } => None,
        }
    }

    /// Who does it, and whom it waits for.
    pub(super) fn lanes(&self) -> Vec<Lane> {
        let orders = |orders: &[u32]| orders.iter().map(|order| Lane::Order(*order)).collect::<Vec<_>>();
        match self {
            Self::Create { order }
            | Self::Pay { order }
            | Self::Cancel { order, .. }
            | Self::Edit { order }
            | Self::Missing { order }
            | Self::Stage { order, .. }
            | Self::Assign { order, .. } => vec![Lane::Order(*order)],
            Self::Delivered { rider, order, .. }
            | Self::Failed { rider, order, .. }
            | Self::Returned { rider, order, .. } => vec![Lane::Rider(*rider), Lane::Order(*order)],
            Self::Trip { rider, stops: concerned } | Self::Shift { rider, after: concerned, .. } => {
                let mut lanes = orders(concerned);
                lanes.push(Lane::Rider(*rider));
                lanes
            }
            Self::HandOver { rider, to, orders: concerned } => {
                let mut lanes = orders(concerned);
                lanes.extend([Lane::Rider(*rider), Lane::Rider(*to)]);
                lanes
            }
        }
    }

    /// Whether the system would be wrong to accept it.
    pub(super) fn must_be_refused(&self) -> bool {
        matches!(self, Self::Stage { must_be_refused: true, .. })
    }

    /// As the truth file has it.
    pub(super) fn told(&self, plan: &Plan) -> Value {
        let order = |n: &u32| &plan.wishes[*n as usize].order;
        let orders = |all: &[u32]| all.iter().map(|n| order(n).to_string()).collect::<Vec<_>>();
        let rider = |n: &usize| &plan.riders[*n].id;
        let by_rider = |what: &str, n: &u32, r: &usize, at: &UnixMillis| json!({"what": what, "order": order(n), "rider": rider(r), "at_ms": at});
        match self {
            Self::Create { order: n } => json!({"what": "create", "order": order(n)}),
            Self::Pay { order: n } => json!({"what": "pay", "order": order(n)}),
            Self::Cancel { order: n, reason } => json!({"what": "cancel", "order": order(n), "reason": reason}),
            Self::Edit { order: n } => {
                let edit = plan.wishes[*n as usize].edit;
                json!({"what": "edit", "order": order(n), "destination": edit.is_some_and(|e| e.door.is_some())})
            }
            Self::Missing { order: n } => {
                json!({"what": "missing", "order": order(n), "count": plan.wishes[*n as usize].missing})
            }
            Self::Stage { order: n, stage, must_be_refused } => json!({
                "what": "stage", "order": order(n), "stage": stage.name(), "must_be_refused": must_be_refused,
            }),
            Self::Assign { order: n, rider: r } => json!({"what": "assign", "order": order(n), "rider": rider(r)}),
            Self::Trip { rider: r, stops } => json!({"what": "trip", "rider": rider(r), "stops": orders(stops)}),
            Self::Delivered { rider: r, order: n, at } => {
                let mut told = by_rider("delivered", n, r, at);
                told["proof"] = plan.wishes[*n as usize].proof().into_iter().collect();
                told
            }
            Self::Failed { rider: r, order: n, at } => by_rider("failed", n, r, at),
            Self::Returned { rider: r, order: n, at } => by_rider("returned", n, r, at),
            Self::Shift { rider: r, on, .. } => json!({"what": "shift", "rider": rider(r), "on": on}),
            Self::HandOver { rider: r, to, orders: all } => {
                json!({"what": "hand_over", "rider": rider(r), "to": rider(to), "orders": orders(all)})
            }
        }
    }
}

impl Wish {
    /// What is shown when the order is handed over, by name. Nothing for some.
    pub(super) fn proof(&self) -> Vec<(String, Value)> {
        let names = ["photo", "code", "signature"].into_iter().zip(self.proof);
        let shown = names.filter(|(_, shown)| *shown);
        shown.map(|(name, _)| (name.to_owned(), format!("{name}-{}", self.mark(Mark::Proof)).into())).collect()
    }
}
