//! Tickets: a token's stand-in for transports that can't send headers, where it would have to stand in a URL.
//!
//! URLs end in logs and histories. So a ticket lives for seconds and is good once: whoever finds it later finds nothing. It
//! is good on any bridge, since the node that is asked first and the one that is connected to need not be the same: it is
//! kept in a bucket under its digest (who reads the bucket can't use what is there) with whom it stands for, and is taken by
//! a purge of the very revision that was read, which one taker wins. What it stands for stays as it was: it ends when the
//! token does, and with the share link.

use super::bucket::{Bucket, BucketError};
use crate::{
    domain::{CellId, OrderId, UnixMillis},
    wire::{
        self,
        access::{Principal, Role},
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use rand::{TryRngCore, rngs::OsRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// From the answer to the connection: a page needs a second, a phone on a poor network some more.
pub const LIFE_MS: i64 = 30_000;

/// A ticket holds 256 bits, and is written in so many characters.
const LENGTH: usize = 43;

/// A ticket as its holder has it. It prints as nothing: it must not get into a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(String);

impl Ticket {
    /// What the client is told.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn new() -> Result<Self, TicketError> {
        let mut bytes = [0; 32];
        OsRng.try_fill_bytes(&mut bytes).map_err(|e| TicketError::Random(e.to_string()))?;
        Ok(Self(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    fn key(&self) -> String {
        wire::hex(&Sha256::digest(&self.0))
    }
}

impl From<String> for Ticket {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(***)")
    }
}

/// Why there is no ticket, or nobody behind it.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("the machine gives no random numbers: {0}")]
    Random(String),
    /// It was never made, was used, or is too old: nobody is told which.
    #[error("the ticket is unknown, was used or has expired: each is good once, for 30 s")]
    NotGood,
}

/// Whom a ticket stands for, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    until_ms: UnixMillis,
    role: Role,
    id: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cells: Option<BTreeSet<CellId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<OrderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<UnixMillis>,
    #[serde(default)]
    everyone: bool,
}

/// One per bridge.
#[derive(Clone, Debug)]
pub struct Tickets {
    bucket: Arc<dyn Bucket>,
}

impl Tickets {
    pub fn new(bucket: Arc<dyn Bucket>) -> Self {
        Self { bucket }
    }

    /// A ticket for this principal, and until when it is good: no longer than the token.
    pub async fn make(&self, who: &Principal, now: UnixMillis) -> Result<(Ticket, UnixMillis), TicketError> {
        let until_ms = who.expires_at.map_or(now.plus(LIFE_MS), |at| at.min(now.plus(LIFE_MS)));
        let Principal { role, id, cells, order, expires_at, everyone } = who.clone();
        let cells = cells.map(|cells| (*cells).clone());
        let kept = Kept { until_ms, role, id, cells, order, expires_at_ms: expires_at, everyone };
        let ticket = Ticket::new()?;
        let value = serde_json::to_vec(&kept).map_err(|e| TicketError::Random(e.to_string()))?;
        // Another of the same digest there can't be.
        self.bucket.create(&ticket.key(), Bytes::from(value)).await?;
        Ok((ticket, until_ms))
    }

    /// Whom a ticket stands for; from now on it is good for nobody.
    pub async fn take(&self, ticket: &Ticket, now: UnixMillis) -> Result<Principal, TicketError> {
        if ticket.0.len() != LENGTH {
            return Err(TicketError::NotGood);
        }
        let key = ticket.key();
        let (revision, value) = self.bucket.get(&key).await?.ok_or(TicketError::NotGood)?;
        if !self.bucket.purge(&key, Some(revision)).await? {
            return Err(TicketError::NotGood);
        }
        let kept: Kept = serde_json::from_slice(&value).map_err(|_| TicketError::NotGood)?;
        if kept.until_ms <= now {
            return Err(TicketError::NotGood);
        }
        let Kept { role, id, cells, order, expires_at_ms, everyone, .. } = kept;
        Ok(Principal { role, id, cells: cells.map(Arc::new), order, expires_at: expires_at_ms, everyone })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::bucket::MemoryBucket;

    fn who(expires_at: Option<UnixMillis>) -> Principal {
        let cells = Some(Arc::new(BTreeSet::from([CellId::default()])));
        let order = Some("o1".parse().unwrap());
        Principal { role: Role::Shared, id: "s1".into(), cells, order, expires_at, everyone: false }
    }

    const NOW: UnixMillis = UnixMillis(1_000_000);

    #[tokio::test]
    async fn good_once_on_any_node_and_not_for_long() {
        let bucket = Arc::new(MemoryBucket::default());
        let (here, there) = (Tickets::new(bucket.clone()), Tickets::new(bucket));
        let who = who(Some(NOW.plus(100_000)));
        let (ticket, until) = here.make(&who, NOW).await.unwrap();
        assert_eq!(until, NOW.plus(LIFE_MS));
        assert_eq!(there.take(&ticket, NOW).await.unwrap(), who, "all that it stands for");
        for node in [&here, &there] {
            assert!(matches!(node.take(&ticket, NOW).await, Err(TicketError::NotGood)), "used");
        }
        let (late, until) = here.make(&who, NOW).await.unwrap();
        assert!(matches!(here.take(&late, until).await, Err(TicketError::NotGood)), "expired");
        for text in ["", "x", &"x".repeat(43), &"x".repeat(10_000)] {
            assert!(matches!(here.take(&text.to_owned().into(), NOW).await, Err(TicketError::NotGood)), "{text}");
        }
    }

    #[tokio::test]
    async fn of_many_takers_one_wins() {
        let tickets = Tickets::new(Arc::new(MemoryBucket::default()));
        let (ticket, _) = tickets.make(&who(None), NOW).await.unwrap();
        let taken = futures::future::join_all((0..20).map(|_| tickets.take(&ticket, NOW))).await;
        assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1);
    }

    #[tokio::test]
    async fn it_ends_with_its_token_and_never_shows_itself() {
        let tickets = Tickets::new(Arc::new(MemoryBucket::default()));
        let (ticket, until) = tickets.make(&who(Some(NOW.plus(5))), NOW).await.unwrap();
        assert_eq!(until, NOW.plus(5));
        assert_eq!(format!("{ticket:?}"), "Ticket(***)");
        assert!(tickets.bucket.get(&ticket.key()).await.unwrap().is_some());
        assert!(tickets.bucket.get(ticket.reveal()).await.unwrap().is_none(), "only its digest is kept");
    }
}
