//! One cut of a board (a datum, a box) as its followers have it: the document, its version, and the frames.
//!
//! A sheet's version grows by one per delta that it sends, and its epoch is its own: another sheet of the same topic, on
//! this node or another, counts in another epoch, so that nobody resumes over what it never saw. Each change is encoded
//! once for all. A follower whose outbox doesn't empty gets nothing more until it does, and then one delta from where it
//! was to what is now: what the sheet keeps for it meanwhile are the old values of what changed, and no frames.

use super::Label;
use crate::{
    bridge::{
        frame::Frame,
        hub::{FollowerId, Resume},
        outbox::{Outbox, Pulse},
    },
    domain::UnixMillis,
    wire::{
        client::{Recovery, ServerFrame},
        merge,
    },
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Bounds of a sheet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Encoded deltas kept for those who come back.
    pub(super) ring_max: usize,
    /// Frames that may wait in a follower's outbox before newer changes are merged for it.
    pub(super) queue_max: usize,
}

#[derive(Debug)]
struct Kept {
    from: u64,
    frame: Frame,
}

/// What of a member changed since a follower fell behind, as it was then.
#[derive(Debug)]
enum Old {
    Whole(Option<Value>),
    /// Of an object that is still one: those of its members that changed.
    Members(BTreeMap<String, Option<Value>>),
}

/// A follower that has fallen behind.
#[derive(Debug)]
struct Behind {
    version: u64,
    old: BTreeMap<String, Old>,
}

#[derive(Debug)]
struct Following {
    outbox: Arc<Outbox>,
    behind: Option<Behind>,
}

#[derive(Debug)]
pub(super) struct Sheet {
    epoch: u64,
    version: u64,
    at: UnixMillis,
    state: Value,
    /// Deltas that lead to `version`, oldest first, each from where the one before it ends.
    ring: VecDeque<Kept>,
    bounds: Bounds,
    /// The encoding of `state`, made when somebody needs it.
    snapshot: Option<Frame>,
    followers: BTreeMap<FollowerId, Following>,
    /// Since when there are no followers.
    pub(super) idle_since: Option<Duration>,
}

impl Sheet {
    pub(super) fn new(epoch: u64, state: Value, at: UnixMillis, bounds: Bounds) -> Self {
        let (ring, followers) = (VecDeque::new(), BTreeMap::new());
        Self { epoch, version: 1, at, state, ring, bounds, snapshot: None, followers, idle_since: None }
    }

    pub(super) fn state(&self) -> &Value {
        &self.state
    }

    pub(super) fn is_empty(&self) -> bool {
        self.followers.is_empty()
    }

    pub(super) fn remove(&mut self, id: FollowerId) {
        self.followers.remove(&id);
    }

    /// Shows a new document: a delta, or nothing if it is the same.
    pub(super) fn turn(&mut self, label: &Label, next: &Value, at: UnixMillis) {
        if let Some(patch) = merge::diff(&self.state, next) {
            self.advance(label, patch, at);
        }
    }

    /// Shows a change that is one.
    pub(super) fn advance(&mut self, label: &Label, patch: Value, at: UnixMillis) {
        let (from, queue_max) = (self.version, self.bounds.queue_max);
        for following in self.followers.values_mut() {
            if following.behind.is_none() && following.outbox.waiting() >= queue_max {
                following.behind = Some(Behind { version: from, old: BTreeMap::new() });
            }
            if let Some(behind) = &mut following.behind {
                behind.note(&self.state, &patch);
            }
        }
        merge::patch(&mut self.state, &patch);
        self.version += 1;
        (self.at, self.snapshot) = (at, None);
        let frame = self.delta(label, from, patch);
        if self.ring.len() >= self.bounds.ring_max {
            self.ring.pop_front();
        }
        if self.bounds.ring_max > 0 {
            self.ring.push_back(Kept { from, frame: frame.clone() });
        }
        let version = self.version;
        self.followers.retain(|_, following| {
            following.behind.is_some() || following.outbox.push_version(&label.of, version, frame.clone()).is_ok()
        });
    }

    /// Brings those who had fallen behind to where the sheet is, if they take frames again. Takes off those who are gone.
    pub(super) fn catch_up(&mut self, label: &Label) {
        let (mut ready, queue_max) = (Vec::new(), self.bounds.queue_max);
        self.followers.retain(|_, following| !following.outbox.is_shut());
        for following in self.followers.values_mut() {
            if following.outbox.waiting() * 2 < queue_max.max(1)
                && let Some(behind) = following.behind.take()
            {
                ready.push((following.outbox.clone(), behind));
            }
        }
        for (outbox, behind) in ready {
            let frame = self.delta(label, behind.version, behind.patch(&self.state));
            // One that is shut is taken off the next time.
            let _ = outbox.push_version(&label.of, self.version, frame);
        }
    }

    fn delta(&self, label: &Label, from: u64, patch: Value) -> Frame {
        let (topic, epoch, to, at_ms) = (label.text.clone(), self.epoch, self.version, self.at);
        label.encode(&ServerFrame::Delta { topic, epoch, from, to, at_ms, patch })
    }

    /// The whole document's frame.
    pub(super) fn snapshot(&mut self, label: &Label) -> Frame {
        let (epoch, version, at_ms) = (self.epoch, self.version, self.at);
        let state = &self.state;
        self.snapshot
            .get_or_insert_with(|| {
                let (topic, state) = (label.text.clone(), state.clone());
                label.encode(&ServerFrame::Snapshot { topic, epoch, version, at_ms, state })
            })
            .clone()
    }

    /// Adds a follower, with what it missed or with everything.
    pub(super) fn add(
        &mut self,
        label: &Label,
        pulse: &Arc<Pulse>,
        (id, outbox): (FollowerId, Arc<Outbox>),
        resume: Option<Resume>,
    ) {
        let missed = resume.and_then(|resume| self.missed(resume));
        let (recovery, frames) = match (resume, missed) {
            (_, Some(missed)) => (Recovery::Resumed, missed),
            (Some(_), None) => (Recovery::Reset, vec![self.snapshot(label)]),
            (None, None) => (Recovery::Fresh, vec![self.snapshot(label)]),
        };
        let missed = (recovery == Recovery::Resumed).then_some(frames.len() as u64);
        let subscribed = label.encode(&ServerFrame::Subscribed { topic: label.text.clone(), recovery, missed });
        if outbox.begin_with(&label.of, self.version, pulse.clone(), subscribed, frames).is_ok() {
            self.followers.insert(id, Following { outbox, behind: None });
            self.idle_since = None;
        }
    }

    /// What a client missed since, if it is known.
    fn missed(&self, Resume { epoch, version }: Resume) -> Option<Vec<Frame>> {
        let known = version == self.version || self.ring.iter().any(|kept| kept.from == version);
        let missed = || self.ring.iter().filter(|kept| kept.from >= version).map(|kept| kept.frame.clone()).collect();
        (epoch == self.epoch && known).then(missed)
    }
}

impl Behind {
    /// Keeps what `patch` is about to change in `state`, unless it is kept already.
    fn note(&mut self, state: &Value, patch: &Value) {
        let Value::Object(changes) = patch else { return };
        for (name, change) in changes {
            let now = state.get(name);
            let both = change.as_object().zip(now.and_then(Value::as_object));
            let old = self.old.entry(name.clone()).or_insert_with(|| Old::Members(BTreeMap::new()));
            let Old::Members(members) = old else { continue };
            match both {
                Some((change, now)) => {
                    for member in change.keys() {
                        members.entry(member.clone()).or_insert_with(|| now.get(member).cloned());
                    }
                }
                // It comes, goes or becomes something else: what it was is what it is, with the old members put back.
                None => {
                    let mut whole = now.cloned();
                    if let Some(Value::Object(whole)) = &mut whole {
                        for (member, value) in std::mem::take(members) {
                            match value {
                                Some(value) => drop(whole.insert(member, value)),
                                None => drop(whole.remove(&member)),
                            }
                        }
                    }
                    *old = Old::Whole(whole);
                }
            }
        }
    }

    /// From what was to what is: of what never changed, or changed back, nothing.
    fn patch(self, state: &Value) -> Value {
        let (mut before, mut after) = (Map::new(), Map::new());
        for (name, old) in self.old {
            let now = state.get(&name);
            match old {
                Old::Whole(old) => {
                    before.extend(old.map(|old| (name.clone(), old)));
                    after.extend(now.map(|now| (name.clone(), now.clone())));
                }
                Old::Members(members) => {
                    let (mut was, mut is) = (Map::new(), Map::new());
                    for (member, old) in members {
                        is.extend(now.and_then(|now| now.get(&member)).map(|now| (member.clone(), now.clone())));
                        was.extend(old.map(|old| (member, old)));
                    }
                    before.insert(name.clone(), was.into());
                    after.insert(name, is.into());
                }
            }
        }
        merge::diff(&before.into(), &after.into()).unwrap_or_else(|| json!({}))
    }
}

impl Label {
    fn encode(&self, frame: &ServerFrame) -> Frame {
        self.metrics.frames_encoded.inc();
        Frame::new(frame, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bridge::hub, metrics::Metrics, wire::topic::Topic};
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { ring_max: 4, queue_max: 3 };

    /// A client that merges as a page does.
    #[derive(Default)]
    struct Client {
        state: Value,
        at: Option<Resume>,
        recoveries: Vec<Recovery>,
        deltas: usize,
    }

    impl Client {
        fn read(&mut self, outbox: &Outbox) {
            for frame in outbox.take(usize::MAX).unwrap().frames {
                match serde_json::from_slice(&frame.json()).unwrap() {
                    ServerFrame::Subscribed { recovery, .. } => self.recoveries.push(recovery),
                    ServerFrame::Snapshot { epoch, version, state, .. } => {
                        (self.state, self.at) = (state, Some(Resume { epoch, version }));
                    }
                    ServerFrame::Delta { epoch, from, to, patch, .. } => {
                        assert_eq!(self.at, Some(Resume { epoch, version: from }), "a delta over a gap");
                        merge::patch(&mut self.state, &patch);
                        self.at = Some(Resume { epoch, version: to });
                        self.deltas += 1;
                    }
                    other @ (ServerFrame::Hello { .. }
                    | ServerFrame::Authenticated { .. }
                    | ServerFrame::GoingAway { .. }
                    | ServerFrame::Expired { .. }
                    | ServerFrame::Unsubscribed { .. }
                    | ServerFrame::Heartbeat { .. }
                    | ServerFrame::Pong { .. }
                    | ServerFrame::Replay(_)
                    | ServerFrame::Error { .. }) => panic!("{other:?}"),
                }
            }
            // What a heartbeat would say is what is here.
            let said = outbox.said().unconfirmed_topics;
            assert_eq!(said, ["cell"]);
        }
    }

    fn label() -> Label {
        Label::new(Topic::Cell, Metrics::default())
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<u8>().prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
        let inner = leaf.prop_recursive(3, 24, 4, |inner| {
            prop::collection::hash_map("[a-d]", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect()))
        });
        prop::collection::hash_map("[a-d]", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect()))
    }

    proptest! {
        /// However slowly a client reads, and whenever it comes back: the deltas that it gets lead to what is shown.
        #[test]
        fn conflated_deltas_lead_to_what_is(
            first in document(), steps in prop::collection::vec((document(), 0..4u8), 0..30),
        ) {
            let (label, pulse) = (label(), Arc::new(Pulse::default()));
            let mut sheet = Sheet::new(9, first, UnixMillis(0), BOUNDS);
            let ids = [hub::FollowerId(0), hub::FollowerId(1)];
            let mut outboxes = [(); 2].map(|()| Arc::new(Outbox::new(1 << 20, &Metrics::default())));
            let mut clients = [Client::default(), Client::default()];
            for n in 0..2 {
                sheet.add(&label, &pulse, (ids[n], outboxes[n].clone()), None);
            }
            let mut now = sheet.state().clone();
            for (next, what) in steps {
                sheet.turn(&label, &next, UnixMillis(1));
                now = next;
                match what {
                    0 => clients[0].read(&outboxes[0]),
                    1 => sheet.catch_up(&label),
                    2 => {
                        // The connection breaks, what was queued is lost, and the client comes back from where it was.
                        outboxes[0] = Arc::new(Outbox::new(1 << 20, &Metrics::default()));
                        sheet.add(&label, &pulse, (ids[0], outboxes[0].clone()), clients[0].at);
                    }
                    _ => {}
                }
            }
            for n in 0..2 {
                clients[n].read(&outboxes[n]);
                sheet.catch_up(&label);
                clients[n].read(&outboxes[n]);
                prop_assert_eq!(&clients[n].state, &now);
                prop_assert_eq!(clients[n].at, Some(Resume { epoch: 9, version: sheet.version }));
            }
            // The one that never read got what fits into its outbox, and one delta for the rest.
            prop_assert!(clients[1].deltas <= BOUNDS.queue_max + 1);
        }
    }

    #[test]
    fn who_comes_back_gets_what_it_missed_or_everything() {
        let (label, pulse) = (label(), Arc::new(Pulse::default()));
        let mut sheet = Sheet::new(9, json!({"n": 0}), UnixMillis(0), BOUNDS);
        let id = hub::FollowerId(0);
        for (resume, expected, deltas) in [
            (Some(Resume { epoch: 9, version: 11 }), Recovery::Resumed, 0),
            (Some(Resume { epoch: 9, version: 8 }), Recovery::Resumed, 3),
            (Some(Resume { epoch: 9, version: 2 }), Recovery::Reset, 0),
            (Some(Resume { epoch: 9, version: 12 }), Recovery::Reset, 0),
            (Some(Resume { epoch: 8, version: 11 }), Recovery::Reset, 0),
            (None, Recovery::Fresh, 0),
        ] {
            while sheet.version < 11 {
                sheet.turn(&label, &json!({"n": sheet.version}), UnixMillis(0));
            }
            let outbox = Arc::new(Outbox::new(1 << 20, &Metrics::default()));
            let mut client = Client { at: resume, state: json!({"n": 7}), ..Client::default() };
            sheet.add(&label, &pulse, (id, outbox.clone()), resume);
            client.read(&outbox);
            assert_eq!((client.recoveries[0], client.deltas), (expected, deltas), "{resume:?}");
        }
    }
}
