//! One order as one view sees it in one datum: its projection, the version at which that last changed, and the frames.
//!
//! Each change is encoded once and the bytes are shared by all followers. A change that the view doesn't show sends
//! nothing, which is why a channel's version may lie behind the order's, and why channels of two nodes may count the
//! same state under different versions; a resume across nodes is settled with the owner's history.

use super::{Follower, FollowerId, Lens};
use crate::{
    bridge::{
        datum::convert_order,
        outbox::{Frame, Outbox, Pulse},
    },
    domain::{OrderId, UnixMillis},
    metrics::Metrics,
    wire::{
        access::{Principal, Right},
        client::{Recovery, ServerFrame},
        merge,
        topic::Topic,
        view::project,
    },
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// An order as its owner has it, as far as the hub knows.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    pub(super) epoch: u64,
    pub(super) version: u64,
    pub(super) at: UnixMillis,
    pub(super) state: Value,
    pub(super) personal: Option<Value>,
}

/// What `lens` shows of a state.
pub(super) fn seen(lens: Lens, state: &Value, personal: Option<&Value>) -> Value {
    let mut seen = project(lens.view, state, personal);
    convert_order(&mut seen, lens.datum);
    seen
}

/// Makes frames of an order, counting them.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    pub(super) of: Topic,
    pub(super) topic: String,
    pub(super) metrics: Metrics,
}

impl Encoder {
    pub(super) fn new(order: OrderId, metrics: Metrics) -> Self {
        let of = Topic::Order(order);
        Self { topic: of.to_string(), of, metrics }
    }

    pub(super) fn encode(&self, frame: &ServerFrame, log_time: Option<UnixMillis>) -> Frame {
        self.metrics.frames_encoded.inc();
        frame_of(frame, log_time)
    }

    fn delta(&self, merged: &Merged, (from, to): (u64, u64), patch: Value, log_time: Option<UnixMillis>) -> Frame {
        let (topic, epoch) = (self.topic.clone(), merged.epoch);
        self.encode(&ServerFrame::Delta { topic, epoch, from, to, at_ms: merged.at, patch }, log_time)
    }

    pub(super) fn subscribed(&self, recovery: Recovery) -> Frame {
        self.encode(&ServerFrame::Subscribed { topic: self.topic.clone(), recovery }, None)
    }
}

/// A frame's text. Ours always serialize: their maps have string keys.
pub(crate) fn frame_of(frame: &ServerFrame, log_time: Option<UnixMillis>) -> Frame {
    Frame { text: serde_json::to_string(frame).unwrap_or_default().into(), log_time }
}

/// How far a client can be brought from where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It is there, or the ring has the way.
    Here,
    /// The owner's history may have it.
    Ask,
    /// Only a snapshot helps.
    Gone,
}

#[derive(Debug)]
struct Kept {
    from: u64,
    to: u64,
    frame: Frame,
}

/// A follower that gets every frame.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) outbox: Arc<Outbox>,
    pub(super) who: Arc<Principal>,
    pub(super) generation: u64,
}

impl From<&Follower> for Listener {
    fn from(follower: &Follower) -> Self {
        let Follower { outbox, who, generation, .. } = follower;
        Self { outbox: outbox.clone(), who: who.clone(), generation: *generation }
    }
}

#[derive(Debug)]
pub(super) struct Channel {
    lens: Lens,
    epoch: u64,
    /// Where the view last changed.
    version: u64,
    at: UnixMillis,
    seen: Value,
    /// Deltas that lead to `version`, oldest first, each from where the one before it ends.
    ring: VecDeque<Kept>,
    ring_max: usize,
    /// The encoding of `seen`, made when somebody needs it.
    snapshot: Option<Frame>,
    followers: BTreeMap<FollowerId, Listener>,
    /// Since when there are no followers.
    pub(super) idle_since: Option<Duration>,
}

impl Channel {
    pub(super) fn new(lens: Lens, merged: &Merged, ring_max: usize) -> Self {
        let seen = seen(lens, &merged.state, merged.personal.as_ref());
        let (ring, followers) = (VecDeque::new(), BTreeMap::new());
        let Merged { epoch, version, at, .. } = *merged;
        Self { lens, epoch, version, at, seen, ring, ring_max, snapshot: None, followers, idle_since: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.followers.is_empty()
    }

    pub(super) fn remove(&mut self, id: FollowerId) {
        self.followers.remove(&id);
    }

    /// Takes off those whose outbox is shut.
    pub(super) fn sweep(&mut self) {
        self.followers.retain(|_, listener| !listener.outbox.is_shut());
    }

    /// Takes off those whose order it isn't any more, and tells them.
    pub(super) fn withdraw(&mut self, encoder: &Encoder, state: &Value, refusal: &Frame) {
        // What was sent while it was another's is nobody's to catch up with.
        self.ring.clear();
        self.followers.retain(|_, listener| {
            let may = listener.who.may(Right::FollowOrder, state);
            if !may {
                // A shut outbox has nobody to tell.
                let _ = listener.outbox.refuse(&encoder.of, listener.generation, refusal.clone());
            }
            may
        });
    }

    /// Shows a new state: one frame for all, or none if this view sees no change.
    pub(super) fn advance(&mut self, encoder: &Encoder, merged: &Merged, log_time: Option<UnixMillis>) {
        let seen = seen(self.lens, &merged.state, merged.personal.as_ref());
        let change = merge::diff(&self.seen, &seen);
        let back = merged.version < self.version;
        if self.epoch != merged.epoch {
            // Frames name their epoch: those of an earlier one would send a client back to it.
            self.epoch = merged.epoch;
            self.snapshot = None;
            self.ring.clear();
        }
        if change.is_none() && !back {
            return;
        }
        let from = std::mem::replace(&mut self.version, merged.version);
        (self.seen, self.at, self.snapshot) = (seen, merged.at, None);
        let frame = match change {
            Some(patch) if from < self.version => {
                let frame = encoder.delta(merged, (from, self.version), patch, log_time);
                if self.ring.len() >= self.ring_max {
                    self.ring.pop_front();
                }
                self.ring.push_back(Kept { from, to: self.version, frame: frame.clone() });
                frame
            }
            // A new owner whose log ends earlier, or other content under the same version: no delta can say that.
            Some(_) | None => {
                self.ring.clear();
                self.snapshot_frame(encoder)
            }
        };
        let version = self.version;
        self.followers.retain(|_, l| l.outbox.push_version(&encoder.of, version, frame.clone()).is_ok());
    }

    fn snapshot_frame(&mut self, encoder: &Encoder) -> Frame {
        let (epoch, version, at_ms) = (self.epoch, self.version, self.at);
        let (topic, seen) = (&encoder.topic, &self.seen);
        self.snapshot
            .get_or_insert_with(|| {
                let (topic, state) = (topic.clone(), seen.clone());
                encoder.encode(&ServerFrame::Snapshot { topic, epoch, version, at_ms, state }, None)
            })
            .clone()
    }

    /// How a client at `version` of this epoch gets here.
    pub(super) fn reach(&self, version: u64) -> Reach {
        if version == self.version || self.ring.iter().any(|kept| kept.from == version) {
            Reach::Here
        } else if version < self.version {
            Reach::Ask
        } else {
            // It counts this view's state under a version that this channel never gave: its next delta wouldn't fit.
            Reach::Gone
        }
    }

    /// Adds a follower with the whole state.
    pub(super) fn start(&mut self, encoder: &Encoder, pulse: &Arc<Pulse>, add: (FollowerId, Listener), how: Recovery) {
        let snapshot = self.snapshot_frame(encoder);
        self.add(encoder, pulse, add, how, [snapshot]);
    }

    /// Adds a follower that is at `version`, with what the ring has after it.
    pub(super) fn resume(&mut self, encoder: &Encoder, pulse: &Arc<Pulse>, add: (FollowerId, Listener), version: u64) {
        debug_assert_eq!(self.reach(version), Reach::Here);
        let missed: Vec<_> = self.ring.iter().filter(|k| k.from >= version).map(|k| k.frame.clone()).collect();
        debug_assert!(self.ring.iter().zip(self.ring.iter().skip(1)).all(|(a, b)| a.to == b.from));
        self.add(encoder, pulse, add, Recovery::Resumed, missed);
    }

    /// Adds a follower that is at `version`, where the owner says the order was `base`: one merged delta, perhaps an
    /// empty one that only brings the version here.
    pub(super) fn resume_from(
        &mut self,
        encoder: &Encoder,
        pulse: &Arc<Pulse>,
        add: (FollowerId, Listener),
        (version, base): (u64, &Value),
        merged: &Merged,
    ) {
        let base = seen(self.lens, base, merged.personal.as_ref());
        let patch = merge::diff(&base, &self.seen).unwrap_or_else(|| json!({}));
        let frame = encoder.delta(merged, (version, self.version), patch, None);
        self.add(encoder, pulse, add, Recovery::Resumed, [frame]);
    }

    fn add(
        &mut self,
        encoder: &Encoder,
        pulse: &Arc<Pulse>,
        (id, listener): (FollowerId, Listener),
        how: Recovery,
        frames: impl IntoIterator<Item = Frame>,
    ) {
        let outbox = &listener.outbox;
        outbox.begin(&encoder.of, self.version, pulse.clone());
        let taken = outbox.push(encoder.subscribed(how)).is_ok()
            && frames.into_iter().all(|frame| outbox.push_version(&encoder.of, self.version, frame).is_ok());
        if taken {
            self.followers.insert(id, listener);
            self.idle_since = None;
        }
    }
}
