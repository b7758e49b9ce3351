//! The dead letters of a cell, for an operator: what could not be applied, and the way back into the log.
//!
//! A letter is put back as a new message on its original subject, so it gets a new place and is applied like any other:
//! the state stays a function of the log. What was put back is noted beside the letter, on a subject that is written by
//! compare-and-set *before* the message is published. So two operators, or one who tries again after a timeout, can't
//! put the same letter back without knowing; the price is that a note without a place may have no message.

use super::streams::{is_gone, is_missing};
use crate::{
    domain::{CellId, UnixMillis},
    wire::{
        header,
        subject::{self, LogSubject},
    },
};
use async_nats::{
    HeaderMap,
    header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
    jetstream::{
        self, Context,
        consumer::{AckPolicy, DeliverPolicy, pull},
        context::{PublishError, PublishErrorKind},
        stream::Stream,
    },
};
use bytes::Bytes;
use futures::StreamExt;
use std::{collections::VecDeque, time::Duration};

/// How long the server may be silent while letters are listed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What went wrong, or why a letter isn't put back.
#[derive(Debug, thiserror::Error)]
pub enum DeadError {
    #[error("cell {0} has no dead letters' stream here: no node has owned it on this NATS")]
    NoStream(CellId),
    #[error("there is no dead letter {0} (any more)")]
    Gone(u64),
    #[error("the message of dead letter {0} is kept neither by the letter nor by the log")]
    NoOriginal(u64),
    #[error("dead letter {seq}: {reason}; it can't be put back")]
    Subject { seq: u64, reason: String },
    #[error("dead letter {seq} was put back before, {}; say --again if it is meant to be there twice", at(*log_seq))]
    Before { seq: u64, log_seq: Option<u64> },
    #[error("dead letter {0} is being put back by somebody else")]
    Contended(u64),
    #[error(
        "the log didn't say whether it took dead letter {seq} ({reason}): look there before it is put back --again"
    )]
    Unknown { seq: u64, reason: String },
    #[error("the log doesn't take dead letter {seq}: {reason}")]
    Refused { seq: u64, reason: String },
    #[error("NATS: {0}")]
    Request(String),
}

fn at(log_seq: Option<u64>) -> String {
    log_seq.map_or_else(|| "to an unknown end".to_owned(), |seq| format!("at sequence {seq} of the log"))
}

fn request(error: impl std::fmt::Display) -> DeadError {
    DeadError::Request(error.to_string())
}

/// Which letters.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The field that was to blame, as `fix_time_ms`, or the beginning of its path, as `fixes`.
    pub field: Option<String>,
    /// Text within the reason.
    pub reason: Option<String>,
    /// Written at this time or later.
    pub since: Option<UnixMillis>,
    /// Written before this time.
    pub until: Option<UnixMillis>,
    /// The newest so many.
    pub limit: usize,
}

/// A dead letter without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The message's place in the log; the letter's name.
    pub seq: u64,
    pub written: UnixMillis,
    /// `None` if the message had been erased when the letter was written.
    pub subject: Option<String>,
    pub field: String,
    pub reason: String,
    pub bytes: usize,
}

/// A dead letter with everything that is kept of the message.
#[derive(Clone, Debug)]
pub struct Opened {
    pub letter: Letter,
    /// Those of the message, by name.
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
    /// `payload`, `headers`: too large for the letter; the log may have it.
    pub left_out: Vec<String>,
}

/// The note beside a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutBack {
    pub written: UnixMillis,
    /// Where it is in the log; `None` if the log didn't say.
    pub log_seq: Option<u64>,
    /// The note's own place.
    revision: u64,
}

/// See the module.
#[derive(Debug)]
pub struct DeadLetters {
    js: Context,
    cell: CellId,
    stream: Stream,
}

impl DeadLetters {
    /// Looks the stream up.
    pub async fn open(js: Context, cell: CellId) -> Result<Self, DeadError> {
        match js.get_stream(subject::dead_stream(&cell)).await {
            Ok(stream) => Ok(Self { js, cell, stream }),
            Err(error) if is_missing(&error) => Err(DeadError::NoStream(cell)),
            Err(error) => Err(request(error)),
        }
    }

    /// The letters that fit, the oldest first.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<Letter>, DeadError> {
        let deliver_policy = match filter.since {
            Some(UnixMillis(ms)) => DeliverPolicy::ByStartTime {
                start_time: async_nats::datetime::from_nanos(i128::from(ms) * 1_000_000).map_err(request)?,
            },
            None => DeliverPolicy::All,
        };
        let config = pull::Config {
            deliver_policy,
            filter_subject: subject::dead_letters(&self.cell),
            ack_policy: AckPolicy::None,
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: PATIENCE,
            ..pull::Config::default()
        };
        let consumer = self.stream.create_consumer(config).await.map_err(request)?;
        let mut found = VecDeque::new();
        let mut pending = consumer.cached_info().num_pending;
        let mut messages = consumer.stream().max_messages_per_batch(500).messages().await.map_err(request)?;
        while pending > 0 {
            let next = tokio::time::timeout(PATIENCE, messages.next()).await;
            let message = next.map_err(request)?.ok_or_else(|| request("the list ended early"))?.map_err(request)?;
            let info = message.info().map_err(request)?;
            pending = info.pending;
            let written = millis(info.published.unix_timestamp_nanos());
            if filter.until.is_some_and(|until| written >= until) {
                break;
            }
            let Some(letter) = letter(&message.subject, message.headers.as_ref(), written, None) else { continue };
            if fits(filter, &letter) {
                found.push_back(letter);
                if found.len() > filter.limit {
                    found.pop_front();
                }
            }
        }
        Ok(found.into())
    }

    /// One letter, with all that is kept of its message.
    pub async fn open_letter(&self, seq: u64) -> Result<Opened, DeadError> {
        let message = match self.stream.get_last_raw_message_by_subject(&subject::dead(&self.cell, seq)).await {
            Ok(message) => message,
            Err(error) if is_gone(&error) => return Err(DeadError::Gone(seq)),
            Err(error) => return Err(request(error)),
        };
        let written = millis(message.time.unix_timestamp_nanos());
        let letter = letter(&message.subject, Some(&message.headers), written, Some(message.payload.len()));
        let letter = letter.ok_or(DeadError::Gone(seq))?;
        let left_out = message.headers.get_all(header::DEAD_LEFT_OUT).map(|v| v.as_str().to_owned()).collect();
        Ok(Opened { letter, headers: kept(&message.headers), payload: message.payload, left_out })
    }

    /// Whether and where a letter was put back, the last time.
    pub async fn put_back_before(&self, seq: u64) -> Result<Option<PutBack>, DeadError> {
        match self.stream.get_last_raw_message_by_subject(&subject::dead_put_back(&self.cell, seq)).await {
            Ok(note) => Ok(Some(PutBack {
                written: millis(note.time.unix_timestamp_nanos()),
                log_seq: std::str::from_utf8(&note.payload).ok().and_then(|text| text.parse().ok()),
                revision: note.sequence,
            })),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(request(error)),
        }
    }

    /// Publishes the letter's message once more on its subject, with its headers and [`header::PUT_BACK`]; gives its new
    /// place in the log. `key` replaces its idempotency key: an order that refused a command keeps the refusal under
    /// the old one. A letter that was put back before needs `again`.
    pub async fn put_back(&self, seq: u64, key: Option<&str>, again: bool) -> Result<u64, DeadError> {
        let opened = self.open_letter(seq).await?;
        let before = self.put_back_before(seq).await?;
        if let Some(PutBack { log_seq, .. }) = before
            && !again
        {
            return Err(DeadError::Before { seq, log_seq });
        }
        let (to, mut headers, payload) = self.message(opened).await?;
        headers.insert(header::PUT_BACK, seq.to_string());
        if let Some(key) = key {
            headers.insert(header::IDEMPOTENCY_KEY, key);
        }
        let claim = self.note(seq, Bytes::new(), before.map_or(0, |b| b.revision)).await?;
        let published = match self.js.publish_with_headers(to, headers, payload).await {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        match published {
            Ok(ack) => {
                // The message is there, whatever becomes of the note.
                if let Err(error) = self.note(seq, ack.sequence.to_string().into(), claim).await {
                    tracing::warn!(%error, seq, log_seq = ack.sequence, "the note of where it was put back is incomplete");
                }
                Ok(ack.sequence)
            }
            Err(error) if is_unsaid(&error) => Err(DeadError::Unknown { seq, reason: error.to_string() }),
            Err(error) => {
                // Nothing was stored: the claim goes, so that it may be tried again.
                if let Err(error) = self.stream.delete_message(claim).await {
                    tracing::warn!(%error, seq, "the note that it was put back could not be taken back");
                }
                Err(DeadError::Refused { seq, reason: error.to_string() })
            }
        }
    }

    /// The message as it was: the letter's, or the log's where the letter isn't whole.
    async fn message(&self, opened: Opened) -> Result<(String, HeaderMap, Bytes), DeadError> {
        let Opened { letter: Letter { seq, subject, .. }, headers, payload, left_out } = opened;
        let to = subject.ok_or(DeadError::NoOriginal(seq))?;
        let parsed: LogSubject = to.parse().map_err(|e: subject::SubjectError| subject_error(seq, e))?;
        let (LogSubject::Order { cell, .. }
        | LogSubject::Warehouse { cell, .. }
        | LogSubject::Rider { cell, .. }
        | LogSubject::Timer { cell, .. }
        | LogSubject::Control { cell, .. }) = &parsed;
        if *cell != self.cell {
            return Err(subject_error(seq, format!("`{to}` belongs to cell {cell}")));
        }
        if left_out.is_empty() {
            return Ok((to, map(headers), payload));
        }
        let log = self.js.get_stream_no_info(subject::log_stream(&self.cell)).await.map_err(request)?;
        match log.get_raw_message(seq).await {
            Ok(message) => Ok((to, map(kept(&message.headers)), message.payload)),
            Err(error) if is_gone(&error) => Err(DeadError::NoOriginal(seq)),
            Err(error) => Err(request(error)),
        }
    }

    /// Writes the note if it still is what it was; gives its place.
    async fn note(&self, seq: u64, text: Bytes, revision: u64) -> Result<u64, DeadError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string());
        let note = subject::dead_put_back(&self.cell, seq);
        let ack = self.js.publish_with_headers(note, headers, text).await.map_err(request)?;
        match ack.await {
            Ok(ack) => Ok(ack.sequence),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Err(DeadError::Contended(seq)),
            Err(error) => Err(request(error)),
        }
    }
}

/// Whether the message may have been stored all the same: neither the server nor the client itself said no.
fn is_unsaid(error: &PublishError) -> bool {
    match error.kind() {
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => true,
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::MaxPayloadExceeded => false,
        PublishErrorKind::Other => {
            std::error::Error::source(error).is_none_or(|e| e.downcast_ref::<jetstream::Error>().is_none())
        }
    }
}

fn millis(ns: i128) -> UnixMillis {
    UnixMillis(i64::try_from(ns.div_euclid(1_000_000)).unwrap_or(i64::MAX))
}

fn subject_error(seq: u64, reason: impl std::fmt::Display) -> DeadError {
    DeadError::Subject { seq, reason: reason.to_string() }
}

fn fits(filter: &Filter, letter: &Letter) -> bool {
    let field = |field: &String| {
        let rest = letter.field.strip_prefix(field.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    filter.field.as_ref().is_none_or(field)
        && filter.reason.as_ref().is_none_or(|text| letter.reason.contains(text.as_str()))
}

/// `None` for a message that is no dead letter.
fn letter(subject: &str, headers: Option<&HeaderMap>, written: UnixMillis, bytes: Option<usize>) -> Option<Letter> {
    let seq = subject::parse_dead(subject)?;
    let value = |name: &str| headers.and_then(|h| h.get(name)).map(|v| v.as_str().to_owned());
    // What a headers-only consumer says of the payload.
    let size = || value("Nats-Msg-Size").and_then(|size| size.parse().ok());
    Some(Letter {
        seq,
        written,
        subject: value(header::DEAD_SUBJECT),
        field: value(header::DEAD_FIELD).unwrap_or_default(),
        reason: value(header::DEAD_REASON).unwrap_or_default(),
        bytes: bytes.or_else(size).unwrap_or(0),
    })
}

fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let kept = headers.iter().filter(|(name, _)| header::is_kept(name.as_ref()));
    let mut kept: Vec<_> =
        kept.filter_map(|(name, values)| Some((name.to_string(), values.last()?.as_str().to_owned()))).collect();
    kept.sort();
    kept
}

fn map(headers: Vec<(String, String)>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(name.as_str(), value);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_a_field_with_all_that_is_below_it() {
        let of = |field: &str| Letter {
            seq: 1,
            written: UnixMillis(0),
            subject: None,
            field: field.to_owned(),
            reason: "must lie between".to_owned(),
            bytes: 0,
        };
        let by = |field: &str| Filter { field: Some(field.to_owned()), ..Filter::default() };
        for (field, wanted) in [("fixes[3].lat", "fixes"), ("warehouse.lat", "warehouse"), ("lat", "lat")] {
            assert!(fits(&by(wanted), &of(field)), "{field}");
        }
        assert!(!fits(&by("fix"), &of("fixes[3].lat")));
        assert!(!fits(&Filter { reason: Some("unknown".to_owned()), ..Filter::default() }, &of("lat")));
    }
}
