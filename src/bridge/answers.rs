//! Commands that wait for their outcomes: published to the log, answered by whichever node owns the cell.
//!
//! One inbox subscription per bridge; each waiting command has a token below it. The map is bounded. An outcome that
//! nobody waits for any more is dropped: the publisher repeats the command under its key and hears it again.
//!
//! When the bridge ends, those who wait get a last moment for their outcomes: the owner may live on elsewhere. If it ends
//! too, they are told so at once instead of being held for the rest of their time.

use super::{
    health::{Health, NotReady},
    publish::{LogError, LogWriter, Message},
};
use crate::wire::{answer::Outcome, problem::Problem, subject::LogSubject};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Why there is no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Nothing was published.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    #[error("{0} commands wait already")]
    Busy(usize),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("no outcome within {0:?}")]
    Unknown(Duration),
    #[error("the bridge ended before the outcome came")]
    Ended,
}

impl From<AnswerError> for Problem {
    fn from(error: AnswerError) -> Self {
        let detail = error.to_string();
        match error {
            AnswerError::NotReady(error) => error.into(),
            AnswerError::Busy(_) => {
                Self::new(503, "busy", "Too many commands wait for their outcomes").with_detail(detail)
            }
            AnswerError::Log(LogError::Full) => {
                Self::new(503, "log_full", "The cell's log is full").with_detail(detail)
            }
            AnswerError::Log(LogError::Refused(_)) => {
                Self::new(503, "unavailable", "The cell takes no commands").with_detail(detail)
            }
            AnswerError::Log(LogError::Unknown(_)) | AnswerError::Unknown(_) | AnswerError::Ended => {
                Self::new(504, "outcome_unknown", "The outcome is unknown")
                    .with_detail(format!("{detail}; send it again with the same Idempotency-Key to learn the outcome"))
            }
        }
    }
}

/// A command as a route gives it.
#[derive(Clone, Debug)]
pub struct Command {
    pub subject: LogSubject,
    pub payload: Bytes,
    pub idempotency_key: Option<String>,
    pub publisher: String,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Outcome>>>>;

/// One per bridge.
#[derive(Debug)]
pub struct PendingCommands {
    log: Arc<dyn LogWriter>,
    health: Arc<Health>,
    waiting: Waiting,
    max: usize,
    timeout: Duration,
    next: AtomicU64,
    /// The inbox's prefix, once it is subscribed.
    prefix: watch::Receiver<Option<String>>,
}

/// Takes a command off the map when its request ends, however it ends.
struct Pending<'a>(&'a Waiting, u64);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

impl PendingCommands {
    /// Starts the inbox's task.
    pub fn start(
        log: Arc<dyn LogWriter>,
        health: Arc<Health>,
        (max, timeout): (usize, Duration),
        tracker: &TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let waiting = Waiting::default();
        let (said, prefix) = watch::channel(None);
        tracker.spawn(hear(log.clone(), waiting.clone(), said, cancel));
        Self { log, health, waiting, max, timeout, next: AtomicU64::new(0), prefix }
    }

    /// Whether the log's connection is up.
    pub fn is_connected(&self) -> bool {
        self.log.is_connected()
    }

    /// Publishes and waits for the outcome. A cell that doesn't serve is told nothing.
    pub async fn submit(&self, command: Command) -> Result<Outcome, AnswerError> {
        self.health.check()?;
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= self.max {
                return Err(AnswerError::Busy(waiting.len()));
            }
            waiting.insert(token, answer);
        }
        let _pending = Pending(&self.waiting, token);
        tokio::time::timeout(self.timeout, self.exchange(command, token, answered))
            .await
            .map_err(|_| AnswerError::Unknown(self.timeout))?
    }

    async fn exchange(
        &self,
        command: Command,
        token: u64,
        mut answered: oneshot::Receiver<Outcome>,
    ) -> Result<Outcome, AnswerError> {
        let mut prefix = self.prefix.clone();
        let gone = || AnswerError::Log(LogError::Refused("the bridge ends".into()));
        let reply = match prefix.wait_for(Option::is_some).await.map_err(|_| gone())?.as_deref() {
            Some(prefix) => format!("{prefix}.{token}"),
            None => return Err(gone()),
        };
        if prefix.has_changed().is_err() {
            return Err(gone());
        }
        let Command { subject, payload, idempotency_key, publisher } = command;
        let publish = self.log.publish(Message { subject, payload, idempotency_key, publisher, reply });
        let ended = |_| AnswerError::Unknown(self.timeout);
        let outcome = async {
            tokio::select! {
                biased;
                // An outcome says more than an acknowledgement, and may overtake it.
                outcome = &mut answered => return outcome.map_err(ended),
                stored = publish => stored?,
            }
            answered.await.map_err(ended)
        };
        let unheard = async { while prefix.changed().await.is_ok() {} };
        tokio::select! {
            biased;
            outcome = outcome => outcome,
            () = unheard => Err(AnswerError::Ended),
        }
    }
}

/// How long outcomes are listened for after the cancellation. They take milliseconds; a stopped owner gives none.
const LAST_OUTCOMES: Duration = Duration::from_secs(1);

/// Resolves after the cancellation, as soon as nobody waits any more.
async fn finished(cancel: &CancellationToken, waiting: &Waiting) {
    cancel.cancelled().await;
    let nobody_waits = async {
        while !waiting.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // Who waits longer is told that the outcome is unknown.
    let _ = tokio::time::timeout(LAST_OUTCOMES, nobody_waits).await;
}

/// Subscribes the inbox (again, if that fails) and hands outcomes over.
async fn hear(
    log: Arc<dyn LogWriter>,
    waiting: Waiting,
    said: watch::Sender<Option<String>>,
    cancel: CancellationToken,
) {
    loop {
        let listen = async {
            match log.inbox().await {
                Ok((prefix, mut answers)) => {
                    said.send_replace(Some(prefix));
                    while let Some((token, payload)) = answers.next().await {
                        hand_over(&waiting, &token, &payload);
                    }
                }
                Err(error) => tracing::warn!(%error, "the bridge's inbox can't be subscribed"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        tokio::select! {
            () = finished(&cancel, &waiting) => return,
            () = listen => {}
        }
    }
}

fn hand_over(waiting: &Waiting, token: &str, payload: &[u8]) {
    let outcome = match serde_json::from_slice::<Outcome>(payload) {
        Ok(outcome) => outcome,
        Err(error) => return tracing::warn!(%error, "an outcome that can't be read"),
    };
    let found = token.parse().ok().and_then(|token: u64| waiting.lock().remove(&token));
    if let Some(answer) = found {
        // The request may have ended just now.
        let _ = answer.send(outcome);
    }
}
