//! The board of alerts: the last message of each, as it came. Those that are cleared stay for a while, so that whoever
//! follows sees them cleared, and are gone then.
//!
//! What is read is the stream `ALERT_{cell}` from its beginning, and what comes after; the stream's last sequence, asked
//! for again and again, is what shows that nothing was lost.

use crate::domain::UnixMillis;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

/// A message of the stream, an opaque JSON object but for `alert` (its id) and `state`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertMessage {
    /// Its place in the stream.
    pub seq: u64,
    /// When the stream took it.
    pub at: UnixMillis,
    pub body: Value,
}

/// How long a cleared alert is shown.
const CLEARED_FOR: Duration = Duration::from_secs(60);

/// Alerts shown at once; beyond it the oldest go. Far more than anybody reads.
const ALERTS_MAX: usize = 2_000;

#[derive(Debug)]
struct Alert {
    seq: u64,
    body: Value,
    /// Since when it is cleared.
    cleared: Option<Duration>,
}

/// Sans-IO; see the module.
#[derive(Debug, Default)]
pub(super) struct AlertBoard {
    /// The place of the last message that was taken.
    pub(super) seq: u64,
    pub(super) at: UnixMillis,
    alerts: BTreeMap<String, Alert>,
}

impl AlertBoard {
    /// Takes a message; whether it is one. Before the board is followed, what is cleared is gone at once: a week of it must
    /// not push out what is open.
    pub(super) fn take(&mut self, message: AlertMessage, now: Duration, followed: bool) -> bool {
        let AlertMessage { seq, at, body } = message;
        if seq <= self.seq {
            return true;
        }
        (self.seq, self.at) = (seq, self.at.max(at));
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let Some(id) = text("alert").map(str::to_owned) else { return false };
        let cleared = (text("state") == Some("cleared")).then_some(now);
        if cleared.is_some() && !followed {
            self.alerts.remove(&id);
            return true;
        }
        self.alerts.insert(id, Alert { seq, body, cleared });
        if self.alerts.len() > ALERTS_MAX {
            let oldest = self.alerts.iter().min_by_key(|(_, alert)| alert.seq).map(|(id, _)| id.clone());
            oldest.map(|id| self.alerts.remove(&id));
        }
        true
    }

    /// Forgets those that have been cleared for long enough.
    pub(super) fn forget_cleared(&mut self, now: Duration) {
        self.alerts.retain(|_, alert| alert.cleared.is_none_or(|since| now.saturating_sub(since) < CLEARED_FOR));
    }

    /// `{alerts: {alert: the message}}`.
    pub(super) fn draw(&self) -> Value {
        let alerts: Map<_, _> = self.alerts.iter().map(|(id, alert)| (id.clone(), alert.body.clone())).collect();
        json!({"alerts": alerts})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, alert: &str, state: &str) -> AlertMessage {
        let body = json!({"alert": alert, "kind": "late_risk", "order": "o1", "state": state, "more": [1, null]});
        AlertMessage { seq, at: UnixMillis(5), body }
    }

    #[test]
    fn the_last_message_of_each_counts_and_cleared_ones_stay_for_a_while() {
        let mut board = AlertBoard::default();
        let s = Duration::from_secs;
        assert!(board.take(message(1, "a", "raised"), s(1), false));
        assert!(board.take(message(2, "b", "raised"), s(1), false));
        assert!(board.take(message(3, "b", "cleared"), s(1), false));
        assert_eq!(board.draw(), json!({"alerts": {"a": message(1, "a", "raised").body}}));
        assert!(board.take(message(4, "a", "cleared"), s(2), true));
        assert!(board.take(message(1, "a", "raised"), s(3), true));
        board.forget_cleared(s(61));
        assert_eq!(board.draw()["alerts"]["a"]["state"], "cleared");
        board.forget_cleared(s(62));
        assert_eq!(board.draw(), json!({"alerts": {}}));
        assert!(!board.take(AlertMessage { seq: 5, at: UnixMillis(5), body: json!("x") }, s(3), true));
        for n in 0..ALERTS_MAX as u64 + 5 {
            board.take(message(10 + n, &n.to_string(), "raised"), s(3), true);
        }
        let shown = board.draw();
        assert_eq!(shown["alerts"].as_object().unwrap().len(), ALERTS_MAX);
        assert!(shown["alerts"].get("4").is_none() && shown["alerts"].get("5").is_some());
    }
}
