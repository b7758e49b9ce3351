//! A bridge over the owner in memory, alone or beside others.

use crate::fake::{Fake, now};
use futures::future::BoxFuture;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use trunkline::{
    bridge::{
        Bridge, Options, Ports,
        bucket::{Bucket, MemoryBucket},
        directory::Directory,
        gate::Gate,
        peers::Peers,
        sockjs::peers::MemoryPeers,
    },
    domain::CellId,
    metrics::Metrics,
};

/// When a wait is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What bridges share.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    pub tickets: MemoryBucket,
    pub sessions: MemoryPeers,
    /// Whether one that leaves finds others.
    pub others: bool,
}

impl Fake {
    pub fn bridge(&self, options: Options) -> Rig {
        self.bridge_with(options, Gate::insecure())
    }

    pub fn bridge_with(&self, options: Options, gate: Gate) -> Rig {
        self.bridge_beside(options, gate, Beside::default())
    }

    /// One of several bridges.
    pub fn bridge_beside(&self, options: Options, gate: Gate, Beside { tickets, sessions, others }: Beside) -> Rig {
        let (directory, personal, shares) = <(MemoryBucket, MemoryBucket, MemoryBucket)>::default();
        let this = Arc::new(self.clone());
        let ports = Ports {
            source: this.clone(),
            updates: this.clone(),
            boards: this.clone(),
            log: this,
            directory: Directory::new(Arc::new(directory.clone()), CellId::default()),
            personal: Arc::new(personal.clone()),
            phones: Arc::new(MemoryBucket::default()),
            shares: Arc::new(shares.clone()),
            tickets: Arc::new(tickets),
            sessions: Arc::new(sessions),
            peers: Arc::new(FakePeers(others)),
        };
        let (tracker, cancel, metrics) = Default::default();
        let metrics: Metrics = metrics;
        let bridge = Bridge::with_ports(
            options,
            gate,
            ports,
            CellId::default(),
            metrics.clone(),
            tracker,
            Clone::clone(&cancel),
        );
        Rig { bridge, cancel, metrics, directory, personal, shares }
    }
}

/// Other bridges, or none.
#[derive(Debug)]
struct FakePeers(bool);

impl Peers for FakePeers {
    fn others(&self) -> BoxFuture<'static, bool> {
        now(self.0)
    }
}

/// A bridge over the fake.
pub struct Rig {
    pub bridge: Bridge,
    pub cancel: tokio_util::sync::CancellationToken,
    pub metrics: Metrics,
    pub directory: MemoryBucket,
    pub personal: MemoryBucket,
    pub shares: MemoryBucket,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Rig {
    /// A share link as if it had been made over HTTP.
    pub async fn share(&self, order: &str, id: &str) {
        let share = json!({id: {"by": "customer.u", "created_at_ms": 0, "expires_at_ms": 4_000_000_000_000_i64}});
        self.shares.put(order, share.to_string().into()).await.unwrap();
    }
}

/// Waits for a state. Others run between two looks at it.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}
