//! What waits for one connection: bounded in frames and bytes, filled by hub shards, emptied by the connection's task.
//!
//! A frame here is a reference to bytes that all subscribers of a view share. When the bound is reached the outbox shuts
//! and forgets: the client comes back and resumes, which is cheaper for everybody than a queue that only grows.

use crate::{
    domain::UnixMillis,
    wire::{client::Close, topic::Topic},
};
use axum::extract::ws::Utf8Bytes;
use parking_lot::Mutex;
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

/// An encoded frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub text: Utf8Bytes,
    /// When the log took the message behind it, for the latency figure.
    pub log_time: Option<UnixMillis>,
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

#[derive(Debug, Default)]
struct Inner {
    frames: VecDeque<Frame>,
    bytes: usize,
    shut: Option<Close>,
    /// Followed topics: the version that the frames queued so far lead to.
    followed: BTreeMap<Topic, (u64, Arc<Pulse>)>,
    /// Topics that the hub ended by itself, with the generation that it ended.
    ended: Vec<(Topic, u64)>,
}

impl Inner {
    fn said(&self) -> Beat {
        let mut beat = Beat::default();
        for (topic, (version, pulse)) in &self.followed {
            let (versions, unconfirmed, name) = match topic {
                Topic::Order(order) => (&mut beat.orders, &mut beat.unconfirmed, order.as_str().to_owned()),
                Topic::Rider(_) | Topic::Warehouse(_) | Topic::Cell | Topic::Alerts => {
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
    shut: Notify,
    /// `Inner::shut` for those who ask often.
    gone: AtomicBool,
    max_frames: usize,
    max_bytes: usize,
}

/// Frames to write, and topics that the hub ended, each with the subscription's number.
pub type Taken = (VecDeque<Frame>, Vec<(Topic, u64)>);

impl Outbox {
    /// Takes at most `max_frames` frames of `max_bytes` bytes together.
    pub fn new(max_frames: usize, max_bytes: usize) -> Self {
        let (wake, shut) = (Notify::new(), Notify::new());
        Self { inner: Mutex::default(), wake, shut, gone: AtomicBool::new(false), max_frames, max_bytes }
    }

    /// Queues a frame of the connection itself.
    pub fn push(&self, frame: Frame) -> Result<(), Shut> {
        self.put(&mut self.inner.lock(), frame)
    }

    /// Queues a frame about `topic` that leads to `version`.
    pub fn push_version(&self, topic: &Topic, version: u64, frame: Frame) -> Result<(), Shut> {
        let mut inner = self.inner.lock();
        self.put(&mut inner, frame)?;
        if let Some(followed) = inner.followed.get_mut(topic) {
            followed.0 = version;
        }
        Ok(())
    }

    /// `topic` is followed from now on; what is queued for it next leads on from `version`.
    pub(crate) fn begin(&self, topic: &Topic, version: u64, pulse: Arc<Pulse>) {
        self.inner.lock().followed.insert(topic.clone(), (version, pulse));
    }

    /// `topic` is not followed any more, because the client said so.
    pub(crate) fn end(&self, topic: &Topic) {
        self.inner.lock().followed.remove(topic);
    }

    /// This generation of `topic` is not followed any more, and the connection doesn't know it yet.
    pub(crate) fn refuse(&self, topic: &Topic, generation: u64, frame: Frame) -> Result<(), Shut> {
        let mut inner = self.inner.lock();
        inner.followed.remove(topic);
        inner.ended.push((topic.clone(), generation));
        self.put(&mut inner, frame)
    }

    /// Queues a heartbeat, made under the same lock as deltas are queued: what it says is true at its place in the queue.
    pub fn beat(&self, encode: impl FnOnce(Beat) -> Frame) -> Result<(), Shut> {
        let mut inner = self.inner.lock();
        let frame = encode(inner.said());
        self.put(&mut inner, frame)
    }

    /// What a heartbeat would say now.
    pub(crate) fn said(&self) -> Beat {
        self.inner.lock().said()
    }

    /// How many frames wait.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.lock().frames.len()
    }

    /// Everything queued, oldest first, and topics that the hub ended; or why the outbox is shut.
    pub fn take(&self) -> Result<Taken, Close> {
        let mut inner = self.inner.lock();
        if let Some(close) = inner.shut {
            return Err(close);
        }
        inner.bytes = 0;
        Ok((std::mem::take(&mut inner.frames), std::mem::take(&mut inner.ended)))
    }

    /// Resolves when there may be something to take. One waiter.
    pub async fn ready(&self) {
        self.wake.notified().await;
    }

    /// Whether it is shut: its connection is gone or going.
    pub fn is_shut(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Resolves when the outbox is shut: a write under way is given up.
    pub async fn shut(&self) {
        self.shut.notified().await;
    }

    /// Shuts it: frames that wait are dropped.
    pub fn close(&self, reason: Close) {
        self.close_locked(&mut self.inner.lock(), reason);
    }

    fn close_locked(&self, inner: &mut Inner, reason: Close) {
        if inner.shut.is_none() {
            inner.shut = Some(reason);
            self.gone.store(true, Ordering::Relaxed);
            inner.frames = VecDeque::new();
            inner.followed = BTreeMap::new();
            self.shut.notify_one();
            self.wake.notify_one();
        }
    }

    fn put(&self, inner: &mut Inner, frame: Frame) -> Result<(), Shut> {
        if inner.shut.is_some() {
            return Err(Shut);
        }
        inner.bytes += frame.text.len();
        // A frame that is larger than the bound by itself still goes alone: a long route must reach its client.
        if !inner.frames.is_empty() && (inner.frames.len() >= self.max_frames || inner.bytes > self.max_bytes) {
            self.close_locked(inner, Close::SlowConsumer);
            return Err(Shut);
        }
        inner.frames.push_back(frame);
        self.wake.notify_one();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Frame {
        Frame { text: text.into(), log_time: None }
    }

    #[test]
    fn the_bound_shuts_it_for_good() {
        let outbox = Outbox::new(2, 100);
        assert_eq!(
            (outbox.push(frame("a")), outbox.push(frame("b")), outbox.push(frame("c"))),
            (Ok(()), Ok(()), Err(Shut))
        );
        assert_eq!(outbox.take().unwrap_err(), Close::SlowConsumer);
        assert_eq!(outbox.push(frame("d")), Err(Shut));
        let outbox = Outbox::new(10, 4);
        assert!(outbox.push(frame("a long one alone")).is_ok());
        assert_eq!(outbox.push(frame("b")), Err(Shut));
    }

    #[test]
    fn a_heartbeat_says_what_was_queued_before_it() {
        let (outbox, pulse) = (Outbox::new(10, 1_000), Arc::new(Pulse::default()));
        let [order, rider] = ["order/o1", "rider/r1"].map(|text| text.parse::<Topic>().unwrap());
        outbox.begin(&order, 3, pulse.clone());
        outbox.begin(&rider, 7, pulse.clone());
        let said = |outbox: &Outbox| {
            let mut said = None;
            outbox
                .beat(|b| {
                    said = Some(b);
                    frame("h")
                })
                .unwrap();
            said.unwrap()
        };
        let silent = said(&outbox);
        assert_eq!(
            (&silent.unconfirmed[..], &silent.unconfirmed_topics[..]),
            (&["o1".into()][..], &["rider/r1".into()][..])
        );
        pulse.set(true);
        outbox.push_version(&order, 5, frame("d")).unwrap();
        assert_eq!((said(&outbox).orders["o1"], said(&outbox).topics["rider/r1"]), (5, 7));
        outbox.end(&order);
        outbox.end(&rider);
        assert_eq!(said(&outbox), Beat::default());
    }
}
