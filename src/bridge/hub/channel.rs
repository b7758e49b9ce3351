//! One order as one view sees it in one datum: its projection, the version at which that last changed, and the frames.
//!
//! Each change is encoded once and the bytes are shared by all followers. A change that the view doesn't show sends
//! nothing, which is why a channel's version may lie behind the order's, and why channels of two nodes may count the
//! same state under different versions; a resume across nodes is settled with the owner's history.

use super::{Follower, FollowerId, Lens, Shape};
use crate::{
    bridge::{
        datum::convert_order,
        delivered::Delivered,
        frame::Frame,
        outbox::{LANE, Outbox, Pulse},
    },
    domain::{OrderId, UnixMillis},
    metrics::Metrics,
    wire::{
        access::{Principal, Right},
        client::{Recovery, ServerFrame},
        merge,
        problem::Problem,
        query::{Deltas, StoredDelta},
        topic::Topic,
        view, whole,
    },
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Followers to whom a shard writes a frame itself, some 2 µs each; beyond, their own tasks do, on all cores, and the shard's
/// other orders don't wait for it.
const PASSED_MAX: u32 = 1_000;

/// An order as its owner has it, as far as the hub knows.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    pub(super) epoch: u64,
    /// From this epoch on versions mean the same.
    pub(super) since_epoch: u64,
    pub(super) version: u64,
    pub(super) at: UnixMillis,
    pub(super) state: Value,
    pub(super) personal: Option<Value>,
}

/// What `lens` shows of a state.
pub(super) fn seen(lens: Lens, state: &Value, personal: Option<&Value>) -> Value {
    let mut seen = view::project(lens.view, state, personal);
    convert_order(&mut seen, lens.datum);
    match lens.shape {
        Shape::Deltas => seen,
        Shape::Whole => whole::body(&seen),
    }
}

fn rev(state: &Value) -> Option<u64> {
    state.get("rev").and_then(Value::as_u64)
}

/// Makes frames of an order, counting them.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    order: OrderId,
    metrics: Metrics,
}

impl Encoder {
    pub(super) fn new(order: OrderId, metrics: Metrics) -> Self {
        Self { order, metrics }
    }

    pub(super) fn topic(&self, shape: Shape) -> Topic {
        shape.topic(self.order.clone())
    }

    pub(super) fn encode(&self, frame: &ServerFrame, log_time: Option<UnixMillis>) -> Frame {
        self.metrics.frames_encoded.inc();
        Frame::new(frame, log_time)
    }

    /// `seen`: what the view shows after it.
    fn delta(
        &self,
        merged: &Merged,
        (from, to): (u64, u64),
        (patch, seen): (Value, &Arc<Value>),
        log_time: Option<UnixMillis>,
    ) -> Frame {
        let (topic, epoch) = (self.topic(Shape::Deltas).to_string(), merged.epoch);
        let volatile = view::is_volatile(&patch);
        let frame = ServerFrame::Delta { topic, epoch, from, to, at_ms: merged.at, patch };
        if volatile {
            self.metrics.frames_encoded.inc();
            Frame::volatile_delta(&frame, merged.at, seen.clone(), log_time)
        } else {
            self.encode(&frame, log_time)
        }
    }

    pub(super) fn subscribed(&self, shape: Shape, recovery: Recovery, missed: Option<u64>) -> Frame {
        self.encode(&ServerFrame::Subscribed { topic: self.topic(shape).to_string(), recovery, missed }, None)
    }

    fn reset(&self, shape: Shape) -> Frame {
        self.metrics.frames_encoded.inc();
        Frame::reset(self.topic(shape))
    }

    /// Ends a follower's wish, and says why.
    pub(super) fn refuse(&self, Follower { outbox, lens, generation, .. }: &Follower, problem: &Problem) {
        let topic = self.topic(lens.shape);
        let frame = ServerFrame::Error { topic: Some(topic.to_string()), problem: problem.clone() };
        // A shut outbox has nobody to tell.
        let _ = outbox.refuse(&topic, *generation, self.encode(&frame, None));
    }
}

/// How many changes of the order lie between two states that a channel shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changes {
    One,
    /// What was read is further than what was heard: what was between is not known here.
    Several,
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
    seen: Arc<Value>,
    /// The order's count of all changes but those of positions, which whole bodies don't show.
    rev: Option<u64>,
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
        let seen = Arc::new(seen(lens, &merged.state, merged.personal.as_ref()));
        let (ring, followers) = (VecDeque::new(), BTreeMap::new());
        let Merged { epoch, version, at, .. } = *merged;
        let rev = rev(&merged.state);
        Self { lens, epoch, version, at, seen, rev, ring, ring_max, snapshot: None, followers, idle_since: None }
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
    pub(super) fn withdraw(&mut self, encoder: &Encoder, state: &Value, problem: &Problem) {
        // What was sent while it was another's is nobody's to catch up with.
        self.ring.clear();
        let topic = encoder.topic(self.lens.shape);
        let refusal = ServerFrame::Error { topic: Some(topic.to_string()), problem: problem.clone() };
        let refusal = encoder.encode(&refusal, None);
        self.followers.retain(|_, listener| {
            let may = listener.who.may(Right::FollowOrder, state);
            if !may {
                // A shut outbox has nobody to tell.
                let _ = listener.outbox.refuse(&topic, listener.generation, refusal.clone());
            }
            may
        });
    }

    /// Shows a new state: one frame for all, or none if this view sees no change. A delta tells every change but those of
    /// positions: over several of them stands a snapshot, so that nobody takes what it sees for all that there was. Where all
    /// frames are snapshots, that is said before it.
    pub(super) fn advance(
        &mut self,
        encoder: &Encoder,
        merged: &Merged,
        (changes, log_time): (Changes, Option<UnixMillis>),
    ) {
        let seen = Arc::new(seen(self.lens, &merged.state, merged.personal.as_ref()));
        let change = merge::diff(&self.seen, &seen);
        let back = merged.version < self.version;
        if self.epoch != merged.epoch {
            // Frames name their epoch: those of an earlier one would send a client back to it.
            self.epoch = merged.epoch;
            self.snapshot = None;
            self.ring.clear();
        }
        let rev_before = std::mem::replace(&mut self.rev, rev(&merged.state));
        // Perhaps to and fro, so that nothing is to be seen of it.
        let passed_by = self.lens.shape == Shape::Whole && changes == Changes::Several && rev_before != self.rev;
        if change.is_none() && !back && !passed_by {
            return;
        }
        let from = std::mem::replace(&mut self.version, merged.version);
        let before = std::mem::replace(&mut self.seen, seen);
        (self.at, self.snapshot) = (merged.at, None);
        let mut anew = None;
        let frame = match change {
            Some(_) if from < self.version && self.lens.shape == Shape::Whole && !passed_by => {
                let moved = whole::is_movement(&before, &self.seen);
                self.whole_frame(encoder, moved, log_time)
            }
            Some(patch) if from < self.version && (changes == Changes::One || view::is_volatile(&patch)) => {
                let frame = encoder.delta(merged, (from, self.version), (patch, &self.seen), log_time);
                if self.ring.len() >= self.ring_max {
                    self.ring.pop_front();
                }
                self.ring.push_back(Kept { from, to: self.version, frame: frame.alone() });
                frame
            }
            // Besides: a new owner whose log ends earlier, or other content under the same version. No delta can say that.
            Some(_) | None => {
                self.ring.clear();
                anew = (self.lens.shape == Shape::Whole).then(|| encoder.reset(Shape::Whole));
                self.snapshot_frame(encoder)
            }
        };
        let (version, topic) = (self.version, encoder.topic(self.lens.shape));
        let (mut passing, mut passed) = (PASSED_MAX, 0);
        self.followers.retain(|_, l| {
            if let Some(anew) = &anew
                && l.outbox.push(anew.clone()).is_err()
            {
                return false;
            }
            let Some(left) = passing.checked_sub(1) else {
                return l.outbox.push_version(&topic, version, frame.clone()).is_ok();
            };
            passing = left;
            let taken = l.outbox.pass_version(&topic, version, &frame);
            passed += u64::from(taken.unwrap_or(false));
            taken.is_ok()
        });
        if passed > 0 {
            Delivered::over(&encoder.metrics, LANE).note_alike(passed, log_time);
        }
    }

    fn snapshot_frame(&mut self, encoder: &Encoder) -> Frame {
        if let Some(frame) = &self.snapshot {
            return frame.clone();
        }
        let frame = encoder.encode(&self.snapshot_of(encoder), None);
        self.snapshot.insert(frame).clone()
    }

    /// The newest whole body, which the next who comes gets as well.
    fn whole_frame(&mut self, encoder: &Encoder, moved: bool, log_time: Option<UnixMillis>) -> Frame {
        let frame = self.snapshot_of(encoder);
        let frame = if moved {
            encoder.metrics.frames_encoded.inc();
            Frame::volatile_whole(&frame, log_time)
        } else {
            encoder.encode(&frame, log_time)
        };
        self.snapshot.insert(frame).clone()
    }

    fn snapshot_of(&self, encoder: &Encoder) -> ServerFrame {
        let (epoch, version, at_ms) = (self.epoch, self.version, self.at);
        let state = match self.lens.shape {
            Shape::Deltas => self.seen.as_ref().clone(),
            Shape::Whole => whole::stamp(&self.seen, version, at_ms),
        };
        ServerFrame::Snapshot { topic: encoder.topic(self.lens.shape).to_string(), epoch, version, at_ms, state }
    }

    /// How a client at `version` of this epoch gets here.
    pub(super) fn reach(&self, version: u64) -> Reach {
        if version == self.version || self.ring.iter().any(|kept| kept.from == version) {
            Reach::Here
        } else if version < self.version && self.lens.shape == Shape::Deltas {
            Reach::Ask
        } else {
            // It counts this view's state under a version that this channel never gave: its next delta wouldn't fit.
            Reach::Gone
        }
    }

    /// Adds a follower with the whole state.
    pub(super) fn start(&mut self, encoder: &Encoder, pulse: &Arc<Pulse>, add: (FollowerId, Listener), how: Recovery) {
        let snapshot = self.snapshot_frame(encoder);
        self.add(encoder, pulse, add, (how, None), [snapshot]);
    }

    /// Adds a follower that is at `version`, with what the ring has after it.
    pub(super) fn resume(&mut self, encoder: &Encoder, pulse: &Arc<Pulse>, add: (FollowerId, Listener), version: u64) {
        debug_assert_eq!(self.reach(version), Reach::Here);
        let missed: Vec<_> = self.ring.iter().filter(|k| k.from >= version).map(|k| k.frame.clone()).collect();
        debug_assert!(self.ring.iter().zip(self.ring.iter().skip(1)).all(|(a, b)| a.to == b.from));
        self.add(encoder, pulse, add, (Recovery::Resumed, Some(missed.len() as u64)), missed);
    }

    /// Adds a follower that is at `version`, with what the owner's history has from there on: a delta for each change that it
    /// shows, with those of positions before it merged into it. Perhaps one empty delta, which only brings the version here.
    pub(super) fn resume_from(
        &mut self,
        encoder: &Encoder,
        pulse: &Arc<Pulse>,
        add: (FollowerId, Listener),
        (version, history): (u64, &Deltas),
        merged: &Merged,
    ) {
        let lens = self.lens;
        let show = |state: &Value| Arc::new(seen(lens, state, merged.personal.as_ref()));
        let (mut state, mut shown, mut from) = (history.base.clone(), show(&history.base), version);
        let mut frames = Vec::new();
        for StoredDelta { to, patch, .. } in history.deltas.iter().filter(|delta| delta.to <= self.version) {
            merge::patch(&mut state, patch);
            if !view::is_volatile(patch) {
                let next = show(&state);
                if let Some(change) = merge::diff(&shown, &next) {
                    frames.push(encoder.delta(merged, (from, *to), (change, &next), None));
                    (from, shown) = (*to, next);
                }
            }
        }
        match merge::diff(&shown, &self.seen) {
            // The history and what is shown don't agree.
            Some(_) if from == self.version => return self.start(encoder, pulse, add, Recovery::Reset),
            None if from == self.version => {}
            rest => {
                let rest = rest.unwrap_or_else(|| json!({}));
                frames.push(encoder.delta(merged, (from, self.version), (rest, &self.seen), None));
            }
        }
        self.add(encoder, pulse, add, (Recovery::Resumed, Some(frames.len() as u64)), frames);
    }

    fn add(
        &mut self,
        encoder: &Encoder,
        pulse: &Arc<Pulse>,
        (id, listener): (FollowerId, Listener),
        (how, missed): (Recovery, Option<u64>),
        frames: impl IntoIterator<Item = Frame>,
    ) {
        let outbox = &listener.outbox;
        let topic = encoder.topic(self.lens.shape);
        let subscribed = encoder.subscribed(self.lens.shape, how, missed);
        if outbox.begin_with(&topic, self.version, pulse.clone(), subscribed, frames).is_ok() {
            self.followers.insert(id, listener);
            self.idle_since = None;
        }
    }
}
