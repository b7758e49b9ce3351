//! The committed state of the orders that are active or were completed within the last hour: what queries and heartbeats
//! are served from, without asking an actor and without a disk.

use super::order::Published;
use crate::{
    domain::{Facts, Live, OrderId, UnixMillis},
    wire::doc,
};
use parking_lot::RwLock;
use serde_json::Value;
use std::{collections::HashMap, sync::Arc};

/// The committed published state of one order.
#[derive(Clone, Debug)]
pub struct HotOrder {
    pub version: u64,
    /// Cell time of that version.
    pub at: UnixMillis,
    pub facts: Arc<Facts>,
    pub live: Live,
}

impl HotOrder {
    /// The whole state as JSON.
    pub fn document(&self, id: &OrderId) -> Value {
        doc::order(id, &self.facts, &self.live)
    }

    fn is_stale(&self, now: UnixMillis) -> bool {
        self.live.status.is_final() && now.since(self.at) > Hot::KEEP_FINAL_MS
    }
}

/// See the module. Written after each commit, read by many.
#[derive(Debug, Default)]
pub struct Hot(RwLock<HashMap<OrderId, HotOrder>>);

impl Hot {
    /// A final order stays so long, in cell time.
    pub const KEEP_FINAL_MS: i64 = 60 * 60 * 1_000;

    /// The order, if it is hot.
    pub fn get(&self, id: &OrderId) -> Option<HotOrder> {
        self.0.read().get(id).cloned()
    }

    /// Every hot order's version.
    pub fn versions(&self) -> Vec<(OrderId, u64)> {
        self.0.read().iter().map(|(id, order)| (id.clone(), order.version)).collect()
    }

    /// Puts in an order as it was stored; an order that is newer already stays.
    pub fn seed(&self, id: OrderId, order: HotOrder) {
        let mut orders = self.0.write();
        if orders.get(&id).is_none_or(|known| known.version < order.version) {
            orders.insert(id, order);
        }
    }

    pub(super) fn committed(&self, published: Vec<(OrderId, Published)>) {
        let mut orders = self.0.write();
        for (id, Published { version, at, facts, live }) in published {
            orders.insert(id, HotOrder { version, at, facts, live });
        }
    }

    /// Lets go of orders that have been final for an hour.
    pub(super) fn forget_final(&self, now: UnixMillis) {
        self.0.write().retain(|_, order| !order.is_stale(now));
    }
}
