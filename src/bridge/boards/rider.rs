//! A rider's board: the rider as the owner says, and each order of the trip as the rider's view of it shows.
//!
//! Sans-IO. The rider's document comes whole, so the newest one counts and nothing else is needed; the orders are followed
//! in the hub like any client does, in the rider's view, personal data joined. An order is shown while both agree: the
//! document has it among its stops, and the order says that this is its rider and that it isn't final. So what an order
//! takes back is gone from here at once, whichever of the two is heard first.

use crate::{
    bridge::datum::convert_place,
    domain::{OrderId, RiderId, Status, UnixMillis},
    geo::Datum,
    wire::{
        board::{Board, RiderWord, pick},
        client::ServerFrame,
        merge,
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// An order of the trip.
#[derive(Debug, Default)]
struct Stop {
    /// `None` until the hub has it.
    state: Option<Value>,
    version: u64,
    /// The hub refused it; it is asked again then.
    again_at: Option<Duration>,
}

/// What follows from what was heard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) follow: Vec<OrderId>,
    pub(super) leave: Vec<OrderId>,
    /// The document may be another.
    pub(super) changed: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct RiderBoard {
    id: RiderId,
    word: Option<RiderWord>,
    heard: Option<Duration>,
    stops: BTreeMap<OrderId, Stop>,
    at: UnixMillis,
}

impl RiderBoard {
    pub(super) fn new(id: RiderId) -> Self {
        Self { id, word: None, heard: None, stops: BTreeMap::new(), at: UnixMillis(0) }
    }

    /// When the owner was last heard.
    pub(super) fn heard(&self) -> Option<Duration> {
        self.heard
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.word.is_some()
    }

    /// Whether everything is known that is to be shown.
    pub(super) fn is_complete(&self) -> bool {
        self.is_loaded() && self.stops.values().all(|stop| stop.state.is_some() || stop.again_at.is_some())
    }

    /// Cell time of the last change.
    pub(super) fn at(&self) -> UnixMillis {
        self.at
    }

    /// Orders that are followed in the hub.
    pub(super) fn orders(&self) -> impl Iterator<Item = &OrderId> {
        self.stops.keys()
    }

    pub(super) fn on_word(&mut self, word: RiderWord, now: Duration) -> Heard {
        let known = self.word.as_ref().map(|known| (known.epoch, known.version));
        if known.is_some_and(|known| (word.epoch, word.version) < known) {
            // What lags behind in the same epoch is no sign of life of a deposed owner, and no news either.
            if known.is_some_and(|(epoch, _)| epoch == word.epoch) {
                self.heard = Some(now);
            }
            return Heard::default();
        }
        self.heard = Some(now);
        let mut heard = Heard { changed: self.word.as_ref().is_none_or(|k| k.row != word.row), ..Heard::default() };
        self.stops.retain(|order, _| {
            let stays = word.row.orders.contains(order);
            if !stays {
                heard.leave.push(order.clone());
            }
            stays
        });
        for order in &word.row.orders {
            if !self.stops.contains_key(order) {
                self.stops.insert(order.clone(), Stop::default());
                heard.follow.push(order.clone());
            }
        }
        self.at = self.at.max(word.at_ms);
        self.word = Some(word);
        heard
    }

    /// A frame of the hub about one of the orders; whether the document may be another. An order whose delta doesn't fit is
    /// to be followed anew.
    pub(super) fn on_frame(&mut self, frame: ServerFrame) -> Heard {
        let (topic, change) = match frame {
            ServerFrame::Snapshot { topic, version, at_ms, state, .. } => (topic, (None, version, at_ms, state)),
            ServerFrame::Delta { topic, from, to, at_ms, patch, .. } => (topic, (Some(from), to, at_ms, patch)),
            ServerFrame::Hello { .. }
            | ServerFrame::Authenticated { .. }
            | ServerFrame::GoingAway { .. }
            | ServerFrame::Expired { .. }
            | ServerFrame::Subscribed { .. }
            | ServerFrame::Unsubscribed { .. }
            | ServerFrame::Heartbeat { .. }
            | ServerFrame::Pong { .. }
            | ServerFrame::Error { .. }
            | ServerFrame::Replay(_) => return Heard::default(),
        };
        let order = topic.strip_prefix("order/").and_then(|id| id.parse::<OrderId>().ok());
        let Some((order, stop)) = order.and_then(|id| self.stops.get_mut(&id).map(|stop| (id, stop))) else {
            return Heard::default();
        };
        let (from, version, at, value) = change;
        match (from, &mut stop.state) {
            (None, state) => *state = Some(value),
            (Some(from), Some(state)) if from == stop.version => merge::patch(state, &value),
            (Some(_), _) => return Heard { follow: vec![order], ..Heard::default() },
        }
        (stop.version, stop.again_at) = (version, None);
        self.at = self.at.max(at);
        Heard { changed: true, ..Heard::default() }
    }

    /// The hub doesn't have the order, or can't read it now.
    pub(super) fn on_refused(&mut self, order: &OrderId, again_at: Duration) {
        if let Some(stop) = self.stops.get_mut(order) {
            *stop = Stop { again_at: Some(again_at), ..Stop::default() };
        }
    }

    /// Refused orders whose time it is.
    pub(super) fn due(&mut self, now: Duration) -> Vec<OrderId> {
        let mut due = Vec::new();
        for (order, stop) in &mut self.stops {
            if let Some(at) = &mut stop.again_at
                && *at <= now
            {
                *at = Duration::MAX;
                due.push(order.clone());
            }
        }
        due
    }

    /// The document, or `None` before the owner was heard.
    pub(super) fn draw(&self, datum: Datum) -> Option<Value> {
        let row = &self.word.as_ref()?.row;
        let stop = |order: &OrderId| {
            let state = self.stops.get(order)?.state.as_ref().filter(|state| self.is_carried(state))?;
            let mut shown = pick(Board::Rider, state);
            for place in ["warehouse", "destination"] {
                if let Some(place) = shown.get_mut(place) {
                    convert_place(place, datum);
                }
            }
            shown.insert("order".to_owned(), order.as_str().into());
            Some(Value::Object(shown))
        };
        let stops: Vec<_> = row.orders.iter().filter_map(stop).collect();
        let mut document = json!({"id": self.id.as_str(), "on_shift": row.on_shift, "stops": stops});
        if let Some(Ok(mut position)) = row.position.as_ref().map(serde_json::to_value) {
            convert_place(&mut position, datum);
            document["position"] = position;
        }
        Some(document)
    }

    /// Whether the order itself says that this rider has it.
    fn is_carried(&self, state: &Value) -> bool {
        let code = state.get("status").and_then(Value::as_u64).and_then(|code| u8::try_from(code).ok());
        let active = code.and_then(|code| Status::try_from(code).ok()).is_some_and(|status| !status.is_final());
        active && state.pointer("/rider/id").and_then(Value::as_str) == Some(self.id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bridge::boards::mirror::tests::rider as row, domain::testing};

    const NOW: Duration = Duration::from_secs(1);

    fn word(epoch: u64, version: u64, orders: &[u32]) -> RiderWord {
        RiderWord { epoch, version, at_ms: UnixMillis(5), rider: testing::rider(1), row: row(3, orders) }
    }

    fn frame(order: u32, from: Option<u64>, to: u64, value: Value) -> ServerFrame {
        let (topic, epoch, at_ms) = (format!("order/{}", testing::order(order)), 1, UnixMillis(6));
        match from {
            None => ServerFrame::Snapshot { topic, epoch, version: to, at_ms, state: value },
            Some(from) => ServerFrame::Delta { topic, epoch, from, to, at_ms, patch: value },
        }
    }

    fn state(status: u8, rider: u32) -> Value {
        json!({"status": status, "rider": {"id": testing::rider(rider).as_str()}, "address": "1 Road", "rev": 3})
    }

    fn stops(board: &RiderBoard) -> Vec<String> {
        let document = board.draw(Datum::Wgs84).unwrap();
        let stops = document["stops"].as_array().unwrap().iter();
        stops.map(|stop| stop["order"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn stops_come_in_the_trips_order_and_go_with_either_word() {
        let mut board = RiderBoard::new(testing::rider(1));
        assert_eq!(board.on_word(word(1, 5, &[2, 1]), NOW).follow, [testing::order(2), testing::order(1)]);
        assert!(!board.is_complete());
        for order in [1, 2] {
            assert!(board.on_frame(frame(order, None, 4, state(3, 1))).changed);
        }
        assert!(board.is_complete());
        let both = [testing::order(2).to_string(), testing::order(1).to_string()];
        assert_eq!(stops(&board), both);
        // The order says that it has another rider, before the owner says that this one lost it.
        assert!(board.on_frame(frame(2, Some(4), 5, json!({"rider": {"id": "other"}}))).changed);
        assert_eq!(stops(&board), both[1..]);
        assert!(board.on_frame(frame(1, Some(4), 5, json!({"status": 4}))).changed);
        assert!(!board.draw(Datum::Wgs84).unwrap().to_string().contains("Road"));
        let heard = board.on_word(word(1, 6, &[]), NOW);
        assert_eq!((heard.leave.len(), heard.changed), (2, true));
        assert_eq!(board.on_frame(frame(1, Some(5), 6, json!({}))), Heard::default());
    }

    #[test]
    fn the_newest_word_counts_and_a_gap_follows_anew() {
        let mut board = RiderBoard::new(testing::rider(1));
        board.on_word(word(2, 5, &[1]), NOW);
        assert_eq!(board.on_word(word(1, 9, &[]), NOW * 9), Heard::default());
        assert_eq!(board.on_word(word(2, 4, &[]), NOW * 2), Heard::default());
        assert_eq!(board.heard(), Some(NOW * 2));
        assert!(!board.on_word(word(2, 5, &[1]), NOW * 3).changed, "said again");
        board.on_frame(frame(1, None, 4, state(3, 1)));
        assert_eq!(board.on_frame(frame(1, Some(5), 6, json!({"rev": 9}))).follow, [testing::order(1)]);
        board.on_refused(&testing::order(1), NOW * 5);
        assert_eq!((board.due(NOW * 4).len(), board.due(NOW * 5).len(), board.due(NOW * 9).len()), (0, 1, 0));
        assert!(stops(&board).is_empty() && board.is_complete());
    }
}
