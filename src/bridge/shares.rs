//! Share links: a signed token for one order, which can be revoked, also where it is in use.
//!
//! Which links an order has stands in the bucket `shares` under the order's id, revoked ones until they expire (or a create
//! that is repeated under its key would bring one back). A token alone proves that a link was made; that it is still good
//! is read there when a request or a connection presents it. Open connections are told by the bucket's changes: each
//! connection that came by a link is registered under its order, and closed when the link is not good any more.

use super::{
    bucket::{Bucket, BucketError},
    outbox::Outbox,
};
use crate::{
    clock,
    domain::{OrderId, UnixMillis},
    wire::{client::Close, schema::Millis},
};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Links of one order that are good at once. A family and a neighbour need a few.
pub const MAX_SHARES: usize = 20;

/// Links of one order that are kept, revoked ones included: a value of the bucket stays some tens of kilobytes.
const MAX_KEPT: usize = 200;

/// Tries to write what another writes at the same time.
const MAX_TRIES: usize = 8;

/// A link as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Share {
    /// Publisher who made it.
    pub by: String,
    #[schema(value_type = Millis)]
    pub created_at_ms: UnixMillis,
    #[schema(value_type = Millis)]
    pub expires_at_ms: UnixMillis,
    /// Left out where it isn't.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

impl Share {
    fn is_live(&self, now: UnixMillis) -> bool {
        !self.revoked && now < self.expires_at_ms
    }
}

/// All links of an order, by id.
pub type ShareList = BTreeMap<String, Share>;

/// Why a link can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("an order has at most {MAX_SHARES} links at once")]
    TooMany,
    #[error("the links of this order change too often")]
    Contended,
    #[error("what is kept of this order's links can't be read: {0}")]
    Garbled(#[from] serde_json::Error),
}

type Open = Arc<Mutex<HashMap<OrderId, Vec<(Arc<str>, Weak<Outbox>)>>>>;

/// One per bridge.
#[derive(Debug)]
pub struct Shares {
    bucket: Arc<dyn Bucket>,
    /// Connections that came by a link.
    open: Open,
}

/// Between two attempts to hear of changes.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

impl Shares {
    /// Starts the task that hears of changes.
    pub fn start(bucket: Arc<dyn Bucket>, tracker: &TaskTracker, cancel: CancellationToken) -> Self {
        let open = Open::default();
        tracker.spawn(hear(bucket.clone(), open.clone(), cancel));
        Self { bucket, open }
    }

    /// The links of an order, revoked ones included until they expire.
    pub async fn list(&self, order: &OrderId) -> Result<ShareList, ShareError> {
        Ok(self.read(order).await?.1)
    }

    /// Makes a link, or gives the one that was made under this id before.
    pub async fn make(&self, order: &OrderId, id: &str, share: Share) -> Result<Share, ShareError> {
        let now = share.created_at_ms;
        let made = self.change(order, |list| {
            list.retain(|_, share| now < share.expires_at_ms);
            if !list.contains_key(id) {
                let live = list.values().filter(|share| share.is_live(now)).count();
                if live >= MAX_SHARES || list.len() >= MAX_KEPT {
                    return Err(ShareError::TooMany);
                }
                list.insert(id.to_owned(), share.clone());
            }
            Ok(list.get(id).cloned())
        });
        Ok(made.await?.unwrap_or(share))
    }

    /// Revokes a link. Whether there is one.
    pub async fn revoke(&self, order: &OrderId, id: &str) -> Result<bool, ShareError> {
        let revoke = |list: &mut ShareList| {
            let found = list.get_mut(id);
            Ok(found.map(|share| share.revoked = true).is_some())
        };
        self.change(order, revoke).await
    }

    /// Whether a link is good now.
    pub async fn is_live(&self, order: &OrderId, id: &str) -> Result<bool, ShareError> {
        let list = self.list(order).await?;
        Ok(list.get(id).is_some_and(|share| share.is_live(clock::wall())))
    }

    /// Closes this connection when its link is revoked. To be called before the link is looked at for the last time, so
    /// that no change goes unheard.
    pub fn register(&self, order: &OrderId, id: Arc<str>, outbox: &Arc<Outbox>) {
        let mut open = self.open.lock();
        let list = open.entry(order.clone()).or_default();
        list.retain(|(_, outbox)| outbox.strong_count() > 0);
        list.push((id, Arc::downgrade(outbox)));
    }

    /// Forgets connections of the order that are gone.
    pub fn sweep(&self, order: &OrderId) {
        let mut open = self.open.lock();
        if let Some(list) = open.get_mut(order) {
            list.retain(|(_, outbox)| outbox.upgrade().is_some_and(|outbox| !outbox.is_shut()));
            if list.is_empty() {
                open.remove(order);
            }
        }
    }

    async fn read(&self, order: &OrderId) -> Result<(Option<u64>, ShareList), ShareError> {
        match self.bucket.get(order.as_str()).await? {
            Some((revision, bytes)) => Ok((Some(revision), serde_json::from_slice(&bytes)?)),
            None => Ok((None, ShareList::new())),
        }
    }

    async fn change<T>(
        &self,
        order: &OrderId,
        mut change: impl FnMut(&mut ShareList) -> Result<T, ShareError>,
    ) -> Result<T, ShareError> {
        for _ in 0..MAX_TRIES {
            let (revision, before) = self.read(order).await?;
            let mut list = before.clone();
            let outcome = change(&mut list)?;
            if list == before {
                return Ok(outcome);
            }
            let value = Bytes::from(serde_json::to_vec(&list)?);
            match revision {
                None => drop(self.bucket.create(order.as_str(), value).await?),
                Some(revision) => self.bucket.replace(order.as_str(), value, revision).await?,
            }
            // Neither says whether it was the first: what stands there does.
            if self.list(order).await? == list {
                return Ok(outcome);
            }
        }
        Err(ShareError::Contended)
    }
}

/// Hears every change of the bucket, from what stands there on, and closes connections whose link is no good any more.
async fn hear(bucket: Arc<dyn Bucket>, open: Open, cancel: CancellationToken) {
    loop {
        let listen = async {
            let mut changes = bucket.watch();
            while let Some(change) = changes.next().await {
                match change {
                    Ok((order, value)) => close(&open, &order, value.as_deref()),
                    Err(error) => {
                        tracing::warn!(%error, "changes of share links aren't heard");
                        break;
                    }
                }
            }
            tokio::time::sleep(WATCH_AGAIN).await;
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = listen => {}
        }
    }
}

fn close(open: &Open, order: &str, value: Option<&[u8]>) {
    let Ok(order) = order.parse::<OrderId>() else { return };
    let Some(list) = open.lock().get(&order).cloned() else { return };
    // What can't be read is good for nobody, as it is for those who come anew.
    let shares: ShareList = value.and_then(|value| serde_json::from_slice(value).ok()).unwrap_or_default();
    let now = clock::wall();
    for (id, outbox) in list {
        if !shares.get(&*id).is_some_and(|share| share.is_live(now))
            && let Some(outbox) = outbox.upgrade()
        {
            outbox.close(Close::Revoked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::bucket::MemoryBucket;
    use crate::metrics::Metrics;

    fn share(at: i64, expires: i64) -> Share {
        Share { by: "customer.u".into(), created_at_ms: at_ms(at), expires_at_ms: at_ms(expires), revoked: false }
    }

    fn at_ms(from_now: i64) -> UnixMillis {
        clock::wall().plus(from_now)
    }

    #[tokio::test]
    async fn a_link_is_made_once_and_stays_revoked() {
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let shares = Shares::start(Arc::new(MemoryBucket::default()), &tracker, cancel.clone());
        let order: OrderId = "o".parse().unwrap();
        let made = shares.make(&order, "s1", share(0, 60_000)).await.unwrap();
        assert_eq!(shares.make(&order, "s1", share(5, 99_000)).await.unwrap(), made);
        assert!(shares.is_live(&order, "s1").await.unwrap() && !shares.is_live(&order, "s2").await.unwrap());
        let outbox = Arc::new(Outbox::new(1_000, &Metrics::default()));
        let other = Arc::new(Outbox::new(1_000, &Metrics::default()));
        shares.make(&order, "s2", share(0, 60_000)).await.unwrap();
        shares.register(&order, "s1".into(), &outbox);
        shares.register(&order, "s2".into(), &other);
        assert!(shares.revoke(&order, "s1").await.unwrap() && !shares.revoke(&order, "s9").await.unwrap());
        tokio::time::timeout(Duration::from_secs(5), outbox.ready()).await.unwrap();
        assert_eq!(outbox.take(1).unwrap_err(), Close::Revoked);
        assert!(!other.is_shut());
        assert!(shares.make(&order, "s1", share(0, 60_000)).await.unwrap().revoked, "it doesn't come back");
        assert!(!shares.is_live(&order, "s1").await.unwrap());
        cancel.cancel();
    }

    #[tokio::test]
    async fn links_are_bounded_and_expired_ones_make_room() {
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let shares = Shares::start(Arc::new(MemoryBucket::default()), &tracker, cancel.clone());
        let order: OrderId = "o".parse().unwrap();
        shares.make(&order, "old", share(-10, 1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        for n in 0..MAX_SHARES {
            shares.make(&order, &format!("s{n}"), share(0, 60_000)).await.unwrap();
        }
        assert!(matches!(shares.make(&order, "more", share(0, 60_000)).await, Err(ShareError::TooMany)));
        assert!(!shares.list(&order).await.unwrap().contains_key("old"));
        cancel.cancel();
    }
}
