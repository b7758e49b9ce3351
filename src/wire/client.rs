//! Frames of `/v1/ws`: JSON objects with a `type`. Everything a page needs to know to follow orders without gaps.

use crate::domain::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

use super::{FieldError, parse_json, problem::Problem, replay::ReplayFrame};

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientFrame {
    /// Follow `topic` (see [`super::topic::Topic`]). With `version` and `epoch` of an earlier session: resume.
    Subscribe {
        topic: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u64>,
        /// With the topic `cell`: only what lies in this box, `[west, south, east, north]` in degrees of the connection's
        /// datum. Another box is asked for by subscribing again, and begins with a snapshot.
        #[serde(default, rename = "box", skip_serializing_if = "Option::is_none")]
        bounds: Option<Vec<f64>>,
    },
    Unsubscribe {
        topic: String,
    },
    /// Who this is: the first frame where the connection came without a token, and later a newer token of the same role and
    /// subject, before the present one expires.
    Authenticate {
        token: String,
    },
    /// Show an order's history again as it was shown then. Followed by [`ReplayFrame::ReplayStarted`].
    Replay {
        /// The client's own number for it, one that isn't in use.
        replay: u32,
        order: String,
        /// So many times as fast as it was, 1 to [`MAX_SPEED`](super::replay::MAX_SPEED); 1 without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        speed: Option<u32>,
        /// Where to begin; at the first change without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_ms: Option<i64>,
        /// Whether it waits there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        paused: Option<bool>,
    },
    /// Change a replay that runs: any of the three. After a seek comes the whole state there; else its position.
    ReplayControl {
        replay: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        paused: Option<bool>,
        /// A time of its timeline; one beyond its ends means the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seek_ms: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        speed: Option<u32>,
    },
    /// End a replay. Nothing of it comes after the [`ReplayFrame::ReplayStopped`].
    ReplayStop {
        replay: u32,
    },
    /// Answered by a pong with the same `id`.
    Ping {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
    },
}

impl ClientFrame {
    /// Parses a frame. Of a member that doesn't fit its frame, serde knows the value but not the name, since it has to read
    /// the `type` first: the name is that of the member without which the complaint would be another.
    pub fn parse(text: &[u8]) -> Result<Self, FieldError> {
        parse_json(text).map_err(|error| {
            let members = serde_json::from_slice::<Map<String, Value>>(text).unwrap_or_default();
            let complaint = |members: Map<String, Value>| {
                serde_json::from_value::<Self>(members.into()).err().map(|error| error.to_string())
            };
            if error.field != "payload" || members.len() > MAX_MEMBERS {
                return error;
            }
            let whole = complaint(members.clone());
            let is_at_fault = |name: &&String| {
                let mut others = members.clone();
                others.remove(*name);
                complaint(others) != whole
            };
            let field = members.keys().filter(|name| *name != "type").find(is_at_fault);
            match field {
                Some(field) => FieldError::new(field.as_str(), error.reason),
                None => error,
            }
        })
    }
}

/// Members that the largest frame has, and then some.
const MAX_MEMBERS: usize = 8;

/// How a subscription began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// A first subscription: a snapshot follows.
    Fresh,
    /// Nothing was missed, or the missed deltas follow.
    Resumed,
    /// What was missed is gone: a snapshot follows.
    Reset,
}

/// What a server sends. Frames about a topic hold nothing of the connection, so one encoding serves every subscriber of
/// the same view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// First frame of every connection.
    Hello {
        session: String,
        view: String,
        heartbeat_ms: u64,
    },
    /// The token was taken. It expires at that time, by the server's clock; without it: never.
    Authenticated {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at_ms: Option<UnixMillis>,
    },
    /// The node is leaving: the connection is closed next, with 4100. Come again after so long, to wherever the address leads
    /// then, and resume.
    GoingAway {
        reconnect_in_ms: u64,
    },
    /// The token has expired: the connection is closed after `grace_ms` unless a newer one comes.
    Expired {
        grace_ms: u64,
    },
    Subscribed {
        topic: String,
        recovery: Recovery,
        /// With `resumed`: so many deltas follow at once that bring the client to the present; 0 if it was there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missed: Option<u64>,
    },
    Unsubscribed {
        topic: String,
    },
    /// The whole state as this view sees it.
    Snapshot {
        topic: String,
        epoch: u64,
        version: u64,
        at_ms: UnixMillis,
        state: Value,
    },
    /// The view changed from version `from`, at which it last changed, to `to`. RFC 7396.
    Delta {
        topic: String,
        epoch: u64,
        from: u64,
        to: u64,
        at_ms: UnixMillis,
        patch: Value,
    },
    /// The version of every followed order, by its id, that its owner has confirmed lately. A client whose version of an order
    /// differs has lost something and subscribes again from its version. `unconfirmed` orders' owners are silent.
    Heartbeat {
        orders: BTreeMap<String, u64>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unconfirmed: Vec<String>,
        /// The same of the other topics, by their text.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        topics: BTreeMap<String, u64>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unconfirmed_topics: Vec<String>,
    },
    Pong {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
    },
    /// A frame of the client that changed nothing, and why.
    Error {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic: Option<String>,
        problem: Problem,
    },
    /// Of a replay.
    #[serde(untagged)]
    Replay(ReplayFrame),
}

/// Why the server closes a connection. One table; 4000–4099 may come back at once, 4100–4199 after a wait, 4200–4299 not
/// before the client changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// The outbox was full: come back and resume.
    SlowConsumer,
    /// The server shuts down: come back elsewhere.
    GoingAway,
    /// A frame was too large.
    FrameTooLarge,
    /// Frames that are no JSON of ours, repeatedly.
    BadFrames,
    /// The token expired and no newer one came in time.
    TokenExpired,
    /// No token, none that is good, or one of somebody else.
    Unauthorized,
    /// The share link was revoked.
    Revoked,
    /// The client asked for what it can't have, in a protocol that says so by closing (STOMP's `ERROR`).
    Refused,
    /// The client said that it goes.
    Done,
}

impl Close {
    /// The WebSocket close code.
    pub fn code(self) -> u16 {
        match self {
            Self::SlowConsumer => 4000,
            Self::GoingAway => 4100,
            Self::FrameTooLarge => 4200,
            Self::BadFrames => 4201,
            Self::TokenExpired => 4202,
            Self::Unauthorized => 4203,
            Self::Revoked => 4204,
            Self::Refused => 4205,
            // RFC 6455, 7.4.1: a normal closure.
            Self::Done => 1000,
        }
    }

    /// The close reason on the wire and the metric's label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::SlowConsumer => "slow_consumer",
            Self::GoingAway => "going_away",
            Self::FrameTooLarge => "frame_too_large",
            Self::BadFrames => "bad_frames",
            Self::TokenExpired => "token_expired",
            Self::Unauthorized => "unauthorized",
            Self::Revoked => "revoked",
            Self::Refused => "refused",
            Self::Done => "done",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_named() {
        let field = |text: &str| ClientFrame::parse(text.as_bytes()).unwrap_err().field;
        for (text, expected) in [
            (r#"{"type":"replay","replay":-1,"order":"a"}"#, "replay"),
            (r#"{"type":"replay","replay":1,"order":"a","speed":1.5}"#, "speed"),
            (r#"{"type":"replay","replay":1,"speed":2}"#, "order"),
            (r#"{"type":"replay_control","replay":1,"paused":"yes","seek_ms":1}"#, "paused"),
            (r#"{"type":"subscribe","topic":"cell","box":[1,"x"]}"#, "box"),
            (r#"{"type":"subscribe","topic":7}"#, "topic"),
            (r#"{"type":"sing"}"#, "type"),
            ("[", "payload"),
            ("{", "payload"),
        ] {
            assert_eq!(field(text), expected, "{text}");
        }
    }
}
