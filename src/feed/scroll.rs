//! Reads a log from its first message to where it ended when the reading began, for those who only look: undecoded, with
//! nothing stored and nobody told. The same consumers and the same doubts as [`super::run`].

use super::{
    MAX_WAIT, MIN_WAIT, Options,
    reader::{Doubt, Reader},
};
use crate::{
    domain::CellId,
    nats::streams::{self, Log},
    wire::{log::Message, subject},
};
use async_nats::jetstream::Context;
use std::fmt;

/// So many consumers in a row that gave nothing: the server isn't getting better by itself.
const MAX_TRIES: u32 = 20;

/// The log can't be read on.
#[derive(Debug, thiserror::Error)]
#[error("the log {stream} can't be read on from sequence {next}: {reason}")]
pub struct ScrollError {
    stream: String,
    next: u64,
    reason: String,
}

/// See the module.
pub struct Scroll {
    js: Context,
    stream: String,
    next: u64,
    /// Last sequence that is wanted.
    last: u64,
    open: Option<Reader>,
    /// Whether the log had a message left when it was looked at last.
    more: Option<bool>,
}

impl fmt::Debug for Scroll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, next, last, more, .. } = self;
        write!(f, "Scroll {{ {stream} {next}..={last}, more: {more:?} }}")
    }
}

impl Scroll {
    /// From the first message that `log` has to its last. Nothing is asked yet.
    pub fn new(js: Context, cell: &CellId, log: Log) -> Self {
        let stream = subject::log_stream(cell);
        Self { js, stream, next: log.first_seq.max(1), last: log.last_seq, open: None, more: None }
    }

    /// The next messages; none at the end. Waits while the server is away, for a time.
    pub async fn read(&mut self) -> Result<Vec<Message>, ScrollError> {
        let (mut tries, mut wait) = (0, MIN_WAIT);
        loop {
            // What lies at the end may have been erased: no message will come for it.
            if self.next > self.last || self.more == Some(false) {
                return Ok(Vec::new());
            }
            match self.some().await {
                Ok(messages) => return Ok(messages),
                Err(doubt) => {
                    self.open = None;
                    tries += 1;
                    if tries == MAX_TRIES {
                        return Err(self.error(doubt));
                    }
                    tracing::warn!(%doubt, next = self.next, "reading the log on");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(MAX_WAIT);
                }
            }
        }
    }

    async fn some(&mut self) -> Result<Vec<Message>, Doubt> {
        if self.more.is_none() {
            self.more = Some(self.looked().await?);
            if self.more == Some(false) {
                return Ok(Vec::new());
            }
        }
        let reader = match &mut self.open {
            Some(reader) => reader,
            closed @ None => closed.insert(Reader::open(&self.js, &self.stream, self.next, &Options::default()).await?),
        };
        let (mut messages, more) = reader.messages().await?;
        self.next = messages.last().map_or(self.next, |m| m.seq + 1);
        self.more = Some(more);
        messages.retain(|m| m.seq <= self.last);
        Ok(messages)
    }

    /// Whether there is a message from here on.
    async fn looked(&self) -> Result<bool, Doubt> {
        let doubt = |e: &dyn std::fmt::Display| Doubt::Open(e.to_string());
        let stream = self.js.get_stream(&self.stream).await.map_err(|e| doubt(&e))?;
        match stream.raw_message_builder().sequence(self.next).next_by_subject(">").send().await {
            Ok(_) => Ok(true),
            Err(error) if streams::is_gone(&error) => Ok(false),
            Err(error) => Err(doubt(&error)),
        }
    }

    fn error(&self, reason: impl ToString) -> ScrollError {
        ScrollError { stream: self.stream.clone(), next: self.next, reason: reason.to_string() }
    }
}
