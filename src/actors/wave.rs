//! A wave: shares of a batch that went out to orders together, and the place where their answers come in. A share that
//! is dropped unanswered, by a panic or a stop, answers for itself, so a wave always ends.

use super::order::ShareOutcome;
use crate::domain::{OrderInput, Rules, UnixMillis};
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Notify;

/// Place of an order's input in its batch: the entry, and which of the entry's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub entry: u32,
    pub nth: u32,
}

/// One input of a share, with everything it is applied by.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub place: Place,
    pub seq: u64,
    pub log_time: UnixMillis,
    pub at: UnixMillis,
    pub rules: Arc<Rules>,
    pub input: OrderInput,
}

/// How a share ended.
#[derive(Debug)]
pub(super) enum ShareEnd {
    Applied(Box<ShareOutcome>),
    /// The item with this index made the actor fail; without one, it failed before the first.
    Failed {
        index: Option<usize>,
    },
    /// The order's state could not be read.
    Unreadable(String),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Wave {
    out: AtomicUsize,
    ends: Mutex<Vec<(usize, ShareEnd)>>,
    all_in: Notify,
}

impl Wave {
    /// A wave of `shares` shares.
    pub(super) fn new(shares: usize) -> Arc<Self> {
        Arc::new(Self {
            out: AtomicUsize::new(shares),
            ends: Mutex::new(Vec::with_capacity(shares)),
            all_in: Notify::new(),
        })
    }

    /// Waits until every share has ended; gives how, by the share's number.
    pub(super) async fn ended(&self) -> Vec<(usize, ShareEnd)> {
        loop {
            let notified = self.all_in.notified();
            if self.out.load(Ordering::Acquire) == 0 {
                return std::mem::take(&mut *self.ends.lock());
            }
            notified.await;
        }
    }

    fn end(&self, share: usize, end: ShareEnd) {
        self.ends.lock().push((share, end));
        if self.out.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all_in.notify_one();
        }
    }
}

/// An order's inputs in a wave.
#[derive(Debug)]
pub(super) struct Share {
    pub items: Arc<Vec<Item>>,
    /// Items that failed twice before.
    pub set_aside: Arc<Vec<usize>>,
    pub report: Report,
}

/// The share's answer to come. Dropped unanswered, it reports the item that was being applied.
#[derive(Debug)]
pub(super) struct Report {
    wave: Arc<Wave>,
    share: usize,
    /// The item that is being applied; none before the first.
    pub index: Option<usize>,
    answered: bool,
}

impl Report {
    pub(super) fn new(wave: Arc<Wave>, share: usize) -> Self {
        Self { wave, share, index: None, answered: false }
    }

    pub(super) fn send(mut self, end: ShareEnd) {
        self.answered = true;
        self.wave.end(self.share, end);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.answered {
            self.wave.end(self.share, ShareEnd::Failed { index: self.index });
        }
    }
}
