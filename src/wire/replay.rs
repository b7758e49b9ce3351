//! What `/v1/ws` tells of a replay: an order's history shown again, as it was shown then, at a pace of the client's choice.
//!
//! ```text
//! replay          → replay_started, replay_state, then replay_delta … replay_ended, with a replay_position each second
//! replay_control  → replay_position; with a seek replay_state first, from which the deltas lead on
//! replay_stop     → replay_stopped
//! ```

use super::{problem::Problem, query::TrackRow};
use crate::domain::{Status, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The fastest replay.
pub const MAX_SPEED: u32 = 60;

/// A server's frame; `replay` is the client's number for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(clippy::enum_variant_names, reason = "the names on the wire")]
pub enum ReplayFrame {
    /// A replay's timeline. It ends with the version that the order had when this was asked for.
    ReplayStarted {
        replay: u32,
        order: String,
        first_ms: UnixMillis,
        last_ms: UnixMillis,
        /// What happened beside fixes, by time.
        events: Vec<ReplayEvent>,
    },
    /// The whole state as the view shows it, at a time of the timeline: where the replay begins, and after each seek. Personal
    /// data are in no history, and so not in here.
    ReplayState { replay: u32, at_ms: UnixMillis, version: u64, state: Value },
    /// What the view showed next. `from` is the version at which the view changed before, or that of the state. RFC 7396.
    ReplayDelta { replay: u32, at_ms: UnixMillis, from: u64, to: u64, patch: Value },
    /// Where the replay is: each second, and after each change.
    ReplayPosition { replay: u32, at_ms: UnixMillis, version: u64, speed: u32, paused: bool },
    /// The end of the timeline is reached. The replay stays there until it is sought elsewhere or stopped.
    ReplayEnded { replay: u32, at_ms: UnixMillis, version: u64 },
    /// The client stopped it: the number is free.
    ReplayStopped { replay: u32 },
    /// It can't go on, and is gone: the number is free.
    ReplayFailed { replay: u32, problem: Problem },
}

/// Something on a replay's timeline: a status, a stage, an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayEvent {
    pub at_ms: UnixMillis,
    /// As in [`TrackRow`].
    pub kind: String,
    pub version: u64,
    pub status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl From<TrackRow> for ReplayEvent {
    fn from(TrackRow { at_ms, kind, version, status, stage, note, .. }: TrackRow) -> Self {
        Self { at_ms, kind, version, status, stage, note }
    }
}
