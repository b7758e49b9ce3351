//! What the owner of a cell says on `update.{cell}.order.{order}`: deltas, and heartbeats between them.

use crate::domain::UnixMillis;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message on an update subject. `epoch` grows with every owner; what comes with an older one is not believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Update {
    /// The whole state (operations' view) went from one version to the next.
    Delta {
        epoch: u64,
        from: u64,
        to: u64,
        /// Cell time of the change.
        at_ms: UnixMillis,
        /// When the log took the message behind it, by the NATS server's clock: for end-to-end latency.
        log_time_ms: UnixMillis,
        /// RFC 7396.
        patch: Value,
    },
    /// The current version, said again every few seconds whether or not anything happened.
    Heartbeat { epoch: u64, version: u64 },
}

/// An [`Update::Delta`] on its owner's side, where the patch is text already: what is stored is what is said, and is
/// encoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnDelta {
    pub epoch: u64,
    pub from: u64,
    pub to: u64,
    pub at_ms: UnixMillis,
    pub log_time_ms: UnixMillis,
    /// RFC 7396, compact JSON, from [`super::doc::delta`].
    pub patch: Bytes,
}

impl OwnDelta {
    /// The JSON of the [`Update::Delta`] that it is.
    pub fn encode(&self) -> Bytes {
        let Self { epoch, from, to, at_ms: UnixMillis(at_ms), log_time_ms: UnixMillis(log_time_ms), patch } = self;
        let head = format!(
            r#"{{"type":"delta","epoch":{epoch},"from":{from},"to":{to},"at_ms":{at_ms},"log_time_ms":{log_time_ms},"patch":"#
        );
        let mut json = Vec::with_capacity(head.len() + patch.len() + 1);
        json.extend_from_slice(head.as_bytes());
        json.extend_from_slice(patch);
        json.push(b'}');
        json.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owners_delta_is_an_update() {
        let (epoch, from, to, at_ms, log_time_ms) = (3, 0, 1, UnixMillis(-5), UnixMillis(1_700_000_000_000));
        let patch = serde_json::json!({"position": {"lat": 31.2, "speed_mps": null}, "rev": 4});
        let text = Bytes::from(patch.to_string());
        let own = OwnDelta { epoch, from, to, at_ms, log_time_ms, patch: text };
        let update = Update::Delta { epoch, from, to, at_ms, log_time_ms, patch };
        assert_eq!(own.encode(), serde_json::to_vec(&update).unwrap());
    }
}
