//! Publishing into the cell's log, and the inbox in which outcomes come back.

use crate::wire::{header, subject::LogSubject};
use async_nats::{
    HeaderMap,
    jetstream::{self, ErrorCode, context::PublishErrorKind},
};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};

/// A message on its way into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub subject: LogSubject,
    pub payload: Bytes,
    pub idempotency_key: Option<String>,
    /// `kind.id`.
    pub publisher: String,
    /// Where its outcome goes.
    pub reply: String,
}

/// Why the log didn't take a message, as far as one knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Not stored: the log is at its limit.
    #[error("the log is full")]
    Full,
    /// Not stored.
    #[error("the log doesn't take it: {0}")]
    Refused(String),
    /// Stored or not.
    #[error("the log didn't acknowledge it: {0}")]
    Unknown(String),
}

/// A subject prefix that is this bridge's alone, and the stream of (last token, payload) that comes below it.
pub type Inbox = (String, BoxStream<'static, (String, Bytes)>);

/// Publishes, and hears outcomes.
pub trait LogWriter: Send + Sync + std::fmt::Debug + 'static {
    /// Resolves when the log has stored the message.
    fn publish(&self, message: Message) -> BoxFuture<'static, Result<(), LogError>>;
    /// Subscribes the bridge's inbox.
    fn inbox(&self) -> BoxFuture<'static, Result<Inbox, LogError>>;
    /// Whether the connection to NATS is up.
    fn is_connected(&self) -> bool;
}

/// Over JetStream.
#[derive(Clone, Debug)]
pub struct NatsLogWriter {
    client: async_nats::Client,
    js: jetstream::Context,
}

impl NatsLogWriter {
    pub fn new(client: async_nats::Client, js: jetstream::Context) -> Self {
        Self { client, js }
    }
}

fn log_error(error: &jetstream::context::PublishError) -> LogError {
    match error.kind() {
        PublishErrorKind::StreamNotFound => LogError::Refused("there is no log for this cell".into()),
        PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::MaxAckPending => LogError::Refused(error.to_string()),
        PublishErrorKind::Other => match jetstream_code(error) {
            Some(ErrorCode::STREAM_STORE_FAILED) => LogError::Full,
            Some(_) => LogError::Refused(error.to_string()),
            None => LogError::Unknown(error.to_string()),
        },
        PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence => LogError::Unknown(error.to_string()),
    }
}

/// The server's own error code, if it was the server that said no.
fn jetstream_code(error: &jetstream::context::PublishError) -> Option<ErrorCode> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<jetstream::Error>().map(jetstream::Error::error_code)
}

impl LogWriter for NatsLogWriter {
    fn publish(&self, message: Message) -> BoxFuture<'static, Result<(), LogError>> {
        let js = self.js.clone();
        Box::pin(async move {
            let Message { subject, payload, idempotency_key, publisher, reply } = message;
            let mut headers = HeaderMap::new();
            if let Some(key) = idempotency_key {
                headers.insert(header::IDEMPOTENCY_KEY, key.as_str());
            }
            headers.insert(header::PUBLISHER, publisher.as_str());
            headers.insert(header::REPLY, reply.as_str());
            let ack = js.publish_with_headers(subject.to_string(), headers, payload).await;
            ack.map_err(|e| log_error(&e))?.await.map(drop).map_err(|e| log_error(&e))
        })
    }

    fn inbox(&self) -> BoxFuture<'static, Result<Inbox, LogError>> {
        let client = self.client.clone();
        Box::pin(async move {
            let failed = |e: String| LogError::Refused(e);
            let prefix = client.new_inbox();
            let below = client.subscribe(format!("{prefix}.*")).await.map_err(|e| failed(e.to_string()))?;
            client.flush().await.map_err(|e| failed(e.to_string()))?;
            let last = |subject: &str| subject.rsplit('.').next().unwrap_or_default().to_owned();
            Ok((prefix, below.map(move |m| (last(&m.subject), m.payload)).boxed()))
        })
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }
}
