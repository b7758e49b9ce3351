//! Do the followers' merged states equal the server's snapshots? Asked at the end of a run, for every followed order.

use super::{Followed, Follower, Http};
use crate::{
    clock::Stopwatch,
    domain::{OrderId, Status},
    wire::{merge, query::Snapshot, view::View},
};
use futures::{StreamExt, stream};
use serde::Serialize;
use std::time::Duration;

/// Snapshots asked for at once.
const ASKED_AT_ONCE: usize = 16;
/// Between looks at a follower that may still be catching up.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The comparison of all orders.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Agreement {
    pub orders: usize,
    /// Merged state and version equal the snapshot's.
    pub equal: usize,
    pub completed: usize,
    pub cancelled: usize,
    pub mismatches: Vec<Mismatch>,
}

/// An order on which client and server don't agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mismatch {
    pub order: OrderId,
    pub reason: String,
}

/// Compares every followed order with a snapshot read in the same role. An order in motion is compared again until the
/// client has caught up, at most for `within` in all.
pub async fn agreement(http: &Http, followers: &[Follower], within: Duration) -> Agreement {
    let since = Stopwatch::start();
    let pairs = followers.iter().flat_map(|follower| {
        follower
            .read(|board| board.orders().map(|(order, _)| order.clone()).collect::<Vec<_>>())
            .into_iter()
            .map(move |order| (order, follower))
    });
    let checks = stream::iter(pairs)
        .map(|(order, follower)| async move { (settle(http, &order, follower, since, within).await, order, follower) });
    let mut checks = checks.buffer_unordered(ASKED_AT_ONCE);
    let mut sum = Agreement::default();
    while let Some((verdict, order, follower)) = checks.next().await {
        sum.orders += 1;
        match follower.read(|board| board.get(&order).and_then(Followed::status)) {
            Some(Status::Completed) => sum.completed += 1,
            Some(Status::Cancelled) => sum.cancelled += 1,
            Some(Status::PendingPayment | Status::Paid | Status::Delivering) | None => {}
        }
        match verdict {
            Ok(()) => sum.equal += 1,
            Err(reason) => sum.mismatches.push(Mismatch { order, reason }),
        }
    }
    sum.mismatches.sort_by(|a, b| a.order.cmp(&b.order));
    sum
}

async fn settle(
    http: &Http,
    order: &OrderId,
    follower: &Follower,
    since: Stopwatch,
    within: Duration,
) -> Result<(), String> {
    loop {
        let snapshot = http.order(order).await.map_err(|e| e.to_string())?;
        // The deltas up to this snapshot may still be under way.
        let mut verdict = compare(http.role(), follower, order, &snapshot);
        for _ in 0..50 {
            if verdict.is_ok() || behind(follower, order, &snapshot) == Some(false) {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            verdict = compare(http.role(), follower, order, &snapshot);
        }
        if verdict.is_ok() || since.elapsed() >= within {
            return verdict;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn behind(follower: &Follower, order: &OrderId, snapshot: &Snapshot) -> Option<bool> {
    let version = follower.read(|board| board.get(order).map(|followed| followed.version))?;
    Some(version.is_none_or(|version| version < snapshot.version))
}

fn compare(role: View, follower: &Follower, order: &OrderId, snapshot: &Snapshot) -> Result<(), String> {
    follower.read(|board| match board.get(order) {
        None => Err("is not followed".to_owned()),
        Some(followed) => differences(role, followed, snapshot),
    })
}

/// Only operations see every change, so only their version must be the order's.
fn differences(role: View, followed: &Followed, snapshot: &Snapshot) -> Result<(), String> {
    let version = followed.version.ok_or("no snapshot came")?;
    if role == View::Operations && version != snapshot.version {
        return Err(format!("client is at version {version}, server at {}", snapshot.version));
    }
    match merge::diff(&followed.state, &snapshot.state) {
        None => Ok(()),
        Some(difference) => Err(format!("at version {version} the server's state differs by {difference}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::outside::Board, domain::UnixMillis, wire::client::ServerFrame};
    use serde_json::{Value, json};

    fn followed(version: u64, state: Value) -> Followed {
        let mut board = Board::default();
        let order: OrderId = "o".parse().unwrap();
        board.follow(order.clone());
        board.take(ServerFrame::Snapshot { topic: "order/o".into(), epoch: 1, version, at_ms: UnixMillis(0), state });
        board.get(&order).unwrap().clone()
    }

    #[test]
    fn states_must_equal_and_operations_versions_too() {
        let snapshot =
            Snapshot { epoch: 1, since_epoch: None, version: 4, at_ms: UnixMillis(0), state: json!({"a": 1}) };
        assert!(differences(View::Operations, &followed(4, json!({"a": 1})), &snapshot).is_ok());
        let behind = differences(View::Operations, &followed(3, json!({"a": 1})), &snapshot).unwrap_err();
        assert!(behind.contains("version 3"), "{behind}");
        assert!(differences(View::Customer, &followed(3, json!({"a": 1})), &snapshot).is_ok());
        let other = differences(View::Customer, &followed(3, json!({"a": 2})), &snapshot).unwrap_err();
        assert!(other.contains(r#"{"a":1}"#), "{other}");
    }
}
