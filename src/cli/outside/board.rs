//! What a watching client knows of its orders: merged state and version of each, and how well the server's promises held.
//! No sockets and no clock here: frames go in, frames to send come out.

use crate::{
    domain::{OrderId, Status},
    wire::{
        client::{ClientFrame, Recovery, ServerFrame},
        merge,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

const TOPIC_PREFIX: &str = "order/";
/// So many refused subscriptions of one order, and the client stops asking.
const MAX_ASKS: u32 = 30;
/// So many texts of error frames are kept.
const MAX_ERRORS: usize = 20;

/// What a client counted. Gaps are broken promises; everything else may happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FollowTally {
    pub snapshots: u64,
    pub deltas: u64,
    /// Deltas whose `from` wasn't this client's version, on a subscription that was in step.
    pub gaps: u64,
    /// Deltas that this client had already.
    pub repeats: u64,
    /// Subscriptions taken up again from the client's version.
    pub resumes: u64,
    /// Subscriptions that had to begin with a snapshot again.
    pub resets: u64,
    pub heartbeats: u64,
    /// Orders whose version in a heartbeat differed: a loss that the heartbeat made good.
    pub healed: u64,
    pub reconnects: u64,
    pub errors: u64,
}

impl FollowTally {
    /// Adds another client's counts.
    pub fn absorb(&mut self, other: &Self) {
        let Self { snapshots, deltas, gaps, repeats, resumes, resets, heartbeats, healed, reconnects, errors } = other;
        self.snapshots += snapshots;
        self.deltas += deltas;
        self.gaps += gaps;
        self.repeats += repeats;
        self.resumes += resumes;
        self.resets += resets;
        self.heartbeats += heartbeats;
        self.healed += healed;
        self.reconnects += reconnects;
        self.errors += errors;
    }
}

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Asked for; deltas of an earlier subscription may still come and prove nothing.
    Asked,
    /// Confirmed with a snapshot to follow.
    Awaiting,
    /// In step: every delta must fit.
    Live,
    /// Refused, to be asked again.
    Refused,
}

/// One followed order.
#[derive(Clone, Debug)]
pub struct Followed {
    pub epoch: u64,
    /// `None` before the first snapshot.
    pub version: Option<u64>,
    pub state: Value,
    phase: Phase,
    asks: u32,
}

impl Followed {
    /// The order's status, as far as known.
    pub fn status(&self) -> Option<Status> {
        let code = self.state.get("status")?.as_u64()?;
        Status::try_from(u8::try_from(code).ok()?).ok()
    }
}

/// An order reached another status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    pub order: OrderId,
    pub before: Option<Status>,
    pub after: Status,
    pub version: u64,
    /// Cell time of the frame.
    pub at_ms: i64,
}

/// All orders that one client follows.
#[derive(Clone, Debug, Default)]
pub struct Board {
    orders: BTreeMap<OrderId, Followed>,
    pub tally: FollowTally,
    /// Texts of the first error frames.
    pub errors: Vec<String>,
    /// Since they were last taken.
    pub changes: Vec<StatusChange>,
}

impl Board {
    /// Begins to follow an order; the frame to send, unless it is followed already.
    pub fn follow(&mut self, order: OrderId) -> Option<ClientFrame> {
        if self.orders.contains_key(&order) {
            return None;
        }
        let fresh = Followed { epoch: 0, version: None, state: Value::Null, phase: Phase::Asked, asks: 1 };
        let frame = subscribe(&order, &fresh);
        self.orders.insert(order, fresh);
        Some(frame)
    }

    /// All orders, by id.
    pub fn orders(&self) -> impl Iterator<Item = (&OrderId, &Followed)> {
        self.orders.iter()
    }

    /// One order.
    pub fn get(&self, order: &OrderId) -> Option<&Followed> {
        self.orders.get(order)
    }

    /// A new connection: the frames that take everything up again from where this client is.
    pub fn reconnected(&mut self) -> Vec<ClientFrame> {
        self.orders.iter_mut().map(|(order, followed)| ask(order, followed)).collect()
    }

    /// Frames for the subscriptions that were refused: the order may be known by now.
    pub fn retry(&mut self) -> Vec<ClientFrame> {
        let refused = self.orders.iter_mut().filter(|(_, f)| f.phase == Phase::Refused && f.asks < MAX_ASKS);
        refused.map(|(order, followed)| ask(order, followed)).collect()
    }

    /// Takes a frame of the server; gives what has to be sent in turn.
    pub fn take(&mut self, frame: ServerFrame) -> Vec<ClientFrame> {
        match frame {
            ServerFrame::Hello { .. }
            | ServerFrame::Authenticated { .. }
            | ServerFrame::GoingAway { .. }
            | ServerFrame::Expired { .. }
            | ServerFrame::Pong { .. }
            | ServerFrame::Unsubscribed { .. }
            | ServerFrame::Replay(_) => Vec::new(),
            ServerFrame::Subscribed { topic, recovery, .. } => {
                self.subscribed(&topic, recovery);
                Vec::new()
            }
            ServerFrame::Snapshot { topic, epoch, version, at_ms, state } => {
                self.tally.snapshots += 1;
                self.update(&topic, at_ms.0, |followed| {
                    followed.epoch = epoch;
                    followed.version = Some(version);
                    followed.state = state;
                    followed.phase = Phase::Live;
                });
                Vec::new()
            }
            ServerFrame::Delta { topic, epoch, from, to, at_ms, patch } => {
                self.delta(&topic, (epoch, from, to), at_ms.0, &patch)
            }
            ServerFrame::Heartbeat { orders, .. } => {
                self.tally.heartbeats += 1;
                orders.iter().filter_map(|(topic, version)| self.heartbeat(topic, *version)).collect()
            }
            ServerFrame::Error { topic, problem } => {
                self.tally.errors += 1;
                if self.errors.len() < MAX_ERRORS {
                    let about = topic.as_deref().unwrap_or("connection");
                    self.errors.push(format!("{about}: {} {:?}", problem.title, problem.detail));
                }
                if let Some((_, followed)) = topic.and_then(|topic| self.entry(&topic)) {
                    followed.phase = Phase::Refused;
                }
                Vec::new()
            }
        }
    }

    fn subscribed(&mut self, topic: &str, recovery: Recovery) {
        let Some((_, followed)) = self.entry(topic) else { return };
        followed.asks = 1;
        match recovery {
            Recovery::Resumed => {
                followed.phase = Phase::Live;
                self.tally.resumes += 1;
            }
            Recovery::Fresh => followed.phase = Phase::Awaiting,
            Recovery::Reset => {
                followed.phase = Phase::Awaiting;
                self.tally.resets += 1;
            }
        }
    }

    fn delta(
        &mut self,
        topic: &str,
        (epoch, from, to): (u64, u64, u64),
        at_ms: i64,
        patch: &Value,
    ) -> Vec<ClientFrame> {
        let Some((_, followed)) = self.entry(topic) else { return Vec::new() };
        if followed.version == Some(from) && epoch >= followed.epoch {
            self.tally.deltas += 1;
            self.update(topic, at_ms, |followed| {
                followed.epoch = epoch;
                followed.version = Some(to);
                merge::patch(&mut followed.state, patch);
            });
            return Vec::new();
        }
        match followed.phase {
            // What an earlier subscription had under way.
            Phase::Asked | Phase::Refused => Vec::new(),
            Phase::Awaiting | Phase::Live if followed.version.is_some_and(|v| to <= v) => {
                self.tally.repeats += 1;
                Vec::new()
            }
            Phase::Awaiting => Vec::new(),
            Phase::Live => {
                self.tally.gaps += 1;
                self.ask(topic).into_iter().collect()
            }
        }
    }

    /// A version that differs from ours means that something was lost on the way.
    fn heartbeat(&mut self, topic: &str, version: u64) -> Option<ClientFrame> {
        let (_, followed) = self.entry(topic)?;
        if followed.phase != Phase::Live || followed.version == Some(version) {
            return None;
        }
        self.tally.healed += 1;
        self.ask(topic)
    }

    fn ask(&mut self, topic: &str) -> Option<ClientFrame> {
        let (order, followed) = self.entry(topic)?;
        Some(ask(&order, followed))
    }

    fn update(&mut self, topic: &str, at_ms: i64, change: impl FnOnce(&mut Followed)) {
        let Some((order, followed)) = self.entry(topic) else { return };
        let before = followed.status();
        change(followed);
        let (after, version) = (followed.status(), followed.version.unwrap_or(0));
        if let Some(after) = after.filter(|after| before != Some(*after)) {
            self.changes.push(StatusChange { order, before, after, version, at_ms });
        }
    }

    fn entry(&mut self, topic: &str) -> Option<(OrderId, &mut Followed)> {
        let order: OrderId = topic.strip_prefix(TOPIC_PREFIX).unwrap_or(topic).parse().ok()?;
        self.orders.get_mut(&order).map(|followed| (order, followed))
    }
}

fn ask(order: &OrderId, followed: &mut Followed) -> ClientFrame {
    followed.phase = Phase::Asked;
    followed.asks += 1;
    subscribe(order, followed)
}

fn subscribe(order: &OrderId, followed: &Followed) -> ClientFrame {
    let known = followed.version.is_some();
    ClientFrame::Subscribe {
        topic: format!("{TOPIC_PREFIX}{order}"),
        version: followed.version,
        epoch: known.then_some(followed.epoch),
        bounds: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UnixMillis;
    use serde_json::json;

    fn topic() -> String {
        "order/o1".into()
    }

    fn snapshot(version: u64, state: Value) -> ServerFrame {
        ServerFrame::Snapshot { topic: topic(), epoch: 1, version, at_ms: UnixMillis(0), state }
    }

    fn delta(from: u64, to: u64, patch: Value) -> ServerFrame {
        ServerFrame::Delta { topic: topic(), epoch: 1, from, to, at_ms: UnixMillis(5), patch }
    }

    fn live() -> Board {
        let mut board = Board::default();
        board.follow("o1".parse().unwrap()).unwrap();
        assert!(board.follow("o1".parse().unwrap()).is_none());
        board.take(ServerFrame::Subscribed { topic: topic(), recovery: Recovery::Fresh, missed: None });
        board.take(snapshot(3, json!({"status": 1, "x": 1})));
        board
    }

    fn at(board: &Board) -> (Option<u64>, Value) {
        let followed = board.get(&"o1".parse().unwrap()).unwrap();
        (followed.version, followed.state.clone())
    }

    #[test]
    fn merges_deltas_and_tells_of_new_statuses() {
        let mut board = live();
        assert!(board.take(delta(3, 4, json!({"status": 2, "x": null}))).is_empty());
        assert!(board.take(delta(4, 6, json!({"y": 2}))).is_empty());
        assert_eq!(at(&board), (Some(6), json!({"status": 2, "y": 2})));
        let statuses: Vec<_> = board.changes.iter().map(|c| (c.before, c.after, c.version)).collect();
        assert_eq!(statuses, [(None, Status::PendingPayment, 3), (Some(Status::PendingPayment), Status::Paid, 4)]);
    }

    #[test]
    fn a_gap_is_counted_once_and_asked_again_from_our_version() {
        let mut board = live();
        let asked = board.take(delta(4, 5, json!({})));
        assert_eq!(asked, [ClientFrame::Subscribe { topic: topic(), version: Some(3), epoch: Some(1), bounds: None }]);
        // What follows before the server has answered says nothing new.
        assert!(board.take(delta(5, 6, json!({}))).is_empty());
        board.take(ServerFrame::Subscribed { topic: topic(), recovery: Recovery::Resumed, missed: Some(1) });
        for n in 3..6 {
            board.take(delta(n, n + 1, json!({"x": n})));
        }
        assert_eq!(at(&board), (Some(6), json!({"status": 1, "x": 5})));
        assert_eq!((board.tally.gaps, board.tally.resumes, board.tally.deltas), (1, 1, 3));
    }

    #[test]
    fn heartbeats_heal_and_repeats_are_no_gaps() {
        let mut board = live();
        let beat = |v| ServerFrame::Heartbeat {
            orders: [(topic(), v)].into(),
            unconfirmed: Vec::new(),
            topics: [].into(),
            unconfirmed_topics: Vec::new(),
        };
        assert!(board.take(beat(3)).is_empty());
        assert!(board.take(delta(2, 3, json!({"x": 9}))).is_empty());
        assert_eq!(board.take(beat(4)).len(), 1);
        // Once asked, the next heartbeat doesn't ask again.
        assert!(board.take(beat(4)).is_empty());
        board.take(ServerFrame::Subscribed { topic: topic(), recovery: Recovery::Reset, missed: None });
        board.take(snapshot(4, json!({"status": 4})));
        let FollowTally { gaps, repeats, healed, resets, .. } = board.tally;
        assert_eq!((gaps, repeats, healed, resets), (0, 1, 1, 1));
    }

    #[test]
    fn reconnecting_resumes_and_refusals_are_asked_again_for_a_while() {
        let mut board = live();
        assert_eq!(
            board.reconnected(),
            [ClientFrame::Subscribe { topic: topic(), version: Some(3), epoch: Some(1), bounds: None }]
        );
        let refuse = || ServerFrame::Error {
            topic: Some(topic()),
            problem: crate::wire::problem::Problem::new(404, "unknown_order", "There is no such order"),
        };
        let mut asks = 0;
        board.take(refuse());
        while !board.retry().is_empty() {
            asks += 1;
            board.take(refuse());
        }
        assert!(asks < MAX_ASKS, "{asks}");
    }
}
