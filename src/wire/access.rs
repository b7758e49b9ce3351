//! Who may do what: roles, who is asking, and one table of right × role that code, tests and documentation read.
//!
//! What a role *sees* of an order is the other table, [`super::view::FIELDS`]. An order that its asker may not see is answered
//! like one that doesn't exist, so that nobody learns which ids are in use.

use super::view::View;
use crate::domain::{CellId, OrderId, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

/// A role, as tokens name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Customer,
    /// Whoever holds a share link to one order.
    Shared,
    Rider,
    Warehouse,
    /// The shop's order system.
    System,
    Operations,
}

impl Role {
    pub const ALL: [Self; 6] =
        [Self::Customer, Self::Shared, Self::Rider, Self::Warehouse, Self::System, Self::Operations];

    /// The name in tokens, URLs and publishers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Shared => "shared",
            Self::Rider => "rider",
            Self::Warehouse => "warehouse",
            Self::System => "system",
            Self::Operations => "operations",
        }
    }

    /// How it sees an order that it may see at all.
    pub fn view(self) -> View {
        match self {
            Self::Customer => View::Customer,
            Self::Shared => View::Shared,
            Self::Rider => View::Rider,
            Self::Warehouse => View::Warehouse,
            Self::System | Self::Operations => View::Operations,
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("`{text}` is no role; the roles are {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// Who is asking: what a token was issued for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub role: Role,
    /// The user, rider, warehouse, shop or operator; of a share link, its own id.
    pub id: Arc<str>,
    /// Cells that it may ask about; `None` for all.
    pub cells: Option<Arc<BTreeSet<CellId>>>,
    /// The one order of a share link.
    pub order: Option<OrderId>,
    /// From when on the token is no good. `None` only where there are no tokens.
    pub expires_at: Option<UnixMillis>,
    /// It owns whatever its role could own. No token says so: only where there are none, for trying things out.
    pub everyone: bool,
}

/// How far a right goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    No,
    /// Of its own: a customer's orders, a rider's trip, a warehouse's orders, a share link's order.
    Own,
    /// Of all in its cells.
    Any,
}

/// What can be asked for: routes, topics, commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
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
    /// Take note of alerts.
    Acknowledge,
    /// Report a warehouse's stage.
    Stage,
    /// Report what a rider's device reports: fixes, shift, trip, delivered, failed, returned.
    Report,
    ReadOrder,
    ListOrders,
    ReadTrack,
    ReadAlerts,
    ReadRider,
    /// The nearest riders, or all in a box.
    FindRiders,
    ReadCell,
    /// How the cell and the node are doing.
    ReadFigures,
    /// Erase what names an order's customer.
    Erase,
    /// Make, list and revoke share links of an order.
    Share,
    FollowOrder,
    FollowRider,
    FollowWarehouse,
    FollowCell,
    FollowAlerts,
}

/// Right × role, columns as in [`Role::ALL`]: customer, shared, rider, warehouse, system, operations. Of rights over an
/// order, `Own` is decided by the order's state as it is now ([`Principal::owns`]).
pub const RIGHTS: &[(Right, [Reach; 6])] = {
    use Reach::{Any as A, No as N, Own as O};
    use Right::*;
    &[
        (Create, [N, N, N, N, A, A]),
        (Pay, [N, N, N, N, A, A]),
        (Cancel, [N, N, N, N, A, A]),
        (Assign, [N, N, N, N, A, A]),
        (Unassign, [N, N, N, N, A, A]),
        (Deliver, [N, N, O, N, A, A]),
        (Fail, [N, N, O, N, A, A]),
        (Return, [N, N, O, N, N, A]),
        (Missing, [N, N, O, O, A, A]),
        (Edit, [N, N, N, N, A, A]),
        (Acknowledge, [N, N, N, N, N, A]),
        (Stage, [N, N, N, O, N, A]),
        (Report, [N, N, O, N, N, A]),
        (ReadOrder, [O, O, O, O, A, A]),
        (ListOrders, [O, N, O, O, A, A]),
        (ReadTrack, [N, N, N, N, N, A]),
        (ReadAlerts, [N, N, N, N, N, A]),
        (ReadRider, [N, N, O, N, A, A]),
        (FindRiders, [N, N, N, N, A, A]),
        (ReadCell, [N, N, N, N, A, A]),
        (ReadFigures, [N, N, N, N, N, A]),
        (Erase, [N, N, N, N, N, A]),
        (Share, [O, N, N, N, A, A]),
        (FollowOrder, [O, O, O, O, A, A]),
        (FollowRider, [N, N, O, N, N, A]),
        (FollowWarehouse, [N, N, N, O, N, A]),
        (FollowCell, [N, N, N, N, N, A]),
        (FollowAlerts, [N, N, N, N, N, A]),
    ]
};

impl Right {
    /// Its name in errors and documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create orders",
            Self::Pay => "pay orders",
            Self::Cancel => "cancel orders",
            Self::Assign => "assign orders",
            Self::Unassign => "unassign orders",
            Self::Deliver => "deliver orders",
            Self::Fail => "report failed attempts",
            Self::Return => "return orders",
            Self::Missing => "report missing items",
            Self::Edit => "edit orders",
            Self::Acknowledge => "acknowledge alerts",
            Self::Stage => "report stages",
            Self::Report => "report as a rider",
            Self::ReadOrder => "read orders",
            Self::ListOrders => "list orders",
            Self::ReadTrack => "read tracks",
            Self::ReadAlerts => "read alerts",
            Self::ReadRider => "read riders",
            Self::FindRiders => "find riders",
            Self::ReadCell => "read the cell",
            Self::ReadFigures => "read figures",
            Self::Erase => "erase personal data",
            Self::Share => "share orders",
            Self::FollowOrder => "follow orders",
            Self::FollowRider => "follow riders",
            Self::FollowWarehouse => "follow warehouses",
            Self::FollowCell => "follow the cell",
            Self::FollowAlerts => "follow alerts",
        }
    }

    /// How far it goes for a role. What isn't in the table is nobody's.
    pub fn reach(self, role: Role) -> Reach {
        RIGHTS.iter().find(|(right, _)| *right == self).map_or(Reach::No, |(_, columns)| columns[role as usize])
    }
}

impl Principal {
    /// Whether an order, in its whole state as the owner publishes it, is its own.
    pub fn owns(&self, state: &Value) -> bool {
        if self.everyone {
            return true;
        }
        let text = |pointer: &str| state.pointer(pointer).and_then(Value::as_str);
        match self.role {
            Role::Customer => text("/user_id") == Some(&*self.id),
            Role::Shared => self.order.as_ref().is_some_and(|order| text("/id") == Some(order.as_str())),
            Role::Rider => text("/rider/id") == Some(&*self.id),
            Role::Warehouse => text("/warehouse/id") == Some(&*self.id),
            Role::System | Role::Operations => true,
        }
    }

    /// Whether `id` is its own.
    pub fn is(&self, id: &str) -> bool {
        self.everyone || &*self.id == id
    }

    /// Whether it may ask about this cell at all.
    pub fn reaches(&self, cell: &CellId) -> bool {
        self.cells.as_ref().is_none_or(|cells| cells.contains(cell))
    }

    /// Whether it has a right over an order in this state.
    pub fn may(&self, right: Right, state: &Value) -> bool {
        let cell = || state.get("cell").and_then(Value::as_str).and_then(|cell| cell.parse().ok());
        (self.cells.is_none() || cell().is_some_and(|cell| self.reaches(&cell)))
            && match right.reach(self.role) {
                Reach::No => false,
                Reach::Own => self.owns(state),
                Reach::Any => true,
            }
    }

    /// As what it publishes: `operations.alice`, `rider.r1`.
    pub fn publisher(&self) -> String {
        format!("{}.{}", self.role.name(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn principal(role: Role, id: &str) -> Principal {
        Principal { role, id: id.into(), cells: None, order: "o".parse().ok(), expires_at: None, everyone: false }
    }

    #[test]
    fn every_right_has_its_line_once() {
        let mut lines: Vec<_> = RIGHTS.iter().map(|(right, _)| *right).collect();
        let all = lines.len();
        lines.sort();
        lines.dedup();
        assert_eq!((lines.len(), all), (28, 28));
    }

    #[test]
    fn own_is_what_the_state_says_now() {
        let state = json!({"id": "o", "cell": "c", "user_id": "u", "rider": {"id": "r"}, "warehouse": {"id": "w"}});
        for (role, id) in [(Role::Customer, "u"), (Role::Shared, "x"), (Role::Rider, "r"), (Role::Warehouse, "w")] {
            assert!(principal(role, id).may(Right::ReadOrder, &state), "{role:?}");
            let other = json!({"id": "p", "cell": "c", "user_id": "v", "rider": {"id": "s"}, "warehouse": {"id": "x"}});
            assert!(!principal(role, id).may(Right::ReadOrder, &other), "{role:?}");
        }
        assert!(!principal(Role::Rider, "r").may(Right::ReadOrder, &json!({"id": "o", "cell": "c"})));
        let elsewhere = Principal { cells: Some(Arc::default()), ..principal(Role::Operations, "a") };
        assert!(!elsewhere.may(Right::ReadOrder, &state));
    }
}
