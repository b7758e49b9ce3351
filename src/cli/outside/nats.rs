//! Publishing into the cell's log as riders' phones and warehouse systems do: every message waits for its PubAck, and one
//! that wants an answer names a reply subject and is published again while none comes. That is safe for whatever has an
//! identity (fixes, stages, keyed commands), and it is what makes these programs outlive restarts of the server.

use super::{OutsideError, backoff};
use crate::{
    clock::Stopwatch,
    wire::{answer::Outcome, header, subject::LogSubject},
};
use async_nats::{HeaderMap, jetstream};
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
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A reply that doesn't come for so long makes its message be published again.
const REPLY_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for a PubAck.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Outcome>>>>;

/// A publisher with one inbox for all its answers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Nats {
    client: async_nats::Client,
    context: jetstream::Context,
    inbox: Arc<str>,
    waiting: Waiting,
    next: Arc<AtomicU64>,
    patience: Duration,
}

/// An outcome, and how often its message was published before it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub outcome: Outcome,
    pub sends: u32,
}

impl Nats {
    /// Connects and listens for answers until `stop`. `patience` bounds the connecting and every message.
    pub async fn connect(
        url: &str,
        patience: Duration,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, OutsideError> {
        let since = Stopwatch::start();
        let mut tries = 0;
        let client = loop {
            match async_nats::ConnectOptions::new().name("trunkline outside").connect(url).await {
                Ok(client) => break client,
                Err(_) if since.elapsed() < patience => tries += 1,
                Err(error) => return Err(no_answer(format!("connect {url}"), tries + 1, &error)),
            }
            tokio::time::sleep(backoff(tries)).await;
        };
        let mut context = jetstream::new(client.clone());
        context.set_timeout(ACK_TIMEOUT);
        let inbox = client.new_inbox();
        let mut answers =
            client.subscribe(format!("{inbox}.*")).await.map_err(|e| no_answer("subscribe inbox".into(), 1, &e))?;
        let waiting = Waiting::default();
        let table = waiting.clone();
        tasks.spawn(async move {
            loop {
                let message = tokio::select! {
                    () = stop.cancelled() => return,
                    message = answers.next() => message,
                };
                let Some(message) = message else { return };
                deliver(&table, message.subject.as_str(), &message.payload);
            }
        });
        Ok(Self { client, context, inbox: inbox.into(), waiting, next: Arc::default(), patience })
    }

    /// JetStream, for reading streams.
    pub fn context(&self) -> &jetstream::Context {
        &self.context
    }

    /// Publishes until a PubAck is in; gives the message's place in the log.
    pub async fn publish(
        &self,
        subject: &LogSubject,
        headers: &[(&str, &str)],
        payload: Bytes,
    ) -> Result<u64, OutsideError> {
        let since = Stopwatch::start();
        let mut tries = 0;
        loop {
            let last = match self.publish_once(subject, headers, payload.clone()).await {
                Ok(place) => return Ok(place),
                Err(error) => error,
            };
            tries += 1;
            if since.elapsed() >= self.patience {
                return Err(OutsideError::NoAnswer { request: format!("publish {subject}"), tries, last });
            }
            tokio::time::sleep(backoff(tries)).await;
        }
    }

    /// Publishes and waits for the outcome, publishing again while there is none. The answer to any of the publications
    /// counts, whichever comes first.
    pub async fn ask(
        &self,
        subject: &LogSubject,
        headers: &[(&str, &str)],
        payload: Bytes,
    ) -> Result<Answered, OutsideError> {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, mut answer) = oneshot::channel();
        self.waiting.lock().insert(token, tell);
        // Takes the entry out again whichever way this future ends, also when it is dropped.
        let _entry = Entry { waiting: &self.waiting, token };
        let reply = format!("{}.{token}", self.inbox);
        let headers: Vec<_> = headers.iter().copied().chain([(header::REPLY, reply.as_str())]).collect();
        let since = Stopwatch::start();
        let mut sends = 0;
        loop {
            // Whoever waits already for an earlier publication's answer doesn't stop doing so.
            tokio::select! {
                published = self.publish(subject, &headers, payload.clone()) => { published?; }
                Ok(outcome) = &mut answer, if sends > 0 => return Ok(Answered { outcome, sends }),
            }
            sends += 1;
            match tokio::time::timeout(REPLY_TIMEOUT, &mut answer).await {
                Ok(Ok(outcome)) => return Ok(Answered { outcome, sends }),
                Ok(Err(_)) => {
                    let reason = "the outcome is none of the contract's".to_owned();
                    return Err(OutsideError::Unreadable { request: format!("publish {subject}"), reason });
                }
                Err(_) if since.elapsed() < self.patience => {}
                Err(_) => {
                    let last = "stored, but no outcome came".to_owned();
                    return Err(OutsideError::NoAnswer { request: format!("publish {subject}"), tries: sends, last });
                }
            }
        }
    }

    /// Waits until everything written is with the server.
    pub async fn flush(&self) {
        // Whoever published has a PubAck; this is only good manners before the connection ends.
        let _ = tokio::time::timeout(ACK_TIMEOUT, self.client.flush()).await;
    }

    async fn publish_once(
        &self,
        subject: &LogSubject,
        headers: &[(&str, &str)],
        payload: Bytes,
    ) -> Result<u64, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        let ack =
            self.context.publish_with_headers(subject.to_string(), map, payload).await.map_err(|e| e.to_string())?;
        ack.await.map(|ack| ack.sequence).map_err(|e| e.to_string())
    }
}

struct Entry<'a> {
    waiting: &'a Waiting,
    token: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.token);
    }
}

fn no_answer(request: String, tries: u32, error: &dyn std::fmt::Display) -> OutsideError {
    OutsideError::NoAnswer { request, tries, last: error.to_string() }
}

/// Hands an answer to whoever waits for it. Nobody may: it was the second answer to a message published twice.
fn deliver(waiting: &Waiting, subject: &str, payload: &[u8]) {
    let token = subject.rsplit('.').next().and_then(|token| token.parse().ok());
    let Some(tell) = token.and_then(|token: u64| waiting.lock().remove(&token)) else { return };
    match serde_json::from_slice(payload) {
        // The receiver may have given up in this moment.
        Ok(outcome) => drop(tell.send(outcome)),
        Err(error) => tracing::warn!(%error, "an answer that can't be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::answer::FixTally;

    #[tokio::test]
    async fn answers_find_who_asked_and_repeats_are_dropped() {
        let waiting = Waiting::default();
        let (tell, answer) = oneshot::channel();
        waiting.lock().insert(7, tell);
        let outcome = Outcome::Fixes(FixTally { good: 1, ..FixTally::default() });
        let payload = serde_json::to_vec(&outcome).unwrap();
        deliver(&waiting, "_INBOX.x.8", &payload);
        deliver(&waiting, "_INBOX.x.7", &payload);
        deliver(&waiting, "_INBOX.x.7", &payload);
        assert_eq!(answer.await.unwrap(), outcome);
        assert!(waiting.lock().is_empty());
    }
}
