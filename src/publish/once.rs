//! Publishing on a subject that is used once: stored at the first time, and known to be stored at any other.

use async_nats::{
    HeaderMap,
    header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
    jetstream::{
        Context,
        context::{PublishAckFuture, PublishError, PublishErrorKind},
    },
};
use bytes::Bytes;
use std::time::Duration;

/// Why it isn't known to be stored. Publishing again is harmless.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct OnceError(#[from] PublishError);

impl OnceError {
    /// It is over NATS's `max_payload`.
    pub(super) fn is_too_large(&self) -> bool {
        self.0.kind() == PublishErrorKind::MaxPayloadExceeded
    }
}

/// Queues the message; [`stored`] waits for its ack.
pub(super) async fn publish(
    js: &Context,
    subject: String,
    mut headers: HeaderMap,
    payload: Bytes,
) -> Result<PublishAckFuture, OnceError> {
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
    Ok(js.publish_with_headers(subject, headers, payload).await?)
}

/// Which publish stored the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Now,
    /// An earlier one, ours or another's (error 10071).
    Before,
}

/// Waits until a message on the subject is stored.
pub(super) async fn stored(ack: PublishAckFuture) -> Result<Stored, OnceError> {
    match ack.await {
        Ok(_) => Ok(Stored::Now),
        Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(Stored::Before),
        Err(error) => Err(error.into()),
    }
}

/// Waits that grow while nothing gets through, from 100 ms to 2 s.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }

    pub(super) fn next(&mut self) -> Duration {
        let most = (100_u64 << self.0).min(2_000);
        self.0 = (self.0 + 1).min(5);
        Duration::from_millis(rand::random_range(most / 2..=most))
    }
}
