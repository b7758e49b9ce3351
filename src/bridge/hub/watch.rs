//! One watched order: merges snapshots, deltas and heartbeats of its owner, and knows when it is behind.
//!
//! Sans-IO: it is told what was heard and says what to ask. The rules: a delta applies only where its `from` is the
//! version here; what is behind the owner's word (a gap, a newer epoch, a heartbeat ahead) is made good by a snapshot;
//! a lower epoch is not believed. What was heard is remembered as `goal`, so that a read that answers with something
//! older doesn't end the search.
//!
//! Personal data have no version and may be erased at any time: each new follower waits until they are read again, once
//! for all who wait. A change of them is shown as a snapshot, and nobody resumes over it.

use super::{
    Follower, FollowerId, HubOptions, Lens, Resume, Shape,
    channel::{Changes, Channel, Encoder, Listener, Merged, Reach},
};
use crate::{
    bridge::{
        gate::unknown_order,
        outbox::{Outbox, Pulse},
    },
    domain::{OrderId, Status, UnixMillis},
    metrics::Metrics,
    wire::{
        access::Right,
        client::{Recovery, ServerFrame},
        merge,
        problem::Problem,
        query::{Deltas, Snapshot},
        update::Update,
    },
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

#[derive(Debug)]
struct Held {
    to: u64,
    at: UnixMillis,
    log_time: UnixMillis,
    patch: Value,
}

/// A question to the owner's history, for all who are at that version: after a bridge's restart those are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AskBase {
    pub(super) since: u64,
}

#[derive(Debug)]
pub(super) struct Watch {
    encoder: Encoder,
    merged: Option<Merged>,
    /// The furthest (epoch, version) that an owner has named.
    goal: (u64, u64),
    /// Deltas that came too early, by (epoch, from).
    held: BTreeMap<(u64, u64), Held>,
    held_max: usize,
    ring_max: usize,
    /// When the present owner was last heard: in a read, or saying something by itself.
    heard: Option<Duration>,
    /// Until when a read confirms a final order of which the owner says nothing by itself.
    confirmed_until: Option<Duration>,
    heartbeat: Duration,
    confirm_every: Duration,
    pulse: Arc<Pulse>,
    channels: HashMap<Lens, Channel>,
    /// When personal data were read last.
    personal_at: Duration,
    /// The state has named another edit since.
    edited: bool,
    /// The version at which they changed last: who was there has what may have been erased.
    personal_changed: Option<u64>,
    /// Followers that wait for the first snapshot, or for the personal data as they are now.
    waiting: BTreeMap<FollowerId, Follower>,
    /// Followers that wait for the owner's history, by the version that they have.
    asking: BTreeMap<u64, BTreeMap<FollowerId, Follower>>,
}

impl Watch {
    pub(super) fn new(order: OrderId, options: &HubOptions, metrics: Metrics) -> Self {
        Self {
            encoder: Encoder::new(order, metrics),
            merged: None,
            goal: (0, 0),
            held: BTreeMap::new(),
            held_max: options.held_max,
            ring_max: options.ring_max,
            heard: None,
            confirmed_until: None,
            heartbeat: options.owner_heartbeat,
            confirm_every: options.confirm_every,
            pulse: Arc::default(),
            channels: HashMap::new(),
            personal_at: Duration::ZERO,
            edited: false,
            personal_changed: None,
            waiting: BTreeMap::new(),
            asking: BTreeMap::new(),
        }
    }

    /// Whether nobody follows.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.asking.is_empty() && self.channels.values().all(Channel::is_empty)
    }

    /// Whether the owner has named something that isn't here yet, or nothing is.
    pub(super) fn is_behind(&self) -> bool {
        self.merged.as_ref().is_none_or(|m| (m.epoch, m.version) < self.goal)
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.merged.is_some()
    }

    /// Whether somebody gets nothing yet.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What of the state names the edit that personal data are of: they are read by it. A later edit shows again.
    pub(super) fn ask_edit(&mut self) -> Value {
        self.edited = false;
        let edit = self.merged.as_ref().and_then(|merged| merged.state.get("personal"));
        edit.map_or(Value::Null, |edit| serde_json::json!({"personal": edit}))
    }

    /// Whether the order was edited since its personal data were read.
    pub(super) fn is_edited(&self) -> bool {
        self.edited
    }

    /// When personal data were read last.
    pub(super) fn personal_at(&self) -> Duration {
        self.personal_at
    }

    /// Takes the owner's word.
    pub(super) fn on_update(&mut self, update: Update, now: Duration) {
        let (epoch, version) = match &update {
            Update::Delta { epoch, to, .. } => (*epoch, *to),
            Update::Heartbeat { epoch, version } => (*epoch, *version),
        };
        let known = self.merged.as_ref().map_or(0, |m| m.epoch).max(self.goal.0);
        if epoch < known {
            return;
        }
        self.heard = Some(now);
        // It speaks of this order, and will be missed when it doesn't.
        self.confirmed_until = None;
        self.goal = self.goal.max((epoch, version));
        if let Update::Delta { epoch, from, to, at_ms, log_time_ms, patch } = update {
            let here = self.merged.as_ref().map(|m| (m.epoch, m.version));
            if here.is_none_or(|here| (epoch, to) > here) {
                self.held.insert((epoch, from), Held { to, at: at_ms, log_time: log_time_ms, patch });
            }
            if self.drain_held() {
                // Shown already, delta by delta.
            } else if self.held.len() > self.held_max {
                // The oldest is the likeliest to be in the snapshot that is being read.
                self.held.pop_first();
            }
        }
        self.tick(now);
    }

    /// Applies held deltas that fit now. Each is shown by itself: one change, one frame.
    fn drain_held(&mut self) -> bool {
        let Some(merged) = &mut self.merged else { return false };
        let mut applied = false;
        while let Some(held) = self.held.remove(&(merged.epoch, merged.version)) {
            let owners = owners(&merged.state);
            self.edited |= held.patch.get("personal").is_some();
            merge::patch(&mut merged.state, &held.patch);
            (merged.version, merged.at) = (held.to, held.at);
            withdraw(&self.encoder, &mut self.channels, &merged.state, &owners);
            for channel in self.channels.values_mut() {
                channel.advance(&self.encoder, merged, (Changes::One, Some(held.log_time)));
            }
            applied = true;
        }
        let here = (merged.epoch, merged.version);
        self.held.retain(|(epoch, _), held| (*epoch, held.to) > here);
        applied
    }

    /// Takes a snapshot, unless it is older than what is here, and the personal data with it. Gives questions to the
    /// owner's history.
    pub(super) fn on_snapshot(&mut self, snapshot: Snapshot, personal: Option<Value>, now: Duration) -> Vec<AskBase> {
        if self.merged.as_ref().is_none_or(|m| (snapshot.epoch, snapshot.version) >= (m.epoch, m.version)) {
            self.take_snapshot(snapshot, &personal, now);
        }
        self.on_personal(personal, now)
    }

    fn take_snapshot(&mut self, snapshot: Snapshot, personal: &Option<Value>, now: Duration) {
        let Snapshot { epoch, since_epoch, version, at_ms, state } = snapshot;
        let since_epoch = since_epoch.unwrap_or(epoch);
        if epoch >= self.goal.0 {
            self.heard = Some(now);
            self.confirmed_until = Some(now + self.confirm_every + self.silence());
            self.goal = self.goal.max((epoch, version));
        }
        // Personal data that differ are shown by themselves, without a version.
        let before = self.merged.take();
        let owners = before.as_ref().map(|m| owners(&m.state)).unwrap_or_default();
        let one = before.as_ref().is_none_or(|m| version <= m.version + 1);
        let changes = if one { Changes::One } else { Changes::Several };
        let personal = before.map_or_else(|| personal.clone(), |m| m.personal);
        let merged = self.merged.insert(Merged { epoch, since_epoch, version, at: at_ms, state, personal });
        withdraw(&self.encoder, &mut self.channels, &merged.state, &owners);
        for channel in self.channels.values_mut() {
            channel.advance(&self.encoder, merged, (changes, None));
        }
        self.drain_held();
        self.tick(now);
    }

    /// Takes the personal data as they are now, and adds those who waited for them. Gives questions to the owner's
    /// history.
    pub(super) fn on_personal(&mut self, personal: Option<Value>, now: Duration) -> Vec<AskBase> {
        let Some(merged) = &mut self.merged else { return Vec::new() };
        self.personal_at = now;
        if merged.personal != personal {
            merged.personal = personal;
            self.personal_changed = Some(merged.version);
            for channel in self.channels.values_mut() {
                channel.advance(&self.encoder, merged, (Changes::One, None));
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_values().filter_map(|follower| self.admit(follower)).collect()
    }

    /// Takes a follower, who waits for the state (if there is none yet) and for the personal data.
    pub(super) fn follow(&mut self, follower: Follower) {
        if self.waiting.contains_key(&follower.id) || self.asking.values().any(|all| all.contains_key(&follower.id)) {
            // One answer per question, so that a client can tell which it is reading: the latest brings the state.
            let (how, missed) = match follower.resume {
                Some(_) => (Recovery::Resumed, Some(0)),
                None => (Recovery::Fresh, None),
            };
            let _ = follower.outbox.push(self.encoder.subscribed(follower.lens.shape, how, missed));
        }
        self.remove(follower.id);
        // Heartbeats don't speak of a topic between question and answer.
        follower.outbox.end(&self.encoder.topic(follower.lens.shape));
        self.waiting.insert(follower.id, follower);
    }

    /// Brings a follower to where the order is; may give a question whose answer goes to [`Self::on_base`].
    fn admit(&mut self, follower: Follower) -> Option<AskBase> {
        let Some(merged) = &self.merged else {
            self.waiting.insert(follower.id, follower);
            return None;
        };
        if !follower.who.may(Right::FollowOrder, &merged.state) {
            self.encoder.refuse(&follower, &unknown_order("topic"));
            return None;
        }
        let (id, lens, resume) = (follower.id, follower.lens, follower.resume);
        let channel = self.channels.entry(lens).or_insert_with(|| Channel::new(lens, merged, self.ring_max));
        let reach = reach(channel, merged, resume, self.personal_changed);
        let add = (id, Listener::from(&follower));
        match (resume, reach) {
            (None, _) => channel.start(&self.encoder, &self.pulse, add, Recovery::Fresh),
            (Some(_), Reach::Gone) => channel.start(&self.encoder, &self.pulse, add, Recovery::Reset),
            (Some(r), Reach::Here) => channel.resume(&self.encoder, &self.pulse, add, r.version),
            (Some(r), Reach::Ask) => {
                let asked = self.asking.contains_key(&r.version);
                self.asking.entry(r.version).or_default().insert(id, follower);
                return (!asked).then_some(AskBase { since: r.version });
            }
        }
        None
    }

    /// The owner's history as it was asked for, or `None` where it has none.
    pub(super) fn on_base(&mut self, ask: AskBase, history: Option<Deltas>) {
        for follower in self.asking.remove(&ask.since).unwrap_or_default().into_values() {
            self.bring(follower, ask.since, history.as_ref());
        }
    }

    /// Brings a follower from `since` to where the order is.
    fn bring(&mut self, follower: Follower, since: u64, history: Option<&Deltas>) {
        let Some(merged) = &self.merged else { return };
        if !follower.who.may(Right::FollowOrder, &merged.state) {
            // It changed hands meanwhile: the way in says so.
            self.admit(follower);
            return;
        }
        let (id, lens, resume) = (follower.id, follower.lens, follower.resume);
        let add = (id, Listener::from(&follower));
        let channel = self.channels.entry(lens).or_insert_with(|| Channel::new(lens, merged, self.ring_max));
        match (history, reach(channel, merged, resume, self.personal_changed)) {
            (_, Reach::Here) => channel.resume(&self.encoder, &self.pulse, add, since),
            (Some(history), Reach::Ask) if history.epoch == merged.epoch => {
                channel.resume_from(&self.encoder, &self.pulse, add, (since, history), merged);
            }
            (Some(_) | None, Reach::Ask | Reach::Gone) => {
                channel.start(&self.encoder, &self.pulse, add, Recovery::Reset);
            }
        }
    }

    /// The client doesn't want it any more.
    pub(super) fn unfollow(&mut self, id: FollowerId, shape: Shape, outbox: &Outbox) {
        self.remove(id);
        let topic = self.encoder.topic(shape);
        outbox.end(&topic);
        let frame = ServerFrame::Unsubscribed { topic: topic.to_string() };
        // A shut outbox has nobody to tell.
        let _ = outbox.push(self.encoder.encode(&frame, None));
    }

    /// Takes a connection off the lists.
    pub(super) fn remove(&mut self, id: FollowerId) {
        self.waiting.remove(&id);
        self.asking.values_mut().for_each(|all| drop(all.remove(&id)));
        self.asking.retain(|_, all| !all.is_empty());
        for channel in self.channels.values_mut() {
            channel.remove(id);
        }
    }

    /// Refuses all who wait.
    pub(super) fn refuse(&mut self, problem: &Problem) {
        for follower in std::mem::take(&mut self.waiting).into_values() {
            self.encoder.refuse(&follower, problem);
        }
    }

    /// Looks at the time: whether the owner is silent.
    pub(super) fn tick(&mut self, now: Duration) {
        let heard = self.heard.is_some_and(|at| now.saturating_sub(at) <= self.silence());
        let read = self.confirmed_until.is_some_and(|until| now <= until) && self.is_final();
        self.pulse.set((heard || read) && !self.is_behind());
    }

    /// After which the owner counts as silent.
    fn silence(&self) -> Duration {
        self.heartbeat * 5 / 2
    }

    /// Whether a read has to say what the owner's heartbeats don't: two of them have left a final order out.
    pub(super) fn wants_confirmation(&self, now: Duration) -> bool {
        self.is_final() && self.heard.is_none_or(|at| now.saturating_sub(at) > self.heartbeat * 2)
    }

    fn is_final(&self) -> bool {
        let code = self.merged.as_ref().and_then(|m| m.state.get("status")?.as_u64());
        code.and_then(|code| Status::try_from(u8::try_from(code).ok()?).ok()).is_some_and(Status::is_final)
    }

    /// Takes off the lists whose outbox is shut: its connection is gone, whether it could say so or not.
    pub(super) fn sweep(&mut self) {
        self.waiting.retain(|_, follower| !follower.outbox.is_shut());
        for all in self.asking.values_mut() {
            all.retain(|_, follower| !follower.outbox.is_shut());
        }
        self.asking.retain(|_, all| !all.is_empty());
        self.channels.values_mut().for_each(Channel::sweep);
    }

    /// Drops channels that nobody has followed for `linger`: they would be projected at every change.
    pub(super) fn drop_idle_channels(&mut self, now: Duration, linger: Duration) {
        self.channels.retain(|_, channel| {
            if !channel.is_empty() {
                channel.idle_since = None;
                return true;
            }
            now.saturating_sub(*channel.idle_since.get_or_insert(now)) < linger
        });
    }
}

/// Whose the order is: the facts that rights to it hang on.
fn owners(state: &Value) -> [Option<Value>; 4] {
    ["/user_id", "/rider/id", "/warehouse/id", "/cell"].map(|pointer| state.pointer(pointer).cloned())
}

/// Looks at everybody's rights again where the order changed hands. Before the change is shown: who has lost it sees
/// nothing of what came after.
fn withdraw(encoder: &Encoder, channels: &mut HashMap<Lens, Channel>, state: &Value, before: &[Option<Value>; 4]) {
    if owners(state) == *before {
        return;
    }
    let problem = Problem::new(403, "withdrawn", "The order is another's now").with_field("topic");
    channels.values_mut().for_each(|channel| channel.withdraw(encoder, state, &problem));
}

/// How a client gets from where it was to what the channel shows now.
fn reach(channel: &Channel, merged: &Merged, resume: Option<Resume>, personal_changed: Option<u64>) -> Reach {
    match resume {
        Some(r)
            if (merged.since_epoch..=merged.epoch).contains(&r.epoch)
                && personal_changed.is_none_or(|at| r.version > at) =>
        {
            channel.reach(r.version)
        }
        Some(_) | None => Reach::Gone,
    }
}
