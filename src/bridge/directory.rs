//! Which cell an order is in: claimed when it is made, asked of the directory once per order, and remembered.
//!
//! A bridge serves the orders of every cell. An order is never moved from one to another, so an answer holds for ever; what the
//! directory doesn't know (yet) is looked for in the node's own cell, and asked again the next time.

use super::bucket::{Bucket, BucketError};
use crate::domain::{CellId, OrderId};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// Orders remembered: two generations of so many, of which the elder is forgotten when the younger is full.
const GENERATION_MAX: usize = 50_000;

#[derive(Debug, Default)]
struct Known {
    young: HashMap<OrderId, CellId>,
    old: HashMap<OrderId, CellId>,
}

impl Known {
    fn get(&mut self, order: &OrderId) -> Option<CellId> {
        if let Some(cell) = self.young.get(order) {
            return Some(cell.clone());
        }
        let cell = self.old.remove(order)?;
        self.put(order.clone(), cell.clone());
        Some(cell)
    }

    fn put(&mut self, order: OrderId, cell: CellId) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(order, cell);
    }
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    New,
    /// The node's own cell has it already.
    Ours,
    /// An order of another cell has this id.
    Another,
}

/// One per bridge; cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory {
    bucket: Arc<dyn Bucket>,
    own: CellId,
    known: Arc<Mutex<Known>>,
}

impl Directory {
    /// `own`: the cell in which unknown orders are looked for.
    pub fn new(bucket: Arc<dyn Bucket>, own: CellId) -> Self {
        Self { bucket, own, known: Arc::default() }
    }

    /// Claims an order for the node's own cell.
    pub async fn claim(&self, order: &OrderId) -> Result<Claim, BucketError> {
        let own = Bytes::copy_from_slice(self.own.as_str().as_bytes());
        if self.bucket.create(order.as_str(), own.clone()).await?.is_some() {
            return Ok(Claim::New);
        }
        let found = self.bucket.get(order.as_str()).await?;
        Ok(if found.is_some_and(|(_, cell)| cell != own) { Claim::Another } else { Claim::Ours })
    }

    /// The cell that has the order, or would have it.
    pub async fn cell_of(&self, order: &OrderId) -> Result<CellId, BucketError> {
        if let Some(cell) = self.known.lock().get(order) {
            return Ok(cell);
        }
        let found = self.bucket.get(order.as_str()).await?;
        let cell = found.and_then(|(_, cell)| std::str::from_utf8(&cell).ok()?.parse::<CellId>().ok());
        let Some(cell) = cell else { return Ok(self.own.clone()) };
        self.known.lock().put(order.clone(), cell.clone());
        Ok(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::bucket::MemoryBucket;

    #[tokio::test]
    async fn an_order_is_asked_for_until_it_is_known() {
        let bucket = Arc::new(MemoryBucket::default());
        let directory = Directory::new(bucket.clone(), "here".parse().unwrap());
        let order = "o1".parse().unwrap();
        assert_eq!(directory.cell_of(&order).await.unwrap().as_str(), "here");
        bucket.put("o1", "there".into()).await.unwrap();
        assert_eq!(directory.cell_of(&order).await.unwrap().as_str(), "there");
        bucket.purge("o1", None).await.unwrap();
        assert_eq!(directory.cell_of(&order).await.unwrap().as_str(), "there", "remembered");
    }

    #[tokio::test]
    async fn an_order_is_claimed_once() {
        let bucket = Arc::new(MemoryBucket::default());
        let [here, there] = ["here", "there"].map(|cell| Directory::new(bucket.clone(), cell.parse().unwrap()));
        let order = "o1".parse().unwrap();
        assert_eq!(here.claim(&order).await.unwrap(), Claim::New);
        assert_eq!(here.claim(&order).await.unwrap(), Claim::Ours);
        assert_eq!(there.claim(&order).await.unwrap(), Claim::Another);
        assert_eq!(there.cell_of(&order).await.unwrap().as_str(), "here");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_used_stays() {
        let (mut known, cell) = (Known::default(), CellId::clone(&"c".parse().unwrap()));
        let id = |n: usize| format!("o{n}").parse::<OrderId>().unwrap();
        for n in 0..4 * GENERATION_MAX {
            known.put(id(n), cell.clone());
            assert!(known.get(&id(0)).is_some());
        }
        assert!(known.young.len() + known.old.len() <= 2 * GENERATION_MAX + 1);
        assert!(known.get(&id(1)).is_none());
    }
}
