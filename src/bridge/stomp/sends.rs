//! What a client sent to be done: one after another, and what a transaction holds until it is committed.
//!
//! Commands of a connection take effect in the order in which they were sent, so one waits for the outcome of the one before.
//! A transaction is no more than that: its frames are held back, then done in their order; the first that is refused ends it,
//! and what was done before it stays. Orders are independent of each other, and none of them can be taken back.

use crate::bridge::commands::Ask;
use std::collections::{BTreeMap, VecDeque};

/// Commands of one connection that wait, and what they may weigh together, held ones included.
pub(super) const WAITING_MAX: usize = 256;
pub(super) const WEIGHT_MAX: usize = 256 << 10;

/// Open transactions of one connection.
pub(super) const TRANSACTIONS_MAX: usize = 16;

/// Something to be done when all before it is done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Job {
    Send {
        ask: Ask,
        destination: String,
        receipt: Option<String>,
    },
    Acknowledge {
        message: u64,
        subscription: Option<String>,
        receipt: Option<String>,
    },
    /// All of a transaction is done.
    Committed {
        receipt: Option<String>,
    },
    /// The client goes.
    Disconnect {
        receipt: Option<String>,
    },
}

impl Job {
    fn weight(&self) -> usize {
        match self {
            Self::Send { ask, .. } => ask.weight(),
            Self::Acknowledge { .. } | Self::Committed { .. } | Self::Disconnect { .. } => 256,
        }
    }
}

/// A job in the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) job: Job,
    /// The transaction that it was part of.
    pub(super) transaction: Option<String>,
    /// Tells the transaction from others, also from one that had its name before.
    serial: u64,
}

/// Why nothing more is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("too much waits: at most {WAITING_MAX} frames of {WEIGHT_MAX} bytes together")]
    Waiting,
    #[error("at most {TRANSACTIONS_MAX} transactions are open at once")]
    Transactions,
    #[error("there is no transaction of this name")]
    Unknown,
    #[error("there is a transaction of this name")]
    Begun,
}

#[derive(Debug, Default)]
struct Transaction {
    serial: u64,
    held: Vec<Job>,
}

/// One per connection.
#[derive(Debug, Default)]
pub(super) struct Sends {
    queue: VecDeque<Queued>,
    transactions: BTreeMap<String, Transaction>,
    count: usize,
    weight: usize,
    serials: u64,
}

impl Sends {
    /// Takes a job, or holds it back in a transaction.
    pub(super) fn push(&mut self, job: Job, transaction: Option<&str>) -> Result<(), Full> {
        let weight = self.weight + job.weight();
        if self.count >= WAITING_MAX || weight > WEIGHT_MAX {
            return Err(Full::Waiting);
        }
        match transaction {
            Some(name) => self.transactions.get_mut(name).ok_or(Full::Unknown)?.held.push(job),
            None => self.queue.push_back(Queued { job, transaction: None, serial: 0 }),
        }
        self.count += 1;
        self.weight = weight;
        Ok(())
    }

    /// Opens a transaction.
    pub(super) fn begin(&mut self, name: &str) -> Result<(), Full> {
        if self.transactions.contains_key(name) {
            return Err(Full::Begun);
        }
        if self.transactions.len() >= TRANSACTIONS_MAX {
            return Err(Full::Transactions);
        }
        self.serials += 1;
        self.transactions.insert(name.to_owned(), Transaction { serial: self.serials, held: Vec::new() });
        Ok(())
    }

    /// Queues what a transaction held, and its end after it.
    pub(super) fn commit(&mut self, name: &str, receipt: Option<String>) -> Result<(), Full> {
        let Transaction { serial, held } = self.transactions.remove(name).ok_or(Full::Unknown)?;
        let end = Job::Committed { receipt };
        self.count += 1;
        self.weight += end.weight();
        let jobs = held.into_iter().chain([end]);
        self.queue.extend(jobs.map(|job| Queued { job, transaction: Some(name.to_owned()), serial }));
        Ok(())
    }

    /// Drops what a transaction held.
    pub(super) fn abort(&mut self, name: &str) -> Result<(), Full> {
        let Transaction { held, .. } = self.transactions.remove(name).ok_or(Full::Unknown)?;
        held.iter().for_each(|job| self.forget(job));
        Ok(())
    }

    /// The next to be done.
    pub(super) fn next(&mut self) -> Option<Queued> {
        let next = self.queue.pop_front()?;
        self.forget(&next.job);
        if self.queue.is_empty() {
            // Idle connections are many.
            self.queue = VecDeque::new();
        }
        Some(next)
    }

    /// Drops what is left of the transaction of which this one was refused.
    pub(super) fn break_off(&mut self, refused: &Queued) {
        if refused.transaction.is_none() {
            return;
        }
        while self.queue.front().is_some_and(|next| next.transaction.is_some() && next.serial == refused.serial) {
            self.next();
        }
    }

    fn forget(&mut self, job: &Job) {
        self.count -= 1;
        self.weight -= job.weight();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(bytes: usize) -> Job {
        let ask = Ask::Tracking { key: None, payload: vec![b' '; bytes].into() };
        Job::Send { ask, destination: "/app/tracking".into(), receipt: None }
    }

    fn receipt(job: &Job) -> Option<&str> {
        match job {
            Job::Send { receipt, .. }
            | Job::Acknowledge { receipt, .. }
            | Job::Committed { receipt }
            | Job::Disconnect { receipt } => receipt.as_deref(),
        }
    }

    fn end(text: &str) -> Job {
        Job::Disconnect { receipt: Some(text.into()) }
    }

    #[test]
    fn a_transaction_waits_for_its_commit() {
        let mut sends = Sends::default();
        sends.begin("t").unwrap();
        assert_eq!(sends.begin("t"), Err(Full::Begun));
        sends.push(end("held"), Some("t")).unwrap();
        sends.push(end("now"), None).unwrap();
        assert_eq!(sends.push(end("lost"), Some("other")), Err(Full::Unknown));
        assert_eq!(receipt(&sends.next().unwrap().job), Some("now"));
        assert!(sends.next().is_none());
        sends.commit("t", Some("done".into())).unwrap();
        assert_eq!(sends.commit("t", None), Err(Full::Unknown));
        assert_eq!(receipt(&sends.next().unwrap().job), Some("held"));
        assert_eq!(receipt(&sends.next().unwrap().job), Some("done"));
        sends.begin("t").unwrap();
        sends.push(end("dropped"), Some("t")).unwrap();
        sends.abort("t").unwrap();
        assert_eq!(sends.abort("t"), Err(Full::Unknown));
        assert!(sends.next().is_none());
        assert_eq!((sends.count, sends.weight), (0, 0));
    }

    #[test]
    fn a_refusal_ends_its_transaction_and_no_other() {
        let mut sends = Sends::default();
        for name in ["a", "b"] {
            sends.begin(name).unwrap();
            sends.push(send(1), Some(name)).unwrap();
            sends.push(send(1), Some(name)).unwrap();
        }
        sends.commit("a", None).unwrap();
        sends.commit("b", None).unwrap();
        let refused = sends.next().unwrap();
        sends.break_off(&refused);
        assert_eq!(sends.next().unwrap().transaction.as_deref(), Some("b"));
        sends.push(send(1), None).unwrap();
        let alone = Queued { job: send(1), transaction: None, serial: 0 };
        sends.break_off(&alone);
        assert_eq!(sends.count, 3);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut sends = Sends::default();
        (0..WAITING_MAX).for_each(|_| sends.push(send(1), None).unwrap());
        assert_eq!(sends.push(send(1), None), Err(Full::Waiting));
        let mut sends = Sends::default();
        sends.begin("t").unwrap();
        (0..4).for_each(|_| sends.push(send(60 << 10), Some("t")).unwrap());
        assert_eq!(sends.push(send(60 << 10), None), Err(Full::Waiting));
        sends.abort("t").unwrap();
        assert_eq!(sends.push(send(60 << 10), None), Ok(()));
        (0..TRANSACTIONS_MAX).for_each(|n| sends.begin(&n.to_string()).unwrap());
        assert_eq!(sends.begin("one more"), Err(Full::Transactions));
    }
}
