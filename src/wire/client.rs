//! Frames of `/v1/ws`: JSON objects with a `type`. Everything a page needs to know to follow orders without gaps.

use crate::domain::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use super::problem::Problem;

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
    /// Answered by a pong with the same `id`.
    Ping {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
    },
}

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
    /// The token has expired: the connection is closed after `grace_ms` unless a newer one comes.
    Expired {
        grace_ms: u64,
    },
    Subscribed {
        topic: String,
        recovery: Recovery,
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
        }
    }
}
