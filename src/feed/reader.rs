//! One consumer's life: messages as batches of decoded, consecutive entries, until something gives reason to doubt.

use super::{Options, identity::millis};
use crate::{
    nats::streams::is_gone,
    wire::{
        header,
        log::{self, Batch, Raw, Received},
        subject,
    },
};
use async_nats::{
    HeaderMap,
    client::Statistics,
    jetstream::{
        Context, Message,
        consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull},
        stream::Stream,
    },
};
use futures::{StreamExt, stream::ReadyChunks};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Why a consumer is given up. None of these loses anything: the next one begins where this one ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Doubt {
    #[error("the consumer can't be made: {0}")]
    Open(String),
    #[error("{0}")]
    Messages(#[from] pull::MessagesError),
    #[error("the consumer ended")]
    Ended,
    #[error("the connection was made anew")]
    Reconnected,
    #[error("a message without its place in the log: {0}")]
    NoPlace(String),
    #[error("sequence {found} came where {expected} was due")]
    OutOfOrder { expected: u64, found: u64 },
    #[error("sequences {expected} to {last} were skipped, and the server has not confirmed that they are gone: {why}")]
    Skipped { expected: u64, last: u64, why: String },
}

/// How often the connection is looked at. A restarted server has forgotten the consumer; its missing heartbeat would
/// tell as well, but two seconds later.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An open consumer.
pub(super) struct Reader {
    stream: Stream,
    messages: ReadyChunks<pull::Stream>,
    batch_fixes: usize,
    /// What came together with the last batch's messages and was too much for it: the first decoded, the rest not.
    held: Option<(Received, Kept)>,
    rest: std::vec::IntoIter<Result<Message, pull::MessagesError>>,
    expected: u64,
    connection: Arc<Statistics>,
    connects: u64,
    /// What ended the consumer after messages that came before it: those go first.
    doubt: Option<Doubt>,
}

impl Reader {
    /// Makes a consumer that begins at `from`.
    pub(super) async fn open(js: &Context, name: &str, from: u64, options: &Options) -> Result<Self, Doubt> {
        let open = |e: &dyn std::fmt::Display| Doubt::Open(e.to_string());
        let connection = js.client().statistics();
        // Read before the consumer is made: a reconnect in between makes it anew.
        let connects = connects(&connection);
        let stream = js.get_stream(name).await.map_err(|e| open(&e))?;
        let consumer = stream
            .create_consumer(pull::Config {
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
                ack_policy: AckPolicy::None,
                replay_policy: ReplayPolicy::Instant,
                inactive_threshold: options.inactive,
                memory_storage: true,
                num_replicas: 1,
                ..pull::Config::default()
            })
            .await
            .map_err(|e| open(&e))?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(options.batch)
            .max_bytes_per_batch(options.pull_bytes)
            .heartbeat(options.heartbeat)
            .expires(options.expires)
            .messages()
            .await
            .map_err(|e| open(&e))?
            .ready_chunks(options.batch);
        Ok(Self {
            stream,
            messages,
            batch_fixes: options.batch_fixes,
            held: None,
            rest: Vec::new().into_iter(),
            expected: from,
            connection,
            connects,
            doubt: None,
        })
    }

    /// What has come since, at least one entry.
    pub(super) async fn next(&mut self) -> Result<Batch, Doubt> {
        if let Some(doubt) = self.doubt.take() {
            return Err(doubt);
        }
        if self.held.is_none() && self.rest.len() == 0 {
            self.rest = self.wait().await?.into_iter();
        }
        let mut entries = Vec::with_capacity(self.rest.len() + 1);
        let (mut digest, mut weight) = (None, 0);
        loop {
            let (received, hash) = match self.decode_next().await {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(doubt) => {
                    self.doubt = Some(doubt);
                    break;
                }
            };
            weight += received.weight();
            if weight > self.batch_fixes && !entries.is_empty() {
                self.held = Some((received, hash));
                break;
            }
            entries.push(received);
            digest = Some(hash);
        }
        match (digest, self.doubt.take()) {
            (None, Some(doubt)) => Err(doubt),
            (None, None) => Err(Doubt::Ended),
            (Some(message), doubt) => {
                self.doubt = doubt;
                Ok(Batch { entries, digest: message.digest() })
            }
        }
    }

    /// Waits for messages.
    async fn wait(&mut self) -> Result<Vec<Result<Message, pull::MessagesError>>, Doubt> {
        loop {
            // Unconstrained: tokio's budget would cut every batch at 128 messages. The batch is the bound here.
            let messages = tokio::task::unconstrained(self.messages.next());
            tokio::select! {
                biased;
                chunk = messages => return chunk.ok_or(Doubt::Ended),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if connects(&self.connection) != self.connects {
                return Err(Doubt::Reconnected);
            }
        }
    }

    /// The next of the messages that have come, or `None` if that was all.
    async fn decode_next(&mut self) -> Result<Option<(Received, Kept)>, Doubt> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        match self.rest.next() {
            Some(message) => self.take(message).await.map(Some),
            None => Ok(None),
        }
    }

    /// What has come since, undecoded and at least one message; and whether the log had more when the last was sent.
    pub(super) async fn messages(&mut self) -> Result<(Vec<log::Message>, bool), Doubt> {
        if let Some(doubt) = self.doubt.take() {
            return Err(doubt);
        }
        let chunk = self.wait().await?;
        let (mut messages, mut more) = (Vec::with_capacity(chunk.len()), true);
        for message in chunk {
            match self.place(message).await {
                Ok(kept) => {
                    more = kept.message.info().is_ok_and(|info| info.pending > 0);
                    messages.push(kept.raw().to_message());
                }
                Err(doubt) if messages.is_empty() => return Err(doubt),
                Err(doubt) => {
                    self.doubt = Some(doubt);
                    break;
                }
            }
        }
        Ok((messages, more))
    }

    async fn take(&mut self, message: Result<Message, pull::MessagesError>) -> Result<(Received, Kept), Doubt> {
        let kept = self.place(message).await?;
        let reply = value(kept.message.headers.as_ref(), header::REPLY).filter(|reply| {
            let fits = subject::is_reply(reply);
            if !fits {
                tracing::debug!(seq = kept.seq, reply, "no answer may be published there");
            }
            fits
        });
        let received = Received { entry: log::decode(kept.raw()), reply: reply.map(Arc::from) };
        Ok((received, kept))
    }

    /// Makes sure that the message is the next.
    async fn place(&mut self, message: Result<Message, pull::MessagesError>) -> Result<Kept, Doubt> {
        let message = message?;
        let info = message.info().map_err(|e| Doubt::NoPlace(e.to_string()))?;
        let (seq, log_time) = (info.stream_sequence, millis(info.published.unix_timestamp_nanos()));
        if seq < self.expected {
            return Err(Doubt::OutOfOrder { expected: self.expected, found: seq });
        }
        if seq > self.expected {
            self.confirm_hole(seq).await?;
        }
        self.expected = seq + 1;
        Ok(Kept { message, seq, log_time })
    }

    /// A hole is legal where the server says that the next message it has is the one that came: those between were
    /// erased. One that the consumer skipped is not.
    async fn confirm_hole(&self, found: u64) -> Result<(), Doubt> {
        let expected = self.expected;
        let skipped = |why: String| Doubt::Skipped { expected, last: found - 1, why };
        // `>`: whatever its subject; asked of the leader, from the first missing sequence on.
        match self.stream.raw_message_builder().sequence(expected).next_by_subject(">").send().await {
            Ok(next) if next.sequence == found => {
                tracing::info!(expected, found, "the log has a hole where messages were erased");
                Ok(())
            }
            Ok(next) => Err(skipped(format!("it has one at {}", next.sequence))),
            Err(error) if is_gone(&error) => Err(skipped("it has none from there on".to_owned())),
            Err(error) => Err(skipped(error.to_string())),
        }
    }
}

/// A message whose digest may be wanted: only that of a batch's last one is.
struct Kept {
    message: Message,
    seq: u64,
    log_time: crate::domain::UnixMillis,
}

impl Kept {
    fn raw(&self) -> Raw<'_> {
        let headers = self.message.headers.as_ref();
        Raw {
            seq: self.seq,
            log_time: self.log_time,
            subject: &self.message.subject,
            payload: &self.message.payload,
            idempotency_key: value(headers, header::IDEMPOTENCY_KEY),
            publisher: value(headers, header::PUBLISHER),
        }
    }

    fn digest(&self) -> [u8; 32] {
        log::digest(&self.raw())
    }
}

/// A header's value. Of one that a message has twice, the last counts: a message that is got singly, as for
/// [`super::identity`], keeps no other.
pub(super) fn value<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    headers.and_then(|h| h.get_last(name)).map(|v| v.as_str())
}

fn connects(statistics: &Statistics) -> u64 {
    statistics.connects.load(Ordering::Relaxed)
}
