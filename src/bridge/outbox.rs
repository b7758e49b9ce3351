//! What waits for one connection: bounded in bytes, filled by hub shards and boards, emptied by the conversation.
//!
//! A frame here is a reference to bytes that all subscribers of a view share. While the connection's transport takes nothing,
//! each topic has one slot for volatile frames (positions and what hangs on them): a newer one takes the place of the one that
//! waits, at the cost of a look-up, and leads from where that one led from. Whatever else happens keeps its place and is
//! never dropped. When the bound is reached all the same, the outbox shuts and forgets: the client comes back and resumes,
//! which is cheaper for everybody than a queue that only grows.
//!
//! Where nothing waits, a frame needn't be queued: its bytes are ready and the same for all, so the shard writes them itself
//! ([`Lane`]), and no task is woken for it. Most frames of clients that keep up go that way, at about half the CPU.
//!
//! A heartbeat isn't queued. It is due, and is made when the last frame is taken, so that what it says is true where it stands.

#[cfg(test)]
mod tests;

use super::frame::Frame;
use crate::{
    metrics::Metrics,
    wire::{client::Close, topic::Topic},
};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;

/// Whether the owner has confirmed lately what is shown; one per watched order or board, set by its task.
#[derive(Debug, Default)]
pub struct Pulse(AtomicBool);

impl Pulse {
    /// The owner was heard, and the hub is level with it.
    pub fn confirmed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, confirmed: bool) {
        self.0.store(confirmed, Ordering::Relaxed);
    }
}

/// The versions that a heartbeat carries: confirmed, and topics whose owners are silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// By the order's id.
    pub orders: BTreeMap<String, u64>,
    pub unconfirmed: Vec<String>,
    /// By the topic's text; all but orders.
    pub topics: BTreeMap<String, u64>,
    pub unconfirmed_topics: Vec<String>,
}

/// The outbox is shut: stop sending to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closing")]
pub struct Shut;

/// What became of a frame that was to be written past the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The transport has all of it.
    Whole,
    /// It has a part; the rest is with the link, which must be woken.
    Part,
    /// Something is before it, or the transport takes nothing: nothing is written.
    Not,
}

/// A way past the conversation, of links whose frames need nothing of it: where nothing waits, who has a frame writes it, and
/// nobody has to be woken.
pub trait Lane: Send + Sync + std::fmt::Debug {
    /// Never waits.
    fn pass(&self, frame: &Frame) -> Passed;
}

/// Whose frames pass by lanes: JSON over WebSockets, said as it is.
pub(crate) const LANE: &str = "ws";

/// What a frame costs beside its bytes, so that many small ones count as well.
const FRAME_OVERHEAD: usize = 64;

/// A frame that waits.
#[derive(Clone, Debug)]
struct Queued {
    frame: Frame,
    /// Where the first of those led from that it stands for.
    since: Option<u64>,
}

impl Queued {
    fn size(&self) -> usize {
        self.frame.size() + FRAME_OVERHEAD
    }
}

/// A followed topic.
#[derive(Debug)]
struct Followed {
    topic: Topic,
    /// The version that the frames queued so far lead to.
    version: u64,
    pulse: Arc<Pulse>,
    /// The place of its last frame, if that is a volatile one.
    slot: Option<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Queued>,
    /// The place of the queue's first frame; places are never used twice.
    first: u64,
    bytes: usize,
    shut: Option<Close>,
    beat: bool,
    /// What was taken isn't with the link yet.
    taken: bool,
    lane: Option<Arc<dyn Lane>>,
    /// By topic. A sorted list: most connections follow one or a few.
    followed: Vec<Followed>,
    /// Topics that were ended by the hub or a board, with the generation that it ended.
    ended: Vec<(Topic, u64)>,
}

impl Inner {
    fn find(&self, topic: &Topic) -> Result<usize, usize> {
        self.followed.binary_search_by(|followed| followed.topic.cmp(topic))
    }

    fn forget(&mut self, topic: &Topic) {
        if let Ok(at) = self.find(topic) {
            self.followed.remove(at);
        }
    }

    fn said(&self) -> Beat {
        let mut beat = Beat::default();
        for Followed { topic, version, pulse, .. } in &self.followed {
            let (versions, unconfirmed, name) = match topic {
                Topic::Order(order) => (&mut beat.orders, &mut beat.unconfirmed, order.as_str().to_owned()),
                Topic::Whole(_) | Topic::Rider(_) | Topic::Warehouse(_) | Topic::Cell | Topic::Alerts => {
                    (&mut beat.topics, &mut beat.unconfirmed_topics, topic.to_string())
                }
            };
            if pulse.confirmed() {
                versions.insert(name, *version);
            } else {
                unconfirmed.push(name);
            }
        }
        beat
    }
}

/// One per connection.
#[derive(Debug)]
pub struct Outbox {
    inner: Mutex<Inner>,
    wake: Notify,
    /// `Inner::shut` for those who ask often.
    gone: AtomicBool,
    /// The transport takes nothing.
    blocked: AtomicBool,
    max_bytes: usize,
    conflated: Counter,
}

/// What is taken at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// Oldest first.
    pub frames: Vec<Frame>,
    /// Topics that the hub or a board ended, each with the subscription's number.
    pub ended: Vec<(Topic, u64)>,
    /// A heartbeat that is due after the frames.
    pub beat: Option<Beat>,
}

impl Outbox {
    /// Holds at most `max_bytes` bytes, and one frame that is larger than that.
    pub fn new(max_bytes: usize, metrics: &Metrics) -> Self {
        Self {
            inner: Mutex::default(),
            wake: Notify::new(),
            gone: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            max_bytes,
            conflated: metrics.frames_conflated.clone(),
        }
    }

    /// Queues a frame of the connection itself.
    pub fn push(&self, frame: Frame) -> Result<(), Shut> {
        self.put(&mut self.inner.lock(), frame)
    }

    /// Queues a frame about `topic` that leads to `version`.
    pub fn push_version(&self, topic: &Topic, version: u64, frame: Frame) -> Result<(), Shut> {
        self.put_version(&mut self.inner.lock(), topic, version, frame)
    }

    fn put_version(&self, inner: &mut Inner, topic: &Topic, version: u64, frame: Frame) -> Result<(), Shut> {
        let Ok(at) = inner.find(topic) else { return self.put(inner, frame) };
        if self.is_blocked()
            && frame.is_volatile()
            && let Some(waits) = inner.followed[at].slot.and_then(|slot| slot.checked_sub(inner.first))
            && let Some(queued) = usize::try_from(waits).ok().and_then(|waits| inner.queue.get_mut(waits))
        {
            let before = queued.size();
            let since = queued.since.or(queued.frame.from());
            *queued = Queued { frame, since };
            let after = queued.size();
            inner.bytes = inner.bytes + after - before;
            inner.followed[at].version = version;
            self.conflated.inc();
            return self.bound(inner);
        }
        let slot = frame.is_volatile().then_some(inner.first + inner.queue.len() as u64);
        (inner.followed[at].version, inner.followed[at].slot) = (version, slot);
        self.put(inner, frame)
    }

    /// The same, written at once where nothing waits before it. Whether it was: who has one frame for many counts them together.
    pub fn pass_version(&self, topic: &Topic, version: u64, frame: &Frame) -> Result<bool, Shut> {
        let mut inner = self.inner.lock();
        let free = inner.queue.is_empty() && !inner.taken && !self.is_blocked();
        if free
            && let Some(lane) = &inner.lane
            && let Ok(at) = inner.find(topic)
            && let passed @ (Passed::Whole | Passed::Part) = lane.pass(frame)
        {
            (inner.followed[at].version, inner.followed[at].slot) = (version, None);
            if passed == Passed::Part {
                self.set_blocked(true);
                self.wake.notify_one();
            }
            return Ok(true);
        }
        self.put_version(&mut inner, topic, version, frame.clone()).map(|()| false)
    }

    /// From now on frames may pass by [`Self::pass_version`]. Who takes frames from here says when they are
    /// [`Self::handed_over`].
    pub(crate) fn open_lane(&self, lane: Arc<dyn Lane>) {
        let mut inner = self.inner.lock();
        if inner.shut.is_none() {
            inner.lane = Some(lane);
        }
    }

    /// What was taken is with the link: what comes next doesn't overtake it.
    pub(crate) fn handed_over(&self) {
        self.inner.lock().taken = false;
    }

    /// `topic` is followed from now on, and begins with these frames, which lead to `version`. At once, or a heartbeat that is
    /// taken in between would name a version that isn't there yet.
    pub(crate) fn begin_with(
        &self,
        topic: &Topic,
        version: u64,
        pulse: Arc<Pulse>,
        subscribed: Frame,
        frames: impl IntoIterator<Item = Frame>,
    ) -> Result<(), Shut> {
        let mut inner = self.inner.lock();
        let followed = Followed { topic: topic.clone(), version, pulse, slot: None };
        match inner.find(topic) {
            Ok(at) => inner.followed[at] = followed,
            Err(at) => inner.followed.insert(at, followed),
        }
        self.put(&mut inner, subscribed)?;
        frames.into_iter().try_for_each(|frame| self.put_version(&mut inner, topic, version, frame))
    }

    /// `topic` is not followed any more, because the client said so.
    pub(crate) fn end(&self, topic: &Topic) {
        self.inner.lock().forget(topic);
    }

    /// This generation of `topic` is not followed any more, and the connection doesn't know it yet.
    pub(crate) fn refuse(&self, topic: &Topic, generation: u64, frame: Frame) -> Result<(), Shut> {
        let mut inner = self.inner.lock();
        inner.forget(topic);
        inner.ended.push((topic.clone(), generation));
        self.put(&mut inner, frame)
    }

    /// A heartbeat is due.
    pub fn beat(&self) {
        self.inner.lock().beat = true;
        self.wake.notify_one();
    }

    /// What a heartbeat would say now.
    pub(crate) fn said(&self) -> Beat {
        self.inner.lock().said()
    }

    /// How many frames wait.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.lock().queue.len()
    }

    /// Frames of about `max_bytes`, oldest first, and topics that were ended; or why the outbox is shut.
    pub fn take(&self, max_bytes: usize) -> Result<Batch, Close> {
        let mut inner = self.inner.lock();
        if let Some(close) = inner.shut {
            return Err(close);
        }
        inner.taken = true;
        let mut batch = Batch { ended: std::mem::take(&mut inner.ended), ..Batch::default() };
        let mut left = max_bytes;
        while left > 0
            && let Some(queued) = inner.queue.pop_front()
        {
            inner.first += 1;
            inner.bytes -= queued.size();
            left = left.saturating_sub(queued.size());
            batch.frames.push(queued.since.map_or_else(|| queued.frame.clone(), |since| queued.frame.since(since)));
        }
        if !inner.queue.is_empty() {
            self.wake.notify_one();
            return Ok(batch);
        }
        // Idle connections are many: what a burst needed is given back.
        inner.queue = VecDeque::new();
        batch.beat = std::mem::take(&mut inner.beat).then(|| inner.said());
        Ok(batch)
    }

    /// Resolves when there may be something to take. One waiter.
    pub async fn ready(&self) {
        self.wake.notified().await;
    }

    /// Says whether the transport takes nothing.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    /// Whether volatile frames are replaced by newer ones.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Whether it is shut: its connection is gone or going.
    pub fn is_shut(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Shuts it: frames that wait are dropped.
    pub fn close(&self, reason: Close) {
        self.close_locked(&mut self.inner.lock(), reason);
    }

    fn close_locked(&self, inner: &mut Inner, reason: Close) {
        if inner.shut.is_none() {
            inner.shut = Some(reason);
            self.gone.store(true, Ordering::Relaxed);
            inner.queue = VecDeque::new();
            inner.followed = Vec::new();
            // It holds the socket.
            inner.lane = None;
            self.wake.notify_one();
        }
    }

    fn put(&self, inner: &mut Inner, frame: Frame) -> Result<(), Shut> {
        if inner.shut.is_some() {
            return Err(Shut);
        }
        let queued = Queued { frame, since: None };
        inner.bytes += queued.size();
        inner.queue.push_back(queued);
        self.wake.notify_one();
        self.bound(inner)
    }

    /// A frame that is larger than the bound by itself still goes alone: a long route must reach its client.
    fn bound(&self, inner: &mut Inner) -> Result<(), Shut> {
        if inner.bytes > self.max_bytes && inner.queue.len() > 1 {
            self.close_locked(inner, Close::SlowConsumer);
            return Err(Shut);
        }
        Ok(())
    }
}
